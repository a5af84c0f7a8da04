#!/usr/bin/env python3
"""memory.py - what the server has in memory under loads of every kind, against its `maxmemory`.

    tools/build release && tests/bench/memory.py [--budgets 64mb,256mb,1gb] [--keys 5000000] [--reads N]
        [--clients 500] [--rounds 20]

For each budget a fresh server, and on it, one after the other: a fill of random keys of --keys with values of 100 B,
reads of random keys, overwrites of random keys (redis-benchmark does these three, in pipelines of 64), --clients
connections that each get --rounds replies of 100 KB, and then ten idle seconds. The resident memory of the process is
read from the system every 0.1 s. It must never be above 110 % of the budget. A table shows the peak of
each load, and what INFO said of the owners when it ended.
"""
import argparse
import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
import time

import show

SAMPLE_S = 0.1
LONG = 100 * 1000
LONG_KEYS = 200
PAGE = os.sysconf("SC_PAGE_SIZE")
OWNERS = ("mem_memtables", "mem_memtables_spare", "mem_block_cache", "mem_block_cache_free", "mem_block_cache_spare",
          "mem_indexes_filters", "mem_clients_normal", "mem_other")


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


class Sampler(threading.Thread):
    """The most that was resident since take() was last called."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(SAMPLE_S):
            self.peak = max(self.peak, resident(self.pid))

    def stop(self):
        self.ended.set()
        self.join()

    def take(self):
        peak, self.peak = max(self.peak, resident(self.pid)), 0
        return peak


def info(server):
    with server.connect() as connection:
        text = connection.call("INFO", "memory").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def benchmark(server, command, keys, count):
    subprocess.run(["redis-benchmark", "-p", str(server.port), "-t", command, "-r", str(keys), "-n", str(count),
                    "-d", "100", "-P", "64", "-q"], check=True, stdout=subprocess.DEVNULL)


def long_replies(server, clients, rounds):
    """All clients ask at once, and take what comes as it comes."""
    with server.connect() as connection:
        for key in range(LONG_KEYS):
            connection.call("SET", f"long:{key}", os.urandom(LONG))
    bulk = len(b"$%d\r\n" % LONG) + LONG + 2
    waits = {}
    chooser = selectors.DefaultSelector()
    for i in range(clients):
        peer = socket.create_connection(("127.0.0.1", server.port))
        chooser.register(peer, selectors.EVENT_READ)
        waits[peer] = [rounds, 0, i]
    try:
        for peer in waits:
            peer.sendall(b"GET long:%d\r\n" % (waits[peer][2] % LONG_KEYS))
        left = clients
        while left:
            for event, _ in chooser.select(30) or sys.exit("a reply does not come"):
                state = waits[event.fileobj]
                state[1] += len(event.fileobj.recv(1 << 18))
                if state[1] < bulk:
                    continue
                state[0], state[1] = state[0] - 1, 0
                if state[0] > 0:
                    event.fileobj.sendall(b"GET long:%d\r\n" % ((state[2] + state[0]) % LONG_KEYS))
                else:
                    left -= 1
    finally:
        for peer in waits:
            peer.close()


def run(report, budget_text, options):
    budget = show.size(budget_text)
    loads = (
        ("fill", lambda: benchmark(server, "set", options.keys, options.keys)),
        ("random reads", lambda: benchmark(server, "get", options.keys, options.reads)),
        ("overwrite", lambda: benchmark(server, "set", options.keys, options.keys)),
        ("reads again", lambda: benchmark(server, "get", options.keys, options.reads)),
        (f"{options.clients} clients, 100 KB", lambda: long_replies(server, options.clients,
                                                                    options.rounds)),
        ("idle 10 s", lambda: time.sleep(10)),
    )
    with show.servers.scratch("memory") as folder, \
            show.servers.Server(folder, "--maxmemory", budget_text) as server, contextlib.ExitStack() as stack:
        sampler = Sampler(server.pid)
        stack.callback(sampler.stop)
        for name, load in loads:
            began = time.monotonic()
            load()
            taken = time.monotonic() - began
            peak, now = sampler.take(), resident(server.pid)
            fields = info(server)
            owners = ", ".join(f"{owner[4:]} {int(fields[owner]) / show.MB:.1f}" for owner in OWNERS)
            print(f"    {name}: {taken:.0f} s, now {now / show.MB:.1f} MiB; limit "
                  f"{int(fields['mem_block_cache_limit']) / show.MB:.1f}; {owners}", file=sys.stderr, flush=True)
            report.add(f"{budget_text}, {name}", f"{peak / show.MB:.1f} MiB, {peak * 100 / budget:.0f} %",
                       "<= 110 %", peak <= budget * 1.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--budgets", default="64mb,256mb,1gb")
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--reads", type=int, default=2_000_000)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"Resident memory against maxmemory, {options.keys:,} keys of 100 B")
    for budget in options.budgets.split(","):
        run(report, budget, options)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
