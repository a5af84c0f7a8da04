#!/usr/bin/env python3
"""smoke.py - client programs of today connect to varved and do what they are used for.

    smoke.py [TEXT...]     the cases whose names contain one of the texts; all by default
    smoke.py --list        the cases, and what each waits for

First what each library sends on connect, replayed as recorded: every command must get the kind of
answer that the library goes on with. Then the programs themselves: hiredis, redis-cli in its modes,
redis-py, php-redis, ruby-redis and redis_exporter of Debian; node-redis, ioredis, connect-redis with
express-session, and keyv, which npm installs into a temporary folder.

A case names the commands that it cannot do without. While varved lacks one of them (it is asked), the
case waits: it is not run, and the summary says for what. Closes with `N passed, N failed`; what is not
installed (tools/packages clients) or not to be had from npm's registry fails. VARVED=/usr/bin/redis-server
runs the same against redis-server, which only lacks CLIENT SETINFO of the greetings (it is of Redis 7.2).
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

CLIENTS = os.path.join(HERE, "clients")
NPM_TIMEOUT_S = 40
CLIENT_TIMEOUT_S = 30

MULTI = ("multi", "exec", "watch", "discard")
PROGRAM_PARTS = {"base": (), "transactions": MULTI, "scan": ("scan", "keys")}
# What npm installs: name, packages, program of clients/, its parts with what each needs.
Npm = namedtuple("Npm", "name packages program parts")
NPM_CLIENTS = (
    Npm("node-redis-6", ("redis@6.3.1",), "node_redis.js", PROGRAM_PARTS),
    Npm("node-redis-4", ("redis@4.7.1",), "node_redis.js", PROGRAM_PARTS),
    Npm("ioredis-6", ("ioredis@6.0.0",), "ioredis.js", PROGRAM_PARTS),
    Npm("ioredis-5", ("ioredis@5.11.1",), "ioredis.js", PROGRAM_PARTS),
    Npm("connect-redis-9", ("connect-redis@9", "redis@6.3.1", "express@5", "express-session@1"),
        "sessions.js", {"base": (), "all": ("scan",)}),
    Npm("keyv-5", ("keyv@5", "@keyv/redis@5"), "keyv.js", {"base": (), "walk": ("scan", *MULTI)}),
)
DEBIAN_CLIENTS = (
    ("redis-py", ("/usr/bin/python3", "redis_py.py"), dict(PROGRAM_PARTS, lock=("evalsha", "script"))),
    ("php-redis", ("php", "php_redis.php"), PROGRAM_PARTS),
    ("ruby-redis", ("ruby", "ruby_redis.rb"), PROGRAM_PARTS),
)
Case = namedtuple("Case", "name needs run")

# What must come back: OK, TEXT, LIST (RESP2) or MAP, ERROR (and the connection goes on).
OK, TEXT, LIST, MAP, ERROR = b"+OK", b"$", b"*", b"%", b"-ERR"
VERBATIM, NUMBER = b"=", b":"
GREETINGS = {
    "node-redis 4": (
        (OK, "CLIENT", "SETNAME", "app"), (OK, "CLIENT", "SETINFO", "LIB-NAME", "node-redis"),
        (OK, "CLIENT", "SETINFO", "LIB-VER", "1.6.0"), (OK, "SELECT", "0")),
    "node-redis 6": (
        (MAP, "HELLO", "3", "SETNAME", "app"), (OK, "SELECT", "2"),
        (OK, "CLIENT", "SETINFO", "LIB-NAME", "node-redis"),
        (OK, "CLIENT", "SETINFO", "LIB-VER", "6.3.1"),
        (ERROR, "CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "external-ip")),
    "ioredis 5": (
        (OK, "select", "3"), (OK, "client", "setname", "app"),
        (OK, "client", "SETINFO", "LIB-NAME", "ioredis"),
        (OK, "client", "SETINFO", "LIB-VER", "5.11.1"), (TEXT, "info")),
    "ioredis 6": (
        (MAP, "hello", "3"), (OK, "select", "3"), (OK, "client", "setname", "app"),
        (OK, "client", "SETINFO", "LIB-NAME", "ioredis"),
        (OK, "client", "SETINFO", "LIB-VER", "6.0.0"), (VERBATIM, "info")),
    "redis-py 4": ((OK, "CLIENT", "SETNAME", "app"), (OK, "SELECT", "1")),
    "redis-py 8": (
        (MAP, "HELLO", "3"),
        (ERROR, "CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip"),
        (OK, "CLIENT", "SETNAME", "app"), (OK, "CLIENT", "SETINFO", "LIB-NAME", "redis-py"),
        (OK, "CLIENT", "SETINFO", "LIB-VER", "8.1.0"), (OK, "SELECT", "1")),
    "redis_exporter": (
        (OK, "CLIENT", "SETNAME", "redis_exporter"), (LIST, "CONFIG", "GET", "*"),
        (TEXT, "INFO", "ALL")),
    "redis_exporter, what is slow": (
        (LIST, "LATENCY", "LATEST"), (NUMBER, "SLOWLOG", "LEN"), (LIST, "SLOWLOG", "GET", "1")),
    "redis-cli": ((LIST, "COMMAND", "DOCS"), (LIST, "COMMAND")),
    "redis-cli -3 -n 4": ((OK, "SELECT", "4"), (MAP, "HELLO", "3")),
    "redis-benchmark": ((LIST, "CONFIG", "GET", "save"), (LIST, "CONFIG", "GET", "appendonly")),
    "redis-benchmark -3": ((MAP, "HELLO", "3"), (OK, "SET", "key:__rand_int__", "xxx")),
}
INFO_FIELDS = (
    "redis_version", "redis_mode", "os", "process_id", "run_id", "tcp_port", "uptime_in_seconds",
    "executable", "config_file", "connected_clients", "blocked_clients", "maxclients", "used_memory",
    "used_memory_human", "used_memory_rss", "used_memory_peak", "maxmemory", "maxmemory_policy",
    "mem_fragmentation_ratio", "loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress",
    "rdb_last_save_time", "rdb_last_bgsave_status", "aof_enabled", "aof_rewrite_in_progress",
    "aof_last_write_status", "total_connections_received", "total_commands_processed",
    "instantaneous_ops_per_sec", "total_net_input_bytes", "total_net_output_bytes",
    "rejected_connections", "expired_keys", "evicted_keys", "keyspace_hits", "keyspace_misses",
    "pubsub_channels", "latest_fork_usec", "total_error_replies", "role", "connected_slaves",
    "master_replid", "master_repl_offset", "used_cpu_sys", "used_cpu_user", "cluster_enabled")


# What a dashboard of redis_exporter draws.
EXPORTED = (
    "redis_uptime_in_seconds", "redis_connected_clients", "redis_blocked_clients", "redis_db_keys",
    "redis_commands_processed_total", "redis_connections_received_total", "redis_memory_used_bytes",
    "redis_memory_max_bytes", "redis_keyspace_hits_total", "redis_keyspace_misses_total",
    "redis_expired_keys_total", "redis_evicted_keys_total", "redis_net_input_bytes_total",
    "redis_net_output_bytes_total", "redis_instance_info", "redis_commands_total",
    "redis_commands_duration_seconds_total", "redis_config_maxclients",
    "redis_rejected_connections_total", "redis_rdb_last_bgsave_status", "redis_cpu_sys_seconds_total")


def replay(server, greeting):
    """Sends a greeting one by one and, on a second connection, as one pipeline."""
    for together in (False, True):
        with server.connect() as connection:
            if together:
                connection.send_raw(b"".join(resp.encode(*command[1:]) for command in greeting))
            for wanted, *command in greeting:
                if not together:
                    connection.send(*command)
                reply = connection.read_bytes()
                if not reply.startswith(wanted):
                    raise servers.Failed(f"{' '.join(command)} gets {servers.shorten(reply)}, "
                                         f"expected {wanted.decode()}...")
            servers.expect(connection.call("SET", "after", "greeting"), b"OK", "SET")
            servers.expect(connection.call("GET", "after"), b"greeting", "GET")


def check_info(server):
    """The fields that tools read by name."""
    with server.connect() as connection:
        lines = connection.call("INFO").decode().split("\r\n")
    fields = dict(line.split(":", 1) for line in lines if line and not line.startswith("#"))
    missing = [name for name in INFO_FIELDS if name not in fields]
    servers.expect(missing, [], "INFO lacks")
    version = fields["redis_version"].split(".")
    servers.expect((len(version), all(part.isdigit() for part in version)), (3, True),
                   f"redis_version {fields['redis_version']}")
    servers.expect(fields["loading"], "0", "loading")
    servers.expect(fields["tcp_port"], str(server.port), "tcp_port")


def install(folder, client):
    """npm installs the packages into a folder of their own, once; Failed with npm's last word."""
    place = os.path.join(folder, client.name)
    if os.path.isdir(place):
        return place
    os.mkdir(place)
    with open(os.path.join(place, "package.json"), "w", encoding="utf-8") as file:
        json.dump({"name": "smoke", "private": True}, file)
    packages = " ".join(client.packages)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock",
                               "--ignore-scripts", "--loglevel=error", "--prefer-offline",
                               "--fetch-retries=1", "--fetch-retry-mintimeout=1000",
                               *client.packages], cwd=place, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=NPM_TIMEOUT_S)
    except FileNotFoundError:
        raise servers.Failed("npm is not installed (tools/packages clients)") from None
    except subprocess.TimeoutExpired:
        raise servers.Failed(f"npm install {packages}: no answer from the registry") from None
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip().split("\n")
        raise servers.Failed(f"npm install {packages} failed: {' | '.join(said[:3])}")
    return place


