#!/usr/bin/env python3
"""same.py - a campaign's seed is its run: each is run twice, small, and must print the same bytes, a digest of
all that it did among them; another seed must have another digest.

    tests/support/same.py [NAME...]     some of them

Of the campaigns whose processes and threads do not run alike twice, race and kill9, the plan is compared: what
is sent, and when it is to be killed. Closes with `N passed, N failed`.
"""
import os
import re
import subprocess
import sys

import server as servers

ROOT = os.environ.get("VARVE_ROOT") or servers.ROOT
BUILD = os.environ.get("VARVE_BUILD") or os.path.join(ROOT, "build", "asan")
LIMIT_S = 300
DIGEST = re.compile(r"^figures: .* digest (?:of the plan )?([0-9a-f]{16})$", re.M)

CAMPAIGNS = {
    "powercut": ["tests/crash/powercut", "--campaign", "--length", "2", "--budget", "1000"],
    "model": ["tests/model/model", "--no-regress", "--budget", "100000"],
    "iofail": ["tests/fault/iofail", "--budget", "100"],
    "oom": ["tests/fault/oom", "--budget", "100"],
    "race": ["tests/race/race", "--budget", "30000"],
    "kill9": [sys.executable, os.path.join(ROOT, "tests", "crash", "kill9.py"), "--budget", "3"],
}
PLAN_ONLY = ("kill9",)  # what the clients were told depends on the moment of the kill


def output(name, seed):
    argv = [os.path.join(BUILD, CAMPAIGNS[name][0]), *CAMPAIGNS[name][1:], "--seed", str(seed)]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          timeout=LIMIT_S, check=False)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise servers.Failed(f"{' '.join(argv)} ended with {done.returncode}: {text[-2000:]}")
    return text


def digest(text):
    found = DIGEST.findall(text)
    if len(found) != 1:
        raise servers.Failed(f"no digest in its figures: {text[-500:]}")
    return found[0]


def differing(one, other):
    for first, second in zip(one.splitlines(), other.splitlines()):
        if first != second:
            return f"'{first}' and '{second}'"
    return "one is longer"


def check(name):
    first, again, other = output(name, 3), output(name, 3), output(name, 4)
    servers.expect(digest(again), digest(first), "the digest of the same seed")
    if first != again and name not in PLAN_ONLY:
        raise servers.Failed(f"the same seed prints something else: {differing(first, again)}")
    if digest(other) == digest(first):
        raise servers.Failed("another seed has the same digest")
    print(f"{name}: {digest(first)} twice", flush=True)


def main():
    tally = servers.Tally()
    for name in sys.argv[1:] or CAMPAIGNS:
        tally.run(name, lambda name=name: check(name))
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
