#!/usr/bin/env python3
"""run.py - the library as an embedder gets it: installed, found by pkg-config, compiled against, run.

    run.py [NAME...]     all cases, or the named ones

Installs the build $VARVE_BUILD into a folder of its own. What is compiled here sees nothing of the
tree but tests/library/.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.environ.get("VARVE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get("VARVE_BUILD") or os.path.join(ROOT, "build", "release")
HERE = os.path.join(ROOT, "tests", "library")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
EXAMPLE_SAYS = "user:1: Barbara\nuser:3: there is none\nuser:1 = Ada\nuser:2 = Grace\n"
SYSTEM_LIBRARIES = {"libc", "ld-linux-x86-64", "ld-linux-aarch64", "libisal", "libsnappy",
                    "libmurmurhash", "liburcu-qsbr", "liburcu-common"}


def run(*argv, env=None, code=0):
    """Its output; fails unless it ends with that code."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, **(env or {})), timeout=120)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == code, f"{' '.join(argv)} ended with {done.returncode}:\n{text}"
    return text


class Installed:
    """What `meson install` made below one folder."""

    def __init__(self, top):
        self.stage = os.path.join(top, "stage")
        self.scratch = os.path.join(top, "scratch")
        os.mkdir(self.scratch)
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", self.stage)
        self.files = sorted(os.path.join(folder, name)
                            for folder, _, names in os.walk(self.stage) for name in names)
        self.shared = self.one(r"/libvarve\.so$")
        self.static = self.one(r"/libvarve\.a$")
        self.pc = self.one(r"/pkgconfig/varve\.pc$")
        self.headers = os.path.dirname(self.one(r"/include/varve/db\.h$"))

    def one(self, pattern):
        found = [path for path in self.files if re.search(pattern, path)]
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    def header_names(self):
        return sorted(os.listdir(self.headers))

    def pkg_config(self, *what, folder=None):
        env = {"PKG_CONFIG_PATH": folder or os.path.dirname(self.pc),
               "PKG_CONFIG_SYSROOT_DIR": self.stage}
        return run("pkg-config", *what, "varve", env=env).split()

    def out(self, name):
        return os.path.join(self.scratch, name)


