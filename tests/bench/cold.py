#!/usr/bin/env python3
"""cold.py - random GETs of data that lie on the disk, beside what fio gets of the same disk.

    tools/build release && tests/bench/cold.py [--keys 20000000] [--value 1000] [--memory 1gb] [--seconds 20]
        [--read-threads 4,16,64] [--dir DIR]

Loads the keys, waits for the merges, and starts the server anew with a page cache that is dropped before each
measurement and bounded by a memory cgroup where there is one to be had (as root; the report says so). Then, for
each number of read threads: redis-benchmark with 64 clients asks for random keys, while one more client times GETs
of a few resident ones; before it the same without the 64. fio reads 4 KiB at random of a file as large, as deep.
Bounds: 75 % of fio's rate at a depth of 64; the p99 of resident GETs within twice of quiet. Needs fio and
redis-benchmark. Loading takes about a minute for 2 million keys.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import show

CLIENTS = 64
RATE_LEAST = 0.75
P99_TIMES = 2.0
PROBE_PAUSE_S = 0.0005
CGROUP = "/sys/fs/cgroup/varve-cold"


def drop_page_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("1")


class Bound:
    """A memory cgroup around the server; `made` says whether there is one."""

    def __init__(self, server, memory_bytes):
        self.made = False
        with contextlib.suppress(OSError):
            os.makedirs(CGROUP, exist_ok=True)
            self.put("memory.max", memory_bytes)
            self.put("cgroup.procs", server.pid)
            self.made = True

    def put(self, name, value):
        with open(os.path.join(CGROUP, name), "w", encoding="ascii") as file:
            file.write(str(value))


def remove_bound():
    with contextlib.suppress(OSError):
        os.rmdir(CGROUP)


def fio(folder, size_bytes, depth, seconds):
    """Reads of 4 KiB a second, and their p99 in ms."""
    said = subprocess.run(
        ["fio", "--name=cold", f"--filename={folder}/fio", f"--size={size_bytes}", "--rw=randread", "--bs=4k",
         "--direct=1", "--ioengine=libaio", f"--iodepth={depth}", f"--runtime={seconds}", "--time_based",
         "--output-format=json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    job = json.loads(said.stdout)["jobs"][0]["read"]
    return job["iops"], job["clat_ns"]["percentile"]["99.000000"] / 1e6


def gets(server, keys, seconds):
    """Random GETs a second by the clients, measured by the server's own count."""
    benchmark = subprocess.Popen(
        ["redis-benchmark", "-p", str(server.port), "-t", "get", "-c", str(CLIENTS), "-n", str(1 << 30), "-r",
         str(keys), "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        with server.connect() as connection:
            def asked():
                text = connection.call("INFO", "commandstats", "lsm").decode()
                fields = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
                return int(fields["cmdstat_get"].split("calls=")[1].split(",")[0])
            before, began = asked(), time.monotonic()
            time.sleep(seconds)
            return (asked() - before) / (time.monotonic() - began)
    finally:
        benchmark.kill()
        benchmark.wait()


class Resident(threading.Thread):
    """Times GETs of resident keys."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection = server.connect()
        self.ended, self.took = threading.Event(), []
        for key in range(20):
            self.connection.call("SET", b"resident:%d" % key, b"x" * 32)

    def run(self):
        turn = 0
        while not self.ended.wait(PROBE_PAUSE_S):
            began = time.perf_counter()
            self.connection.call("GET", b"resident:%d" % (turn % 20))
            self.took.append(time.perf_counter() - began)
            turn += 1

    def p99_ms(self):
        self.ended.set()
        self.join()
        return 1000 * show.percentile(sorted(self.took), 0.99)


def device_reads(folder):
    """Reads that the disk below the folder has finished, and their sectors."""
    device = os.stat(folder).st_dev
    with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.read().split()]
    return fields[0], fields[2]


def measure(options, report, server, threads, keys, limit):
    drop_page_cache()
    server.start()
    bound = Bound(server, limit)
    resident = Resident(server)
    resident.start()
    time.sleep(options.seconds / 4)
    quiet = resident.p99_ms()
    resident = Resident(server)
    resident.start()
    before = device_reads(server.folder)
    began = time.monotonic()
    rate = gets(server, keys, options.seconds)
    reads, sectors = (now - was for now, was in zip(device_reads(server.folder), before))
    seconds = time.monotonic() - began
    slowed = resident.p99_ms()
    server.terminate()
    remove_bound()
    report.add(f"{threads} read threads: GETs/s", f"{rate:,.0f}")
    report.add(f"{threads} read threads: reads of the disk a GET, KiB each",
               f"{reads / seconds / rate:.2f}, {sectors / 2 / max(reads, 1):.1f}")
    report.add(f"{threads} read threads: p99 of resident GETs, quiet, ms", f"{slowed:.2f}, {quiet:.2f}",
               "" if threads != options.read_threads[-1] else f"<= {P99_TIMES:g} times",
               None if threads != options.read_threads[-1] else slowed <= P99_TIMES * quiet)
    return rate, bound.made


def run(options, report, folder):
    limit = show.size(options.memory)
    base = ("--memtable-size", limit // 16, "--block-cache-size", limit // 4)
    values = show.Values(options.value)
    server = show.servers.Server(folder, *base)
    try:
        server.start()
        began = time.monotonic()
        show.write(server, "load", ((show.name(key), values.of(key, 0)) for key in show.scattered(options.keys)),
                   options.keys)
        show.wait_idle(server, 1800)
        report.add("loading and merging, s", f"{time.monotonic() - began:.0f}")
        report.add("segments, MB", f"{show.segment_bytes(server) / show.MB:.0f}")
        size = show.segment_bytes(server)
        server.terminate()
        rates, bound = {}, False
        for threads in options.read_threads:
            server = show.servers.Server(folder, *base, "--read-threads", threads)
            rates[threads], bound = measure(options, report, server, threads, options.keys, limit)
        report.add("page cache bounded by a cgroup", "yes" if bound else "no: dropped before each row only")
    finally:
        server.discard()
        remove_bound()
    depths = {depth: fio(folder, size, depth, max(3, int(options.seconds / 3))) for depth in (4, 16, CLIENTS)}
    os.unlink(os.path.join(folder, "fio"))
    for depth, (rate, p99) in depths.items():
        report.add(f"fio, 4 KiB, depth {depth}: reads/s, p99 ms", f"{rate:,.0f}, {p99:.2f}")
    best = max(rates.values())
    report.add("best rate of GETs over fio's at 64", f"{best / depths[CLIENTS][0]:.2f}", f">= {RATE_LEAST}",
               best >= RATE_LEAST * depths[CLIENTS][0])


def main():
    parser = argparse.ArgumentParser(description="random GETs of data on the disk")
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--value", type=int, default=1000)
    parser.add_argument("--memory", default="1gb", help="of the server, its page cache included")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--read-threads", type=lambda text: [int(word) for word in text.split(",")],
                        default=[4, 16, 64])
    parser.add_argument("--dir", help="where the data go; default: the temporary directory")
    options = parser.parse_args()
    show.use_release()
    report = show.Report(f"random GETs of {options.keys:,} keys of {options.value} bytes, {CLIENTS} clients, "
                         f"{options.memory} of memory")
    with show.servers.scratch("cold") as folder:
        try:
            run(options, report, options.dir or folder)
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
