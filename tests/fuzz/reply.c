#include "reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The rest of a line; -1 if it does not end in CR LF, or has one of them inside. */
static int read_line(struct take *from, struct varve_slice *line)
{
    const uint8_t *cr = memchr(from->at, '\r', take_left(from));

    if (cr == NULL || from->end - cr < 2 || cr[1] != '\n' ||
        memchr(from->at, '\n', (size_t)(cr - from->at)) != NULL)
        return -1;
    *line = varve_slice(from->at, (size_t)(cr - from->at));
    from->at = cr + 2;
    return 0;
}

static int read_number(struct take *from, int64_t *number)
{
    char digits[24] = "";
    char *end = NULL;
    struct varve_slice line;

    if (read_line(from, &line) != 0 || line.len == 0 || line.len >= sizeof(digits))
        return -1;
    memcpy(digits, line.data, line.len);
    errno = 0;
    *number = strtoll(digits, &end, 10);
    return errno == 0 && *end == '\0' ? 0 : -1;
}

static int read_bulk(struct take *from, struct reply *reply)
{
    if (read_number(from, &reply->number) != 0)
        return -1;
    if (reply->type == '$' && reply->number == -1) {
        reply->is_null = 1;
        return 0;
    }
    if (reply->number < 0 || (uint64_t)reply->number > take_left(from))
        return -1;
    reply->bytes = take_slice(from, (size_t)reply->number);
    if (take_byte(from) != '\r' || take_byte(from) != '\n')
        return -1;
    if (reply->type != '=')
        return 0;
    if (reply->bytes.len < 4 || reply->bytes.data[3] != ':')
        return -1;
    reply->bytes = varve_slice(reply->bytes.data + 4, reply->bytes.len - 4);
    return 0;
}

int reply_read(struct take *from, int proto, struct reply *reply)
{
    struct varve_slice line;

    *reply = (struct reply){.type = (char)take_byte(from)};
    if (strchr(proto == 3 ? "+-:$*_%~>,#=" : "+-:$*", reply->type) == NULL)
        return -1;
    switch (reply->type) {
    case '+':
    case '-':
    case ',': return read_line(from, &reply->bytes);
    case ':': return read_number(from, &reply->number);
    case '$':
    case '=': return read_bulk(from, reply) == 0 && !(proto == 3 && reply->is_null) ? 0 : -1;
    case '_': reply->is_null = 1; return read_line(from, &line) == 0 && line.len == 0 ? 0 : -1;
    case '#':
        if (read_line(from, &line) != 0 || line.len != 1)
            return -1;
        reply->number = line.data[0] == 't';
        return reply->number || line.data[0] == 'f' ? 0 : -1;
    case '*':
    case '%':
    case '~':
    case '>':
        if (read_number(from, &reply->number) != 0)
            return -1;
        reply->is_null = reply->type == '*' && reply->number == -1 && proto == 2;
        return reply->number >= 0 || reply->is_null ? 0 : -1;
    default: return -1; /* a NUL */
    }
}
