#!/usr/bin/env python3
"""server.py - varved beside redis-server in one run: throughput, and server CPU a command.

    tools/build release && tests/bench/server.py [--quick] [--rounds N] [--value BYTES]
                                                 [--seconds S] [--no-always] [--json FILE]

Both servers run all the time, pinned to core 0; redis-benchmark runs on core 1 against one of them
while the other is idle. SET and GET with 50 clients over 1 M random keys at pipelines of 1, 16 and 64;
the servers take turns (a workload on one, then the same on the other; every round begins with the
other one), and the table has medians over the rounds. Both write their log with `appendfsync
everysec`; a second pair runs SET with `always`.

CPU is user + system time of the whole server process from before the workload until it is idle again:
log threads, flushing and compaction are in it. redis-server's rewriting of its log is switched off
(it would be in Redis's figures only); varved has its defaults. The keys are loaded before the first round. Closes with a Markdown table; a ratio below 1 in a CPU
column and above 1 in a throughput column is in varve's favour.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

SERVER_CORE, CLIENT_CORE = "0", "1"
CLIENTS = 50
PIPELINES = (1, 16, 64)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
IDLE_S = 1.2       # no CPU for so long: a sync a second has had its turn
IDLE_MAX_S = 20.0
WARM_UP = 20000    # commands before each measured workload


class Scale:
    """How much is done: whole, or --quick."""

    def __init__(self, options):
        quick = options.quick
        self.keys = 200_000 if quick else 1_000_000
        self.rounds = options.rounds or (2 if quick else 5)
        # About two seconds of server time each, so that a clock tick of 10 ms is half a per cent.
        self.commands = {1: 60_000, 16: 300_000, 64: 400_000} if quick else \
                        {1: 200_000, 16: 1_000_000, 64: 2_000_000}
        self.always_commands = 20_000 if quick else 60_000
        self.value_bytes = options.value
        self.deadline = time.monotonic() + options.seconds


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


def start_pair(folder, mode):
    """(name, server) of varved and redis-server with the same durability."""
    pair = []
    pinned = ("taskset", "-c", SERVER_CORE)
    for name, options, program in (
            ("varve", ["--appendfsync", mode], None),
            ("redis", ["--save", "", "--appendonly", "yes", "--appendfsync", mode,
                       "--auto-aof-rewrite-percentage", "0"], "redis-server")):
        place = os.path.join(folder, f"{name}-{mode}")
        os.mkdir(place)
        pair.append((name, servers.Server(place, *options, program=program, under=pinned).start()))
    return pair


def load(server, scale):
    """Every key that redis-benchmark -r may name."""
    value = b"x" * scale.value_bytes
    with server.connect(timeout_s=120) as connection:
        for begin in range(0, scale.keys, 5000):
            count = min(5000, scale.keys - begin)
            connection.send_raw(b"".join(resp.encode("SET", b"key:%012d" % (begin + i), value)
                                         for i in range(count)))
            for _ in range(count):
                connection.read()
        servers.expect(connection.call("DBSIZE"), scale.keys, "keys loaded")


def benchmark(server, scale, test, pipeline, count):
    """Runs redis-benchmark; returns (requests a second, p99 in ms)."""
    done = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, "redis-benchmark", "-p", str(server.port), "-t", test,
         "-n", str(count), "-r", str(scale.keys), "-d", str(scale.value_bytes), "-c", str(CLIENTS),
         "-P", str(pipeline), "--csv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=600, check=True)
    for line in done.stdout.decode().splitlines():
        fields = line.replace('"', "").split(",")
        if fields[0] == test.upper():
            return float(fields[1]), float(fields[6])
    raise servers.Failed(f"redis-benchmark printed {done.stdout.decode()!r}")


def measure(server, scale, test, pipeline, count):
    benchmark(server, scale, test, pipeline, min(count, WARM_UP))
    before = cpu_when_idle(server.pid)
    rate, p99_ms = benchmark(server, scale, test, pipeline, count)
    spent_s = cpu_when_idle(server.pid) - before
    return {"rate": rate, "p99_ms": p99_ms, "cpu_us": spent_s / count * 1e6}


def run_rounds(pair, scale, workloads):
    """{(test, pipeline): {name: [measurement, ...]}}"""
    results = {workload[:2]: {name: [] for name, _ in pair} for workload in workloads}
    for number in range(scale.rounds):
        if number > 0 and time.monotonic() > scale.deadline:
            print(f"  out of time after {number} rounds", file=sys.stderr)
            break
        for test, pipeline, count in workloads:
            for name, server in pair[::-1 if number % 2 else 1]:
                got = measure(server, scale, test, pipeline, count)
                results[test, pipeline][name].append(got)
                print(f"  round {number + 1} {test} P {pipeline} {name}: {got['rate'] / 1000:.0f} k/s, "
                      f"{got['cpu_us']:.2f} us, p99 {got['p99_ms']:.2f} ms", file=sys.stderr)
    return results


def medians(measurements):
    return {field: statistics.median(row[field] for row in measurements)
            for field in measurements[0]}


def print_table(title, results):
    print(f"\n{title}\n")
    print("| workload | k commands/s: varve | redis | ratio | server CPU us a command: varve | redis "
          "| ratio | p99 ms: varve | redis |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (test, pipeline), by_name in results.items():
        ours, theirs = medians(by_name["varve"]), medians(by_name["redis"])
        print(f"| {test.upper()}, P {pipeline} | {ours['rate'] / 1000:.0f} | "
              f"{theirs['rate'] / 1000:.0f} | {ours['rate'] / theirs['rate']:.2f} | "
              f"{ours['cpu_us']:.2f} | {theirs['cpu_us']:.2f} | "
              f"{ours['cpu_us'] / max(theirs['cpu_us'], 1e-9):.2f} | "
              f"{ours['p99_ms']:.2f} | {theirs['p99_ms']:.2f} |")


def compare(folder, mode, scale, workloads):
    pair = start_pair(folder, mode)
    try:
        for _, server in pair:
            load(server, scale)
        return run_rounds(pair, scale, workloads)
    finally:
        for _, server in pair:
            server.discard()


def save(path, results):
    rows = [{"mode": mode, "test": test, "pipeline": pipeline, **by_name}
            for mode, table in results.items() for (test, pipeline), by_name in table.items()]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description="varved beside redis-server")
    parser.add_argument("--quick", action="store_true", help="fewer keys, commands and rounds")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900.0, help="begin no round after so long")
    parser.add_argument("--value", type=int, default=64, help="bytes of a value")
    parser.add_argument("--no-always", action="store_true", help="everysec only")
    parser.add_argument("--json", help="write every measurement to this file")
    options = parser.parse_args()
    scale = Scale(options)
    # Not whatever was built last: a build with sanitizers says nothing here.
    os.environ.setdefault("VARVED", os.path.join(servers.ROOT, "build", "release", "varved"))
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for the server, one for redis-benchmark")

    results = {}
    with servers.scratch("bench") as folder:
        results["everysec"] = compare(folder, "everysec", scale,
                                      [(test, pipeline, scale.commands[pipeline])
                                       for pipeline in PIPELINES for test in ("set", "get")])
        if not options.no_always:
            results["always"] = compare(folder, "always", scale,
                                        [("set", 1, scale.always_commands),
                                         ("set", 16, scale.always_commands * 4)])
    print(f"{scale.keys} keys, values of {scale.value_bytes} bytes, {CLIENTS} clients, medians of "
          f"at most {scale.rounds} rounds; {platform.machine()}, load {os.getloadavg()[0]:.1f}")
    for mode, table in results.items():
        print_table(f"`appendfsync {mode}`", table)
    if options.json:
        save(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
