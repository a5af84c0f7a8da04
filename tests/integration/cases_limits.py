"""Limits: memory, clients, password, the sizes and shapes that the protocol allows."""
import contextlib
import re
import time

import resp
from server import Failed, Server, expect

ARGUMENT_MAX = 512 * 1024 * 1024


def case_full_memtables_are_waited_for(folder):
    """One turn, and a client at a time, of much more than the memtables hold: nothing is refused."""
    with Server(folder, "--memtable-size", "1mb", "--wal-size", "256kb") as server:
        with server.connect() as connection:
            replies = connection.calls([("SET", f"key:{i}", "x" * 1000) for i in range(20000)])
            expect({str(reply) for reply in replies}, {str(b"OK")}, "replies of a pipeline")
            for i in range(20000, 22000):
                expect(connection.call("SET", f"key:{i}", "y" * 1000), b"OK", f"SET of key {i}")
            expect(connection.call("DBSIZE"), 22000, "DBSIZE")
            info = connection.call("INFO", "lsm").decode()
            if int(re.search(r"^flushes:(\d+)", info, re.M).group(1)) < 10:
                raise Failed("22 MB into memtables of 1 MB, and hardly a flush")
        server.kill()
        server.start()
        with server.connect() as connection:
            expect(connection.call("DBSIZE"), 22000, "DBSIZE after the restart")
            values = connection.calls([("GET", f"key:{i}") for i in range(22000)])
            wanted = [b"x" * 1000] * 20000 + [b"y" * 1000] * 2000
            expect(values == wanted, True, "all values")


def case_protocol_limits(folder):
    texts = (
        (b"*1\r\n$%d\r\n" % (ARGUMENT_MAX + 1), b"invalid bulk length"),
        (b"x" * 70000, b"too big inline request"),
        (b"PING " + b"x" * 70000 + b"\r\n", b"too big inline request"),
        (b"*" + b"1" * 70000, b"too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70000, b"too big bulk count string"),
    )
    with Server(folder) as server:
        for data, text in texts:
            with server.connect() as connection:
                with contextlib.suppress(resp.Broken):
                    connection.send_raw(data)
                expect(connection.read_until_closed(),
                       b"-ERR Protocol error: " + text + b"\r\n", f"after {data[:20]!r}")
        with server.connect() as connection:
            connection.send_raw(b"*2147483647\r\n$4\r\nPING\r\n$1\r\n")
            connection.send_raw(b"a")
            with server.connect() as other:
                expect(other.call("PING"), b"PONG", "PING beside a huge array")


def case_every_split_of_a_pipeline(folder):
    data = (resp.encode("SET", "k", "a\r\nb") + b"GET k\r\n" + resp.encode("GET", "k") +
            b"set k 'q q'\n" + resp.encode("STRLEN", "k") + resp.encode("ECHO", ""))
    wanted = b"+OK\r\n$4\r\na\r\nb\r\n$4\r\na\r\nb\r\n+OK\r\n:3\r\n$0\r\n\r\n"
    with Server(folder) as server:
        for cut in range(1, len(data)):
            with server.connect() as connection:
                connection.send_raw(data[:cut])
                with server.connect() as other:  # by its answer the first part has arrived
                    other.call("PING")
                connection.send_raw(data[cut:] + b"QUIT\r\n")
                expect(connection.read_until_closed(), wanted + b"+OK\r\n", f"cut at {cut}")
        with server.connect() as connection:
            for byte in data + b"QUIT\r\n":
                connection.send_raw(bytes([byte]))
            expect(connection.read_until_closed(), wanted + b"+OK\r\n", "a byte at a time")


def case_password_protects(folder):
    server = Server(folder, "--requirepass", "s3cret").spawn()
    try:
        wait_for_noauth(server)
        with server.connect() as connection:
            refused = "NOAUTH Authentication required."
            expect(connection.call("GET", "k"), refused, "GET")
            expect(connection.call("PING"), refused, "PING")
            expect(connection.call("FOO"),
                   "ERR unknown command 'FOO', with args beginning with: ", "an unknown command")
            expect(connection.call("GET"),
                   "ERR wrong number of arguments for 'get' command", "arity")
            if not str(connection.call("HELLO", 3)).startswith("NOAUTH HELLO must be called with"):
                raise Failed("HELLO before AUTH")
            wrong = "WRONGPASS invalid username-password pair or user is disabled."
            expect(connection.call("AUTH", "guess"), wrong, "AUTH")
            expect(connection.call("AUTH", "default", "guess"), wrong, "AUTH default")
            expect(connection.call("AUTH", "s3cret"), b"OK", "AUTH")
            expect(connection.call("SET", "k", "v"), b"OK", "SET")
            expect(connection.call("CONFIG", "GET", "requirepass"), [b"requirepass", b"s3cret"],
                   "CONFIG GET")
        for data, text in ((b"*11\r\n", b"unauthenticated multibulk length"),
                           (b"*1\r\n$16385\r\n", b"unauthenticated bulk length")):
            with server.connect() as connection:
                connection.send_raw(data)
                expect(connection.read_until_closed(), b"-ERR Protocol error: " + text + b"\r\n",
                       "a big request before AUTH")
        with server.connect() as connection:
            reply = connection.call("HELLO", 3, "AUTH", "default", "s3cret", "SETNAME", "me")
            expect(reply[:2], [b"server", b"redis"], "HELLO AUTH")
        if "s3cret" in server.log():
            raise Failed("the password is in the log")
        server.terminate()
    finally:
        server.discard()


def wait_for_noauth(server):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, resp.Broken):
            with server.connect() as connection:
                if str(connection.call("PING")).startswith("NOAUTH"):
                    return
        time.sleep(0.01)
    raise Failed(f"no NOAUTH: {server.log_tail()}")


