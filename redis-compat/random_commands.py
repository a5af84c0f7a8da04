"""random_commands.py - random calls of the commands on strings and names, for random_diff.py.

A call is a list of words. Every slot of a call (a key, a number, a time) sometimes gets what does not
belong there, every call sometimes a word too many or too few, names and options any case and order. The
sources of words keep clear of what no two servers could answer alike: times lie hours away or in the
past, and no string gets large.

Who adds a command adds a row to CALLS.
"""
import random

KEYS = (b"k", b"l", b"m", b"n", b"", b"12", b"3.5", b"bin\x00\xff\r\n", b"K" * 1000, b"k[1]*?",
        b"with space", b"\xc3\xa4", b"-", b"*")
INTEGERS = (b"0", b"1", b"-1", b"7", b"10", b"-42", b"1000", b"9223372036854775807", b"9999", b"10000",
            b"-9223372036854775808", b"9223372036854775806", b"-9223372036854775807")
FLOATS = (b"1.5", b"-0.1", b"3.0e3", b"1e300", b"-1e300", b"0.1", b"1e-10", b"5.0", b"100.25", b"0",
          b"1e17", b"123456789.123456789", b"-3", b"2e0", b".5", b"5.")
TEXTS = (b"", b"abc", b"hello world", b"v\x00\xff\r\n", b"x" * 44, b"x" * 45, b" 1", b"01", b"1 ",
         b"+1", b"-0", b"nan", b"inf", b"ohmytext", b"mynewtext", b"\xff" * 20, b"aaaaaaaaaaaaaaaa")
NOT_INTEGERS = (b"abc", b"", b"1.5", b" 1", b"01", b"+1", b"-0", b"1e3", b"0x10", b"1\x00", b"-",
                b"9223372036854775808", b"-9223372036854775809", b"99999999999999999999")
NOT_FLOATS = (b"abc", b"", b"nan", b"-nan", b"inf", b"-inf", b"Infinity", b" 1", b"1 ", b"1e400", b"0x1p3",
              b"1.5.5", b"1\x00", b"--1")
PATTERNS = (b"*", b"k*", b"?", b"[k-m]", b"[^k]*", b"\\*", b"k\\[1]*", b"*bin*", b"", b"*i*h*", b"[",
            b"[k", b"[k-", b"**", b"*\x00*", b"[m-k]", b"\\", b"[\\k]", b"K*K", b"????*")
TYPES = (b"string", b"list", b"hash", b"STRING", b"foo", b"")
DATABASES = 4  # of the 16, so that they meet
FAR = 4102444800  # a time in 2100
CONNECTIONS = 3

# Never sent at random: what they do, or answer, is not of the data. commands/ tries them.
NOT_RANDOM = frozenset("""
acl bgrewriteaof bgsave config debug failover info lastsave latency lolwut memory
monitor replicaof slaveof role save shutdown slowlog time quit auth
""".split())


