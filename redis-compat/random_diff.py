#!/usr/bin/env python3
"""random_diff.py - the same random commands to varved and to Debian's redis-server, replies compared.

    random_diff.py [--seed N] [--budget N | Ns | Nm | Nh]     commands for each of RESP2 and RESP3
    --protocol 2|3             one of the two
    --round N                  that round alone
    --only NAME, --without NAME    these commands, or all but these; may be repeated
    --differences N            stop after so many different differences (8)

What is sent comes from random_commands.py: every one of its commands that varved says it has, on three
connections, in rounds that begin with an empty server. Neighbouring commands of one connection go out as
one pipeline. Replies are compared byte by byte, but for those that a clock or chance decides (LOOSE) and
for the differences that differences.md explains (random_known.py). A difference ends its round: the round is cut
down to the fewest commands that still show it, and these are printed in the form of commands/*.txt.

Closes with a line of figures and `N passed, N failed`: a case is a round. Standard output is the same
for the same seed and count on the same two servers.
"""
import argparse
import hashlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import diff  # noqa: E402
import random_commands  # noqa: E402
import random_known  # noqa: E402
import resp  # noqa: E402
import server as servers  # noqa: E402
import table  # noqa: E402

BUDGET = 20000
ROUND_COMMANDS = 400
BATCH = 60  # commands that one pipeline has at most
TIMEOUT_S = 30.0
CLOCK_MARGIN_S = 20
SHRINK_S = 60  # no longer for one difference
MARKED = b"+QUEUED\r\n"
EMPTYING = (b"FLUSHDB", b"FLUSHALL", b"SWAPDB")

# What a clock or chance decides: name -> how replies are compared.
LOOSE = {b"TTL": "seconds", b"PTTL": "milliseconds", b"EXPIRETIME": "seconds", b"HELLO": "kinds",
         b"PEXPIRETIME": "milliseconds", b"RANDOMKEY": "kind", b"SCAN": "sorted", b"KEYS": "sorted"}


# ---- comparing ----

def loose_of(words):
    return LOOSE.get(words[0].upper())


def same_tree(how, ours, theirs):
    """Of two parsed replies."""
    if ours == theirs:
        return True
    if ours[0] != theirs[0] or ours[0] in b"-+":
        return False
    if how in ("seconds", "milliseconds"):
        margin = CLOCK_MARGIN_S * (1000 if how == "milliseconds" else 1)
        both = (int(ours[1]), int(theirs[1])) if ours[0] == b":" else (-1, 0)
        return min(both) >= 0 and abs(both[0] - both[1]) <= margin
    if how == "kinds":
        return diff.reduce(ours, {"kinds": []}) == diff.reduce(theirs, {"kinds": []})
    if how == "kind":
        return True
    if how == "sorted":
        return sorted_tree(ours) == sorted_tree(theirs)
    return False


def sorted_tree(tree):
    kind, content = tree
    if not isinstance(content, list):
        return tree
    return kind, sorted((sorted_tree(part) for part in content), key=repr)


