"""io-threads: clients on several loops, one writer."""
import contextlib
import re
import threading
import time

import resp
from server import Failed, Server, expect

LOOPS = ("--io-threads", "4")


@contextlib.contextmanager
def clients(server, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


def number(connection, section, name):
    info = connection.call("INFO", section).decode()
    return int(re.search(rf"^{name}:(\d+)", info, re.M).group(1))


def wait_for(text, condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{text}: not after {seconds} s")
        time.sleep(0.01)


def case_option(folder):
    with Server(folder, *LOOPS) as server, server.connect() as connection:
        expect(connection.call("CONFIG", "GET", "io-threads"), [b"io-threads", b"4"], "CONFIG GET")
        refused = connection.call("CONFIG", "SET", "io-threads", "2")
        expect("immutable" in str(refused), True, "CONFIG SET is refused")
        expect(number(connection, "server", "io_threads_active"), 1, "io_threads_active")


def case_clients_of_all_loops(folder):
    """They are listed, counted, paused, monitored and killed, wherever they are."""
    with Server(folder, *LOOPS) as server, clients(server, 9) as (admin, *others):
        for i, other in enumerate(others):
            other.call("CLIENT", "SETNAME", f"c{i}")
            expect(other.call("SET", f"k{i}", i), b"OK", "SET")
            expect(other.call("GET", f"k{i}"), b"%d" % i, "GET")
        listed = admin.call("CLIENT", "LIST").decode()
        expect(sorted(re.findall(r" name=(c\d) .* cmd=get ", listed)), [f"c{i}" for i in range(8)],
               "CLIENT LIST")
        expect(number(admin, "clients", "connected_clients"), 9, "connected_clients")
        admin.call("CONFIG", "RESETSTAT")
        for other in others:
            for _ in range(100):
                other.call("GET", "k0")
        expect(number(admin, "stats", "keyspace_hits"), 800, "keyspace_hits")
        expect("cmdstat_get:calls=800," in admin.call("INFO", "commandstats").decode(), True,
               "commandstats")
        if number(admin, "stats", "io_threaded_reads_processed") < 600:
            raise Failed("hardly a read by the other loops")
        with server.connect() as monitor:
            expect(monitor.call("MONITOR"), b"OK", "MONITOR")
            for i, other in enumerate(others):
                other.call("GET", f"seen{i}")
                expect(b'"GET" "seen%d"' % i in monitor.read(), True, "what MONITOR shows")
        wait_for("the monitor's end", lambda: number(admin, "clients", "connected_clients") == 9)
        began = time.monotonic()
        expect(admin.call("CLIENT", "PAUSE", 300, "ALL"), b"OK", "PAUSE")
        for other in others:
            expect(other.call("GET", "k0"), b"0", "GET after the pause")
            if time.monotonic() - began < 0.3:
                raise Failed("a GET was answered in the pause")
        expect(admin.call("CLIENT", "KILL", "TYPE", "normal"), 8, "KILL")
        for other in others:
            with contextlib.suppress(resp.Broken, OSError):
                raise Failed(f"killed, and answered {other.call('PING')!r}")
        wait_for("the end of the killed", lambda: number(admin, "clients", "connected_clients") == 1)


def case_order_in_a_pipeline(folder):
    """Each read sees the writes before it, in one pipeline and over two connections."""
    with Server(folder, *LOOPS) as server, clients(server, 8) as connections:
        for i, connection in enumerate(connections):
            lines = []
            for n in range(300):
                lines += [("SET", f"own{i}", n), ("GET", f"own{i}"), ("INCR", f"n{i}"),
                          ("MGET", f"own{i}", f"n{i}")]
            replies = connection.calls(lines)
            for n in range(300):
                expect(replies[4 * n:4 * n + 4], [b"OK", b"%d" % n, n + 1, [b"%d" % n, b"%d" % (n + 1)]],
                       f"round {n}")
        for n in range(300):
            writer, reader = connections[n % 8], connections[(n + 3) % 8]
            writer.call("SET", "shared", n)
            expect(reader.call("GET", "shared"), b"%d" % n, "what another connection wrote")
            if n % 50 == 49:
                writer.call("FLUSHALL" if n % 100 == 99 else "SWAPDB", *(() if n % 100 == 99 else (0, 1)))
                expect(reader.call("GET", "shared"), None, "after FLUSHALL or SWAPDB")


def case_mget_sees_one_moment(folder):
    """MGET beside MSET and EXEC of the same keys never sees half of one."""
    failures = []
    done = threading.Event()

    def read(server):
        with server.connect() as connection:
            while not done.is_set() and not failures:
                for values in connection.calls([("MGET", "a", "b", "c")] * 20):
                    if len(set(values)) != 1:
                        failures.append(values)

    with Server(folder, *LOOPS) as server, server.connect() as writer:
        readers = [threading.Thread(target=read, args=(server,)) for _ in range(4)]
        for reader in readers:
            reader.start()
        try:
            for n in range(3000):
                if n % 2:
                    writer.call("MSET", "a", n, "b", n, "c", n)
                else:
                    writer.calls([("MULTI",), ("SET", "a", n), ("SET", "b", n), ("SET", "c", n),
                                  ("EXEC",)])
                if n % 500 == 0:
                    writer.calls([("MULTI",), ("FLUSHALL",), ("MSET", "a", n, "b", n, "c", n),
                                  ("SWAPDB", 0, 2), ("SWAPDB", 0, 2), ("EXEC",)])
        finally:
            done.set()
            for reader in readers:
                reader.join()
    expect(failures, [], "values that never were there together")


def case_stop_with_many_at_work(folder):
    """SIGTERM amid commands on all loops: a clean end, and nothing that was acknowledged is lost."""
    with Server(folder, *LOOPS, "--appendfsync", "always") as server:
        acknowledged = [0] * 8

        def write(i):
            with contextlib.suppress(resp.Broken, OSError), server.connect() as connection:
                for n in range(1, 1000000):
                    connection.call("SET", f"w{i}", n)
                    acknowledged[i] = n

        threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        wait_for("some writes", lambda: min(acknowledged) > 20)
        server.terminate()
        for thread in threads:
            thread.join()
        server.start()
        with server.connect() as connection:
            for i, n in enumerate(acknowledged):
                if int(connection.call("GET", f"w{i}")) < n:
                    raise Failed(f"w{i}: {n} was acknowledged")
