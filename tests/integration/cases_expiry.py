"""The active expirer: what expired goes by itself, once, and nothing else goes."""
import random
import time

from server import Failed, Server, expect

WAIT_S = 60.0


def info(connection):
    lines = connection.call("INFO", "everything").decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"after {WAIT_S:.0f} s: {what}")
        time.sleep(0.02)


def wait_size(connection, wanted):
    wait_for(lambda: connection.call("DBSIZE") == wanted,
             f"DBSIZE is {connection.call('DBSIZE')}, not {wanted}")


def put_expiring(connection, count, low_ms, high_ms, prefix="k"):
    step = max(1, count // 1000)
    connection.calls([("SET", f"{prefix}{i}", "v",
                       "PX", low_ms + (high_ms - low_ms) * (i // step) * step // count)
                      for i in range(count)])


def case_expired_names_go_and_are_counted_once(folder):
    with Server(folder) as server, server.connect() as connection:
        connection.calls([("SET", f"stays{i}", "v") for i in range(300)])
        put_expiring(connection, 1000, 100, 500)
        wait_size(connection, 300)
        expect(info(connection)["expired_keys"], "1000", "expired_keys")
        connection.call("CONFIG", "RESETSTAT")
        expect(info(connection)["expired_keys"], "0", "expired_keys after CONFIG RESETSTAT")


def case_expired_names_in_segments_go(folder):
    """Flushed, in two databases, and over a restart."""
    with Server(folder, "--enable-debug-command", "yes") as server:
        with server.connect() as connection:
            put_expiring(connection, 20000, 1, 1000)
            connection.call("SET", "stays", "v")
            connection.call("DEBUG", "RELOAD")
            connection.call("SELECT", 7)
            put_expiring(connection, 5000, 2000, 2500)
        server.kill()
        server.start()
        with server.connect() as connection:
            wait_size(connection, 1)
            connection.call("SELECT", 7)
            wait_size(connection, 0)
            connection.call("SELECT", 0)
            expect(connection.call("KEYS", "*"), [b"stays"], "KEYS")


def case_what_was_written_anew_stays(folder):
    """Names come, expire and are written anew or persisted, all at once, with flushes in between."""
    rng = random.Random(1)
    with Server(folder, "--memtable-size", "1mb", "--wal-size", "256kb") as server, \
            server.connect() as connection:
        wanted = {}
        for _ in range(60):
            commands = []
            for _ in range(300):
                name = f"k{rng.randrange(3000)}"
                if rng.random() < 0.6:
                    commands.append(("SET", name, "x" * 300, "PX", rng.choice((1, 5, 30))))
                    wanted.pop(name, None)
                else:
                    wanted[name] = f"{rng.random()}"
                    commands.append(("SET", name, wanted[name]))
            connection.calls(commands)
        wait_size(connection, len(wanted))
        names = sorted(wanted)
        expect(connection.calls([("GET", name) for name in names]) ==
               [wanted[name].encode() for name in names], True, "the values that stay")


def case_it_rests_when_nothing_expires(folder):
    with Server(folder, "--enable-debug-command", "yes") as server, \
            server.connect() as connection:
        put_expiring(connection, 3000, 3600 * 1000, 7200 * 1000)
        connection.calls([("SET", f"stays{i}", "v") for i in range(30000)])
        connection.call("DEBUG", "RELOAD")

        def rests():
            before = info(connection)["expire_slices"]
            time.sleep(1.5)  # that nothing happens cannot be waited for
            return info(connection)["expire_slices"] == before
        wait_for(rests, "walks go on over a database in which nothing expires")
        expect(connection.call("DBSIZE"), 33000, "DBSIZE")


def case_set_active_expire(folder):
    with Server(folder, "--enable-debug-command", "yes") as server, \
            server.connect() as connection:
        expect(connection.call("DEBUG", "SET-ACTIVE-EXPIRE", "0"), b"OK", "SET-ACTIVE-EXPIRE 0")
        put_expiring(connection, 100, 1, 1)
        time.sleep(0.5)  # nor can this
        expect(connection.call("DBSIZE"), 100, "DBSIZE while it is off")
        expect(connection.call("KEYS", "*"), [], "KEYS")
        expect(connection.call("DEBUG", "SET-ACTIVE-EXPIRE", "1"), b"OK", "SET-ACTIVE-EXPIRE 1")
        wait_size(connection, 0)
        expect(info(connection)["expired_keys"], "100", "expired_keys")


def case_info_keyspace(folder):
    """Two databases at once, of more names than are walked over at once, in memory and in segments."""
    with Server(folder, "--enable-debug-command", "yes") as server, \
            server.connect() as connection:
        for database, expiring, others in ((0, 1000, 2000), (5, 500, 0), (6, 0, 3), (7, 2, 1)):
            connection.call("SELECT", database)
            put_expiring(connection, expiring, 1800 * 1000, 5400 * 1000)
            connection.calls([("SET", f"stays{i}", "v") for i in range(others)])
        wanted = {"db0": (3000, 1000), "db5": (500, 500), "db6": (3, 0), "db7": (3, 2)}
        for _ in range(2):
            fields = info(connection)
            for name, (keys, expires) in wanted.items():
                got = dict(field.split("=") for field in fields[name].split(","))
                expect((got["keys"], got["expires"]), (str(keys), str(expires)), f"INFO's {name}")
                average = int(got["avg_ttl"])
                expect(1500000 < average < 5400000 if expires else average == 0, True,
                       f"{name}'s avg_ttl of {average}")
            connection.call("DEBUG", "RELOAD")


def case_info_keyspace_of_many(folder):
    """Above 100,000 names a sample says it."""
    with Server(folder) as server, server.connect() as connection:
        for begin in range(0, 120000, 10000):
            connection.calls([("SET", f"k{i}", "v") if i % 4 else ("SET", f"k{i}", "v", "EX", 3600)
                              for i in range(begin, begin + 10000)])
        got = dict(field.split("=") for field in info(connection)["db0"].split(","))
        expires = int(got["expires"])
        expect(27000 < expires < 33000, True, f"expires of {expires}, 30,000 are")


def case_a_paused_server_sweeps_nothing(folder):
    with Server(folder) as server, server.connect() as connection:
        put_expiring(connection, 100, 50, 50)
        expect(connection.call("CLIENT", "PAUSE", 100000, "WRITE"), b"OK", "CLIENT PAUSE")
        size = connection.call("DBSIZE")
        time.sleep(0.5)  # that nothing happens cannot be waited for
        expect(connection.call("DBSIZE"), size, "DBSIZE during the pause")
        expect(connection.call("CLIENT", "UNPAUSE"), b"OK", "CLIENT UNPAUSE")
        wait_size(connection, 0)
        expect(info(connection)["expired_keys"], "100", "expired_keys")
