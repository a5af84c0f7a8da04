#!/usr/bin/env python3
"""watch_race.py - many clients count with WATCH and MULTI while the server is killed with kill -9.

    watch_race.py [--seed N] [--budget N | Ns | Nm | Nh] [--clients N] [--mode always|everysec|no]

Each client watches the counter, reads it, and sets it to one more in a transaction that also counts in a
key of its own. A budget counts kills; each comes after a random number of acknowledged EXECs, and every
restart is judged before the next race begins:

    the counter went up by at least the EXECs that were acknowledged, and by at most those and the ones
    that were sent and not answered; the same for each client's own key; and all own keys together are
    the counter, so that no transaction is there by half.

A case is a kill and the check after it. Closes with a line of figures and `N passed, N failed`. With
VARVED=/usr/bin/redis-server it runs against redis-server with its append-only file. While varved lacks a
command that it needs, the program says so and runs nothing.
"""
import argparse
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402
from random_diff import read_budget  # noqa: E402

CLIENTS = 50
KILLS = 10
MODES = ("everysec", "always", "no")
NEEDED = {"watch", "multi", "exec"}
ACKNOWLEDGED_MAX = 800  # before a kill
RACE_TIMEOUT_S = 60


class Client(threading.Thread):
    """Counts until its connection breaks."""

    def __init__(self, number, server, race):
        super().__init__(daemon=True)
        self.key = b"client:%d" % number
        self.server = server
        self.race = race
        self.acknowledged = 0
        self.unanswered = 0
        self.lost = 0  # the watched key had changed
        self.wrong = None  # a reply that cannot be

    def run(self):
        try:
            with self.server.connect() as connection:
                while self.wrong is None:
                    self.count(connection)
        except (resp.Broken, OSError):
            pass
        finally:
            self.race.note(0)

    def count(self, connection):
        watched, value = connection.calls([("WATCH", "counter"), ("GET", "counter")])
        if watched != b"OK" or isinstance(value, resp.Error):
            self.wrong = f"WATCH and GET answer {watched!r}, {value!r}"
            return
        commands = (("MULTI",), ("SET", "counter", int(value or 0) + 1), ("INCR", self.key), ("EXEC",))
        self.unanswered = 1
        connection.send_raw(b"".join(resp.encode(*command) for command in commands))
        replies = [connection.read() for _ in commands]
        self.unanswered = 0
        if replies[:3] != [b"OK", b"QUEUED", b"QUEUED"]:
            self.wrong = f"MULTI and its commands answer {replies[:3]}"
        elif replies[3] is None:
            self.lost += 1
        elif isinstance(replies[3], list) and replies[3][0] == b"OK" and len(replies[3]) == 2:
            self.acknowledged += 1
            self.race.note(1)
        else:
            self.wrong = f"EXEC answers {replies[3]!r}"


class Race:
    """All clients from one start of the server to its end."""

    def __init__(self, server, clients):
        self.changed = threading.Condition()
        self.total = 0
        self.clients = [Client(number, server, self) for number in range(clients)]

    def note(self, more):
        with self.changed:
            self.total += more
            self.changed.notify()

    def until(self, count):
        """Returns when so many EXECs were acknowledged, or a client saw what cannot be."""
        for client in self.clients:
            client.start()
        with self.changed:
            reached = self.changed.wait_for(
                lambda: self.total >= count or any(client.wrong for client in self.clients),
                RACE_TIMEOUT_S)
        if not reached:
            raise servers.Failed(f"{self.total} of {count} EXECs in {RACE_TIMEOUT_S} s")

    def end(self):
        for client in self.clients:
            client.join()


class Judge:
    """What the counters were after the last start, and what may have come on top."""

    def __init__(self):
        self.counter = 0
        self.own = {}

    def check(self, server, clients):
        with server.connect() as connection:
            values = connection.call("MGET", "counter", *(client.key for client in clients))
        counter, *own = (int(value or 0) for value in values)
        acknowledged = sum(client.acknowledged for client in clients)
        unanswered = sum(client.unanswered for client in clients)
        wrong = [client.wrong for client in clients if client.wrong]
        if wrong:
            raise servers.Failed(wrong[0])
        self.bound("the counter", self.counter, acknowledged, unanswered, counter)
        for client, value in zip(clients, own):
            self.bound(client.key.decode(), self.own.get(client.key, 0), client.acknowledged,
                       client.unanswered, value)
        if sum(own) != counter:
            raise servers.Failed(f"the counter is {counter}, all own keys together {sum(own)}")
        self.counter = counter
        self.own = {client.key: value for client, value in zip(clients, own)}

    @staticmethod
    def bound(name, before, acknowledged, unanswered, now):
        if not before + acknowledged <= now <= before + acknowledged + unanswered:
            raise servers.Failed(f"{name} was {before}, {acknowledged} EXECs were acknowledged, "
                                 f"{unanswered} not answered, and it is {now}")


def make_server(folder, mode):
    if os.path.basename(servers.varved_path()) == "redis-server":
        return servers.redis_server(folder, "--appendonly", "yes", "--appendfsync", mode)
    return servers.Server(folder, "--appendfsync", mode)


def missing_commands(server):
    with server.connect() as connection:
        return sorted(NEEDED - {name.decode() for name in connection.call("COMMAND", "LIST")})


class Campaign:
    def __init__(self, options):
        self.options = options
        self.kills, seconds = read_budget(options.budget)
        self.deadline = time.monotonic() + seconds if seconds else None
        self.random = random.Random(options.seed)
        self.tally = servers.Tally()
        self.acknowledged = self.unanswered = self.lost = 0

    def is_done(self, kills):
        return kills >= self.kills if self.kills else time.monotonic() >= self.deadline

    def one(self, server, judge):
        race = Race(server, self.options.clients)
        race.until(self.random.randrange(1, ACKNOWLEDGED_MAX))
        server.kill()
        race.end()
        server.start()
        for client in race.clients:
            self.acknowledged += client.acknowledged
            self.unanswered += client.unanswered
            self.lost += client.lost
        judge.check(server, race.clients)

    def run(self):
        """The commands that the server lacks, or an empty list when the campaign has been run."""
        kills = 0
        modes = (self.options.mode,) if self.options.mode else MODES
        while not self.is_done(kills):
            with servers.scratch("watch") as folder, \
                    make_server(folder, modes[kills % len(modes)]) as server:
                missing = missing_commands(server)
                if missing:
                    return missing
                judge = Judge()
                for _ in range(3):
                    kills += 1
                    if not self.tally.run(f"kill {kills}", lambda: self.one(server, judge)) \
                            or self.is_done(kills):
                        break
        return []


def main():
    parser = argparse.ArgumentParser(description="a race of WATCH and MULTI with kill -9 in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", default=str(KILLS))
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--mode", choices=MODES)
    options = parser.parse_args()
    campaign = Campaign(options)
    missing = campaign.run()
    if missing:
        print(f"waiting until varved has them: {' '.join(missing)}")
        print("0 passed, 0 failed")
        return 0
    print(f"{campaign.acknowledged} EXECs acknowledged, {campaign.lost} lost their race, "
          f"{campaign.unanswered} not answered", file=sys.stderr)
    print(f"figures: watch_race, seed {options.seed}: {campaign.tally.passed + campaign.tally.failed} "
          f"kills under {options.clients} clients")
    return campaign.tally.close()


if __name__ == "__main__":
    sys.exit(main())
