#!/usr/bin/env python3
"""server.py - varved beside redis-server in one run: throughput, delays, server CPU a command.

    tools/build release && tests/bench/server.py [--quick] [--tests set,get,...] [--pipelines 1,16,64]
        [--values 64,1024] [--clients 50] [--keys 1m] [--rounds N] [--seconds S] [--no-always]
        [--io-threads N] [--server "OPTIONS"] [--table FILE] [--svg FILE] [--json FILE]

All servers run all the time, pinned to core 0; redis-benchmark runs on core 1 against one of them while
the others are idle. They take turns: a workload on varved, then the same on redis-server, and the other
way round in the next round; the tables have medians over the rounds. All write their log with
`appendfsync everysec`; a further pair runs SET with `always`. The keys are loaded before the first
round, and read once before the reads of each round.

    set        keys that are new          overwrite  random keys that are there
    get        random keys, all of them in the memtable (a varved with one of 1 GiB or more)
    blocks     random keys from cached blocks (one with --memtable-size 4mb, so that all but the last
               4 MB were flushed, and a cache that holds everything)
    missing    GET of names that are not there
    mixed      nine in ten connections GET, the others SET, side by side; for at least 10 clients
    hot        the same, where the keys lie among ten times as many that nobody reads: more data than the
               block cache holds, and in each block two or three of the keys. Runs last, on servers of its own;
               not one of the defaults. --server "--row-cache-size 0" shows what the row cache is for

CPU is user + system time of the whole server process from before the workload until it is idle again: log
threads, flushing and compaction are in it. Behind writes, reads begin once all servers are at rest. redis-server's rewriting of its log is switched off (it would
be in Redis's figures only). Delays are the client's; mixed: of its readers. A ratio below 1 in a CPU
column and above 1 in a throughput column is in varve's favour; `must` is what varve's CPU has to stay below,
as a ratio, for 50 clients.

--io-threads N: not beside redis-server, but varved with N loops beside varved with one, both and the client free to
use all cores: get, overwrite and mixed, unless --tests names others but blocks.

Defaults take about ten minutes, --quick two.
"""
import argparse
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

import show  # noqa: E402

SERVER_CORE, CLIENT_CORE = show.SERVER_CORE, show.CLIENT_CORE
NAMES = ("varve", "redis")  # in the tables
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
IDLE_S = 1.2       # no CPU for so long: a sync a second has had its turn
IDLE_MAX_S = 20.0
REST_S = 7         # behind writes: varved merges once more when nobody has written for 5 s
REST_SHARE = 0.04  # of a core: what servers at rest use together
REST_MAX_S = 90.0
WARM_UP = 20000    # commands before each measured workload
MIXED_MIN_CLIENTS = 10
ALL_BYTES = "$all"  # stands for what all data take
KINDS = {  # of servers: the program (None: varved) and its options
    "redis": ("redis-server", show.REDIS),
    "varve": (None, ()),
    "memtable": (None, ("--memtable-size", ALL_BYTES)),
    "blocks": (None, ("--memtable-size", "4mb", "--block-cache-size", ALL_BYTES)),
}
ALL_BYTES_MIN = 2 ** 30
RECORD_BYTES = 200       # at most what a record takes beside its value, in a memtable or a cached block
START_SHARE = 2          # a memtable is flushed before it is full, but not before half
MEMTABLES = 4            # so many times a memtable's size, and more, has to be maxmemory
VALUE = "$value"  # stands for the value in a command
TESTS = {  # name: (what runs on varve's side, the command, what the table calls it)
    "set": ("varve", ("SET", "new:__rand_int__", VALUE), "SET, new keys"),
    "overwrite": ("varve", ("SET", "key:__rand_int__", VALUE), "SET, overwrite"),
    "get": ("memtable", ("GET", "key:__rand_int__"), "GET, memtable"),
    "blocks": ("blocks", ("GET", "key:__rand_int__"), "GET, cached blocks"),
    "missing": ("varve", ("GET", "gone:__rand_int__"), "GET, missing"),
    "mixed": ("varve", ("GET", "key:__rand_int__"), "9 GET : 1 SET"),
    "hot": ("varve", ("GET", "key:__rand_int__"), "9 GET : 1 SET, hot keys"),
}
MIXED = ("mixed", "hot")
ONLY_WRITING = ("set", "overwrite")
WRITING = (*ONLY_WRITING, *MIXED)
DEFAULT_TESTS = ",".join(test for test in TESTS if test != "hot")
COLD_PER_HOT = 10
HOT_WARM_UPS = 5   # reads of each hot key, about, before the first round
ASKED_AT_ONCE = 5000
NEW_KEYS = 10 ** 9  # of so many names, hardly one comes twice
MUST = {  # CPU ratios: test, bytes of a value: by pipeline
    ("get", 64): {1: 0.91, 16: 0.56, 64: 0.40},
    ("blocks", 64): {1: 1.2, 16: 1.4, 64: 1.7},
    ("missing", 64): {1: 0.95, 16: 0.60, 64: 0.50},
    ("set", 64): {1: 0.91, 16: 0.56, 64: 0.62},
    ("overwrite", 64): {1: 0.91, 16: 0.56, 64: 0.62},
    ("set", 1024): {1: 1.0, 16: 0.77, 64: 0.67},
    ("overwrite", 1024): {1: 1.0, 16: 0.77, 64: 0.67},
}