class Words:
    """A source of words, made from a seed."""

    def __init__(self, seed, payloads=()):
        self.random = random.Random(seed)
        self.payloads = payloads  # what DUMP gave

    def chance(self, share):
        return self.random.random() < share

    def pick(self, among):
        return self.random.choice(among)

    def some(self, slot, most=4):
        return [slot() for _ in range(self.random.randint(1, most))]

    def cased(self, word):
        how = self.random.random()
        if how < 0.6:
            return word
        if how < 0.8:
            return word.lower()
        return bytes(self.pick((byte, byte ^ 32)) if 65 <= byte <= 90 else byte for byte in word)

    # ---- slots ----

    def key(self):
        return self.pick(KEYS[:4]) if self.chance(0.6) else self.pick(KEYS)

    def value(self):
        how = self.random.random()
        if how < 0.45:
            return self.pick(INTEGERS)
        if how < 0.6:
            return self.pick(FLOATS)
        if how < 0.96:
            return self.pick(TEXTS)
        return b"%d-" % self.random.randrange(1000) * self.pick((100, 1000))

    def integer(self):
        return self.pick(NOT_INTEGERS) if self.chance(0.1) else self.pick(INTEGERS)

    def float(self):
        return self.pick(NOT_FLOATS) if self.chance(0.12) else self.pick(FLOATS)

    def index(self):
        if self.chance(0.06):
            return self.pick(NOT_INTEGERS)
        return b"%d" % self.pick((0, 1, 2, 3, 5, 10, 100, 100000, -1, -2, -5, -100, 2**31, 2**63 - 1,
                                  -2**63))

    def offset(self):
        """Of SETRANGE: what is not an error stays small."""
        if self.chance(0.1):
            return self.pick(NOT_INTEGERS)
        return b"%d" % self.pick((0, 0, 1, 3, 7, 20, 50, 300, -1, 536870912, 536870900 + 100, 2**63 - 1))

    def position(self):
        """Of a bit: what is not an error stays small."""
        if self.chance(0.08):
            return self.pick(NOT_INTEGERS + (b"-1", b"4294967296", b"#1", b"9223372036854775807"))
        return b"%d" % self.random.choice((0, 1, 7, 8, self.random.randrange(24),
                                           self.random.randrange(200), self.random.randrange(2400)))

    def bit(self):
        return self.pick((b"2", b"-1", b"10", b"") + NOT_INTEGERS) if self.chance(0.06) \
            else self.pick((b"0", b"1"))

    def bit_index(self):
        """The end of a range, in bytes or bits."""
        return self.index() if self.chance(0.3) else b"%d" % self.random.randrange(-400, 400)

    def field_type(self):
        if self.chance(0.05):
            return self.pick((b"u64", b"i65", b"u0", b"i0", b"U8", b"8", b"", b"u", b"i-1", b"u08", b"u8\x00x",
                              b"u8 "))
        return self.pick((b"i%d" % self.random.randint(1, 64), b"u%d" % self.random.randint(1, 63),
                          b"u8", b"i8", b"u4", b"i64", b"u63"))

    def field_position(self):
        return self.position() if self.chance(0.7) else b"#%d" % self.random.randrange(20)

    def field_number(self):
        """What SET puts and INCRBY adds, often near the end of what a field takes."""
        if self.chance(0.4):
            return self.integer()
        return b"%d" % (self.pick((-1, 1)) * (1 << self.random.randrange(63))
                        + self.random.randrange(-2, 3))

    def seconds(self):
        if self.chance(0.12):
            return self.pick(NOT_INTEGERS + (b"0", b"-1", b"-100000", b"9223372036854775807",
                                             b"9223372036854775", b"-9223372036854775808"))
        return b"%d" % self.random.randrange(10**5, 10**8)

    def milliseconds(self):
        if self.chance(0.12):
            return self.pick(NOT_INTEGERS + (b"0", b"-1", b"-100000", b"9223372036854775807",
                                             b"9223372036854775000"))
        return b"%d" % self.random.randrange(10**8, 10**11)

    def time(self):
        if self.chance(0.12):
            return self.pick(NOT_INTEGERS + (b"0", b"-1", b"1", b"1000000000", b"9223372036854775807",
                                             b"9223372036854775"))
        return b"%d" % (FAR + self.random.randrange(10**8))

    def time_ms(self):
        if self.chance(0.12):
            return self.pick(NOT_INTEGERS + (b"0", b"-1", b"1", b"1000000000000",
                                             b"9223372036854775807"))
        return b"%d" % (FAR * 1000 + self.random.randrange(10**11))

    def database(self):
        if self.chance(0.08):
            return self.pick((b"16", b"-1", b"abc", b"", b"99999999999999999999", b"1.0", b"4294967296"))
        return b"%d" % self.random.randrange(DATABASES)

    def expiry(self, more=()):
        """Words of SET and GETEX that set a time."""
        option, slot = self.pick(((b"EX", self.seconds), (b"PX", self.milliseconds),
                                  (b"EXAT", self.time), (b"PXAT", self.time_ms)) + tuple(more))
        return [self.cased(option)] + ([slot()] if slot else [])

    def options(self, groups, share=0.35):
        """Some of the groups of words in any order, seldom one twice."""
        chosen = [group() for group in groups if self.chance(share)]
        if chosen and self.chance(0.04):
            chosen.append(self.pick(chosen))
        if self.chance(0.02):
            chosen.append([self.pick((b"FOO", b"", b"EX", b"PX", b"NX", b"GET"))])
        self.random.shuffle(chosen)
        return [word for group in chosen for word in group]

    def option(self, *names):
        return lambda: [self.cased(self.pick(names))]


# ---- calls: what follows the name ----

def call_set(words):
    return [words.key(), words.value()] + words.options((
        words.option(b"NX", b"XX"), words.option(b"GET"),
        lambda: words.expiry(((b"KEEPTTL", None),))), 0.3)


