#!/usr/bin/env python3
"""suites.py - the test suites of others, run against varved: Redis's own and resp-compatibility.

    suites.py [TEXT...]            the files of Redis's tcl suite whose names contain a text; without
                                   one, all of this wave
    --server NAME                  varved; redis: Debian's redis-server, to calibrate the runner;
                                   redis-limited: that with all but this wave's commands removed
    --resp-compatibility DIR       that suite's clone; without it this suite is not run
    --redis-source DIR             Redis's source tree; else apt-get fetches Debian's (redis_source.py)
    --write                        write what was measured on varved into README.md's table
    --logs DIR                     keep what the suites printed
    --show                         print the names of the tests that failed

Redis's suite runs in its external mode, every file with a server of its own, since a test that fails
leaves settings and transactions behind. A case is a file: passed, if at least as many of its tests
are ok as are with a real Redis that has this wave's commands only, less the tests that skipped.txt
names and explains, and if the server lived. Without Redis's source it says `skipped: WHY` and exits with 77.
Closes with `N passed, N failed`.
"""
import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import redis_source  # noqa: E402
import server as servers  # noqa: E402
import table  # noqa: E402

README = os.path.join(HERE, "README.md")
FILE_TIMEOUT_S = 180
TAGS = "-slow -needs:debug -needs:repl -needs:save -needs:config-maxmemory"
RESP_COMPATIBILITY_VERSION = "7.0.0"

# Ports of the suite's own: a run takes a base of which it saw the first port free, for two runs on one machine would
# otherwise both begin at the suite's usual one. They stay below those that the system gives to clients.
BASE_PORTS = range(10000, 20000, 50)
PORT_COUNT = 2000
CLIENT_PORT_OFFSET = -32

# A file of the suite: how many tests are ok on redis-server, and on one with this wave's commands only (table.py).
Gate = namedtuple("Gate", "whole wave")
GATES = {
    "unit/protocol": Gate(19, 15),
    "unit/keyspace": Gate(53, 43),
    "unit/scan": Gate(17, 5),
    "unit/info-command": Gate(3, 3),
    "unit/type/string": Gate(72, 68),
    "unit/type/incr": Gate(23, 21),
    "unit/expire": Gate(56, 55),
    "unit/quit": Gate(3, 3),
    "unit/multi": Gate(35, 26),
    "unit/dump": Gate(9, 9),
    "unit/bitops": Gate(45, 44),
    "unit/bitfield": Gate(16, 16),
    "unit/other": Gate(12, 11),
    "unit/latency-monitor": Gate(13, 10),
    "integration/redis-cli": Gate(28, 22),
    "unit/slowlog": Gate(9, 5),
    "unit/introspection": Gate(27, 25),
    "unit/introspection-2": Gate(43, 16),
    "unit/pause": Gate(14, 8),
}
COMPATIBILITY = "resp-compatibility"
RESP_COMPATIBILITY = Gate(350, 101)
SKIPPED = 77  # the exit code of a run that could not be, as automake and meson have it

Skip = namedtuple("Skip", "file name counts reason")
# stopped: why the suite left before its end, ""; died: what the server said if it is gone, "".
Outcome = namedtuple("Outcome", "ok failed skipped stopped died", defaults=("", ""))


# ---- what is left out ----

def read_skips():
    """skipped.txt: FILE | NAME | counts or apart | REASON."""
    skips = []
    with open(os.path.join(HERE, "skipped.txt"), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != 4 or parts[0] not in (*GATES, COMPATIBILITY) or \
                    parts[2] not in ("counts", "apart"):
                sys.exit(f"skipped.txt:{number}: not FILE | NAME | counts or apart | REASON")
            skips.append(Skip(parts[0], parts[1], parts[2] == "counts", parts[3]))
    return skips


# ---- servers ----

def limited_options(folder):
    """A file of settings that takes all commands but this wave's from redis-server."""
    with servers.redis_server(folder) as redis, redis.connect() as connection:
        names = {name.decode() for name in connection.call("COMMAND", "LIST") if b"|" not in name}
    path = os.path.join(folder, "limited.conf")
    with open(path, "w", encoding="utf-8") as file:
        for name in sorted(names - table.wave_commands()):
            file.write(f'rename-command {name} ""\n')
    return ["--include", path]


def open_server(kind, folder):
    if kind == "varved":
        return servers.Server(folder)
    limits = limited_options(folder) if kind == "redis-limited" else []
    return servers.redis_server(folder, "--enable-debug-command", "local",
                                "--enable-protected-configs", "yes", *limits)


# ---- Redis's suite ----

def lay_tree(source, folder):
    """A copy of what the suite needs, for it writes into its own folder."""
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "src"))
    shutil.copytree(os.path.join(source, "tests"), os.path.join(tree, "tests"), symlinks=True)
    for name in ("runtest", "redis.conf", "sentinel.conf"):
        shutil.copy(os.path.join(source, name), tree)
    for name in ("redis-cli", "redis-benchmark"):
        os.symlink(shutil.which(name), os.path.join(tree, "src", name))
    return tree


