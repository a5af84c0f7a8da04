"""Every sampled bit of a small directory flipped, one at a time: verify names the file, or the bit lies in the
tail that no record promises, or nothing of what is read changes."""
import concurrent.futures
import contextlib
import json
import os
import subprocess
import time

import server as servers
import varve
import zoo

WORKERS = os.cpu_count() or 2
SAMPLED = 1050
EVERY_BIT_TIMEOUT_S = 3600
LOGS_MAX = 8
OTHERS_EVERY = 8  # flips: the other commands look, too


def small(folder, seed, kill):
    """In `always` a record promises all before it, so that a tail without a promise is short."""
    made = zoo.Zoo(folder, "--segment-size", "16kb", "--appendfsync", "always", seed=seed).start()
    made.write(900, keys=150, value_bytes=60)
    made.flush_database(3)
    made.write(300, keys=150, value_bytes=60)
    made.settle()
    made.write(30, keys=150, value_bytes=60)
    if kill:
        made.server.kill()
    else:
        made.server.terminate()
    for name in ("RESERVE", "LOCK"):  # never read
        os.remove(os.path.join(made.data, name))
    return made


def calm(made):
    """Until the logs of what was flushed are gone."""
    before = None
    for _ in range(600):
        now = sorted(os.listdir(made.data))
        if now == before and sum(name.endswith(".wal") for name in now) <= LOGS_MAX:
            return
        before = now
        time.sleep(0.3)
    raise servers.Failed(f"the server keeps {now}")


def tiny(folder, seed, kill):
    """Some KB a file, so that every bit has its turn: segments with compressed blocks, expiries and a range
    tombstone, logs behind them."""
    made = zoo.Zoo(folder, "--wal-size", "4kb", "--appendfsync", "always", seed=seed).start()
    for db in zoo.DATABASES:  # more than a memtable, which compresses well
        made.calls(db, [("SET", b"large:%02d" % i, b"%d" % i * 2000) for i in range(14)] +
                   [("SET", b"key:%02d" % i, made.rng.randbytes(20), "PX", zoo.LONG_MS)
                    for i in range(12)])
    made.calls(0, [("SET", b"more:%02d" % i, b"%d" % i * 2000) for i in range(14)])
    made.flush_database(3)
    calm(made)
    made.calls(0, [("SET", b"key:%02d" % i, made.rng.randbytes(30)) for i in range(6, 16)])
    made.server.terminate()
    made.server.start()
    made.calls(3, [("SET", b"late:%02d" % i, made.rng.randbytes(20)) for i in range(5)])
    made.calls(0, [("DEL", b"key:01"), ("DEL", b"key:02")])
    calm(made)
    if kill:
        made.server.kill()
    else:
        made.server.terminate()
    for name in ("RESERVE", "LOCK"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(made.data, name))
    return made


def survey(data):
    """How many bytes of each file are in use; the last place that a record promises."""
    used = {name: os.path.getsize(os.path.join(data, name)) for name in os.listdir(data)}
    promised = (0, 0)
    _, said = varve.run_json("dump", data)
    for file in said["files"]:
        name = os.path.basename(file["file"])
        if file["kind"] != "log":
            continue
        used[name] = min(used[name], file["end"] + 64)
        for record in file["records"]:
            promised = max(promised, (record["promised_file"], record["promised_offset"]))
    return used, promised


def sample(used, count):
    """Bits of all files: evenly over what is in use, and at least 40 a file."""
    total = sum(used.values())
    for name, size in sorted(used.items()):
        bits = size * 8
        wanted = min(bits, max(40, count * size // total))
        for i in range(wanted):
            yield name, (2 * i + 1) * bits // (2 * wanted)


class Flipper:
    """One worker's copy of the directory."""

    def __init__(self, data, number, promised):
        self.data = zoo.copy(data, f"flips-{number}")
        self.promised = promised
        self.scanned = varve.scan(self.data, "--raw")
        self.figures = {"named": 0, "tail": 0, "unread": 0}

    def flip(self, name, bit):
        with open(os.path.join(self.data, name), "r+b") as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))

    def is_tail(self, name, offset):
        return name.endswith(".wal") and (int(name[:-4]), offset) >= self.promised

    def judge(self, name, bit):
        said, damaged = varve.verify(self.data)
        if name in damaged:
            return "named"
        if damaged:
            return f"not named, but {damaged}"
        if self.is_tail(name, bit // 8):
            return "tail"
        if varve.scan(self.data, "--raw") != self.scanned:
            return "what is read has changed, and nothing is found"
        return "unread"

    def others(self):
        """They answer or refuse, and end."""
        for command in ("stats", "dump", "scan"):
            code, out, err = varve.run(command, self.data, "--json", wanted=(0, varve.FOUND))
            if out:
                json.loads(out)
            if code != 0 and not err and not out:
                raise servers.Failed(f"{command} refuses without a word")

    def run(self, flips):
        wrong = []
        for i, (name, bit) in enumerate(flips):
            self.flip(name, bit)
            verdict = self.judge(name, bit)
            if i % OTHERS_EVERY == 0:
                self.others()
            self.flip(name, bit)
            if verdict in self.figures:
                self.figures[verdict] += 1
            else:
                wrong.append(f"{name} byte {bit // 8} bit {bit % 8}: {verdict}")
        return wrong


def flip_all(data):
    used, promised = survey(data)
    wanted = os.environ.get("FLIPS", str(SAMPLED))
    flips = list(sample(used, SAMPLED if wanted == "all" else int(wanted)))
    flippers = [Flipper(data, i, promised) for i in range(WORKERS)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        wrong = sum(pool.map(lambda i: flippers[i].run(flips[i::WORKERS]), range(WORKERS)), [])
    if wrong:
        raise servers.Failed(f"{len(wrong)} of {len(flips)}: " + "; ".join(wrong[:10]))
    figures = {key: sum(one.figures[key] for one in flippers) for key in flippers[0].figures}
    return f"{len(flips)} bits of {len(used)} files, {sum(used.values())} bytes: {figures}"


def every_bit(folder, seed, kill):
    """By a program that calls the tool's commands instead of starting them: every bit, with FLIPS=all, else
    those of headers, footers, the manifest, CURRENT, and a twentieth of the rest."""
    made = tiny(folder, seed, kill)
    _, promised = survey(made.data)
    every = 1 if os.environ.get("FLIPS") == "all" else 20
    done = subprocess.run([varve.beside("tests/tool/flips"), made.data, "--promised",
                           f"{promised[0]}:{promised[1]}", "--every", str(every)],
                          stdin=subprocess.DEVNULL, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=EVERY_BIT_TIMEOUT_S)
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise servers.Failed(said[-1500:])
    sizes = [os.path.getsize(os.path.join(made.data, name)) for name in os.listdir(made.data)]
    return f"{len(sizes)} files, {sum(sizes)} bytes; {said.splitlines()[-1][7:]}"


def case_every_bit_closed(folder):
    return every_bit(folder, 13, kill=False)


def case_every_bit_killed(folder):
    return every_bit(folder, 14, kill=True)


def case_closed(folder):
    return flip_all(small(folder, 11, kill=False).data)


def case_killed(folder):
    return flip_all(small(folder, 12, kill=True).data)