def call_getex(words):
    return [words.key()] + words.options((lambda: words.expiry(((b"PERSIST", None),)),), 0.7)


def pairs(words):
    return [word for _ in range(words.random.randint(1, 4)) for word in (words.key(), words.value())]


def call_expire(slot):
    def call(words):
        names = words.options((words.option(b"NX", b"XX", b"GT", b"LT"),
                               words.option(b"XX", b"GT", b"LT")), 0.3)
        return [words.key(), getattr(words, slot)()] + names
    return call


def call_copy(words):
    return [words.key(), words.key()] + words.options((
        lambda: [words.cased(b"DB"), words.database()], words.option(b"REPLACE")), 0.4)


def call_lcs(words):
    return [words.pick(KEYS[:4]), words.pick(KEYS[:4])] + words.options((
        words.option(b"LEN"), words.option(b"IDX"), words.option(b"WITHMATCHLEN"),
        lambda: [words.cased(b"MINMATCHLEN"), words.index()]), 0.35)


def call_bitcount(words):
    span = [words.bit_index(), words.bit_index()]
    return [words.key()] + words.pick((
        [], span, span, span + [words.cased(b"BIT")], span + [words.cased(b"BIT")],
        span + [words.cased(b"BYTE")], span + [b"FOO"], span[:1]))


def call_bitpos(words):
    span = [words.bit_index(), words.bit_index()]
    return [words.key(), words.bit()] + words.pick((
        [], span[:1], span, span, span + [words.cased(b"BIT")], span + [words.cased(b"BIT")],
        span + [words.cased(b"BYTE")], span + [b"FOO"]))


def call_bitop(words):
    name = b"FOO" if words.chance(0.02) else words.pick((b"AND", b"OR", b"XOR", b"NOT"))
    most = 1 if name == b"NOT" and words.chance(0.9) else 4
    return [words.cased(name), words.key()] + words.some(words.key, most)


def field_steps(words, verbs):
    line = []
    for _ in range(words.random.randint(0, 4)):
        verb = words.pick(verbs)
        line.append(words.cased(verb))
        if verb == b"OVERFLOW":
            line.append(words.cased(words.pick((b"WRAP", b"SAT", b"FAIL") * 10 + (b"FOO",))))
            continue
        line += [words.field_type(), words.field_position()]
        if verb != b"GET":
            line.append(words.field_number())
    return line


def call_bitfield(words):
    return [words.key()] + field_steps(words, (b"GET", b"SET", b"INCRBY", b"INCRBY", b"OVERFLOW", b"OVERFLOW"))


def call_bitfield_ro(words):
    verbs = (b"GET",) if words.chance(0.9) else (b"GET", b"SET", b"OVERFLOW", b"INCRBY")
    return [words.key()] + field_steps(words, verbs)


def call_scan(words):
    """One call goes through all: what COUNT asks for is more than there is."""
    cursor = words.pick((b"abc", b"", b"1.0", b"99999999999999999999999")) if words.chance(0.06) else b"0"
    count = words.pick((b"0", b"-1", b"abc", b"")) if words.chance(0.08) else b"100000"
    return [cursor] + [word for part in words.random.sample((
        [words.cased(b"COUNT"), count],
        [words.cased(b"MATCH"), words.pick(PATTERNS)] if words.chance(0.5) else [],
        [words.cased(b"TYPE"), words.pick(TYPES)] if words.chance(0.3) else []), 3) for word in part]


def call_restore(words):
    payload = words.pick(words.payloads) if words.payloads else b"none"
    if words.chance(0.15):
        at = words.random.randrange(len(payload))
        payload = payload[:at] + bytes([payload[at] ^ 1 << words.random.randrange(8)]) + payload[at + 1:]
    absolute = words.chance(0.3)
    ttl = words.pick((b"0", b"0", b"0", b"-1", b"abc", b"1.5", b""))
    if words.chance(0.6):
        ttl = b"%d" % (words.random.randrange(10**8, 10**11) + (FAR * 1000 if absolute else 0))
    return [words.key(), ttl, payload] + ([words.cased(b"ABSTTL")] if absolute else []) + words.options((
        words.option(b"REPLACE"),
        lambda: [words.cased(b"IDLETIME"), words.pick((b"0", b"100", b"-1", b"abc"))],
        lambda: [words.cased(b"FREQ"), words.pick((b"0", b"100", b"-1", b"256", b"abc"))]), 0.3)


