"""abusers.py - what a storm is made of. Each abuser is called with the storm and a scale, 1 for the figure of
continuous integration, and returns how many connections it made; Failed if one of them was not dropped within
its limit, or was though it stays within all, or got what it should not.

BOUND_MB of each says what memory it may cost the server at most while it lasts, from the sizes and limits that
are documented; ALONE has those that change what holds for all clients.
"""
import contextlib
import glob
import os
import random
import selectors
import socket
import time

import resp
from server import Failed, expect
from victim import (MB, client_id, dial, encode, is_closed, receive, receive_all, reset, until)

BIG_BYTES = MB
INPUT_BYTES = 2 * 16 * 1024  # of a command that is on its way: its bytes, the slots of its arguments
CONN_BYTES = 4 * 1024
PAUSE_BYTES = MB  # unsent output at which nothing more is run for a client
SWEEP_S = 1.1  # each connection is looked at once in so long
SLACK_S = 15  # a busy machine
KILLED_S = 2 + SLACK_S


def wait_closed(socks, limit_s, what):
    left = set(socks)

    def all_closed():
        for sock in list(left):
            if is_closed(sock):
                left.discard(sock)
        return not left
    return until(all_closed, limit_s, lambda: f"{len(left)} of {len(socks)} {what} are not closed")


def wait_dropped(storm, admin, numbers, limit_s, what):
    """The clients with these ids are gone; their sockets are not read."""
    wanted = set(numbers)
    return until(lambda: not wanted & storm.victim.ids(admin), limit_s,
                 lambda: f"{len(wanted & storm.victim.ids(admin))} of {len(wanted)} {what} are there")


@contextlib.contextmanager
def many(port, count, receive_bytes=0):
    """So many connections; all are closed in the end."""
    socks = []
    try:
        for _ in range(count):
            socks.append(dial(port, receive_bytes))
        yield socks
    finally:
        for sock in socks:
            sock.close()


@contextlib.contextmanager
def settings(storm, admin, before, after):
    storm.victim.set(*before, admin=admin)
    try:
        yield
    finally:
        storm.victim.set(*after, admin=admin)


def duplex(sock, data, wanted, hold_s):
    """Sends, reads nothing for hold_s, then reads as well, and compares; returns the seconds that it took."""
    began = time.monotonic()
    selector = selectors.DefaultSelector()
    sock.setblocking(False)
    selector.register(sock, selectors.EVENT_WRITE)
    sent = at = 0
    view = memoryview(data)
    while at < len(wanted):
        held = time.monotonic() - began < hold_s
        events = (0 if held else selectors.EVENT_READ) | (selectors.EVENT_WRITE if sent < len(data) else 0)
        if events == 0:
            time.sleep(0.02)
            continue
        selector.modify(sock, events)
        ready = selector.select(30 if not held else 0.02)
        if not ready and not held:
            raise Failed(f"nothing moves after {sent} bytes sent and {at} of {len(wanted)} received")
        for _, what in ready:
            with contextlib.suppress(BlockingIOError):
                if what & selectors.EVENT_WRITE:
                    sent += sock.send(view[sent:sent + (1 << 18)])
                if what & selectors.EVENT_READ:
                    part = sock.recv(1 << 18)
                    if not part or part != wanted[at:at + len(part)]:
                        raise Failed(f"a wrong reply at byte {at}: {part[:60]!r}, "
                                     f"not {wanted[at:at + 60]!r}")
                    at += len(part)
    selector.close()
    return time.monotonic() - began


# ---- many and short-lived ----

def crowd(storm, scale):
    """As many idle ones as maxclients allows, more than those, and all are still served."""
    victim, count = storm.victim, storm.crowd
    quiet, extra = [], []
    before_mb, before_used = victim.rss_mb(), victim.info("used_memory")
    try:
        for i in range(count):
            quiet.append(dial(victim.port))
            if i % 2:
                quiet[-1].sendall(b"PING\r\n")
        for sock in quiet[1::2]:
            expect(receive(sock, 7), b"+PONG\r\n", "PING")
        until(lambda: victim.info("connected_clients") == victim.others + count, 20, "a crowd comes")
        limit_mb = 60 * count / 10000
        if victim.sanitized():
            limit_mb = float("inf")
        elif storm.small:
            limit_mb += 12  # buffers that are kept, too, which are not many a client in a large crowd
        until(lambda: victim.rss_mb() - before_mb < limit_mb, 5,
              lambda: f"{count} idle connections cost {victim.rss_mb() - before_mb:.1f} MB")
        storm.note_crowd(count, victim.rss_mb() - before_mb,
                         (victim.info("used_memory") - before_used) / count)
        free = 20
        victim.set("maxclients", victim.others + count + free)
        extra = [dial(victim.port) for _ in range(3 * free)]
        for sock in extra[:free]:
            sock.sendall(b"PING\r\n")
            expect(receive(sock, 7), b"+PONG\r\n", "PING of the last that are let in")
        for sock in extra[free:]:
            expect(receive_all(sock), b"-ERR max number of clients reached\r\n", "beyond maxclients")
        for sock in quiet:
            sock.sendall(b"PING\r\n")
        for sock in quiet:
            expect(receive(sock, 7), b"+PONG\r\n", "PING in a crowd")
    finally:
        victim.set("maxclients", storm.maxclients)
        for i, sock in enumerate(quiet + extra):
            if i % 2:
                reset(sock)
            else:
                sock.close()
    return len(quiet) + len(extra)


