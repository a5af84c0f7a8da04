#!/usr/bin/env python3
"""smoke.py - varve-bench with a few keys: every workload on every engine that is built in.

    smoke.py [NAME...]     all cases, or the named ones

varve-bench checks the engines' answers by itself; here its own output is looked at, and that it fails
where an engine does. Closes with `N passed, N failed`.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = os.environ.get("VARVE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("VARVE_BUILD") or os.path.join(ROOT, "build", "release")
PROGRAM = os.path.join(BUILD, "varve-bench")
SMALL = ["--keys", "3000", "--syncs", "10", "--memtable", "1m", "--settle", "20", "--rest", "0"]
ENGINES = ["varve", "rocksdb", "rocksdb-tuned", "leveldb", "lmdb"]
WRITES = ["fillseq", "fillsync", "fillbatch", "fillrandom", "overwrite", "compact", "deleterandom"]
READS = ["readrandom", "readmissing", "seekrandom", "readseq", "readwhilewriting"]
STEPS = ([(name, None) for name in WRITES]
         + [(name, tree) for name in READS for tree in ("natural", "compacted")])
KEYS = {"engine", "workload", "tree", "cpu_us_per_op", "ops_per_s", "p50_us", "p99_us", "p999_us",
        "max_us", "bytes_written", "bytes_on_disk", "peak_rss_bytes", "round"}


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == code, f"{' '.join(arguments)} ended with {done.returncode}:\n{said}"
    return done.stdout.decode(), said


def lacking(said):
    match = re.search(r"built without((?: [\w-]+)+)", said)
    return match.group(1).split() if match else []


def look_at(rows, engines, steps, rounds):
    """One row a round, step and engine, each with figures that can be."""
    seen = {(row["round"], row["workload"], row["tree"], row["engine"]) for row in rows}
    wanted = {(number + 1, *step, engine)
              for number in range(rounds) for step in steps for engine in engines}
    assert seen == wanted and len(rows) == len(wanted), f"rows: {seen ^ wanted}"
    for row in rows:
        assert set(row) == KEYS, f"keys: {set(row) ^ KEYS}"
        assert row["cpu_us_per_op"] > 0 and row["ops_per_s"] > 0, row
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"], row
        assert row["bytes_on_disk"] > 0 and row["bytes_written"] >= 0, row
        assert row["peak_rss_bytes"] > 1 << 20, row


def case_all_engines(scratch):
    files = {what: os.path.join(scratch, what) for what in ("json", "table", "svg")}
    outputs = [word for what, path in files.items() for word in (f"--{what}", path)]
    printed, said = run(*SMALL, "--dir", scratch, *outputs)
    engines = [name for name in ENGINES if name not in lacking(said)]
    with open(files["json"], encoding="utf-8") as file:
        look_at(json.load(file), engines, STEPS, 1)
    with open(files["table"], encoding="utf-8") as file:
        table = file.read()
    assert "readrandom, compacted" in printed and "readrandom, compacted" in table
    assert all(f"**{name}**" in table for name in engines), table
    drawing = xml.etree.ElementTree.parse(files["svg"]).getroot()
    bars = [node for node in drawing if node.tag.endswith("rect")][1:]
    assert len(bars) == len(engines) * len(STEPS), len(bars)
    assert sorted(os.listdir(scratch)) == ["json", "svg", "table"], "databases are left"


def case_one_engine(scratch):
    path = os.path.join(scratch, "json")
    for durability in ("everysec", "always"):
        run(*SMALL, "--keys", "1000", "--dir", scratch, "--json", path, "--engines", "varve",
            "--rounds", "2", "--threads", "2", "--durability", durability, "--workloads",
            "readrandom,seekrandom,readwhilewriting", "--trees", "compacted,natural",
            "--seed", "7", "--value-bytes", "20000", "--key-bytes", "40")
        with open(path, encoding="utf-8") as file:
            look_at(json.load(file), ["varve"], [step for step in STEPS if step[0] in (
                "readrandom", "seekrandom", "readwhilewriting")], 2)


def case_seconds(scratch):
    drawing = os.path.join(scratch, "svg")
    printed, _ = run(*SMALL, "--dir", scratch, "--engines", "varve", "--workloads", "overwrite",
                     "--seconds", "2", "--timeline", drawing)
    row = re.search(r"Overwrite, second by second.*\n\| varve \| 2 \| (\d+)", printed, re.DOTALL)
    assert row and int(row.group(1)) > 0, printed
    root = xml.etree.ElementTree.parse(drawing).getroot()
    lines = [node for node in root if node.tag.endswith("polyline")]
    assert [len(line.get("points").split()) for line in lines] == [2, 2, 2], "a point a second"


def case_cold(scratch):
    path = os.path.join(scratch, "json")
    run(*SMALL, "--dir", scratch, "--json", path, "--cold", "--workloads", ",".join(READS))
    with open(path, encoding="utf-8") as file:
        engines = {row["engine"] for row in json.load(file)}
    assert "varve" in engines, engines


def case_quick_is_known(_):
    printed, _ = run("--help")
    assert "--quick" in printed and "--json FILE" in printed


def case_refuses(_):
    for wrong in (["--engines", "nosuch"], ["--workloads", "readrandom,"], ["--keys", "1"],
                  ["--value-bytes", "-1"], ["--rounds", "0"], ["--durability", "maybe"],
                  ["--seconds", "0"], ["--nosuch"], ["word"]):
        _, said = run(*wrong, code=2)
        assert "--help" in said, said


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def wait_for(what, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def stop_one(scratch, hit, code):
    """Runs until `hit` did something to the process, and looks that it failed and left nothing."""
    path = os.path.join(scratch, "json")
    process = subprocess.Popen([PROGRAM, *SMALL, "--rounds", "50", "--engines", "varve", "--dir",
                                scratch, "--json", path], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: children_of(process.pid) and os.listdir(scratch))
        hit(process.pid)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code and not printed, (process.returncode, printed)
    assert not os.listdir(scratch), "something is left"
    return said.decode()


def case_engine_dies(scratch):
    said = stop_one(scratch, lambda pid: os.kill(children_of(pid)[0], signal.SIGKILL), 1)
    assert "FAILED: varve in" in said, said


def case_interrupted(scratch):
    said = stop_one(scratch, lambda pid: os.kill(pid, signal.SIGINT), 1)
    assert "interrupted" in said, said


def main():
    cases = {name[5:]: case for name, case in globals().items() if name.startswith("case_")}
    failed = 0
    names = sys.argv[1:] or list(cases)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="varve-bench-smoke-") as scratch:
            try:
                cases[name](scratch)
                print(f"ok      {name}", flush=True)
            except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as problem:
                failed += 1
                print(f"FAILED  {name}: {problem}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