def run_client(server, argv, part, **more):
    """A client's program gets the port and a part, and prints `done` when all was as it must be."""
    try:
        done = subprocess.run([*argv, str(server.port), part], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=CLIENT_TIMEOUT_S, **more)
    except FileNotFoundError:
        raise servers.Failed(f"{argv[0]} is not installed (tools/packages clients)") from None
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or not said.endswith("done"):
        raise servers.Failed(f"exit {done.returncode}: {said[-800:]}")


def run_npm_client(server, folder, client, part):
    place = install(folder, client)
    run_client(server, ["node", os.path.join(CLIENTS, client.program)], part,
               env=dict(os.environ, NODE_PATH=os.path.join(place, "node_modules")))


def run_hiredis(server, folder, part):
    program = os.path.join(folder, "hiredis")
    if not os.path.exists(program):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "hiredis"], check=True,
                               stdout=subprocess.PIPE).stdout.decode().split()
        subprocess.run(["cc", "-O1", "-Wall", "-Werror", os.path.join(CLIENTS, "hiredis.c"), "-o",
                        program, *flags], check=True)
    run_client(server, [program], part)


# ---- redis-cli ----

def cli(server, *arguments, data=b"", lasts_s=None):
    """What redis-cli prints; with lasts_s it is one that runs on, and is ended after that."""
    process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", "-p", str(server.port), *arguments],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        said = process.communicate(data, lasts_s or CLIENT_TIMEOUT_S)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0]
        if lasts_s is None:
            raise servers.Failed(f"redis-cli {' '.join(arguments)} does not end") from None
    return said.decode("utf-8", "replace")


