"""redis_source.py - the source of Debian's redis package, fetched when a run needs its tests.

apt-get fetches and checks it (signatures and sums are apt's) with lists of its own, so that neither
root nor a change of the system's sources is needed. The tree lies in a cache folder outside of any
clone, is written once and is never changed after that: who runs in it runs in a copy.
"""
import glob
import os
import re
import shutil
import subprocess
import tempfile

FETCH_TIMEOUT_S = 240  # of one step;
SILENCE_S = 15         # of a server, after which apt gives up


class NoSource(Exception):
    """Why there is none."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "varve-suites")


def run(argv, folder):
    try:
        done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=FETCH_TIMEOUT_S)
    except FileNotFoundError:
        raise NoSource(f"{argv[0]} is not installed (tools/packages suites)") from None
    except subprocess.TimeoutExpired:
        raise NoSource(f"{argv[0]}: no answer in {FETCH_TIMEOUT_S} s") from None
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise NoSource(f"{' '.join(argv[:2])} failed: {' | '.join(text.strip().split(chr(10))[-3:])}")
    return text


def source_lines(folder):
    """The system's Debian sources, said again for source packages."""
    form = "$(ORIGIN)|$(SITE)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)"
    lines = set()
    for row in run(["apt-get", "indextargets", "--format", form], folder).splitlines():
        origin, _, uri, release, component, made_by = (row.split("|") + [""] * 6)[:6]
        if origin == "Debian" and made_by == "Packages":
            lines.add(f"deb-src {uri} {release} {component}\n")
    if not lines:
        raise NoSource("apt has no lists of Debian's packages (apt-get update)")
    return sorted(lines)


def fetch(place):
    """Fetches and unpacks into place, which appears whole or not at all."""
    os.makedirs(os.path.dirname(place), exist_ok=True)
    folder = tempfile.mkdtemp(prefix="fetch-", dir=os.path.dirname(place))
    try:
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, "sources.list"), "w", encoding="utf-8") as file:
            file.writelines(source_lines(folder))
        settings = ["-o", f"Dir::Etc::sourcelist={folder}/sources.list",
                    "-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={folder}/lists",
                    "-o", f"Dir::Cache={folder}/cache", "-o", "APT::Sandbox::User=root",
                    "-o", f"Acquire::http::Timeout={SILENCE_S}",
                    "-o", f"Acquire::https::Timeout={SILENCE_S}", "-o", "Acquire::Retries=1"]
        run(["apt-get", "-q", *settings, "update"], folder)
        run(["apt-get", "-q", *settings, "source", "--download-only", "redis"], folder)
        description = glob.glob(os.path.join(folder, "redis_*.dsc"))
        if len(description) != 1:
            raise NoSource("apt-get source brought no redis_*.dsc")
        run(["dpkg-source", "--no-check", "-x", description[0], "tree"], folder)
        try:
            os.rename(os.path.join(folder, "tree"), place)
        except OSError:
            if not os.path.isdir(place):  # else another run was faster
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_version():
    text = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE,
                          check=True).stdout.decode()
    return re.search(r"v=([\d.]+)", text).group(1)


def tree():
    """The unpacked source; NoSource says why there is none."""
    place = os.path.join(cache_folder(), f"redis-{server_version()}")
    if not os.path.isdir(place):
        try:
            fetch(place)
        except OSError as error:
            raise NoSource(f"{place}: {error.strerror}") from None
    return place
