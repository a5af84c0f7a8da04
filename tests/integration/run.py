#!/usr/bin/env python3
"""run.py - the real server with redis-cli, redis-benchmark, the shell and its signals.

    run.py [--list] [TEXT...]     the cases whose names contain one of the texts; all by default

A case is a function case_* of a cases_*.py beside this file; it gets an empty directory and raises
when it saw something wrong. The comparison with redis-server (redis-compat/diff.py) counts along.
Closes with `N passed, N failed`.
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

MODULES = ("cases_start", "cases_data", "cases_limits", "cases_cli", "cases_expiry",
           "cases_benchmark")


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


def run_differential(tally):
    program = os.path.join(servers.ROOT, "redis-compat", "diff.py")
    done = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, timeout=300)
    text = done.stdout.decode("utf-8", "replace")
    print(text, end="")
    closing = re.findall(r"^(\d+) passed, (\d+) failed$", text, re.MULTILINE)
    if not closing or (done.returncode != 0) != (closing[-1][1] != "0"):
        tally.fail("differential", f"ended with {done.returncode}")
        return
    tally.passed += int(closing[-1][0])
    tally.failed += int(closing[-1][1])


def main():
    texts = sys.argv[1:]
    if texts == ["--list"]:
        print("\n".join(title for title, _ in find_cases([])))
        return 0
    tally = servers.Tally()
    for title, case in find_cases(texts):
        run_case(tally, title, case)
    if not texts or any(text in "differential" for text in texts):
        run_differential(tally)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