def need_programs():
    """What the suite itself runs; NoSource says what is missing."""
    for name in ("tclsh", "redis-server", "redis-cli", "redis-benchmark"):
        if shutil.which(name) is None:
            raise redis_source.NoSource(f"{name} is not installed (tools/packages suites)")


def base_port():
    while True:
        port = random.choice(BASE_PORTS)
        with contextlib.closing(socket.socket()) as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port + CLIENT_PORT_OFFSET))
                return str(port)


def run_bounded(argv, folder, log_path, timeout_s):
    """Runs a program with its children; False if it had to be ended. Its output is in the log."""
    with open(log_path, "wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(timeout_s)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def read_outcome(log_path, ended):
    with open(log_path, encoding="utf-8", errors="replace") as log:
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read())
    found = {"ok": [], "err": [], "skip": []}
    for verdict, name in re.findall(r"^\[(ok|err|skip)\]: (.*)$", text, re.MULTILINE):
        found[verdict].append(re.sub(r" \(\d+ ms\)$", "", name))
    stopped = re.findall(r"^\[exception\]: (.*)$", text, re.MULTILINE)
    if not ended:
        stopped.append(f"ended after {FILE_TIMEOUT_S} s")
    elif not found["ok"] and not found["err"] and not stopped:
        stopped.append(" ".join(text.strip().split("\n")[-4:])[-300:])
    return Outcome(found["ok"], found["err"], found["skip"], "; ".join(stopped))


def run_tcl_file(file, source, skips, options):
    with servers.scratch("suite") as folder:
        os.mkdir(os.path.join(folder, "server"))
        tree = lay_tree(source, folder)
        skip_path = os.path.join(folder, "skip")
        with open(skip_path, "w", encoding="utf-8") as out:
            out.writelines(f"{skip.name}\n" for skip in skips if skip.file == file)
        log_path = os.path.join(options.logs or folder, file.replace("/", "-") + ".log")
        with open_server(options.server, os.path.join(folder, "server")) as server:
            ended = run_bounded(
                ["./runtest", "--host", "127.0.0.1", "--port", str(server.port), "--durable",
                 "--ignore-encoding", "--ignore-digest", "--clients", "1", "--tags", TAGS,
                 "--baseport", base_port(), "--portcount", str(PORT_COUNT), "--skipfile", skip_path,
                 "--single", file], tree, log_path, FILE_TIMEOUT_S)
            died = server.process.poll()
            said = server.log_tail(3) if died is not None else ""
        outcome = read_outcome(log_path, ended)
        if died is not None:
            outcome = outcome._replace(died=f"the server ended with {died}: {said}")
        return outcome


def gate_of(file, skips, kind):
    gate = RESP_COMPATIBILITY if file == COMPATIBILITY else GATES[file]
    left_out = [skip for skip in skips if skip.file == file]
    if file == COMPATIBILITY and kind != "varved":
        left_out = []  # it runs whole, whatever it is that varved is excused from
    if kind == "redis":
        return gate.whole - len(left_out)
    return gate.wave - sum(skip.counts for skip in left_out)


def passes(outcome, gate):
    return len(outcome.ok) >= gate and not outcome.died


def check_gates(skips, tally):
    """A file with one test too few, or whose server died, must not pass: else all of this is for nothing."""
    for file in GATES:
        gate = gate_of(file, skips, "varved")
        there = Outcome(["a test"] * gate, [], [])
        if gate < 1 or not passes(there, gate) or passes(there._replace(ok=there.ok[1:]), gate) or \
                passes(there._replace(died="crashed"), gate):
            tally.fail(f"the gate of {file}", f"{gate} does not tell good from bad")
            return
    tally.passed += 1


def check_table(skips, tally):
    """README.md's table has the gates as they are, and no less than them for varved."""
    text = table.split_at(README, "suites")[1]
    for file, gate in GATES.items():
        left_out = sum(skip.file == file for skip in skips)
        row = re.search(rf"^\| {file} \| {gate.whole} \| {gate.wave} \| {left_out} \| (\d+) \|$",
                        text, re.MULTILINE)
        if row is None or int(row.group(1)) < gate_of(file, skips, "varved"):
            tally.fail("README.md's table", f"{file} has changed since: write it anew (--write)")
            return
    tally.passed += 1


