"""CLIENT PAUSE, KILL and REPLY, MONITOR, the slow log and the latency monitor, over sockets."""
import contextlib
import os
import re
import socket
import threading
import time

import resp
from server import Failed, Server, expect, free_port, redis_server

WAIT_S = 30


def wait_for(what, condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"never came: {what}")
        time.sleep(0.002)


def info_field(connection, section, name):
    text = connection.call("INFO", section).decode()
    found = re.search(rf"^{name}:(.*)\r$", text, re.MULTILINE)
    if found is None:
        raise Failed(f"INFO {section} has no {name}")
    return found.group(1)


def case_pause_holds_writes_and_nobody_else(folder):
    with Server(folder) as server, server.connect() as admin, server.connect() as writer, \
            server.connect() as other:
        other.call("SET", "k", "old")
        expect(admin.call("CLIENT", "PAUSE", "60000", "WRITE"), b"OK", "PAUSE")
        writer.send_raw(resp.encode("GET", "k") + resp.encode("SET", "k", "new") +
                        resp.encode("GET", "k"))
        expect(writer.read(), b"old", "the reply before the write that waits")
        other.send_raw(resp.encode("MULTI"))
        expect(other.read(), b"OK", "MULTI")
        other.send("SET", "m", "1")
        wait_for("two paused clients", lambda: info_field(admin, "clients", "blocked_clients") == "2")
        for _ in range(100):
            expect(admin.call("GET", "k"), b"old", "a read beside the pause")
        expect(admin.call("CLIENT", "UNPAUSE"), b"OK", "UNPAUSE")
        expect([writer.read(), writer.read()], [b"OK", b"new"], "what waited")
        expect(other.read(), b"QUEUED", "the queued write")
        expect(other.call("EXEC"), [b"OK"], "EXEC")
        expect(info_field(admin, "clients", "blocked_clients"), "0", "blocked_clients")


def case_pause_of_all_ends_by_itself(folder):
    with Server(folder) as server, server.connect() as admin, server.connect() as one:
        began = time.monotonic()
        expect(admin.call("CLIENT", "PAUSE", "300"), b"OK", "PAUSE")
        expect(one.call("PING"), b"PONG", "PING")
        passed = time.monotonic() - began
        if passed < 0.29:
            raise Failed(f"a pause of 300 ms ended after {passed * 1000:.0f} ms")


def case_kill_in_the_middle_of_a_pipeline(folder):
    """What the victim had written before stays; nothing of it runs after; the killer is answered."""
    with Server(folder) as server, server.connect() as admin:
        for _ in range(20):
            with server.connect() as victim:
                number = victim.call("CLIENT", "ID")
                victim.send_raw(resp.encode("INCR", "n") * 20000)
                expect(admin.call("CLIENT", "KILL", "ID", number), 1, "KILL")
                count = int(admin.call("GET", "n") or 0)
                victim.read_until_closed()
                expect(int(admin.call("GET", "n") or 0), count, "the counter after the kill")
                if f"id={number} ".encode() in admin.call("CLIENT", "LIST"):
                    raise Failed("a killed client is listed")


def case_kill_itself_and_while_paused(folder):
    with Server(folder) as server, server.connect() as admin, server.connect() as paused:
        admin.call("CLIENT", "PAUSE", "60000", "WRITE")
        paused.send("SET", "k", "v")
        wait_for("a paused client", lambda: info_field(admin, "clients", "blocked_clients") == "1")
        expect(admin.call("CLIENT", "KILL", "TYPE", "normal"), 1, "KILL of the paused one")
        expect(paused.read_until_closed(), b"", "what a killed client gets")
        expect(info_field(admin, "clients", "blocked_clients"), "0", "blocked_clients")
        admin.call("CLIENT", "UNPAUSE")
        expect(admin.call("EXISTS", "k"), 0, "the write of a killed client")
        admin.send_raw(resp.encode("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no") +
                       resp.encode("PING"))
        expect(admin.read_until_closed(), b":1\r\n", "who kills itself")


def case_muted_pipeline(folder):
    with Server(folder) as server, server.connect() as connection:
        connection.send_raw(resp.encode("CLIENT", "REPLY", "OFF") + resp.encode("INCR", "n") * 10000 +
                            resp.encode("CLIENT", "REPLY", "ON") + resp.encode("GET", "n"))
        expect([connection.read(), connection.read()], [b"OK", b"10000"], "after REPLY ON")


MONITORED = [("PING",), ("SET", "k", "a\"b\\\n\x01\xff".encode("latin-1")), ("get", "k"), ("SELECT", "2"),
             ("MULTI",), ("INCR", "n"), ("GET", "n"), ("EXEC",), ("CONFIG", "GET", "port"), ("FOO",),
             ("GET",), ("AUTH", "default", "secret"), ("MULTI",), ("FOO",), ("EXEC",), ("MULTI",),
             ("PING",), ("DISCARD",), ("SLOWLOG", "LEN"), ("ACL", "WHOAMI"), ("HELLO", "2"),
             ("CLIENT", "ID"), ("CLIENT", "LIST"), ("DBSIZE",), ("ECHO", b"")]


def monitored_lines(server):
    with server.connect() as monitor, server.connect() as client:
        expect(monitor.call("MONITOR"), b"OK", "MONITOR")
        for command in MONITORED:
            client.call(*command)
        client.call("ECHO", "the end")
        lines = []
        while not lines or b"the end" not in lines[-1]:
            lines.append(monitor.take_line())
        address = "%s:%d" % client.socket.getsockname()
        for line in lines:
            if not re.match(rb"\+\d{10}\.\d{6} \[\d+ %b\] \"" % address.encode(), line):
                raise Failed(f"no line of MONITOR: {line}")
        return [line.split(b"]")[0].split()[1] + b"]" + line.split(b"]", 1)[1] for line in lines]


