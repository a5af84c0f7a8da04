"""varve merkle: the same data have the same root, however they are stored; what differs is found."""
import hashlib
import os
import shutil
import struct
import subprocess

import server as servers
import varve
from server import Failed, expect

SMALL = ("--memtable-size", "64kb", "--wal-size", "64kb", "--wal-pool-size", "1")
KEYS = 100000
LONG_MS = 3600 * 1000
LEAF_KEYS_MAX = 1024
FEW_KEYS = 2 * LEAF_KEYS_MAX  # a difference: the leaf, or two where a cut came or went


def key_name(number):
    return b"user:%06d" % number


def fill(folder, *options, keys=KEYS, order=1):
    """A directory of so many keys in database 0, some in 5; closed. The way there is another for each
    order, the data are not."""
    expires = 4102444800000
    with servers.Server(folder, *SMALL, *options) as server:
        with server.connect() as connection:
            if order != 1:  # other space ids, tombstones, older versions
                connection.call("SELECT", 7)
                connection.calls([("SET", f"gone{i}", "x" * 100) for i in range(500)])
                connection.call("FLUSHDB")
                connection.call("SELECT", 5)
                connection.calls([("SET", key_name(i), "old") for i in range(0, 1000)])
                connection.calls([("DEL", key_name(i)) for i in range(0, 1000, 2)])
            connection.call("SELECT", 0)
            for at in range(0, keys, 1000):
                numbers = range(at, at + 1000)[::order]
                connection.calls([("SET", key_name(i), b"value of %d" % i) for i in numbers])
            connection.call("SELECT", 5)
            connection.calls([("SET", key_name(i), "five") for i in range(1000)])
            connection.calls([("PEXPIREAT", key_name(i), expires + i) for i in range(0, 1000, 10)])
        server.terminate()
    return os.path.join(folder, "data")


def change(folder, name, data, db, *commands):
    """A copy of the directory after some commands."""
    place = os.path.join(folder, name)
    shutil.copytree(data, os.path.join(place, "data"))
    with servers.Server(place, *SMALL) as server:
        with server.connect() as connection:
            for answer in connection.calls([("SELECT", db), *commands]):
                if isinstance(answer, Exception):
                    raise Failed(f"{commands}: {answer}")
        server.terminate()
    return os.path.join(place, "data")


def merkle(*dirs, options=(), wanted=0):
    code, said = varve.run_json("merkle", *dirs, *options, wanted=(wanted,))
    if len(dirs) == 2:
        expect(said["equal"], code == 0, "what merkle says and its exit code")
        expect(bool(said["differences"]), code != 0, "differences, and the exit code")
    return said


def compact(data):
    build = os.environ.get("VARVE_BUILD") or os.path.join(os.path.dirname(servers.varved_path()), "..", "..")
    subprocess.run([os.path.join(build, "tests", "bench", "compact_dir"), data], check=True,
                   stdout=subprocess.DEVNULL, timeout=300)


def expect_found(said, db, key, keys):
    """One difference, in which the key lies, and little else."""
    expect(len(said["differences"]), 1, f"differences around {key}")
    found = said["differences"][0]
    expect(found["db"], db, "its database")
    if not varve.lies_between(varve.as_bytes(found["first"]), key, varve.as_bytes(found["last"])):
        raise Failed(f"{key} does not lie in {found}")
    if max(found["keys_first"], found["keys_second"]) > FEW_KEYS:
        raise Failed(f"a difference of one key among {keys} is {found}")
    return max(found["keys_first"], found["keys_second"])


def case_one_root_for_the_same_data(folder):
    data = fill(os.path.join(folder, "a"))
    other = fill(os.path.join(folder, "b"), "--memtable-size", "16mb", "--compression", "none",
                 order=-1)
    first = merkle(data, other)
    expect([one["keys"] for one in first["dirs"]], [KEYS + 1000] * 2, "keys")
    root = first["dirs"][0]["root"]
    again = change(folder, "restarted", data, 0, ("PING",))
    expect(merkle(again)["dirs"][0]["root"], root, "root after a restart")
    shutil.copytree(data, os.path.join(folder, "compacted"))
    compact(os.path.join(folder, "compacted"))
    expect(merkle(os.path.join(folder, "compacted"))["dirs"][0]["root"], root,
           "root after a full compaction")
    merkle(os.path.join(folder, "compacted"), other)
    return f"{first['dirs'][0]['leaves']} leaves"


def case_one_key_is_found(folder):
    data = fill(os.path.join(folder, "a"))
    widest = 0
    for name, db, key, command in (
            ("value", 0, key_name(77777), ("SET", key_name(77777), "other")),
            ("added", 0, b"user:050000x", ("SET", "user:050000x", "new")),
            ("removed", 0, key_name(31), ("DEL", key_name(31))),
            ("last", 0, b"zzz", ("SET", "zzz", "new")),
            ("first", 0, b"", ("SET", "", "new")),
            ("expiry", 5, key_name(120), ("PEXPIREAT", key_name(120), 4102444800777)),
            ("persisted", 5, key_name(120), ("PERSIST", key_name(120)))):
        other = change(folder, name, data, db, command)
        widest = max(widest, expect_found(merkle(data, other, wanted=1), db, key, KEYS),
                     expect_found(merkle(other, data, wanted=1), db, key, KEYS))
        shutil.rmtree(os.path.dirname(other))
    return f"at most {widest} keys around one of {KEYS}"