def judge_tcl(file, source, skips, options, tally):
    outcome = run_tcl_file(file, source, skips, options)
    wanted = gate_of(file, skips, options.server)
    counted = (f"{len(outcome.ok)} ok (gate {wanted}), {len(outcome.failed)} failed, "
               f"{len(outcome.skipped)} skipped")
    for why in (outcome.stopped, outcome.died):
        counted += f"; stopped: {why}" if why else ""
    if passes(outcome, wanted):
        tally.passed += 1
        print(f"ok     {file}: {counted}", flush=True)
    else:
        tally.fail(file, counted)
    if options.show:
        for name in outcome.failed:
            print(f"       - {name}")
    return outcome


# ---- resp-compatibility ----

def run_resp_compatibility(clone, skips, options, tally):
    program = os.path.join(os.path.abspath(clone), "resp_compatibility.py")
    if not os.path.isfile(program):
        tally.fail("resp-compatibility", f"{program} is not there")
        return None
    with servers.scratch("suite") as folder:
        log_path = os.path.join(options.logs or folder, "resp-compatibility.log")
        with open_server(options.server, folder) as server:
            run_bounded(["/usr/bin/python3", program, "--host", "127.0.0.1", "--port",
                         str(server.port), "--testfile",
                         os.path.join(os.path.dirname(program), "cts.json"), "--specific-version",
                         RESP_COMPATIBILITY_VERSION, "--show-failed"], folder, log_path,
                        FILE_TIMEOUT_S)
        with open(log_path, encoding="utf-8", errors="replace") as log:
            text = log.read()
    closing = re.search(r"total tests: (\d+), passed: (\d+)", text)
    gate = gate_of(COMPATIBILITY, skips, options.server)
    if closing is None:
        tally.fail("resp-compatibility", f"no summary: {text.strip()[-300:]}")
        return None
    counted = f"{closing.group(2)} of {closing.group(1)} (gate {gate})"
    if int(closing.group(2)) >= gate:
        tally.passed += 1
        print(f"ok     resp-compatibility {RESP_COMPATIBILITY_VERSION}: {counted}", flush=True)
    else:
        tally.fail(f"resp-compatibility {RESP_COMPATIBILITY_VERSION}", counted)
    if options.show:
        for line in re.findall(r"^FailedTest.*$", text, re.MULTILINE):
            print(f"       - {line[:300]}")
    return int(closing.group(2))


# ---- README's table ----

def make_rows(measured, compatible, skips):
    rows = ["| file of Redis's suite | redis-server | with this wave's commands only | skipped, in "
            "`skipped.txt` | varved |", "|---|---|---|---|---|"]
    totals = [0, 0, 0, 0]
    for file, gate in GATES.items():
        left_out = sum(skip.file == file for skip in skips)
        cells = (gate.whole, gate.wave, left_out, len(measured[file].ok))
        totals = [total + cell for total, cell in zip(totals, cells)]
        rows.append(f"| {file} | " + " | ".join(str(cell) for cell in cells) + " |")
    rows.append("| together | " + " | ".join(str(total) for total in totals) + " |")
    if compatible is not None:
        left_out = sum(skip.file == COMPATIBILITY for skip in skips)
        rows.append(f"| resp-compatibility {RESP_COMPATIBILITY_VERSION}, of 350 | "
                    f"{RESP_COMPATIBILITY.whole} | {RESP_COMPATIBILITY.wave} | {left_out} | "
                    f"{compatible} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description="run the suites of others against varved")
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--server", default="varved", choices=("varved", "redis", "redis-limited"))
    parser.add_argument("--resp-compatibility", metavar="DIR")
    parser.add_argument("--redis-source", metavar="DIR")
    parser.add_argument("--logs", metavar="DIR")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    if options.write and (options.texts or options.server != "varved"):
        parser.error("--write goes with a whole run against varved")
    if options.logs:
        os.makedirs(options.logs, exist_ok=True)
    tally, skips, measured, compatible = servers.Tally(), read_skips(), {}, None
    try:
        need_programs()
        source = options.redis_source or redis_source.tree()
    except redis_source.NoSource as missing:
        print(f"skipped: Redis's own tests cannot be had: {missing}")
        return SKIPPED
    check_gates(skips, tally)
    if not options.write:
        check_table(skips, tally)
    for file in GATES:
        if not options.texts or any(text in file for text in options.texts):
            measured[file] = judge_tcl(file, source, skips, options, tally)
    print(f"figures: tcl suite on {options.server}: "
          f"{sum(len(outcome.ok) for outcome in measured.values())} ok, gate "
          f"{sum(gate_of(file, skips, options.server) for file in measured)}")
    if options.resp_compatibility:
        compatible = run_resp_compatibility(options.resp_compatibility, skips, options,
                                            tally)
    if options.write:
        table.replace_between(README, "suites", make_rows(measured, compatible, skips))
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
