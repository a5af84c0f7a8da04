"""random_known.py - the known differences that random sequences meet, told from all others.

A rule: ID of differences.md -> whether a call and the replies of varve and of redis-server, as trees, show
that difference and nothing else. It is as narrow as it can be: of two DUMPs, for example, the strings
inside must be the same.
"""
PLAIN_STRING = 0  # the type byte of a payload
FOOTER_BYTES = 10  # of a payload: version and checksum


class NotAString(Exception):
    """The bytes are no payload of a string."""


def read_length(data, at):
    """(length or None, special form or None, where it ends)."""
    first = data[at]
    if first >> 6 == 0:
        return first & 63, None, at + 1
    if first >> 6 == 1:
        return (first & 63) << 8 | data[at + 1], None, at + 2
    if first >> 6 == 3:
        return None, first & 63, at + 1
    width = 8 if first == 0x81 else 4
    return int.from_bytes(data[at + 1:at + 1 + width], "big"), None, at + 1 + width


def unpack(data, length):
    """What LZF packed: literals, or a distance back and a length."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at:at + control + 1]
            at += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += data[at]
            at += 1
        start = len(out) - ((control & 31) << 8 | data[at]) - 1
        at += 1
        for index in range(start, start + count + 2):
            out.append(out[index])
    if len(out) != length:
        raise NotAString
    return bytes(out)


def string_of(payload):
    """The string that a DUMP holds."""
    if len(payload) <= FOOTER_BYTES or payload[0] != PLAIN_STRING:
        raise NotAString
    body = payload[:-FOOTER_BYTES]
    length, special, at = read_length(body, 1)
    if special is None:
        return body[at:at + length]
    if special in (0, 1, 2):
        return b"%d" % int.from_bytes(body[at:at + (1 << special)], "little", signed=True)
    if special != 3:
        raise NotAString
    packed, _, at = read_length(body, at)
    length, _, at = read_length(body, at)
    return unpack(body[at:at + packed], length)


def dump_is_not_packed(words, ours, theirs):
    if words[0].upper() != b"DUMP" or ours[0] != b"$" or theirs[0] != b"$":
        return False
    if len(theirs[1]) >= len(ours[1]):
        return False
    try:
        return string_of(ours[1]) == string_of(theirs[1])
    except (NotAString, IndexError):
        return False


def encoding_by_content(words, ours, theirs):
    encodings = (b"int", b"embstr", b"raw")
    return (words[0].upper() == b"OBJECT" and words[1].upper() == b"ENCODING"
            and ours[0] == theirs[0] == b"$" and ours[1] in encodings and theirs[1] in encodings)


def refcount_by_content(words, ours, theirs):
    return (words[0].upper() == b"OBJECT" and words[1].upper() == b"REFCOUNT"
            and ours[0] == theirs[0] == b":")


def no_idle_times(words, ours, theirs):
    return (words[0].upper() == b"OBJECT" and words[1].upper() == b"IDLETIME"
            and ours == (b":", b"0") and theirs[0] == b":")


def watch_came_and_went(ours, theirs, emptied):
    """An EXEC that varve runs and Redis does not; emptied: a database was emptied or swapped since WATCH."""
    return emptied and ours.startswith(b"*") and not ours.startswith(b"*-1") \
        and theirs in (b"*-1\r\n", b"_\r\n")


def growth_is_watched(ours, theirs, failed):
    """An EXEC that Redis runs and varve does not; failed: a step of BITFIELD did since WATCH."""
    return failed and theirs.startswith(b"*") and not theirs.startswith(b"*-1") \
        and ours in (b"*-1\r\n", b"_\r\n")


def watch_swapped_in(ours, theirs, swapped):
    """An EXEC that Redis runs and varve does not; swapped: a database was swapped since WATCH."""
    return swapped and theirs.startswith(b"*") and not theirs.startswith(b"*-1") \
        and ours in (b"*-1\r\n", b"_\r\n")


# IDs of differences that lie in one reply; what is stored stays the same on both sides.
KNOWN = {
    "dump-is-not-packed": dump_is_not_packed,
    "encoding-by-content": encoding_by_content,
    "no-idle-times": no_idle_times,
    "refcount-by-content": refcount_by_content,
}
# Those after which the two hold different data, so that the round ends there.
CAME_AND_WENT = "watch-came-and-went"
GROWTH = "bitfield-growth-is-watched"
SWAPPED_IN = "watch-swapped-in"
