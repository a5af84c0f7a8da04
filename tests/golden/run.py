#!/usr/bin/env python3
"""run.py - the data directories that earlier builds wrote are read as they were written, and a
directory of another format version is refused by name, without a byte of it changed.

For each tests/golden/vN with a vN.txt: a copy is dumped by the program `golden` three times (each open
writes new files) and compared with it.
Then the version is raised in CURRENT and in each file's header, with the CRC made anew.
A vN without a text is of a version that is no longer read.
"""
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ.get("VARVE_ROOT", os.path.join(HERE, "..", ".."))
BUILD = os.environ.get("VARVE_BUILD", os.path.join(ROOT, "build", "asan"))
GOLDEN = os.path.join(BUILD, "tests", "golden", "golden")
HEADER_CRC_AT = 60


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_all(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read()
    return found


def dump(folder):
    return subprocess.run([GOLDEN, "dump", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, timeout=60)


def next_version(name, data):
    """The file as a build of the next format version would begin it."""
    if name == "CURRENT":
        version = int(data.split()[1])
        text = data[:data.rindex(b" crc32c=")].replace(b"varve %d" % version,
                                                      b"varve %d" % (version + 1), 1)
        return text + b" crc32c=%08x\n" % crc32c(text)
    version = struct.unpack_from("<I", data, 8)[0]
    head = data[:8] + struct.pack("<I", version + 1) + data[12:HEADER_CRC_AT]
    return head + struct.pack("<I", crc32c(head)) + data[HEADER_CRC_AT + 4:]


class Cases:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, ok, what, result):
        if ok:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED: {what}: exit {result.returncode}\n{result.stderr.decode()}")


def check_answers(cases, name, copy, want):
    for turn in ("first", "second", "third"):
        result = dump(copy)
        cases.check(result.returncode == 0 and result.stdout == want, f"{name}, {turn} open", result)


def check_refusals(cases, name, original, scratch):
    for file in sorted(os.listdir(original)):
        copy = os.path.join(scratch, file)
        shutil.copytree(original, copy)
        path = os.path.join(copy, file)
        with open(path, "rb") as opened:
            data = opened.read()
        with open(path, "wb") as opened:
            opened.write(next_version(file, data))
        with open(os.path.join(copy, "LOCK"), "wb"):
            pass
        before = read_all(copy)
        result = dump(copy)
        said = result.stderr.decode()
        what = f"{name}, next version in {file}"
        cases.check(result.returncode == 1 and file in said and "version" in said, what, result)
        cases.check(read_all(copy) == before, what + ": bytes changed", result)


def check_older(cases, name, original, scratch):
    copy = os.path.join(scratch, "copy")
    shutil.copytree(original, copy)
    with open(os.path.join(copy, "LOCK"), "wb"):
        pass
    before = read_all(copy)
    result = dump(copy)
    said = result.stderr.decode()
    cases.check(result.returncode == 1 and "CURRENT" in said and f"format version {name[1:]}" in said,
                f"{name}, an older version", result)
    cases.check(read_all(copy) == before, f"{name}: bytes changed", result)


def main():
    cases = Cases()
    names = sorted(entry for entry in os.listdir(HERE)
                   if entry.startswith("v") and os.path.isdir(os.path.join(HERE, entry)))
    for name in names:
        original = os.path.join(HERE, name)
        if not os.path.exists(original + ".txt"):
            with tempfile.TemporaryDirectory(prefix="varve-golden-") as scratch:
                check_older(cases, name, original, scratch)
            continue
        with open(original + ".txt", "rb") as file:
            want = file.read()
        with tempfile.TemporaryDirectory(prefix="varve-golden-") as scratch:
            copy = os.path.join(scratch, "copy")
            shutil.copytree(original, copy)
            check_answers(cases, name, copy, want)
            check_refusals(cases, name, original, scratch)
    print(f"{cases.passed} passed, {cases.failed} failed")
    return 1 if cases.failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