class Scale:
    """How much is done: whole, or --quick."""

    def __init__(self, options):
        quick = options.quick
        self.keys = int(show.size(options.keys)) if options.keys else 200_000 if quick else 1_000_000
        self.rounds = options.rounds or (1 if quick else 3)
        # About two seconds of server time each, so that a clock tick of 10 ms is half a per cent.
        self.commands = {1: 40_000, 16: 250_000, 64: 400_000} if quick else \
                        {1: 150_000, 16: 800_000, 64: 1_500_000}
        self.always_commands = 20_000 if quick else 60_000
        self.deadline = time.monotonic() + options.seconds

    def count(self, pipeline, value_bytes):
        few = self.commands[min(self.commands, key=lambda p: abs(p - pipeline))]
        return max(500, few * 64 // max(64, value_bytes // 4))


def cpu_s(pid):
    """User + system seconds of a process and of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) * TICK_S


def cpu_when_idle(pid):
    """Waits until the process has used no more than a tick for IDLE_S."""
    used, since = cpu_s(pid), time.monotonic()
    deadline = since + IDLE_MAX_S
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = cpu_s(pid)
        if now - used > TICK_S * 1.5:
            used, since = now, time.monotonic()
        elif time.monotonic() - since >= IDLE_S:
            break
    return cpu_s(pid)


def rest(running):
    """Waits until nobody works in the background, on the core that all share."""
    pids = [server.pid for server in running.values()]
    deadline = time.monotonic() + REST_MAX_S
    used, quiet_s = sum(map(cpu_s, pids)), 0
    while quiet_s < REST_S and time.monotonic() < deadline:
        time.sleep(1)
        now = sum(map(cpu_s, pids))
        quiet_s = quiet_s + 1 if now - used < REST_SHARE else 0
        used = now


def start(folder, kind, mode, extra, data_bytes):
    program, options = KINDS[kind]
    if ALL_BYTES in options:
        options = [data_bytes if option == ALL_BYTES else option for option in options]
        options += ["--memtables-max", 2, "--maxmemory", data_bytes * MEMTABLES]
    options = [*options, *(extra if program is None else ())]
    place = os.path.join(folder, f"{kind}-{mode}")
    os.mkdir(place)
    return servers.Server(place, *options, "--appendfsync", mode, program=program,
                          under=("taskset", "-c", SERVER_CORE)).start()


def ask(server, prefix, keys, reply, command, *args):
    """`command` of each key that redis-benchmark -r may name, or of as many with another prefix; checks the replies."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link, link.makefile("rb") as replies:
        for begin in range(0, keys, ASKED_AT_ONCE):
            names = range(begin, min(begin + ASKED_AT_ONCE, keys))
            link.sendall(b"".join(resp.encode(command, b"%b:%012d" % (prefix, name), *args) for name in names))
            for name in names:
                got = replies.read(len(reply))
                if got != reply:
                    raise servers.Failed(f"{command} of key {name}: {got[:80]!r}")


def read_all(server, keys, value_bytes):
    """Else the reads behind writes would be measured while the cache grows."""
    ask(server, b"key", keys, b"$%d\r\n%b\r\n" % (value_bytes, b"x" * value_bytes), "GET")


def load(server, keys, value_bytes):
    ask(server, b"key", keys, b"+OK\r\n", "SET", b"x" * value_bytes)
    with server.connect(timeout_s=120) as connection:
        servers.expect(connection.call("DBSIZE"), keys, "keys loaded")


def spawn(server, command, names, value_bytes, clients, pipeline, count):
    words = ["x" * value_bytes if word == VALUE else word for word in command]
    return subprocess.Popen(
        ["taskset", "-c", CLIENT_CORE, "redis-benchmark", "-p", str(server.port), "-n", str(count),
         "-r", str(names), "-c", str(clients), "-P", str(pipeline), "--precision", "3", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def parse(process):
    """What redis-benchmark says: requests a second, delays in ms."""
    text = process.communicate(timeout=600)[0].decode()
    rate = re.search(r"throughput summary: ([0-9.]+)", text)
    delays = re.findall(r"([0-9.]+)% <= ([0-9.]+) milliseconds", text.split("Cumulative")[0])
    if process.returncode != 0 or rate is None or not delays:
        raise servers.Failed(f"redis-benchmark printed {text!r}")
    found = {"rate": float(rate.group(1))}
    for name, part in (("p50_ms", 50), ("p99_ms", 99), ("p999_ms", 99.9)):
        found[name] = next(float(ms) for share, ms in delays if float(share) >= part)
    return found


class Workload:
    """One test at one pipeline, value size and number of clients."""

    def __init__(self, test, pipeline, value_bytes, clients, count, keys):
        self.test, self.pipeline, self.value_bytes, self.clients = test, pipeline, value_bytes, clients
        self.count = count
        self.kind, self.command, self.title = TESTS[test]
        self.names = NEW_KEYS if test == "set" else keys
        self.got = {"varve": [], "redis": []}

    def run(self, server, count):
        if self.test not in MIXED:
            return parse(spawn(server, self.command, self.names, self.value_bytes, self.clients,
                               self.pipeline, count))
        writers = self.clients // 10
        share = count * writers // self.clients
        pair = [spawn(server, command, self.names, self.value_bytes, clients, self.pipeline, n)
                for command, clients, n in (
                    (self.command, self.clients - writers, count - share),
                    (TESTS["overwrite"][1], writers, share))]
        readers, writes = (parse(process) for process in pair)
        return {**readers, "rate": readers["rate"] + writes["rate"]}

    def measure(self, name, server):
        self.run(server, min(self.count, WARM_UP))
        before = cpu_when_idle(server.pid)
        got = self.run(server, self.count)
        got["cpu_us"] = (cpu_when_idle(server.pid) - before) / self.count * 1e6
        self.got[name].append(got)
        print(f"  {self.title} P {self.pipeline}, {self.value_bytes} B, {self.clients} clients, "
              f"{NAMES[name != 'varve']}: "
              f"{got['rate'] / 1000:.0f} k/s, {got['cpu_us']:.2f} us, p99 {got['p99_ms']:.2f} ms",
              file=sys.stderr, flush=True)

    def medians(self, name):
        rows = self.got[name]
        return {field: statistics.median(row[field] for row in rows) for field in rows[0]}

    def ratio(self, field):
        return self.medians("varve")[field] / max(self.medians("redis")[field], 1e-9)

    def must(self):
        bounds = MUST.get((self.test, self.value_bytes), {}) if self.clients == 50 else {}
        return bounds.get(self.pipeline)

    def row(self):
        ours, theirs = self.medians("varve"), self.medians("redis")
        delays = " | ".join(f"{ours[name]:.2f}, {theirs[name]:.2f}"
                            for name in ("p50_ms", "p99_ms", "p999_ms"))
        return (f"| {self.title}, P {self.pipeline} | {ours['rate'] / 1000:.0f} | "
                f"{theirs['rate'] / 1000:.0f} | {self.ratio('rate'):.2f} | {ours['cpu_us']:.2f} | "
                f"{theirs['cpu_us']:.2f} | {self.ratio('cpu_us'):.2f} | {self.must() or ''} | {delays} |")


def compare(folder, mode, scale, value_bytes, workloads, extra, hot=False):
    """All workloads of one size of values, in rounds."""
    running = {}
    data_bytes = max(ALL_BYTES_MIN, scale.keys * (value_bytes + RECORD_BYTES) * START_SHARE)
    try:
        for kind in ["redis", *{workload.kind for workload in workloads}]:
            running[kind] = start(folder, kind, mode, extra, data_bytes)
            load(running[kind], scale.keys, value_bytes)
            if hot:
                ask(running[kind], b"cold", scale.keys * COLD_PER_HOT, b"+OK\r\n", "SET", b"x" * value_bytes)
                workloads[0].run(running[kind], scale.keys * HOT_WARM_UPS)
        before = ONLY_WRITING[0]  # loading
        for number in range(scale.rounds):
            if number > 0 and time.monotonic() > scale.deadline:
                print(f"  out of time after {number} rounds", file=sys.stderr)
                break
            for workload in workloads:
                if before in WRITING and workload.test not in (before, *ONLY_WRITING):
                    rest(running)
                    for server in running.values():
                        read_all(server, scale.keys, value_bytes)
                before = workload.test
                for name in ("varve", "redis")[::-1 if number % 2 else 1]:
                    workload.measure(name, running[workload.kind if name == "varve" else "redis"])
    finally:
        for server in running.values():
            server.discard()


def table(workloads):
    ours, theirs = NAMES
    lines = [f"| workload | k commands/s: {ours} | {theirs} | ratio | server CPU us a command: {ours} | "
             f"{theirs} | ratio | must | p50 ms: {ours}, {theirs} | p99 | p99.9 |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    return "\n".join(lines + [workload.row() for workload in workloads])


def draw(path, title, workloads):
    """Server CPU as a ratio to redis-server's, a bar a workload; 1 and `must` as lines."""
    row, left, unit = 22, 210, 360
    height = 60 + row * len(workloads)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" font-family="sans-serif" '
           f'font-size="12"><rect width="900" height="{height}" fill="white"/>',
           f'<text x="10" y="20" font-size="15">{title}</text>']
    for i, workload in enumerate(workloads):
        y, ratio = 40 + row * i, workload.ratio("cpu_us")
        width = min(ratio, 1.8) * unit
        colour = "#2a7f62" if ratio <= (workload.must() or 1) else "#c05a3c"
        out.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{workload.title}, '
                   f'P {workload.pipeline}</text><rect x="{left}" y="{y}" width="{width:.0f}" height="16" '
                   f'fill="{colour}"/><text x="{left + width + 5:.0f}" y="{y + 12}">{ratio:.2f}</text>')
        if workload.must():
            out.append(f'<path d="M{left + workload.must() * unit:.0f} {y - 2}v20" stroke="black" '
                       'stroke-width="2"/>')
    out.append(f'<path d="M{left + unit} 32V{height - 20}" stroke="gray" stroke-dasharray="5 4"/>'
               f'<text x="{left + unit}" y="{height - 6}" text-anchor="middle">redis-server</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


def save(path, mode_workloads):
    rows = [{"mode": mode, "test": w.test, "pipeline": w.pipeline, "value": w.value_bytes,
             "clients": w.clients, **w.got} for mode, workloads in mode_workloads for w in workloads]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


def numbers(text):
    return [int(word) for word in text.split(",")]


def compare_loops(options):
    """The peer is varved with one loop, and nobody is bound to a core."""
    global SERVER_CORE, CLIENT_CORE, NAMES
    SERVER_CORE = CLIENT_CORE = f"0-{os.cpu_count() - 1}"
    NAMES = (f"{options.io_threads} loops", "1 loop")
    for kind in ("varve", "memtable"):
        KINDS[kind] = (None, ("--memtable-size", ALL_BYTES, "--io-threads", options.io_threads))
    KINDS["redis"] = (None, ("--memtable-size", ALL_BYTES, "--io-threads", 1))
    MUST.clear()
    options.no_always = True
    if options.tests == DEFAULT_TESTS:
        options.tests = "get,overwrite,mixed"


def parse_options():
    parser = argparse.ArgumentParser(description="varved beside redis-server")
    parser.add_argument("--quick", action="store_true", help="fewer keys, commands and rounds")
    parser.add_argument("--tests", default=DEFAULT_TESTS, help=", ".join(TESTS))
    parser.add_argument("--pipelines", type=numbers, default=[1, 16, 64])
    parser.add_argument("--values", type=numbers, default=[64], help="bytes of a value")
    parser.add_argument("--clients", type=numbers, default=[50])
    parser.add_argument("--keys", help="1m, or 200k with --quick")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540.0, help="begin no round after so long")
    parser.add_argument("--no-always", action="store_true", help="everysec only")
    parser.add_argument("--server", type=str.split, metavar="OPTIONS", default=[], help="options of every varved")
    parser.add_argument("--io-threads", type=int, help="so many against one")
    parser.add_argument("--table", help="write the tables to this file, too")
    parser.add_argument("--svg", help="draw CPU ratios of the first table into this file")
    parser.add_argument("--json", help="write every measurement to this file")
    options = parser.parse_args()
    if options.io_threads:
        compare_loops(options)
    options.tests = options.tests.split(",")
    unknown = set(options.tests) - set(TESTS)
    if unknown:
        parser.error(f"--tests: there is no {', '.join(sorted(unknown))}")
    return options


def plan(options, scale, value_bytes, clients):
    return [Workload(test, pipeline, value_bytes, clients, scale.count(pipeline, value_bytes), scale.keys)
            for test in options.tests for pipeline in options.pipelines
            if test not in MIXED or clients >= MIXED_MIN_CLIENTS]


def main():
    options = parse_options()
    scale = Scale(options)
    show.use_release()
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for the server, one for redis-benchmark")

    done = []  # (mode, title, workloads)
    for value_bytes in options.values:
        groups = [plan(options, scale, value_bytes, clients) for clients in options.clients]
        for hot in (False, True):
            some = [w for group in groups for w in group if (w.test == "hot") == hot]
            if some:
                with servers.scratch("bench") as folder:
                    compare(folder, "everysec", scale, value_bytes, some, options.server, hot)
        done += [("everysec", f"`appendfsync everysec`, values of {value_bytes} bytes, {clients} clients",
                  group) for clients, group in zip(options.clients, groups)]
    if not options.no_always:
        always = [Workload("overwrite", pipeline, 64, 50, scale.always_commands * pipeline // 4
                           if pipeline > 1 else scale.always_commands, scale.keys)
                  for pipeline in (1, 16)]
        with servers.scratch("bench") as folder:
            compare(folder, "always", scale, 64, always, options.server)
        done.append(("always", "`appendfsync always`, values of 64 bytes, 50 clients", always))
    print(f"{scale.keys} keys, medians of at most {scale.rounds} rounds; {platform.machine()}, "
          f"load {os.getloadavg()[0]:.1f}")
    text = "\n\n".join(f"{title}\n\n{table(workloads)}" for _, title, workloads in done)
    print("\n" + text)
    if options.table:
        with open(options.table, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    if options.svg:
        draw(options.svg, "Server CPU a command, as a ratio to redis-server's", done[0][2])
    if options.json:
        save(options.json, [(mode, workloads) for mode, _, workloads in done])
    return 0


if __name__ == "__main__":
    sys.exit(main())
