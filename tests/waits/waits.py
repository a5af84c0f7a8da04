#!/usr/bin/env python3
"""waits.py - campaign: the loop never waits for the disk, shown on a disk that is made slow.

    waits.py [--seed N] [--budget ROUNDS] [--only NAME] [--dir DIR]

A real server with tests/support/slow.c preloaded, which makes reads, syncs and removes take as long as is said
here, and counts what the loop's thread asks of the disk: nothing may be. Three cases:

    reads    50 ms in every cold read, sixteen clients that meet them by all kinds of commands (but for walks and
             counts in transactions, which wait), with flushes and compactions between: the GETs of resident keys
             by another client take, at p99, at most twice what they take beside the same clients without the
             50 ms, both measured in turn
    syncs    200 ms in every sync, 50 ms in every remove, `everysec`: with paced SETs, GETs, flushes, compactions
             and changes of the log file no reply comes later than 20 ms; once with small log files, once with
             usual ones
    always   200 ms in every sync, `always`: GETs of what is durable go on at once while a SET waits

A bound on time is asked for in rounds: the machine may be busy, and so one good round of `--budget` (6) is enough,
where a loop that waits has none. That the loop asks nothing of the disk holds in every round. Where it may, it
runs server and clients at a raised priority. Data lie in /dev/shm unless --dir says else, so that the only slow
disk is this one. The figures of
all rounds go to standard error. The server is VARVED of the environment.
"""
import argparse
import gc
import mmap
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))

import campaign  # noqa: E402
import resp  # noqa: E402
import server as servers  # noqa: E402
from server import Failed  # noqa: E402

FIELDS = ("read_us", "sync_us", "remove_us", "cold", "watch", "reads", "syncs", "removes", "by_loop")
CONTROL_BYTES = 8 * len(FIELDS) + 24
PRIORITY = -15
KEYS = 4000
VALUE_BYTES = 1000
COLD_CLIENTS = 16
COLD_PAUSE_S = 0.15
ALTERNATIONS = 5
RESIDENT = 50
READ_US, SYNC_US, REMOVE_US = 50_000, 200_000, 50_000
LATE_MS = 20.0
P99_TIMES = 2.0
P99_LEAST_MS = 0.2  # below this the difference of two figures is the clock's and the scheduler's
GET_PAUSE_S = 0.0005
OPTIONS = ("--memtable-size", "512kb", "--memtables-max", "8", "--block-cache-size", "2mb", "--segment-size",
           "1mb", "--min-free", "0", "--reserve-size", "0", "--read-threads", "4")


def raise_priority():
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except OSError:
        pass  # not root: more rounds may be disturbed


class Slow:
    """The preloaded library's control."""

    def __init__(self, folder):
        self.library = os.path.join(folder, "slow.so")
        subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", self.library,
                        os.path.join(servers.ROOT, "tests", "support", "slow.c"), "-ldl"], check=True)
        path = os.path.join(folder, "control")
        with open(path, "wb+") as file:
            file.truncate(CONTROL_BYTES)
            self.map = mmap.mmap(file.fileno(), CONTROL_BYTES)
        self.env = [f"LD_PRELOAD={self.library}", f"SLOW_CONTROL={path}"]

    def __getitem__(self, name):
        return struct.unpack_from("Q", self.map, 8 * FIELDS.index(name))[0]

    def set(self, **values):
        for name, value in values.items():
            struct.pack_into("Q", self.map, 8 * FIELDS.index(name), value)

    def quiet(self):
        self.set(read_us=0, sync_us=0, remove_us=0, cold=0, watch=0)

    def check_loop(self):
        if self["by_loop"]:
            what = self.map[8 * len(FIELDS):CONTROL_BYTES].rstrip(b"\0").decode()
            raise Failed(f"the loop itself asked the disk {self['by_loop']} times, first by {what}")


def value_of(key, serial=0):
    return b"%d/%d/" % (key, serial) + random.Random(key).randbytes(VALUE_BYTES)


def percentile_ms(took, part):
    return 1000 * sorted(took)[min(len(took) - 1, int(len(took) * part))]


class Getter:
    """GETs of resident keys, one at a time, on this thread; other threads of this process sleep or are few."""

    def __init__(self, server):
        self.connection = server.connect(timeout_s=60)
        self.values = [b"r%d" % i * 10 for i in range(RESIDENT)]

    def write(self):
        for i, value in enumerate(self.values):
            if self.connection.call("SET", b"resident:%d" % i, value) != b"OK":
                raise Failed("a SET is refused")

    def run(self, seconds, pause_s=GET_PAUSE_S):
        """Seconds each."""
        took, turn, end = [], 0, time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            got = self.connection.call("GET", b"resident:%d" % (turn % RESIDENT))
            took.append(time.perf_counter() - began)
            servers.expect(got, self.values[turn % RESIDENT], "a resident key")
            turn += 1
            time.sleep(pause_s)
        return took


