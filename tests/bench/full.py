#!/usr/bin/env python3
"""full.py - campaign: a small file system fills and is freed, over and over, under one server that never
restarts.

    tools/build release && tests/bench/full.py [--seed N] [--budget COUNT|TIME] [--size 256mb]
                                               [--spare 16] [--value 1000] [--dir DIR] [--resume S]
                                               [--delete-resume S]

A budget is a count of cycles (default 20) or a time: 90s, 30m, 8h. Mounts a tmpfs of that size in a mount
namespace of its own, which goes with the program; that wants root or user namespaces. Or name a directory of
a small file system with --dir. The seed draws the keys; how many writes fit is up to the machine. Cycles of two
kinds take turns:

another   somebody else's file takes the room but for a little, and, once the server refuses writes (deletes
          it must take), the rest to the last byte. When the file goes, writes must be taken again within --resume
          seconds.
own       the keys fill the disk themselves until writes are refused. Then half of them are deleted, which
          must work, and writes must be taken again within --delete-resume seconds.

While it is full: every refusal says -MISCONF or -OOM and names the cause, reads go on, and what is read is
right. After each cycle every key is read: what was acknowledged is there, what was refused left no trace.
At the end once more after kill -9 and after a clean restart. Small: --budget 2 --size 64mb. Closes as
tests/support/campaign.h says: passed and failed are what the table has bounds for.
"""
import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import show

import campaign  # where show.py says

BATCH = 100
CYCLES_DEFAULT = 20
TRY_MAX_S = 120


OWN_MOUNTS = "VARVE_FULL_OWN_MOUNTS"


