"""redis-benchmark runs to its end, without an error or a warning, and what it wrote is there."""
import subprocess

from server import Failed, Server, expect

COUNT = 20000


def benchmark(server, *arguments):
    """Runs redis-benchmark; returns {test: requests a second}."""
    done = subprocess.run(["redis-benchmark", "-p", str(server.port), "--csv", *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
    text = done.stdout.decode()
    if done.returncode != 0 or "rror" in text or "WARNING" in text:
        raise Failed(f"redis-benchmark {' '.join(arguments)}: exit {done.returncode}: {text[:600]}")
    rows = [line.replace('"', "").split(",") for line in text.splitlines() if line.startswith('"')]
    return {row[0]: float(row[1]) for row in rows[1:]}


def basic(folder, *protocol):
    for mode in ("everysec", "always"):
        with Server(folder, "--appendfsync", mode) as server:
            rates = benchmark(server, *protocol, "-t", "ping,set,get,incr", "-n", str(COUNT), "-r",
                              str(COUNT), "-d", "100", "-P", "16")
            expect(sorted(rates), ["GET", "INCR", "PING_INLINE", "PING_MBULK", "SET"], "the tests")
            with server.connect() as connection:
                connection.call("SET", "last", f"acknowledged in {mode}")
                size = connection.call("DBSIZE")
                if not COUNT // 2 < size <= 2 * COUNT:
                    raise Failed(f"DBSIZE after the benchmark: {size}")
            server.kill()
            server.start()
            with server.connect() as connection:
                expect(connection.call("DBSIZE"), size, "DBSIZE")
                expect(connection.call("GET", "last"), f"acknowledged in {mode}".encode(), "the last SET")


def case_resp2(folder):
    basic(folder)


def case_resp3(folder):
    basic(folder, "-3")


def case_mset(folder):
    with Server(folder) as server:
        expect(list(benchmark(server, "-t", "mset", "-n", str(COUNT), "-r", "1000")),
               ["MSET (10 keys)"], "the test")
        with server.connect() as connection:
            expect(connection.call("DBSIZE"), 1000, "DBSIZE")


def case_deep_pipelines_and_many_clients(folder):
    with Server(folder) as server:
        benchmark(server, "-t", "set,get", "-n", str(5 * COUNT), "-r", "1000", "-P", "512", "-c", "4")
        benchmark(server, "-t", "set,get", "-n", str(COUNT), "-r", "1000", "-c", "500")
        benchmark(server, "-t", "set,get", "-n", "500", "-d", "1000000", "-P", "4")
        benchmark(server, "-n", str(COUNT), "-P", "16", "GET", "absent")


def case_threads(folder):
    with Server(folder) as server:
        benchmark(server, "-t", "set,get", "-n", str(COUNT), "--threads", "2", "-P", "16")
