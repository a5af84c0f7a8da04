"""varve.py - runs the admin tool, and knows as much of the formats as forging takes."""
import json
import os
import struct
import subprocess

import server as servers

TIMEOUT_S = 120
FOUND, USAGE, FAILED = 1, 2, 3


def program():
    named = os.environ.get("VARVE_TOOL")
    if named:
        return named
    folder = os.path.dirname(servers.varved_path())
    for place in ("varve", "../../tools/varve/varve"):
        path = os.path.join(folder, place)
        if os.path.isfile(path):
            return path
    raise servers.Failed(f"no varve beside {servers.varved_path()}")


def beside(path):
    """A program of the build that the tool is of."""
    for top in (".", "../.."):
        found = os.path.normpath(os.path.join(os.path.dirname(program()), top, path))
        if os.path.isfile(found):
            return found
    raise servers.Failed(f"no {path} in the build of {program()}")


def sanitized():
    """A report of a sanitizer must not end the tool with a code of its own."""
    env = dict(os.environ)
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        env[name] = ":".join(filter(None, (env.get(name), "exitcode=99")))
    return env


def run(*args, wanted=(0,)):
    """The output; Failed if it ends otherwise than wanted, or says nothing when it should."""
    done = subprocess.run([program(), *map(str, args)], stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S,
                          env=sanitized())
    if done.returncode not in wanted:
        raise servers.Failed(f"varve {' '.join(map(str, args))} ended with {done.returncode}: "
                             f"{servers.shorten(done.stdout[-1500:] + done.stderr[-1500:])}")
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def run_json(*args, wanted=(0,)):
    code, out, _ = run(*args, "--json", wanted=wanted)
    return code, json.loads(out)


def as_bytes(value):
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()


def verify(data):
    """Exit code and the files that are damaged, each with its offsets."""
    code, said = run_json("verify", data, wanted=(0, FOUND))
    damaged = {}
    for finding in said["findings"]:
        if finding["severity"] == "damage":
            damaged.setdefault(finding["file"], []).append(finding.get("offset"))
    servers.expect(said["damage"], sum(map(len, damaged.values())), "the number of findings")
    servers.expect(code, FOUND if damaged else 0, "the exit code of verify")
    servers.expect(said["complete"], True, "verify came to its end")
    return said, damaged


def notes(said):
    return {finding["file"] for finding in said["findings"] if finding["severity"] == "note"}


def scan(data, *options):
    """{(db, key): (value, expires)}"""
    _, said = run_json("scan", data, *options)
    servers.expect(said["count"], len(said["keys"]), "the count of scan")
    return {(one.get("db"), as_bytes(one["key"])):
            (as_bytes(one["value"]) if "value" in one else None, "expire_ms" in one)
            for one in said["keys"]}


# ---- forging ----

def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(crc, data):
    crc ^= 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def name_hash(name):
    """src/types/FORMAT.md section 2, in four bytes."""
    found = crc32c(0, name)
    found = (found ^ found >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    found = (found ^ found >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return struct.pack(">I", found ^ found >> 16)


def lies_between(first, name, last):
    """In the order in which names lie."""
    return (name_hash(first), first) <= (name_hash(name), name) <= (name_hash(last), last)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def add_edit(path, payload):
    """Appends an edit with right CRCs to a manifest."""
    with open(path, "r+b") as file:
        head = file.read(64)
        salt = crc32c(0, head[16:40])
        file.seek(0, os.SEEK_END)
        end = file.tell()
        fields = struct.pack("<BBHIIQQQ", 0x15, 0, 0, crc32c(salt, payload), 0, len(payload), 0, end)
        file.write(struct.pack("<I", crc32c(salt, fields)) + fields + payload)
