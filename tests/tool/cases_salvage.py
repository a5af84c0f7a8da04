"""varve salvage: what can be proven of a damaged directory is there, what is lost is listed, and nothing
is there that was never written.

One rule judges all kinds of damage. Of each key that was live, or is there after the salvage: its value is
the newest one, or the key lies in a range that the report lists; and whatever value it has was written to it
at some time."""
import glob
import hashlib
import os
import random
import shutil
import struct

import server as servers
import varve
from server import Failed, expect

TINY = ("--memtable-size", "64kb", "--wal-size", "64kb", "--segment-size", "32kb",
        "--wal-pool-size", "1")
LONG_MS = 3600 * 1000
DATABASES = (0, 3, 9)
ADOPTED = (1, 2)
BATCH = 50
HEADER_BYTES = 64
FLIPS = 40


class Bed:
    """A directory that a server made, and all that was ever written to it."""

    def __init__(self, folder, seed):
        self.rng = random.Random(seed)
        self.data = os.path.join(folder, "data")
        self.server = servers.Server(folder, *TINY).start()
        self.live = {}     # (db, key): (value, expires)
        self.history = {}  # (db, key): all of those

    def command(self, db):
        key = b"key:%05d" % self.rng.randrange(1500)
        draw = self.rng.random()
        if draw < 0.15:
            self.live.pop((db, key), None)
            return ("DEL", key)
        value = self.rng.randbytes(self.rng.randrange(100)).hex().encode()
        if draw < 0.152:
            value = self.rng.randbytes(self.rng.choice((16384, 20000, 70000)))
        expires = draw > 0.9
        self.live[db, key] = value, expires
        self.history.setdefault((db, key), set()).add((value, expires))
        return ("SET", key, value, "PX", LONG_MS) if expires else ("SET", key, value)

    def write(self, commands):
        with self.server.connect() as connection:
            for _ in range(commands // BATCH):
                db = self.rng.choice(DATABASES)
                batch = [("SELECT", db)] + [self.command(db) for _ in range(BATCH)]
                for answer in connection.calls(batch):
                    if isinstance(answer, Exception):
                        raise Failed(str(answer))

    def flush_database(self, db):
        with self.server.connect() as connection:
            connection.calls([("SELECT", db), ("FLUSHDB",)])
        self.live = {place: what for place, what in self.live.items() if place[0] != db}

    def spaces(self):
        return bed_spaces(self.data)


def bed_spaces(data):
    """{db: the beginning of its engine keys}"""
    _, said = varve.run_json("scan", data, "--raw", "--prefix", "\\x00\\x01")
    return {varve.as_bytes(one["key"])[2]: varve.as_bytes(one["value"]) + b"\1"
            for one in said["keys"]}


def closed(folder, seed=1):
    bed = Bed(folder, seed)
    bed.write(8000)
    bed.flush_database(9)
    bed.write(2000)
    bed.server.terminate()
    return bed


def killed(folder, seed=2):
    """The log holds what is in no segment."""
    bed = Bed(folder, seed)
    bed.write(4000)
    bed.flush_database(3)
    bed.write(500)
    bed.flush_database(9)  # the last one: what it covers lies there still
    bed.server.kill()
    return bed


def copy(bed, folder, name):
    to = os.path.join(folder, name)
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(bed.data, to)
    return to


def fingerprint(data):
    found = {}
    for name in sorted(os.listdir(data)):
        with open(os.path.join(data, name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def live_files(data, ending):
    """Of a whole directory, the files that count, by size."""
    _, said = varve.run_json("dump", data, "--keys-only")
    names = {os.path.basename(one["file"]) for one in said["files"]}
    paths = [path for path in glob.glob(os.path.join(data, "*" + ending))
             if os.path.basename(path) in names]
    return sorted(paths, key=os.path.getsize)


def orphans(data):
    """Files that were dropped and are not removed yet, as kill -9 may leave them."""
    there = glob.glob(os.path.join(data, "*.seg")) + glob.glob(os.path.join(data, "*.wal"))
    return set(there) - set(live_files(data, ".seg")) - set(live_files(data, ".wal"))


def flip(path, offset, bit=0):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


class Said:
    """The report, with ranges as engine keys."""

    def __init__(self, report, spaces):
        self.report = report
        self.losses = [loss for loss in report["losses"] if loss["scope"] != "none"]
        self.anything = any(loss["scope"] in ("any", "back") for loss in self.losses)
        self.spaces = spaces
        self.ranges = [(self.engine_key(loss.get("from"), b""), self.engine_key(loss.get("before"), None))
                       for loss in self.losses if loss["scope"] == "range"]

    def engine_key(self, said, missing):
        if said is None:
            return missing
        if "engine_key" in said:
            return varve.as_bytes(said["engine_key"])
        return self.spaces[said["db"]] + bytes.fromhex(said["hash"]) + varve.as_bytes(said["key"])

    def covers(self, db, key):
        whole = self.spaces.get(db, b"") + varve.name_hash(key) + key
        return self.anything or any(lower <= whole and (upper is None or whole < upper)
                                    for lower, upper in self.ranges)


def salvage(bed, data, spaces, damaged=None):
    """Salvages data, judges the result. damaged: None, or the name that a loss must name."""
    new = data + "-new"
    shutil.rmtree(new, ignore_errors=True)
    before = fingerprint(data)
    code, report = varve.run_json("salvage", data, new, wanted=(0, 1))
    expect(fingerprint(data), before, "the old directory after a salvage")
    said = Said(report, {**bed_spaces(new), **spaces})
    expect(code, 1 if said.losses else 0, "exit code and losses")
    expect(report["lost"], len(said.losses), "the number of losses")
    if damaged is not None and not any(loss["file"] == damaged for loss in report["losses"]):
        raise Failed(f"{damaged} is not in {report['losses']}")
    judge(bed, varve.scan(new), said)
    varve.run("verify", new)
    return said, new


def judge(bed, found, said):
    for place in sorted(set(found) | set(bed.live)):
        # What comes back of a flushed database may have become one of its own.
        known = [bed.history.get((db, place[1]), ()) for db in DATABASES
                 if place[0] in (db, *ADOPTED)]
        if place in found and not any(found[place] in values for values in known):
            raise Failed(f"{place} has a value that was never written: {found[place]}")
        if found.get(place) != bed.live.get(place) and not said.covers(*place):
            raise Failed(f"{place} is {servers.shorten(found.get(place))} and was "
                         f"{servers.shorten(bed.live.get(place))}; losses {said.losses}")


def still_right(bed, new, spaces):
    """How many keys have their newest value, in whichever database they are now."""
    names = bed_spaces(new)
    found = {(names[db], key): what for (db, key), what in varve.scan(new).items()}
    return sum(found.get((spaces[db], key)) == what for (db, key), what in bed.live.items())


def case_undamaged_is_equal(folder):
    for name, make in (("closed", closed), ("killed", killed)):
        bed = make(os.path.join(folder, name))
        said, new = salvage(bed, bed.data, bed.spaces())
        expect(said.report["losses"], [], "losses of a good directory")
        expect(said.report["doubtful_keys"], 0, "doubtful keys of a good directory")
        varve.run("merkle", bed.data, new)
        with servers.Server(folder, "--dir", new) as server:
            with server.connect() as connection:
                for db in DATABASES:
                    connection.call("SELECT", db)
                    expect(connection.call("DBSIZE"), sum(place[0] == db for place in bed.live),
                           f"DBSIZE of database {db} after a salvage")
            server.terminate()


def case_flipped_byte_in_a_block(folder):
    bed = closed(folder)
    spaces = bed.spaces()
    few = len(bed.live)
    for number, path in enumerate(live_files(bed.data, ".seg")[-4:]):
        data = copy(bed, folder, "flipped")
        path = os.path.join(data, os.path.basename(path))
        _, dump = varve.run_json("dump", path, "--keys-only")
        blocks = dump["files"][0]["blocks"]
        flip(path, blocks[number * len(blocks) // 4]["offset"] + 10)
        said, new = salvage(bed, data, spaces, os.path.basename(path))
        few = min(few, still_right(bed, new, spaces))
        if {loss["file"] for loss in said.losses} - {os.path.basename(path), "databases"}:
            raise Failed(f"losses elsewhere: {said.losses}")
    if few < len(bed.live) * 0.9:
        raise Failed(f"one block damaged, and only {few} of {len(bed.live)} keys are right")
    return f"at least {few} of {len(bed.live)} keys right"


def case_cut_and_missing_segments(folder):
    bed = closed(folder)
    spaces = bed.spaces()
    name = os.path.basename(live_files(bed.data, ".seg")[-1])
    size = os.path.getsize(os.path.join(bed.data, name))
    right = []
    for cut in (0, HEADER_BYTES, size // 2, size - 100, size - 1):
        data = copy(bed, folder, "cut")
        os.truncate(os.path.join(data, name), cut)
        _, new = salvage(bed, data, spaces, name)
        right.append(still_right(bed, new, spaces))
    expect(right, sorted(right), "the more is left the more is salvaged")
    if right[-1] != len(bed.live):
        raise Failed(f"a byte of the footer is gone, and {right[-1]} of {len(bed.live)} keys right")
    data = copy(bed, folder, "missing")
    os.remove(os.path.join(data, name))
    said, _ = salvage(bed, data, spaces, name)
    expect(said.anything, True, "any key may lie in a segment that is missing")
    return f"{right} of {len(bed.live)} keys right"


def case_without_a_manifest(folder):
    for name, make in (("closed", closed), ("killed", killed)):
        place = os.path.join(folder, name)
        bed = make(place)
        spaces = bed.spaces()
        for what in ("CURRENT", "MANIFEST"):
            data = copy(bed, place, "without-" + what)
            for path in glob.glob(os.path.join(data, what + "*")):
                os.remove(path)
            said, new = salvage(bed, data, spaces)
            expect("deleted data may come back" in said.losses[0]["what"], True, "what is said")
            expect(still_right(bed, new, spaces), len(bed.live), "keys that are right")
            if not orphans(bed.data):  # else what was deleted may be in one, and its tombstone gone
                varve.run("merkle", bed.data, new)
        data = copy(bed, place, "damaged")
        manifest = glob.glob(os.path.join(data, "MANIFEST*"))[0]
        flip(manifest, HEADER_BYTES + 50)
        salvage(bed, data, spaces, os.path.basename(manifest))
    varve.run("salvage", folder, os.path.join(folder, "of-nothing"), wanted=(varve.FAILED,))


def case_manifest_that_lost_its_end(folder):
    """It reads well, and names files that are gone: the log knows that there was more."""
    bed = killed(folder)
    spaces = bed.spaces()
    data = copy(bed, folder, "short")
    manifest = glob.glob(os.path.join(data, "MANIFEST*"))[0]
    _, said = varve.run_json("dump", manifest)
    records = said["files"][0]["records"]
    os.truncate(manifest, records[len(records) // 2]["offset"])
    said, new = salvage(bed, data, spaces, os.path.basename(manifest))
    expect(still_right(bed, new, spaces), len(bed.live), "keys that are right")


def case_rot_in_the_log(folder):
    bed = killed(folder)
    spaces = bed.spaces()
    told = 0
    _, dump = varve.run_json("dump", bed.data, "--keys-only")
    last = max(os.path.basename(file["file"]) for file in dump["files"]
               if any(record["type"] == "operations" for record in file.get("records", [])))
    for path in live_files(bed.data, ".wal"):
        name = os.path.basename(path)
        _, dump = varve.run_json("dump", path, "--keys-only")
        records = [one for one in dump["files"][0]["records"] if one["type"] == "operations"]
        for record in records[:-1:max(1, len(records) // 4)]:
            for offset in (record["offset"] + 9, record["offset"] + 45):
                data = copy(bed, folder, "rot")
                flip(os.path.join(data, name), offset)
                said, new = salvage(bed, data, spaces, name)
                told += any("seq_from" in loss for loss in said.losses)
                # It takes one record, not what lies behind it.
                if still_right(bed, new, spaces) < len(bed.live) - 4 * BATCH:
                    raise Failed(f"{name} {offset}: {still_right(bed, new, spaces)} of {len(bed.live)}")
        if records and name != last:  # what the last one lost may never have been there
            data = copy(bed, folder, "end")
            os.truncate(os.path.join(data, name), records[len(records) // 2]["offset"])
            salvage(bed, data, spaces)
        data = copy(bed, folder, "head")
        flip(os.path.join(data, name), 20)
        said, new = salvage(bed, data, spaces, name)
        expect(still_right(bed, new, spaces), len(bed.live), "keys right with a damaged file header")
        data = copy(bed, folder, "gone")
        os.remove(os.path.join(data, name))
        salvage(bed, data, spaces, name)
    if told == 0:
        raise Failed("no damage to a log cost an operation")
    return f"{told} records lost"


def case_flips_everywhere(folder):
    """Whatever bit it is."""
    bed = closed(folder, seed=3)
    spaces = bed.spaces()
    whole = 0
    names = [os.path.basename(path) for path in live_files(bed.data, ".seg")]
    names += glob.glob("MANIFEST*", root_dir=bed.data) + ["CURRENT"]
    rng = random.Random(4)
    data = copy(bed, folder, "flips")
    for _ in range(FLIPS):
        name = rng.choice(names)
        path = os.path.join(data, name)
        size = os.path.getsize(path)
        # Half of them at the end of the file, where little is not data.
        offset = rng.randrange(size) if rng.random() < 0.5 else size - 1 - rng.randrange(min(size, 3000))
        bit = rng.randrange(8)
        flip(path, offset, bit)
        try:
            said, _ = salvage(bed, data, spaces)
        except Failed as error:
            raise Failed(f"{name} offset {offset} bit {bit}: {error}") from None
        whole += not said.losses
        flip(path, offset, bit)
    if whole == 0:
        raise Failed("no flip was without loss, not even in a filter")
    return f"{whole} of {FLIPS} without loss"


def case_forged_record(folder):
    """A record that is not what was written, in a block whose CRC is right."""
    with servers.Server(folder, *TINY, "--compression", "none") as server:
        with server.connect() as connection:
            connection.calls([("SET", f"k{i:05d}", f"value {i:05d}") for i in range(12000)])
        server.terminate()
    data = os.path.join(folder, "data")
    _, dump = varve.run_json("dump", data)
    # The oldest: the log has what it holds no more.
    oldest = min((file for file in dump["files"]
                  if file["kind"] == "segment" and len(file["blocks"]) > 2),
                 key=lambda file: file["seq_max"])
    path = os.path.join(data, os.path.basename(oldest["file"]))
    block = oldest["blocks"][1]
    last = varve.as_bytes(block["entries"][-1]["key"])[6:].decode()
    with open(path, "r+b") as file:
        salt = varve.crc32c(0, file.read(HEADER_BYTES)[16:40])
        file.seek(block["offset"])
        payload = bytearray(file.read(block["length"]))
        trailer = file.read(4)
        payload[-1] ^= 1
        crc = varve.crc32c(salt, struct.pack("<Q", block["offset"]) + payload + trailer)
        file.seek(block["offset"])
        file.write(payload + trailer + struct.pack("<I", crc))
    new = os.path.join(folder, "new")
    _, report = varve.run_json("salvage", data, new, wanted=(1,))
    expect(report["unreadable_records"], 1, "records that are not what was written")
    bound = {"db": 0, "hash": varve.name_hash(last.encode()).hex(), "key": last}
    expect(report["losses"][0]["from"], bound, "the key that is lost")
    expect(report["losses"][0]["before"], {**bound, "key": last + "\0"}, "the end of that range")
    left = varve.scan(new)
    expect(len(left), 11999, "keys that are left")
    expect((0, last.encode()) in left, False, "a value that was never written")


def case_lost_record_of_a_database(folder):
    """The first block of the last level has the records of the databases: without them the server would
    not find a key."""
    with servers.Server(folder, *TINY) as server:
        with server.connect() as connection:
            connection.calls([("SET", f"k{i}", "v" * 50) for i in range(12000)])
        server.terminate()
    data = os.path.join(folder, "data")
    _, dump = varve.run_json("dump", data, "--keys-only")
    damaged = 0
    for file in dump["files"]:
        for block in file.get("blocks", []):
            if any(varve.as_bytes(entry["key"])[:1] == b"\0" for entry in block.get("entries", [])):
                flip(os.path.join(data, os.path.basename(file["file"])), block["offset"] + 5)
                damaged += 1
    if damaged == 0:
        raise Failed("no block has the records of the databases")
    new = os.path.join(folder, "new")
    code, report = varve.run_json("salvage", data, new, wanted=(0, 1))
    expect(code, 1, "exit code")
    expect("databases" in [loss["file"] for loss in report["losses"]], True, "it is said")
    with servers.Server(folder, "--dir", new) as server:
        with server.connect() as connection:
            size = connection.call("DBSIZE")
            expect(connection.call("GET", "k9999"), b"v" * 50, "a key of the database")
            connection.call("SELECT", 1)
            expect(connection.call("SET", "other", "1"), b"OK", "a new space")
            expect(connection.call("DBSIZE"), 1, "keys of a new database")
        server.terminate()
    if size < 11000:
        raise Failed(f"{size} of 12000 keys in database 0")


def case_what_cannot_be_done(folder):
    bed = closed(folder)
    new = os.path.join(folder, "new")
    os.mkdir(new)
    with open(os.path.join(new, "file"), "w", encoding="ascii"):
        pass
    varve.run("salvage", bed.data, new, wanted=(varve.FAILED,))
    expect(os.listdir(new), ["file"], "a directory that is not empty")
    varve.run("salvage", bed.data, os.path.join(bed.data, "new"), wanted=(varve.FAILED,))
    expect(os.path.exists(os.path.join(bed.data, "new")), False, "a directory in the old one")
    varve.run("salvage", os.path.join(folder, "none"), os.path.join(folder, "to"),
              wanted=(varve.FAILED,))
    expect(os.path.exists(os.path.join(folder, "to")), False, "a directory for nothing")
    varve.run("salvage", bed.data, wanted=(varve.USAGE,))
    with servers.Server(folder, *TINY):
        varve.run("salvage", bed.data, os.path.join(folder, "to"), wanted=(varve.FAILED,))
    os.remove(os.path.join(new, "file"))
    _, out, _ = varve.run("salvage", bed.data, new)
    expect(b"0 losses" in out, True, "the closing line")
    _, out, _ = varve.run("salvage", "--help")
    expect(b"varve salvage ./data ./rescued" in out, True, "examples in --help")
