"""victim.py - the server that a storm is let loose on, as /proc, INFO and CLIENT LIST show it; and the
well-behaved clients beside it.
"""
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time

import resp
import server as servers
from server import Failed

GOOD_CONNECTIONS = 12
SETTLE_S = 20
MB = 1024 * 1024
IP_BIND_ADDRESS_NO_PORT = 24
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

# Small enough for some of everything to happen within a minute. What the data may take in memory is part of
# the bounds below.
OPTIONS = ("--memtable-size", "2mb", "--memtables-max", "3", "--block-cache-size", "4mb",
           "--wal-size", "2mb", "--segment-size", "4mb", "--tcp-backlog", "4096",
           "--client-output-buffer-limit", "pubsub 2mb 0 0")
DATA_MB = 3 * 2 * 2 + 4 + 4  # memtables with their indexes, blocks, what a job holds
KEPT_MB = 8 + 4  # buffers that the loop keeps for replies and for input
RSS_SLACK_MB = 40  # what the allocator does not give back at once


def until(condition, limit_s, what):
    """Waits for it; what: a text, or what makes one. Returns how long that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            text = what() if callable(what) else what
            raise Failed(f"{text}, after {limit_s} s")
        time.sleep(0.01)
    return time.monotonic() - began


class Victim(servers.Server):
    def __init__(self, folder, *options):
        super().__init__(folder, *OPTIONS, *options)
        self.admin = None
        self.others = 0  # connections that are not abusers': the administrator's, the good ones'
        self.base = {}

    def start(self):
        super().start()
        self.admin = self.connect(timeout_s=60)
        self.others = 1
        return self

    # ---- what it shows ----

    def proc(self, name):
        with open(f"/proc/{self.pid}/{name}", encoding="ascii", errors="replace") as file:
            return file.read()

    def sanitized(self):
        return "libasan" in self.proc("maps") or "libtsan" in self.proc("maps")

    def status_mb(self, field):
        return int(re.search(rf"^{field}:\s+(\d+) kB", self.proc("status"), re.M).group(1)) / 1024

    def rss_mb(self):
        return self.status_mb("VmRSS")

    def peak_mb(self):
        """Since forget_peak()."""
        return self.status_mb("VmHWM")

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def wanted_s(self):
        """Processor time of all threads, and that which the loop waited for."""
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND + self.loop_s()[1]

    def loop_s(self):
        """Seconds that the loop's thread ran, and that it waited for a processor that others had."""
        return tuple(int(field) / 1e9 for field in self.proc(f"task/{self.pid}/schedstat").split()[:2])

    def fds(self):
        """[what each descriptor is]"""
        folder = f"/proc/{self.pid}/fd"
        found = []
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(os.path.join(folder, name)))
        return found

    def sockets(self):
        return sum(name.startswith("socket:") for name in self.fds())

    def limit_fds(self, count):
        """Of the running process; None: as many as it had. Returns what it was."""
        soft, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (hard if count is None else count, hard))
        return soft

    def info(self, field, admin=None):
        text = (admin or self.admin).call("INFO", "all").decode()
        return int(re.search(rf"^{field}:(\d+)", text, re.M).group(1))

    def ids(self, admin=None):
        text = (admin or self.admin).call("CLIENT", "LIST").decode()
        return {int(number) for number in re.findall(r"^id=(\d+) ", text, re.M)}

    def set(self, *pairs, admin=None):
        if (admin or self.admin).call("CONFIG", "SET", *pairs) != b"OK":
            raise Failed(f"CONFIG SET {' '.join(map(str, pairs))}")

    # ---- back to where it was ----

    def note_base(self):
        self.base = {"sockets": self.sockets(), "used": self.info("used_memory") / MB,
                     "rss": self.rss_mb(), "fds": len(self.fds())}

    def settle(self):
        """Everything that abusers made it take is given back; Failed if not."""
        until(lambda: self.info("connected_clients") == self.others, SETTLE_S,
              lambda: f"{self.info('connected_clients')} clients, and not {self.others}")
        until(lambda: self.sockets() <= self.base["sockets"], SETTLE_S,
              lambda: f"{self.sockets()} sockets, and not {self.base['sockets']}")
        until(lambda: len(self.fds()) <= self.base["fds"] + 16, SETTLE_S,
              lambda: f"{len(self.fds())} descriptors, and not about {self.base['fds']}")
        used_max = self.base["used"] + DATA_MB + KEPT_MB
        until(lambda: self.info("used_memory") / MB <= used_max, SETTLE_S,
              lambda: f"{self.info('used_memory') / MB:.1f} MB in use, and at most {used_max:.1f} before")
        self.admin.call("MEMORY", "PURGE")
        rss_max = self.base["rss"] + DATA_MB + KEPT_MB + RSS_SLACK_MB
        if not self.sanitized():  # which keep what was freed
            until(lambda: self.rss_mb() <= rss_max, SETTLE_S,
                  lambda: f"{self.rss_mb():.0f} MB resident, and not {rss_max:.0f}")


class Good:
    """The process of the well-behaved ones."""

    def __init__(self, victim, seed):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "good.py")
        self.victim = victim
        self.process = subprocess.Popen([sys.executable, program, str(victim.port), str(seed),
                                         str(GOOD_CONNECTIONS)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.hear()
        victim.others += GOOD_CONNECTIONS + 1

    def ask(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the well-behaved clients have ended")
        said = json.loads(line)
        if said["problem"]:
            raise Failed(said["problem"])
        return said

    def end(self):
        """Whatever state it is in."""
        self.victim.others = 1
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


# ---- sockets of abusers ----

def dial(port, receive_bytes=0):
    """A connection from one of many addresses, so that there are ports for all. receive_bytes: what the system
    takes for a client that does not read."""
    made = socket.socket()
    dial.count += 1
    made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(30)
    made.bind((f"127.0.1.{dial.count % 200 + 1}", 0))
    made.connect(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


dial.count = 0


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def is_closed(sock):
    """Whether the server closed it; what came before is dropped."""
    sock.setblocking(False)
    try:
        while sock.recv(1 << 16):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def receive_all(sock):
    """What comes until the server closes."""
    data = b""
    sock.settimeout(SETTLE_S)
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(1 << 16):
            data += part
    return data


def receive(sock, count):
    data = bytearray()
    while len(data) < count:
        part = sock.recv(min(count - len(data), 1 << 20))
        if not part:
            raise Failed(f"closed after {len(data)} of {count} bytes")
        data += part
    return bytes(data)


def client_id(sock):
    """Of a connection that is used without resp.Connection."""
    sock.sendall(b"CLIENT ID\r\n")
    line = b""
    while not line.endswith(b"\r\n"):
        line += receive(sock, 1)
    return int(line[1:])


def encode(*args):
    return resp.encode(*args)
