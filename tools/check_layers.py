"""check_layers.py - holds src/layers.txt: which folder includes which.

Prints a line a violation and exits with 1 if there is one. Also: third-party headers only where
layers.txt says so, nothing but server/ (and its own tests) includes server/, and the C allocator is
called in src/base/mem.c alone.
"""
import re
import sys

import source

LAYERS = "src/layers.txt"
ALLOCATOR_HOME = "src/base/mem.c"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
ALLOCATOR = re.compile(
    r"(?<![\w.])(?<!->)(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf"
    r"|aligned_alloc|posix_memalign|memalign|getline|getdelim|open_memstream)\s*\(")

# What needs no line in layers.txt: C11, POSIX and Linux.
SYSTEM = set("""
assert ctype errno float inttypes limits locale malloc math setjmp signal stdalign stdarg stdatomic
stdbool stddef stdint stdio stdlib stdnoreturn string strings time
arpa/inet dirent dlfcn endian execinfo fcntl fnmatch getopt glob grp libgen netdb netinet/in
netinet/tcp poll pthread pwd sched semaphore spawn strings syslog termios ucontext unistd
sys/epoll sys/eventfd sys/file sys/ioctl sys/mman sys/param sys/prctl sys/random sys/resource
sys/select sys/signalfd sys/socket sys/stat sys/statfs sys/statvfs sys/syscall sys/sysinfo
sys/sysmacros sys/time sys/timerfd sys/times sys/types sys/uio sys/un sys/utsname sys/vfs sys/wait
immintrin nmmintrin x86intrin cpuid arm_acle arm_neon
linux/falloc linux/fs linux/futex linux/limits linux/magic
""".split())


def read_layers():
    """The folders' allowed folders, and the third-party headers' allowed folders."""
    layers, third_party = {}, {}
    for line in source.read(LAYERS).splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, allowed = line.partition(":")
        words = name.split()
        if words[0] == "third-party":
            third_party[words[1]] = allowed.split()
        else:
            layers[name.strip()] = allowed.split()
    return layers, third_party


def folder_of(path):
    """The layer that a file belongs to; None for the tests."""
    parts = path.split("/")
    if parts[0] == "include":
        return parts[1]
    if parts[0] == "tools":
        return "tools"
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else ""
    return None


def check_own(path, folder, included, layers):
    target = included.split("/")[0] if "/" in included else None
    if target == "server" and folder != "server" and not path.startswith("tests/unit/server/"):
        return "includes server/, which only server may"
    if folder is None:
        return None
    if target is None and folder == "tools":
        return None
    if target is None:
        return f'"{included}" does not name its folder'
    if target not in layers:
        return f'"{included}" is in no folder of {LAYERS}'
    if target not in layers[folder]:
        return f'{folder} may not include {target} ("{included}")'
    return None


def check_foreign(folder, included, third_party):
    if folder is None:
        return None
    if included in third_party:
        if folder not in third_party[included]:
            return f"<{included}> is only for {', '.join(third_party[included])}"
        return None
    if included.removesuffix(".h") not in SYSTEM:
        return f"<{included}> is neither the system's nor a third-party line of {LAYERS}"
    return None


def check_file(path, layers, third_party):
    folder = folder_of(path)
    if folder is not None and folder not in layers:
        yield f"{path}: lies in no folder of {LAYERS}"
        return
    text = source.read(path)
    code = source.strip_comments(text, strings=False)
    for match in INCLUDE.finditer(code):
        quote, included = match.groups()
        if quote == '"' or included.startswith("varve/"):
            problem = check_own(path, folder, included, layers)
        else:
            problem = check_foreign(folder, included, third_party)
        if problem:
            yield f"{path}:{code.count(chr(10), 0, match.start(2)) + 1}: {problem}"
    if folder is None or path == ALLOCATOR_HOME:
        return
    code = source.strip_comments(text)
    for match in ALLOCATOR.finditer(code):
        line = code.count("\n", 0, match.start(1)) + 1
        yield f"{path}:{line}: {match.group(1)}() is called in {ALLOCATOR_HOME} alone (base/mem.h)"


def main():
    layers, third_party = read_layers()
    problems = []
    for path in source.list_c_files():
        problems += check_file(path, layers, third_party)
    return source.finish(problems)


if __name__ == "__main__":
    sys.exit(main())
