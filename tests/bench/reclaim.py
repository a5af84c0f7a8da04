#!/usr/bin/env python3
"""reclaim.py - disk space comes back by itself: after FLUSHALL, and when keys expire that nobody reads.

    tools/build release && tests/bench/reclaim.py [--data 1gb] [--value 1000] [--ttl S] [--only PART]

flushall  FLUSHALL on `data` of keys: segments below 1 % of it (10 MB of 1 GB) within 10 s.
ttl       the same amount with a TTL: segments below 5 % of it within 60 s of the last expiry.
          No key is read and none is written.
buried    keys without a TTL, flushed to segments and partly compacted, are overwritten with a TTL; once
          that has passed they stay gone: after every flush, compaction, restart and kill -9.

Bytes are those of the files. Values do not compress. Small: --data 50mb --ttl 5 --value 200.
"""
import argparse
import sys
import time

import show

POLL_S = 0.05


def load(server, options, what, ttl_ms=0):
    values = show.Values(options.value)
    count = show.size(options.data) // (16 + values.bytes)
    deadline = int(time.time() * 1000) + ttl_ms
    tail = b"" if not ttl_ms else b"$4\r\nPXAT\r\n$%d\r\n%d\r\n" % (len(str(deadline)), deadline)
    head = b"*5\r\n" if ttl_ms else b"*3\r\n"
    with show.Pipe(server, show.Progress(what, count)) as pipe:
        for key in show.scattered(count):
            pipe.add(head + show.encode_set(show.name(key), values.of(key, 0))[4:] + tail, b"+OK\r\n")
    return count, deadline / 1000


def dbsize(server):
    with server.connect(timeout_s=300) as connection:
        return connection.call("DBSIZE")


def watch(server, what, wanted, limit_s):
    """Seconds until the segments take less, and the bytes at the end."""
    begin = time.monotonic()
    progress = show.Progress(what, None)
    while True:
        taken = show.segment_bytes(server)
        spent = time.monotonic() - begin
        if taken < wanted or spent > 3 * limit_s:
            return spent, taken
        progress.step(0)
        time.sleep(POLL_S)


def part_flushall(options, report, server):
    count, _ = load(server, options, "load")
    show.wait_idle(server)
    before = show.segment_bytes(server)
    wanted = show.size(options.data) // 100
    with server.connect(timeout_s=60) as connection:
        begin = time.monotonic()
        show.servers.expect(connection.call("FLUSHALL"), b"OK", "FLUSHALL")
        took = time.monotonic() - begin
    spent, after = watch(server, "after FLUSHALL", wanted, 10)
    report.add("FLUSHALL: keys; segments before, MB", f"{count:,}; {before / show.MB:.0f}")
    report.add("FLUSHALL: its reply, ms", f"{took * 1000:.1f}")
    report.below("FLUSHALL: segments below 1 % after", spent, 10, "s", 2)
    report.add("FLUSHALL: segments then, MB", f"{after / show.MB:.2f}")
    report.equal("FLUSHALL: DBSIZE", dbsize(server), 0)


