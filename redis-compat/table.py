#!/usr/bin/env python3
"""table.py - the commands of Redis 7.0.15 beside varve's: commands.csv, and README.md's table.

    table.py             asks both servers and writes commands.csv and the table in README.md
    table.py --check     writes nothing; fails where the two are not what it would write

Either way it compares what COMMAND says of each command that both have: arity, flags, key positions,
ACL categories, tips and key specifications, and what GETKEYSANDFLAGS says of calls of it. A deviation must stand in EXPLAINED with an ID that
differences.md explains, and what stands there must still deviate. Closes with `N passed, N failed`: a
case is a command that both have, and each file that is checked.

The columns of commands.csv: the command; its group and since when Redis has it; varve: yes, partly (a
command without some of its subcommands) or no; since: the version of varve that had it first, kept from the
file as it was, or the wave in which it is due; then what covers it: files of commands/ (diff), the
random sequences (random), files of Redis's suite (tcl), files of tests/unit (unit).
"""
import argparse
import csv
import glob
import io
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import diff  # noqa: E402
import random_commands  # noqa: E402
import server as servers  # noqa: E402

CSV = os.path.join(HERE, "commands.csv")
README = os.path.join(HERE, "README.md")
COLUMNS = ("command", "group", "redis", "varve", "since", "diff", "random", "tcl", "unit")
FIELDS = ("arity", "flags", "first key", "last key", "key step", "ACL categories", "tips",
          "key specifications")
CALLS = "keys and flags of calls"
MORE_WORDS = 3  # in calls that GETKEYSANDFLAGS is asked about, beyond what a command needs

# What is due when. Wave 1 is a list, the others are whole groups.
WAVE_1 = """
append copy decr decrby del dump echo exists expire expireat expiretime flushall flushdb get getdel
getex getrange getset incr incrby incrbyfloat keys lcs mget move mset msetnx object persist pexpire
pexpireat pexpiretime psetex pttl randomkey rename renamenx restore scan set setex setnx setrange
strlen substr swapdb touch ttl type unlink
auth client hello ping quit reset select
acl bgrewriteaof bgsave command config dbsize debug failover function info lastsave latency lolwut
memory monitor replicaof role save shutdown slowlog time wait
discard exec multi unwatch watch
"""
# What is there of wave 2.
WAVE_2 = """
bitcount bitfield bitfield_ro bitop bitpos getbit setbit
"""
WAVE_GROUPS = {"hash": 2, "list": 2, "set": 2, "sorted-set": 2, "bitmap": 2, "pubsub": 2,
               "scripting": 3, "stream": 3}
WAVE_NAMES = {"sort": 2, "sort_ro": 2, "slaveof": 1}

# Which files of Redis's suite try a command.
TCL_FILES = {
    "unit/type/string": "get set setnx setex psetex getset getdel getex mget mset msetnx strlen "
                        "setrange getrange substr lcs",
    "unit/type/incr": "incr decr incrby decrby incrbyfloat",
    "unit/expire": "expire pexpire expireat pexpireat ttl pttl expiretime pexpiretime persist",
    "unit/keyspace": "del unlink exists type keys rename renamenx copy move randomkey dbsize",
    "unit/scan": "scan", "unit/dump": "dump restore", "unit/quit": "quit",
    "unit/multi": "multi exec discard watch unwatch swapdb flushdb",
    "unit/other": "append save flushall", "unit/info-command": "info", "unit/protocol": "ping echo",
    "unit/latency-monitor": "latency", "unit/slowlog": "slowlog",
    "unit/introspection": "client config monitor hello", "unit/introspection-2": "command touch ttl",
    "unit/bitops": "setbit getbit bitcount bitpos bitop", "unit/bitfield": "bitfield bitfield_ro",
    "unit/pause": "client", "integration/redis-cli": "dbsize",
}

# (command, field): the ID of differences.md that says why COMMAND differs there.
EXPLAINED = {("cluster", CALLS): "cluster-is-one-word"}


def wave_commands():
    """The names that varve is to have by now, containers without their subcommands."""
    return set(WAVE_1.split()) | set(WAVE_2.split()) | {"slaveof"}


def wave_of(name, group):
    top = name.split("|")[0]
    if top in WAVE_1.split():
        return 1
    return WAVE_NAMES.get(top, WAVE_GROUPS.get(group, 4))


def text_of(value):
    return value.decode() if isinstance(value, bytes) else value


