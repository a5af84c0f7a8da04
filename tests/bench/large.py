#!/usr/bin/env python3
"""large.py - many more keys than memory: RSS, restarts, every key right.

    tools/build release && tests/bench/large.py [--keys N] [--value BYTES] [--memtable 64mb]
                                                [--cache 128mb] [--rss MB] [--restart S] [--dir DIR]

Loads N keys (10 million) in scattered order, with one key in ten overwritten and one more in a hundred
set and deleted on the way; counts them; restarts cleanly; overwrites at full speed and kills -9 in the
middle of it, so that the log is as long as it gets; restarts; and reads every key back, in order and
some at random. A write that was on its way at the kill may be there or not. Small: --keys 100000.
"""
import argparse
import random
import sys

import show

LOST_MAX = 2 * show.PIPELINE  # commands without a reply when the connection breaks


class Data:
    """Which version each key must have; names beyond `keys` were deleted."""

    def __init__(self, options):
        self.keys = options.keys
        self.gone = max(1, options.keys // 100)
        self.values = show.Values(options.value)
        self.version = bytearray(self.keys)  # 0: as loaded

    def set(self, pipe, key, version):
        pipe.add(show.encode_set(show.name(key), self.values.of(key, version)), b"+OK\r\n")

    def expected(self):
        for key in range(self.keys):
            yield show.name(key), self.values.of(key, self.version[key])
        for key in range(self.keys, self.keys + self.gone):
            yield show.name(key), None


def delete(pipe, key):
    text = show.name(key)
    pipe.add(b"*2\r\n$3\r\nDEL\r\n$%d\r\n%b\r\n" % (len(text), text), b":1\r\n")


def load(server, data):
    """In scattered order; what is overwritten or deleted is so a fifth of all keys later."""
    total = data.keys + data.gone
    later = []
    lag = max(1, total // 50)
    done = 0
    progress = show.Progress("load", total + data.gone + data.keys // 10)
    with show.Pipe(server, progress) as pipe:
        for key in show.scattered(total):
            data.set(pipe, key, 0)
            if key >= data.keys or key % 10 == 3:
                later.append(key)
            while len(later) - done > lag:
                change(pipe, data, later[done])
                done += 1
        for key in later[done:]:
            change(pipe, data, key)


def change(pipe, data, key):
    if key >= data.keys:
        delete(pipe, key)
    else:
        data.version[key] = 1
        data.set(pipe, key, 1)


def overwrite_and_kill(server, data, count):
    """Overwrites that many keys and kills -9 while the last are on their way."""
    order = random.Random(5).sample(range(data.keys), count + LOST_MAX)
    pipe = show.Pipe(server, show.Progress("overwrite before the kill", count))
    for key in order[:count]:
        data.set(pipe, key, 2)
    pipe.flush()
    while pipe.waiting:
        pipe.settle()
    for key in order[:count]:
        data.version[key] = 2
    uncertain = order[count:count + show.PIPELINE]
    pipe.connection.send_raw(b"".join(show.encode_set(show.name(key), data.values.of(key, 2))
                                      for key in uncertain))
    server.kill()
    pipe.connection.close()
    return uncertain


def settle_uncertain(server, data, uncertain):
    """Without a reply, a write happened or did not; in their order, the first so many did."""
    happened = []
    with server.connect() as connection:
        for key in uncertain:
            got = connection.call("GET", show.name(key))
            for version in (data.version[key], 2):
                if got == data.values.of(key, version):
                    happened.append(version == 2)
                    data.version[key] = version
                    break
            else:
                raise show.Wrong(f"{show.name(key)} has neither of its two values: "
                                 f"{show.servers.shorten(got)}")
    if happened != sorted(happened, reverse=True):
        raise show.Wrong("a write without a reply is there, one before it is not")
    return sum(happened)


def read_some(server, data, count):
    chooser = random.Random(9)
    keys = (chooser.randrange(data.keys) for _ in range(count))
    show.read(server, "read at random",
              ((show.name(key), data.values.of(key, data.version[key])) for key in keys), count)


def dbsize(server):
    with server.connect(timeout_s=300) as connection:
        return connection.call("DBSIZE")


def run(options, report, server):
    data = Data(options)
    megabytes = data.keys * (16 + options.value) / show.MB
    report.add("keys and values, MB", f"{megabytes:.0f}")
    server.start()
    load(server, data)
    report.below("RSS while loading", show.rss_peak_mb(server), options.rss, "MB", 0)
    report.equal("DBSIZE after overwrites and deletes", dbsize(server), data.keys)
    show.wait_idle(server)
    fields = show.info(server)
    report.add("segments, MB", f"{show.segment_bytes(server) / show.MB:.0f}")
    report.add("write amplification", fields["write_amplification"])
    report.add("pinned indexes and filters, MB", f"{int(fields['pinned_bytes']) / show.MB:.1f}")
    server.terminate()
    report.below("restart after SIGTERM", show.start_timed(server), options.restart, "s", 2)
    report.equal("DBSIZE after it", dbsize(server), data.keys)
    uncertain = overwrite_and_kill(server, data, min(options.kill_after, data.keys // 3))
    report.below("restart after kill -9", show.start_timed(server), options.restart, "s", 2)
    report.add("log read at that start, operations",
               f"{int(show.info(server)['recovered_ops']):,}")
    report.below("RSS after it", show.rss_peak_mb(server), options.rss, "MB", 0)
    happened = settle_uncertain(server, data, uncertain)
    report.add("writes without a reply at the kill", f"{happened} of {len(uncertain)} happened")
    report.equal("DBSIZE after it", dbsize(server), data.keys)
    show.rss_reset(server)
    show.read(server, "read all", data.expected(), data.keys + data.gone)
    report.add("keys read back right", f"{data.keys:,} and {data.gone:,} deleted", "all", True)
    read_some(server, data, max(1, data.keys // 20))
    report.add("random reads right", f"{data.keys // 20:,}", "all", True)
    report.below("RSS while reading", show.rss_peak_mb(server), options.rss, "MB", 0)
    fields = show.info(server)
    report.add("background failures", fields["background_failures"], "= 0",
               fields["background_failures"] == "0")


def main():
    parser = argparse.ArgumentParser(description="many more keys than memory")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--value", type=int, default=100, help="bytes of a value")
    parser.add_argument("--memtable", default="64mb")
    parser.add_argument("--cache", default="128mb")
    parser.add_argument("--rss", type=float, default=600, help="bound in MB")
    parser.add_argument("--restart", type=float, default=3, help="bound in seconds")
    parser.add_argument("--kill-after", type=int, default=1_000_000, help="overwrites before kill -9")
    parser.add_argument("--dir", help="where the data go; default: the temporary directory")
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"{options.keys:,} keys with values of {options.value} bytes, memtables of "
                         f"{options.memtable}, cache of {options.cache}")
    with show.servers.scratch("large") as folder:
        server = show.servers.Server(options.dir or folder, "--memtable-size", options.memtable,
                                     "--block-cache-size", options.cache)
        try:
            run(options, report, server)
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
        finally:
            server.discard()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
