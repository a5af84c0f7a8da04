#!/usr/bin/env python3
"""corpus.py - writes the seeds of the fuzz targets whose inputs are made by hand into corpus/. What is in
corpus/ besides was found by a fuzzer, or is a copy of a real file; it stays as it is."""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def index_entry(shared, key, gap, length):
    return varint(shared) + varint(len(key)) + key + varint(gap) + varint(length)


def index(*entries):
    return b"\x01" + bytes(4) + varint(len(entries)) + b"".join(entries)


def filter_block(lines, probes):
    return b"\0" + struct.pack("<II", lines, probes) + bytes(56) + b"\xa5" * (64 * lines)


def glob(pattern, text, flags=0):
    return bytes([flags, len(pattern)]) + pattern + text


def reply(*calls, proto=3, room=40):
    return bytes([proto - 2]) + struct.pack("<H", room) + b"".join(calls)


def text_call(kind, text):
    return bytes([kind]) + struct.pack("<H", len(text)) + text


def change(file, how, *edits):
    """One change of a data directory: how 0 edits, 1 removes, 2 copies over another, 3 makes a new one."""
    return bytes([file, how | max(0, len(edits) - 1) << 3]) + b"".join(edits)


def edit(what, place, arg, rest=b""):
    return bytes([what]) + struct.pack("<H", place) + bytes([arg]) + rest


# The properties of fuzz_segment.c's second file.
PROPERTIES = bytes.fromhex(
    "0101300201280301030401070502d20f0603f8e4010701610801780905d4c401b2020a05ccc30180010b04a0"
    "c301240c010e0d028f080e35e80704eb071dee074bf1078e01f407e601f707f901fa07a102fd0780058008f4"
    "078308a30a8608e70c8908c00f8c08ae128f08d7140f0601016b300a28100380a0011102a809")
GROUP = b"\x0f\x06\x01\x01k\x30\x0a\x28"  # in it: k has 48 entries, 10 of them unknown, 40 live

# Commands by their place in fuzz_commands.c; its first 40 numbers are what happens beside them.
NAMES = ("GET mget STRLEN SET MSET APPEND INCR DECR INCRBY DECRBY DEL UNLINK EXISTS TOUCH TYPE EXPIRE "
         "PEXPIRE EXPIREAT PEXPIREAT TTL PTTL EXPIRETIME PEXPIRETIME PERSIST FLUSHDB FLUSHALL SELECT "
         "ECHO DBSIZE").split()
NUMBERS = ("0 1 -1 7 100 1000 5000 1700000001000 1700000002 -0 01 9223372036854775807 "
           "-9223372036854775808 9223372036854775808 9223372036854774 15").split()
WORDS = "NX XX GET KEEPTTL EX PX EXAT PXAT gt lt ASYNC SYNC".split()
SECOND, FLUSH, COMPACT, TICK, REOPEN, OTHER, RESP3 = (
    b"\0\x03", b"\x08", b"\x10", b"\x11", b"\x18", b"\x22", b"\x21")


def argument(text):
    if len(text) == 2 and text[0] == "k" and text[1] in "012345":
        return bytes([int(text[1])])
    if text in NUMBERS:
        return bytes([64 + NUMBERS.index(text)])
    if text in WORDS:
        return bytes([128 + WORDS.index(text)])
    return bytes([192 + len(text)]) + text.encode()


def command(line):
    words = line.split()
    number = NAMES.index(words[0])
    while number < 40:
        number += 40
    return bytes([number, len(words) - 1]) + b"".join(argument(word) for word in words[1:])


def bits(form, *arguments):
    """A command on bits: its place among the forms; keys and bits are bytes, positions are numbers above 1000
    of two bytes, where 1000 is bit 0."""
    return bytes([240 + form]) + b"".join(
        bytes([value]) if value < 1000 else value.to_bytes(2, "little") for value in arguments)


def commands(*steps):
    return b"".join(step if isinstance(step, bytes) else command(step) for step in steps)


