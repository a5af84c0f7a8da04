"""resp.py - the least of a RESP client: bytes to a socket, replies back, parsed and as they came.

Standard library only. A Connection belongs to one thread.
"""
import socket


class Broken(Exception):
    """The server closed or reset the connection, or did not answer in time."""


class Malformed(Exception):
    """What came is no RESP."""


class Error(str):
    """An error reply, without its minus sign."""


class Simple(bytes):
    """A status reply (`+OK`), to be told from a bulk string."""


def encode(*args):
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            arg = arg.encode()
        elif isinstance(arg, int):
            arg = b"%d" % arg
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


class Connection:
    def __init__(self, port, timeout_s=20.0, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0  # what lies before it in the buffer was consumed

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- sending ----

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Broken(str(error)) from None

    def send(self, *args):
        self.send_raw(encode(*args))

    def call(self, *args):
        self.send(*args)
        return self.read()

    def calls(self, commands):
        """A pipeline: all commands in one go, then all replies."""
        self.send_raw(b"".join(encode(*command) for command in commands))
        return [self.read() for _ in commands]

    # ---- receiving ----

    def fill(self):
        try:
            data = self.socket.recv(1 << 18)
        except socket.timeout:
            raise Broken("no answer in time") from None
        except OSError as error:
            raise Broken(str(error)) from None
        if not data:
            raise Broken("closed by the server")
        self.buffer += data

    def take_line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line = bytes(self.buffer[self.at:end])
                self.at = end + 2
                return line
            self.fill()

    def take(self, count):
        while len(self.buffer) - self.at < count + 2:
            self.fill()
        data = bytes(self.buffer[self.at:self.at + count])
        if self.buffer[self.at + count:self.at + count + 2] != b"\r\n":
            raise Malformed("no CR LF behind a bulk string")
        self.at += count + 2
        return data

    def read(self):
        """The next reply, parsed."""
        if self.at > 1 << 16:
            self.compact()
        return self.parse()

    def parse(self):
        """bytes for bulks, Simple for statuses, Error, int, None, list; a RESP3 map is a list of its
        keys and values in turn, a set a list, a double its text, a boolean a bool."""
        line = self.take_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Simple(rest)
        if kind == b"-":
            return Error(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        if kind in (b"$", b"="):
            return None if rest == b"-1" else self.take(int(rest))
        if kind in (b"*", b"~", b">", b"%"):
            if rest == b"-1":
                return None
            count = int(rest) * (2 if kind == b"%" else 1)
            return [self.parse() for _ in range(count)]
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind in (b",", b"("):
            return rest
        raise Malformed(f"a reply that begins with {line[:40]!r}")

    def read_bytes(self):
        """The next reply as it came, framing included."""
        self.compact()
        self.parse()
        return bytes(self.buffer[:self.at])

    def read_until_closed(self):
        """Everything that comes until the server closes."""
        while True:
            try:
                self.fill()
            except Broken as ended:
                if "in time" in str(ended):
                    raise
                break
        data = bytes(self.buffer[self.at:])
        self.at = len(self.buffer)
        return data

    def compact(self):
        del self.buffer[:self.at]
        self.at = 0