def call_object(words):
    name = words.cased(words.pick((b"ENCODING", b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"FOO")))
    return [name, words.key()]


def call_hello(words):
    if words.chance(0.2):
        return [words.pick((b"1", b"4", b"abc", b"", b"-3"))]
    return [words.pick((b"2", b"3"))] + words.options((
        lambda: [words.cased(b"SETNAME"), words.pick((b"me", b"a b", b""))],), 0.3)


def call_client(words):
    return words.pick(([words.cased(b"GETNAME")], [words.cased(b"SETNAME"), words.pick((b"x", b"a b", b""))]))


def call_command(words):
    """GETKEYS of a random call, which may be none that would run."""
    subcommand = words.cased(words.pick((b"GETKEYS", b"GETKEYSANDFLAGS", b"GETKEYSANDFLAGS")))
    name = words.pick([name for name in sorted(CALLS) if name != "command"])
    return [subcommand, words.cased(name.upper().encode())] + CALLS[name][1](words)


def call_function(words):
    """Never one that an engine would run."""
    name = words.pick((b"LIST", b"DELETE", b"KILL", b"DUMP", b"FLUSH", b"RESTORE", b"LOAD", b"LOAD"))
    if name == b"LOAD":
        parts = [words.pick((b"#!foo", b"#!", b"#!FOO", b"#foo", b"#!'foo'"))] + words.options((
            lambda: [words.pick((b"name=f", b"NAME=f_1", b"name=", b"name=a-b", b"'name=f'", b"name='f"))],
            lambda: [words.pick((b"name=g", b"odd", b"odd=1"))]), 0.6)
        end = words.pick((b"\n", b"\n", b"\r\n", b"\ncode\x00", b""))
        return [words.cased(name)] + words.options((words.option(b"REPLACE"),), 0.2) + [b" ".join(parts) + end]
    if name == b"RESTORE":
        payload = words.pick((b"\n\x00]\x9b\\@\x0f\x7f\xa2\xda", *(words.payloads or [b"none"])))
        return [words.cased(name), payload] + words.options((
            words.option(b"FLUSH", b"APPEND", b"REPLACE", b"FOO"),), 0.4)
    return [words.cased(name)] + words.options((
        words.option(b"WITHCODE", b"ASYNC", b"f"),
        lambda: [words.cased(b"LIBRARYNAME"), words.pick(PATTERNS)]), 0.3)


def of(*slots):
    return lambda words: [getattr(words, slot)() for slot in slots]


def nothing(_):
    return []


# name: how often, and what makes the words behind it.
CALLS = {
    "append": (2, of("key", "value")),
    "bitcount": (1.5, call_bitcount),
    "bitfield": (4, call_bitfield),
    "bitfield_ro": (1, call_bitfield_ro),
    "bitop": (2, call_bitop),
    "bitpos": (1.5, call_bitpos),
    "client": (0.3, call_client),
    "command": (1, call_command),
    "copy": (2, call_copy),
    "dbsize": (1, nothing),
    "decr": (2, of("key")),
    "decrby": (2, of("key", "integer")),
    "del": (2, lambda words: words.some(words.key)),
    "dump": (1, of("key")),
    "echo": (0.3, of("value")),
    "exists": (1, lambda words: words.some(words.key)),
    "expire": (2.5, call_expire("seconds")),
    "expireat": (2.5, call_expire("time")),
    "expiretime": (1, of("key")),
    "flushall": (0.05, lambda words: words.pick(([], [b"sync"], [b"ASYNC"], [b"FOO"]))),
    "flushdb": (0.1, lambda words: words.pick(([], [b"sync"], [b"ASYNC"], [b"FOO"]))),
    "function": (0.7, call_function),
    "get": (3, of("key")),
    "getbit": (1.5, of("key", "position")),
    "getdel": (1.5, of("key")),
    "getex": (2.5, call_getex),
    "getrange": (2, of("key", "index", "index")),
    "getset": (1.5, of("key", "value")),
    "hello": (0.2, call_hello),
    "incr": (2, of("key")),
    "incrby": (2, of("key", "integer")),
    "incrbyfloat": (3, of("key", "float")),
    "keys": (1, lambda words: [words.pick(PATTERNS)]),
    "lcs": (0.7, call_lcs),
    "mget": (1.5, lambda words: words.some(words.key)),
    "move": (1.5, of("key", "database")),
    "mset": (1.5, pairs),
    "msetnx": (1.5, pairs),
    "object": (1.5, call_object),
    "persist": (1.5, of("key")),
    "pexpire": (2.5, call_expire("milliseconds")),
    "pexpireat": (2.5, call_expire("time_ms")),
    "pexpiretime": (1, of("key")),
    "ping": (0.3, lambda words: [words.value()] if words.chance(0.5) else []),
    "psetex": (1, of("key", "milliseconds", "value")),
    "pttl": (1, of("key")),
    "randomkey": (0.5, nothing),
    "rename": (2, of("key", "key")),
    "renamenx": (2, of("key", "key")),
    "reset": (0.05, nothing),
    "restore": (2, call_restore),
    "scan": (1.5, call_scan),
    "select": (1, of("database")),
    "set": (8, call_set),
    "setbit": (3, of("key", "position", "bit")),
    "setex": (1, of("key", "seconds", "value")),
    "setnx": (1, of("key", "value")),
    "setrange": (2, of("key", "offset", "value")),
    "strlen": (1, of("key")),
    "substr": (0.7, of("key", "index", "index")),
    "swapdb": (0.3, of("database", "database")),
    "touch": (0.7, lambda words: words.some(words.key)),
    "ttl": (1, of("key")),
    "type": (1, of("key")),
    "unlink": (1, lambda words: words.some(words.key)),
    "wait": (0.1, lambda words: [b"0", words.pick((b"0", b"1", b"-1", b"abc"))]),
    "multi": (1, nothing), "exec": (1.5, nothing), "discard": (0.3, nothing),
    "unwatch": (0.3, nothing), "watch": (1, lambda words: words.some(words.key, 2)),
}