SEEDS = {
    "inline": {
        "plain": b"SET key value",
        "double": b'SET "a b" "\\x41\\n\\"" c',
        "single": b"SET 'a\\'b' ''  x",
        "unbalanced": b'SET "a',
        "quote-inside": b'ab"cd"ef',
        "blanks": b"\v\f a\vb\t\r\nc",
        "nul": b'a\0b "\\x00"',
    },
    "glob": {
        "stars": glob(b"*a*a*a*a*b", b"a" * 60),
        "set": glob(b"[^a-c]?[z-x]\\*", b"dqy*"),
        "unclosed": glob(b"ab[c", b"abc"),
        "no-case": glob(b"K[E-Y]?\\S*", b"keysKEYS", 1),
        "literal": glob(b"user:1", b"user:1"),
        "escape-at-end": glob(b"a\\", b"a\\"),
    },
    "numbers": {
        "integer": b"\0-9223372036854775808",
        "integer-long": b"\x0018446744073709551616",
        "int-option": b"\x012147483647",
        "size": b"\x0264mb",
        "size-wraps": b"\x0217179869185gb",
        "size-of-all": b"\x039223372036854775807",
        "varint": b"\x04" + b"\xff" * 9 + b"\x01",
        "varint-long": b"\x04" + b"\xff" * 9 + b"\x02",
        "double": b"\x05" + struct.pack("<d", 1e-310),
    },
    "filter": {
        "one-line": filter_block(1, 7),
        "four-lines": filter_block(4, 6),
        "lines-many": b"\0" + struct.pack("<II", 2**32 - 1, 1) + bytes(56) + bytes(64),
        "probes-eight": filter_block(1, 8),
        "built": b"\x02\x0a" + b"".join(b"\x03k%02d" % i for i in range(30)),
    },
    "segment_index": {
        "empty": index(),
        "two": index(index_entry(0, b"k", 0, 100), index_entry(1, b"m", 30000, 120)),
        "same-cut": index(index_entry(0, b"a" * 256, 0, 9), index_entry(256, b"", 0, 9),
                          index_entry(256, b"", 0, 9), index_entry(0, b"b", 0, 9)),
        "length-huge": index(index_entry(0, b"k", 0, 2**32 - 1)),
        "gap-huge": index(index_entry(0, b"k", 2**64 - 1, 1)),
        "count-huge": b"\0\xff\xff\0\0" + varint(2**40),
        "end-elsewhere": b"\0\x00\x10\0\0" + varint(1) + index_entry(0, b"k", 0, 100),
    },
    "properties": {
        "one-group": PROPERTIES,
        "group-live-above": PROPERTIES.replace(GROUP, GROUP[:-1] + b"\x31"),
        "group-unknown-above": PROPERTIES.replace(GROUP, GROUP[:-2] + b"\x31\x28"),
    },
    "reply": {
        "all": reply(text_call(0, b"OK"), text_call(1, b"no\r\nway"), text_call(2, b"bytes\0"),
                     b"\x03" + struct.pack("<q", -5), b"\x04\0", b"\x05\0", b"\x06\x02", b"\x07\x03",
                     b"\x08\x01", b"\x09" + struct.pack("<d", 0.1), b"\x0a\x01", b"\x0b\x02",
                     text_call(12, b"text"), text_call(13, b"%s")),
        "resp2": reply(text_call(2, b""), b"\x07\x03", b"\x09" + struct.pack("<d", 1e300), b"\x0a\0",
                       text_call(12, b"text"), proto=2),
        "long-error": reply(text_call(1, b"x" * 400), text_call(13, b"y" * 300), room=500),
        "nan": reply(b"\x09" + struct.pack("<Q", 0xfff8 << 48), b"\x09" + struct.pack("<d", -1e999)),
    },
    "batch": {
        "operations": b"\0\x01cccc\x01\x01kv\x02cccc\x01k\x03cccc\x01\x01kl",
        "length-huge": b"\0\x01cccc\xff\xff\xff\xff\x0f\x01kv",
        "made-up": b"\x01\0\x21k!vv\x01\x01q\x02\x11ab\xc0\x02kk" + b"\x07" * 8 + b"\xff\x9f\0\x10xy",
    },
    "current": {
        "version-4": b"\x01varve 4 000102030405060708090a0b0c0d0e0f MANIFEST-000001 crc32c=00000000\n",
        "other-id": b"\x01varve 3 100102030405060708090a0b0c0d0e0f MANIFEST-000001 crc32c=00000000\n",
        "other-number": b"\x01varve 3 000102030405060708090a0b0c0d0e0f MANIFEST-000009 crc32c=00000000\n",
        "id-cut": b"\x01varve 3 0001 MANIFEST-000001 crc32c=00000000\n",
        "name-long": b"\x01varve 3 000102030405060708090a0b0c0d0e0f MANIFEST-" + b"1" * 60
                     + b" crc32c=00000000\n",
        "foreign": b"\0CURRENT\n",
    },
    "config": {
        "file": b"\0# a comment\nport 7000\nbind 127.0.0.1 -::1\n\nsave 60 1 300 10\n"
                b"requirepass \"a \\x41\"\nmaxmemory 1gb\n",
        "crlf": b"\0appendfsync always\r\ntimeout 5\r\n",
        "unknown": b"\0prot 7000\n",
        "limits": b"\0client-output-buffer-limit normal 1mb 2kb 10 replica 0 0 0\n",
        "values": bytes([1, 1]) + b"0\0" + bytes([3]) + b"60\0" + bytes([8]) + b"1gb\0",
        "values-refused": bytes([1, 4]) + b"10\0" + bytes([4]) + b"-1\0",
    },
    "segment": {
        "good": b"\0\0",
        "good-all": b"\0\x01",
        "good-compressed": b"\0\x02",
        "bit": b"\x1f\x01" + edit(0, 300, 1),
        "footer-length": b"\x1f\x01" + edit(0x86, 40, 10),
        "footer-offset": b"\x1f\x01" + edit(0x86, 48, 15),
        "properties-byte": b"\x1f\x01" + edit(0x81, 90, 0xff),
        "index-byte": b"\x1f\x01" + edit(0x81, 400, 0x7f),
        # The field of the index's place, whose length gets three bytes more and is 4 GiB.
        "index-huge": b"\x1f\x01" + edit(0x81, 170, 8) + edit(0x81, 40, 129)
                      + edit(0x83, 166, 3, b"\xff\xff\xff") + edit(0x82, 166, 2, b"\xff\x0f"),
        "cut": b"\x1f\x01" + edit(0x0d, 900, 0),
        "block-count": b"\x1f\x01" + edit(1, 64, 0xff),
        "made-up": b"\x1f\xff" + b"\0" * 200,
    },
    "data_dir": {
        "closed": b"\0\0",
        "killed": b"\x01\0",
        "checkpoint": b"\x02\0",
        "no-current": b"\0\x3f" + change(0, 1),
        "no-manifest": b"\0\x3f" + change(2, 1),
        "log-byte": b"\x01\x3f" + b"".join(change(file, 0, edit(0x80, 200, 3)) for file in range(4)),
        "manifest-cut": b"\0\x3f" + change(2, 0, edit(0x8d, 3, 0)),
        "segments-swapped": b"\0\x3f" + change(0, 2) + b"\x01" + change(1, 2) + b"\0",
        "new-segment": b"\0\x3f" + change(0, 3),
        "segment-footer": b"\x02\x3f" + change(0, 0, edit(0x86, 40, 10)),
    },
    "commands": {
        "strings": commands("SET k0 7", "INCR k0", "APPEND k0 abc", "INCR k0", "GET k0", "STRLEN k0",
                            "MSET k1 1 k2 100", "mget k0 k1 k2 k3", "INCRBY k1 9223372036854775807",
                            "DECRBY k2 -9223372036854775808", "DECR k2"),
        "set-options": commands("SET k0 1 NX GET", "SET k0 7 NX", "SET k0 7 XX EX 100", "TTL k0",
                                "SET k0 0 KEEPTTL", "PTTL k0", "SET k0 0 EX 0", "SET k0 0 EX 1 PX 1",
                                "SET k0 0 PXAT 1700000001000", "EXPIRETIME k0"),
        "expiry": commands("SET k0 1", "EXPIRE k0 1", "PTTL k0", SECOND, "GET k0", "DBSIZE",
                           "SET k1 1 PX 1000", "INCR k1", "APPEND k1 1", FLUSH, SECOND, "GET k1",
                           "EXPIRE k1 100 gt", "SET k2 1", "EXPIREAT k2 1700000002 lt", "PERSIST k2"),
        "levels": commands("MSET k0 1 k1 7 k2 1", FLUSH, "DEL k0 k0 k4", "SET k1 100", FLUSH, "FLUSHDB",
                           "SET k3 1", "DBSIZE", COMPACT, "mget k0 k1 k2 k3", REOPEN, "GET k3", "DBSIZE"),
        "clients": commands("SELECT 1", "SET k0 1", OTHER, "GET k0", RESP3, "GET k0", "SELECT 1", "GET k0",
                            "SELECT 100", "FLUSHALL", OTHER, "GET k0", TICK, "DBSIZE"),
        "bits": commands("SET k0 1 EX 100", bits(1, 0, 1007, 1), bits(1, 0, 1300, 1), bits(0, 0, 1300), FLUSH,
                         bits(4, 0), bits(6, 0, 1003, 1299), bits(9, 0, 0, 1000, 1010), bits(7, 0, 0), "TTL k0",
                         bits(13, 1, 0), bits(10, 2, 0, 1), bits(12, 2, 0, 1), REOPEN, bits(11, 0, 1, 2, 3),
                         "TTL k0", bits(14, 0, 4), "EXISTS k0"),
        "arity": commands("GET", "SET k0", "MSET k0 1 k1", "EXPIRE k0 1 NX gt", "EXPIRE k0 1 gt lt",
                          "FLUSHDB k0", "ECHO hello", "TYPE k0", "EXISTS k0 k0", "TOUCH k0"),
    },
}


def main():
    for target, seeds in SEEDS.items():
        folder = os.path.join(HERE, target)
        os.makedirs(folder, exist_ok=True)
        for name, content in seeds.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)


if __name__ == "__main__":
    main()