# ---- asking ----

def read_entries(connection):
    """{full name: the fields of its COMMAND entry} with subcommands, top level first."""
    entries = {}

    def take(entry):
        name, arity, flags, first, last, step, categories, tips, specs, children = entry[:10]
        entries[text_of(name).lower()] = dict(zip(FIELDS, (
            arity, sorted(map(text_of, flags)), first, last, step, sorted(map(text_of, categories)),
            sorted(map(text_of, tips)), without_notes(specs))))
        for child in children:
            take(child)

    for entry in connection.call("COMMAND"):
        take(entry)
    return entries


def read_keys(connection, entries):
    """Adds to each entry what GETKEYSANDFLAGS answers to calls of all lengths from its arity on."""
    for name, entry in entries.items():
        words = name.split("|")
        least = max(abs(entry["arity"]), 2)
        entry[CALLS] = [repr(connection.call("COMMAND", "GETKEYSANDFLAGS", *words,
                                             *(f"a{i}" for i in range(len(words), count))))
                        for count in range(least, least + MORE_WORDS)]


def without_notes(specs):
    """Key specifications as text, without the notes, which are in varve's own words."""
    told = []
    for spec in specs:
        pairs = [(text_of(spec[at]), spec[at + 1]) for at in range(0, len(spec), 2)]
        told.append(repr([pair for pair in pairs if pair[0] != "notes"]))
    return told


def read_docs(connection):
    """{full name: (group, since)} of COMMAND DOCS."""
    docs = {}

    def take(pairs):
        for at in range(0, len(pairs), 2):
            name, fields = text_of(pairs[at]).lower(), pairs[at + 1]
            told = {text_of(fields[i]): fields[i + 1] for i in range(0, len(fields), 2)}
            docs[name] = (text_of(told.get("group", b"")), text_of(told.get("since", b"")))
            take(told.get("subcommands", []))

    take(connection.call("COMMAND", "DOCS"))
    return docs


# ---- what covers a command ----

def find_in_diff_files():
    """{name: files of commands/ with a compared call of it}."""
    found = {}
    for path in sorted(glob.glob(os.path.join(HERE, "commands", "*.txt"))):
        for step in diff.read_steps(path):
            words = [word.decode("latin-1").lower() for word in step.words[:2]] \
                if step.verb == "call" else []
            for name in words[:1] + ["|".join(words)] * (len(words) == 2):
                found.setdefault(name, {})[os.path.basename(path)[:-4]] = True
    return found


