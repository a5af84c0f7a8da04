"""Directories that are as they should be."""
import hashlib
import os
import subprocess

import server as servers
import varve
import zoo
from server import expect

COMMANDS = ("verify", "stats", "dump", "scan")


def fingerprint(data):
    found = {}
    for name in sorted(os.listdir(data)):
        path = os.path.join(data, name)
        with open(path, "rb") as file:
            found[name] = (os.stat(path).st_mtime_ns, hashlib.sha256(file.read()).hexdigest())
    return found


def expect_dump(data, live):
    """The newest record of each live key, as dump shows it, is what was written; --keys-only has no
    values."""
    _, said = varve.run_json("dump", data)
    expect(said["damage"], 0, "damage that dump meets")
    entries = []
    for file in said["files"]:
        for record in file.get("records", []) + file.get("blocks", []):
            entries += record.get("operations", record.get("entries", []))
    newest = {}
    for entry in entries:
        key = varve.as_bytes(entry["key"])
        if entry["kind"] != "range-delete" and entry["seq"] >= newest.get(key, {"seq": 0})["seq"]:
            newest[key] = entry
    spaces = {key[2]: varve.as_bytes(entry["value"]) for key, entry in newest.items()
              if key[:2] == b"\0\1" and entry["kind"] == "put"}
    for (db, name), (value, expires) in live.items():
        entry = newest[spaces[db] + b"\1" + varve.name_hash(name) + name]
        expect(entry["kind"], "put", f"kind of {name}")
        expect(varve.as_bytes(entry["value"]), b"\0" + value, f"dumped value of {name}")
        expect("expire_ms" in entry, expires, f"expiry of {name}")
    _, out, _ = varve.run("dump", data, "--keys-only")
    expect(b" = \"" in out, False, "values in dump --keys-only")


def expect_good(data, live):
    before = fingerprint(data)
    said, damaged = varve.verify(data)
    expect(damaged, {}, "damage in a good directory")
    expect(varve.scan(data), live, "what scan shows")
    expect_dump(data, live)
    _, stats = varve.run_json("stats", data, "--count")
    expect(sum(one["keys"] for one in stats["databases"]), len(live), "keys that stats counts")
    expect(stats["total"]["entries"], said["entries"], "entries of stats and verify")
    expect(stats["total"]["segments"], said["segments"], "segments of stats and verify")
    for command in COMMANDS:
        varve.run(command, data)
    expect(fingerprint(data), before, "the files after all commands")
    return said, stats


def case_closed(folder):
    made = zoo.clean(folder)
    said, stats = expect_good(made.data, made.expect_live())
    if len(stats["levels"]) < 2 or stats["total"]["tombstones"] == 0 or not stats["total"]["expiring"]:
        raise servers.Failed(f"the directory is too simple: {stats['levels']}")
    kept = {one["file"] for one in said["findings"] if "the next start reuses" in one["what"]}
    expect(len(kept) <= 1, True, f"log files that the pool has kept: {kept}")
    expect(varve.notes(said) - kept, set(), "notes on a directory that was closed")
    return f"{said['segments']} segments, {said['entries']} entries, {said['records']} records"


def case_killed(folder):
    made = zoo.killed(folder)
    said, _ = expect_good(made.data, made.expect_live())
    return f"{said['segments']} segments, {said['entries']} entries, {said['records']} records"


def case_range_tombstones(folder):
    """A database is emptied, and the tool looks before anything was merged."""
    made = zoo.Zoo(folder, seed=5).start()
    made.write(1500)
    made.flush_database(0)
    made.write(300)
    made.server.kill()
    said, _ = expect_good(made.data, made.expect_live())
    return f"{said['segments']} segments"


def case_empty(folder):
    made = zoo.Zoo(folder).start()
    made.server.terminate()
    expect_good(made.data, {})


def case_log_only(folder):
    made = zoo.Zoo(folder, seed=3).start()
    made.write(60, keys=20, value_bytes=40)
    made.server.terminate()
    expect_good(made.data, made.expect_live())
    first = min(name for name in os.listdir(made.data) if name.endswith(".wal"))
    _, out, _ = varve.run("dump", os.path.join(made.data, first))
    lines = out.decode().splitlines()
    if not lines[1].startswith("64 begin seq 1 ") or " end of records; " not in lines[-1]:
        raise servers.Failed(f"dump of a log: {lines[1]} ... {lines[-1]}")