def case_monitor_says_what_redis_says(folder):
    os.mkdir(os.path.join(folder, "redis"))
    with Server(folder) as ours, redis_server(os.path.join(folder, "redis")) as theirs:
        expect(monitored_lines(ours), monitored_lines(theirs), "MONITOR's lines")


def case_monitor_beside_load(folder):
    """Each command of each client is there once, in the client's order, writes and reads alike."""
    clients, commands = 4, 3000
    with Server(folder) as server, server.connect() as monitor:
        monitor.call("MONITOR")

        def load(which):
            with server.connect() as connection:
                for i in range(0, commands, 100):
                    connection.calls([("SET", f"k{which}", f"{i + j}") if j % 2 else
                                      ("GET", f"k{which}.{i + j}") for j in range(100)])

        threads = [threading.Thread(target=load, args=(which,)) for which in range(clients)]
        for thread in threads:
            thread.start()
        seen = {which: [] for which in range(clients)}
        while sum(map(len, seen.values())) < clients * commands:
            words = re.findall(rb'"([^"]*)"', monitor.take_line())
            number = words[2] if words[0] == b"SET" else words[1].split(b".")[1]
            seen[int(words[1][1:2])].append(int(number))
        for thread in threads:
            thread.join()
        for which in range(clients):
            expect(seen[which], list(range(commands)), f"the lines of client {which}")
        expect(monitor.call("RESET"), b"RESET", "RESET")
        with server.connect() as other:
            other.call("PING")
        expect(monitor.call("PING"), b"PONG", "PING after RESET")


def slow_monitor(folder, *options):
    value = "x" * 100000
    with Server(folder, *options) as server, server.connect() as slow, server.connect() as client:
        slow.call("MONITOR")
        for _ in range(2000):
            expect(client.call("ECHO", value), value.encode(), "ECHO beside a slow monitor")
            if info_field(client, "varve", "output_limit_closes") == "1":
                break
        else:
            raise Failed("a monitor that does not read is never closed")
        expect(info_field(client, "clients", "connected_clients"), "1", "connected_clients")
        if "its output passes the limit" not in server.log():
            raise Failed("the log does not say why the monitor was closed")


def case_slow_monitor_meets_the_limit(folder):
    slow_monitor(folder, "--client-output-buffer-limit", "normal", "8mb", "0", "0")


def case_slow_monitor_is_bounded_without_a_limit(folder):
    slow_monitor(folder)


def case_slowlog_and_latency_of_a_slow_command(folder):
    with Server(folder, "--enable-debug-command", "yes", "--slowlog-log-slower-than", "100000",
                "--latency-monitor-threshold", "100") as server, server.connect() as connection:
        connection.call("CLIENT", "SETNAME", "me")
        connection.call("PING")
        connection.call("DEBUG", "SLEEP", "0.15")
        entries = connection.call("SLOWLOG", "GET")
        expect(len(entries), 1, "entries of the slow log")
        number, when, took_us, words, address, name = entries[0]
        expect([number, words, name], [0, [b"DEBUG", b"SLEEP", b"0.15"], b"me"], "the entry")
        expect(address, ("%s:%d" % connection.socket.getsockname()).encode(), "its address")
        if not 150000 <= took_us < 10000000 or abs(when - time.time()) > 60:
            raise Failed(f"took {took_us} us at {when}")
        event, _, last_ms, max_ms = connection.call("LATENCY", "LATEST")[0]
        expect([event, last_ms], [b"command", max_ms], "LATENCY LATEST")
        expect(last_ms, took_us // 1000, "milliseconds")
        expect(connection.call("LATENCY", "RESET"), 1, "LATENCY RESET")


def case_port_and_bind_change_at_run_time(folder):
    """Who is connected stays; what cannot be had changes nothing, not even beside other settings."""
    with Server(folder) as server, server.connect() as one, server.connect() as other, \
            contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expect(one.call("CONFIG", "SET", "timeout", "7", "port", port),
               resp.Error("ERR CONFIG SET failed (possibly related to argument 'port') - Unable to "
                          "listen on this port. Check server logs."), "a port that is taken")
        expect(one.call("CONFIG", "GET", "timeout"), [b"timeout", b"0"], "what was set with it")
        expect(info_field(one, "server", "tcp_port"), str(server.port), "tcp_port as before")
        with server.connect() as third:
            expect(third.call("PING"), b"PONG", "the port as before")
        old, server.port = server.port, free_port()
        expect(one.call("CONFIG", "SET", "port", server.port), b"OK", "another port")
        expect([one.call("PING"), other.call("PING")], [b"PONG", b"PONG"], "those who were there")
        expect(info_field(one, "server", "tcp_port"), str(server.port), "tcp_port")
        with server.connect() as third:
            expect(third.call("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"), b"OK", "two addresses")
            with contextlib.closing(socket.create_connection(("127.0.0.2", server.port))) as fourth:
                fourth.sendall(b"PING\r\n")
                expect(fourth.recv(7), b"+PONG\r\n", "the second address")
        with contextlib.closing(socket.socket()) as probe:
            expect(probe.connect_ex(("127.0.0.1", old)) != 0, True, "the old port is closed")