def case_missing_database_and_several_changes(folder):
    data = fill(os.path.join(folder, "a"), keys=20000)
    other = change(folder, "flushed", data, 5, ("FLUSHDB",))
    said = merkle(data, other, wanted=1)
    expect({one["db"] for one in said["differences"]}, {5}, "databases that differ")
    expect(sum(one["keys_first"] for one in said["differences"]), 1000, "keys that are missing")
    expect(sum(one["keys_second"] for one in said["differences"]), 0, "keys of a flushed database")
    changed = [key_name(i) for i in (3, 9000, 9001, 19999)]
    other = change(folder, "four", data, 0, *[("APPEND", key, "!") for key in changed])
    said = merkle(data, other, wanted=1)
    for key in changed:
        if not any(varve.lies_between(varve.as_bytes(one["first"]), key, varve.as_bytes(one["last"]))
                   for one in said["differences"]):
            raise Failed(f"{key} is in none of {said['differences']}")
    empty = os.path.join(folder, "empty")
    with servers.Server(empty) as server:
        server.terminate()
    expect(merkle(os.path.join(empty, "data"))["dirs"][0]["root"], hashlib.sha256().hexdigest(),
           "root of nothing")
    merkle(os.path.join(empty, "data"), data, wanted=1)


def case_time_is_part_of_the_question(folder):
    data = fill(os.path.join(folder, "a"), keys=2000)
    other = change(folder, "b", data, 5, *[("DEL", key_name(i)) for i in range(0, 100, 10)])
    merkle(data, other, wanted=1)
    merkle(data, other, options=("--now", 4102444800000 + 100))
    merkle(data, other, options=("--now", 4102444800000 + 89), wanted=1)


def tree_root(hashes):
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    return hashlib.sha256(b"\1" + tree_root(hashes[:left]) + tree_root(hashes[left:])).digest()


def leaf_hash(records):
    digest = hashlib.sha256(b"\0")
    for db, key, value, expires in records:
        value = b"\0" + value  # the type and encoding of a string
        digest.update(struct.pack("<IQQQ", db, len(key), len(value), expires) + key + value)
    return digest.hexdigest()


def case_hashes_are_what_the_header_says(folder):
    """Leaves and root are computed anew from what scan shows."""
    data = fill(os.path.join(folder, "a"), keys=20000)
    side = merkle(data, options=("--leaves",))["dirs"][0]
    _, shown = varve.run_json("scan", data)
    records = [(one["db"], varve.as_bytes(one["key"]), varve.as_bytes(one["value"]),
                one.get("expire_ms", 0)) for one in shown["keys"]]
    expect(side["keys"], len(records), "keys")
    expect(side["leaves"], len(side["leaf_list"]), "leaves")
    at = 0
    for leaf in side["leaf_list"]:
        mine = records[at:at + leaf["keys"]]
        at += leaf["keys"]
        expect((mine[0][:2], mine[-1][:2]),
               ((leaf["db"], varve.as_bytes(leaf["first"])),
                (leaf["db"], varve.as_bytes(leaf["last"]))), "first and last key of a leaf")
        expect(leaf_hash(mine), leaf["hash"], f"hash of the leaf at {leaf['first']}")
        if leaf["keys"] > LEAF_KEYS_MAX:
            raise Failed(f"a leaf of {leaf['keys']} keys")
    expect(at, len(records), "keys of all leaves")
    expect(tree_root([bytes.fromhex(leaf["hash"]) for leaf in side["leaf_list"]]).hex(),
           side["root"], "root")
    average = side["keys"] / side["leaves"]
    if not 64 < average < 256:
        raise Failed(f"{average} keys a leaf")


def case_what_cannot_be_done(folder):
    data = fill(os.path.join(folder, "a"), keys=1000)
    with servers.Server(os.path.join(folder, "a")):
        varve.run("merkle", data, wanted=(varve.FAILED,))
    varve.run("merkle", data, folder, wanted=(varve.FAILED,))
    varve.run("merkle", wanted=(varve.USAGE,))
    varve.run("merkle", data, data, data, wanted=(varve.USAGE,))
    varve.run("merkle", data, "--now", "soon", wanted=(varve.USAGE,))
    _, out, _ = varve.run("merkle", "--help")
    expect(b"varve merkle ./data ./restored" in out, True, "examples in --help")
    _, out, _ = varve.run("merkle", data, "--leaves")
    expect(out.count(b"\nleaf ") > 0 and out.startswith(b"root "), True, "text")
    os.remove(os.path.join(data, "CURRENT"))
    varve.run("merkle", data, wanted=(varve.FAILED,))