def cli_says(server, wanted, *arguments, **more):
    said = cli(server, *arguments, **more)
    if not re.search(wanted, said):
        raise servers.Failed(f"redis-cli {' '.join(arguments)} says {servers.shorten(said)}, "
                             f"expected {wanted}")


def fill(server):
    with server.connect() as connection:
        connection.call("FLUSHALL")
        connection.calls([("SET", f"key:{number}", "v" * number) for number in range(1, 301)])


def cli_pipe(server):
    data = b"".join(resp.encode("SET", f"piped:{number}", "v") for number in range(20000))
    fill(server)
    cli_says(server, r"errors: 0, replies: 20000\b", "--pipe", data=data)
    cli_says(server, r"^20300\n$", "DBSIZE")


def cli_cases(server):
    """(mode, what it needs, the check)"""
    def says(wanted, *arguments, **more):
        def check():
            fill(server)
            cli_says(server, wanted, *arguments, **more)
        return check
    scanned = ("scan", "strlen")
    return (
        ("one shot", (), says("^v\n$", "GET", "key:1")),
        ("-3", (), says("redis_version", "-3", "INFO", "server")),
        ("--json", (), says(r'^\{"databases":"16"\}\n$', "--json", "CONFIG", "GET", "databases")),
        ("-n and commands on stdin", (), says("OK\n2\n", "-n", "3", data=b"SET n 1\nINCR n\n")),
        ("-x", (), says("^OK\n$", "-x", "SET", "key:1", data=b"from stdin")),
        ("-r and -i", (), says("^PONG\nPONG\nPONG\n$", "-r", "3", "-i", "0.01", "PING")),
        ("--pipe", (), lambda: cli_pipe(server)),
        ("--stat", (), says(r"\n300 +\S+ +\d+", "--stat", "-i", "0.1", lasts_s=1)),
        ("--latency", (), says(r"\d+ \d+ \d+\.\d\d \d+", "--latency", "-i", "0.3", lasts_s=2)),
        ("--latency-history", (), says(r"\d+ \d+ \d+\.\d\d \d+", "--latency-history", "-i", "0.3",
                                       lasts_s=2)),
        ("--latency-dist", (), says("[^\n]", "--latency-dist", "-i", "0.3", lasts_s=2)),
        ("--lru-test", (), says(r"Gets/sec", "--lru-test", "1000", lasts_s=3)),
        ("--scan", ("scan",), says(r"^(key:2\d{0,2}\n){111}$", "--scan", "--pattern", "key:2*")),
        ("--bigkeys", scanned, says(r"Biggest string found '\"key:300\"' has 300 bytes", "--bigkeys")),
        ("--memkeys", (*scanned, "memory"), says(r"Biggest string found", "--memkeys")),
        ("--hotkeys", (*scanned, "object"), says("LFU maxmemory policy is not selected", "--hotkeys")),
        ("--eval", ("eval",), says("^v\n$", "--eval", os.path.join(CLIENTS, "get.lua"), "key:1")),
    )


