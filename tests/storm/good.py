#!/usr/bin/env python3
"""good.py - well-behaved clients, a process of their own beside a storm.

    good.py PORT SEED CONNECTIONS

Each connection writes and reads keys of its own, some commands at a time, and knows every byte that has to
come back. One more, the quiet one, asks for one small value every few milliseconds; how long that took is
what a storm does to others. A line on standard input is answered by one of JSON on standard output:

    mark    what was done since the last mark: commands, and the quiet one's delays in milliseconds
    rest    the same once everything is answered; nothing is sent from then on
    go      the end of a rest
    state   what each key must hold, after rest

A wrong reply, a closed connection or one that stays unanswered for ANSWER_S is told as `problem`.
"""
import json
import os
import random
import selectors
import socket
import sys
import time

ANSWER_S = 30
KEYS = 8
QUIET_PAUSE_S = 0.003
PAUSE_S = 0.004  # between two batches of a connection, on average
NIL = b"$-1\r\n"


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def bulk(value):
    return NIL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


class Script:
    """Commands on keys that nobody else touches, each with the reply that it must get."""

    def __init__(self, number, seed):
        self.rng = random.Random(f"{seed}:{number}")
        self.number = number
        self.values = {b"good%d:%d" % (number, i): None for i in range(KEYS)}
        self.counter = b"good%d:n" % number
        self.count = 0
        self.serial = 0

    def set(self):
        key, value = self.rng.choice(list(self.values)), self.value()
        self.values[key] = value
        return encode(b"SET", key, value), b"+OK\r\n"

    def value(self):
        self.serial += 1
        size = self.rng.choices((0, 40, 400, 6000), (5, 30, 10, 1))[0]
        return b"%d/%d/" % (self.number, self.serial) + b"v" * self.rng.randrange(size + 1)

    def get(self):
        key = self.rng.choice(list(self.values))
        return encode(b"GET", key), bulk(self.values[key])

    def delete(self):
        key = self.rng.choice(list(self.values))
        was_there = self.values[key] is not None
        self.values[key] = None
        return encode(b"DEL", key), b":%d\r\n" % was_there

    def incr(self):
        self.count += 1
        return encode(b"INCR", self.counter), b":%d\r\n" % self.count

    def transaction(self):
        parts = [self.rng.choice((self.set, self.get, self.incr))() for _ in range(3)]
        sent = encode(b"MULTI") + b"".join(part[0] for part in parts) + encode(b"EXEC")
        replies = b"".join(part[1] for part in parts)
        return sent, b"+OK\r\n" + b"+QUEUED\r\n" * 3 + b"*3\r\n" + replies

    def batch(self):
        """(bytes, the reply, commands)"""
        makers = self.rng.choices((self.set, self.get, self.incr, self.delete, self.transaction),
                                  (30, 30, 20, 5, 10), k=self.rng.choice((1, 1, 1, 2, 5, 20)))
        parts = [maker() for maker in makers]
        return b"".join(part[0] for part in parts), b"".join(part[1] for part in parts), len(parts)

    def pause_s(self):
        return self.rng.random() * 2 * PAUSE_S

    def state(self):
        held = {key.decode(): value and value.decode() for key, value in self.values.items()}
        return {**held, self.counter.decode(): str(self.count) if self.count else None}


class Quiet(Script):
    """One GET at a time."""

    def batch(self):
        if self.serial == 0:
            return (*self.set(), 1)
        return (*self.get(), 1)

    def pause_s(self):
        return QUIET_PAUSE_S


class Client:
    """A connection with at most one batch on its way."""

    def __init__(self, port, script):
        self.script = script
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wanted = b""
        self.got = b""
        self.commands = 0
        self.next_s = 0.0
        self.sent_s = 0.0

    def busy(self):
        return bool(self.wanted)

    def send(self, now_s):
        data, self.wanted, self.commands = self.script.batch()
        self.sent_s = now_s
        self.socket.sendall(data)

    def receive(self):
        """The commands that were answered with it, 0 while some are not."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("closed")
        self.got += data
        if self.got != self.wanted[:len(self.got)]:
            at = next((i for i, pair in enumerate(zip(self.got, self.wanted)) if pair[0] != pair[1]),
                      len(self.wanted))
            raise ValueError(f"{self.got[at:at + 60]!r} instead of {self.wanted[at:at + 60]!r}")
        if len(self.got) < len(self.wanted):
            return 0
        self.wanted = self.got = b""
        return self.commands


class Crew:
    def __init__(self, port, seed, count):
        self.clients = [Client(port, Quiet(0, seed))]
        self.clients += [Client(port, Script(number, seed)) for number in range(1, count + 1)]
        self.selector = selectors.DefaultSelector()
        for client in self.clients:
            self.selector.register(client.socket, selectors.EVENT_READ, client)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        self.resting = False
        self.problem = None
        self.delays_ms = []
        self.commands = 0

    def run(self):
        while True:
            if self.problem is None:
                self.send_due()
            for key, _ in self.selector.select(0.001 if not self.resting else 0.1):
                if key.data is None:
                    if not self.obey(sys.stdin.readline().strip()):
                        return
                    break  # it may have received what the others are ready for
                elif self.problem is None:
                    self.receive(key.data)

    def trouble(self, client, why):
        self.problem = f"well-behaved client {client.script.number}: {why}"
        for each in self.clients:
            self.selector.unregister(each.socket)

    def send_due(self):
        now_s = time.monotonic()
        for client in self.clients:
            if client.busy():
                if now_s - client.sent_s > ANSWER_S:
                    self.trouble(client, f"no answer in {ANSWER_S} s")
                    return
            elif not self.resting and client.next_s <= now_s:
                try:
                    client.send(now_s)
                except OSError as error:
                    self.trouble(client, error)
                    return

    def receive(self, client):
        try:
            answered = client.receive()
        except (OSError, ValueError) as error:
            self.trouble(client, error)
            return
        if answered:
            now_s = time.monotonic()
            client.next_s = now_s + client.script.pause_s()
            self.commands += answered
            if isinstance(client.script, Quiet):
                self.delays_ms.append((now_s - client.sent_s) * 1000)

    def obey(self, order):
        if order == "rest":
            self.resting = True
            while self.problem is None and any(client.busy() for client in self.clients):
                self.send_due()
                for key, _ in self.selector.select(0.05):
                    if key.data is not None:
                        self.receive(key.data)
                if self.problem is not None:
                    break
        elif order == "state":
            state = {}
            for client in self.clients:
                state.update(client.script.state())
            self.tell(state=state)
            return True
        elif order == "go":
            self.resting = False
        elif order != "mark":
            return False
        delays = sorted(self.delays_ms) or [0.0]
        self.tell(commands=self.commands, p50_ms=delays[len(delays) // 2],
                  p99_ms=delays[len(delays) * 99 // 100], max_ms=delays[-1])
        self.delays_ms = []
        self.commands = 0
        return True

    def tell(self, **said):
        print(json.dumps({**said, "problem": self.problem}), flush=True)


def main():
    port, seed, count = (int(arg) for arg in sys.argv[1:])
    sys.stdin = os.fdopen(sys.stdin.fileno(), "r", buffering=1)
    crew = Crew(port, seed, count)
    crew.tell()
    crew.run()


if __name__ == "__main__":
    main()
