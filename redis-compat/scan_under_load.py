#!/usr/bin/env python3
"""scan_under_load.py - SCAN while a writer adds, deletes and overwrites as fast as it is let.

    scan_under_load.py [--seed N] [--budget N | Ns | Nm | Nh] [--keys N]

A writer of its own process sends pipelines without a pause: it sets and deletes the keys of one half, so
that they come and go, and overwrites those of the other half, which are there throughout; now and then
it fills and flushes another database. Beside it, a budget of SCANs goes through the whole database with
random COUNTs, some with MATCH or TYPE. Each must return every key that was there throughout and that its
MATCH lets through, no key that never was, and must come to its end. Memtables and segments are small, so
that flushes and compactions run all the time: the figures say how many.

A case is a whole SCAN. Closes with a line of figures and `N passed, N failed`. With
VARVED=/usr/bin/redis-server it runs against redis-server. While varved lacks a command that it needs, the
program says so and runs nothing.
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402
from random_diff import read_budget  # noqa: E402

KEYS = 40000
SCANS = 10
NEEDED = {"scan", "select", "flushdb"}
PIPELINE = 500
PAGES_MAX = 1 << 20  # of one SCAN
VALUE = b"v" * 90
OPTIONS = ("--memtable-size", "1mb", "--segment-size", "1mb", "--wal-size", "1mb")
OK_BYTES, COUNT_BYTES = 5, 4  # of the replies "+OK" and ":0"


def stays(number):
    return number % 2 == 0


def set_bytes(number, version):
    key = b"key:%08d" % number
    value = b"%010d" % version + VALUE
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


def delete_bytes(number):
    key = b"key:%08d" % number
    return b"*2\r\n$3\r\nDEL\r\n$%d\r\n%b\r\n" % (len(key), key)


# ---- the writer, a process of its own ----

class Writer:
    def __init__(self, port, keys, seed):
        self.connection = resp.Connection(port)
        self.keys = keys
        self.random = random.Random(seed)
        self.version = 0
        self.owed_bytes = 0  # replies that are still to come

    def send(self, parts, reply_bytes):
        """A pipeline; returns when all but its own replies, whose length is known, have come."""
        self.connection.send_raw(b"".join(parts))
        while self.owed_bytes > 0:
            got = self.connection.socket.recv(1 << 16)
            if not got or b"-" in got:
                sys.exit(f"the server said {got[:200]!r}")
            self.owed_bytes -= len(got)
        self.owed_bytes += reply_bytes

    def fill(self):
        for first in range(0, self.keys, PIPELINE):
            numbers = range(first, min(first + PIPELINE, self.keys))
            self.send([set_bytes(number, 0) for number in numbers], OK_BYTES * len(numbers))
        self.send([], 0)

    def some(self):
        parts, reply_bytes = [], 0
        for number in self.random.choices(range(self.keys), k=PIPELINE):
            self.version += 1
            if not stays(number) and self.version & 1:
                parts.append(delete_bytes(number))
                reply_bytes += COUNT_BYTES
            else:
                parts.append(set_bytes(number, self.version))
                reply_bytes += OK_BYTES
        self.send(parts, reply_bytes)

    def other_database(self):
        parts = [resp.encode("SELECT", 1)] + [set_bytes(number, 0) for number in range(PIPELINE)]
        parts += [resp.encode("FLUSHDB"), resp.encode("SELECT", 0)]
        self.send(parts, OK_BYTES * len(parts))

    def run(self):
        self.fill()
        print("filled", flush=True)
        rounds = 0
        while os.getppid() != 1:
            self.some()
            rounds += 1
            if rounds % 64 == 0:
                self.other_database()


def write(port, keys, seed):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Writer(port, keys, seed).run()


# ---- the SCANs ----

def scan_all(connection, options, count):
    """All that a whole SCAN returns, in a list with what came repeatedly."""
    found, cursor = [], b"0"
    for _ in range(PAGES_MAX):
        cursor, page = connection.call("SCAN", cursor, "COUNT", count, *options)
        found += page
        if cursor == b"0":
            return found
    raise servers.Failed(f"SCAN COUNT {count} did not end after {PAGES_MAX} calls")


def check_scan(connection, keys, chooser):
    """One SCAN; how many keys it returned twice or more."""
    options, wanted = chooser.choice((
        ((), lambda number: True),
        (("TYPE", "string"), lambda number: True),
        (("MATCH", "key:*7?"), lambda number: number // 10 % 10 == 7),
    ))
    count = chooser.choice((10, 77, 100, 500, 1000, 5000))
    found = scan_all(connection, options, count)
    once = set(found)
    expected = {b"key:%08d" % number for number in range(keys) if stays(number) and wanted(number)}
    possible = {b"key:%08d" % number for number in range(keys) if wanted(number)}
    told = f"SCAN COUNT {count} {' '.join(options)}"
    missed, strange = sorted(expected - once), sorted(once - possible)
    if missed:
        raise servers.Failed(f"{told} missed {len(missed)} of {len(expected)} keys that were there "
                             f"throughout, the first is {missed[0]!r}")
    if strange:
        raise servers.Failed(f"{told} returned {len(strange)} keys that cannot be: {strange[0]!r}")
    return len(found) - len(once)


def read_info(server):
    with server.connect() as connection:
        text = connection.call("INFO", "all").decode() + connection.call("INFO", "lsm").decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def run_scans(server, options, tally):
    chooser = random.Random(options.seed)
    scans, seconds = read_budget(options.budget)
    deadline = time.monotonic() + seconds if seconds else None
    number = repeated = 0
    with server.connect() as connection:
        while number < scans if scans else time.monotonic() < deadline:
            number += 1

            def one():
                nonlocal repeated
                repeated += check_scan(connection, options.keys, chooser)
            tally.run(f"SCAN {number}", one)
    return repeated


def measure(server, options, tally):
    """Starts the writer, runs the SCANs beside it, ends it."""
    writer = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--writer",
                               str(server.port), "--keys", str(options.keys), "--seed",
                               str(options.seed)], stdout=subprocess.PIPE)
    try:
        if writer.stdout.readline() != b"filled\n":
            raise servers.Failed("the writer ended")
        before, began = read_info(server), time.monotonic()
        repeated = run_scans(server, options, tally)
        after, took_s = read_info(server), time.monotonic() - began
        if writer.poll() is not None:
            tally.fail("the writer", f"ended with {writer.returncode}")
    finally:
        writer.terminate()
        writer.wait()
    changed = {name: int(after.get(name, 0)) - int(before.get(name, 0))
               for name in ("total_commands_processed", "flushes", "compactions")}
    print(f"{changed['total_commands_processed'] / took_s:.0f} commands a second beside the SCANs, "
          f"{changed['flushes']} flushes, {changed['compactions']} compactions, {repeated} keys "
          f"returned again, {took_s:.1f} s", file=sys.stderr)
    if "flushes" in after and not changed["flushes"]:
        tally.fail("the load", "not one memtable was flushed beside the SCANs")


def make_server(folder):
    if os.path.basename(servers.varved_path()) == "redis-server":
        return servers.redis_server(folder)
    return servers.Server(folder, *OPTIONS)


def main():
    parser = argparse.ArgumentParser(description="SCAN beside a writer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", default=str(SCANS))
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--writer", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        return write(options.writer, options.keys, options.seed)
    tally = servers.Tally()
    with servers.scratch("scan") as folder, make_server(folder) as server:
        with server.connect() as connection:
            missing = NEEDED - {name.decode() for name in connection.call("COMMAND", "LIST")}
        if missing:
            print(f"waiting until varved has them: {' '.join(sorted(missing))}")
            print("0 passed, 0 failed")
            return 0
        measure(server, options, tally)
        tally.run("the server leaves cleanly", server.terminate)
    print(f"figures: scan_under_load, seed {options.seed}: {options.budget} SCANs over "
          f"{options.keys} keys")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