def churn(storm, scale):
    """They connect, send a command or a part of one, and leave in every way."""
    rng = storm.rng("churn")
    count = int(2000 * scale)
    waiting = []
    for i in range(count):
        sock = dial(storm.victim.port)
        command = rng.choice((encode("SET", f"churn:{i}", "x" * rng.choice((1, 100, 20000))),
                              b"GET churn:1\r\n", encode("MULTI") + encode("INCR", "churn:n")))
        part = command[:rng.randrange(len(command) + 1)]
        if part:
            sock.send(part)
        how = rng.randrange(3)
        if how == 0:
            sock.close()
        elif how == 1:
            reset(sock)
        else:
            sock.shutdown(socket.SHUT_WR)
            waiting.append(sock)
        if len(waiting) >= 200:
            wait_closed(waiting, KILLED_S, "that send no more")
            waiting = [each.close() for each in waiting][:0]
    wait_closed(waiting, KILLED_S, "that send no more")
    for sock in waiting:
        sock.close()
    return count


def half_open(storm, scale):
    """`timeout` closes those that say nothing, half a command, or do not take their replies; nobody else."""
    count = int(100 * scale)
    with storm.admin() as admin, many(storm.victim.port, 3 * count, 4096) as socks:
        with settings(storm, admin, ("timeout", 1), ("timeout", 0)):
            for sock in socks[:count]:
                sock.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$10\r\n12345")
            for sock in socks[count:count + 10]:
                sock.sendall(encode("GET", "big") * 4)
            numbers = storm.victim.ids(admin)
            began = time.monotonic()
            keepers = [storm.admin() for _ in range(3)]
            try:
                while len(numbers & storm.victim.ids(admin)) > storm.victim.others + 1:
                    for each in [*keepers, storm.victim.admin]:
                        expect(each.call("PING"), b"PONG", "PING of one that is not idle")
                    if time.monotonic() - began > 1 + SWEEP_S + SLACK_S:
                        raise Failed(f"{len(numbers & storm.victim.ids(admin)) - storm.victim.others - 1}"
                                     f" idle clients are there after {SLACK_S + 2} s")
                    time.sleep(0.2)
                if time.monotonic() - began < 0.9:
                    raise Failed("idle clients were closed before their time")
            finally:
                for each in keepers:
                    each.close()
    return 3 * count + 3


# ---- input ----

def trickle(storm, scale):
    """A byte at a time, all of them at once; each command is answered in the end."""
    rng = storm.rng("trickle")
    count = int(1500 * scale)
    sent, wanted = [], []
    for i in range(count):
        value = b"%0*d" % (rng.choice((4, 9, 14)), i)
        sent.append(encode("SET", f"t{i}", value) + encode("GET", f"t{i}"))
        wanted.append(b"+OK\r\n$%d\r\n%b\r\n" % (len(value), value))
    with many(storm.victim.port, count) as socks:
        for at in range(max(map(len, sent))):
            for sock, data in zip(socks, sent):
                if at < len(data):
                    sock.send(data[at:at + 1])
        for sock, reply in zip(socks, wanted):
            expect(receive(sock, len(reply)), reply, "the reply to a command that came slowly")
    return count


