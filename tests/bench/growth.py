#!/usr/bin/env python3
"""growth.py - what an operation costs as the data grow: more records, longer values, more bytes written.

    tools/build release && tests/bench/growth.py CASE... [--engines varve,rocksdb,leveldb] [--reads N] [--json FILE]
        [--svg FILE] [--dir DIR]

Each case is one run of varve-bench, all engines in it in turn:

    1m 10m 50m           so many records of 16 + 100 bytes
    10m-cold 50m-cold    the same, read with the system's cache dropped before each kind of read
    1kib 16kib 1mib      values of that length, 1 GiB of them
    1gb 2gb 5gb 10gb 20gb    so much written in values of 1 KiB, each key once, at random: bytes written for each byte put

Prints a table for each kind of case: a row a workload, in it the engines' processor time an operation in microseconds
(user and system, background work included), and the bytes that each byte put made dirty. `--svg` draws the
last kind. Nothing is asserted: it is a benchmark. The largest cases take tens of minutes and some 40 GB.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import show

ENGINES = "varve,rocksdb,leveldb"
WRITES = "fillrandom,overwrite"
READS = "readrandom,readmissing,seekrandom,compact"
KEY_BYTES = 16
KIB = 1024
COLOURS = {"varve": "steelblue", "rocksdb": "indianred", "rocksdb-tuned": "sandybrown",
           "leveldb": "seagreen", "lmdb": "slategray"}


class Case:
    """A run of varve-bench; kind: whose table it belongs to."""

    def __init__(self, kind, keys, value_bytes, workloads, reads=None, cold=False):
        self.kind, self.keys, self.value_bytes = kind, keys, value_bytes
        self.workloads, self.reads, self.cold = workloads, reads, cold

    def put_bytes(self):
        return self.keys * (KEY_BYTES + self.value_bytes)


def make_cases():
    cases = {}
    for millions in (1, 10, 50):
        cases[f"{millions}m"] = Case("records", millions * 10 ** 6, 100, f"{WRITES},{READS}")
    for millions in (10, 50):
        cases[f"{millions}m-cold"] = Case("cold", millions * 10 ** 6, 100, f"fillrandom,{READS}", 20000, cold=True)
    for name, length in (("1kib", KIB), ("16kib", 16 * KIB), ("1mib", KIB * KIB)):
        keys = 2 ** 30 // length
        cases[name] = Case("values", keys, length, f"{WRITES},{READS}", min(keys, 200000))
    for gigabytes in (1, 2, 5, 10, 20):
        cases[f"{gigabytes}gb"] = Case("written", gigabytes * 10 ** 9 // (KEY_BYTES + KIB), KIB, "fillrandom")
    return cases


def run(name, case, args):
    """What varve-bench says, as {(workload, tree): {engine: row}}."""
    with tempfile.TemporaryDirectory(prefix="growth-", dir=args.dir) as folder:
        figures = os.path.join(folder, "figures.json")
        command = [args.program, "--engines", args.engines, "--workloads", case.workloads,
                   "--keys", str(case.keys), "--value-bytes", str(case.value_bytes),
                   "--reads", str(case.reads or args.reads), "--dir", folder, "--json", figures]
        if case.cold:
            command.append("--cold")
        print(f"{name}: {' '.join(command[1:-4])}", file=sys.stderr, flush=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(figures, encoding="utf-8") as file:
            rows = json.load(file)
    table = {}
    for row in rows:
        table.setdefault((row["workload"], row["tree"]), {})[row["engine"]] = row
    return table


def cell(rows, engines, figure):
    return " / ".join(f"{figure(rows[engine]):.3g}" if engine in rows else "-" for engine in engines)


def print_table(kind, cases, results, engines):
    names = [name for name in results if cases[name].kind == kind]
    if not names:
        return
    print(f"\n### {kind}: {' / '.join(engines)}\n\n| workload | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    steps = list(dict.fromkeys(step for name in names for step in results[name]))
    for step in steps:
        cells = [cell(results[name].get(step, {}), engines, lambda row: row["cpu_us_per_op"]) for name in names]
        print(f"| {step[0]}{', ' + step[1] if step[1] else ''}, us | " + " | ".join(cells) + " |")
    for step in steps:
        if step[0] not in ("fillrandom", "overwrite"):
            continue
        cells = [cell(results[name][step], engines,
                      lambda row, name=name: row["bytes_written"] / cases[name].put_bytes())
                 for name in names]
        print(f"| {step[0]}, bytes written a byte put | " + " | ".join(cells) + " |")


def draw(path, cases, results, engines):
    written = [name for name in results if cases[name].kind == "written"]
    lines = [(engine, COLOURS[engine],
              [(cases[name].put_bytes() / 1e9,
                results[name][("fillrandom", None)][engine]["bytes_written"] / cases[name].put_bytes())
               for name in written if engine in results[name][("fillrandom", None)]])
             for engine in engines]
    show.svg_lines(path, "Bytes written for each byte put: new keys at random, values of 1 KiB",
                   "GB put", [("bytes written / bytes put", lines, None)])


def merge(known, new):
    for step, rows in new.items():
        known.setdefault(step, {}).update(rows)
    return known


def load(path):
    if not path or not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {name: {tuple(step): rows for step, rows in table} for name, table in json.load(file).items()}


def save(path, results):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({name: [[list(step), rows] for step, rows in table.items()]
                       for name, table in results.items()}, file, indent=1)


def parse(cases):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="none: only print what --json has")
    parser.add_argument("--engines", default=ENGINES)
    parser.add_argument("--reads", type=int, default=500000)
    parser.add_argument("--json", help="figures are added to it, so that a table can be made in several runs")
    parser.add_argument("--svg")
    parser.add_argument("--dir", default=tempfile.gettempdir())
    parser.add_argument("--program", default=os.path.join(show.servers.ROOT, "build", "release", "varve-bench"))
    args = parser.parse_args()
    for name in args.cases:
        if name not in cases:
            parser.error(f"no case {name}; there are {' '.join(cases)}")
    return args


def main():
    cases = make_cases()
    args = parse(cases)
    results = load(args.json)
    for name in args.cases:
        merge(results.setdefault(name, {}), run(name, cases[name], args))
        save(args.json, results)
    results = {name: results[name] for name in cases if name in results}
    present = {engine for table in results.values() for rows in table.values() for engine in rows}
    engines = [engine for engine in COLOURS if engine in present]
    for kind in dict.fromkeys(case.kind for case in cases.values()):
        print_table(kind, cases, results, engines)
    if args.svg:
        draw(args.svg, cases, results, engines)


if __name__ == "__main__":
    main()
