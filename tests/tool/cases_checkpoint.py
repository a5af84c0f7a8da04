"""varve checkpoint: what it calls restorable is, what is not it names, and it changes neither."""
import os
import re
import shutil
import subprocess
import tempfile

import server as servers
import varve
import zoo
from cases_good import fingerprint
from server import Failed, expect

PLACES = ("/dev/shm", "/tmp", "/var/tmp", servers.ROOT)


def beside(data):
    return sorted(os.listdir(os.path.dirname(data)))


def check(data, *options, wanted=0):
    """What it says; the directory and its neighbours stay as they were, but for what is restored."""
    before, neighbours = fingerprint(data), beside(data)
    code, said = varve.run_json("checkpoint", data, *options, wanted=(wanted,))
    expect(said["restorable"], code == 0, "restorable, and the exit code")
    expect(fingerprint(data), before, "the files of the checkpoint")
    new = os.path.basename(options[1]) if options[:1] == ("--restore",) and code == 0 else None
    expect([name for name in beside(data) if name != new], neighbours, "what lies beside it")
    return said


def segments(data):
    """Those that count, with their inodes: a killed server may leave others, which it had merged away."""
    files = varve.run_json("dump", data, "--keys-only")[1]["files"]
    names = [os.path.basename(file["file"]) for file in files if file["kind"] == "segment"]
    return {name: os.stat(os.path.join(data, name)).st_ino for name in names}


def expect_restored(made, said, new):
    """A server starts in it, has the data, and what it does there changes nothing of the original."""
    before = fingerprint(made.data)
    expect(varve.scan(new), made.expect_live(), "what scan shows of what was restored")
    varve.verify(new)
    expect("LOCK" in os.listdir(new), False, "a lock was restored")
    expect(said["restored"]["linked_files"] + said["restored"]["copied_files"], len(os.listdir(new)),
           "files that were restored")
    again = zoo.Zoo(os.path.dirname(new), "--dir", new, seed=9)
    again.data, again.live = new, made.expect_live()
    again.start()
    again.write(3000)
    again.flush_database(3)
    again.write(500)
    again.settle()
    again.server.terminate()
    expect(varve.scan(new), again.expect_live(), "the data after writes to what was restored")
    expect(fingerprint(made.data), before, "the checkpoint after writes to what was restored")


def case_closed_and_killed(folder):
    told = []
    for name, make in (("closed", zoo.clean), ("killed", zoo.killed)):
        made = make(os.path.join(folder, name))
        said = check(made.data)
        expect(said["damage"], 0, "damage")
        _, merkle = varve.run_json("merkle", made.data)
        expect({key: said[key] for key in ("root", "keys", "seq")},
               {key: merkle["dirs"][0][key] for key in ("root", "keys", "seq")}, "as merkle says")
        expect(said["now_ms"], merkle["now_ms"], "its time")
        expect(said["scratch"]["linked_files"], len(segments(made.data)), "linked segments")
        new = os.path.join(folder, name, "new")
        said = check(made.data, "--restore", new)
        shared = segments(new)
        expect(shared.items() <= segments(made.data).items() and bool(shared), True, "hard links")
        expect_restored(made, said, new)
        told.append(f"{name}: {said['segments']} segments, {said['keys']} keys")
    return "; ".join(told)


def case_other_file_system(folder):
    others = [place for place in PLACES if os.access(place, os.W_OK)
              and os.stat(place).st_dev != os.stat(folder).st_dev]
    expect(bool(others), True, f"{' '.join(PLACES)}: one is another file system than {folder}")
    made = zoo.clean(os.path.join(folder, "a"))
    with tempfile.TemporaryDirectory(dir=others[0], prefix="varve-tool-") as place:
        said = check(made.data, "--scratch", place)
        expect(said["scratch"]["linked_files"], 0, "linked from another file system")
        expect(os.listdir(place), [], "what is left of scratch")
        new = os.path.join(place, "new")
        said = check(made.data, "--restore", new)
        expect(said["restored"]["linked_files"], 0, "linked to another file system")
        expect(said["restored"]["copied_files"] > len(segments(made.data)), True, "copied files")
        expect_restored(made, said, new)