def server_options(disk_bytes, spare):
    """Of a disk so large: a server whose files are small enough to be many."""
    def part(of):
        return str(disk_bytes // of)
    return ("--memtable-size", part(64), "--wal-size", part(64), "--segment-size", part(32),
            "--min-free", part(spare), "--reserve-size", part(2 * spare), "--block-cache-size", part(16))


def own_mounts():
    """Starts the program anew where it may mount and nobody else sees it, if that can be had."""
    unshare = shutil.which("unshare")
    how = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-rm"]
    if OWN_MOUNTS in os.environ or not unshare or \
            subprocess.run(how + ["true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return
    os.environ[OWN_MOUNTS] = "1"
    os.execv(unshare, how + [sys.executable, *sys.argv])


@contextlib.contextmanager
def small_disk(options):
    if options.dir:
        yield options.dir
        return
    folder = tempfile.mkdtemp(prefix="varve-full-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={show.size(options.size)}",
                              "varve-full", folder], stderr=subprocess.PIPE, text=True, check=False)
    if mounted.returncode != 0:
        os.rmdir(folder)
        why = " ".join(mounted.stderr.split())
        sys.exit(f"full.py: no small file system can be mounted ({why}): it takes root, or user "
                 "namespaces; or name a directory of one with --dir")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        os.rmdir(folder)


class Full:
    def __init__(self, options, report, disk, server):
        self.options, self.report, self.disk, self.server = options, report, disk, server
        self.values = show.Values(options.value)
        self.version = {}  # key -> version of what was acknowledged
        self.next_version = 1
        self.refusals = {}  # text -> how often
        self.unclear = 0
        self.waits = {"another": [], "own": []}
        self.writes = self.reads = 0
        self.random = random.Random(options.seed)
        self.cycles = 0

    # ---- the disk ----

    def ballast(self):
        return os.path.join(self.disk, "somebody-elses")

    def free(self):
        about = os.statvfs(self.disk)
        return about.f_bavail * about.f_frsize

    def take_room(self, leave):
        """Somebody else's file grows until so much is left, or nothing."""
        block = b"x" * 65536
        with open(self.ballast(), "ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                while self.free() > leave:
                    file.write(block[:max(1, min(len(block), self.free() - leave))])

    # ---- commands ----

    def refused(self, reply):
        text = re.sub(r"\S*/|[0-9]+", lambda found: "" if "/" in found.group() else "N", reply)
        self.refusals[text] = self.refusals.get(text, 0) + 1
        if not (reply.startswith(("MISCONF ", "OOM ")) and len(reply) > 20):
            self.unclear += 1

    def write(self, connection, keys):
        """SETs; returns how many were refused. One that was refused must leave no trace."""
        version, self.next_version = self.next_version, self.next_version + 1
        replies = connection.calls([("SET", show.name(key), self.values.of(key, version))
                                    for key in keys])
        refused = 0
        for key, reply in zip(keys, replies):
            if reply == b"OK":
                self.version[key] = version
                self.writes += 1
            else:
                refused += 1
                self.refused(reply)
        return refused

    def fill(self, connection, keys_max, leave=None):
        """Writes until some are refused. What compactions free meanwhile somebody else takes, but for `leave`."""
        progress = show.Progress("fill", keys_max)
        begin = time.monotonic()
        while time.monotonic() - begin < TRY_MAX_S:
            if self.write(connection, [self.random.randrange(keys_max) for _ in range(BATCH)]):
                return
            progress.step(BATCH)
            if leave is not None:
                self.take_room(leave)
        raise show.servers.Failed(f"nothing was refused in {TRY_MAX_S} s, {self.free()} bytes are free")

    def check_some(self, connection, count):
        keys = self.random.sample(sorted(self.version), min(count, len(self.version)))
        for key, got in zip(keys, connection.calls([("GET", show.name(key)) for key in keys])):
            if got != self.values.of(key, self.version[key]):
                raise show.Wrong(f"while the disk is full, {show.name(key)}: {show.servers.shorten(got)}")
            self.reads += 1

    def check_all(self, keys_max):
        show.read(self.server, "check all",
                  ((show.name(key), self.values.of(key, self.version[key]) if key in self.version else None)
                   for key in range(keys_max)), keys_max)
        self.reads += keys_max

    def wait_writable(self, connection, kind, keys_max, limit_s):
        begin = time.monotonic()
        while self.write(connection, [self.random.randrange(keys_max)]):
            if time.monotonic() - begin > max(TRY_MAX_S, limit_s):
                raise show.servers.Failed(f"writes are still refused {TRY_MAX_S} s after there is room: "
                                          f"{self.free()} bytes; {self.server.log_tail()}")
            time.sleep(0.02)
        self.waits[kind].append(time.monotonic() - begin)

    def delete(self, connection, keys):
        """It may be refused for a while, where the memtables are full."""
        begin = time.monotonic()
        reply = connection.call("DEL", *(show.name(key) for key in keys))
        while isinstance(reply, show.resp.Error) and time.monotonic() - begin < TRY_MAX_S:
            self.refused(reply)
            time.sleep(0.05)
            reply = connection.call("DEL", *(show.name(key) for key in keys))
        show.servers.expect(reply, len(keys), "DEL on a full disk")
        for key in keys:
            del self.version[key]

    # ---- cycles ----

    def cycle_another(self, connection, keys_max):
        little = show.size(self.options.size) * 3 // (2 * self.options.spare)  # a bit more than min-free
        self.take_room(little)
        self.fill(connection, keys_max, little)
        self.check_some(connection, 500)
        self.delete(connection, self.random.sample(sorted(self.version), BATCH))
        self.take_room(0)
        for _ in range(10):
            self.write(connection, [self.random.randrange(keys_max)])
            self.check_some(connection, 100)
            time.sleep(0.05)
        os.unlink(self.ballast())
        self.wait_writable(connection, "another", keys_max, self.options.resume)

    def cycle_own(self, connection, keys_max):
        self.fill(connection, keys_max)
        self.check_some(connection, 500)
        gone = self.random.sample(sorted(self.version), len(self.version) // 2)
        for at in range(0, len(gone), BATCH):
            self.delete(connection, gone[at:at + BATCH])
        self.wait_writable(connection, "own", keys_max, self.options.delete_resume)

    def run(self):
        few = show.size(self.options.size) // 4 // self.values.bytes
        many = show.size(self.options.size) * 2 // self.values.bytes
        pid = self.server.start().pid
        with self.server.connect(timeout_s=120) as connection:
            while self.options.budget.left(self.cycles):
                another = self.cycles % 2 == 0
                if another:
                    self.cycle_another(connection, few)
                else:
                    self.cycle_own(connection, many)
                self.check_all(many)
                self.cycles += 1
                print(f"  cycle {self.cycles}: {self.writes:,} writes, {self.reads:,} reads, "
                      f"{self.free() // show.MB} MB free", file=sys.stderr, flush=True)
                if not another:  # the next one has somebody else's file
                    self.shrink(connection, few)
        show.servers.expect((self.server.pid, self.server.process.poll()), (pid, None), "the server")
        self.check_restarts(many)

    def shrink(self, connection, keep):
        gone = [key for key in self.version if key >= keep]
        for at in range(0, len(gone), BATCH):
            keys = gone[at:at + BATCH]
            show.servers.expect(connection.call("DEL", *(show.name(key) for key in keys)), len(keys), "DEL")
            for key in keys:
                del self.version[key]
        begin = time.monotonic()
        while self.free() < show.size(self.options.size) // 3 and time.monotonic() - begin < TRY_MAX_S:
            time.sleep(0.05)

    def check_restarts(self, keys_max):
        self.server.kill()
        self.server.start()
        self.check_all(keys_max)
        self.server.terminate()
        self.server.start()
        self.check_all(keys_max)

    def tell(self):
        for kind, limit in (("another", self.options.resume), ("own", self.options.delete_resume)):
            took = self.waits[kind]
            self.report.add(f"'{kind}' cycles done", f"{len(took)}")
            if took:
                self.report.below(f"writes are taken again ('{kind}'), longest", max(took), limit, "s", 2)
        self.report.add("writes acknowledged, none lost", f"{self.writes:,}", "all", True)
        self.report.add("reads, all right", f"{self.reads:,}", "all", True)
        self.report.add("refusals that are not clear", f"{self.unclear}", "= 0", self.unclear == 0)
        for text, count in self.refusals.items():
            self.report.add(f"refused {count:,} times", f"-{text}")
        self.report.add("restarts needed", "0", "= 0", True)

    def figures(self):
        longest = ", ".join(f"{max(took):.2f} s ('{kind}')" for kind, took in self.waits.items() if took)
        refused = sum(self.refusals.values())
        return (f"{self.cycles} cycles of {self.options.size}, {self.writes} writes acknowledged, none lost, "
                f"{refused} refused, {self.reads} reads, all right, writes are taken again within {longest}, "
                f"0 restarts")


def main():
    parser = argparse.ArgumentParser(description="a disk that fills and is freed")
    campaign.add_arguments(parser, CYCLES_DEFAULT)
    parser.add_argument("--size", default="256mb", help="of the file system")
    parser.add_argument("--spare", type=int, default=16, help="min-free is so manieth a part of the disk")
    parser.add_argument("--value", type=int, default=1000, help="bytes of a value")
    parser.add_argument("--resume", type=float, default=2, help="bound in seconds, once there is room")
    parser.add_argument("--delete-resume", type=float, default=30, help="bound in seconds after deletes")
    parser.add_argument("--dir", help="a directory on a small file system, instead of a tmpfs")
    options = parser.parse_args()
    show.use_release()
    if not options.dir:
        own_mounts()
    report = show.Report(f"A file system of {options.size}, filled and freed over and over")
    figures = "stopped"
    with show.servers.scratch("full") as folder, small_disk(options) as disk:
        data = os.path.join(disk, "data")
        server = show.servers.Server(folder, "--dir", data, *server_options(show.size(options.size), options.spare))
        full = Full(options, report, disk, server)
        try:
            full.run()
            full.tell()
            figures = full.figures()
        except (show.servers.Failed, show.resp.Broken) as error:
            report.add("stopped", str(error), "", False)
            for text, count in full.refusals.items():
                report.add(f"refused {count:,} times", f"-{text}")
        finally:
            server.discard()
    return campaign.close("full", options.seed, *report.show(), figures)


if __name__ == "__main__":
    sys.exit(main())
