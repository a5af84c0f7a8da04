"""history.py - what a client did and was told, and whether what is found later explains it.

A Log is the history of one connection since the last check: its commands in order, with the reply that
the model predicts for each. The server answers in order and logs in order, so what a crash leaves of
one connection is the state after its first k commands, for one k between those answered and those
sent: feasible() finds all such k. Keys that only this connection writes are predicted exactly; shared
ones (counters, registers) are judged over all logs together by judge_shared().

Values carry a token `LIFE.CONNECTION.INDEX;`, so a value that somebody reads names the write that it
came from: what one client saw, a restart may not take back (Log.seen).
"""
import time

SHARED = b"shared:"
UNPREDICTED = object()  # the reply depends on other connections


class Wrong(Exception):
    """A reply or a state that nothing explains."""


def token(life, connection, index):
    return b"%d.%d.%d;" % (life, connection, index)


def origin(value):
    """(life, connection, index) of the write that made the value; None if it has no token."""
    try:
        numbers = tuple(int(part) for part in value.split(b";", 1)[0].split(b"."))
    except (ValueError, AttributeError):
        return None
    return numbers if len(numbers) == 3 else None


# ---- the model: a state is {key: (value, expiry in ms or None)} ----

def apply_set(state, args):
    key, value, options = args[1], args[2], [part.upper() for part in args[3:]]
    old = state.get(key)
    expiry = None
    if b"PXAT" in options:
        expiry = int(options[options.index(b"PXAT") + 1])
    if b"KEEPTTL" in options and old:
        expiry = old[1]
    refused = (b"NX" in options and old) or (b"XX" in options and not old)
    if not refused:
        state[key] = (value, expiry)
    if b"GET" in options:
        return old[0] if old else None
    return None if refused else b"OK"


def apply_incr(state, key, delta):
    old, expiry = state.get(key, (b"0", None))
    state[key] = (b"%d" % (int(old) + delta), expiry)
    return int(old) + delta


def apply_append(state, key, tail):
    old, expiry = state.get(key, (b"", None))
    state[key] = (old + tail, expiry)
    return len(old) + len(tail)


def apply_mset(state, pairs):
    for key, value in zip(pairs[::2], pairs[1::2]):
        state[key] = (value, None)
    return b"OK"


def apply_pexpireat(state, key, expiry):
    if key not in state:
        return 0
    state[key] = (state[key][0], expiry)
    return 1


def apply_persist(state, key):
    if key not in state or state[key][1] is None:
        return 0
    state[key] = (state[key][0], None)
    return 1


def apply_flush(state):
    state.clear()
    return b"OK"


MODEL = {
    b"SET": apply_set,
    b"GET": lambda state, args: state.get(args[1], (None,))[0],
    b"MGET": lambda state, args: [state.get(key, (None,))[0] for key in args[1:]],
    b"DEL": lambda state, args: sum(state.pop(key, None) is not None for key in args[1:]),
    b"EXISTS": lambda state, args: sum(key in state for key in args[1:]),
    b"STRLEN": lambda state, args: len(state.get(args[1], (b"",))[0]),
    b"INCR": lambda state, args: apply_incr(state, args[1], 1),
    b"INCRBY": lambda state, args: apply_incr(state, args[1], int(args[2])),
    b"APPEND": lambda state, args: apply_append(state, args[1], args[2]),
    b"MSET": lambda state, args: apply_mset(state, args[1:]),
    b"PEXPIREAT": lambda state, args: apply_pexpireat(state, args[1], int(args[2])),
    b"PERSIST": lambda state, args: apply_persist(state, args[1]),
    b"DBSIZE": lambda state, args: len(state),
    b"FLUSHDB": lambda state, args: apply_flush(state),
}


