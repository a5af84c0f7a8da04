#!/usr/bin/env python3
"""smoke.py - client libraries of today connect to varved and do their first things.

    smoke.py [TEXT...]     the cases whose names contain one of the texts; all by default

First what each library sends on connect, replayed as recorded: every command must get the kind of
answer that the library goes on with. Then the libraries themselves: node-redis and ioredis, which npm
installs into a temporary folder, and redis-py of Debian. Each connects, sets, gets, pipelines, uses
expiries and closes. Closes with `N passed, N failed`; without npm's registry the npm cases fail.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "tests", "support"))

import resp  # noqa: E402
import server as servers  # noqa: E402

CLIENTS = os.path.join(HERE, "clients")
NPM_TIMEOUT_S = 40
CLIENT_TIMEOUT_S = 30

# The npm packages: a name for the folder, the package and its version, the program in clients/.
NPM_CLIENTS = (
    ("node-redis-6", "redis@6.3.1", "node_redis.js"),
    ("node-redis-4", "redis@4.7.1", "node_redis.js"),
    ("ioredis-6", "ioredis@6.0.0", "ioredis.js"),
    ("ioredis-5", "ioredis@5.11.1", "ioredis.js"),
)

# What must come back: OK, TEXT, LIST (RESP2) or MAP, ERROR (and the connection goes on).
OK, TEXT, LIST, MAP, ERROR = b"+OK", b"$", b"*", b"%", b"-ERR"
VERBATIM = b"="
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
        (TEXT, "INFO", "ALL"), (ERROR, "LATENCY", "LATEST"), (ERROR, "SLOWLOG", "LEN"),
        (ERROR, "SLOWLOG", "GET", "1")),
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


def install(folder, name, package):
    """npm installs a package into folder/NAME; Failed with npm's last word."""
    place = os.path.join(folder, name)
    os.mkdir(place)
    with open(os.path.join(place, "package.json"), "w", encoding="utf-8") as file:
        json.dump({"name": "smoke", "private": True}, file)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock",
                               "--ignore-scripts", "--loglevel=error", "--prefer-offline",
                               "--fetch-retries=1", "--fetch-retry-mintimeout=1000", package],
                              cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=NPM_TIMEOUT_S)
    except FileNotFoundError:
        raise servers.Failed("npm is not installed (tools/packages clients)") from None
    except subprocess.TimeoutExpired:
        raise servers.Failed(f"npm install {package}: no answer from the registry") from None
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip().split("\n")
        raise servers.Failed(f"npm install {package} failed: {' | '.join(said[:3])}")
    return place


def run_client(server, argv, **more):
    """A client's program gets the port and prints `done` when all was as it must be."""
    done = subprocess.run([*argv, str(server.port)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=CLIENT_TIMEOUT_S, **more)
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or not said.endswith("done"):
        raise servers.Failed(f"exit {done.returncode}: {said[-800:]}")


def run_npm_client(server, folder, name, package, program):
    place = install(folder, name, package)
    run_client(server, ["node", os.path.join(CLIENTS, program)],
               env=dict(os.environ, NODE_PATH=os.path.join(place, "node_modules")))


def cases(server, folder):
    for name, greeting in GREETINGS.items():
        yield f"greeting of {name}", lambda greeting=greeting: replay(server, greeting)
    yield "fields of INFO", lambda: check_info(server)
    yield "redis-py", lambda: run_client(
        server, ["/usr/bin/python3", os.path.join(CLIENTS, "redis_py.py")])
    for client in NPM_CLIENTS:
        yield client[0], lambda client=client: run_npm_client(server, folder, *client)


def main():
    texts = sys.argv[1:]
    tally = servers.Tally()
    with servers.scratch("smoke") as folder, servers.Server(folder) as server:
        for name, case in cases(server, folder):
            if texts and not any(text in name for text in texts):
                continue
            if tally.run(name, case):
                print(f"ok     {name}", flush=True)
        tally.run("varved leaves cleanly", server.terminate)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
