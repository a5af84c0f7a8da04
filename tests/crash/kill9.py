#!/usr/bin/env python3
"""kill9.py - campaign: a real server, real sockets, kill -9 at a random moment, restart.

    kill9.py [--seed N] [--budget COUNT|TIME] [--mode always|everysec|no] [--connections 4]

Several connections write and read, in pipelines, values that name their writer. After each kill the
server is started again with nothing but its command line, and every reply that a client got must be
explained: for each connection by the state after its first k commands, k at least what was answered;
shared counters and registers by those same k; what a read showed is not taken back; DBSIZE is what a
read-back of every key counts. Some kills hit the start itself, some an idle server; some stops are
SIGTERM instead. A directory serves several kills, so that recovery meets what recovery wrote.

Default: 100 kills; a budget is a count of kills or a time, 90s, 30m, 8h. The seed plans it: which options a
server gets, what each connection sends in each life, after how many answers it is killed, or how far into a
start. The digest is of that plan; where a kill hits the server is up to the machine. Without --seed one is
drawn and printed. A directory that failed is kept under build/kill9/. Closes as tests/support/campaign.h
says: a case is a kill and the check after it.
"""
import argparse
import contextlib
import hashlib
import os
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))

import campaign  # noqa: E402
import history  # noqa: E402
import resp  # noqa: E402
import server as servers  # noqa: E402

MODES = ("always", "everysec", "no")
WAL_SIZES = ("16kb", "64kb", "256kb", "4mb")
KILLS_A_DIRECTORY = 8
FAILURES_MAX = 3
KILLS_DEFAULT = 100
PLANNED_COMMANDS = 20  # of each connection in each life that are part of the digest
WINDOW_MAX = 400  # commands of a connection that may be unanswered
FAR_FUTURE_MS = 4102444800000  # the year 2100
EXCLUSIVE_DB = 5  # of the last connection; it alone flushes and knows DBSIZE

PLAIN_KEYS, TAIL_KEYS, COUNTERS, GROUPS, GROUP_SIZE = 24, 3, 3, 3, 5
REGISTERS = [history.SHARED + b"register%d" % i for i in range(3)]
SHARED_COUNTERS = [history.SHARED + b"counter%d" % i for i in range(2)]


class Keys:
    """The keys that one connection alone writes."""

    def __init__(self, number):
        self.plain = [b"c%d:plain%d" % (number, i) for i in range(PLAIN_KEYS - 1)]
        self.plain.append(b"c%d:\x00\xff\r\n key" % number)
        self.tails = [b"c%d:tail%d" % (number, i) for i in range(TAIL_KEYS)]
        self.counters = [b"c%d:counter%d" % (number, i) for i in range(COUNTERS)]
        self.groups = [[b"c%d:group%d:%d" % (number, group, i) for i in range(GROUP_SIZE)]
                       for group in range(GROUPS)]
        self.all = set(self.plain + self.tails + self.counters)
        for group in self.groups:
            self.all.update(group)


