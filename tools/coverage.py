#!/usr/bin/env python3
"""coverage.py - which lines and branches of src/ the tests reach, and the gates; see tests/README.md.

    tools/test coverage                  runs the tests in build/coverage, then reports
    tools/coverage.py --report           reports on what the last run counted

The counts are gcc's, read by gcovr; build/coverage/index.html is its picture. A branch that no test
takes may stand with a reason in the source, on the line of the branch or above its statement:

    /* unreached: the caller has looked at the length */

Both ways out of a CHECK count as one that is taken: the other one aborts, which no test survives.
Closes with `N passed, N failed`: the cases of the tests, and a case for each gate.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple

import source
import test_parts

BUILD = "coverage"
FOLDER = os.path.join(test_parts.ROOT, "build", BUILD)
# The parts that run, in this build. What ends by kill -9 writes no counts; the rest looks at other builds.
RUN = ("unit", "property", "threads", "fault", "iofail", "oom", "model", "powercut", "bitrot", "race",
       "fuzz", "golden", "integration", "tool")
# Of campaigns whose own measure is for more than to reach each line.
BUDGETS = {"powercut": "40000", "model": "1500000", "bitrot": "60s"}
REASON_CHARS_MIN = 12
REASON = re.compile(r"/\*\s*unreached:\s*(.*?)\s*\*/", re.S)
CHECK = re.compile(r"\bCHECK\(")

# Every branch of these is taken or has its reason.
GATES = (
    ("WAL", r"src/lsm/(wal_?\w*|log_\w+|record)\.[ch]"),
    ("manifest", r"src/lsm/(manifest\w*|version)\.[ch]"),
    ("recovery", r"src/lsm/(recovery|db_open|heal)\.[ch]"),
    ("RESP", r"src/resp/\w+\.[ch]"),
)
ENGINE = re.compile(r"src/(lsm|segment|env)/")
ENGINE_PERCENT = 95.0

Missed = namedtuple("Missed", "path line taken count reason")
# lines and branches: how many there are; missed: the branches that are not taken, by line.
File = namedtuple("File", "path lines lines_hit branches taken missed")


# ---- running ----

def in_this_build(part, counts):
    """The part's jobs, with the programs of build/coverage instead of the part's own build."""
    program = test_parts.program_of(part)
    budget = []
    if part.name in BUDGETS and program and "--budget" in source.read(program):
        budget = ["--budget", BUDGETS[part.name]]
    return [job._replace(env=dict(job.env, GCOV_PREFIX=counts))
            for job in test_parts.jobs_of(part._replace(build=BUILD), "", budget)]


def counts_in(folder):
    return [os.path.join(found, name) for found, _, names in os.walk(folder)
            for name in names if name.endswith(".gcda")]


def run_tests():
    """The counts are written to a folder that a test may use that runs a program as another user: a program
    that cannot write them says so among its own words. Then they go to where gcovr looks for them."""
    passed = failed = 0
    test_parts.LOGS = os.path.join(FOLDER, "test-logs")
    for path in counts_in(FOLDER):
        os.remove(path)
    with tempfile.TemporaryDirectory(prefix="varve-coverage-") as counts:
        os.chmod(counts, 0o777)
        umask = os.umask(0)
        for part in test_parts.find_parts():
            jobs = in_this_build(part, counts) if part.name in RUN else []
            if jobs:
                cases = test_parts.run_part(part, jobs)
                passed += cases[0]
                failed += cases[1]
        os.umask(umask)
        for path in counts_in(counts + FOLDER):
            shutil.move(path, path[len(counts):])
    return passed, failed


# ---- reading ----

def gcovr(*output):
    subprocess.run(["gcovr", "--root", test_parts.ROOT, "--filter", "src/", *output,
                    "--object-directory", FOLDER, os.path.join(FOLDER, "src")],
                   check=True, cwd=test_parts.ROOT)


def reasons_of(text):
    """The reason of each line that has one: the line of the comment, or the next one if it has its own, and
    those that the line's parentheses reach to."""
    lines = text.split("\n")
    code = source.strip_comments(text).split("\n")
    reasons = {}
    for match in REASON.finditer(text):
        reason = re.sub(r"\s*\n[\s*]*", " ", match.group(1))
        at = text.count("\n", 0, match.start())
        if lines[at].lstrip().startswith("/*"):
            at = text.count("\n", 0, match.end()) + 1
        depth = 0
        while at < len(lines):
            reasons[at + 1] = reason
            depth += code[at].count("(") - code[at].count(")")
            at += 1
            if depth <= 0:
                break
    return reasons