def case_maxclients(folder):
    with Server(folder, "--maxclients", "10") as server:
        with contextlib.ExitStack() as stack:
            # Connections that were closed are counted until the loop has seen it.
            connections = []
            while len(connections) < 10:
                connection = stack.enter_context(server.connect())
                if connection.call("PING") == b"PONG":
                    connections.append(connection)
            with server.connect() as refused:
                expect(refused.read_until_closed(), b"-ERR max number of clients reached\r\n",
                       "the eleventh")
            expect(connections[0].call("PING"), b"PONG", "PING of the first")
            expect(connections[0].call("CONFIG", "SET", "maxclients", 11), b"OK", "CONFIG SET")
            with server.connect() as eleventh:
                expect(eleventh.call("PING"), b"PONG", "PING of the eleventh")


def case_idle_clients_are_closed(folder):
    with Server(folder, "--timeout", "1") as server:
        with server.connect() as idle, server.connect() as busy:
            began = time.monotonic()
            busy.call("PING")
            idle.socket.settimeout(0.1)
            closed = False
            while not closed and time.monotonic() < began + 15:
                expect(busy.call("PING"), b"PONG", "PING of the busy one")
                with contextlib.suppress(TimeoutError):
                    closed = idle.socket.recv(1) == b""
            if not closed:
                raise Failed("an idle client is not closed")
            if time.monotonic() - began < 0.9:
                raise Failed("an idle client was closed before its time")


def case_a_reader_that_does_not_read(folder):
    """A pipeline whose replies nobody reads does not stop the others, and is answered in the end."""
    with Server(folder) as server:
        with server.connect() as slow, server.connect() as other:
            other.call("SET", "k", "x" * 100000)
            slow.socket.settimeout(60)
            request = resp.encode("GET", "k") * 1000
            slow.send_raw(request)
            for _ in range(100):
                expect(other.call("PING"), b"PONG", "PING")
            expect([len(slow.read()) for _ in range(1000)], [100000] * 1000, "the slow one's replies")


def case_connections_come_and_go(folder):
    with Server(folder) as server:
        for _ in range(500):
            connection = server.connect()
            connection.send("SET", "k", "v")
            connection.close()
        with server.connect() as connection:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                info = connection.call("INFO", "clients").decode()
                if "connected_clients:1\r\n" in info:
                    return
            raise Failed(f"clients that left are counted: {info}")


def memory_fields(connection):
    text = connection.call("INFO", "memory").decode()
    return {name: int(value) for name, value in re.findall(r"^(\w+):(\d+)\r?$", text, re.M)}