class Script:
    """Chooses the commands of one connection."""

    def __init__(self, rng, number, keys, others, exclusive):
        self.rng = rng
        self.number = number
        self.keys = keys
        self.others = others  # plain keys of the connections in the same database
        self.life = 0
        self.index = 0
        choices = {
            self.set_plain: 30, self.set_options: 12, self.delete: 10, self.mset_group: 8,
            self.incr: 8, self.append: 5, self.expire: 5, self.read: 12,
        }
        if exclusive:
            choices.update({self.dbsize: 3, self.flush: 0.1})
        else:
            choices.update({self.shared_incr: 8, self.shared_set: 5, self.shared_read: 8})
        self.makers = list(choices)
        self.weights = list(choices.values())

    def begin(self, life, seed, plan):
        """Another life, whose commands are what the seed says however the one before ended."""
        self.life = life
        self.rng = random.Random(seed)
        for index in range(PLANNED_COMMANDS):
            plan.note(self.next(index))
        self.rng = random.Random(seed)

    def next(self, index):
        self.index = index
        return self.rng.choices(self.makers, self.weights)[0]()

    def value(self):
        rng = self.rng
        size = rng.choices((0, 20, 200, 3000, 30000, 300000), (10, 30, 30, 4, 1, 0.05))[0]
        filler = bytes([rng.randrange(256)]) * (rng.randrange(size) if size else 0)
        return history.token(self.life, self.number, self.index) + filler

    def set_plain(self):
        return (b"SET", self.rng.choice(self.keys.plain), self.value())

    def set_options(self):
        far = b"%d" % (FAR_FUTURE_MS + self.rng.randrange(10 ** 9))
        options = self.rng.choice(((b"NX",), (b"XX",), (b"PXAT", far), (b"KEEPTTL",), (b"GET",),
                                   (b"XX", b"GET"), (b"NX", b"PXAT", far)))
        return (b"SET", self.rng.choice(self.keys.plain), self.value(), *options)

    def delete(self):
        count = self.rng.choice((1, 1, 1, 2, 5))
        pool = self.keys.plain + self.keys.tails + self.keys.counters[:1] + self.keys.groups[0]
        return (b"DEL", *self.rng.sample(pool, count))

    def mset_group(self):
        group = self.rng.choice(self.keys.groups)
        value = self.value()
        return (b"MSET", *(part for key in group for part in (key, value)))

    def incr(self):
        key = self.rng.choice(self.keys.counters)
        if self.rng.random() < 0.5:
            return (b"INCR", key)
        return (b"INCRBY", key, b"%d" % self.rng.randrange(-1000, 1000))

    def append(self):
        key = self.rng.choice(self.keys.tails)
        if self.rng.random() < 0.1:
            return (b"SET", key, b"")
        return (b"APPEND", key, b"%d," % self.index)

    def expire(self):
        key = self.rng.choice(self.keys.plain)
        if self.rng.random() < 0.3:
            return (b"PERSIST", key)
        return (b"PEXPIREAT", key, b"%d" % (FAR_FUTURE_MS + self.rng.randrange(10 ** 9)))

    def read(self):
        pool = self.keys.plain + self.keys.tails + self.keys.counters
        kind = self.rng.randrange(4)
        if kind == 0:
            return (b"MGET", *self.rng.sample(pool, 4))
        if kind == 1:
            return (b"EXISTS", *self.rng.sample(pool, 3))
        return (b"STRLEN" if kind == 2 else b"GET", self.rng.choice(pool))

    def dbsize(self):
        return (b"DBSIZE",)

    def flush(self):
        return (b"FLUSHDB",)

    def shared_incr(self):
        return (b"INCR", self.rng.choice(SHARED_COUNTERS))

    def shared_set(self):
        return (b"SET", self.rng.choice(REGISTERS), self.value())

    def shared_read(self):
        return (b"GET", self.rng.choice(REGISTERS + self.others))


class Client(threading.Thread):
    """Sends until the server is gone or stop is set; all it was told is in its log."""

    def __init__(self, port, database, log, script, life):
        super().__init__(daemon=True)
        self.port = port
        self.database = database
        self.log = log
        self.script = script
        self.life = life
        self.problem = None
        self.stop = threading.Event()

    def run(self):
        try:
            self.talk()
        except history.Wrong as wrong:
            self.problem = str(wrong)
        except resp.Malformed as malformed:
            self.problem = f"connection {self.log.number}: {malformed}"

    def talk(self):
        with contextlib.suppress(resp.Broken, OSError):
            with resp.Connection(self.port) as connection:
                if connection.call("SELECT", self.database) != b"OK":
                    raise history.Wrong("SELECT failed")
                with contextlib.suppress(resp.Broken):
                    self.send_batches(connection)
                while True:  # what was answered before the end counts
                    self.read_answer(connection)

    def send_batches(self, connection):
        rng = self.script.rng
        while not self.stop.is_set():
            batch = []
            for _ in range(rng.choice((1, 1, 4, 16, 64))):
                args = self.script.next(len(self.log.commands))
                self.log.add(args)
                batch.append(resp.encode(*args))
            connection.send_raw(b"".join(batch))
            allowed = rng.choice((0, 0, 32, WINDOW_MAX))
            while self.unanswered() > allowed:
                self.read_answer(connection)

    def unanswered(self):
        return len(self.log.commands) - len(self.log.answered_at)

    def read_answer(self, connection):
        if not self.unanswered():
            raise resp.Broken("nothing is owed")
        self.log.answer(connection.read(), self.life)


