#!/usr/bin/env python3
"""storm.py - campaign: clients of every bad kind against a real server, and well-behaved ones beside them.

    storm.py [--seed N] [--budget LIVES|TIME] [--small] [--only NAME]...

A life: a server is started; 10,000 connections come and stay idle, what they cost is measured; then, in an order
drawn from the seed, each kind of abuser by itself, and the kinds that can at once (abusers.py has them and what
each may cost). All the time well-behaved clients write, read and count keys of their own, in a process of their
own, and compare every byte that comes back (good.py). After each kind everything is as it was: connections,
descriptors, memory. In the end the server is idle without them, ends by SHUTDOWN, and a restart finds what the
well-behaved were told. What a quiet client saw beside each kind goes to standard error.

Default: 2 lives; a budget is a count of lives or a time, 90s, 30m, 8h. --small: a crowd of 1,000. --only: these
kinds. The server is VARVED of the environment. Closes as tests/support/campaign.h says: a case is a
kind of abuser and what holds after it.
"""
import argparse
import contextlib
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))

import campaign  # noqa: E402
import server as servers  # noqa: E402

import abusers  # noqa: E402
from server import Failed, expect  # noqa: E402
from victim import MB, Good, Victim, until  # noqa: E402

CROWD = 10000
SMALL_CROWD = 1000
COLD_COUNT = 500
COLD_BYTES = 20000
IDLE_CPU = 0.25  # of a core, of an idle server
FAILURES_MAX = 3


class Storm:
    """One life of a server, as abusers see it."""

    def __init__(self, options, life, folder, figures):
        self.small = options.small
        self.crowd = SMALL_CROWD if options.small else CROWD
        self.maxclients = self.crowd + 2000
        self.seed = f"{options.seed}:{life}"
        self.number = options.seed * 1000 + life
        self.figures = figures
        self.victim = Victim(folder, "--maxclients", self.maxclients,
                             "--client-query-buffer-limit", "64mb")
        self.good = None
        self.loop = (0.0, 0.0)
        self.mixing = False
        self.serials = 0
        self.lock = threading.Lock()
        self.big = random.Random(self.seed).randbytes(abusers.BIG_BYTES)
        self.cold_count = COLD_COUNT

    def rng(self, name):
        return random.Random(f"{self.seed}:{name}")

    def serial(self):
        with self.lock:
            self.serials += 1
            return self.serials

    def admin(self):
        return self.victim.connect(timeout_s=60)

    def cold(self, i):
        return random.Random(f"{self.seed}:cold:{i}").randbytes(COLD_BYTES)

    # ---- what abusers found ----

    def note_crowd(self, count, cost_mb, used_bytes):
        self.figures.crowd_mb = max(self.figures.crowd_mb, cost_mb)
        print(f"  {count} idle connections cost {cost_mb:.1f} MB, {used_bytes:.0f} bytes allocated each",
              file=sys.stderr)

    def note_parks(self, count):
        self.figures.parks += count

    def tell_clients(self):
        """Some of those that are there, when something went wrong."""
        with contextlib.suppress(Exception), self.admin() as admin:
            lines = admin.call("CLIENT", "LIST").decode().splitlines()
            print(f"  {len(lines)} clients; {admin.call('INFO', 'stats').decode()[:2000]}", file=sys.stderr)
            print("\n".join(line[:300] for line in lines[:100]), file=sys.stderr, flush=True)

    def idle_share(self):
        """Of a second: what all threads ran, and the loop waited for a processor that others had."""
        before, began = self.victim.wanted_s(), time.monotonic()
        time.sleep(1)
        return (self.victim.wanted_s() - before) / (time.monotonic() - began)

    def expect_idle(self, what):
        share = self.idle_share()
        if share > IDLE_CPU:
            raise Failed(f"{what}: {share:.0%} of a core")

    def rest(self):
        """The well-behaved send nothing until they are asked to go on."""
        self.figures.good += self.good.ask("rest")["commands"]

    # ---- a life ----

    def begin(self):
        self.victim.start()

    def fill(self):
        """Values that abusers ask for; the cold ones leave memory with what is written after them."""
        admin = self.victim.admin
        for i in range(self.cold_count):
            admin.call("SET", f"cold:{i}", self.cold(i))
        for i in range(4):
            admin.call("SET", "big", self.big)
        self.good = Good(self.victim, self.number)
        self.good.ask("mark")
        self.loop = self.victim.loop_s()
        time.sleep(0.5)
        self.tell_delays("(nobody)", 0.5)
        self.victim.note_base()

    def tell_delays(self, name, took_s):
        said, loop = self.good.ask("mark"), self.victim.loop_s()
        ran_s, waited_s = loop[0] - self.loop[0], loop[1] - self.loop[1]
        self.loop = loop
        self.figures.good += said["commands"]
        print(f"  {name:<16} {took_s:5.1f} s, peak {self.victim.peak_mb():6.1f} MB; the loop ran {ran_s:.2f} s, "
              f"waited {waited_s:.2f} s for a processor; a quiet client: p50 {said['p50_ms']:.2f}, p99 {said['p99_ms']:.2f}, longest {said['max_ms']:.1f} ms",
              file=sys.stderr, flush=True)

    def watched(self, name, bound_mb, work):
        """Runs work, then everything has to be as before."""
        self.victim.forget_peak()
        before_mb, began = self.victim.rss_mb(), time.monotonic()
        self.figures.connections += work()
        peak_mb = self.victim.peak_mb() - before_mb
        if self.good:
            self.tell_delays(name, time.monotonic() - began)
            self.victim.settle()
        if peak_mb > bound_mb and not self.victim.sanitized():
            raise Failed(f"it took {peak_mb:.0f} MB more, and its bound is {bound_mb:.0f}")

    def alone(self, abuser):
        self.watched(abuser.__name__, abusers.BOUND_MB[abuser], lambda: abuser(self, 1))

    def mixed(self, chosen):
        """Some kinds at once, each on a thread."""
        made, problems = [], []

        def run(abuser):
            try:
                made.append(abuser(self, 0.5))
            except Exception as error:  # whatever it is, the others go on
                problems.append(f"{abuser.__name__}: {type(error).__name__}: {error}")
                self.tell_clients()

        def work():
            threads = [threading.Thread(target=run, args=(abuser,)) for abuser in chosen]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if problems:
                raise Failed("; ".join(problems))
            return sum(made)
        self.mixing = True
        try:
            self.watched("all at once", sum(abusers.BOUND_MB[each] for each in chosen), work)
        finally:
            self.mixing = False

    def end(self):
        """Idle, ended, started again: what the well-behaved were told is there."""
        self.rest()
        state = self.good.ask("state")["state"]
        until(lambda: self.idle_share() < IDLE_CPU, 30, "the server is not idle")
        self.good.end()
        admin = self.victim.admin
        admin.send("SHUTDOWN")
        self.victim.wait_exit()
        self.victim.start()
        for key, value in state.items():
            expect(self.victim.admin.call("GET", key), value and value.encode(), f"{key} after the restart")
        self.figures.keys += len(state)
        self.victim.terminate()

    def discard(self):
        if self.good:
            self.good.end()
        self.victim.discard()


