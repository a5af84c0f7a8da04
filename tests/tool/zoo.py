"""zoo.py - small data directories, made by a real server, and what is in them."""
import os
import random
import shutil
import time

import server as servers

TINY = ("--memtable-size", "64kb", "--wal-size", "64kb", "--segment-size", "32kb", "--block-size", "512",
        "--wal-pool-size", "1")
LONG_MS = 3600 * 1000
DATABASES = (0, 3)
BATCH = 64


class Zoo:
    """Commands to a server, and what must be there after them: {(db, key): (value, expires)}."""

    def __init__(self, folder, *options, seed=1):
        self.folder = folder
        self.data = os.path.join(folder, "data")
        self.server = servers.Server(folder, *TINY, *options)
        self.rng = random.Random(seed)
        self.live = {}

    def start(self):
        self.server.start()
        return self

    def calls(self, db, commands):
        with self.server.connect() as connection:
            for command in [("SELECT", db)] + commands:
                answer = connection.call(*command)
                if isinstance(answer, Exception):
                    raise servers.Failed(f"{command[0]}: {answer}")

    def one_command(self, db, keys, value_bytes):
        rng = self.rng
        key = b"key:%05d" % rng.randrange(keys)
        if rng.random() < 0.02:
            key += b"\x00\xff\"\\" + bytes(rng.randrange(256) for _ in range(8))
        value = rng.randbytes(rng.randrange(value_bytes) // 2).hex().encode()
        draw = rng.random()
        if draw < 0.15:
            self.live.pop((db, key), None)
            return ("DEL", key)
        if draw < 0.25:
            self.live.pop((db, key), None)
            return ("SET", key, value, "PX", 1)
        if draw < 0.35:
            self.live[(db, key)] = (value, True)
            return ("SET", key, value, "PX", LONG_MS)
        if draw < 0.36:
            value = rng.randbytes(20000)
        self.live[(db, key)] = (value, False)
        return ("SET", key, value)

    def write(self, commands, keys=400, value_bytes=200):
        for at in range(0, commands, BATCH):
            db = self.rng.choice(DATABASES)
            self.calls(db, [self.one_command(db, keys, value_bytes)
                            for _ in range(min(BATCH, commands - at))])

    def flush_database(self, db):
        self.calls(db, [("FLUSHDB",)])
        self.live = {place: what for place, what in self.live.items() if place[0] != db}

    def settle(self):
        """Until nothing is flushed or merged any more."""
        before = None
        for _ in range(600):
            now = sorted(name for name in os.listdir(self.data) if name.endswith(".seg"))
            if now == before:
                return
            before = now
            time.sleep(0.3)
        raise servers.Failed("the server goes on writing segments")

    def expect_live(self):
        time.sleep(0.005)  # what was to live for 1 ms
        return dict(self.live)


def clean(folder, commands=6000):
    """Levels, tombstones, expired keys, range tombstones, large values; closed."""
    zoo = Zoo(folder).start()
    zoo.write(commands)
    zoo.flush_database(3)
    zoo.write(commands // 2)
    zoo.settle()
    zoo.server.terminate()
    return zoo


def killed(folder, commands=3000):
    """The same with a log that no close ended."""
    zoo = Zoo(folder, seed=2).start()
    zoo.write(commands)
    zoo.settle()
    zoo.write(200)
    zoo.server.kill()
    return zoo


def copy(data, name="copy"):
    to = os.path.join(os.path.dirname(data), name)
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(data, to)
    return to
