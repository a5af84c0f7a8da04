#!/usr/bin/env python3
"""run.py - varve, the admin tool, on directories that a real server made.

    run.py [--list] [TEXT...]     the cases whose names contain one of the texts; all by default
    run.py --flips N|all          so many flipped bits a directory (1,050); all: where commands need not
                                  be started, every bit, else a twentieth

The servers are VARVED of the environment, the tool lies beside it or is VARVE_TOOL. Closes with
`N passed, N failed`.
"""
import importlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import server as servers  # noqa: E402

MODULES = ("cases_good", "cases_damage", "cases_flips", "cases_merkle", "cases_salvage",
           "cases_checkpoint")


def find_cases(texts):
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, case in list(vars(module).items()):
            title = f"{module_name[6:]}/{name[5:]}"
            if name.startswith("case_") and (not texts or any(text in title for text in texts)):
                yield title, case


def main():
    texts = sys.argv[1:]
    if texts[:1] == ["--flips"]:
        os.environ["FLIPS"] = texts[1]
        texts = texts[2:]
    if texts == ["--list"]:
        print("\n".join(title for title, _ in find_cases([])))
        return 0
    tally = servers.Tally()
    for title, case in find_cases(texts):
        with servers.scratch("tool") as folder:
            began = time.monotonic()
            said = []
            if tally.run(title, lambda: said.append(case(folder))):
                what = f" {said[0]}" if said[0] else ""
                print(f"ok     {title} {time.monotonic() - began:.1f} s{what}", flush=True)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
