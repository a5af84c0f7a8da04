#!/usr/bin/env python3
"""steady.py - minutes of overwrites at full speed, second by second: varved, and then redis-server in the same way.

    tools/build release && tests/bench/steady.py [--seconds 600] [--clients 50] [--pipeline 16] [--keys 1m]
        [--value 64] [--servers varve,redis] [--server "OPTIONS"] [--svg FILE]

The server is pinned to core 0, the client to core 1: so many connections, each of which sends a pipeline of SETs
of random keys that are there, reads all its replies, and sends the next. Both logs are `appendfsync everysec`;
redis-server's is not rewritten meanwhile (it would be in Redis's figures only), and takes some 25 GB in ten minutes.

For each second: commands answered, the p99.9 and the longest time from a pipeline's sending to its last reply, and
what the machine's other guests took of it (steal). Prints how steady that was, and draws it as SVG. The bound: no
second of varved's below 60 % of its mean, but such in which the machine gave less than 90 % of itself.
"""
import argparse
import os
import random
import selectors
import socket
import statistics
import sys
import time

import show

BOUND = 0.6
STEAL_MAX = 0.1
SET_REPLY = b"+OK\r\n"
COLOURS = {"varve": "steelblue", "redis": "indianred"}


def stolen_s():
    """Seconds of all processors that this machine wanted and did not get."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


class Connection:
    """One client: a pipeline on its way, or none."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left, self.begun = 0, 0.0


class Second:
    """What happened in one."""

    def __init__(self):
        self.took, self.stolen = [], 0.0

    def kops(self, pipeline):
        return len(self.took) * pipeline / 1000

    def p999_ms(self):
        return show.percentile(sorted(self.took), 0.999) * 1000

    def longest_ms(self):
        return max(self.took, default=0) * 1000


class Client:
    """All connections, on one thread."""

    def __init__(self, port, options):
        self.pipeline = options.pipeline
        self.batches = self.encode(options)
        self.poll = selectors.DefaultSelector()
        self.connections = [Connection(port) for _ in range(options.clients)]
        for connection in self.connections:
            self.poll.register(connection.socket, selectors.EVENT_READ, connection)

    def encode(self, options):
        """Every key once, in pipelines."""
        values = show.Values(options.value)
        keys = list(range(show.size(options.keys)))
        random.Random(1).shuffle(keys)
        commands = [show.encode_set(show.name(key), values.of(key, 0)) for key in keys]
        return [b"".join(commands[at:at + self.pipeline])
                for at in range(0, len(commands) - self.pipeline + 1, self.pipeline)]

    def at_random(self):
        while True:
            yield self.batches[int(random.random() * len(self.batches))]

    def send(self, connection, batch):
        connection.begun = time.monotonic()
        connection.left = self.pipeline * len(SET_REPLY)
        connection.socket.sendall(batch)

    def receive(self, connection):
        """Seconds that the pipeline took; None: replies are still to come."""
        data = connection.socket.recv(connection.left)
        if not data or data.strip(SET_REPLY):
            raise show.Wrong(f"SET was answered with {show.servers.shorten(data)}")
        connection.left -= len(data)
        return time.monotonic() - connection.begun if connection.left == 0 else None

    def run(self, seconds):
        """A Second for each of them; None: every key once, and nothing is counted."""
        counted, second = [], Second()
        stolen, ends = stolen_s(), time.monotonic() + 1
        batches = iter(self.batches) if seconds is None else self.at_random()
        for connection in self.connections:
            self.send(connection, next(batches))
        waiting = len(self.connections)
        while waiting:
            for key, _ in self.poll.select():
                took = self.receive(key.data)
                if took is None:
                    continue
                second.took.append(took)
                if time.monotonic() >= ends:
                    second.stolen, stolen = stolen_s() - stolen, stolen_s()
                    counted.append(second)
                    second, ends = Second(), ends + 1
                batch = next(batches, None) if seconds is None or len(counted) < seconds else None
                if batch is not None:
                    self.send(key.data, batch)
                else:
                    waiting -= 1
        return counted


def start(name, folder, extra):
    place = os.path.join(folder, name)
    os.mkdir(place)
    pinned = ("taskset", "-c", show.SERVER_CORE)
    logged = ("--appendfsync", "everysec")
    if name == "redis":
        return show.servers.Server(place, *show.REDIS, *logged, program="redis-server", under=pinned).start()
    return show.servers.Server(place, *logged, *extra, under=pinned).start()


def measure(name, folder, options):
    server = start(name, folder, options.server.split())
    try:
        client = Client(server.port, options)
        client.run(None)
        progress = show.Progress(f"{name}: seconds", options.seconds)
        seconds = []
        while len(seconds) < options.seconds:
            some = client.run(min(10, options.seconds - len(seconds)))
            seconds += some
            progress.step(len(some))
        return seconds
    finally:
        server.discard()


def judge(report, name, seconds, options):
    rates = [second.kops(options.pipeline) for second in seconds]
    mean = statistics.mean(rates)
    p999 = [second.p999_ms() for second in seconds]
    low = [second for second, rate in zip(seconds, rates) if rate < BOUND * mean]
    excused = sum(second.stolen > STEAL_MAX * os.cpu_count() for second in low)
    report.add(f"{name}: thousand SETs a second, mean", f"{mean:.0f}")
    report.add(f"{name}: its slowest second", f"{min(rates):.0f} ({min(rates) / mean:.0%} of the mean)")
    report.add(f"{name}: p99.9 of a second, median and worst, ms", f"{statistics.median(p999):.1f}, {max(p999):.1f}")
    report.add(f"{name}: the longest of all, ms", f"{max(second.longest_ms() for second in seconds):.1f}")
    bounds = ("= 0", len(low) - excused == 0) if name == "varve" else ("", None)
    report.add(f"{name}: seconds below {BOUND:.0%} of the mean",
               f"{len(low)} of {len(seconds)}, {excused} of them the machine's", *bounds)


def draw(path, title, found, options):
    def lines(figure):
        return [(name, COLOURS[name], [(at + 1, figure(second)) for at, second in enumerate(seconds)])
                for name, seconds in found.items()]

    show.svg_lines(path, title, "seconds", [
        ("thousand SETs a second", lines(lambda second: second.kops(options.pipeline)), None),
        ("p99.9 of each second, ms", lines(Second.p999_ms), None),
        ("longest of each second, ms", lines(Second.longest_ms), None),
        ("% of the machine that others had", lines(lambda second: 100 * second.stolen / os.cpu_count()), None)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--keys", default="1m")
    parser.add_argument("--value", type=int, default=64, help="bytes of a value")
    parser.add_argument("--servers", default="varve,redis")
    parser.add_argument("--server", default="", metavar="OPTIONS", help="of varved")
    parser.add_argument("--svg", help="draw it into this file")
    options = parser.parse_args()
    show.use_release()
    os.sched_setaffinity(0, {int(show.CLIENT_CORE)})
    title = (f"{options.seconds} s of overwrites at full speed: {options.clients} clients, pipelines of "
             f"{options.pipeline}, {options.keys} keys, values of {options.value} bytes")
    report = show.Report(title)
    found = {}
    with show.servers.scratch("steady") as folder:
        for name in options.servers.split(","):
            found[name] = measure(name, folder, options)
            judge(report, name, found[name], options)
    if options.svg:
        draw(options.svg, title, found, options)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
