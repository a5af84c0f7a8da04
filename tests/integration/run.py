#!/usr/bin/env python3
"""run.py - the real server with redis-cli, redis-benchmark, the shell and its signals.

    run.py [--list] [TEXT...]     the cases whose names contain one of the texts; all by default

A case is a function case_* of a cases_*.py beside this file; it gets an empty directory and raises
when it saw something wrong. The programs of redis-compat/ that compare varved with redis-server, or
demonstrate what it promises, count along under their own names. Closes with `N passed, N failed`.
"""
import importlib
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import server as servers  # noqa: E402

MODULES = ("cases_start", "cases_data", "cases_limits", "cases_admin", "cases_cli", "cases_expiry",
           "cases_threads", "cases_benchmark")
# Of redis-compat/, with their arguments.
PROGRAMS = (("diff.py",), ("table.py", "--check"), ("random_diff.py",), ("watch_race.py",),
            ("scan_under_load.py",))
# The same of a server with several loops.
PROGRAMS_THREADED = (("diff.py",), ("random_diff.py", "--budget", "20000"))
PROGRAM_TIMEOUT_S = 400


def find_cases(texts):
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, case in list(vars(module).items()):
            title = f"{module_name[6:]}/{name[5:]}"
            if name.startswith("case_") and (not texts or any(text in title for text in texts)):
                yield title, case


def run_case(tally, title, case):
    with servers.scratch("integration") as folder:
        began = time.monotonic()
        if tally.run(title, lambda: case(folder)):
            print(f"ok     {title} {time.monotonic() - began:.1f} s", flush=True)


def run_program(tally, name, arguments, options=""):
    """One of redis-compat/; what it waits for, it says, and then it counts no case."""
    program = os.path.join(servers.ROOT, "redis-compat", name)
    try:
        done = subprocess.run([sys.executable, program, *arguments], stdout=subprocess.PIPE,
                              timeout=PROGRAM_TIMEOUT_S,
                              env={**os.environ, "VARVED_OPTIONS": options})
    except subprocess.TimeoutExpired:
        tally.fail(name, f"still running after {PROGRAM_TIMEOUT_S} s")
        return
    text = done.stdout.decode("utf-8", "replace")
    print(f"redis-compat/{name} {options}:\n{text}", end="", flush=True)
    closing = re.findall(r"^(\d+) passed, (\d+) failed$", text, re.MULTILINE)
    if not closing or (done.returncode != 0) != (closing[-1][1] != "0"):
        tally.fail(name, f"ended with {done.returncode}")
        return
    tally.passed += int(closing[-1][0])
    tally.failed += int(closing[-1][1])


def main():
    texts = sys.argv[1:]
    if texts == ["--list"]:
        print("\n".join([title for title, _ in find_cases([])] + [name for name, *_ in PROGRAMS]))
        return 0
    tally = servers.Tally()
    for title, case in find_cases(texts):
        run_case(tally, title, case)
    for name, *arguments in PROGRAMS:
        if not texts or any(text in name for text in texts):
            run_program(tally, name, arguments)
    for name, *arguments in PROGRAMS_THREADED:
        if not texts or any(text in name + " io-threads" for text in texts):
            run_program(tally, name, arguments, "--io-threads 4")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
