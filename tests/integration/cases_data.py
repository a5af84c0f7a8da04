"""What was acknowledged is there: over kills and restarts, in every mode, in every database."""
import threading
import time

from server import Failed, Server, expect

MODES = ("always", "everysec", "no")


def restarted(server):
    """kill -9 and start again."""
    server.kill()
    return server.start()


def case_last_write_survives_kill(folder):
    for mode in MODES:
        with Server(folder, "--appendfsync", mode) as server:
            for number in range(3):
                with server.connect() as connection:
                    value = f"{mode} {number}"
                    expect(connection.call("SET", "last", value), b"OK", "SET")
                    restarted(server)
                with server.connect() as connection:
                    expect(connection.call("GET", "last"), value.encode(), "GET after kill -9")


def case_save_waits_until_all_is_durable(folder):
    for mode in MODES:
        with Server(folder, "--appendfsync", mode) as server, server.connect() as connection:
            for number in range(20):
                connection.call("SET", "k", number)
                if number % 2 == 0:
                    connection.calls([("SET", "k", i) for i in range(100)])
                expect(connection.call("SAVE"), b"OK", f"SAVE with appendfsync {mode}")
                seqs = [info_field(connection, "varve", name)
                        for name in ("seq_applied", "seq_durable")]
                expect(seqs[1], seqs[0], f"durable after SAVE with appendfsync {mode}")
            expect(abs(connection.call("LASTSAVE") - time.time()) < 5, True, "LASTSAVE")


def case_transaction_larger_than_the_memtables(folder):
    with Server(folder, "--memtable-size", "256kb") as server, server.connect() as connection:
        for size, fits in ((100, True), (800, False), (200, True), (5000, False)):
            connection.call("MULTI")
            for number in range(size):
                connection.call("SET", f"{size}:{number}", "v" * 1000)
            reply = connection.call("EXEC")
            done = isinstance(reply, list)
            expect(done or reply.startswith("EXECABORT"), True, f"EXEC: {reply}")
            expect(done, fits, f"EXEC of {size} kB")
            expect(connection.call("EXISTS", *[f"{size}:{i}" for i in range(size)]),
                   size if done else 0, f"keys of an EXEC of {size} kB")


def case_keys_are_of_one_state(folder):
    """A key that is renamed to and fro is there under one of its names."""
    with Server(folder) as server, server.connect() as connection:
        connection.calls([("SET", f"k{i}", i) for i in range(10000)])
        connection.call("SET", "here", "v")
        ended = threading.Event()

        def rename():
            with server.connect() as other:
                while not ended.is_set():
                    other.calls([("RENAME", "here", "there"), ("RENAME", "there", "here")] * 10)

        thread = threading.Thread(target=rename)
        thread.start()
        for _ in range(20):
            expect(len(connection.call("KEYS", "*here")), 1, "KEYS of a key that is renamed")
        ended.set()
        thread.join()


