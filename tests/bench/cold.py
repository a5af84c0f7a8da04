#!/usr/bin/env python3
"""cold.py - random GETs of data that lie on the disk, beside what fio gets of the same disk.

    tools/build release && tests/bench/cold.py [--keys 20000000] [--value 1000] [--memory 1gb] [--seconds 20]
        [--read-threads 4,16,64] [--disk-reads N] [--dir DIR [--loaded]]

Loads the keys, waits for the merges, reads all of the files once (what is below a virtual disk has a cache, too), and
starts the server anew with its files dropped from the page cache, which is bounded by a memory cgroup where there is
one to be had (as root; the report says so). Then, for each number of read threads: redis-benchmark with 64 clients asks
for random keys, while one more client times GETs of a few resident ones; before it the same without the 64, behind it
with 64 that ask for resident keys, too (what it takes to share the processors with them). Just
before and just behind it fio reads the same files past the page cache, 64 at a time, as many pages as a block of the
server lies in. Bounds: 75 % of fio's rate; the p99 of resident GETs within twice of quiet. Needs fio and
redis-benchmark. Loading takes about a minute for 2 million keys. A file that fio made by itself says nothing: it was
written a moment ago, and may be in memory below the disk, where the segments are not.

--disk-reads N: a cgroup holds the disk to N reads a second, for the server and for fio alike. Where a fast disk is
found beside few cores the processor is the bound of both; this shows the server where the disk is.
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
RESIDENT = 20
PAGES = 2  # a block of 4 KiB and a bit, anywhere, lies in so many
FIO_S = 4
FIO_NAMES_BYTES = 4000  # it takes no more; then it reads some of the files
PROBE_PAUSE_S = 0.0005


def drop_page_cache(folder):
    """What lies below the folder leaves the system's memory; the files of others stay."""
    os.sync()
    for root, _, names in os.walk(folder):
        for name in names:
            file = os.open(os.path.join(root, name), os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def disk_number(folder):
    """Of the disk below the folder."""
    device = os.stat(folder).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


class Bound:
    """Cgroups, of version 2 or 1, that bound memory, the page cache included, and, unless it is 0, reads of the disk a
    second. `under` puts a command into them, and is empty where there are none to be had."""

    def __init__(self, folder, memory_bytes, disk_reads):
        self.folders, self.under = [], ()
        disk = disk_number(folder)
        top = "/sys/fs/cgroup"
        for limits in ([(top, "memory.max", memory_bytes), (top, "io.max", f"{disk} riops={disk_reads}")],
                       [(top + "/memory", "memory.limit_in_bytes", memory_bytes),
                        (top + "/blkio", "blkio.throttle.read_iops_device", f"{disk} {disk_reads}")]):
            try:
                for place, limit, text in limits[:2 if disk_reads else 1]:
                    self.bound(os.path.join(place, f"varve-cold-{os.getpid()}"), limit, str(text))
            except OSError:
                self.close()
                continue
            self.under = ("sh", "-c", 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"',
                          "sh", *(os.path.join(made, "cgroup.procs") for made in self.folders), "--")
            return

    def bound(self, folder, limit, text):
        if folder not in self.folders:
            os.mkdir(folder)
            self.folders.append(folder)
        file = os.open(os.path.join(folder, limit), os.O_WRONLY)  # there by itself, or it is no cgroup
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)

    def close(self):
        for folder in self.folders:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        self.folders = []


def segments(server):
    folder = server.argv[server.argv.index("--dir") + 1]
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".seg")]


