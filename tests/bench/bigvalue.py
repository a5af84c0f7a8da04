#!/usr/bin/env python3
"""bigvalue.py - a value of 500 MB is set, read, overwritten and deleted while other clients go on.

    tools/build release && tests/bench/bigvalue.py [--value 500mb] [--rounds N] [--max MS]

A process of its own SETs and GETs small keys all the time; how long each took is told for each phase of the
big value, and what the server's loop did meanwhile: seconds of processor, and seconds that it waited for one
because others had it. The bound is on the longest one, less
the latter, for on a busy machine that is not the server's doing. The bytes that come back are compared, also after a flush and after a restart. Segments are looked at in the
end: a deleted value gives its space back. Small: --value 20mb.
"""
import argparse
import random
import sys
import time

import show


def pattern(size, seed):
    """Bytes that do not compress, quickly made."""
    block = random.Random(seed).randbytes(show.MB)
    return (block * (size // show.MB + 1))[:size]


class Big:
    def __init__(self, options, report, server):
        self.options, self.report, self.server = options, report, server
        self.values = [pattern(show.size(options.value), seed) for seed in (1, 2)]
        self.phases = []  # (name, begin, end, cpu_s, waited_s)

    def connect(self):
        return self.server.connect(timeout_s=120)

    def phase(self, name, work):
        begin, before = time.monotonic(), self.loop_times()
        work()
        end, after = time.monotonic(), self.loop_times()
        self.phases.append((name, begin, end, after[0] - before[0], after[1] - before[1]))
        print(f"  {name}: {end - begin:.2f} s", file=sys.stderr, flush=True)

    def loop_times(self):
        """Seconds that the loop's thread ran, and that it could have run but had no processor."""
        with open(f"/proc/{self.server.pid}/task/{self.server.pid}/schedstat", encoding="ascii") as file:
            return tuple(int(field) / 1e9 for field in file.read().split()[:2])

    def set(self, version):
        value = self.values[version]
        with self.connect() as connection:
            connection.send_raw(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n" % len(value))
            connection.send_raw(value)
            connection.send_raw(b"\r\n")
            show.servers.expect(connection.read(), b"OK", "SET")

    def get(self, version):
        with self.connect() as connection:
            wanted = self.values[version]
            connection.send("GET", "big")
            got = receive(connection.socket, len(wanted))
            if got != wanted:
                raise show.Wrong("the big value is not what was set")

    def delete(self):
        with self.connect() as connection:
            show.servers.expect(connection.call("DEL", "big"), 1, "DEL")
            show.servers.expect(connection.call("EXISTS", "big"), 0, "EXISTS")

    def run(self):
        with show.Probe(self.server, pause_s=0.0005) as probe:
            self.phase("quiet", lambda: time.sleep(2))
            for _ in range(self.options.rounds):
                self.phase("SET", lambda: self.set(0))
                self.phase("GET", lambda: self.get(0))
                self.phase("overwrite", lambda: self.set(1))
                self.phase("GET of it", lambda: self.get(1))
                self.phase("flushes and compactions", lambda: show.wait_idle(self.server))
                self.phase("GET from a segment", lambda: self.get(1))
                self.phase("DEL", self.delete)
        return probe

    def tell(self, probe):
        errors = sum(failed for *_, failed in probe.seen)
        self.report.add("errors of the other client", f"{errors} of {len(probe.seen):,}", "= 0", not errors)
        names = list(dict.fromkeys(name for name, *_ in self.phases))
        for name in names:
            mine = [phase for phase in self.phases if phase[0] == name]
            took = sorted(took for _, begin, end, *_ in mine for took in probe.begun(begin, end))
            cpu_s = sum(phase[3] for phase in mine)
            waited_s = sum(phase[4] for phase in mine)
            longest = max((times[-1] * 1000 - waited * 1000 for times, waited in
                           ((probe.begun(begin, end), waited) for _, begin, end, _, waited in mine)
                           if times), default=0)
            text = (f"{1000 * show.percentile(took, 0.5):.2f}, {1000 * show.percentile(took, 0.99):.2f}, "
                    f"{1000 * (took[-1] if took else 0):.1f} of {len(took):,}; loop: {cpu_s:.1f} s, waited "
                    f"{waited_s:.1f} s")
            self.report.add(f"{name}: others' p50, p99, max ms", text, f"max < {self.options.max:g}",
                            longest < self.options.max)


def receive(sock, length):
    head = b""
    while not head.endswith(b"\r\n"):
        head += sock.recv(1)
    show.servers.expect(head, b"$%d\r\n" % length, "length of the reply")
    got = bytearray(length + 2)
    view, at = memoryview(got), 0
    while at < len(got):
        count = sock.recv_into(view[at:])
        if count == 0:
            raise show.resp.Broken("closed by the server")
        at += count
    return got[:length]


def run(options, report, server):
    big = Big(options, report, server)
    server.start()
    probe = big.run()
    big.tell(probe)
    report.add("RSS, most, MB", f"{show.rss_peak_mb(server):.0f}")
    big.set(0)
    server.kill()
    report.add("restart with it in the log, s", f"{show.start_timed(server):.2f}")
    big.get(0)
    report.add("after kill -9 it is what was set", "yes", "yes", True)
    server.terminate()
    server.start()
    big.get(0)
    big.delete()
    show.wait_idle(server)
    fields = show.info(server)
    report.add("background failures", fields["background_failures"], "= 0",
               fields["background_failures"] == "0")
    report.add("segments with it deleted in memory only, MB",
               f"{show.segment_bytes(server) / show.MB:.1f}")
    with server.connect() as connection:
        show.servers.expect(connection.call("FLUSHALL"), b"OK", "FLUSHALL")
    deadline = time.monotonic() + 10
    while show.segment_bytes(server) > show.MB and time.monotonic() < deadline:
        time.sleep(0.05)
    report.below("segments after FLUSHALL", show.segment_bytes(server) / show.MB, 1, "MB", 2)


def main():
    parser = argparse.ArgumentParser(description="one huge value beside small ones")
    parser.add_argument("--value", default="500mb")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max", type=float, default=2000, help="bound of the others' longest wait, ms")
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"A value of {options.value}, and small ones beside it")
    with show.servers.scratch("bigvalue") as folder:
        server = show.servers.Server(folder)
        try:
            run(options, report, server)
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
        finally:
            server.discard()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
