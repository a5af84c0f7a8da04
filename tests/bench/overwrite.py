#!/usr/bin/env python3
"""overwrite.py - random overwrites of live data for long: space, write amplification, delays over time.

    tools/build release && tools/build bench tests/bench/compact_dir && tests/bench/overwrite.py [--live 1gb] [--writes 5gb] [--value 1000]
        [--memtable 64mb] [--space 1.2] [--every SECONDS] [--svg FILE] [--pace MB] [--dir DIR]

Loads `live` bytes of keys and values once, waits until that has settled, and overwrites keys drawn at
random until `writes` bytes went in, as fast as they are taken (or --pace MB a second), while another
process times small SETs. Values are 1000 bytes by default, since that makes the disk and the merges the
load; 100 bytes makes it the loop. They do not compress.

Space is the bytes of the segment files, sampled over time, over what a full compaction leaves at
the end (compact_dir, if it is built, and else what the load alone took). The bound holds for the mean of the second half of the writes; 95 samples of 100 may lie
higher by what one flush brings: running compactions, whose inputs and outputs exist side by side, do not count,
so a sample is what the server calls live (INFO's segment_bytes). The log and the reserve do not count.
Prints a table a second (--every), and draws it as SVG. Small: --live 20mb --writes 100mb --memtable 1mb.
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

import show

PROBE_PAUSE_S = 0.002


class Sampler(threading.Thread):
    """What INFO says, four times a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.rows, self.ended = server, [], threading.Event()

    def run(self):
        while not self.ended.wait(0.25):
            fields = show.info(self.server)
            self.rows.append({
                "at": time.monotonic(), "live": int(fields["segment_bytes"]),
                "files": show.segment_bytes(self.server), "user": int(fields["user_bytes"]),
                "written": int(fields["flush_bytes"]) + int(fields["compaction_written_bytes"]),
                "stall": fields["write_stall"], "memtables": int(fields["memtables"]),
            })

    def stop(self):
        self.ended.set()
        self.join()
        return self.rows


def load(server, values, keys):
    show.write(server, "load", ((show.name(key), values.of(key, 0)) for key in range(keys)), keys)


def overwrite(server, values, keys, count, seed, pace):
    chooser = random.Random(seed)
    begin = time.monotonic()

    def pairs():
        for done in range(count):
            if pace and done % 100 == 0:
                ahead = done * values.bytes / (pace * show.MB) - (time.monotonic() - begin)
                if ahead > 0.01:
                    time.sleep(ahead)
            key = chooser.randrange(keys)
            yield show.name(key), values.of(key, 1 + done % 1000)

    show.write(server, "overwrite", pairs(), count)


def check(server, values, keys, count, seed):
    """A sample of keys has what was written last."""
    chooser = random.Random(seed)
    last = {}
    for done in range(count):
        last[chooser.randrange(keys)] = 1 + done % 1000
    wanted = random.Random(seed + 1).sample(range(keys), min(keys, 200_000))
    show.read(server, "check", ((show.name(key), values.of(key, last.get(key, 0))) for key in wanted),
              len(wanted))
    return len(wanted)


def compacted_bytes(server, fallback):
    """Stops the server; what a full compaction leaves, and how that is known."""
    server.terminate()
    tool = os.path.join(show.servers.ROOT, "build", "bench", "tests", "bench", "compact_dir")
    if not os.path.exists(tool):
        return fallback, "of the load alone"
    subprocess.run([tool, show.data_folder(server)], check=True, timeout=600, stdout=subprocess.DEVNULL)
    return show.segment_bytes(server), "after a full compaction"


def by_second(rows, probe, begin, every, base):
    """One row for each span: time, MB/s in, space, write amplification so far, longest SET."""
    out = []
    user0, written0 = rows[0]["user"], rows[0]["written"]
    before = rows[0]
    end = rows[-1]["at"]
    at = begin
    while at < end:
        inside = [row for row in rows if at <= row["at"] < at + every]
        if inside:
            last = inside[-1]
            taken = probe.between(at, at + every, True)
            reads = probe.between(at, at + every, False)
            out.append({
                "s": at + every - begin,
                "mb_s": (last["user"] - before["user"]) / max(last["at"] - before["at"], 1e-9) / show.MB,
                "space": max(row["live"] for row in inside) / base,
                "files": max(row["files"] for row in inside) / base,
                "wa": (last["written"] - written0) / max(last["user"] - user0, 1),
                "set_ms": (taken[-1] if taken else 0) * 1000,
                "get_ms": (reads[-1] if reads else 0) * 1000,
                "stall": max((row["stall"] for row in inside), key=lambda s: s != "none"),
            })
            before = last
        at += every
    return out


