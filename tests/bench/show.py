"""show.py - what the demonstrations beside it share: a table of figures and bounds, keys whose value is
known, pipelines, a client that measures how long the others wait, drawings.

Not a program. Everything here belongs to one thread, but Probe, which is a process of its own.
"""
import contextlib
import multiprocessing
import os
import random
import re
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

MB = 1 << 20
PIPELINE = 2000  # commands in one go; another such batch is sent before the replies of the first are read
SERVER_CORE, CLIENT_CORE = "0", "1"  # of the benchmarks that pin both
# redis-server with its log; rewriting it would be in Redis's figures only.
REDIS = ("--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
UNITS = {"": 1, "k": 1000, "kb": 1 << 10, "m": 10 ** 6, "mb": 1 << 20, "g": 10 ** 9, "gb": 1 << 30}


def use_release():
    """Not whatever was built last: a build with sanitizers says nothing here."""
    os.environ.setdefault("VARVED", os.path.join(servers.ROOT, "build", "release", "varved"))


def size(text):
    """`64mb` as bytes, in the units of redis.conf."""
    match = re.fullmatch(r"([0-9.]+)([a-z]*)", text.lower())
    if not match or match.group(2) not in UNITS:
        raise ValueError(text)
    return int(float(match.group(1)) * UNITS[match.group(2)])


class Report:
    """Figures, each with its bound or without one; printed as a Markdown table."""

    def __init__(self, title):
        self.title = title
        self.rows = []

    def add(self, what, text, bound="", ok=None):
        """ok None: a figure without a bound."""
        self.rows.append((what, text, bound, ok))
        print(f"  {what}: {text}" + ("" if ok is None else f" ({bound}): {'PASS' if ok else 'FAIL'}"),
              file=sys.stderr, flush=True)

    def below(self, what, value, limit, unit="", digits=1):
        self.add(what, f"{value:.{digits}f} {unit}".strip(), f"< {limit:g} {unit}".strip(),
                 value < limit)

    def equal(self, what, value, wanted):
        self.add(what, f"{value:,}", f"= {wanted:,}", value == wanted)

    def show(self):
        """Prints the table; returns how many bounds are kept and how many are not."""
        print(f"\n## {self.title}\n\n| what | figure | bound | |\n|---|---|---|---|")
        for what, text, bound, ok in self.rows:
            print(f"| {what} | {text} | {bound} | {'' if ok is None else 'PASS' if ok else 'FAIL'} |")
        failed = sum(ok is False for *_, ok in self.rows)
        passed = sum(ok is True for *_, ok in self.rows)
        return passed, failed

    def close(self):
        """Prints the table and the closing line; returns the exit code."""
        passed, failed = self.show()
        print(f"\n{passed} passed, {failed} failed", flush=True)
        return 1 if failed or not passed else 0


class Progress:
    """A line on standard error every other second; total None: how much is to come is not known."""

    def __init__(self, what, total):
        self.what, self.total, self.done = what, total, 0
        self.begun = self.told = time.monotonic()

    def step(self, count):
        self.done += count
        now = time.monotonic()
        if now - self.told < 2 and (self.total is None or self.done < self.total):
            return
        self.told = now
        rate = self.done / max(now - self.begun, 1e-9)
        done = f"{now - self.begun:.0f} s" if self.total is None else f"{self.done:,} of {self.total:,}"
        print(f"  {self.what}: {done}" + (f", {rate / 1000:.0f} k/s" if rate >= 1000 else ""), file=sys.stderr,
              flush=True)


# ---- keys and values ----

class Values:
    """What belongs to a key and its version: text that names both, then bytes that do not compress,
    cut from a pool that is the same for every seed-alike run."""

    def __init__(self, value_bytes, seed=1):
        self.rest = max(0, value_bytes - 20)
        self.bytes = 20 + self.rest
        self.pool = random.Random(seed).randbytes(8 * MB + self.rest)

    def of(self, key, version):
        at = (key * 2654435761 + version * 40503001) % (8 * MB)
        return b"%012d-%06d:%b" % (key, version, self.pool[at:at + self.rest])


def name(key):
    return b"key:%012d" % key


def scattered(count):
    """0 .. count-1, each once, in an order that jumps about."""
    step = int(count * 0.6180339887) | 1
    while not all(step % p for p in (2, 3, 5, 7)) or _gcd(step, count) != 1:
        step += 1
    at = 0
    for _ in range(count):
        yield at
        at = (at + step) % count


def _gcd(a, b):
    while b:
        a, b = b, a % b
    return a


def encode_set(key, value):
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


def bulk(value):
    """The reply of a GET."""
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


class Wrong(servers.Failed):
    """A reply that is not the one that must come."""


class Pipe:
    """Commands with the bytes of the replies that must come, in batches, two on their way at a time."""

    def __init__(self, server, progress=None, depth=2, timeout_s=300):
        self.connection = server.connect(timeout_s=timeout_s)
        self.socket = self.connection.socket
        self.progress = progress
        self.depth = depth
        self.commands, self.replies = [], []
        self.waiting = []  # (bytes that must come, commands) of the batches on their way

    def add(self, command, reply):
        self.commands.append(command)
        self.replies.append(reply)
        if len(self.commands) >= PIPELINE:
            self.flush()

    def flush(self):
        if not self.commands:
            return
        self.connection.send_raw(b"".join(self.commands))
        self.waiting.append((b"".join(self.replies), len(self.commands)))
        self.commands, self.replies = [], []
        while len(self.waiting) >= self.depth:
            self.settle()

    def settle(self):
        """Reads the replies of the oldest batch."""
        wanted, count = self.waiting[0]
        got = bytearray()
        while len(got) < len(wanted):
            data = self.socket.recv(min(len(wanted) - len(got), 1 << 20))
            if not data:
                raise resp.Broken("closed by the server")
            got += data
            if data[:1] == b"-" and not wanted.startswith(got):
                break
        self.waiting.pop(0)
        if got != wanted:
            at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), len(got))
            raise Wrong(f"reply {servers.shorten(bytes(got[max(0, at - 40):at + 60]))}, expected "
                        f"{servers.shorten(wanted[max(0, at - 40):at + 60])}")
        if self.progress:
            self.progress.step(count)

    def close(self):
        self.flush()
        while self.waiting:
            self.settle()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.connection.close()


