"""source.py - what the checkers share: the files of the tree, and C text without its comments.

Used by check_layers.py, check_sizes.py and check_tree.py.
"""
import os
import re
import shutil
import subprocess

NOT_OURS = {".git", "node_modules", "__pycache__"}
NOT_OURS_ON_TOP = {"build", "data"}


def root():
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def list_files():
    """Paths of all files of the tree, relative to its root: what git tracks or would add. Where there
    is no git, or the tree is no clone: all that lies there but what is made by building and running."""
    top = root()
    if shutil.which("git") and os.path.exists(os.path.join(top, ".git")):
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=top, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if listing.returncode == 0:
            found = {path for path in listing.stdout.decode().split("\0") if path}
            return sorted(path for path in found if os.path.isfile(os.path.join(top, path)))
    found = []
    for folder, folders, names in os.walk(top):
        skipped = NOT_OURS | NOT_OURS_ON_TOP if folder == top else NOT_OURS
        folders[:] = [name for name in folders if name not in skipped]
        found += [os.path.relpath(os.path.join(folder, name), top) for name in names]
    return sorted(found)


def list_c_files():
    return [path for path in list_files()
            if path.endswith((".c", ".h")) and path.startswith(("src/", "include/", "tests/", "tools/"))]


def read(path):
    with open(os.path.join(root(), path), encoding="utf-8") as file:
        return file.read()


# A comment, a string, or a character constant; whichever begins first wins.
_TOKEN = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
                    re.DOTALL | re.VERBOSE)


def _blank(match):
    text = match.group(0)
    kept = re.sub(r"[^\n]", " ", text)
    if text[0] in "\"'":  # the quotes stay, so that an argument is still seen to be there
        kept = text[0] + kept[1:-1] + text[0]
    return kept


def strip_comments(text, strings=True):
    """C text with its comments, and what its strings hold, made blanks; lines stay where they are."""
    if strings:
        return _TOKEN.sub(_blank, text)
    return _TOKEN.sub(lambda m: m.group(0) if m.group(0)[0] in "\"'" else _blank(m), text)


def strip_directives(text):
    """C text with its preprocessor lines, continued ones included, made empty."""
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group(0).count("\n"), text,
                  flags=re.MULTILINE)


def finish(problems):
    """Prints what was found; the exit code."""
    for problem in problems:
        print(problem)
    return 1 if problems else 0
