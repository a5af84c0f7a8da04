"""check_tree.py - what must not be in the tree.

    check_tree.py names   at the top level lies what belongs there and nothing else
    check_tree.py text    no path of somebody's machine, no note of work left undone, no tab in C, no
                          blanks at a line's end, a newline at a file's end

Prints a line a violation and exits with 1 if there is one.
"""
import re
import sys

import source

TOP_LEVEL = {"meson.build", "meson_options.txt", "README.md", "LICENSE", "CHANGELOG.md", "src",
             "include", "tests", "tools", "redis-compat"}
# Bytes that are the test: left as they are.
DATA = re.compile(r"^tests/(golden|regress|corpus|fuzz/corpus|fuzz/[\w-]+/)")
MACHINE_PATH = re.compile(r"(?<![\w./}\-])/(?:work|root|farm|(?:home|Users)/\w+)(?:/|\b(?![\w/]))")
UNDONE = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b")


def check_names():
    tops = {path.split("/")[0] for path in source.list_files()}
    for name in sorted(tops):
        if name not in TOP_LEVEL and not name.startswith("."):
            yield f"{name}: does not belong at the top level"


def check_line(path, line):
    match = MACHINE_PATH.search(line)
    if match:
        yield f"a path of one machine: {match.group(0)}"
    match = UNDONE.search(line)
    if match:
        yield f"work left undone: {match.group(0)}"
    if line != line.rstrip():
        yield "blanks at the line's end"
    if "\t" in line and path.endswith((".c", ".h", ".def", ".py")):
        yield "a tab"


def check_text():
    for path in source.list_files():
        if DATA.match(path):
            continue
        try:
            text = source.read(path)
        except UnicodeDecodeError:
            yield f"{path}: is no UTF-8 text (bytes that are a test lie in tests/golden or a corpus)"
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for problem in check_line(path, line):
                yield f"{path}:{number}: {problem}"
        if text and not text.endswith("\n"):
            yield f"{path}: has no newline at its end"


CHECKS = {"names": check_names, "text": check_text}

if __name__ == "__main__":
    sys.exit(source.finish(list(CHECKS[sys.argv[1]]())))