class Figures:
    def __init__(self):
        self.lives = self.kinds = self.connections = self.good = self.parks = self.keys = 0
        self.crowd_mb = 0.0

    def text(self, crowd):
        return (f"{self.lives} lives of a server, {self.kinds} storms of {self.connections} connections, "
                f"{crowd} idle ones cost {self.crowd_mb:.0f} MB; {self.good} commands of well-behaved "
                f"clients answered right, {self.parks} commands waited for the disk; "
                f"{self.keys} keys as told after a restart")


def one_life(options, life, figures, tally):
    with servers.scratch("storm") as folder:
        storm = Storm(options, life, folder, figures)
        try:
            run_life(storm, options, tally)
        finally:
            storm.discard()


def run_life(storm, options, tally):
    wanted = [abuser for abuser in abusers.BOUND_MB
              if not options.only or abuser.__name__ in options.only]

    def case(name, work):
        storm.figures.kinds += 1
        label = f"{name}, seed {options.seed}, life {storm.seed.split(':')[1]}"
        return tally.run(label, work)
    if not case("start", storm.begin):
        return
    if abusers.crowd in wanted:
        wanted.remove(abusers.crowd)
        case("crowd", lambda: storm.alone(abusers.crowd))
    if not case("well-behaved clients", storm.fill):
        return
    storm.rng("order").shuffle(wanted)
    for abuser in wanted:
        if not case(abuser.__name__, lambda abuser=abuser: storm.alone(abuser)):
            return  # what holds afterwards is not known
    mixed = [abuser for abuser in abusers.MIXED if abuser in wanted]
    if len(mixed) > 1 and not case("all at once", lambda: storm.mixed(mixed)):
        return
    case("end", storm.end)
    storm.figures.lives += 1


def main():
    parser = argparse.ArgumentParser(description="bad clients against a real server")
    campaign.add_arguments(parser, 2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    options = parser.parse_args()
    known = {abuser.__name__ for abuser in abusers.BOUND_MB}
    if set(options.only or ()) - known:
        sys.exit(f"storm.py: there are: {' '.join(sorted(known))}")
    figures, tally = Figures(), servers.Tally()
    life = 0
    while options.budget.left(life) and tally.failed < FAILURES_MAX:
        one_life(options, life, figures, tally)
        life += 1
    crowd = SMALL_CROWD if options.small else CROWD
    return campaign.close("storm", options.seed, tally.passed, tally.failed, figures.text(crowd))


if __name__ == "__main__":
    sys.exit(main())
