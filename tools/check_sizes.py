"""check_sizes.py - functions of at most 70 lines and 3 nested blocks, files of at most 800 lines.

Prints a line a violation and exits with 1 if there is one; `--largest` prints the ten longest
functions and files instead.

A function begins at the first line of its signature and ends at the `}` in column 0; clang-format
sees to it that its `{` stands alone in column 0. A nested block is a `{}` inside the body, or a
loop or condition without braces that holds another one. `else if` goes on with its `if`;
initialisers and macro definitions are no blocks. Tables (*.def) are exempt.
"""
import re
import sys

import source

FUNCTION_MAX_LINES = 70
NESTING_MAX = 3
FILE_MAX_LINES = 800

TOKEN = re.compile(r"\w+|\S")
SIGNATURE_END = re.compile(r"(^|[;}:])\s*$")
CONTROL = {"if", "for", "while", "switch", "do"}
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Body:
    """Walks the statements of one function body and remembers the deepest block."""

    def __init__(self, tokens):
        self.tokens = tokens  # (text, line)
        self.at = 0
        self.deepest = (0, 0)  # depth, line

    def peek(self, ahead=0):
        place = self.at + ahead
        return self.tokens[place][0] if place < len(self.tokens) else None

    def enter(self, depth):
        if depth > self.deepest[0]:
            self.deepest = (depth, self.tokens[self.at][1])

    def skip_group(self):
        """From an opening bracket to behind its closing one."""
        closers = []
        while self.peek() is not None:
            text = self.peek()
            self.at += 1
            if text in CLOSING:
                closers.append(CLOSING[text])
            elif closers and text == closers[-1]:
                closers.pop()
                if not closers:
                    return

    def skip_to(self, end):
        while self.peek() is not None and self.peek() != end:
            if self.peek() in CLOSING:
                self.skip_group()
            elif self.peek() == "}":
                return
            else:
                self.at += 1
        if self.peek() == end:
            self.at += 1

    def is_control(self):
        """A keyword, or a loop macro: a name, brackets, and then no operator."""
        if self.peek() in CONTROL:
            return True
        if not re.match(r"[A-Za-z_]\w*$", self.peek() or "") or self.peek(1) != "(":
            return False
        start = self.at
        self.at += 1
        self.skip_group()
        behind = self.peek()
        self.at = start
        return behind == "{"

    def block(self, depth):
        self.at += 1
        while self.peek() not in (None, "}"):
            self.statement(depth)
        self.at += 1

    def inner(self, depth):
        """What a condition or a loop holds; depth is that of the holder's surroundings."""
        if self.peek() == "{":
            self.enter(depth + 1)
            self.block(depth + 1)
        elif self.peek() is not None and self.is_control():
            self.enter(depth + 1)
            self.statement(depth + 1)
        else:
            self.statement(depth)

    def control(self, depth):
        word = self.peek()
        self.at += 1
        if word == "do":
            self.inner(depth)
            self.skip_to(";")
            return
        if self.peek() == "(":
            self.skip_group()
        self.inner(depth)
        if word == "if" and self.peek() == "else":
            self.at += 1
            if self.peek() == "if":
                self.control(depth)
            else:
                self.inner(depth)

    def statement(self, depth):
        text = self.peek()
        if text == "{":
            self.enter(depth + 1)
            self.block(depth + 1)
        elif text in ("case", "default"):
            self.skip_to(":")
        elif self.peek(1) == ":" and re.match(r"[A-Za-z_]\w*$", text):
            self.at += 2
        elif self.is_control():
            self.control(depth)
        else:
            self.skip_to(";")


def find_functions(code):
    """Yields name, first line, last line (from 1) and the deepest block's depth and line."""
    lines = code.split("\n")
    at = 0
    while at < len(lines):
        if lines[at].rstrip() != "{":
            at += 1
            continue
        first = at
        while first > 0 and not SIGNATURE_END.search(lines[first - 1]):
            first -= 1
        last = at
        while last + 1 < len(lines) and not lines[last].startswith("}"):
            last += 1
        tokens = [(match.group(0), number + 1) for number in range(at + 1, last)
                  for match in TOKEN.finditer(lines[number])]
        body = Body(tokens)
        while body.peek() is not None:
            before = body.at
            body.statement(0)
            if body.at == before or body.peek() == "}":
                body.at += 1
        name = re.search(r"(\w+)\s*\(", " ".join(lines[first:at + 1]))
        yield name.group(1) if name else "?", first + 1, last + 1, body.deepest
        at = last + 1


def measure():
    files, functions = [], []
    for path in source.list_files():
        if not path.startswith(("src/", "include/", "tests/", "tools/")):
            continue
        if not path.endswith((".c", ".h", ".py", ".sh")):
            continue
        text = source.read(path)
        files.append((text.count("\n"), path))
        if path.endswith((".c", ".h")):
            code = source.strip_directives(source.strip_comments(text))
            for name, first, last, deepest in find_functions(code):
                functions.append((last - first + 1, path, first, name, deepest))
    return files, functions


def main():
    files, functions = measure()
    if "--largest" in sys.argv[1:]:
        for lines, path in sorted(files, reverse=True)[:10]:
            print(f"{lines:5} {path}")
        for lines, path, first, name, deepest in sorted(functions, reverse=True)[:10]:
            print(f"{lines:5} {path}:{first}: {name}, {deepest[0]} blocks deep")
        return 0
    problems = [f"{path}: {lines} lines, {FILE_MAX_LINES} are allowed"
                for lines, path in files if lines > FILE_MAX_LINES]
    for lines, path, first, name, (depth, line) in functions:
        if lines > FUNCTION_MAX_LINES:
            problems.append(
                f"{path}:{first}: {name}() has {lines} lines, {FUNCTION_MAX_LINES} are allowed")
        if depth > NESTING_MAX:
            problems.append(f"{path}:{line}: {name}() is {depth} blocks deep,"
                            f" {NESTING_MAX} are allowed")
    return source.finish(problems)


if __name__ == "__main__":
    sys.exit(main())