class Log:
    """One connection between two checks."""

    def __init__(self, number, own_keys, state):
        self.number = number
        self.own_keys = own_keys
        self.base = dict(state)  # own keys at the last check
        self.state = dict(state)
        self.commands = []
        self.predicted = []
        self.sent_at = []
        self.answered_at = []  # one for each answer
        self.seen = {}         # connection -> how many of its commands somebody saw the effect of
        self.register_reads = []  # (key, value, sent_at)
        self.increments = {}   # shared counter -> values that INCR answered

    def is_mine(self, args):
        if args[0] in (b"DBSIZE", b"FLUSHDB"):
            return True
        return len(args) < 2 or args[1] in self.own_keys

    def add(self, args):
        """A command that is about to be sent."""
        self.commands.append(args)
        mine = self.is_mine(args)
        self.predicted.append(MODEL[args[0]](self.state, args) if mine else UNPREDICTED)
        self.sent_at.append(time.monotonic())

    def answer(self, reply, life):
        """The next reply came; Wrong if it is not what it must be."""
        index = len(self.answered_at)
        args, wanted = self.commands[index], self.predicted[index]
        self.answered_at.append(time.monotonic())
        if wanted is not UNPREDICTED:
            if reply != wanted:
                raise Wrong(f"connection {self.number}, command {index} {show(args)}: "
                            f"{show(reply)} instead of {show(wanted)}")
            return
        if args[0] == b"INCR" and isinstance(reply, int):
            self.increments.setdefault(args[1], []).append(reply)
        elif args[0] == b"GET" and (reply is None or isinstance(reply, bytes)):
            self.note_read(args[1], reply, index, life)
        elif reply != b"OK":
            raise Wrong(f"connection {self.number}, {show(args)}: {show(reply)}")

    def note_read(self, key, value, index, life):
        source = origin(value)
        if source and source[0] == life:
            self.seen[source[1]] = max(self.seen.get(source[1], 0), source[2] + 1)
        if key.startswith(SHARED):
            self.register_reads.append((key, value, self.sent_at[index]))

    def feasible(self, found):
        """All k for which the own keys as found are those after k commands. Wrong if there is none."""
        state = dict(self.base)
        answered = len(self.answered_at)
        fits = []
        for k, args in enumerate(self.commands + [None]):
            if k >= answered and state == found:
                fits.append(k)
            if args is not None and self.is_mine(args):
                MODEL[args[0]](state, args)
        if not fits:
            raise Wrong(f"connection {self.number}: the keys are those after no k of "
                        f"{answered}..{len(self.commands)} commands; {self.explain(found)}")
        return fits

    def explain(self, found):
        """Where what was found differs from the last answered command, for the reader of a failure."""
        state = dict(self.base)
        for args in self.commands[:len(self.answered_at)]:
            if self.is_mine(args):
                MODEL[args[0]](state, args)
        differing = [key for key in sorted(self.own_keys) if state.get(key) != found.get(key)]
        pending = [show(args) for args in self.commands[len(self.answered_at):][:3]]
        texts = [f"{show(key)} is {show(found.get(key))}, answered {show(state.get(key))}"
                 for key in differing[:4]]
        return f"{len(differing)} keys differ: {'; '.join(texts)}; then unanswered: {pending}"


def show(value):
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:90]}...({len(text)})"


# ---- shared keys ----

def narrow(fits, logs):
    """Takes what somebody saw out of each connection's feasible k. Wrong if nothing is left."""
    for watcher in logs:
        for number, count in watcher.seen.items():
            keep(fits, number, count, f"connection {watcher.number} read")


def keep(fits, number, at_least, why):
    left = [k for k in fits[number] if k >= at_least]
    if not left:
        raise Wrong(f"{why} command {at_least - 1} of connection {number}; of that connection only "
                    f"{fits[number][-1]} commands are there now")
    fits[number] = left


def register_writes(logs, key):
    """Every write of a register: (value, connection, index, sent, answered or None)."""
    writes = []
    for log in logs:
        for index, args in enumerate(log.commands):
            if args[0] == b"SET" and args[1] == key:
                answered = log.answered_at[index] if index < len(log.answered_at) else None
                writes.append((args[2], log.number, index, log.sent_at[index], answered))
    return writes


def judge_register(logs, fits, key, base, found):
    writes = register_writes(logs, key)
    by_value = {write[0]: write for write in writes}
    judge_register_reads(logs, key, base, by_value)
    if found != base:
        if found not in by_value:
            raise Wrong(f"{show(key)} is {show(found)}, which nobody wrote")
        keep(fits, by_value[found][1], by_value[found][2] + 1, f"{show(key)} holds")
    mine = by_value.get(found)
    for other in writes:
        survived = other[2] < fits[other[1]][0]
        if survived and other is not mine and precedes(mine, other):
            raise Wrong(f"{show(key)} is {show(found)}, but {show(other[0])} was written later")


def precedes(first, second):
    """first (None: what was there before all) surely took effect before second."""
    if first is None:
        return True
    if first[1] == second[1]:
        return first[2] < second[2]
    return first[4] is not None and first[4] < second[3]


def judge_register_reads(logs, key, base, by_value):
    done = sorted((write[4], write[3]) for write in by_value.values() if write[4] is not None)
    latest = []  # latest[i]: the latest sending time among the first i answered writes
    for _, sent in done:
        latest.append(max(sent, latest[-1] if latest else 0.0))
    for log in logs:
        for read_key, value, sent in log.register_reads:
            if read_key != key:
                continue
            if value != base and value not in by_value:
                raise Wrong(f"{show(key)} read as {show(value)}, which nobody wrote")
            answered = by_value[value][4] if value in by_value else 0.0
            if answered is None:
                continue
            before = [index for index, (when, _) in enumerate(done) if when < sent]
            if before and latest[before[-1]] > answered:
                raise Wrong(f"a read of {show(key)} gave {show(value)} after it was overwritten")


def judge_counter(logs, fits, key, base, found):
    """The counter lies between what surely happened and what may have."""
    replies = [reply for log in logs for reply in log.increments.get(key, ())]
    if len(set(replies)) != len(replies):
        raise Wrong(f"INCR {show(key)} gave the same number twice")
    least, most = base, base
    for log in logs:
        sent = [index for index, args in enumerate(log.commands)
                if args[0] == b"INCR" and args[1] == key]
        least += sum(index < fits[log.number][0] for index in sent)
        most += sum(index < fits[log.number][-1] for index in sent)
    least = max([least] + replies)
    if not least <= found <= most:
        raise Wrong(f"{show(key)} is {found}, neither less than {least} nor more than {most} "
                    f"explain it")
