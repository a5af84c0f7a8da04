"""server.py - starts, watches and ends the servers that the tests talk to.

The program is VARVED of the environment, else the newest varved under build/. Each server gets a free
loopback port and the directory that the test names; its output goes to a file that error texts quote.
"""
import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import resp

START_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 60.0
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def leave_on_sigterm(*_):
    sys.exit(143)


signal.signal(signal.SIGTERM, leave_on_sigterm)  # so that servers and directories do not stay


class Failed(Exception):
    """The server did what it should not, or a test saw what it should not."""


def varved_path():
    named = os.environ.get("VARVED")
    if named:
        return named
    built = glob.glob(os.path.join(ROOT, "build", "*", "varved"))
    if not built:
        sys.exit("no varved: build it (tools/build release) or name it in VARVED")
    return max(built, key=os.path.getmtime)


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def scratch(name):
    """A temporary directory that is removed at the end."""
    folder = tempfile.mkdtemp(prefix=f"varve-{name}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """One process. start() returns when it answers PING, or raises Failed with what it said."""

    def __init__(self, folder, *options, program=None, port=None, under=()):
        self.folder = folder  # the log lies here; the data in folder/data unless options say else
        self.port = port or free_port()
        self.argv = [*under, program or varved_path(), "--bind", "127.0.0.1",
                     "--port", str(self.port)]
        if "--dir" not in options:
            data = os.path.join(folder, "data")
            os.makedirs(data, exist_ok=True)
            self.argv += ["--dir", data]
        self.argv += [str(option) for option in options]
        if program is None:  # for a whole run with other settings, a word each
            self.argv += os.environ.get("VARVED_OPTIONS", "").split()
        self.log_path = os.path.join(folder, f"log-{self.port}")
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def spawn(self):
        """Starts the process and returns at once."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT)
        return self

    def start(self):
        self.spawn()
        return self.wait_ready()

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the server ended with {self.process.returncode} instead of starting: "
                             f"{self.log_tail()}")
            try:
                with resp.Connection(self.port, timeout_s=10) as connection:
                    if connection.call("PING") == b"PONG":
                        return self
            except (resp.Broken, OSError):
                pass
            time.sleep(0.002)
        raise Failed(f"the server does not answer {START_TIMEOUT_S} s after its start: "
                     f"{self.log_tail()}")

    def connect(self, timeout_s=20.0):
        return resp.Connection(self.port, timeout_s=timeout_s)

    def log_tail(self, lines=12):
        with contextlib.suppress(OSError):
            with open(self.log_path, "rb") as log:
                text = log.read().decode("utf-8", "replace").strip().split("\n")
                return " | ".join(text[-lines:])
        return "(no output)"

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def kill(self):
        """kill -9; returns when the process is gone. Failed if it had ended by itself before."""
        self.process.send_signal(signal.SIGKILL)
        status = self.process.wait(EXIT_TIMEOUT_S)
        if status != -signal.SIGKILL:
            raise Failed(f"the server had ended by itself with {status}: {self.log_tail()}")

    def terminate(self):
        """SIGTERM; Failed unless it leaves with 0."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_exit()

    def wait_exit(self, wanted=0):
        try:
            status = self.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"the server does not end: {self.log_tail()}") from None
        if status != wanted:
            raise Failed(f"the server ended with {status} and not {wanted}: {self.log_tail()}")

    def discard(self):
        """Ends what still runs, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.discard()


def redis_server(folder, *options):
    """Debian's redis-server with nothing of its own on disk but what options say."""
    return Server(folder, "--save", "", *options, program="redis-server")


class Tally:
    """Counts cases and prints the closing line that tools/test reads."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def run(self, name, case):
        """Runs one case; prints a line for it if it fails."""
        try:
            case()
        except Exception as error:  # whatever it is, the other cases are run
            self.fail(name, f"{type(error).__name__}: {error}")
            return False
        self.passed += 1
        return True

    def fail(self, name, why):
        self.failed += 1
        print(f"FAILED {name}: {why}", flush=True)

    def close(self):
        """Returns the exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def expect(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: {shorten(got)}, expected {shorten(wanted)}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters)"
