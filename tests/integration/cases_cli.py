"""redis-cli as people use it: one command, a script on stdin, a terminal, --stat, --pipe."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import resp
from server import Failed, Server, expect

TERMINAL_S = 20


def cli(server, *arguments, given=None):
    done = subprocess.run(["redis-cli", "-p", str(server.port), *arguments],
                          input=given, stdin=None if given is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    expect(done.returncode, 0, f"exit of redis-cli {arguments}")
    return done.stdout.decode("utf-8", "replace").rstrip("\n")


def case_one_shot(folder):
    with Server(folder) as server:
        for arguments, wanted in (
                (("PING",), "PONG"), (("SET", "k", "v"), "OK"), (("GET", "k"), "v"),
                (("GET", "absent"), ""), (("DEL", "k"), "1"), (("INCR", "n"), "1"),
                (("-n", "3", "SET", "in", "three"), "OK"), (("-n", "3", "DBSIZE"), "1"),
                (("MGET", "n", "absent"), "1\n"), (("ECHO", "a b"), "a b"),
                (("--no-raw", "MGET", "n", "absent"), '1) "1"\n2) (nil)'),
                (("--no-raw", "TTL", "n"), "(integer) -1"),
                (("CONFIG", "GET", "databases"), "databases\n16"),
                (("-r", "3", "INCR", "n"), "2\n3\n4"),
                (("-3", "--no-raw", "GET", "absent"), "(nil)"),
                (("-3", "--no-raw", "CONFIG", "GET", "databases"), '1# "databases" => "16"'),
                (("NONSENSE", "a"),
                 "ERR unknown command 'NONSENSE', with args beginning with: 'a' \n"[:-1])):
            expect(cli(server, *arguments).rstrip("\n"), wanted.rstrip("\n"), f"{arguments}")
        expect(cli(server, "-x", "SET", "k", given=b"from\x00stdin"), "OK", "-x")
        expect(cli(server, "STRLEN", "k"), "10", "STRLEN of what -x set")


def case_json(folder):
    with Server(folder) as server:
        for arguments, wanted in ((("SET", "k", 'a"b'), "OK"), (("GET", "k"), 'a"b'),
                                  (("GET", "absent"), None), (("DEL", "k", "l"), 1),
                                  (("MGET", "k", "k"), [None, None]),
                                  (("CONFIG", "GET", "databases"), {"databases": "16"})):
            expect(json.loads(cli(server, "--json", *arguments)), wanted, f"--json {arguments}")
        answer = json.loads(cli(server, "--json", "HELLO", "3"))
        expect(sorted(answer), ["id", "mode", "modules", "proto", "role", "server", "version"], "HELLO")


def case_script_on_stdin(folder):
    with Server(folder) as server:
        said = cli(server, given=b"SET a 1\nINCR a\nGET a b\n\nSELECT 5\nDBSIZE\nPING\n")
        expect(said, "OK\n2\nERR wrong number of arguments for 'get' command\n\nOK\n0\nPONG", "script")


def case_errors_with_e(folder):
    with Server(folder) as server:
        done = subprocess.run(["redis-cli", "-p", str(server.port), "-e", "GET"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        expect(done.returncode, 1, "exit of redis-cli -e with an error reply")


def case_pipe(folder):
    with Server(folder) as server:
        data = b"".join(resp.encode("SET", f"key{i}", i) for i in range(20000))
        said = cli(server, "--pipe", given=data)
        if "errors: 0, replies: 20000" not in said:
            raise Failed(f"--pipe: {said}")
        with server.connect() as connection:
            expect(connection.call("DBSIZE"), 20000, "DBSIZE")
        said = subprocess.run(["redis-cli", "-p", str(server.port), "--pipe"],
                              input=resp.encode("SET", "only") + resp.encode("SET", "k", "v"),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        if b"errors: 1, replies: 2" not in said.stdout:
            raise Failed(f"--pipe with an error: {said.stdout}")


def case_stat(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            connection.calls([("SET", f"k{i}", i) for i in range(1234)])
        process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", "-p", str(server.port), "--stat",
                                    "-i", "0.1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            lines = [process.stdout.readline().decode() for _ in range(4)]
        finally:
            process.kill()
            process.wait()
        for line in lines[2:]:
            if not re.match(r"1234 +[\d.]+[KMG] +\d+ +\d+ +\d+ \(\+\d+\) +\d+ *$", line):
                raise Failed(f"--stat prints {lines!r}")


class Terminal:
    """redis-cli in a terminal of its own."""

    def __init__(self, server, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", HOME=server.folder, LC_ALL="C")
            with contextlib.suppress(OSError):
                os.execvp("redis-cli", ["redis-cli", "-p", str(server.port), *arguments])
            os._exit(127)
        # Without a size redis-cli would ask the terminal for one, and wait for the answer.
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.text = ""

    def type(self, text):
        self.text = ""
        os.write(self.fd, text.encode())

    def run(self, command, wanted):
        """Types a command; waits for what it prints and for the next prompt: what is typed before
        that one is lost."""
        self.type(command + "\r")
        self.wait_for(wanted, "> ")

    def wait_for(self, wanted, behind=""):
        deadline = time.monotonic() + TERMINAL_S
        while wanted not in self.plain() or behind not in self.plain().split(wanted, 1)[1]:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Failed(f"redis-cli does not show {wanted!r} but {self.plain()!r}")
            try:
                self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
            except OSError:
                raise Failed(f"redis-cli ended; it showed {self.plain()!r}") from None

    def plain(self):
        """What was shown, without the terminal's control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    def close(self):
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def case_interactive(folder):
    with Server(folder) as server:
        terminal = Terminal(server)
        try:
            prompt = f"127.0.0.1:{server.port}> "
            terminal.wait_for(prompt)
            terminal.run("set greeting hello", "OK")
            terminal.run("get greeting", '"hello"')
            terminal.run("select 4", f"127.0.0.1:{server.port}[4]")
            terminal.run("get", "(error) ERR wrong number of arguments for 'get' command")
            terminal.run("hello 3", '1# "server" => "redis"')
        finally:
            terminal.close()


def case_hints_and_help(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            docs = connection.call("COMMAND", "DOCS", "set")
        summary = docs[1][docs[1].index(b"summary") + 1].decode()
        terminal = Terminal(server)
        try:
            terminal.wait_for(">")
            for typed, hint in (("set ", "key value [NX|XX] [GET] [EX seconds|PX milliseconds|"),
                                ("set k ", "value [NX|XX]"), ("get ", "key"),
                                ("expire k ", "seconds [NX|XX|GT|LT]"),
                                ("mset ", "key value [key value ...]"),
                                ("del ", "key [key ...]"), ("config get ", "parameter [parameter ...]"),
                                ("select ", "index"), ("incrby ", "key increment")):
                terminal.type(typed)
                terminal.wait_for(typed + hint)
                terminal.type("\x15")  # takes the line back
                terminal.wait_for("> ")
            terminal.run("help set", "group: string")
            if "SET key value [NX|XX]" not in terminal.plain() or summary not in terminal.plain():
                raise Failed(f"help set: {terminal.plain()!r}")
            terminal.run("help @string", "STRLEN key")
            terminal.run("help @generic", "PERSIST key")
            terminal.run("help config set", "CONFIG SET parameter value")
            terminal.run("help", "redis-cli")
        finally:
            terminal.close()
