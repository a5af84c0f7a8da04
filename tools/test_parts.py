"""test_parts.py - finds the parts of the test suite, builds what they need, runs and counts them.

Called by tools/test. A part is a suite of meson tests, a program of its own (PARTS below), or both.
A meson test belongs to the part of its first suite; those that are in `threads` as well run a second
time, under ThreadSanitizer. Cases are counted from what a test prints: cmocka's closing lines, or
the last `N passed, N failed`; a test that prints neither is one case. One that exits with 77 and says
`skipped: WHY` cannot run here, which is a failure only if its part was named. What campaigns say of themselves,
`figures: NAME, seed N: ...`, is shown with the part, and --figures makes a table of it.
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import source

ROOT = source.root()
LOGS = os.path.join(ROOT, "build", "test-logs")
WORKERS = os.cpu_count() or 2
SHOWN_LINES = 300
SKIPPED = 77
USAGE = "usage: tools/test [--list | [--figures FILE] PART[/TEXT]... [-- ARG...]]"
TIMEOUT_FACTOR = 4  # meson's time limits are for builds without sanitizers and idle machines
SCRIPT_TIMEOUT_S = 1800

# build: of the meson suite and of the program. program: the first of these that is there; a .c is
# run as the executable that the build made of it. args: its arguments. on_request: it runs only when
# it is named, and what it says is a report that is shown.
Part = namedtuple("Part", "name build what program args packages on_request",
                  defaults=((), (), (), False))
PARTS = (
    Part("check", None, "tools/check sees what it is for", ("tools/check",), ("--self-test",)),
    Part("unit", "asan", "each module by itself"),
    Part("property", "asan", "random operations against a model"),
    Part("model", "mutants", "random operations on the engine against an oracle",
         ("tests/model/model.c",)),
    Part("iofail", "asan", "each call to the disk fails, in every way",
         ("tests/fault/iofail.c",)),
    Part("oom", "asan", "each allocation fails, once and from then on", ("tests/fault/oom.c",)),
    Part("threads", "tsan", "the threaded tests under ThreadSanitizer"),
    Part("race", "asan", "a writer, readers and jobs on threads; under ThreadSanitizer in `threads`"),
    Part("fuzz", "fuzz", "the fuzz targets over their corpora and a little more"),
    Part("golden", "asan", "data directories of earlier builds are read as they were written",
         ("tests/golden/run", "tests/golden/run.py")),
    Part("powercut", "asan", "the state after a power cut at any moment is one that was promised",
         ("tests/crash/powercut.c", "tests/crash/powercut.py")),
    Part("kill9", "asan", "what clients were told is there after kill -9",
         ("tests/crash/kill9.py", "tests/crash/kill9.c"), ("--seed", "1")),
    Part("storm", "release", "clients of every bad kind, and well-behaved ones beside them",
         ("tests/storm/storm.py",)),
    Part("waits", "release", "the loop never waits for a disk that is slow",
         ("tests/waits/waits.py",)),
    Part("bitrot", "asan", "damage anywhere gives the true value or an error that says where",
         ("tests/crash/bitrot.c",)),
    Part("full", "release", "a small disk fills and is freed, over and over",
         ("tests/bench/full.py",), ("--size", "48mb")),
    Part("same", "asan", "the same seed is the same run", ("tests/support/same.py",)),
    Part("mutants", "mutants", "planted bugs are caught by their campaigns",
         ("tests/mutants/run", "tests/mutants/run.py")),
    Part("library", "release", "libvarve as an embedder gets it: installed, linked, run",
         ("tests/library/run", "tests/library/run.py")),
    Part("bench", "release", "varve-bench: all workloads on all engines, small; its answers are checked",
         ("tests/bench/varve_bench/smoke.py",)),
    Part("integration", "asan", "the server with redis-cli, hiredis and redis-py",
         ("tests/integration/run", "tests/integration/run.py")),
    Part("tool", "asan", "varve, the admin tool, on directories of a real server",
         ("tests/tool/run.py",)),
    Part("clients", "release", "client libraries and programs, redis-cli's modes, redis_exporter",
         ("redis-compat/smoke.py",), (), ("clients",)),
    Part("suites", "release", "Redis's own test suite, from Debian's source package",
         ("redis-compat/suites.py",), (), ("suites",)),
    Part("coverage", "coverage", "lines and branches that the tests reach; only when it is named",
         ("tools/coverage.py",), (), ("coverage",), True),
)

SANITIZERS = {
    "ASAN_OPTIONS": "halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1:"
                    "strict_string_checks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}

Job = namedtuple("Job", "label argv env folder timeout_s alone")
Running = namedtuple("Running", "job process log log_path began")
# skipped: why it cannot run here, "" if it can.
Result = namedtuple("Result", "job passed failed log_path figures skipped")
Figure = namedtuple("Figure", "campaign seed text part cpu_s")  # cpu_s: of the whole part


# ---- what there is ----

def suites_in_tree():
    """The suites that come first for a test in the meson.build files under tests/, and `threads`."""
    found = set()
    for path in source.list_files():
        if path.startswith("tests/") and path.endswith("meson.build"):
            for match in re.finditer(r"\bsuite\s*:\s*(\[[^\]]*\]|'[^']*')", source.read(path)):
                suites = re.findall(r"'([^']+)'", match.group(1))
                found.update(suites[:1] + [name for name in suites if name == "threads"])
    return found


def program_of(part):
    for path in part.program:
        if os.path.isfile(os.path.join(ROOT, path)):
            return path
    return None


def find_parts():
    suites = suites_in_tree()
    parts = [part for part in PARTS if part.name in suites or program_of(part)]
    known = {part.name for part in PARTS}
    return parts + [Part(name, "asan", "the meson suite of that name")
                    for name in sorted(suites - known)]


def test_env(build):
    env = dict(os.environ, VARVE_ROOT=ROOT, PYTHONDONTWRITEBYTECODE="1", **SANITIZERS)
    if build:
        env["VARVE_BUILD"] = os.path.join(ROOT, "build", build)
        env["VARVED"] = os.path.join(env["VARVE_BUILD"], "varved")
    return env


def meson_jobs(build, part_name, first_suite_only, text, more_args):
    """The tests of one build that belong to a part."""
    listing = subprocess.run(["meson", "introspect", "--tests", os.path.join(ROOT, "build", build)],
                             check=True, stdout=subprocess.PIPE).stdout
    jobs = []
    for test in json.loads(listing):
        suites = [suite.split(":", 1)[1] for suite in test["suite"] if ":" in suite]
        mine = suites[:1] if first_suite_only else suites
        if part_name not in mine or text not in test["name"]:
            continue
        env = dict(test_env(build), **test["env"])
        limit_s = test["timeout"] * TIMEOUT_FACTOR if test["timeout"] > 0 else SCRIPT_TIMEOUT_S
        argv = no_layout_change(build) + test["cmd"] + more_args
        jobs.append(Job(f"{build}:{test['name']}", argv, env, test["workdir"] or ROOT,
                        time_limit(limit_s, more_args), not test["is_parallel"]))
    return jobs


def time_limit(limit_s, more_args):
    """Who hands a test arguments knows how long it may take."""
    return float("inf") if more_args else limit_s


def no_layout_change(build):
    """ThreadSanitizer of GCC 12 does not start where the kernel randomises addresses widely."""
    personality = shutil.which("setarch")
    if build != "tsan" or personality is None:
        return []
    tried = subprocess.run([personality, "-R", "true"], stderr=subprocess.DEVNULL)
    return [personality, "-R"] if tried.returncode == 0 else []


def program_job(part, path, more_args):
    file = os.path.join(ROOT, path)
    if path.endswith(".c"):
        argv = [os.path.join(ROOT, "build", part.build, path[:-2])]
    elif path.endswith(".py"):
        argv = [sys.executable, file]
    else:
        argv = [file]
    return Job(path, argv + list(part.args) + more_args, test_env(part.build), ROOT,
               time_limit(SCRIPT_TIMEOUT_S, more_args), True)


def jobs_of(part, text, more_args):
    jobs = []
    if part.name == "threads" and part.build == "tsan":
        jobs += meson_jobs("asan", part.name, True, text, more_args)
        jobs += meson_jobs("tsan", part.name, False, text, more_args)
    elif part.build:
        jobs += meson_jobs(part.build, part.name, True, text, more_args)
    program = program_of(part)
    if program and not text:
        jobs.append(program_job(part, program, more_args))
    return jobs


def builds_of(part):
    if part.name == "threads":
        return ["asan", "tsan"]
    return [part.build] if part.build else []


# ---- running ----

def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text[:shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()


def last_line(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 400))
        lines = re.split(rb"[\r\n]+", file.read().rstrip())
    return lines[-1].decode(errors="replace")


def start(job, folder):
    log_path = os.path.join(folder, re.sub(r"[^\w.-]+", "-", job.label) + ".log")
    log = open(log_path, "wb")
    try:
        process = subprocess.Popen(job.argv, cwd=job.folder, env=job.env, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        log.write(f"cannot start {job.argv[0]}: {error.strerror}\n".encode())
        process = None
    return Running(job, process, log, log_path, time.monotonic())


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def read_log(log_path):
    with open(log_path, encoding="utf-8", errors="replace") as file:
        return file.read()


def figures_of(job, text):
    """What a campaign says of itself: [(name, seed, text)]; under ThreadSanitizer the name says so."""
    under = " (tsan)" if job.label.startswith("tsan:") else ""
    return [(name + under, seed, rest.strip()) for name, seed, rest in
            re.findall(r"^figures: ([\w -]+), seed (\d+): (.*)$", text, re.M)]


def count_cases(text, exit_code):
    closing = re.findall(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$", text,
                         re.M)
    cmocka = re.findall(r"^\[  (PASSED|FAILED|SKIPPED) +\] (\d+) test\(s\)", text, re.M)
    if cmocka:
        passed = sum(int(cases) for verdict, cases in cmocka if verdict == "PASSED")
        failed = sum(int(cases) for verdict, cases in cmocka if verdict != "PASSED")
    elif closing:
        passed, failed, skipped = (int(cases or 0) for cases in closing[-1])
        failed += skipped
    else:
        passed, failed = (1, 0) if exit_code == 0 else (0, 1)
    if failed == 0 and (exit_code != 0 or passed == 0):
        failed = 1
    return passed, failed


def end(running):
    """The result of a job that has ended or has had its time; None while it runs."""
    exit_code = -1
    if running.process is not None:
        exit_code = running.process.poll()
        took_s = time.monotonic() - running.began
        if exit_code is None and took_s < running.job.timeout_s:
            return None
        kill_group(running.process)  # what it left behind as well
        if exit_code is None:
            exit_code = -1
            running.log.write(f"\nkilled: still running after {took_s:.0f} s\n".encode())
        elif exit_code < 0:
            running.log.write(f"\nended by signal {-exit_code}\n".encode())
    running.log.close()
    text = read_log(running.log_path)
    skipped = re.findall(r"^skipped: (.*)$", text, re.M) if exit_code == SKIPPED else []
    passed, failed = (0, 0) if skipped else count_cases(text, exit_code)
    return Result(running.job, passed, failed, running.log_path, figures_of(running.job, text),
                  "".join(skipped[-1:]))


def run_jobs(part, jobs):
    """Runs the jobs, as many at once as there are cores; those that want to be alone come last."""
    folder = os.path.join(LOGS, part.name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    waiting = sorted(jobs, key=lambda job: job.alone)
    running, results = [], []
    try:
        while waiting or running:
            while waiting and len(running) < (1 if waiting[0].alone else WORKERS):
                running.append(start(waiting.pop(0), folder))
            for one in list(running):
                result = end(one)
                if result is not None:
                    running.remove(one)
                    results.append(result)
            if running:
                progress(f"{part.name} {len(results)}/{len(jobs)}"
                         f" {time.monotonic() - running[0].began:.0f} s {running[0].job.label}:"
                         f" {last_line(running[0].log_path)}")
                time.sleep(0.02)
    finally:
        for one in running:
            if one.process is not None:
                kill_group(one.process)
    progress("")
    return results


# ---- telling ----

def show_failure(result):
    lines = read_log(result.log_path).splitlines()
    print(f"---- {result.job.label}: {' '.join(result.job.argv)}")
    if len(lines) > SHOWN_LINES:
        print(f"     ({len(lines) - SHOWN_LINES} lines before these: {result.log_path})")
    for line in lines[-SHOWN_LINES:]:
        print("  | " + line)


def show_report(result):
    with open(result.log_path, encoding="utf-8", errors="replace") as file:
        print(file.read(), end="", flush=True)


def tell(part_name, passed, failed, took_s, note=""):
    verdict = "FAILED" if failed else "ok    " if passed else "-     "
    print(f"{verdict}  {part_name:<12} {passed + failed:6} cases  {took_s:7.1f} s{note}", flush=True)


def cpu_now_s():
    """Of all that was started and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commit():
    """Of the clone, as short as git makes it; with what was changed since."""
    said = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return said.stdout.strip() or "unknown"


