#!/usr/bin/env python3
"""expiry.py - many keys expire at once and nobody reads them: how fast they go, and what others notice.

    tools/build release && tests/bench/expiry.py [--keys 1000000] [--others 100000] [--ttl S]

`keys` with a TTL that ends for all at one moment, and `others` without one, all flushed to segments. From that
moment on nothing but a client's own small GETs and SETs: seconds until DBSIZE counts the others alone, keys a
second, the loop's share. Then that the expirer rests: walks and blocks read in some idle seconds.
"""
import argparse
import sys
import time

import show

IDLE_S = 5
LIMIT_S = 120


def put(server, count, tail, prefix, what):
    head = b"*5\r\n" if tail else b"*3\r\n"
    with show.Pipe(server, show.Progress(what, count)) as pipe:
        for i in range(count):
            pipe.add(head + show.encode_set(b"%b:%012d" % (prefix, i), b"v" * 100)[4:] + tail, b"+OK\r\n")


def figures(server):
    """Without the section Keyspace, which counts."""
    with server.connect(timeout_s=60) as connection:
        text = b"".join(connection.call("INFO", section) for section in ("stats", "varve", "lsm"))
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def wait_swept(server, begin):
    """Until nothing more is swept; seconds since then, from the fields of INFO alone."""
    last, at = -1, begin
    while time.monotonic() - begin < LIMIT_S:
        swept = int(figures(server)["expired_keys"])
        now = time.monotonic()
        if swept != last:
            last, at = swept, now
        elif swept > 0 and now - at > 2:
            break
        time.sleep(0.1)
    return at - begin, last


def tell_waits(report, what, waits):
    report.add(f"{what}: p50, p99, longest, ms",
               ", ".join(f"{1000 * show.percentile(waits, part):.2f}" for part in (0.5, 0.99, 1)))


def measure(options, report, server):
    put(server, options.others, b"", b"stays", "keys that stay")
    gone_at = int(time.time() * 1000 + options.ttl * 1000)
    put(server, options.keys, b"$4\r\nPXAT\r\n$%d\r\n%d\r\n" % (len(str(gone_at)), gone_at), b"goes",
        "keys that expire")
    with server.connect(timeout_s=300) as connection:
        connection.call("DEBUG", "RELOAD")
    show.wait_idle(server)
    if gone_at / 1000 < time.time() + 2:
        raise show.servers.Failed("the keys expired before all was ready: a longer --ttl is needed")
    before = figures(server)
    with show.Probe(server) as probe:
        quiet = time.monotonic()
        time.sleep(max(2, gone_at / 1000 - time.time()))
        begin = time.monotonic()
        took, swept = wait_swept(server, begin)
        end = time.monotonic()
    after = figures(server)
    report.add("swept; seconds; keys a second", f"{swept:,}; {took:.1f}; {swept / max(took, 1e-3):,.0f}")
    tell_waits(report, "requests before", probe.between(quiet, begin - 1))
    tell_waits(report, "requests while they go", probe.between(begin, begin + took))
    turns = int(after["expire_turns"]) - int(before["expire_turns"])
    turn_us = int(after["expire_turn_us"]) - int(before["expire_turn_us"])
    report.add("turns; us a turn; longest", f"{turns}; {turn_us / max(turns, 1):.0f}; "
                                            f"{after['expire_turn_us_max']}")
    report.add("of the loop; of a reading thread",
               f"{turn_us / 1e4 / took:.1f} %; "
               f"{(int(after['expire_walk_us']) - int(before['expire_walk_us'])) / 1e4 / (end - begin):.1f} %")
    with server.connect(timeout_s=300) as connection:
        begin = time.monotonic()
        report.equal("DBSIZE", connection.call("DBSIZE") - options.probe, options.others)
        report.add("that DBSIZE, ms", f"{1000 * (time.monotonic() - begin):.0f}")
    show.wait_idle(server)
    before = figures(server)
    time.sleep(IDLE_S)
    after = figures(server)
    for field in ("expire_slices", "expire_visits", "cache_misses"):
        report.equal(f"{field} in {IDLE_S} idle seconds", int(after[field]) - int(before[field]), 0)


def main():
    parser = argparse.ArgumentParser(description="keys that expire and that nobody reads")
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--others", type=int, default=100000)
    parser.add_argument("--ttl", type=float, default=30, help="seconds, from the end of the others' load on")
    options = parser.parse_args()
    options.probe = 100  # its own keys
    show.use_release()
    report = show.Report(f"{options.keys:,} keys expire at once")
    with show.servers.scratch("expiry") as folder:
        server = show.servers.Server(folder, "--enable-debug-command", "yes").start()
        try:
            measure(options, report, server)
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
        finally:
            server.discard()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