class Cell:
    """A directory, its server and its clients, over several kills."""

    def __init__(self, folder, rng, connections, mode, plan):
        self.folder = folder
        self.rng = rng
        self.plan = plan
        self.mode = mode
        self.count = connections
        self.life = 0
        self.start_s = 0.1  # how long a start takes, to aim kills at it
        self.keys = [Keys(number) for number in range(connections)]
        self.states = [{} for _ in range(connections)]
        self.shared = {}
        self.scripts = [self.make_script(number) for number in range(connections)]
        self.server = None
        self.clients = []

    def database(self, number):
        return EXCLUSIVE_DB if number == self.count - 1 else 0

    def make_script(self, number):
        others = [key for other in range(self.count - 1) if other != number
                  for key in self.keys[other].plain]
        return Script(None, number, self.keys[number], others, number == self.count - 1)

    def options(self):
        mode = self.mode or self.rng.choice(MODES)
        options = ("--appendfsync", mode, "--wal-size", self.rng.choice(WAL_SIZES))
        self.plan.note(options)
        return mode, options

    def start(self, kills_at_start):
        """Starts the server, killing so many starts first. Returns the mode that it runs in."""
        for _ in range(kills_at_start):
            _, options = self.options()
            self.server = servers.Server(self.folder, *options).spawn()
            time.sleep(self.start_s * self.plan.note(self.rng.uniform(0, 1.3)))
            self.server.kill()
        mode, options = self.options()
        began = time.monotonic()
        self.server = servers.Server(self.folder, *options).start()
        self.start_s = 0.5 * self.start_s + 0.5 * (time.monotonic() - began)
        return mode

    def begin_life(self):
        self.life += 1
        self.clients = []
        for number, script in enumerate(self.scripts):
            script.begin(self.life, self.rng.random(), self.plan)
            log = history.Log(number, self.keys[number].all, self.states[number])
            self.clients.append(Client(self.server.port, self.database(number), log, script,
                                       self.life))

    def run_traffic(self):
        """Lets the clients talk until a random number of answers, or for a few seconds."""
        for client in self.clients:
            client.start()
        goal = self.plan.note(int(10 ** self.rng.uniform(0.5, 4.5)))
        deadline = time.monotonic() + 4.0
        while time.monotonic() < deadline and self.answered() < goal:
            if any(client.problem for client in self.clients):
                break
            time.sleep(0.001)

    def answered(self):
        return sum(len(client.log.answered_at) for client in self.clients)

    def end_traffic(self):
        for client in self.clients:
            client.stop.set()
            if client.ident is not None:
                client.join(servers.EXIT_TIMEOUT_S)
            if client.problem:
                raise history.Wrong(client.problem)

    def read_back(self, database, keys):
        """{key: (value, expiry)} of those that are there."""
        found = {}
        keys = sorted(keys)
        with self.server.connect() as connection:
            connection.call("SELECT", database)
            values = connection.call("MGET", *keys)
            expiries = connection.calls([("PEXPIRETIME", key) for key in keys])
            size = connection.call("DBSIZE")
        for key, value, expiry in zip(keys, values, expiries):
            if value is not None:
                found[key] = (value, None if expiry == -1 else expiry)
        if size != len(found):
            raise history.Wrong(f"DBSIZE of database {database} is {size}, but {len(found)} keys "
                                f"are there")
        return found

    def check(self):
        """Judges what the restarted server holds; it is where the next life begins."""
        shared_keys = REGISTERS + SHARED_COUNTERS
        everything = set(shared_keys).union(*(keys.all for keys in self.keys[:-1]))
        found = self.read_back(0, everything)
        alone = self.read_back(EXCLUSIVE_DB, self.keys[-1].all)
        logs = [client.log for client in self.clients]
        fits = {}
        for log in logs:
            held = alone if log.number == self.count - 1 else \
                {key: found[key] for key in log.own_keys if key in found}
            fits[log.number] = log.feasible(held)
            self.states[log.number] = held
        history.narrow(fits, logs)
        for key in REGISTERS:
            value = found.get(key, (None,))[0]
            history.judge_register(logs, fits, key, self.shared.get(key), value)
            self.shared[key] = value
        for key in SHARED_COUNTERS:
            value = int(found.get(key, (b"0",))[0])
            history.judge_counter(logs, fits, key, self.shared.get(key, 0), value)
            self.shared[key] = value
        return sum(fits[log.number][-1] - len(log.answered_at) for log in logs)


class Plan:
    """A digest of all that the seed decided."""

    def __init__(self):
        self.hash = hashlib.blake2b(digest_size=8)

    def note(self, what):
        self.hash.update(repr(what).encode())
        return what