def case_many_starts(folder):
    """Each start and each kill leaves its marks in the files."""
    made = zoo.Zoo(folder, seed=4).start()
    for _ in range(4):
        made.write(400)
        made.server.kill()
        expect_good(made.data, made.expect_live())
        made.server.start()
    made.server.terminate()
    expect_good(made.data, made.expect_live())


def case_scan_options(folder):
    made = zoo.Zoo(folder).start()
    names = (b"a", b"user:1", b"user:2", b"user;", b"\xff\x00", "grün".encode())
    made.calls(2, [("SET", name, b"v" * 100 + name) for name in names])
    made.server.terminate()
    found = varve.scan(made.data, "--prefix", "user:")
    expect(found, {(2, name): (b"v" * 100 + name, False) for name in names[1:3]}, "scan --prefix")
    found = varve.scan(made.data, "--prefix", "\\xff", "--keys-only")
    expect(found, {(2, names[4]): (None, False)}, "scan --prefix with an escape")
    expect(varve.scan(made.data, "--prefix", "b"), {}, "scan of what is not there")
    raw = varve.scan(made.data, "--raw")
    expect(raw[(None, b"\x01\x01" + varve.name_hash(b"a") + b"a")], (b"\0" + b"v" * 100 + b"a", False), "a raw key")
    expect(raw[(None, b"\x00\x01\x02")], (b"\x01", False), "the record of the database")
    expect(len(raw), len(names) + 2, "raw keys")
    _, out, _ = varve.run("scan", made.data, "--prefix", "a")
    expect(out, b'2 "a" = "' + b"v" * 64 + b'"... (101 bytes)\n', "a line of scan")
    _, out, _ = varve.run("scan", made.data, "--full", "--prefix=a")
    expect(out, b'2 "a" = "' + b"v" * 100 + b'a"\n', "a line of scan --full")


def case_running(folder):
    """A running server's directory is refused, and the server is not: it runs on, and starts again while
    nobody looks."""
    made = zoo.Zoo(folder).start()
    made.write(100)
    for command in COMMANDS:
        _, out, err = varve.run(command, made.data, wanted=(varve.FAILED,))
        expect((out, "LOCK" in err and "running server" in err), (b"", True), f"{command}: {err}")
    path = os.path.join(made.data, "CURRENT")
    _, _, err = varve.run("dump", path, wanted=(varve.FAILED,))
    expect("LOCK" in err, True, f"dump of one file: {err}")
    made.write(10)
    made.server.terminate()
    expect_good(made.data, made.expect_live())
    os.remove(os.path.join(made.data, "LOCK"))  # as copies often are
    expect_good(made.data, made.expect_live())
    expect("LOCK" in os.listdir(made.data), False, "LOCK was made")


def case_usage(_folder):
    for args in ((), ("nonsense",), ("verify",), ("verify", "a", "b"), ("scan", "--nonsense", "a"),
                 ("scan", "a", "--prefix"), ("scan", "--prefix", "\\y", "a"), ("stats", "--json=1", "a")):
        _, out, err = varve.run(*args, wanted=(varve.USAGE,))
        expect((out, err != ""), (b"", True), f"varve {args}")
    for command in COMMANDS:
        _, out, _ = varve.run(command, "--help")
        text = out.decode()
        for word in (f"usage: varve {command}", "--json", "examples:", "exit code"):
            expect(word in text, True, f"{word} in {command} --help")
        expect(command in varve.run("--help")[1].decode(), True, f"{command} in --help")
        _, _, err = varve.run(command, "/nonexistent/dir", wanted=(varve.FAILED,))
        expect("/nonexistent/dir" in err, True, f"{command} of nothing: {err}")
    varve.run("verify", "/proc/self", wanted=(varve.FOUND,))


def case_full_disk(folder):
    """Output that could not be written is no success."""
    made = zoo.Zoo(folder).start()
    made.write(50)
    made.server.terminate()
    with open("/dev/full", "wb") as full:
        done = subprocess.run([varve.program(), "scan", made.data], stdout=full, check=False,
                              stderr=subprocess.DEVNULL, timeout=varve.TIMEOUT_S)
    expect(done.returncode, varve.FAILED, "scan to a full disk")