def names():
    return set(CALLS)


class Sequence:
    """Random steps (connection, words) of the commands that are there."""

    def __init__(self, seed, available, payloads):
        self.words = Words(seed, payloads)
        self.names = sorted(set(CALLS) & available)
        self.weights = [CALLS[name][0] for name in self.names]
        self.transactions = {"multi", "exec", "watch"} <= available

    def call(self):
        """The words of one call; more than one call where the first leaves what a clock decides."""
        words = self.words
        name = words.random.choices(self.names, self.weights)[0]
        line = [words.cased(name.upper().encode())] + CALLS[name][1](words)
        if words.chance(0.03) and len(line) > 1:
            line.pop(words.random.randrange(1, len(line)))
        if words.chance(0.03):
            odd = words.pick((b"extra", b"", b"NX", b"k"))
            if name != "hello" or len(line) < 3:  # `hello-all-or-nothing` shows in later replies only
                line.append(odd)
        return line

    def steps(self, count):
        made, connection = [], 0
        while len(made) < count:
            if self.transactions and self.words.chance(0.02):
                made += self.race()
            if self.words.chance(0.05):
                connection = self.words.random.randrange(CONNECTIONS)
            made += [(connection, line) for line in with_sweep(self.call())]
        return made

    def race(self):
        """One connection watches, another one writes in between, or not."""
        one, other = self.words.random.sample(range(CONNECTIONS), 2)
        made = [(one, [b"WATCH"] + self.words.some(self.words.key, 2))]
        if self.words.chance(0.4):
            made += [(one, line) for line in with_sweep(self.call())]
        for _ in range(self.words.random.randrange(3)):
            made += [(other, line) for line in with_sweep(self.call())]
        made.append((one, [b"MULTI"]))
        for _ in range(self.words.random.randrange(1, 5)):
            made += [(one, line) for line in with_sweep(self.call())]
            if self.words.chance(0.2):
                made += [(other, line) for line in with_sweep(self.call())]
        return made + [(one, [b"EXEC"])]


def with_sweep(line):
    """Redis keeps what SET or RESTORE gives a time in the past until a look at the key, or its sweep, finds
    it; so a look follows each."""
    name = line[0].upper()
    if len(line) > 3 and (name in (b"SET", b"RESTORE") or name == b"GETEX"):
        return [line, [b"EXISTS", line[1]]]
    return [line]


def look_at_all(available):
    """Steps that show what every key has become, on a connection of their own."""
    made = []
    for database in range(DATABASES if "select" in available else 1):
        made += [[b"SELECT", b"%d" % database], [b"DBSIZE"], [b"MGET", *KEYS], [b"KEYS", b"*"]]
        made += [[b"PEXPIRETIME", key] for key in KEYS]
    return [(CONNECTIONS, line) for line in made if line[0].lower().decode() in available]
