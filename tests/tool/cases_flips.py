"""Every sampled bit of a small directory flipped, one at a time: verify names the file, or the bit lies in the
tail that no record promises, or nothing of what is read changes."""
import concurrent.futures
import os

import server as servers
import varve
import zoo

WORKERS = os.cpu_count() or 2


def small(folder, seed, kill):
    made = zoo.Zoo(folder, "--segment-size", "16kb", seed=seed).start()
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

    def run(self, flips):
        wrong = []
        for name, bit in flips:
            self.flip(name, bit)
            verdict = self.judge(name, bit)
            self.flip(name, bit)
            if verdict in self.figures:
                self.figures[verdict] += 1
            else:
                wrong.append(f"{name} byte {bit // 8} bit {bit % 8}: {verdict}")
        return wrong


def flip_all(data):
    used, promised = survey(data)
    flips = list(sample(used, int(os.environ.get("FLIPS", 1300))))
    flippers = [Flipper(data, i, promised) for i in range(WORKERS)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        wrong = sum(pool.map(lambda i: flippers[i].run(flips[i::WORKERS]), range(WORKERS)), [])
    if wrong:
        raise servers.Failed(f"{len(wrong)} of {len(flips)}: " + "; ".join(wrong[:10]))
    figures = {key: sum(one.figures[key] for one in flippers) for key in flippers[0].figures}
    return f"{len(flips)} bits of {len(used)} files, {sum(used.values())} bytes: {figures}"


def case_closed(folder):
    return flip_all(small(folder, 11, kill=False).data)


def case_killed(folder):
    return flip_all(small(folder, 12, kill=True).data)