def case_missing_and_damaged(folder):
    """Every file that counts, once gone and once with a bit flipped: found, and nothing is made."""
    made = zoo.clean(folder)
    new = os.path.join(folder, "new")
    files = varve.run_json("dump", made.data, "--keys-only")[1]["files"]
    names = ["CURRENT"] + [os.path.basename(file["file"]) for file in files]
    for name in names:
        data = zoo.copy(made.data)
        os.remove(os.path.join(data, name))
        said = check(data, "--restore", new, wanted=varve.FOUND)
        expect(name in [finding["file"] for finding in said["findings"]], True,
               f"{name} is missing: {said['findings']}")
        data = zoo.copy(made.data)
        path = os.path.join(data, name)
        with open(path, "r+b") as file:
            file.seek(20)  # in the header: of the directory's id
            byte = file.read(1)[0]
            file.seek(20)
            file.write(bytes([byte ^ 4]))
        said = check(data, "--restore", new, wanted=varve.FOUND)
        expect(said["damage"] > 0 and "restored" not in said, True, f"a bit of {name}")
        expect(os.path.exists(new), False, "something was restored")
    _, out, _ = varve.run("checkpoint", data, wanted=(varve.FOUND,))
    expect(b"cannot be restored: " in out, True, "the text of a finding")
    return f"{len(names)} files"


def case_places(folder):
    """Nothing is overwritten, nothing is written into the checkpoint, nothing is left of a try."""
    made = zoo.killed(os.path.join(folder, "a"), commands=500)
    full = os.path.join(folder, "full")
    os.mkdir(full)
    with open(os.path.join(full, "mine"), "wb") as file:
        file.write(b"mine")
    before, neighbours = fingerprint(made.data), beside(made.data)
    for options in (("--restore", full), ("--restore", os.path.join(full, "mine")),
                    ("--restore", os.path.join(made.data, "new")),
                    ("--restore", os.path.join(folder, "nowhere", "new")),
                    ("--scratch", made.data), ("--scratch", os.path.join(folder, "nowhere"))):
        _, _, err = varve.run("checkpoint", made.data, *options, wanted=(varve.FAILED,))
        expect(err != "", True, f"an error for {options}")
        expect((fingerprint(made.data), beside(made.data)), (before, neighbours), f"{options}")
    expect(os.listdir(full), ["mine"], "what was there before")
    empty = os.path.join(folder, "empty")
    os.mkdir(empty)
    check(made.data, "--restore", empty + "/")
    expect(varve.scan(empty), made.expect_live(), "restored to an empty directory")
    done = subprocess.run([varve.program(), "checkpoint", "."], cwd=made.data, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=varve.TIMEOUT_S,
                          env=varve.sanitized())
    expect((done.returncode, b". can be restored\n" in done.stdout), (0, True), "of '.'")
    expect((fingerprint(made.data), beside(made.data)), (before, neighbours), "of '.'")
    os.remove(os.path.join(made.data, "LOCK"))
    check(made.data)


def case_usage(folder):
    for args in ((), ("a", "b"), ("a", "--restore"), ("--nonsense", "a")):
        varve.run("checkpoint", *args, wanted=(varve.USAGE,))
    _, out, _ = varve.run("checkpoint", "--help")
    for word in (b"usage: varve checkpoint", b"--restore NEW", b"--json", b"examples:", b"exit code"):
        expect(word in out, True, f"{word} in --help")
    expect(b"checkpoint" in varve.run("--help")[1], True, "checkpoint in --help")
    varve.run("checkpoint", os.path.join(folder, "nowhere"), wanted=(varve.FAILED,))
    made = zoo.Zoo(folder).start()
    made.write(100)
    _, _, err = varve.run("checkpoint", made.data, wanted=(varve.FAILED,))
    expect("running server" in err, True, f"of a running server: {err}")
    made.server.terminate()
    _, out, _ = varve.run("checkpoint", made.data)
    if not re.search(rb"^id [0-9a-f]{32}, sequence \d+, time 20\d\d-", out, re.M):
        raise Failed(f"it says {out}")


def case_under_full_write_load(folder):
    """The short form of tests/bench/checkpoint."""
    build = os.environ.get("VARVE_BUILD") or os.path.join(os.path.dirname(servers.varved_path()), "..", "..")
    done = subprocess.run([os.path.join(build, "tests", "bench", "checkpoint"), "--seconds", "6",
                           "--every", "1", "--checkpoints", "2", "--keys", "50000", "--dir", folder,
                           "--varve", varve.program()], check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    text = done.stdout.decode()
    if done.returncode != 0:
        raise Failed(text[-3000:] + done.stderr.decode()[-1000:])
    expect(os.listdir(folder), [], "what it leaves")
    shutil.rmtree(folder)
    passed = re.search(r"(\d+) passed, 0 failed\n$", text)
    return f"{passed.group(1)} checks"
