#!/usr/bin/env python3
"""instructions.py - how many instructions a GET and a SET cost the server, varved and redis-server, by callgrind.

    tools/build release && tests/bench/instructions.py [--pipelines 1,16,64] [--commands 20000] [--keys 100k]
        [--clients 50] [--functions 8]

Counts do not depend on who else uses the machine. They are of the program alone: what the kernel does for it (without
a pipeline that is most of the time) and how long a cache miss takes is not in them. Each server loads the keys (64 bytes
each, all in memory then), and answers random GETs, GETs of names that are not there, and SETs of keys that are there,
each first until it is warm, and then counted: all threads, so the log is in it; flushes would begin later. Then the
functions that cost most at the last pipeline: what the linker put into its caller counts there. Needs valgrind.
"""
import argparse
import glob
import os
import random
import re
import subprocess
import sys

import show

VALUE_BYTES = 64
NAMES = ("varve", "redis")
WARM_UP = 2000
# They were running when the counters were set to zero, and get what they called meanwhile as their own.
RUNNING = re.compile(r"main|serve|\(below.*|__libc_start.*|0x.*|clone3?|start_thread|thread_entry")


def start(name, folder):
    """Under callgrind, which writes what it is told to dump into the folder."""
    under = ("valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no",
             f"--callgrind-out-file={folder}/{name}.out")
    place = os.path.join(folder, name)
    os.mkdir(place)
    if name == "redis":
        return show.servers.Server(place, *show.REDIS, program="redis-server", under=under).start()
    return show.servers.Server(place, under=under).start()


class Workload:
    """Commands and their replies, at random, on all connections in turn."""

    def __init__(self, keys, values, seed):
        self.keys, self.values, self.random = keys, values, random.Random(seed)

    def get(self):
        key = self.random.randrange(self.keys)
        return b"*2\r\n$3\r\nGET\r\n" + show.bulk(show.name(key)), show.bulk(self.values.of(key, 0))

    def missing(self):
        key = self.random.randrange(self.keys)
        return b"*2\r\n$3\r\nGET\r\n" + show.bulk(show.name(key)[:-1] + b"-"), show.bulk(None)

    def set(self):
        key = self.random.randrange(self.keys)
        return show.encode_set(show.name(key), self.values.of(key, 0)), b"+OK\r\n"


def ask(pipes, one, pipeline, count):
    """So many commands, a pipeline on each connection in turn, and all their replies."""
    for turn in range(max(1, count // pipeline)):
        pipe = pipes[turn % len(pipes)]
        while pipe.waiting:
            pipe.settle()
        for _ in range(pipeline):
            pipe.add(*one())
        pipe.flush()
    for pipe in pipes:
        while pipe.waiting:
            pipe.settle()
    return max(1, count // pipeline) * pipeline


def control(server, *what):
    subprocess.run(["callgrind_control", *what, str(server.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def counted(server, pattern, run):
    """The file with the instructions that run() cost, and how many."""
    control(server, "--dump")  # and begin at zero
    before = set(glob.glob(pattern))
    run()
    control(server, "--dump")
    new = set(glob.glob(pattern)) - before
    if len(new) != 1:
        raise show.Wrong(f"callgrind wrote {len(new)} files, expected 1")
    path = new.pop()
    with open(path, encoding="utf-8") as file:
        totals = re.findall(r"^(?:totals|summary): (\d+)", file.read(), re.M)
    return path, int(totals[0])


def functions(path, commands, most):
    """The functions themselves, without what they call: name, instructions a command."""
    said = subprocess.run(["callgrind_annotate", "--threshold=100", path], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, encoding="utf-8").stdout
    costs = {}
    for cost, function in re.findall(r"^ *([\d,]+) \([ \d.]+%\) +\S*?:(\S+)", said, re.M):
        if RUNNING.fullmatch(function):
            continue
        name = re.sub(r"(\.(constprop|part|isra|lto_priv)\.\d+)+$", "", function)
        costs[name] = costs.get(name, 0) + int(cost.replace(",", ""))
    top = sorted(costs.items(), key=lambda item: -item[1])[:most]
    return [(name, cost / commands) for name, cost in top]


def measure(name, folder, options):
    """{(workload, pipeline): instructions a command}, and the profiles at the last pipeline."""
    values = show.Values(VALUE_BYTES)
    keys = show.size(options.keys)
    found, profiles = {}, {}
    server = start(name, folder)
    try:
        show.write(server, f"{name}: load", ((show.name(key), values.of(key, 0)) for key in range(keys)), keys)
        pipes = [show.Pipe(server) for _ in range(options.clients)]
        for what in ("get", "missing", "set"):
            for pipeline in options.pipelines:
                one = getattr(Workload(keys, values, pipeline), what)
                ask(pipes, one, pipeline, WARM_UP)
                asked = []
                path, cost = counted(server, f"{folder}/{name}.out*",
                                     lambda one=one, asked=asked, pipeline=pipeline:
                                     asked.append(ask(pipes, one, pipeline, options.commands)))
                found[what, pipeline] = cost / asked[0]
                print(f"  {name}: {what}, P {pipeline}: {cost / asked[0]:.0f}", file=sys.stderr, flush=True)
            profiles[what] = functions(path, asked[0], options.functions)
        for pipe in pipes:
            pipe.close()
        if name == "varve" and show.info(server)["flushes"] != "0":
            raise show.Wrong("a flush ran: it is in the counts, use fewer --keys")
        server.terminate()
    finally:
        server.discard()
    return found, profiles


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", default="1,16,64", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--commands", type=int, default=20000)
    parser.add_argument("--keys", default="100k")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--functions", type=int, default=8)
    options = parser.parse_args()
    show.use_release()
    with show.servers.scratch("instructions") as folder:
        figures = {name: measure(name, folder, options) for name in NAMES}
    (varve, profiles), (redis, _) = (figures[name] for name in NAMES)
    print("\n| instructions a command | varve | redis | ratio |\n|---|---|---|---|")
    for (what, pipeline), cost in varve.items():
        other = redis[what, pipeline]
        print(f"| {what}, P {pipeline} | {cost:,.0f} | {other:,.0f} | {cost / other:.2f} |")
    for what, top in profiles.items():
        print(f"\n{what}, P {options.pipelines[-1]}: " + ", ".join(f"`{name}` {cost:.0f}" for name, cost in top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