def case_maxmemory_is_divided(folder):
    """By bytes that the server counts: what a sanitizer adds to the resident ones is not its own."""
    megabyte = 1 << 20
    with Server(folder, "--maxmemory", "64mb") as server, server.connect() as connection:
        for begin in range(0, 60_000, 10_000):
            keys = range(begin, begin + 10_000)
            connection.calls([("SET", f"key:{i}", f"{i:0200}") for i in keys])
            values = connection.calls([("GET", f"key:{i * 7 % (begin + 10_000)}") for i in keys])
            expect({len(value) for value in values}, {200}, "lengths of values")
            fields = memory_fields(connection)
            expect(fields["maxmemory"], 64 * megabyte, "maxmemory")
            if fields["used_memory"] > 64 * megabyte or fields["mem_memtables"] > 12 * megabyte:
                raise Failed(f"more than was granted: {fields}")
            if fields["mem_block_cache"] + fields["mem_indexes_filters"] > 64 * megabyte:
                raise Failed(f"the cache does not know its limit: {fields}")
        expect(fields["mem_clients_normal"] > 500, True, "this client counts")
        expect(connection.call("CONFIG", "SET", "maxmemory", "8mb"), b"OK", "less than what must be")
        wait_for_memory(connection, "the cache shrinks as far as it can", lambda fields:
                        fields["mem_block_cache_limit"] == megabyte + fields["mem_indexes_filters"])
        expect("maxmemory is 8388608 bytes, but 4 memtables" in server.log(), True, server.log_tail())
        expect(memory_fields(connection)["maxmemory"], 8 * megabyte, "maxmemory after that")
        expect(connection.call("CONFIG", "SET", "maxmemory", "64mb"), b"OK", "CONFIG SET")
        expect(connection.call("CONFIG", "SET", "block-cache-size", "4mb"), b"OK", "CONFIG SET")
        wait_for_cache(connection, 4 * megabyte)
        expect(connection.call("CONFIG", "SET", "block-cache-size", "0", "maxmemory", "0"), b"OK", "CONFIG SET")
        expect(memory_fields(connection)["maxmemory"] > 64 * megabyte, True, "maxmemory by default")
        stats = connection.call("MEMORY", "STATS")
        expect(stats[stats.index(b"clients.normal") + 1] > 500, True, "clients.normal")
    refusing = Server(folder, "--maxmemory", "8mb").spawn()
    expect(refusing.process.wait(60), 1, "the exit code with 8 MB")
    expect("maxmemory is 8388608 bytes, but 4 memtables" in refusing.log(), True, refusing.log_tail())


def case_clients_that_hold_too_much_are_evicted(folder):
    """30 halves of values of 8 MB are more than 80 % of 64 MB: some clients go, and nobody else."""
    value = b"x" * (8 << 20)
    half = len(value) // 2 + 8192  # so that 4 MB of input are held in 4 MB
    for loops in ("1", "4"):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Server(f"{folder}/{loops}", "--maxmemory", "64mb", "--io-threads", loops))
            admin, spared, *others = (stack.enter_context(server.connect()) for _ in range(42))
            expect(admin.call("CONFIG", "GET", "maxmemory-clients"), [b"maxmemory-clients", b"80%"], "the default")
            hogs = others[:30]
            quiet = others[30:]
            expect([c.call("PING") for c in quiet], [b"PONG"] * 10, "PING")
            expect(spared.call("CLIENT", "NO-EVICT", "ON"), b"OK", "CLIENT NO-EVICT")
            for i, hog in enumerate([spared, *hogs]):
                with contextlib.suppress(resp.Broken, OSError):
                    hog.send_raw(resp.encode("SET", f"big:{i}", value)[:-half])
            wait_for_memory(admin, "the clients are held to the limit", lambda fields:
                            fields["mem_clients_normal"] < (64 << 20) * 0.8 + 2 * len(value))
            sent = answered(spared, value[-half:] + b"\r\n")
            expect(sent, True, "the value of who is not to be evicted")
            stayed = sum(answered(hog, value[-half:] + b"\r\n") for hog in hogs)
            evicted = int(re.search(r"^evicted_clients:(\d+)", admin.call("INFO", "stats").decode(), re.M).group(1))
            expect(stayed + evicted, 30, "clients that stayed or were evicted")
            if not 4 <= stayed <= 13:
                raise Failed(f"{stayed} stayed, who may hold 51 MB")
            expect(server.log().count("Evicting client: id="), evicted, "lines in the log")
            expect([c.call("PING") for c in quiet], [b"PONG"] * 10, "PING after that")
            expect(admin.call("DBSIZE"), stayed + 1, "values")


def answered(connection, rest):
    try:
        connection.send_raw(rest)
        return connection.read() == b"OK"
    except (resp.Broken, OSError):
        return False


def wait_for_memory(connection, what, condition):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        fields = memory_fields(connection)
        if condition(fields):
            return
        time.sleep(0.01)
    raise Failed(f"{what}: not in 20 s: {fields}")


def wait_for_cache(connection, limit):
    wait_for_memory(connection, f"the cache shrinks to {limit}", lambda fields:
                    fields["mem_block_cache_limit"] == limit and
                    fields["mem_block_cache"] + fields["mem_indexes_filters"] <= limit)