class Figures:
    """What the campaign did, for its last lines."""

    def __init__(self):
        self.stops = {mode: 0 for mode in MODES}
        self.answered = self.unanswered = self.survived = 0
        self.kills = self.start_kills = self.idle_kills = self.terms = 0
        self.start_s_max = 0.0

    def note(self, cell, survived):
        for client in cell.clients:
            self.answered += len(client.log.answered_at)
            self.unanswered += client.unanswered()
        self.survived += survived
        self.start_s_max = max(self.start_s_max, cell.start_s)

    def text(self):
        modes = ", ".join(f"{count} {mode}" for mode, count in self.stops.items())
        print(f"slowest start {self.start_s_max * 1000:.0f} ms", file=sys.stderr)
        return (f"{self.kills} kills ({self.start_kills} during a start, {self.idle_kills} idle; "
                f"stops in {modes}), {self.terms} SIGTERM; {self.answered} answers explained, "
                f"{self.survived} of {self.unanswered} unanswered commands took effect")


def one_stop(cell, figures, kills_left, mode):
    """Traffic, a stop, the restart, the check. Returns (kills done, mode of the next life)."""
    rng = cell.rng
    idle = cell.plan.note(rng.random() < 0.1)
    term = cell.plan.note(rng.random() < 0.1)
    cell.begin_life()
    if not idle:
        cell.run_traffic()
    if term:
        cell.server.terminate()
    else:
        cell.server.kill()
    figures.stops[mode] += 1
    cell.end_traffic()
    at_start = cell.plan.note(rng.choice((0, 0, 0, 1, 2)))
    kills = 0 if term else 1
    at_start = max(0, min(at_start, kills_left - kills))
    mode = cell.start(at_start)
    figures.note(cell, cell.check())
    figures.terms += term
    figures.kills += kills + at_start
    figures.start_kills += at_start
    figures.idle_kills += idle and not term
    return kills + at_start, mode


def run_directory(folder, seed, options, figures, tally, plan, kills_left):
    """So many kills in one directory. Returns how many there were."""
    rng = random.Random(seed)
    cell = Cell(folder, rng, options.connections, options.mode, plan)
    done = 0
    try:
        at_start = min(rng.choice((0, 1, 2)), kills_left)
        mode = cell.start(at_start)
        cell.begin_life()
        cell.check()  # an empty database, whatever moment its making was killed at
        tally.passed += at_start
        figures.kills += at_start
        figures.start_kills += at_start
        done += at_start
        while done < kills_left:
            kills, mode = one_stop(cell, figures, kills_left - done, mode)
            tally.passed += kills
            done += kills
        tally.run("leaves cleanly", cell.server.terminate)
    except (history.Wrong, servers.Failed, resp.Broken, resp.Malformed, OSError) as error:
        tally.fail(f"kill {figures.kills + 1} (life {cell.life} of {folder})",
                   f"{type(error).__name__}: {error}")
        done = max(done, 1)
        keep_evidence(cell, options.seed, figures.kills + 1)
    finally:
        if cell.server:
            cell.server.discard()
        for client in cell.clients:
            client.stop.set()
    return done


def keep_evidence(cell, seed, kill):
    if cell.server:
        cell.server.discard()
    kept = os.path.join(servers.ROOT, "build", "kill9", f"seed-{seed}-kill-{kill}")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(cell.folder, kept)
    print(f"  its directory and log: {os.path.relpath(kept, servers.ROOT)}")


def main():
    parser = argparse.ArgumentParser(description="kill -9, restart, and ask what is left")
    campaign.add_arguments(parser, KILLS_DEFAULT, seed=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument("--mode", choices=MODES, help="one appendfsync mode only")
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    print(f"kill9: seed {options.seed}", flush=True)
    print(f"kill9: {servers.varved_path()}", file=sys.stderr, flush=True)

    figures, tally, plan = Figures(), servers.Tally(), Plan()
    budget, kills, directories = options.budget, 0, 0
    while budget.left(kills) and tally.failed < FAILURES_MAX:
        most = min(budget.count - kills, KILLS_A_DIRECTORY) if budget.count else KILLS_A_DIRECTORY
        with servers.scratch("kill9") as folder:
            kills += run_directory(folder, f"{options.seed}/{directories}", options, figures, tally,
                                   plan, most)
        directories += 1
    return campaign.close("kill9", options.seed, tally.passed, tally.failed,
                          f"{figures.text()}; digest of the plan {plan.hash.hexdigest()}")


if __name__ == "__main__":
    sys.exit(main())