def giants(storm, scale):
    """Lengths that are declared, but not kept, cost nothing; what is not allowed is told, and closed."""
    rng = storm.rng("giants")
    count = int(200 * scale)
    victim = storm.victim
    cases = ((b"*1\r\n$536870913\r\n", b"invalid bulk length"),
             (b"*2147483648\r\n", b"invalid multibulk length"),
             (b"GET " + b"x" * 70000, b"too big inline request"),
             (b"*" + b"1" * 70000, b"too big mbulk count string"),
             (b"*1\r\n$" + b"1" * 70000, b"too big bulk count string"),
             (b"*1\r\n!", b"expected '$', got '!'"))
    with storm.admin() as admin, many(victim.port, count) as socks:
        numbers = victim.ids(admin)
        before = victim.info("used_memory", admin)
        total = victim.info("total_net_input_bytes", admin)
        for sock in socks:
            sent = rng.choice((b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nx",
                               b"*2147483647\r\n$3\r\nDEL\r\n$536870000\r\nabc",
                               b"*2\r\n$536870912\r\n"))
            sock.sendall(sent)
            total += len(sent)
        until(lambda: victim.info("total_net_input_bytes", admin) >= total, 20, "declared lengths are read")
        cost = (victim.info("used_memory", admin) - before) / count
        if cost > 2 * (INPUT_BYTES + 64 * 1024) and not storm.mixing:
            raise Failed(f"a declared length costs {cost:.0f} bytes")
        for data, text in cases * 3:
            with dial(victim.port) as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data + b"\r\n" if data.endswith(b"!") else data)
                got = receive_all(sock)
                # What was sent behind the error may cost its text.
                if got and got != b"-ERR Protocol error: " + text + b"\r\n":
                    raise Failed(f"after {data[:20]!r}: {got!r}")
        gone = numbers - victim.ids(admin)
        if len(gone) > 0 and not storm.mixing:
            raise Failed(f"{len(gone)} were closed that only declared a length")
    return count + 3 * len(cases)


def query_limit(storm, scale):
    """Who sends or queues more than client-query-buffer-limit is closed."""
    victim = storm.victim
    count = int(5 * scale) + 1
    with storm.admin() as admin, many(victim.port, 2 * count) as socks:
        with settings(storm, admin, ("client-query-buffer-limit", 2 * MB),
                      ("client-query-buffer-limit", 64 * MB)):
            for sock in socks[:count]:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\n" + b"x" * 4000000)
            for sock in socks[count:]:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(encode("MULTI") + encode("SET", "k", "x" * 100000) * 40)
            wait_closed(socks, KILLED_S, "that send too much")
    return 2 * count


def strangers(storm, scale):
    """Before AUTH: errors for all they send, little of it, and none of the others' rights."""
    victim = storm.victim
    count = int(100 * scale)
    noauth, wrong = b"-NOAUTH Authentication required.\r\n", b"-WRONGPASS invalid username-password pair"
    with storm.admin() as admin:
        with settings(storm, admin, ("requirepass", "storm"), ("requirepass", "")):
            with many(victim.port, count) as socks:
                for sock in socks[:10]:
                    duplex(sock, b"PING\r\n" * 20000, noauth * 20000, 0.2)
                for sock in socks[10:20]:
                    sock.sendall(b"AUTH guess\r\n" * 100)
                    if receive(sock, len(wrong)) != wrong:
                        raise Failed("a wrong password is not refused")
                    reset(sock)
                refused = []
                for i, sock in enumerate(socks[20:40]):
                    sock.sendall((b"*11\r\n", b"*2\r\n$4\r\nAUTH\r\n$16385\r\n")[i % 2])
                    got = receive_all(sock)
                    refused.append(got.startswith(b"-ERR Protocol error: unauthenticated "))
                expect(refused, [True] * len(refused), "long requests before AUTH are refused")
                part = b"*10\r\n" + b"$16384\r\n%b\r\n" % (b"x" * 16384) * 9
                for sock in socks[40:]:
                    sock.sendall(part)
                socks[20].close()
                with storm.admin() as late:
                    expect(late.call("AUTH", "storm"), b"OK", "AUTH beside them")
                    expect(late.call("GET", "absent"), None, "GET after AUTH")
    return count + 1


# ---- output ----

def slow_readers(storm, scale):
    """Past the hard limit, and too long above the soft one, they are dropped; the others never."""
    victim = storm.victim
    count = int(4 * scale) + 1
    option, none = "client-output-buffer-limit", "normal 0 0 0"
    with storm.admin() as admin, many(victim.port, 3 * count, 4096) as socks:
        with settings(storm, admin, (option, f"normal {16 * MB} 0 0"), (option, none)):
            numbers = [client_id(sock) for sock in socks]
            hard, soft, kept = numbers[:count], numbers[count:2 * count], numbers[2 * count:]
            for sock in socks[:count]:
                sock.sendall(encode("MGET", *["big"] * 24))
            for sock in socks[2 * count:]:
                sock.sendall(encode("GET", "big") * 8)
            wait_dropped(storm, admin, hard, KILLED_S, "whose output passes the hard limit")
            victim.set(option, f"normal {16 * MB} {3 * MB} 1", admin=admin)
            for sock in socks[count:2 * count]:
                sock.sendall(encode("MGET", *["big"] * 10))
            began = time.monotonic()
            wait_dropped(storm, admin, soft, 1 + 2 * SWEEP_S + SLACK_S, "above the soft limit")
            if time.monotonic() - began < 0.9:
                raise Failed("dropped before the soft limit's time")
            expect(set(kept) <= victim.ids(admin), True, "who reads slowly within the limits is kept")
            reply = b"$%d\r\n%b\r\n" % (BIG_BYTES, storm.big)
            for sock in socks[2 * count:]:
                expect(receive(sock, 8 * len(reply)) == reply * 8, True, "slowly read replies")
    return 3 * count