class Judge:
    """Compares replies, knowing what each connection has queued since MULTI."""

    def __init__(self):
        self.queued = {}  # connection -> calls
        self.emptied = 0  # how often a database was emptied or swapped,
        self.swapped = 0  # how often swapped,
        self.failed = 0  # and how often a step of BITFIELD may have failed
        self.watches = {}  # connection -> these numbers, when it began to watch
        self.parted = False  # the two hold different data, for a reason that is known
        self.seen = set()  # IDs of differences.md

    def begin(self):
        self.queued.clear()
        self.watches.clear()
        self.parted = False

    def same(self, connection, words, ours, theirs):
        emptied, swapped, failed = self.note_watch(connection, words[0].upper(), theirs)
        queue = self.queued.setdefault(connection, [])
        name = words[0].upper()
        if theirs == MARKED and ours == MARKED:
            queue.append(words)
            return True
        calls = [words]
        if name in (b"EXEC", b"DISCARD", b"RESET") or (name == b"MULTI" and ours == b"+OK\r\n"):
            if name == b"EXEC":
                calls = list(queue)
                self.emptied += any(call[0].upper() in EMPTYING for call in calls)
                self.swapped += any(call[0].upper() == b"SWAPDB" for call in calls)
                self.failed += any(call[0].upper() == b"BITFIELD" for call in calls)
            queue.clear()
        for identity, told in ((random_known.CAME_AND_WENT,
                                random_known.watch_came_and_went(ours, theirs, emptied)),
                               (random_known.SWAPPED_IN,
                                random_known.watch_swapped_in(ours, theirs, swapped)),
                               (random_known.GROWTH,
                                random_known.growth_is_watched(ours, theirs, failed))):
            if name == b"EXEC" and told:
                self.seen.add(identity)
                self.parted = True
                return True
        if ours == theirs:
            return True
        try:
            trees = [diff.Reader(reply).tree() for reply in (ours, theirs)]
        except ValueError:
            return False
        if name != b"EXEC":
            return self.same_reply(words, *trees)
        if not all(isinstance(tree[1], list) and len(tree[1]) == len(calls) for tree in trees):
            return False
        return all(self.same_reply(call, a, b) for call, a, b in zip(calls, trees[0][1], trees[1][1]))

    def note_watch(self, connection, name, reply):
        """Since this connection watches: was a database emptied or swapped, was one swapped, did a step of
        BITFIELD fail?"""
        self.emptied += name in EMPTYING
        self.swapped += name == b"SWAPDB"
        self.failed += name == b"BITFIELD" and (b"$-1\r\n" in reply or b"_\r\n" in reply)
        now = (self.emptied, self.swapped, self.failed)
        if name == b"WATCH":
            self.watches.setdefault(connection, now)
        since = self.watches.get(connection, now)
        if name in (b"EXEC", b"DISCARD", b"UNWATCH", b"RESET") \
                and not reply.startswith((b"-ERR", MARKED)):
            self.watches.pop(connection, None)
        return tuple(then != number for then, number in zip(since, now))

    def same_reply(self, words, ours, theirs):
        if same_tree(loose_of(words), ours, theirs):
            return True
        for identity, test in random_known.KNOWN.items():
            if test(words, ours, theirs):
                self.seen.add(identity)
                return True
        return False

    def is_fixed(self, connection, words):
        """Whether the same seed gives the same bytes another time, too."""
        calls = self.queued.get(connection, []) if words[0].upper() == b"EXEC" else [words]
        return not any(loose_of(call) or call[0].upper() == b"OBJECT" for call in calls)


# ---- the two servers ----

class Sides:
    def __init__(self, ours, theirs, protocol):
        self.servers = (ours, theirs)
        self.protocol = protocol
        self.connections = ({}, {})

    def begin(self):
        """Both empty, no connections."""
        self.close()
        for server, connections in zip(self.servers, self.connections):
            if server.process.poll() is not None:
                server.start()
            self.connect(server, connections, 0).call("FLUSHALL")

    def connect(self, server, connections, number):
        if number not in connections:
            connection = server.connect(TIMEOUT_S)
            if self.protocol == 3:
                connection.call("HELLO", 3)
            connections[number] = connection
        return connections[number]

    def batch(self, number, lines):
        """The replies of both to one pipeline."""
        data = b"".join(resp.encode(*words) for words in lines)
        pair = []
        for server, connections in zip(self.servers, self.connections):
            try:
                connection = self.connect(server, connections, number)
                connection.send_raw(data)
                pair.append(connection)
            except (resp.Broken, OSError, servers.Failed):
                pair.append(None)
        return [self.replies(connection, len(lines)) for connection in pair]

    @staticmethod
    def replies(connection, count):
        got = []
        try:
            while connection is not None and len(got) < count:
                got.append(connection.read_bytes())
        except (resp.Broken, resp.Malformed) as broken:
            got.append(f"<{broken}>".encode())
        return got + [b"<closed>"] * (count - len(got))

    def close(self):
        for connections in self.connections:
            for connection in connections.values():
                connection.close()
            connections.clear()