def find_in_unit_tests():
    """{word: files of tests/unit/cmd with a command of that name as a string}."""
    found = {}
    for path in sorted(glob.glob(os.path.join(HERE, os.pardir, "tests", "unit", "cmd", "*.c"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        name = os.path.basename(path)[:-2]
        for first, second in re.findall(r'"([A-Za-z]+)(?:"\s*,\s*"| )?([A-Za-z]*)', text):
            for word in (first.lower(), f"{first.lower()}|{second.lower()}"):
                found.setdefault(word, {})[name] = True
    return found


def state_of(name, redis, varve):
    if name not in varve:
        return "no"
    children = [child for child in redis if child.startswith(name + "|")]
    return "yes" if all(child in varve for child in children) else "partly"


def make_rows(redis, varve, docs, before, version):
    in_diff, in_unit = find_in_diff_files(), find_in_unit_tests()
    in_random = random_commands.names()
    rows = []
    for name in sorted(redis):
        group, since = docs.get(name, ("", ""))
        state = state_of(name, redis, varve)
        tcl = [file for file, names in TCL_FILES.items() if name.split("|")[0] in names.split()]
        old = before.get(name, {})
        kept = old.get("since", "") if old.get("varve", "no") != "no" else version
        rows.append(dict(zip(COLUMNS, (
            name, group, since, state, kept if state != "no" else f"wave {wave_of(name, group)}",
            " ".join(in_diff.get(name, ())), "random" if name in in_random else "",
            " ".join(tcl), " ".join(in_unit.get(name, ()))))))
    return rows


# ---- writing ----

def csv_text(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def read_csv():
    if not os.path.exists(CSV):
        return {}
    with open(CSV, encoding="utf-8", newline="") as file:
        return {row["command"]: row for row in csv.DictReader(file)}


def table_lines(rows, varve):
    lines = ["| group | there | partly | not yet |", "|---|---|---|---|"]
    groups = {}
    for row in rows:
        name = row["command"]
        if "|" in name and row["varve"] == "no" and name.split("|")[0] not in varve:
            continue  # its container says it
        cell = groups.setdefault(row["group"], {"yes": [], "partly": [], "no": {}})
        shown = name.replace("|", " ").upper()
        if row["varve"] == "no":
            cell["no"].setdefault(row["since"], []).append(shown)
        else:
            cell[row["varve"]].append(shown)
    for group, cell in sorted(groups.items()):
        later = "; ".join(f"{wave}: {', '.join(names)}" for wave, names in sorted(cell["no"].items()))
        lines.append(f"| {group} | {', '.join(cell['yes'])} | {', '.join(cell['partly'])} | {later} |")
    tops = [row for row in rows if "|" not in row["command"]]
    there = sum(row["varve"] != "no" for row in tops)
    lines += ["", f"{there} of Redis 7.0.15's {len(tops)} commands, and "
              f"{sum(row['varve'] == 'yes' for row in rows) - sum(row['varve'] == 'yes' for row in tops)}"
              f" of its {len(rows) - len(tops)} subcommands, are there at least in part."]
    return lines


def split_at(path, marker):
    """The text of a file before, between and behind two markers."""
    begin, end = f"<!-- {marker}: begin -->\n", f"<!-- {marker}: end -->"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if begin not in text or end not in text:
        sys.exit(f"{os.path.basename(path)} lacks the markers of {marker}")
    head, rest = text.split(begin, 1)
    middle, tail = rest.split(end, 1)
    return head + begin, middle, end + tail


def replace_between(path, marker, lines):
    head, _, tail = split_at(path, marker)
    with open(path, "w", encoding="utf-8") as file:
        file.write(head + "\n".join(["", *lines, ""]) + "\n" + tail)


# ---- comparing ----

def compare(redis, varve, tally):
    """What COMMAND says of the commands that both have."""
    explained, known = set(), diff.read_differences()
    for name in sorted(set(redis) & set(varve)):
        deviations = []
        for field in (*FIELDS, CALLS):
            ours, theirs = varve[name][field], redis[name][field]
            if ours == theirs:
                continue
            if EXPLAINED.get((name, field)) in known:
                explained.add((name, field))
            else:
                deviations.append(f"{field} {ours}, Redis {theirs}")
        if deviations:
            tally.fail(f"COMMAND INFO {name}", "; ".join(deviations))
        else:
            tally.passed += 1
    for name, field in sorted(set(EXPLAINED) - explained):
        tally.fail(f"EXPLAINED {name}", f"{field} does not deviate, or differences.md lacks its ID")


def project_version():
    with open(os.path.join(HERE, os.pardir, "meson.build"), encoding="utf-8") as file:
        return re.search(r"^  version: '([^']+)'", file.read(), re.MULTILINE).group(1)


def check(rows, varve, tally):
    with open(CSV, encoding="utf-8", newline="") as file:
        same_csv = file.read() == csv_text(rows)
    same_table = split_at(README, "commands")[1] == "\n".join(["", *table_lines(rows, varve), ""]) + "\n"
    for name, same in (("commands.csv", same_csv), ("README.md's table", same_table)):
        if same:
            tally.passed += 1
        else:
            tally.fail(name, "is not what the servers say now: run redis-compat/table.py")


def main():
    parser = argparse.ArgumentParser(description="the commands of Redis beside varve's")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if stale")
    options = parser.parse_args()
    tally = servers.Tally()
    with servers.scratch("table") as folder:
        os.mkdir(os.path.join(folder, "redis"))
        with servers.Server(folder) as ours, \
                servers.redis_server(os.path.join(folder, "redis")) as theirs, \
                ours.connect() as to_varve, theirs.connect() as to_redis:
            varve, redis = read_entries(to_varve), read_entries(to_redis)
            read_keys(to_varve, varve)
            read_keys(to_redis, {name: redis[name] for name in set(redis) & set(varve)})
            docs = read_docs(to_redis)
    rows = make_rows(redis, varve, docs, read_csv(), project_version())
    compare(redis, varve, tally)
    if options.check:
        check(rows, varve, tally)
    else:
        with open(CSV, "w", encoding="utf-8", newline="") as file:
            file.write(csv_text(rows))
        replace_between(README, "commands", table_lines(rows, varve))
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
