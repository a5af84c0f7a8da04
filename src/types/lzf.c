#include "types/lzf.h"

#include <string.h>

#define LITERALS_MAX 32
#define LENGTH_LONG 7

struct unpacking {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t *out;
    size_t done;
    size_t len;
};

static int take_literals(struct unpacking *u, size_t count)
{
    if ((size_t)(u->end - u->at) < count || u->len - u->done < count)
        return 0;
    memcpy(u->out + u->done, u->at, count);
    u->at += count;
    u->done += count;
    return 1;
}

/* What is copied may overlap what it makes: a run. */
static int take_reference(struct unpacking *u, uint8_t head)
{
    size_t count = head >> 5;

    if (count == LENGTH_LONG) {
        if (u->at == u->end)
            return 0;
        count += *u->at++;
    }
    count += 2;
    if (u->at == u->end)
        return 0;
    size_t back = ((size_t)(head & 0x1f) << 8 | *u->at++) + 1;
    if (back > u->done || u->len - u->done < count)
        return 0;
    for (size_t i = 0; i < count; i++)
        u->out[u->done + i] = u->out[u->done + i - back];
    u->done += count;
    return 1;
}

int lzf_unpack(struct varve_slice packed, uint8_t *out, size_t len)
{
    struct unpacking u = {
        .at = packed.data, .end = packed.data + packed.len, .out = out, .len = len};

    while (u.at < u.end) {
        uint8_t head = *u.at++;
        int ok = head < LITERALS_MAX ? take_literals(&u, (size_t)head + 1)
                                     : take_reference(&u, head);
        if (!ok)
            return 0;
    }
    return u.done == len;
}
