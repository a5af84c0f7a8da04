#include <stdint.h>
#include <string.h>

#include "cmd/ctx.h"
#include "types/integer.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

int cmd_arg_is(struct varve_slice arg, const char *word)
{
    for (size_t i = 0; i < arg.len; i++)
        if (lower(arg.data[i]) != (uint8_t)word[i] || word[i] == '\0')
            return 0;
    return word[arg.len] == '\0';
}

int cmd_arg_int64(struct cmd_ctx *ctx, int at, int64_t *value, const char *error)
{
    if (integer_parse(ctx->argv[at], value))
        return 1;
    resp_error(ctx->out, "ERR %s",
               error != NULL ? error : "value is not an integer or out of range");
    return 0;
}

const char *cmd_arg_text(struct varve_slice arg, char *out, size_t cap)
{
    size_t len = arg.len < cap - 1 ? arg.len : cap - 1;

    if (len > 0)
        memcpy(out, arg.data, len);
    out[len] = '\0';
    return out;
}

/* Matches one byte against the class that begins behind '[' at *at; moves *at to its last byte. */
static int class_matches(struct varve_slice pattern, size_t *at, uint8_t byte)
{
    size_t i = *at + 1;
    int negated = i < pattern.len && pattern.data[i] == '^';
    int found = 0;

    for (i += (size_t)negated; i < pattern.len && pattern.data[i] != ']'; i++) {
        if (pattern.data[i] == '\\' && i + 1 < pattern.len)
            i++;
        uint8_t from = lower(pattern.data[i]);
        uint8_t to = from;
        if (i + 2 < pattern.len && pattern.data[i + 1] == '-') {
            to = lower(pattern.data[i + 2]);
            i += 2;
        }
        if (from > to) {
            uint8_t swapped = from;
            from = to;
            to = swapped;
        }
        found |= byte >= from && byte <= to;
    }
    *at = i < pattern.len ? i : pattern.len - 1;
    return found != negated;
}

/* Matches one element of the pattern, which is no star; moves *at behind it. */
static int element_matches(struct varve_slice pattern, size_t *at, uint8_t byte)
{
    int matches;

    byte = lower(byte);
    if (pattern.data[*at] == '?') {
        matches = 1;
    } else if (pattern.data[*at] == '[') {
        matches = class_matches(pattern, at, byte);
    } else {
        if (pattern.data[*at] == '\\' && *at + 1 < pattern.len)
            (*at)++;
        matches = lower(pattern.data[*at]) == byte;
    }
    (*at)++;
    return matches;
}

/* Only the newest star ever has to take more: what an older one could take, it could take too. */
int cmd_glob_match(struct varve_slice pattern, struct varve_slice text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* behind the newest star */
    size_t star_text = 0;   /* where its rest is tried next */

    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = ++p;
            star_text = t;
            continue;
        }
        if (p < pattern.len && element_matches(pattern, &p, text.data[t])) {
            t++;
            continue;
        }
        if (star == SIZE_MAX)
            return 0;
        p = star;
        t = ++star_text;
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}
