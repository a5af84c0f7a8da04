"""Start and end: options, directories, ports, signals, what the log says."""
import os
import shutil
import signal
import socket
import subprocess
import time

import resp
import server as servers
from server import Failed, Server, expect

EXIT_S = 60
RESTART_MAX_S = 10  # with sanitizers, on a busy machine; some tenths of a second without


def snapshot(folder):
    """Everything that a program could have changed in a tree."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content = b""
            if name in names:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, folder)] = (status.st_mode, status.st_ino,
                                                    status.st_mtime_ns, content)
    return found


def refused(arguments, words, folder=None, **more):
    """varved with these arguments: exit 1, one line on stderr with these words, nothing changed."""
    before = snapshot(folder) if folder else None
    done = subprocess.run([servers.varved_path(), *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=EXIT_S, **more)
    said = done.stderr.decode("utf-8", "replace")
    what = f"varved {' '.join(arguments)}: exit {done.returncode}, {said!r}"
    if done.returncode != 1:
        raise Failed(f"{what}; expected exit 1")
    if said.count("\n") != 1 or not said.startswith("varved: "):
        raise Failed(f"{what}; expected one line that begins with `varved: `")
    for word in words:
        if word not in said:
            raise Failed(f"{what}; expected it to say {word!r}")
    if folder and snapshot(folder) != before:
        raise Failed(f"{what}; the directory was changed")


def make_database(folder):
    """A directory with one key in it. Returns its path."""
    with Server(folder) as server:
        with server.connect() as connection:
            expect(connection.call("SET", "k", "v"), b"OK", "SET")
        server.terminate()
    return os.path.join(folder, "data")


def case_help_and_version(folder):
    for option, wanted in (("--help", "--appendfsync"), ("-h", "--port"), ("--version", "varved "),
                           ("-v", "varved ")):
        done = subprocess.run([servers.varved_path(), option], stdout=subprocess.PIPE, cwd=folder,
                              timeout=EXIT_S)
        expect(done.returncode, 0, option)
        if wanted not in done.stdout.decode():
            raise Failed(f"{option} says nothing of {wanted}")
    expect(os.listdir(folder), [], "files left behind")


def case_banner_and_log(folder):
    with Server(folder, "--appendfsync", "always") as server:
        log = server.log()
        for word in (f"port {server.port}", f"pid {server.pid}", os.path.join(folder, "data"),
                     "always", "0.1.0"):
            if word not in log:
                raise Failed(f"the banner does not say {word}: {log}")
        with server.connect() as connection:
            connection.calls([("SET", f"k{i}", "v") for i in range(100)])
        server.kill()
        server.start()
        found = server.log()[len(log):]
        if "recover" not in found.lower():
            raise Failed(f"the log does not say what recovery found: {found}")


def case_unknown_option(folder):
    data = os.path.join(folder, "data")
    refused(["--dir", data, "--nonsense", "1"], ["nonsense"], folder)
    refused(["--dir", data, "--port"], ["port"], folder)
    refused([os.path.join(folder, "absent.conf")], ["absent.conf"], folder)
    expect(os.listdir(folder), [], "files left behind")


def case_bad_value(folder):
    data = os.path.join(folder, "data")
    for option, value in (("port", "70000"), ("port", "-1"), ("port", "abc"), ("port", ""),
                          ("appendfsync", "sometimes"), ("memtable-size", "12xb"),
                          ("memtable-size", "1"), ("databases", "17"), ("databases", "0"),
                          ("maxclients", "0"), ("wal-size", "-5"), ("loglevel", "loud"),
                          ("bind", "not an address"), ("timeout", "-1")):
        refused(["--dir", data, f"--{option}", value], [option], folder)
    expect(os.listdir(folder), [], "files left behind")


def case_bad_file(folder):
    path = os.path.join(folder, "varve.conf")
    for text, word in (("port 1\nnonsense 1\n", "varve.conf:2"), ("port\n", "varve.conf:1"),
                       ("\n# fine\nappendfsync \"always\n", "varve.conf:3")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        refused([path], [word], folder)


def case_config_file(folder):
    path = os.path.join(folder, "varve.conf")
    data = os.path.join(folder, "elsewhere")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"# ours\nport 1\ndir '{data}'\nappendfsync no\nsave 900 1\n")
    port = servers.free_port()
    process = subprocess.Popen([servers.varved_path(), path, "--port", str(port)],
                               stdout=subprocess.DEVNULL)
    server = Server(folder, port=port)
    server.process = process
    try:
        server.wait_ready()
        with server.connect() as connection:
            expect(connection.call("CONFIG", "GET", "appendfsync"), [b"appendfsync", b"no"], "file")
            expect(connection.call("CONFIG", "GET", "dir"), [b"dir", data.encode()], "dir")
        server.terminate()
    finally:
        server.discard()
    if "CURRENT" not in os.listdir(data):
        raise Failed(f"no database in {data}")


def case_port_in_use(folder):
    data = make_database(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(["--dir", data, "--port", port], [port], folder)
        refused(["--dir", os.path.join(folder, "new"), "--port", port], [port], folder)


def case_second_server_on_a_directory(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            connection.call("SET", "k", "v")
            data = os.path.join(folder, "data")
            before = set(os.listdir(data))  # the first one may add to its pool meanwhile
            refused(["--dir", data, "--port", str(servers.free_port())], [data])
            expect(before - set(os.listdir(data)), set(), "files that are gone")
            expect(connection.call("SET", "k", "w"), b"OK", "SET after it")
        server.kill()
        server.start()
        with server.connect() as connection:
            expect(connection.call("GET", "k"), b"w", "GET")


def case_unwritable_directory(folder):
    port = ["--port", str(servers.free_port())]
    refused(["--dir", "/proc/sys", *port], ["/proc/sys"])
    refused(["--dir", os.path.join(folder, "no", "parent"), *port], ["parent"], folder)
    plain = os.path.join(folder, "file")
    with open(plain, "w", encoding="utf-8") as file:
        file.write("not a directory")
    refused(["--dir", plain, *port], [plain], folder)
    closed = os.path.join(folder, "closed")
    os.mkdir(closed, 0o500)
    if os.geteuid() == 0:
        unwritable_for_nobody(folder, closed, port)
    else:
        refused(["--dir", closed, *port], [closed], folder)


def unwritable_for_nobody(folder, closed, port):
    """root may write everywhere: another user is tried, with a copy of the program that it can run."""
    if shutil.which("setpriv") is None:
        return
    program = os.path.join(folder, "varved")
    shutil.copy(os.path.realpath(servers.varved_path()), program)
    os.chmod(folder, 0o755)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program,
                           "--dir", closed, *port], stdin=subprocess.DEVNULL, timeout=EXIT_S,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = done.stderr.decode()
    if done.returncode != 1 or said.count("\n") != 1 or closed not in said:
        raise Failed(f"as nobody: exit {done.returncode}, {said!r}")
    expect(os.listdir(closed), [], "files in the unwritable directory")


def write(folder, **files):
    os.mkdir(folder)
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def case_foreign_directory(folder):
    port = ["--port", str(servers.free_port())]
    leveldb = os.path.join(folder, "leveldb")
    write(leveldb, CURRENT="MANIFEST-000002\n", LOCK="", LOG="made by another")
    with open(os.path.join(leveldb, "MANIFEST-000002"), "wb") as file:
        file.write(b"V\xf9\xbf\x55\x1c\x00\x01\x01\x1aleveldb.BytewiseComparator")
    refused(["--dir", leveldb, *port], ["CURRENT"], folder)
    newer = os.path.join(folder, "newer")
    write(newer, CURRENT="varve 99 0123456789abcdef0123456789abcdef MANIFEST-000002 "
                         "crc32c=00000000\n")
    refused(["--dir", newer, *port], ["CURRENT"], folder)
    headless = os.path.join(folder, "headless")
    shutil.copytree(make_database(folder), headless)
    os.remove(os.path.join(headless, "CURRENT"))
    refused(["--dir", headless, *port], [headless], folder)


def case_damaged_directory(folder):
    port = ["--port", str(servers.free_port())]
    with Server(folder, "--memtable-size", "64kb") as server, server.connect() as connection:
        replies = connection.calls([("SET", f"key:{i}", "v" * 1000) for i in range(300)])
        expect(set(replies), {b"OK"}, "replies")
        deadline = time.monotonic() + EXIT_S
        while b"\r\nflushes:0\r\n" in connection.call("INFO", "lsm"):
            if time.monotonic() > deadline:
                raise Failed("300 KB into memtables of 64 KB, and no flush")
        server.terminate()
    data = os.path.join(folder, "data")
    expect(any(name.endswith(".seg") for name in os.listdir(data)), True, "there are segments")
    for name in sorted(os.listdir(data)):
        if name in ("LOCK", "RESERVE"):
            continue
        broken = os.path.join(folder, "broken")
        shutil.copytree(data, broken)
        path = os.path.join(broken, name)
        if name.endswith(".wal") and b"varveWAL" not in open(path, "rb").read(64):
            shutil.rmtree(broken)
            continue  # one of the pool: nobody's data
        if name.endswith(".wal"):
            os.remove(path)
        else:
            with open(path, "r+b") as file:
                file.seek(10)
                file.write(b"\xaa")
        refused(["--dir", broken, *port], [name], folder)
        shutil.rmtree(broken)


def case_unknown_names_are_left_alone(folder):
    data = make_database(folder)
    for name in ("notes.txt", "dump.rdb", "backup.tar"):
        with open(os.path.join(data, name), "w", encoding="utf-8") as file:
            file.write("mine")
    with Server(folder) as server:
        with server.connect() as connection:
            expect(connection.call("GET", "k"), b"v", "GET")
        server.terminate()
    for name in ("notes.txt", "dump.rdb", "backup.tar"):
        with open(os.path.join(data, name), encoding="utf-8") as file:
            expect(file.read(), "mine", name)


def case_modes_of_files(folder):
    fresh = os.path.join(folder, "fresh")
    with Server(folder, "--dir", fresh) as server:
        with server.connect() as connection:
            connection.call("SET", "k", "v")
        expect(oct(os.stat(fresh).st_mode & 0o777), oct(0o700), "mode of the directory")
        for name in os.listdir(fresh):
            mode = os.stat(os.path.join(fresh, name)).st_mode & 0o777
            expect(oct(mode), oct(0o600), f"mode of {name}")


def case_sigterm_and_sigint(folder):
    for number in (signal.SIGTERM, signal.SIGINT):
        server = Server(folder).start()
        try:
            with server.connect() as connection:
                expect(connection.call("INCR", "n"), 1 if number == signal.SIGTERM else 2, "INCR")
                server.process.send_signal(number)
                server.wait_exit()
        finally:
            server.discard()


def case_shutdown_command(folder):
    server = Server(folder).start()
    try:
        for number, words in enumerate(((), ("NOSAVE",), ("SAVE",), ("NOW", "FORCE")), 1):
            with server.connect() as connection:
                expect(connection.call("INCR", "n"), number, "INCR")
                connection.send("SHUTDOWN", *words)
                try:
                    raise Failed(f"SHUTDOWN {words} answered {connection.read()!r}")
                except resp.Broken:
                    pass
            server.wait_exit()
            server.start()
    finally:
        server.discard()


def case_default_data_directory(folder):
    port = servers.free_port()
    server = Server(folder, port=port)
    server.process = subprocess.Popen([servers.varved_path(), "--port", str(port)], cwd=folder,
                                      stdout=subprocess.DEVNULL)
    try:
        server.wait_ready()
        if "CURRENT" not in os.listdir(os.path.join(folder, "data")):
            raise Failed("no database in ./data")
        server.terminate()
    finally:
        server.discard()


def case_logfile_and_pidfile(folder):
    log, pid = os.path.join(folder, "varve.log"), os.path.join(folder, "varve.pid")
    with Server(folder, "--logfile", log, "--pidfile", pid) as server:
        with open(pid, encoding="utf-8") as file:
            expect(file.read().strip(), str(server.pid), "pidfile")
        server.terminate()
        expect(server.log(), "", "what goes to stdout when there is a logfile")
    with open(log, encoding="utf-8") as file:
        if "Ready to accept connections" not in file.read():
            raise Failed("the logfile lacks the start")
    expect(os.path.exists(pid), False, "pidfile after the end")
    refused(["--dir", os.path.join(folder, "d"), "--logfile", "/proc/sys/log"], ["/proc/sys/log"],
            folder)


def case_restart_is_quick(folder):
    with Server(folder) as server:
        with server.connect() as connection:
            for base in range(0, 100000, 10000):
                connection.calls([("SET", f"key:{base + i}", "x" * 64) for i in range(10000)])
        server.terminate()
        began = time.monotonic()
        server.start()
        took_s = time.monotonic() - began
        if took_s > RESTART_MAX_S:
            raise Failed(f"a start with 100,000 keys takes {took_s:.1f} s")
        with server.connect() as connection:
            expect(connection.call("DBSIZE"), 100000, "DBSIZE")
            expect(connection.call("GET", "key:99999"), b"x" * 64, "GET")
