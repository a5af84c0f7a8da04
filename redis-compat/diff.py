#!/usr/bin/env python3
"""diff.py - sends the same bytes to varved and to Debian's redis-server and compares the replies.

    diff.py [--show] [FILE...]     files of redis-compat/commands; all of them by default

Each file runs twice against both servers, in RESP2 and in RESP3, from an empty database. Replies are
compared byte by byte, framing included, unless a line before the command says otherwise. `--show`
prints every reply of varved.

A file has one command a line, quoted as in redis-cli ("\\x00\\r\\n", 'as it is'); `#` begins a comment
line. Lines that begin with @ speak about the next command (several may stand before one):

    @known ID        the replies differ, for the reason that differences.md gives under ID
    @kinds           compare only the kinds of reply and how they nest, not their contents
    @fields          as @kinds, and of a bulk with `name=value` or `name:value` parts the names
    @mask A B ...    behind an element A or B any reply of its kind is right (HELLO's version)
    @near N          integers may differ by N
    @sorted          the order of the elements of the outermost array does not matter
    @resp2, @resp3   the command is for that protocol only

and these are steps by themselves:

    @on N            the following commands go to connection N (1 in the beginning)
    @wait MS         the following command waits so long (for an expiry, whose clock is the server's)
    @both            the following command is sent, and its replies are not compared
    !bytes           the quoted bytes are sent as they are on a connection of their own, then an ECHO;
                     compared is everything until the answer to that ECHO or the connection's end

Closes with `N passed, N failed`: a case is a command under one protocol. A @known that finds no
difference in a whole run has failed too, so the list cannot outlive what it excuses.
"""
import argparse
import glob
import os
import re
import sys
import time
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

RAW_TIMEOUT_S = 5.0
DEBUG = ("--enable-debug-command", "yes")
MARK = b"here ends what was asked"
MODIFIERS = {"known": 1, "kinds": 0, "fields": 0, "mask": None, "near": 1, "sorted": 0, "resp2": 0,
             "resp3": 0}
STEPS = {"on": 1, "wait": 1, "both": 0}

Step = namedtuple("Step", "line verb words options")


# ---- the files ----

def split_words(text):
    """The words of a line, quoted as in redis-cli; bytes."""
    words, at = [], 0
    escapes = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        quote = text[at] if text[at] in "\"'" else None
        at += quote is not None
        word = b""
        while at < len(text) and text[at] != (quote or " "):
            if quote == '"' and text[at] == "\\":
                following = text[at + 1]
                if following == "x":
                    word += bytes([int(text[at + 2:at + 4], 16)])
                    at += 4
                    continue
                word += escapes.get(following, following.encode())
                at += 2
                continue
            word += text[at].encode()
            at += 1
        at += quote is not None
        words.append(word)
    return words