# ---- redis_exporter ----

def run_exporter(server):
    """Prometheus's exporter finds the server up and maps its INFO."""
    port = servers.free_port()
    try:
        process = subprocess.Popen(
            ["prometheus-redis-exporter", "-redis.addr", f"redis://127.0.0.1:{server.port}",
             "-web.listen-address", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise servers.Failed("prometheus-redis-exporter is not installed") from None
    try:
        text = read_metrics(process, f"http://127.0.0.1:{port}/metrics")
    finally:
        process.kill()
        process.wait()
    metrics = [line for line in text.split("\n") if line.startswith("redis_")]
    if "redis_up 1" not in metrics:
        raise servers.Failed(f"redis_up is not 1 among {len(metrics)} metrics")
    mapped = {re.split(r"[ {]", line)[0] for line in metrics}
    missing = [name for name in EXPORTED if name not in mapped]
    servers.expect(missing, [], "metrics missing")
    print(f"       redis_exporter: {len(metrics)} lines, {len(mapped)} metrics", flush=True)


def read_metrics(process, url):
    deadline = time.monotonic() + CLIENT_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=CLIENT_TIMEOUT_S) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.02)
    raise servers.Failed("redis_exporter does not answer")


# ---- all of it ----

def cases(server, folder):
    for name, greeting in GREETINGS.items():
        needs = {command[1].lower() for command in greeting} & {"latency", "slowlog"}
        yield Case(f"greeting of {name}", needs, lambda greeting=greeting: replay(server, greeting))
    yield Case("fields of INFO", (), lambda: check_info(server))
    for mode, needs, check in cli_cases(server):
        yield Case(f"redis-cli {mode}", needs, check)
    for part in ("base", "transactions"):
        yield Case(f"hiredis {part}", PROGRAM_PARTS[part],
                   lambda part=part: run_hiredis(server, folder, part))
    for name, (interpreter, program), parts in DEBIAN_CLIENTS:
        for part, needs in parts.items():
            argv = [interpreter, os.path.join(CLIENTS, program)]
            yield Case(f"{name} {part}", needs,
                       lambda argv=argv, part=part: run_client(server, argv, part))
    yield Case("redis_exporter", (), lambda: run_exporter(server))
    for client in NPM_CLIENTS:
        for part, needs in client.parts.items():
            yield Case(f"{client.name} {part}", needs,
                       lambda client=client, part=part: run_npm_client(server, folder, client, part))


def run_cases(server, folder, options):
    tally, waiting = servers.Tally(), []
    with server.connect() as connection:
        there = {name.decode() for name in connection.call("COMMAND", "LIST")}
    for case in cases(server, folder):
        if options.texts and not any(text in case.name for text in options.texts):
            continue
        missing = sorted(set(case.needs) - there)
        if options.list:
            print(case.name + (f"    waits for {' '.join(missing)}" if missing else ""))
        elif missing:
            waiting.append(case.name)
            print(f"waits  {case.name}: for {' '.join(missing)}", flush=True)
        elif tally.run(case.name, case.run):
            print(f"ok     {case.name}", flush=True)
    if waiting:
        print(f"{len(waiting)} cases wait for commands that varved does not have yet")
    return tally


def main():
    parser = argparse.ArgumentParser(description="client programs of today against varved")
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    with servers.scratch("smoke") as folder, servers.Server(folder) as server:
        tally = run_cases(server, folder, options)
        if options.list:
            return 0
        tally.run("varved leaves cleanly", server.terminate)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