def write(server, what, pairs, total, timeout_s=300):
    """SETs of (key, value)."""
    with Pipe(server, Progress(what, total), timeout_s=timeout_s) as pipe:
        for key, value in pairs:
            pipe.add(encode_set(key, value), b"+OK\r\n")


def read(server, what, pairs, total):
    """GETs of (key, value), each of which must be so; value None: absent."""
    with Pipe(server, Progress(what, total)) as pipe:
        for key, value in pairs:
            pipe.add(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key), bulk(value))


# ---- what the server says of itself ----

def info(server):
    """INFO's fields of the engine, as text. Not all sections: that of the keyspace waits for a count."""
    with server.connect() as connection:
        text = connection.call("INFO", "lsm", "varve").decode("latin-1")
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def data_folder(server):
    return server.argv[server.argv.index("--dir") + 1]


def segment_bytes(server):
    """Of the files that are there, whatever the server believes."""
    total = 0
    with os.scandir(data_folder(server)) as entries:
        for entry in entries:
            if entry.name.endswith(".seg"):
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
    return total


def rss_peak_mb(server):
    """VmHWM since the start, or since rss_reset()."""
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise servers.Failed("no VmHWM")


def rss_reset(server):
    with open(f"/proc/{server.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def cpu_s(server):
    with open(f"/proc/{server.pid}/stat", encoding="latin-1") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def wait_idle(server, limit_s=300, what="flushes and compactions"):
    """Until no flush waits, no compaction runs, and the segments stay as they are for two seconds."""
    deadline = time.monotonic() + limit_s
    progress = Progress(what, None)
    seen, since = None, time.monotonic()
    while time.monotonic() < deadline:
        now = info(server)
        busy = now["compactions_running"] != "0" or now["flushes_waiting"] != "0"
        state = (now["compactions"], now["flushes"], now["segment_drops"], now["segment_moves"])
        if busy or state != seen:
            seen, since = state, time.monotonic()
        elif time.monotonic() - since > 2:
            return True
        progress.step(0)
        time.sleep(0.1)
    return False


def start_timed(server):
    """Starts it; seconds from exec to the first answered GET."""
    begin = time.monotonic()
    server.spawn()
    while True:
        if server.process.poll() is not None:
            raise servers.Failed(f"it does not start: {server.log_tail()}")
        with contextlib.suppress(resp.Broken, OSError):
            with resp.Connection(server.port, timeout_s=120) as connection:
                reply = connection.call("GET", "no such key")
                if not isinstance(reply, resp.Error):
                    return time.monotonic() - begin
        if time.monotonic() - begin > 120:
            raise servers.Failed(f"no answer 120 s after its start: {server.log_tail()}")
        time.sleep(0.001)


# ---- a client beside ----

def _probe(port, keys, pause_s, channel):
    """Runs as a process: SETs and GETs of a few small keys in turn until it is told to stop, and sends
    [(when, seconds, is a write)]."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen = []
    turn = 0
    with resp.Connection(port, timeout_s=120) as connection:
        channel.send("ready")
        while not channel.poll():
            key = b"probe:%d" % (turn // 2 % keys)
            begin = time.monotonic()
            reply = connection.call("GET", key) if turn % 2 else connection.call("SET", key, b"x" * 32)
            seen.append((begin, time.monotonic() - begin, turn % 2 == 0,
                         isinstance(reply, resp.Error)))
            turn += 1
            if pause_s:
                time.sleep(pause_s)
    channel.send(seen)


class Probe:
    """Small SETs and GETs from a process of its own while a block runs; `seen` afterwards."""

    def __init__(self, server, keys=100, pause_s=0.001):
        self.arguments = (server.port, keys, pause_s)
        self.seen = []

    def __enter__(self):
        self.channel, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_probe, args=(*self.arguments, other), daemon=True)
        self.process.start()
        other.close()
        self.channel.recv()
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(OSError, EOFError):
            self.channel.send("stop")
            self.seen = self.channel.recv()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()

    def begun(self, begin, end):
        """Seconds each, sorted, of what was begun in that time."""
        return sorted(took for at, took, *_ in self.seen if begin <= at < end)

    def between(self, begin, end, writes=None):
        """Seconds each, sorted, of what was on its way in that time; writes None: both kinds."""
        return sorted(took for at, took, is_write, _ in self.seen
                      if at + took >= begin and at < end and writes in (None, is_write))


def percentile(ordered, part):
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


# ---- drawings ----

def svg_lines(path, title, x_label, panels):
    """Panels under each other, one x axis; panels: [(label, [(name, colour, [(x, y)])], bound or None)]."""
    width, height, left, top, gap = 900, 190, 70, 40, 45
    x_max = max((x for _, lines, _ in panels for _, _, points in lines for x, _ in points), default=1) or 1
    total = top + len(panels) * (height + gap) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{total}" fill="white"/>',
           f'<text x="{left}" y="22" font-size="16">{title}</text>']
    for number, (label, lines, bound) in enumerate(panels):
        base = top + number * (height + gap) + height
        y_max = max([y for _, _, points in lines for _, y in points] + [bound or 0, 1e-9]) * 1.1
        inner = width - left - 20

        def place(x, y, base=base, y_max=y_max, inner=inner):
            return f"{left + x / x_max * inner:.1f},{base - y / y_max * height:.1f}"

        out.append(f'<path d="M{left} {base - height}V{base}H{width - 20}" fill="none" stroke="black"/>')
        for part in (0, 0.5, 1):
            x, y = left + part * inner, base - part * height
            out.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{y_max * part:.3g}</text>')
            out.append(f'<text x="{x:.0f}" y="{base + 16}" text-anchor="middle">{x_max * part:.0f}</text>')
        out.append(f'<text x="{left + 4}" y="{base - height - 6}">{label}</text>')
        if bound:
            y = place(0, bound).split(",")[1]
            out.append(f'<path d="M{left} {y}H{width - 20}" stroke="red" stroke-dasharray="6 4"/>')
        for at, (text, colour, points) in enumerate(lines):
            out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="'
                       + " ".join(place(x, y) for x, y in points) + '"/>')
            out.append(f'<text x="{width - 24}" y="{base - height + 12 + 15 * at}" text-anchor="end" '
                       f'fill="{colour}">{text}</text>')
    out.append(f'<text x="{width / 2}" y="{total - 8}" text-anchor="middle">{x_label}</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
