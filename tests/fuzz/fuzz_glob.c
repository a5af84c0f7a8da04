/* Any pattern against any text: it matches if a table over all their prefixes says so, within the steps that
 * are promised, and with fewer it answers right or not at all. Input: flags, the pattern's length, both. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/glob.h"
#include "fuzz.h"
#include "take.h"

#define TEXT_MAX_BYTES 2000
#define PATTERN_MAX_BYTES 255

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("*"),    FUZZ_TOKEN("**"),    FUZZ_TOKEN("*a*a*a*b"), FUZZ_TOKEN("?"),
    FUZZ_TOKEN("[^a]"), FUZZ_TOKEN("[a-c]"), FUZZ_TOKEN("[z-a]"),    FUZZ_TOKEN("[^"),
    FUZZ_TOKEN("[]"),   FUZZ_TOKEN("\\"),    FUZZ_TOKEN("[\\]-a]"),  FUZZ_TOKEN("aaaaaaaaaaaaaaaa"),
    {NULL, 0},
};

/* What one place of a pattern takes. */
struct element {
    int is_star;
    uint8_t takes[256];
};

static uint8_t fold(uint8_t c, unsigned flags)
{
    return (flags & GLOB_NOCASE) && c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static void add_range(struct element *element, uint8_t a, uint8_t b, unsigned flags)
{
    uint8_t low = fold(a < b ? a : b, flags);
    uint8_t high = fold(a < b ? b : a, flags);

    for (int c = 0; c < 256; c++)
        if (fold((uint8_t)c, flags) >= low && fold((uint8_t)c, flags) <= high)
            element->takes[c] = 1;
}

/* p is behind the [. Returns where the set ended. */
static const uint8_t *read_set(const uint8_t *p, const uint8_t *end, struct element *element,
                               unsigned flags)
{
    int negated = p < end && *p == '^';

    for (p += negated; p < end && *p != ']';) {
        if (*p == '\\' && end - p > 1) {
            add_range(element, p[1], p[1], flags);
            p += 2;
        } else if (end - p > 2 && p[1] == '-') {
            add_range(element, p[0], p[2], flags);
            p += 3;
        } else {
            add_range(element, *p, *p, flags);
            p++;
        }
    }
    for (int c = 0; negated && c < 256; c++)
        element->takes[c] = !element->takes[c];
    return p < end ? p + 1 : p;
}

static size_t read_pattern(struct varve_slice pattern, struct element *elements, unsigned flags)
{
    const uint8_t *p = pattern.data;
    const uint8_t *end = p + pattern.len;
    size_t count = 0;

    while (p < end) {
        struct element *element = &elements[count++];
        uint8_t c = *p++;
        memset(element, 0, sizeof(*element));
        if (c == '*') {
            element->is_star = 1;
        } else if (c == '?') {
            memset(element->takes, 1, sizeof(element->takes));
        } else if (c == '[') {
            p = read_set(p, end, element, flags);
        } else {
            if (c == '\\' && p < end)
                c = *p++;
            add_range(element, c, c, flags);
        }
    }
    return count;
}

/* matched[t]: the elements so far match the first t bytes of text. */
static int matches(const struct element *elements, size_t count, struct varve_slice text)
{
    static uint8_t matched[TEXT_MAX_BYTES + 1];

    if (text.len == 0)
        return count == 0;
    memset(matched, 0, text.len + 1);
    matched[0] = 1;
    for (size_t e = 0; e < count; e++) {
        if (elements[e].is_star) {
            for (size_t t = 1; t <= text.len; t++)
                matched[t] |= matched[t - 1];
            continue;
        }
        for (size_t t = text.len; t > 0; t--)
            matched[t] = matched[t - 1] && elements[e].takes[text.data[t - 1]];
        matched[0] = 0;
    }
    return matched[text.len];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct element elements[PATTERN_MAX_BYTES];
    struct take take = take_from(data, size);
    unsigned flags = take_byte(&take) & GLOB_NOCASE;
    uint8_t pattern_len = take_byte(&take);
    struct varve_slice pattern = take_slice(&take, pattern_len);
    struct varve_slice text = take_slice(&take, TEXT_MAX_BYTES);
    int wanted = matches(elements, read_pattern(pattern, elements, flags), text);
    uint64_t steps_max = (text.len + 1) * pattern.len;
    uint64_t left = steps_max;

    CHECK(glob_match(pattern, text, flags) == wanted);
    CHECK(glob_match_steps(pattern, text, flags, &left) == wanted && left <= steps_max);
    uint64_t used = steps_max - left;
    for (uint64_t budget = used; budget > 0; budget /= 2) {
        left = budget - 1;
        int answer = glob_match_steps(pattern, text, flags, &left);
        CHECK(answer == wanted || answer == -1);
        CHECK(answer == -1 || budget == 0 || left < budget);
    }
    size_t prefix = glob_literal_prefix_len(pattern);
    CHECK(prefix <= pattern.len && glob_is_literal(pattern) == (prefix == pattern.len));
    if (wanted && flags == 0) {
        CHECK(text.len >= prefix);
        CHECK(prefix == 0 || memcmp(text.data, pattern.data, prefix) == 0);
        CHECK(!glob_is_literal(pattern) || text.len == prefix);
    }
    return 0;
}