def pipelines(storm, scale):
    """100,000 commands in one go, and nothing is read for a while; replies come whole and in order."""
    count = int(100000 * min(scale, 1))
    counted = b"".join(b":%d\r\n" % (i + 1) for i in range(count))
    value = b"p" * 1000
    total = 0
    for kind in range(3):
        with dial(storm.victim.port) as sock:
            key = f"pipe:{os.getpid()}:{storm.serial()}"
            if kind == 0:
                duplex(sock, encode("INCR", key) * count, counted, 0.3)
            elif kind == 1:
                duplex(sock, encode("SET", key, value) + encode("GET", key) * (count // 5),
                       b"+OK\r\n" + b"$1000\r\n%b\r\n" % value * (count // 5), 0.3)
            else:
                sent = encode("MULTI") + encode("INCR", key) * 1000 + encode("EXEC")
                wanted = b"".join(
                    b"+OK\r\n" + b"+QUEUED\r\n" * 1000 + b"*1000\r\n" +
                    b"".join(b":%d\r\n" % (n * 1000 + i + 1) for i in range(1000))
                    for n in range(count // 5000))
                duplex(sock, sent * (count // 5000), wanted, 0.3)
        total += 1
    return total


def slow_pipelines(storm, scale):
    """Nobody reads what large replies they asked for: each costs what the pause allows, and no more."""
    count = int(8 * scale) + 1
    reply = b"$%d\r\n%b\r\n" % (BIG_BYTES, storm.big)
    with storm.admin() as admin, many(storm.victim.port, count, 4096) as socks:
        for sock in socks:
            sock.sendall(encode("GET", "big") * 200)
        until(lambda: storm.victim.info("used_memory", admin) > count * PAUSE_BYTES, 10,
              "they fill their output")
        for sock in socks[:2]:
            expect(receive(sock, 10 * len(reply)) == reply * 10, True, "the first replies")
        for sock in socks[1::2]:
            reset(sock)
    return count


def monitors(storm, scale):
    """MONITOR without reading: closed once it passes the limit of what is pushed."""
    count = 6
    with storm.admin() as admin, many(storm.victim.port, count, 4096) as socks:
        numbers = [client_id(sock) for sock in socks]
        for sock in socks:
            sock.sendall(b"MONITOR\r\n")
            expect(receive(sock, 5), b"+OK\r\n", "MONITOR")
        for i in range(150):
            admin.call("SET", "monitored", "m" * 100000)
        wait_dropped(storm, admin, numbers, KILLED_S, "monitors that do not read")
    return count


def big_values(storm, scale):
    """A large value set and read, twice at a time; half of the readers leave on the way."""
    size = int(24 * MB * min(scale, 1))
    value = random.Random(size).randbytes(MB) * (size // MB)
    head = b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % len(value)
    with storm.admin() as admin, many(storm.victim.port, 4) as socks:
        for sock in socks[:2]:
            sock.sendall(head)
            sock.sendall(value)
            sock.sendall(b"\r\n")
            expect(receive(sock, 5), b"+OK\r\n", "SET of a large value")
        for sock in socks:
            sock.sendall(b"GET large\r\n")
        reply = b"$%d\r\n%b\r\n" % (len(value), value)
        for sock in socks[:2]:
            expect(receive(sock, len(reply)) == reply, True, "GET of a large value")
        for sock in socks[2:]:
            receive(sock, 100000)
            reset(sock)
        expect(admin.call("DEL", "large"), 1, "DEL")
    return 4


# ---- what an administrator does meanwhile; what waits ----

def pause_and_kill(storm, scale):
    """Writers that are held by CLIENT PAUSE leave, are killed, or are answered when it ends."""
    count = int(150 * scale)
    rng = storm.rng("pause")
    with storm.admin() as admin, many(storm.victim.port, count) as socks:
        numbers = [client_id(sock) for sock in socks]
        expect(admin.call("CLIENT", "PAUSE", 60000, "WRITE"), b"OK", "CLIENT PAUSE")
        for i, sock in enumerate(socks):
            sock.sendall(encode("SET", f"paused:{i}", i) + encode("GET", f"paused:{i}"))
        kept, left = [], []
        for i, sock in enumerate(socks):
            how = rng.randrange(4)
            if how == 0:
                reset(sock)
                left.append(numbers[i])
            elif how == 1:
                killed = admin.call("CLIENT", "KILL", "ID", numbers[i])
                if killed != 1 or storm.victim.ids(admin) & {numbers[i]}:
                    raise Failed("CLIENT KILL of a client that waits")
            elif how == 2:
                sock.shutdown(socket.SHUT_WR)
                kept.append((i, sock))
            else:
                kept.append((i, sock))
        wait_dropped(storm, admin, left, SWEEP_S + SLACK_S, "that left while their command waits")
        expect(admin.call("CLIENT", "UNPAUSE"), b"OK", "CLIENT UNPAUSE")
        for i, sock in kept:
            wanted = b"+OK\r\n$%d\r\n%d\r\n" % (len(str(i)), i)
            expect(receive(sock, len(wanted)), wanted, "after the pause")
    return count


def cold_readers(storm, scale):
    """Clients that leave while their command waits for the disk."""
    count = int(100 * scale)
    victim = storm.victim
    parks = victim.info("parked_reads") if not storm.mixing else 0
    with storm.admin() as admin:
        for round_no in range(3):
            for path in glob.glob(os.path.join(victim.folder, "data", "*")):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with many(victim.port, count) as socks:
                for i, sock in enumerate(socks):
                    sock.sendall(b"GET cold:%d\r\nGET cold:%d\r\n" %
                                 (i * 7 % storm.cold_count, i * 13 % storm.cold_count))
                for i, sock in enumerate(socks):
                    if i % 3 == 0:
                        reset(sock)
                for i, sock in enumerate(socks):
                    if i % 3:
                        wanted = b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in
                                          (storm.cold(i * 7 % storm.cold_count),
                                           storm.cold(i * 13 % storm.cold_count)))
                        expect(receive(sock, len(wanted)) == wanted, True, "a value from the disk")
        storm.note_parks(victim.info("parked_reads", admin) - parks)
    return 3 * count


# ---- descriptors ----

def emfile(storm, scale):
    """No descriptor is free: clients are shed or wait, nothing spins, and all is well when there are some."""
    victim = storm.victim
    count = int(100 * scale)
    socks = []
    with storm.admin() as admin:
        used = len(victim.fds())
        victim.limit_fds(used + 8)
        try:
            socks = [dial(victim.port) for _ in range(count)]
            left = set(socks)
            until(lambda: [left.discard(sock) for sock in list(left) if is_closed(sock)] is not None
                  and len(left) <= 12, KILLED_S, lambda: f"{len(left)} of {count} are not shed")
            expect(admin.call("PING"), b"PONG", "PING while descriptors are out")
            # Not even the reserve can be had again: then the listener rests.
            victim.limit_fds(0)
            socks += [dial(victim.port) for _ in range(20)]
            storm.rest()
            storm.expect_idle("the listener spins while descriptors are out")
            storm.good.ask("go")
            expect(admin.call("PING"), b"PONG", "PING while the listener rests")
        finally:
            victim.limit_fds(None)
        with storm.admin() as late:
            expect(late.call("PING"), b"PONG", "PING when descriptors are there again")
        for sock in socks:
            sock.close()
    return len(socks) + 1


BOUND_MB = {
    crowd: 120,
    churn: 60,
    half_open: 60,
    trickle: 40 + 1500 * 2 * (INPUT_BYTES + CONN_BYTES) / MB,
    giants: 40 + 200 * 2 * (INPUT_BYTES + 64 * 1024) / MB,
    query_limit: 40 + 12 * 2 * 4,
    strangers: 40 + 100 * 2 * (10 * 16384 + 64 * 1024) / MB,
    slow_readers: 40 + 5 * 2 * (16 + 16 + 4),
    pipelines: 60,
    slow_pipelines: 40 + 9 * 2 * 4,
    monitors: 40 + 6 * 2 * 4,
    big_values: 60 + 24 * 2 * 8,
    pause_and_kill: 60,
    cold_readers: 80,
    emfile: 40,
}
ALONE = (half_open, query_limit, strangers, slow_readers, emfile)
MIXED = tuple(abuser for abuser in BOUND_MB if abuser not in ALONE and abuser is not crowd)