def read_file(entry):
    text = source.read(entry["file"])
    lines = text.split("\n")
    reasons = reasons_of(text)
    code = [line for line in entry["lines"] if not line.get("gcovr/noncode")]
    branches = taken = 0
    missed = []
    for line in code:
        number = line["line_number"]
        if CHECK.search(lines[number - 1]):
            continue
        ways = [branch["count"] > 0 for branch in line["branches"]]
        branches += len(ways)
        taken += sum(ways)
        if not all(ways):
            missed.append(Missed(entry["file"], number, sum(ways), len(ways),
                                 reasons.get(number, "")))
    return File(entry["file"], len(code), sum(line["count"] > 0 for line in code), branches, taken,
                missed)


def read_counts():
    path = os.path.join(FOLDER, "coverage.json")
    gcovr("--json", path, "--exclude-branches-by-pattern", r".*\bCHECK\(",
          "--html-details", os.path.join(FOLDER, "index.html"))
    with open(path, encoding="utf-8") as file:
        return [read_file(entry) for entry in json.load(file)["files"]]


# ---- telling ----

def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def untaken(files, with_reason):
    return sum(one.count - one.taken for file in files for one in file.missed
               if bool(one.reason) == with_reason)


def tell_row(name, files):
    lines, lines_hit, branches, taken = (sum(column) for column in
                                         zip(*(file[1:5] for file in files)))
    print(f"{name:<34} {lines:6} {percent(lines_hit, lines):6.1f} %"
          f" {branches:8} {percent(taken, branches):6.1f} %"
          f" {untaken(files, True):10} {untaken(files, False):8}")


def folder_of(file):
    return file.path.rsplit("/", 1)[0]


def tell_table(files):
    print(f"\n{'':<34} {'lines':>6} {'reached':>8} {'branches':>8} {'taken':>8}"
          f" {'a reason':>10} {'no more':>8}")
    for folder in sorted({folder_of(file) for file in files}):
        inside = [file for file in files if folder_of(file) == folder]
        tell_row(folder + "/", inside)
        for file in inside:
            tell_row("  " + os.path.basename(file.path), [file])
    tell_row("all", files)


def tell_reasons(files):
    print("\nbranches that no test takes, with their reason:")
    for file in files:
        for one in file.missed:
            if one.reason:
                print(f"  {one.path}:{one.line}: {one.count - one.taken} of {one.count}: {one.reason}")


def without_reason(files):
    return [one for file in files for one in file.missed if len(one.reason) < REASON_CHARS_MIN]


def hold_gates(files):
    """Tells of each gate whether it holds; how many do, and how many do not."""
    verdicts = []
    print("\ngates:")
    for name, pattern in GATES:
        inside = [file for file in files if re.fullmatch(pattern, file.path)]
        bare = without_reason(inside)
        verdicts.append(bool(inside) and not bare)
        print(f"{'ok    ' if verdicts[-1] else 'FAILED'}  {name}: every branch of {len(inside)} files is"
              f" taken or has its reason ({untaken(inside, True)} have)")
        for one in bare:
            print(f"  {one.path}:{one.line}: {one.taken} of {one.count} branches are taken, no reason")
    engine = [file for file in files if ENGINE.match(file.path)]
    branches = percent(sum(file.taken for file in engine), sum(file.branches for file in engine))
    verdicts.append(branches >= ENGINE_PERCENT)
    print(f"{'ok    ' if verdicts[-1] else 'FAILED'}  engine: {branches:.1f} % of all branches are taken,"
          f" {ENGINE_PERCENT:g} % are wanted")
    return sum(verdicts), len(verdicts) - sum(verdicts)


def main():
    passed = failed = 0
    if sys.argv[1:] not in ([], ["--report"]):
        sys.exit("usage: tools/coverage.py [--report]")
    if not sys.argv[1:]:
        passed, failed = run_tests()
    files = read_counts()
    tell_table(files)
    tell_reasons(files)
    held, broken = hold_gates(files)
    print(f"\nthe picture: {os.path.join(FOLDER, 'index.html')}")
    print(f"{passed + held} passed, {failed + broken} failed")
    return 1 if failed + broken else 0


if __name__ == "__main__":
    sys.exit(main())