def fio(under, paths, block_bytes, depth, seconds):
    """Reads a second of these files, past the page cache, and their p99 in ms."""
    some = paths[::1 + sum(len(path) + 1 for path in paths) // FIO_NAMES_BYTES]
    said = subprocess.run(
        [*under, "fio", "--name=cold", "--filename=" + ":".join(some), "--readonly", "--rw=randread",
         f"--bs={block_bytes}", "--file_service_type=random", "--direct=1", "--ioengine=libaio", f"--iodepth={depth}",
         f"--runtime={seconds}", "--time_based", "--output-format=json"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    job = json.loads(said.stdout)["jobs"][0]["read"]
    return job["iops"], job["clat_ns"]["percentile"]["99.000000"] / 1e6


def gets(server, prefix, keys, seconds):
    """Random GETs a second by the clients, measured by the server's own count."""
    benchmark = subprocess.Popen(
        ["redis-benchmark", "-p", str(server.port), "-c", str(CLIENTS), "-n", str(1 << 30), "-r", str(keys), "-q",
         "GET", prefix + "__rand_int__"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
        for key in range(RESIDENT):
            self.connection.call("SET", b"resident:%012d" % key, b"x" * 32)

    def run(self):
        turn = 0
        while not self.ended.wait(PROBE_PAUSE_S):
            began = time.perf_counter()
            self.connection.call("GET", b"resident:%012d" % (turn % RESIDENT))
            self.took.append(time.perf_counter() - began)
            turn += 1

    def p99_ms(self):
        self.ended.set()
        self.join()
        return 1000 * show.percentile(sorted(self.took), 0.99)


def device_reads(folder):
    """Reads that the disk below the folder has finished, and their sectors."""
    with open(f"/sys/dev/block/{disk_number(folder)}/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.read().split()]
    return fields[0], fields[2]


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_once(paths):
    """What is below a virtual disk has a cache, too, and both sides shall meet it as it then is."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(8 * show.MB):
                pass


def measure(options, report, server, threads, bound):
    """GETs a second over what fio reads of the same files just before and behind, in blocks as large."""
    paths = segments(server)
    around = [fio(bound.under, paths, PAGES * 4096, CLIENTS, FIO_S)]
    drop_page_cache(server.folder)
    server.start()
    resident = Resident(server)
    resident.start()
    time.sleep(options.seconds / 4)
    quiet = resident.p99_ms()
    resident = Resident(server)
    resident.start()
    before = device_reads(server.folder)
    cpu, began = cpu_s(server.pid), time.monotonic()
    rate = gets(server, "key:", options.keys, options.seconds)
    cpu, count = cpu_s(server.pid) - cpu, rate * (time.monotonic() - began)
    reads, sectors = (now - was for now, was in zip(device_reads(server.folder), before))
    slowed = resident.p99_ms()
    resident = Resident(server)
    resident.start()
    in_memory = gets(server, "resident:", RESIDENT, options.seconds / 4)
    crowded = resident.p99_ms()
    server.terminate()
    around.append(fio(bound.under, segments(server), PAGES * 4096, CLIENTS, FIO_S))
    beside = sum(iops for iops, _ in around) / len(around)
    what = f"{threads} read threads"
    report.add(f"{what}: GETs/s, of fio's reads of {4 * PAGES} KiB at a depth of {CLIENTS}",
               f"{rate:,.0f} of {beside:,.0f}, {rate / beside:.2f}")
    report.add(f"{what}: reads of the disk a GET, KiB each; server CPU a GET, us",
               f"{reads / count:.2f}, {sectors / 2 / max(reads, 1):.1f}; {cpu * 1e6 / count:.0f}")
    report.add(f"{what}: the same clients, all with resident keys: GETs/s; p99 of resident GETs, ms",
               f"{in_memory:,.0f}; {crowded:.2f}")
    report.add(f"{what}: p99 of resident GETs, quiet, ms", f"{slowed:.2f}, {quiet:.2f}",
               "" if threads != options.read_threads[-1] else f"<= {P99_TIMES:g} times",
               None if threads != options.read_threads[-1] else slowed <= P99_TIMES * quiet)
    return rate / beside


def load(options, report, server):
    values = show.Values(options.value)
    server.start()
    began = time.monotonic()
    show.write(server, "load", ((show.name(key), values.of(key, 0)) for key in show.scattered(options.keys)),
               options.keys)
    show.wait_idle(server, 1800)
    report.add("loading and merging, s", f"{time.monotonic() - began:.0f}")
    report.add("segments, MB", f"{show.segment_bytes(server) / show.MB:.0f}")
    server.terminate()


def run(options, report, folder):
    limit = show.size(options.memory)
    base = ("--maxmemory", limit - limit // 4)
    bound = Bound(folder, limit, options.disk_reads)
    server = show.servers.Server(folder, *base)
    try:
        if not options.loaded:
            load(options, report, server)
        read_once(segments(server))
        report.add("page cache bounded by a cgroup", "yes" if bound.under else "no: dropped before each row only")
        if options.disk_reads:
            report.add("reads of the disk a second bounded by a cgroup", "yes" if bound.under else "no",
                       f"{options.disk_reads:,}", bool(bound.under))
        shares = []
        for threads in options.read_threads:
            server = show.servers.Server(folder, *base, "--read-threads", threads, under=bound.under)
            shares.append(measure(options, report, server, threads, bound))
    finally:
        server.discard()
        bound.close()
    for depth in (4, 16, CLIENTS):
        rate, p99 = fio((), segments(server), 4096, depth, FIO_S)
        report.add(f"fio, 4 KiB, depth {depth}: reads/s, p99 ms", f"{rate:,.0f}, {p99:.2f}")
    report.add("best rate of GETs over fio's beside it", f"{max(shares):.2f}", f">= {RATE_LEAST}",
               max(shares) >= RATE_LEAST)


def main():
    parser = argparse.ArgumentParser(description="random GETs of data on the disk")
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--value", type=int, default=1000)
    parser.add_argument("--memory", default="1gb", help="of the server, its page cache included")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--read-threads", type=lambda text: [int(word) for word in text.split(",")],
                        default=[4, 16, 64])
    parser.add_argument("--disk-reads", type=int, default=0, help="a second, of the server and of fio; 0: no bound")
    parser.add_argument("--dir", help="where the data go; default: the temporary directory")
    parser.add_argument("--loaded", action="store_true", help="they are there: DIR/data")
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
