/* A pattern is walked beside the text. Only the last * seen can need another try: where an earlier
 * one could begin its run later, the last one could take those bytes as well. So one place to fall
 * back to is enough, there is no recursion, and the worst case is a product, not an exponent. */
#include "base/glob.h"

#include "base/check.h"
#include "base/mutant.h"

static uint8_t glob_fold(uint8_t c, unsigned flags)
{
    if ((flags & GLOB_NOCASE) != 0 && c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A' + 'a');
    return c;
}

/* Is c in the set whose '[' stands at *at? Moves *at behind the set; one that nobody closes ends
 * with the pattern, as in Redis. */
static int glob_in_set(struct varve_slice pattern, size_t *at, uint8_t c, unsigned flags)
{
    const uint8_t *p = pattern.data;
    size_t i = *at + 1;
    int negated = i < pattern.len && p[i] == '^';
    int found = 0;

    if (negated)
        i++;
    c = glob_fold(c, flags);
    while (i < pattern.len && p[i] != ']') {
        uint8_t low, high;
        if (p[i] == '\\' && i + 1 < pattern.len) {
            low = high = p[i + 1];
            i += 2;
        } else if (i + 2 < pattern.len && p[i + 1] == '-') {
            low = p[i] < p[i + 2] ? p[i] : p[i + 2];
            high = p[i] < p[i + 2] ? p[i + 2] : p[i];
            i += 3;
        } else {
            low = high = p[i++];
        }
        found |= c >= glob_fold(low, flags) && c <= glob_fold(high, flags);
    }
    *at = i < pattern.len ? i + 1 : i;
    return found != negated;
}

/* Does the element at *at, which is no *, match c? Moves *at behind it. */
static int glob_one(struct varve_slice pattern, size_t *at, uint8_t c, unsigned flags)
{
    const uint8_t *p = pattern.data;

    if (p[*at] == '?') {
        *at += 1;
        return 1;
    }
    if (p[*at] == '[')
        return glob_in_set(pattern, at, c, flags);
    if (p[*at] == '\\' && *at + 1 < pattern.len)
        *at += 1;
    *at += 1;
    return glob_fold(p[*at - 1], flags) == glob_fold(c, flags);
}

int glob_match_steps(struct varve_slice pattern, struct varve_slice text, unsigned flags,
                     uint64_t *steps)
{
    size_t p = 0, t = 0;
    size_t retry_p = 0, retry_t = 0; /* behind the last *, and the end of its run */
    int starred = 0;

    if (text.len == 0)
        return pattern.len == 0; /* Redis looks for no star there */
    while (t < text.len) {
        size_t before = p;
        int matched;
        if (p < pattern.len && pattern.data[p] == '*') {
            retry_p = ++p;
            retry_t = t;
            starred++;
            matched = 1;
            if (starred > GLOB_STARS_MAX && p < pattern.len && pattern.data[p] != '*')
                return 0;
        } else {
            matched = p < pattern.len && glob_one(pattern, &p, text.data[t], flags);
            t++;
        }
        uint64_t cost = p > before ? p - before : 1;
        if (!matched) {
            if (!starred)
                return 0;
            p = retry_p;
            retry_t += MUTANT("glob-skips-a-place") ? 2 : 1;
            t = retry_t;
        } else if (starred && p == pattern.len && retry_p == p) {
            return 1; /* it ends in *: the rest does not matter */
        }
        if (*steps < cost)
            return -1;
        *steps -= cost;
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}

int glob_match(struct varve_slice pattern, struct varve_slice text, unsigned flags)
{
    uint64_t steps = UINT64_MAX;

    return glob_match_steps(pattern, text, flags, &steps);
}

size_t glob_literal_prefix_len(struct varve_slice pattern)
{
    size_t len = 0;

    while (len < pattern.len && memchr("*?[\\", pattern.data[len], 4) == NULL)
        len++;
    return len;
}

int glob_is_literal(struct varve_slice pattern)
{
    return glob_literal_prefix_len(pattern) == pattern.len;
}