def print_spans(spans):
    print("\n| s | MB/s | space | files | write amplification | longest SET ms | longest GET ms | stall |")
    print("|---|---|---|---|---|---|---|---|")
    for row in spans:
        print(f"| {row['s']:.0f} | {row['mb_s']:.0f} | {row['space']:.3f} | {row['files']:.3f} | "
              f"{row['wa']:.2f} | {row['set_ms']:.1f} | {row['get_ms']:.1f} | {row['stall']} |")


def draw(path, title, spans, bound):
    def line(field):
        return [(row["s"], row[field]) for row in spans]

    show.svg_lines(path, title, "seconds", [
        ("space: live segment bytes over what a full compaction leaves",
         [("live", "steelblue", line("space")), ("files, with running compactions", "silver",
                                                 line("files"))], bound),
        ("MB a second written by clients", [("MB/s", "seagreen", line("mb_s"))], None),
        ("write amplification so far", [("bytes of segments written / bytes taken", "purple",
                                         line("wa"))], None),
        ("longest small SET and GET of another client, ms",
         [("SET", "firebrick", line("set_ms")), ("GET", "orange", line("get_ms"))], None)])


def judge(report, options, rows, probe, base, how):
    half = rows[0]["user"] + (rows[-1]["user"] - rows[0]["user"]) / 2
    steady = [row for row in rows if row["user"] >= half]
    shares = sorted(row["live"] / base for row in steady)
    report.add("what is left " + how + ", MB", f"{base / show.MB:.0f}")
    report.below("space, mean of the second half", sum(shares) / len(shares), options.space, "", 3)
    flush = show.size(options.memtable) / base
    report.below("space, 95 % of the second half", show.percentile(shares, 0.95), options.space + flush,
                 "", 3)
    report.add("space, most", f"{shares[-1]:.3f}")
    report.add("files of running compactions included, most",
               f"{max(row['files'] for row in steady) / base:.3f}")
    taken = rows[-1]["user"] - rows[0]["user"]
    report.add("write amplification (flushes and compactions)",
               f"{(rows[-1]['written'] - rows[0]['written']) / taken:.2f}")
    report.add("MB/s taken", f"{taken / (rows[-1]['at'] - rows[0]['at']) / show.MB:.0f}")
    for kind, writes in (("SET", True), ("GET", False)):
        took = probe.between(rows[0]["at"], rows[-1]["at"], writes)
        report.add(f"small {kind} beside: p50, p99, max ms",
                   ", ".join(f"{1000 * show.percentile(took, part):.1f}" for part in (0.5, 0.99, 1)))


def run(options, report, server):
    values = show.Values(options.value)
    keys = show.size(options.live) // (16 + values.bytes)
    count = show.size(options.writes) // (16 + values.bytes)
    server.start()
    load(server, values, keys)
    show.wait_idle(server)
    loaded = show.segment_bytes(server)
    sampler = Sampler(server)
    with show.Probe(server, pause_s=PROBE_PAUSE_S) as probe:
        cpu = show.cpu_s(server)
        sampler.start()
        begin = time.monotonic()
        overwrite(server, values, keys, count, 3, options.pace)
        rows = sampler.stop()
        cpu = show.cpu_s(server) - cpu
    fields = show.info(server)
    report.add("keys right after all", f"{check(server, values, keys, count, 3):,}", "all", True)
    report.add("delays asked for, longest us", fields["stall_us_max"])
    report.add("stalls", ", ".join(f"{cause} {fields['stall_' + cause]}" for cause in
                                   ("memtables", "level0", "space", "segments")))
    report.add("server CPU us an overwrite", f"{cpu / count * 1e6:.1f}")
    report.add("background failures", fields["background_failures"], "= 0",
               fields["background_failures"] == "0")
    show.wait_idle(server)
    report.add("segments when idle, MB", f"{show.segment_bytes(server) / show.MB:.0f}")
    base, how = compacted_bytes(server, loaded)
    judge(report, options, rows, probe, base, how)
    spans = by_second(rows, probe, begin, options.every, base)
    print_spans(spans)
    if options.svg:
        draw(options.svg, report.title, spans, options.space)


def main():
    parser = argparse.ArgumentParser(description="random overwrites for long")
    parser.add_argument("--live", default="1gb")
    parser.add_argument("--writes", default="5gb")
    parser.add_argument("--value", type=int, default=1000, help="bytes of a value")
    parser.add_argument("--memtable", default="64mb")
    parser.add_argument("--space", type=float, default=1.2, help="bound")
    parser.add_argument("--every", type=float, default=1, help="seconds a row of the table")
    parser.add_argument("--pace", type=float, default=0, help="MB a second; 0: as fast as it goes")
    parser.add_argument("--svg", help="draw it into this file")
    parser.add_argument("--dir", help="where the data go; default: the temporary directory")
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"{options.writes} of random overwrites over {options.live}, values of "
                         f"{options.value} bytes")
    with show.servers.scratch("overwrite") as folder:
        server = show.servers.Server(options.dir or folder, "--memtable-size", options.memtable)
        try:
            run(options, report, server)
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
        finally:
            server.discard()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