def write_figures(path, figures):
    """A Markdown table. The time is that of the part, told where it is first named."""
    lines = ["| campaign | figure | seed | commit | CPU-minutes |", "|---|---|---|---|---|"]
    of, told = commit(), set()
    for figure in figures:
        minutes = "" if figure.part in told else f"{figure.cpu_s / 60:.1f}"
        told.add(figure.part)
        text = figure.text.replace("|", "\\|")
        lines.append(f"| {figure.campaign} | {text} | {figure.seed} | {of} | {minutes} |")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def build(name):
    began = time.monotonic()
    progress(f"building {name} ...")
    made = subprocess.run([os.path.join(ROOT, "tools", "build"), name], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    progress("")
    took_s = time.monotonic() - began
    if made.returncode == 0:
        print(f"built   {name:<12} {'':12}  {took_s:7.1f} s", flush=True)
        return True
    print(made.stdout.decode(errors="replace"))
    print(f"FAILED  to build {name}", flush=True)
    return False


def run_part(part, jobs, named):
    """Runs a part's jobs, whose builds are there; its passed and failed cases and its figures."""
    began, cpu_before_s = time.monotonic(), cpu_now_s()
    results = run_jobs(part, jobs)
    if named:
        results = [result._replace(failed=1) if result.skipped else result for result in results]
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if not jobs:
        failed = 1
    cpu_s = cpu_now_s() - cpu_before_s
    skipped = "".join(f"  skipped: {result.skipped}" for result in results if result.skipped)
    tell(part.name, passed, failed, time.monotonic() - began,
         skipped or (f"  {cpu_s:7.1f} s of CPU" if jobs else "  no such test"))
    figures = [Figure(*figure, part.name, cpu_s) for result in results for figure in result.figures]
    for figure in figures:
        print(f"        {figure.campaign}, seed {figure.seed}: {figure.text}", flush=True)
    for result in results:
        if part.on_request:
            show_report(result)
        elif result.failed:
            show_failure(result)
    return passed, failed, figures


def split_args(args):
    """What stands before `--`, and what stands behind it."""
    if "--" not in args:
        return args, []
    return args[:args.index("--")], args[args.index("--") + 1:]


def take_figures_path(args):
    """Takes `--figures FILE` out of the arguments; None if it is not there."""
    if "--figures" not in args:
        return None
    at = args.index("--figures")
    if at + 1 == len(args):
        sys.exit(USAGE)
    path = os.path.abspath(args[at + 1])
    del args[at:at + 2]
    return path


def choose(parts, args):
    """The parts to run, each with the text that its tests' names must contain."""
    by_name = {part.name: part for part in parts}
    chosen = []
    for arg in args:
        name, _, text = arg.partition("/")
        if name not in by_name:
            sys.exit(f"test: there is no part '{name}'; there are: {' '.join(by_name)}")
        chosen.append((by_name[name], text))
    return chosen or [(part, "") for part in parts if not part.on_request]


def main():
    parts = find_parts()
    args, more_args = split_args(sys.argv[1:])
    figures_path = take_figures_path(args)
    if args == ["--list"]:
        for part in parts:
            print(f"{part.name:<12} {part.what}")
        return 0
    if any(arg.startswith("-") for arg in args):
        sys.exit(USAGE)
    chosen = choose(parts, args)
    built, figures = {}, []
    passed = failed = 0
    for part, text in chosen:
        for name in builds_of(part):
            if name not in built:
                built[name] = build(name)
                failed += not built[name]
        if all(built[name] for name in builds_of(part)):
            if part.packages:
                subprocess.run([os.path.join(ROOT, "tools", "packages"), *part.packages],
                               check=False)
            cases = run_part(part, jobs_of(part, text, more_args), bool(args))
            passed += cases[0]
            failed += cases[1]
            figures += cases[2]
        else:
            print(f"FAILED  {part.name:<12} not run: its build failed", flush=True)
    if figures_path:
        write_figures(figures_path, figures)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # not before what was started has been ended
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
