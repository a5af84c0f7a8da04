"""Directories in which something is wrong, and more than one thing."""
import os
import shutil

import server as servers
import varve
import zoo
from server import expect


def live_files(data):
    _, said = varve.run_json("dump", data, "--keys-only")
    return {os.path.basename(file["file"]): file for file in said["files"]}


def flip(path, offset, bit=3):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def segments_of(files):
    return sorted((name for name in files if name.endswith(".seg")),
                  key=lambda name: len(files[name]["blocks"]))


def with_a_log(made):
    """Live files, among them a log with something in it: the last flush may have left none."""
    for _ in range(5):
        files = live_files(made.data)
        for name in files:
            if name.endswith(".wal") and len(files[name]["records"]) > 20:
                return files, name
        made.server.start()
        made.calls(0, [("SET", b"one more %d" % i, b"") for i in range(40)])
        made.settle()
        made.server.terminate()
    raise servers.Failed("no log has 20 records")


def case_goes_on(folder):
    """Several blocks of a segment, another segment's footer, and the log: all are named."""
    made = zoo.clean(folder)
    files, log = with_a_log(made)
    segments = segments_of(files)
    blocks = files[segments[-1]]["blocks"]
    hit = [blocks[1], blocks[len(blocks) // 2], blocks[-1]]
    for block in hit:
        flip(os.path.join(made.data, segments[-1]), block["offset"] + block["length"] // 2)
    other = os.path.join(made.data, segments[-2])
    flip(other, os.path.getsize(other) - 30)
    records = files[log]["records"]
    for at in (5, 15):  # the last byte of each
        flip(os.path.join(made.data, log), records[at + 1]["offset"] - 1)
    said, damaged = varve.verify(made.data)
    expect(damaged[segments[-1]], [block["offset"] for block in hit], "damaged blocks")
    expect(len(damaged[segments[-2]]), 1, "findings in the footer")
    expect(damaged[log], [records[5]["offset"], records[15]["offset"]], "damaged records")
    expect(len(damaged), 3, "damaged files")
    _, dumped = varve.run_json("dump", made.data, wanted=(varve.FOUND,))
    expect(dumped["damage"] >= 6, True, "dump goes on, too")
    _, _, err = varve.run("scan", made.data, wanted=(varve.FOUND,))
    expect(segments[-2] in err, True, f"scan names the file: {err}")
    return f"{said['damage']} findings"


def case_value_blocks(folder):
    made = zoo.Zoo(folder).start()
    made.calls(0, [("SET", b"big%d" % i, os.urandom(20000)) for i in range(12)])
    made.settle()
    made.server.terminate()
    files = live_files(made.data)
    name = max(segments_of(files), key=lambda one: os.path.getsize(os.path.join(made.data, one)))
    path = os.path.join(made.data, name)
    flip(path, 5000)
    flip(path, 64 + 20009 + 5000)
    _, damaged = varve.verify(made.data)
    expect(damaged, {name: [64, 64 + 20009]}, "damaged value blocks")


def case_missing(folder):
    made = zoo.clean(folder)
    names = list(live_files(made.data)) + ["CURRENT"]
    for name in names:
        data = zoo.copy(made.data)
        os.remove(os.path.join(data, name))
        _, damaged = varve.verify(data)
        expect(name in damaged, True, f"{name} is missing, and found are {damaged}")
        if name != "CURRENT" and not name.startswith("MANIFEST"):
            expect(set(damaged), {name}, f"damaged without {name}")
    return f"{len(names)} files"


def case_cut(folder):
    """A log that was made ready and holds no operation may be cut: nothing is lost."""
    made = zoo.clean(folder)
    live = made.expect_live()
    files = live_files(made.data)
    for name in files:
        for keep in (0, 63, 64, 200):
            data = zoo.copy(made.data)
            if os.path.getsize(os.path.join(data, name)) <= keep:
                continue
            os.truncate(os.path.join(data, name), keep)
            _, damaged = varve.verify(data)
            if name in damaged:
                continue
            if damaged or any(record["operations"] for record in files[name]["records"]):
                raise servers.Failed(f"{name} cut to {keep} bytes, and found are {damaged}")
            expect(varve.scan(data), live, f"what is read when {name} is cut")
    return f"{len(files)} files"


def case_foreign(folder):
    """Files of another directory under our names; names that are nobody's."""
    made = zoo.clean(os.path.join(folder, "a"))
    other = zoo.clean(os.path.join(folder, "b"))
    strangers = live_files(other.data)
    files = live_files(made.data)
    for name in files:
        data = zoo.copy(made.data)
        stranger = next(its for its in strangers if its[-4:] == name[-4:] or its[:4] == name[:4])
        shutil.copy(os.path.join(other.data, stranger), os.path.join(data, name))
        _, damaged = varve.verify(data)
        expect(name in damaged, True, f"{name} is another's, and found are {damaged}")
    data = zoo.copy(made.data)
    segment = segments_of(files)[0]
    for name in ("dump.rdb", "999998.seg", "CURRENT.tmp", "MANIFEST-999999"):
        shutil.copy(os.path.join(data, segment), os.path.join(data, name))
    os.mkdir(os.path.join(data, "folder"))
    said, damaged = varve.verify(data)
    expect(damaged, {}, "orphans are no damage")
    kept = {one["file"] for one in said["findings"] if one["file"].endswith(".wal") and one["file"] not in files}  # by the log's pool
    expect(varve.notes(said) - kept,
           {"dump.rdb", "999998.seg", "CURRENT.tmp", "MANIFEST-999999", "folder"}, "notes")
    expect(varve.scan(data), made.expect_live(), "scan beside orphans")


def case_stale(folder):
    """A log of a later life tells that the manifest is an old one."""
    made = zoo.killed(folder)
    name = next(name for name in os.listdir(made.data) if name.startswith("MANIFEST"))
    old = zoo.copy(made.data)
    made.server.start()
    made.write(2000)
    made.server.kill()
    new = zoo.copy(made.data, "new")
    shutil.copy(os.path.join(old, name), os.path.join(new, name))
    shutil.copy(os.path.join(old, "CURRENT"), os.path.join(new, "CURRENT"))
    _, damaged = varve.verify(new)
    expect(name in damaged, True, f"an old manifest, and found are {damaged}")


def forged(made, payload):
    data = zoo.copy(made.data)
    name = next(name for name in os.listdir(data) if name.startswith("MANIFEST"))
    varve.add_edit(os.path.join(data, name), payload)
    return name, varve.verify(data)[1]


def levels_of(files):
    """What the manifest says of each live segment."""
    manifest = next(files[name] for name in files if name.startswith("MANIFEST"))
    levels = {f"{edit['file']:06}.seg": edit["level"] for record in manifest["records"]
              for edit in record["edits"] if edit["change"] == "add-segment"}
    return {name: levels[name] for name in segments_of(files)}


def moves(made, segments, level, run):
    """The edit that moves them."""
    edit = b""
    for name in segments:
        number = varve.varint(int(name[:-4]))
        edit += b"\x07" + number + b"\x06" + number + varve.varint(level) + varve.varint(run)
        edit += varve.varint(os.path.getsize(os.path.join(made.data, name)))
    return edit


def case_manifest_lies(folder):
    """Edits with right CRCs that say what is not so."""
    made = zoo.clean(folder)
    for _ in range(50):  # compaction may have left one level; a stop soon after a flush leaves two
        if len(varve.run_json("stats", made.data)[1]["levels"]) > 1:
            break
        made.start()
        made.write(400)
        made.server.terminate()
    segments = live_files(made.data)
    size = os.path.getsize(os.path.join(made.data, segments_of(segments)[-1]))
    number = int(segments_of(segments)[-1][:-4])
    _, stats = varve.run_json("stats", made.data)
    group = next(one for one in stats["groups"] if one["known"])
    name = varve.as_bytes(group["name"])
    head = varve.varint(0) + varve.varint(2 * (group["keys_in_segments"] + 1))

    manifest, damaged = forged(made, b"\x09" + head + varve.varint(0) + varve.varint(len(name)) + name)
    expect(set(damaged), {manifest}, "a count that is one too high")
    _, damaged = forged(made, b"\x07" + varve.varint(number) + b"\x06" + varve.varint(number) +
                        varve.varint(1) + varve.varint(0) + varve.varint(size + 1))
    expect(segments_of(segments)[-1] in damaged, True, "a size that is one too large")
    manifest, damaged = forged(made, b"\x01" + varve.varint(3))
    expect(set(damaged), {manifest}, "numbers in use that are to come")
    manifest, damaged = forged(made, b"\x03" + varve.varint(777777))
    expect("777777.wal" in damaged, True, "a log that there is not")
    expect(len(stats["levels"]) > 1, True, f"levels: {stats['levels']}")
    levels = levels_of(segments)
    manifest, damaged = forged(made, moves(made, levels, 7, 0))
    expect(set(damaged), {manifest}, "segments that overlap in one run")
    last = {name for name in levels if levels[name] == 7}
    _, damaged = forged(made, moves(made, last, 0, 10 ** 9))
    expect(damaged and set(damaged) <= last, True, f"old records above new ones: {set(damaged)}")