def function_names(installed):
    """What the headers declare, but what they define themselves and members of structs."""
    names = set()
    for header in installed.header_names():
        with open(os.path.join(installed.headers, header), encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
        text = re.sub(r"static inline.*?\n}\n", "", text, flags=re.DOTALL)
        names.update(re.findall(r"^[a-z][\w *]*?\b(varve_\w+)\(", text, re.M))
    return names


def defined(*argv):
    """Names of symbols that nm prints, without their versions."""
    lines = [line.split() for line in run("nm", "--defined-only", *argv).splitlines()]
    return {line[2].split("@")[0] for line in lines if len(line) == 3}


def try_example(installed, binary, env=None):
    folder = tempfile.mkdtemp(dir=installed.scratch)
    for _ in range(2):  # the second time it is there already
        said = run(binary, os.path.join(folder, "db"), env=env)
        assert said == EXAMPLE_SAYS, said
    said = run(binary, "/dev/null/db", env=env, code=1)
    assert said.startswith("open /dev/null/db: "), said


# ---- cases ----

def case_installs_the_library_and_programs_and_nothing_else(installed):
    allowed = re.compile(r"/(include/varve/\w+\.h|bin/varve\w*|[\w/.-]*/libvarve\.(a|so[.\d]*)"
                         r"|[\w/.-]*/pkgconfig/varve\.pc|share/man/man\d/varve\w*\.\d)$")
    strange = [path for path in installed.files if not allowed.search(path)]
    assert not strange, strange
    in_tree = sorted(os.listdir(os.path.join(ROOT, "include", "varve")))
    assert installed.header_names() == in_tree, installed.header_names()


def case_the_shared_library_shows_what_the_headers_declare(installed):
    declared = function_names(installed)
    assert len(declared) > 60 and "varve_open" in declared, declared
    shown = defined("-D", installed.shared)
    assert shown == declared, f"not declared: {shown - declared}, not shown: {declared - shown}"


def case_the_archive_shows_what_the_headers_declare(installed):
    shown = defined("--extern-only", installed.static)
    declared = function_names(installed)
    assert shown == declared, f"not declared: {shown - declared}, not shown: {declared - shown}"


def case_the_shared_library_has_its_name_and_needs_only_its_own(installed):
    text = run("readelf", "-d", installed.shared)
    assert re.search(r"SONAME.*\[libvarve\.so\.0\]", text), text
    assert re.search(r"FLAGS_1.*\bNODELETE\b", text), text
    needed = {name.split(".so")[0] for name in re.findall(r"NEEDED.*\[(.*?)\]", text)}
    assert needed <= SYSTEM_LIBRARIES, needed - SYSTEM_LIBRARIES


def compilers(language):
    wanted = {"c": ("gcc", "clang"), "c++": ("g++", "clang++")}[language]
    return [compiler for compiler in wanted if shutil.which(compiler)]


def compile_alone(installed, language, standard, suffix):
    for header in installed.header_names():
        source = installed.out("alone" + suffix)
        with open(source, "w", encoding="utf-8") as file:
            file.write(f"#include <varve/{header}>\nextern int something;\n")
        for compiler in compilers(language):
            run(compiler, f"-std={standard}", *WARNINGS, "-fsyntax-only",
                *installed.pkg_config("--cflags"), source)


def case_each_header_alone_is_c11(installed):
    compile_alone(installed, "c", "c11", ".c")


def case_each_header_alone_is_cxx17(installed):
    assert compilers("c++"), "there is no C++ compiler"
    compile_alone(installed, "c++", "c++17", ".cc")


def case_a_cxx_program_links(installed):
    source = installed.out("program.cc")
    with open(source, "w", encoding="utf-8") as file:
        file.write("#include <varve/db.h>\n#include <varve/iter.h>\n#include <cstdio>\n"
                   "int main() {\n"
                   "    struct varve_slice key = varve_slice_str(\"key\");\n"
                   "    struct varve_batch *batch = varve_batch_create();\n"
                   "    int rc = varve_batch_put(batch, &key, 1, &key, 1, 0);\n"
                   "    std::printf(\"%s %d %d\\n\", varve_version(), rc,\n"
                   "                static_cast<int>(varve_batch_size(batch)));\n"
                   "    varve_batch_destroy(batch);\n"
                   "}\n")
    for compiler in compilers("c++"):
        binary = installed.out("program-" + compiler)
        run(compiler, "-std=c++17", *WARNINGS, source, "-o", binary,
            *installed.pkg_config("--cflags", "--libs"))
        said = run(binary, env={"LD_LIBRARY_PATH": os.path.dirname(installed.shared)})
        assert re.fullmatch(r"\d+\.\d+\.\d+ 0 6\n", said), said


def case_the_example_runs_with_the_shared_library(installed):
    binary = installed.out("example-shared")
    run("cc", "-std=c11", *WARNINGS, os.path.join(HERE, "example.c"), "-o", binary,
        *installed.pkg_config("--cflags", "--libs"))
    needed = run("readelf", "-d", binary)
    assert "[libvarve.so.0]" in needed and "snappy" not in needed, needed
    try_example(installed, binary, {"LD_LIBRARY_PATH": os.path.dirname(installed.shared)})


def static_only(installed):
    """The same package without its shared library: what pkg-config then names, with --static."""
    libdir = os.path.join(installed.stage, "static")
    if not os.path.isdir(libdir):
        os.mkdir(libdir)
        shutil.copy(installed.static, libdir)
        with open(installed.pc, encoding="utf-8") as file:
            text = re.sub(r"^libdir=.*", "libdir=/static", file.read(), flags=re.M)
        with open(os.path.join(libdir, "varve.pc"), "w", encoding="utf-8") as file:
            file.write(text)
    return libdir


def case_the_example_runs_with_the_static_library(installed):
    binary = installed.out("example-static")
    run("cc", "-std=c11", *WARNINGS, os.path.join(HERE, "example.c"), "-o", binary,
        *installed.pkg_config("--static", "--cflags", "--libs", folder=static_only(installed)))
    assert "libvarve" not in run("readelf", "-d", binary)
    try_example(installed, binary)


def archive_instead(word):
    """The word for the archive of a library, where the system has one."""
    name = f"lib{word[2:]}.a"
    if not word.startswith("-l") or word in ("-lvarve", "-lstdc++", "-lm"):
        return word
    there = os.path.isabs(run("cc", f"-print-file-name={name}").strip())
    return f"-l:{name}" if there else word


def case_what_the_library_needs_may_be_archives_too(installed):
    binary = installed.out("example-archives")
    words = [archive_instead(word) for word in
             installed.pkg_config("--static", "--cflags", "--libs", folder=static_only(installed))]
    assert "-l:libsnappy.a" in words, words
    run("cc", "-std=c11", *WARNINGS, os.path.join(HERE, "example.c"), "-o", binary, *words)
    assert "snappy" not in run("readelf", "-d", binary)
    try_example(installed, binary)


def case_names_of_the_embedder_do_not_meet_the_engines(installed):
    """mem_alloc and others are the engine's own inside the archive, and free outside of it."""
    source = installed.out("names.c")
    with open(source, "w", encoding="utf-8") as file:
        for name in ("mem_alloc", "mutex_lock", "thread_start", "err_set", "rcu_enter"):
            file.write(f"void {name}(void);\nvoid {name}(void)\n{{\n    __builtin_trap();\n}}\n")
    flags = {"shared": installed.pkg_config("--cflags", "--libs"),
             "static": installed.pkg_config("--static", "--cflags", "--libs",
                                            folder=static_only(installed))}
    for how, words in flags.items():
        binary = installed.out("names-" + how)
        run("cc", "-std=c11", *WARNINGS, "-rdynamic", os.path.join(HERE, "example.c"), source, "-o",
            binary, *words)
        try_example(installed, binary, {"LD_LIBRARY_PATH": os.path.dirname(installed.shared)})


def main():
    cases = {name[len("case_"):]: case for name, case in globals().items()
             if name.startswith("case_")}
    chosen = sys.argv[1:] or list(cases)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="varve-library-") as top:
        installed = Installed(top)
        for name in chosen:
            try:
                cases[name](installed)
                print(f"ok      {name}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"FAILED  {name}\n{error}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