def batches(steps):
    """[(connection, first index, calls)]: neighbours of one connection together."""
    at = 0
    while at < len(steps):
        end = at + 1
        while end < len(steps) and steps[end][0] == steps[at][0] and end - at < BATCH:
            end += 1
        yield steps[at][0], at, [words for _, words in steps[at:end]]
        at = end


def play(sides, steps, judge, digest=None):
    """(index, our reply, theirs) of the first difference, or None."""
    sides.begin()
    judge.begin()
    for number, first, lines in batches(steps):
        ours, theirs = sides.batch(number, lines)
        for index, words in enumerate(lines):
            fixed = judge.is_fixed(number, words)
            if not judge.same(number, words, ours[index], theirs[index]):
                return first + index, ours[index], theirs[index]
            if judge.parted:
                return None
            if digest is not None:
                digest.update(repr((number, words, theirs[index] if fixed else b"")).encode())
    return None


# ---- shrinking ----

class Shrinker:
    """Cuts a sequence down to what its last call needs to be answered differently."""

    def __init__(self, sides):
        self.sides = sides
        self.ends_at = time.monotonic() + SHRINK_S

    def differs(self, steps, last):
        found = play(self.sides, steps + [last], Judge())
        return found is not None and found[0] == len(steps)

    def shrink(self, steps):
        steps, last = list(steps[:-1]), steps[-1]
        chunk = max(1, len(steps) // 2)
        while steps and time.monotonic() < self.ends_at:
            at, cut = 0, False
            while at < len(steps) and time.monotonic() < self.ends_at:
                fewer = steps[:at] + steps[at + chunk:]
                if self.differs(fewer, last):
                    steps, cut = fewer, True
                else:
                    at += chunk
            if chunk == 1 and not cut:
                break
            chunk = max(1, chunk // 2)
        return self.fewer_connections(steps, last)

    def fewer_connections(self, steps, last):
        together = [(last[0], words) for _, words in steps]
        return (together if self.differs(together, last) else steps) + [last]


def quote(word):
    if word and all(33 <= byte < 127 and byte not in b"\"'\\#@!" for byte in word):
        return word.decode()
    special = {34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"}
    return '"' + "".join(special.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
                         for byte in word) + '"'


def script(steps, protocol):
    """The steps as lines of a file of commands/."""
    lines, on = [], 0
    for number, words in steps:
        if number != on:
            lines.append(f"@on {number + 1}")
            on = number
        lines.append(" ".join(quote(word) for word in words))
    return "".join(f"    {line}\n" for line in [f"# RESP{protocol}", *lines])


# ---- the campaign ----

def read_budget(text):
    """(commands or None, seconds or None)."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    number = text[:-1] if unit else text
    if not number.isdigit() or int(number) == 0:
        sys.exit(f"--budget {text}: a count, or Ns, Nm, Nh")
    return (None, int(number) * unit) if unit else (int(number), None)


def make_payloads(server):
    """What DUMP of Redis gives for strings of every encoding, and for another type."""
    values = (b"", b"abc", b"12", b"-3", b"70000", b"5000000000", b"x" * 300, bytes(range(256)), b"1.5")
    payloads = []
    with server.connect() as connection:
        for value in values:
            connection.call("SET", "payload", value)
            payloads.append(connection.call("DUMP", "payload"))
        connection.call("FLUSHALL")
    return payloads


class Campaign:
    def __init__(self, options, ours, theirs):
        self.options = options
        self.ours, self.theirs = ours, theirs
        self.tally = servers.Tally()
        self.digest = hashlib.sha256()
        self.signatures = set()
        self.counts = {}
        self.judge = Judge()
        with ours.connect() as connection:
            here = {name.decode() for name in connection.call("COMMAND", "LIST")}
        chosen = set(options.only or random_commands.names()) - set(options.without or ())
        self.available = here & chosen
        self.waiting = sorted(random_commands.names() - here)
        self.untried = sorted((here & table.wave_commands()) - random_commands.names()
                              - random_commands.NOT_RANDOM)
        self.payloads = make_payloads(theirs)

    def round(self, sides, protocol, number):
        sequence = random_commands.Sequence(f"{self.options.seed} {protocol} {number}",
                                            self.available, self.payloads)
        steps = sequence.steps(ROUND_COMMANDS) + random_commands.look_at_all(self.available)
        for _, words in steps:
            name = words[0].lower()
            self.counts[name] = self.counts.get(name, 0) + 1
        found = play(sides, steps, self.judge, self.digest)
        if found is None:
            self.tally.passed += 1
        else:
            self.explain(sides, protocol, number, steps, found)
        return len(steps)

    def explain(self, sides, protocol, number, steps, found):
        index, ours, theirs = found
        words = steps[index][1]
        signature = (words[0].upper(), ours[:12], theirs[:12])
        name = f"RESP{protocol} round {number} command {index} {words[0].upper().decode('latin-1')!r}"
        if signature in self.signatures:
            self.tally.fail(name, "as above")
            return
        self.signatures.add(signature)
        fewest = Shrinker(sides).shrink(steps[:index + 1])
        again = play(sides, fewest, Judge())
        shown = again[1:] if again else (ours, theirs)
        self.tally.fail(name, f"\n    varve {diff.cut(shown[0])}\n    redis {diff.cut(shown[1])}\n"
                        + script(fewest, protocol) + ("" if again else "    (not every time)\n"))

    def run(self, protocol):
        count, seconds = read_budget(self.options.budget)
        deadline = time.monotonic() + seconds if seconds else None
        sides = Sides(self.ours, self.theirs, protocol)
        sent, number = 0, self.options.round or 0
        while len(self.signatures) < self.options.differences:
            sent += self.round(sides, protocol, number)
            number += 1
            if self.options.round is not None or (sent >= count if count else
                                                  time.monotonic() >= deadline):
                break
        sides.close()
        return sent

    def close(self, sent):
        whole = not (self.options.only or self.options.without or self.options.round is not None)
        if self.waiting:
            print(f"waiting until varved has them: {' '.join(self.waiting)}")
        for identity in sorted(self.judge.seen - diff.read_differences()):
            self.tally.fail(identity, "differs, and differences.md does not say why")
        for name in self.untried:
            self.tally.fail(name, "varved has it, and random_commands.py has no row for it")
        if whole and sum(sent.values()) >= BUDGET:
            for name in sorted(self.available):
                if not self.counts.get(name.encode()):
                    self.tally.fail(name, "was never sent")
        told = ", ".join(f"{commands} commands in RESP{protocol}" for protocol, commands in sent.items())
        print(f"figures: random_diff, seed {self.options.seed}: {told}, of {len(self.available)} names, "
              f"{len(self.signatures)} differences, digest {self.digest.hexdigest()[:16]}")
        return self.tally.close()


def main():
    parser = argparse.ArgumentParser(description="compare varved with redis-server at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", default=str(BUDGET))
    parser.add_argument("--protocol", type=int, choices=(2, 3))
    parser.add_argument("--round", type=int)
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--without", action="append", metavar="NAME")
    parser.add_argument("--differences", type=int, default=8)
    options = parser.parse_args()
    began = time.monotonic()
    with servers.scratch("random") as folder:
        os.mkdir(os.path.join(folder, "redis"))
        with servers.Server(folder) as ours, \
                servers.redis_server(os.path.join(folder, "redis")) as theirs:
            campaign = Campaign(options, ours, theirs)
            sent = {protocol: campaign.run(protocol)
                    for protocol in ((options.protocol,) if options.protocol else (2, 3))}
            campaign.tally.run("varved leaves cleanly", ours.terminate)
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)
    return campaign.close(sent)


if __name__ == "__main__":
    sys.exit(main())