def case_dbsize_before_and_after_kill(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            sizes = {}
            for database in range(16):
                connection.call("SELECT", database)
                connection.calls([("SET", f"k{i % 700}", i) for i in range(100 * database)])
                connection.calls([("DEL", f"k{i * 3}") for i in range(50)])
                connection.calls([("INCR", f"n{i % 7}") for i in range(20)])
                connection.call("SET", "k1", "again", "XX")
                sizes[database] = connection.call("DBSIZE")
        restarted(server)
        with server.connect() as connection:
            for database, size in sizes.items():
                connection.call("SELECT", database)
                expect(connection.call("DBSIZE"), size, f"DBSIZE of database {database}")
                names = [f"k{i}" for i in range(1600)] + [f"n{i}" for i in range(7)]
                expect(connection.call("EXISTS", *names), size, f"keys of database {database}")


def info_field(connection, section, name):
    for line in connection.call("INFO", section).decode().splitlines():
        if line.startswith(name):
            return line[len(name):].lstrip(":=").split(",")[0]
    raise Failed(f"INFO {section} without {name}")


def overwrite(server, keys, ended, failures):
    """Blindly, in a pattern that goes through all keys."""
    at = 0
    try:
        with server.connect() as connection:
            while not ended.is_set():
                connection.calls([("SET", f"k{(at + 7919 * i) % keys}", at) for i in range(500)])
                at += 7919 * 500
    except (OSError, EOFError, Failed) as failure:
        failures.append(failure)


def case_info_beside_blind_overwrites(folder):
    """INFO says about how many keys there are, at the price of a sample; DBSIZE is exact."""
    keys, sample_max, asked = 150000, 70000, 8
    with Server(folder, "--memtable-size", "1mb", "--appendfsync", "no") as server:
        with server.connect() as connection:
            for start in range(0, keys, 5000):
                connection.calls([("SET", f"k{i}", i) for i in range(start, start + 5000)])
            ended, failures = threading.Event(), []
            flood = threading.Thread(target=overwrite, args=(server, keys, ended, failures))
            flood.start()
            try:
                before = int(info_field(connection, "lsm", "count_lookups"))
                for _ in range(asked):
                    about = int(info_field(connection, "keyspace", "db0:keys"))
                    if abs(about - keys) > keys // 100:
                        raise Failed(f"INFO says {about} keys of {keys}")
                looked_up = int(info_field(connection, "lsm", "count_lookups")) - before
                if looked_up > asked * sample_max:
                    raise Failed(f"{asked} INFO looked {looked_up} keys up")
                expect(connection.call("DBSIZE"), keys, "DBSIZE beside overwrites")
            finally:
                ended.set()
                flood.join()
            expect(failures, [], "the overwrites")
            expect(connection.call("DBSIZE"), keys, "DBSIZE")


def case_databases_are_separate(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            for database in range(16):
                expect(connection.call("SELECT", database), b"OK", "SELECT")
                expect(connection.call("GET", "k"), None, "GET in an empty database")
                connection.call("SET", "k", f"of {database}")
            connection.call("SELECT", 7)
            expect(connection.call("FLUSHDB"), b"OK", "FLUSHDB")
            expect(connection.call("DBSIZE"), 0, "DBSIZE of the flushed")
        restarted(server)
        with server.connect() as connection:
            for database in range(16):
                connection.call("SELECT", database)
                wanted = None if database == 7 else f"of {database}".encode()
                expect(connection.call("GET", "k"), wanted, f"GET in database {database}")
            info = connection.call("INFO", "keyspace").decode()
            if "db0:keys=1," not in info or "db7:" in info:
                raise Failed(f"INFO keyspace: {info!r}")


def case_flushes_survive_kill(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            for database in range(16):
                connection.call("SELECT", database)
                connection.calls([("SET", f"k{i}", i) for i in range(100)])
            connection.call("FLUSHDB")
            connection.call("SET", "after", "FLUSHDB")
        restarted(server)
        with server.connect() as connection:
            connection.call("SELECT", 15)
            expect(connection.call("DBSIZE"), 1, "DBSIZE after FLUSHDB and kill")
            expect(connection.call("GET", "after"), b"FLUSHDB", "GET")
            connection.call("SELECT", 3)
            expect(connection.call("DBSIZE"), 100, "DBSIZE of another database")
            expect(connection.call("FLUSHALL"), b"OK", "FLUSHALL")
            connection.call("SET", "after", "FLUSHALL")
        restarted(server)
        with server.connect() as connection:
            for database in range(16):
                connection.call("SELECT", database)
                expect(connection.call("DBSIZE"), int(database == 3), f"DBSIZE of {database}")
                expect(connection.call("GET", "k1"), None, "GET")


def case_expiries_survive_restarts(folder):
    with Server(folder) as server:
        soon = int(time.time() * 1000) + 300
        with server.connect() as connection:
            connection.call("SET", "far", "v", "PXAT", 4102444800123)
            connection.call("SET", "soon", "v", "PXAT", soon)
            connection.call("SET", "kept", "v", "EX", 1000)
            connection.call("PERSIST", "kept")
            connection.call("SET", "later", "v")
            connection.call("PEXPIREAT", "later", 4102444800456)
            connection.call("INCR", "n")
            connection.call("PEXPIREAT", "n", 4102444800789)
            connection.call("INCR", "n")
        for stop in (server.kill, server.terminate):
            stop()
            server.start()
            with server.connect() as connection:
                expect(connection.call("PEXPIRETIME", "far"), 4102444800123, "PEXPIRETIME far")
                expect(connection.call("PEXPIRETIME", "later"), 4102444800456, "PEXPIRETIME later")
                expect(connection.call("PEXPIRETIME", "n"), 4102444800789, "PEXPIRETIME n")
                expect(connection.call("TTL", "kept"), -1, "TTL kept")
        while time.time() * 1000 <= soon:
            time.sleep(0.01)
        with server.connect() as connection:
            expect(connection.call("GET", "soon"), None, "GET of what expired meanwhile")
            expect(connection.call("TTL", "soon"), -2, "TTL of what expired meanwhile")
            expect(connection.call("SET", "soon", "w", "NX"), b"OK", "SET NX over it")
            expect(connection.call("GET", "n"), b"2", "GET n")


def case_mode_changes_while_running(folder):
    with Server(folder, "--appendfsync", "no") as server:
        with server.connect() as connection:
            for number in range(60):
                mode = MODES[number % 3]
                expect(connection.call("CONFIG", "SET", "appendfsync", mode), b"OK", "CONFIG SET")
                replies = connection.calls([("INCR", "n")] * 20)
                expect(replies[-1], (number + 1) * 20, f"INCR in mode {mode}")
        restarted(server)
        with server.connect() as connection:
            expect(connection.call("GET", "n"), b"1200", "GET after kill -9")


def case_log_files_rotate(folder):
    """Writes over many small log files, overwrites and deletes included, are all there again."""
    with Server(folder, "--wal-size", "64kb") as server:
        for life in range(3):
            with server.connect() as connection:
                for turn in range(20):
                    commands = [("SET", f"k{i}", f"{life} {turn} {i} " + "x" * 200)
                                for i in range(300)]
                    connection.calls(commands + [("DEL", f"k{turn}")])
                    connection.call("SET", "big", bytes([turn]) * 300000)
            restarted(server)
            with server.connect() as connection:
                for i in range(300):
                    wanted = None if i == 19 else f"{life} 19 {i} ".encode() + b"x" * 200
                    expect(connection.call("GET", f"k{i}"), wanted, f"k{i}")
                expect(connection.call("GET", "big"), bytes([19]) * 300000, "big")
                expect(connection.call("DBSIZE"), 300, "DBSIZE")


def case_many_clients_one_counter(folder):
    for mode in MODES:
        with Server(folder, "--appendfsync", mode) as server:
            connections = [server.connect() for _ in range(50)]
            connections[0].call("DEL", "n")
            for _ in range(20):
                for connection in connections:
                    connection.send("INCR", "n")
                replies = [connection.read() for connection in connections]
            expect(sorted(replies), list(range(951, 1001)), "the last fifty INCR")
            restarted(server)
            with server.connect() as connection:
                expect(connection.call("GET", "n"), b"1000", f"counter in mode {mode}")
            for connection in connections:
                connection.close()


def case_reads_see_own_writes(folder):
    """In `always` replies wait for the sync; their order and content do not change."""
    for mode in MODES:
        with Server(folder, "--appendfsync", mode) as server, server.connect() as connection:
            commands, wanted = [], []
            for i in range(500):
                commands += [("SET", "k", i), ("GET", "k"), ("APPEND", "k", "!"), ("STRLEN", "k"),
                             ("DEL", "k"), ("EXISTS", "k"), ("PING",)]
                text = f"{i}".encode()
                wanted += [b"OK", text, len(text) + 1, len(text) + 1, 1, 0, b"PONG"]
            expect(connection.calls(commands), wanted, f"replies in mode {mode}")