def child(work, *args):
    """Runs work(*args) in a process of its own at a raised priority; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            gc.disable()
            work(*args)
            status = 0
        except (Failed, resp.Broken) as error:
            print(f"  {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return pid


class Crowd:
    """Clients in a process of their own, until end()."""

    def __init__(self, work, *args):
        self.pid = child(self.run, work, *args)

    def run(self, work, *args):
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        work(ended, *args)

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        _, status = os.waitpid(self.pid, 0)
        if status != 0:
            raise Failed("a client beside got a wrong answer, or none")


# ---- the clients beside ----

def cold_commands(rng):
    """A command that meets cold keys, with the check of its reply."""
    keys = [rng.randrange(KEYS) for _ in range(rng.choice((1, 1, 1, 3, 12)))]
    names = [b"cold:%d" % key for key in keys]
    values = [value_of(key) for key in keys]
    return rng.choice((
        (("GET", names[0]), values[0]),
        (("MGET", *names), values),
        (("EXISTS", *names), len(names)),
        (("STRLEN", names[0]), len(values[0])),
        (("GETRANGE", names[0], "0", "9"), values[0][:10]),
        (("SETRANGE", names[0], "0", values[0][:3]), len(values[0])),
        (("APPEND", names[0], ""), len(values[0])),
        (("GETSET", names[0], values[0]), values[0]),
        (("TTL", names[0]), -1),
        (("DEL", b"no:" + names[0]), 0),
        (("SCAN", str(rng.randrange(1 << 30)), "COUNT", "5"), None),
        (("RANDOMKEY",), None),
        (("DBSIZE",), None),
        (("INFO", "keyspace"), None),
    ))


def one_cold_client(ended, port, number, problems):
    rng = random.Random(number)
    with resp.Connection(port, timeout_s=60) as connection:
        while not ended.is_set() and not problems:
            (command, wanted) = cold_commands(rng)
            if rng.random() < 0.1 and wanted is not None:
                for part in (("MULTI",), command, command):
                    connection.call(*part)
                got = connection.call("EXEC")
                got = got[0] if isinstance(got, list) else got
            else:
                got = connection.call(*command)
            ended.wait(COLD_PAUSE_S)
            if isinstance(got, resp.Error) or wanted not in (None, got):
                problems.append(f"{command[:2]}: {servers.shorten(got)}")


def cold_clients(ended, port):
    """Not at the raised priority: how long these take is nobody's concern, and they are many."""
    os.nice(-os.getpriority(os.PRIO_PROCESS, 0))
    problems = []
    threads = [threading.Thread(target=one_cold_client, args=(ended, port, number, problems))
               for number in range(COLD_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise Failed("; ".join(problems))


def paced_writes(ended, port, commands_a_second, path):
    """SETs of other keys, each by itself at its time; the longest goes to a file."""
    longest, serial = 0.0, 0
    with resp.Connection(port, timeout_s=60) as connection:
        while not ended.is_set():
            began = time.perf_counter()
            if connection.call("SET", b"write:%d" % (serial % 3000), value_of(serial % 3000, serial)) != b"OK":
                raise Failed("a SET is refused")
            took = time.perf_counter() - began
            longest = max(longest, took)
            serial += 1
            time.sleep(max(0.0, 1 / commands_a_second - took))
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{longest * 1000} {serial}")


# ---- the cases ----

class Bed:
    def __init__(self, folder, slow, *options):
        self.slow = slow
        self.logs = set()
        slow.quiet()
        slow.set(by_loop=0)
        self.folder = tempfile.mkdtemp(dir=folder)
        self.server = servers.Server(self.folder, *OPTIONS, *options, under=("env", *slow.env))

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.slow.quiet()
        self.server.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self):
        with self.server.connect(timeout_s=60) as connection:
            for first in range(0, KEYS, 200):
                replies = connection.calls([("SET", b"cold:%d" % key, value_of(key))
                                            for key in range(first, first + 200)])
                servers.expect(set(replies), {b"OK"}, "SETs")

    def info(self, field):
        with self.server.connect(timeout_s=60) as connection:
            text = connection.call("INFO", "lsm", "varve").decode()
        return int(re.search(rf"^{field}:(?:count=)?(\d+)", text, re.M).group(1))

    def log_files_seen(self):
        """How many there were at the moments when this was called."""
        self.logs |= {name for name in os.listdir(os.path.join(self.folder, "data")) if name.endswith(".wal")}
        return len(self.logs)

    def longest_write(self):
        with open(os.path.join(self.folder, "longest"), encoding="ascii") as file:
            longest, count = file.read().split()
        return float(longest), int(count)


def reads(folder, slow, note):
    with Bed(folder, slow) as bed:
        bed.load()
        getter = Getter(bed.server)
        getter.write()
        slow.set(cold=1, watch=1)
        before = slow["reads"], bed.info("flushes")
        crowd = Crowd(cold_clients, bed.server.port)
        writer = Crowd(paced_writes, bed.server.port, 500, os.path.join(bed.folder, "longest"))
        took = {0: [], READ_US: []}
        for read_us in (0, READ_US) * ALTERNATIONS:
            slow.set(read_us=read_us)
            time.sleep(0.15)  # what was on its way ends
            getter.write()  # into the memtable of now
            took[read_us] += getter.run(0.35)
        flushes = bed.info("flushes") - before[1]
        slow.set(read_us=0)  # what still waits ends soon
        crowd.end()
        writer.end()
        slow.set(watch=0)
        cold = slow["reads"] - before[0]
        slowed, quiet = percentile_ms(took[READ_US], 0.99), percentile_ms(took[0], 0.99)
        note(f"p99 of resident GETs {slowed:.2f} ms, quiet {quiet:.2f} ms; {cold} cold reads, {flushes} flushes")
        slow.check_loop()
        if cold < 200 or flushes == 0:
            raise Failed("it was not busy enough: nothing is shown")
        return slowed, max(P99_LEAST_MS, P99_TIMES * quiet)


def syncs_with(folder, slow, note, wal_size):
    with Bed(folder, slow, "--wal-size", wal_size) as bed:
        bed.load()
        getter = Getter(bed.server)
        getter.write()
        before = slow["syncs"], bed.info("flushes"), bed.info("compactions"), bed.log_files_seen(), bed.info("stall_memtables")
        slow.set(sync_us=SYNC_US, remove_us=REMOVE_US, watch=1)
        writer = Crowd(paced_writes, bed.server.port, 300, os.path.join(bed.folder, "longest"))
        took = getter.run(8.0)
        done = [now - was for now, was in
                zip((bed.info("flushes"), bed.info("compactions"), bed.log_files_seen(),
                     bed.info("stall_memtables")), before[1:])]
        writer.end()
        slow.set(watch=0, sync_us=0, remove_us=0)
        count = slow["syncs"] - before[0]
        longest, sets = bed.longest_write()
        gets = percentile_ms(took, 1)
        note(f"log files of {wal_size}: longest of {sets} SETs {longest:.1f} ms, of {len(took)} GETs {gets:.1f}; "
             f"{count} syncs of 200 ms, {done[0]} flushes, {done[1]} compactions, {done[2]} log files, "
             f"{done[3]} stalls")
        slow.check_loop()
        if min(count, *done[:2]) == 0:
            raise Failed("it was not busy enough: nothing is shown")
        return max(longest, gets), LATE_MS


def syncs(folder, slow, note):
    return syncs_with(folder, slow, note, "64mb")


def small_files(folder, slow, note):
    return syncs_with(folder, slow, note, "128kb")


def always(folder, slow, note):
    with Bed(folder, slow, "--appendfsync", "always") as bed:
        getter = Getter(bed.server)
        getter.write()
        getter.run(0.3)
        quiet = percentile_ms(getter.run(1.0), 0.99)
        slow.set(sync_us=SYNC_US, watch=1)
        writer = Crowd(paced_writes, bed.server.port, 1000, os.path.join(bed.folder, "longest"))
        took = getter.run(2.5)
        writer.end()
        slow.set(watch=0, sync_us=0)
        longest, sets = bed.longest_write()
        slowed = percentile_ms(took, 0.99)
        note(f"always: p99 of GETs of what is durable {slowed:.2f} ms, quiet {quiet:.2f} ms, longest "
             f"{percentile_ms(took, 1):.1f}; a SET took up to {longest:.0f} ms ({sets} of them)")
        slow.check_loop()
        if longest < SYNC_US / 1000:
            raise Failed("a SET did not wait for its sync")
        return slowed, max(P99_LEAST_MS, P99_TIMES * quiet)


CASES = (reads, syncs, small_files, always)


def run_case(case, options, folder, slow):
    """Rounds until one keeps the bound. Returns the figures of that one."""
    seen = []
    for number in range(options.budget.count or 6):
        told = []
        value, bound = case(folder, slow, told.append)
        print(f"  {case.__name__}, round {number + 1}: {told[-1]}", file=sys.stderr, flush=True)
        if value <= bound:
            return told[-1]
        seen.append(f"{value:.2f} ms, bound {bound:.2f}")
    raise Failed(f"no round kept the bound: {'; '.join(seen)}")


def main():
    parser = argparse.ArgumentParser(description="the loop never waits for the disk")
    campaign.add_arguments(parser, 6)
    parser.add_argument("--only", choices=[case.__name__ for case in CASES])
    parser.add_argument("--dir", help="where the data lie; default: /dev/shm")
    options = parser.parse_args()
    raise_priority()
    gc.disable()
    tally, figures = servers.Tally(), []
    base = options.dir or ("/dev/shm" if os.path.isdir("/dev/shm") else None)
    folder = tempfile.mkdtemp(prefix="varve-waits-", dir=base)
    try:
        slow = Slow(folder)
        for case in CASES:
            if options.only in (None, case.__name__):
                tally.run(case.__name__, lambda case=case: figures.append(run_case(case, options, folder, slow)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return campaign.close("waits", options.seed, tally.passed, tally.failed, "; ".join(figures))


if __name__ == "__main__":
    sys.exit(main())