def read_steps(path):
    steps, options = [], {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            where = f"{os.path.basename(path)}:{number}"
            if line.startswith("@"):
                word, *args = line[1:].split()
                known = MODIFIERS if word in MODIFIERS else STEPS
                if word not in known or known[word] not in (None, len(args)):
                    sys.exit(f"{where}: no such line: {line}")
                if word in MODIFIERS:
                    options[word] = args
                else:
                    steps.append(Step(where, word, args, {}))
                continue
            if line.startswith("!"):
                steps.append(Step(where, "raw", [b"".join(split_words(line[1:]))], options))
            else:
                steps.append(Step(where, "call", split_words(line), options))
            options = {}
    return steps


def read_differences():
    with open(os.path.join(HERE, "differences.md"), encoding="utf-8") as file:
        return set(re.findall(r"^\| `([\w-]+)` \|", file.read(), re.MULTILINE))


# ---- replies as trees: (kind, text) or (kind, [tree, ...]) ----

class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def line(self):
        end = self.data.index(b"\r\n", self.at)
        line = self.data[self.at:end]
        self.at = end + 2
        return line

    def tree(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if rest == b"-1" and kind in b"$*":
            return line, b""  # no value: not the same as the bulk string "-1"
        if kind in b"$=":
            text = self.data[self.at:self.at + int(rest)]
            self.at += int(rest) + 2
            return kind, text
        if kind in b"*~>%":
            count = int(rest) * (2 if kind == b"%" else 1)
            return kind, [self.tree() for _ in range(count)]
        return kind, rest


def names_in(text):
    return re.findall(rb"(?:^|[ \n])([\w-]+)[=:]", text)


def reduce(tree, options):
    """What is compared of a reply under these options."""
    kind, content = tree
    if isinstance(content, list):
        parts = [reduce(part, options) for part in content]
        masked = {name.encode() for name in options.get("mask", ())}
        for index in range(1, len(parts)):
            before = content[index - 1][1]
            if isinstance(before, bytes) and before in masked:
                parts[index] = (content[index][0], b"...")
        return kind, sorted(parts) if "sorted" in options else parts
    if "fields" in options and kind in b"$=":
        return kind, names_in(content)
    if "kinds" in options or "fields" in options:
        return kind, b"..."
    return tree


def is_near(ours, theirs, margin):
    if isinstance(ours[1], list) and isinstance(theirs[1], list):
        return len(ours[1]) == len(theirs[1]) and all(
            is_near(a, b, margin) for a, b in zip(ours[1], theirs[1]))
    if ours[0] == theirs[0] == b":":
        return abs(int(ours[1]) - int(theirs[1])) <= margin
    return ours == theirs


def same(ours, theirs, options):
    if not {"kinds", "fields", "mask", "near", "sorted"} & set(options):
        return ours == theirs
    try:
        trees = [reduce(Reader(data).tree(), options) for data in (ours, theirs)]
    except ValueError:
        return ours == theirs
    if "near" in options:
        return is_near(trees[0], trees[1], int(options["near"][0]))
    return trees[0] == trees[1]


# ---- the two servers ----

class Side:
    """One server and the connections of a file to it."""

    def __init__(self, server, protocol):
        self.server = server
        self.protocol = protocol
        self.connections = {}
        connection = self.connection(1)
        connection.call("FLUSHALL")

    def connection(self, number):
        if number not in self.connections:
            connection = self.server.connect()
            if self.protocol == 3:
                connection.call("HELLO", 3)
            self.connections[number] = connection
        return self.connections[number]

    def call(self, number, words):
        connection = self.connection(number)
        try:
            connection.send(*words)
            return connection.read_bytes()
        except resp.Broken as broken:
            connection.close()
            del self.connections[number]
            return b"<" + ended(str(broken)) + b">"

    def raw(self, data):
        """All that comes back until the ECHO or the end."""
        with self.server.connect(RAW_TIMEOUT_S) as connection:
            got = b""
            try:
                connection.send_raw(data + resp.encode("ECHO", MARK))
                while MARK not in got:
                    connection.fill()
                    got = bytes(connection.buffer)
            except resp.Broken as broken:
                got = bytes(connection.buffer) + b"<" + ended(str(broken)) + b">"
            return got

    def close(self):
        for connection in self.connections.values():
            connection.close()


def ended(why):
    """A reset is an end like another: which of the two a client sees hangs on what lay unread."""
    return why.encode() if "in time" in why else b"closed"


class Runner:
    def __init__(self, ours, theirs, options):
        self.servers = (ours, theirs)
        self.options = options
        self.tally = servers.Tally()
        self.known = read_differences()
        self.used = {}  # ID -> whether a difference was seen

    def run_file(self, path, protocol):
        sides = [Side(server, protocol) for server in self.servers]
        number, unchecked = 1, False
        for step in read_steps(path):
            if step.verb == "on":
                number = int(step.words[0])
            elif step.verb == "wait":
                time.sleep(int(step.words[0]) / 1000)
            elif step.verb == "both":
                unchecked = True
            elif f"resp{5 - protocol}" in step.options:
                continue
            else:
                replies = [side.raw(step.words[0]) if step.verb == "raw"
                           else side.call(number, step.words) for side in sides]
                if not unchecked:
                    self.judge(step, protocol, *replies)
                unchecked = False
        for side in sides:
            side.close()

    def judge(self, step, protocol, ours, theirs):
        name = f"{step.line} RESP{protocol} {b' '.join(step.words)[:120]!r}"
        if self.options.show:
            print(f"{name} -> {servers.shorten(ours)}")
        equal = same(ours, theirs, step.options)
        identity = step.options.get("known", [None])[0]
        if identity is not None:
            self.used[identity] = self.used.get(identity, False) or not equal
            equal = True
        if equal:
            self.tally.passed += 1
        else:
            self.tally.fail(name, f"\n    varve {cut(ours)}\n    redis {cut(theirs)}")

    def judge_differences(self, whole):
        for identity, differed in sorted(self.used.items()):
            if identity not in self.known:
                self.tally.fail(identity, "is not in differences.md")
            elif not differed:
                self.tally.fail(identity, "nothing differs any more: take it off the list")
        if whole:
            for identity in sorted(self.known - set(self.used)):
                self.tally.fail(identity, "is in differences.md, and no command shows it")


def cut(data):
    text = repr(data)
    return text if len(text) <= 1500 else f"{text[:1000]} ...({len(text)})... {text[-300:]}"


def main():
    parser = argparse.ArgumentParser(description="compare varved with redis-server")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--show", action="store_true", help="print each reply of varved")
    options = parser.parse_args()
    paths = options.files or sorted(glob.glob(os.path.join(HERE, "commands", "*.txt")))
    with servers.scratch("diff") as folder:
        os.mkdir(os.path.join(folder, "redis"))
        with servers.Server(folder, *DEBUG) as ours, \
                servers.redis_server(os.path.join(folder, "redis"), *DEBUG) as theirs:
            runner = Runner(ours, theirs, options)
            for path in paths:
                for protocol in (2, 3):
                    runner.run_file(path, protocol)
            runner.judge_differences(not options.files)
            runner.tally.run("varved leaves cleanly", ours.terminate)
    return runner.tally.close()


if __name__ == "__main__":
    sys.exit(main())