def part_ttl(options, report, server):
    expected = show.size(options.data) / (40 << 20)  # seconds that the load takes at a modest 40 MB/s
    ttl_ms = int((options.ttl + expected) * 1000)
    count, gone_at = load(server, options, f"load with a TTL of {ttl_ms / 1000:.0f} s", ttl_ms)
    if time.time() > gone_at:
        report.add("TTL: the load took longer than the TTL", "", "", False)
        return
    before, size = show.segment_bytes(server), dbsize(server)
    report.add("TTL: keys; segments while they live, MB", f"{count:,}; {before / show.MB:.0f}")
    report.equal("TTL: DBSIZE while they live", size, count)
    time.sleep(max(0, gone_at - time.time()))
    spent, after = watch(server, "after the expiry", show.size(options.data) // 20, 60)
    report.below("TTL: segments below 5 % after", spent, 60, "s", 2)
    report.add("TTL: segments then, MB", f"{after / show.MB:.2f}")
    fields = show.info(server)
    report.add("TTL: segments dropped whole; compactions so far",
               f"{fields['segment_drops']}; {fields['compactions']}")
    time.sleep(2)
    report.add("TTL: segments 2 s later, MB", f"{show.segment_bytes(server) / show.MB:.2f}")


class Buried:
    """Keys of which every other is overwritten with a TTL."""

    def __init__(self, server, options):
        self.server = server
        self.values = show.Values(options.value)
        self.count = min(200_000, show.size(options.data) // 20 // (16 + self.values.bytes))
        self.rounds = 0

    def write(self, what, keys, version, prefix=show.name):
        show.write(self.server, what,
                   ((prefix(key), self.values.of(key, version)) for key in keys), len(keys))

    def expire(self, ttl_s):
        gone_at = int(time.time() * 1000) + ttl_s * 1000
        keys = range(0, self.count, 2)
        tail = b"$4\r\nPXAT\r\n$%d\r\n%d\r\n" % (len(str(gone_at)), gone_at)
        with show.Pipe(self.server, show.Progress("overwrite with a TTL", len(keys))) as pipe:
            for key in keys:
                command = show.encode_set(show.name(key), self.values.of(key, 1))
                pipe.add(b"*5\r\n" + command[4:] + tail, b"+OK\r\n")
        return gone_at / 1000

    def check(self):
        """The half with a TTL is gone, the other is there."""
        show.read(self.server, f"check {self.rounds}",
                  ((show.name(key), None if key % 2 == 0 else self.values.of(key, 0))
                   for key in range(self.count)), self.count)
        self.rounds += 1

    def stir(self, turn):
        """Other keys in between, enough for flushes and, over time, compactions of the same ranges."""
        self.write(f"stir {turn}", range(0, self.count), turn, lambda key: b"key:%012d+" % key)


def part_buried(options, report, server):
    buried = Buried(server, options)
    buried.write("keys without a TTL", range(buried.count), 0)
    buried.stir(1)  # what is there goes to segments
    buried.stir(2)
    show.wait_idle(server)
    gone_at = buried.expire(int(options.ttl))
    if options.ttl >= 5:
        buried.stir(3)  # while they still live: the new versions reach segments too
    time.sleep(max(0, gone_at - time.time()) + 0.01)
    buried.check()
    for turn in range(4, 4 + options.rounds):
        buried.stir(turn)
        buried.check()
        show.wait_idle(server)
        buried.check()
        if turn % 2:
            server.kill()
        else:
            server.terminate()
        server.start()
        buried.check()
    fields = show.info(server)
    report.add("buried: checks of all keys, each right", f"{buried.rounds} of {buried.count:,} keys",
               "all", True)
    report.add("buried: flushes; compactions of the last run",
               f"{fields['flushes']}; {fields['compactions']}")
    report.equal("buried: DBSIZE", dbsize(server), buried.count // 2 + buried.count)


def main():
    parts = {"flushall": part_flushall, "ttl": part_ttl, "buried": part_buried}
    parser = argparse.ArgumentParser(description="space comes back by itself")
    parser.add_argument("--data", default="1gb", help="keys and values")
    parser.add_argument("--value", type=int, default=1000, help="bytes of a value")
    parser.add_argument("--ttl", type=float, default=20, help="seconds, beyond those of the load")
    parser.add_argument("--rounds", type=int, default=4, help="restarts of the part buried")
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"Space that comes back: {options.data}, values of {options.value} bytes")
    for name, part in parts.items():
        if options.only not in (None, name):
            continue
        small = ("--memtable-size", "4mb") if name == "buried" else ()
        with show.servers.scratch("reclaim") as folder:
            server = show.servers.Server(folder, *small).start()
            try:
                part(options, report, server)
            except (show.servers.Failed, show.resp.Broken) as error:
                report.add(f"{name}: stopped", str(error), "", False)
            finally:
                server.discard()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
