/* Any line makes the words that the rules of quoting say, of an inline command and of a configuration
 * file; words that are quoted again are read as the same. Input: the line. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "config/words.h"
#include "fuzz.h"
#include "resp/inline.h"
#include "varve/status.h"

#define LINE_MAX_BYTES ((size_t)4096)

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\""),        FUZZ_TOKEN("'"),     FUZZ_TOKEN("\\'"),
    FUZZ_TOKEN("\\\""),      FUZZ_TOKEN("\\x4f"), FUZZ_TOKEN("\\xg0"),
    FUZZ_TOKEN("\\n"),       FUZZ_TOKEN("\\"),    FUZZ_TOKEN("\" \""),
    FUZZ_TOKEN("\v"),        FUZZ_TOKEN("\f"),    FUZZ_TOKEN("\r"),
    FUZZ_TOKEN(" a\"b\"c"),  FUZZ_TOKEN("'a'b"),  FUZZ_TOKEN("\0"),
    FUZZ_TOKEN("\"\\x00\""), {NULL, 0},
};

/* The words one after the other, each behind its length. */
struct told {
    uint8_t bytes[4 * LINE_MAX_BYTES];
    size_t len;
    size_t count;
    int unbalanced;
};

static void tell(struct told *told, const void *bytes, size_t len)
{
    uint16_t prefix = (uint16_t)len;

    memcpy(told->bytes + told->len, &prefix, 2);
    if (len > 0)
        memcpy(told->bytes + told->len + 2, bytes, len);
    told->len += 2 + len;
    told->count++;
}

static int one_of(uint8_t c, const char *set, size_t count)
{
    return memchr(set, c, count) != NULL;
}

static int hex(uint8_t c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *found = memchr(digits, c, 32);

    return found == NULL ? -1 : (int)((found - digits) % 16);
}

/* The byte that an escape of "..." stands for; *at is behind the backslash. */
static uint8_t unescape(const uint8_t **at, const uint8_t *end)
{
    static const char from[] = "nrtba";
    uint8_t c = *(*at)++;

    if (c == 'x' && end - *at >= 2 && hex((*at)[0]) >= 0 && hex((*at)[1]) >= 0) {
        *at += 2;
        return (uint8_t)(hex((*at)[-2]) * 16 + hex((*at)[-1]));
    }
    const char *found = memchr(from, c, 5);
    return found == NULL ? c : (uint8_t) "\n\r\t\b\a"[found - from];
}

/* A quoted piece: *at is behind its opening quote. Returns the bytes that came of it, -1: not closed. */
static int read_quoted(const uint8_t **at, const uint8_t *end, uint8_t quote, uint8_t *to)
{
    int n = 0;

    while (*at < end && **at != quote) {
        uint8_t c = *(*at)++;
        if (c == '\\' && *at < end && (quote == '"' || **at == '\''))
            c = quote == '"' ? unescape(at, end) : *(*at)++;
        to[n++] = c;
    }
    if (*at == end)
        return -1;
    ++*at;
    return *at == end || one_of(**at, " \t\n\v\f\r", 6) ? n : -1;
}

static void oracle(const uint8_t *at, const uint8_t *end, struct told *told)
{
    static uint8_t word[LINE_MAX_BYTES];

    for (;;) {
        int len = 0;
        while (at < end && one_of(*at, " \t\n\v\f\r", 6))
            at++;
        if (at == end)
            return;
        while (at < end && !one_of(*at, " \t\n\r", 4)) {
            uint8_t c = *at++;
            if (c != '"' && c != '\'') {
                word[len++] = c;
                continue;
            }
            int n = read_quoted(&at, end, c, word + len);
            told->unbalanced = n < 0;
            if (n < 0)
                return;
            len += n;
            break; /* a quote ends its word */
        }
        tell(told, word, (size_t)len);
    }
}

static void run_inline(const uint8_t *data, size_t size, const struct told *wanted)
{
    static struct told told;
    uint8_t *line = malloc(size + 1);
    uint8_t *at = line;
    uint8_t *before;
    struct varve_slice word;
    enum inline_step step;

    CHECK(line != NULL);
    told.len = told.count = 0;
    if (size > 0)
        memcpy(line, data, size);
    while (before = at, (step = inline_next(&at, line + size, &word)) == INLINE_WORD) {
        CHECK(at > before && at <= line + size);
        tell(&told, word.data, word.len);
    }
    CHECK((step == INLINE_UNBALANCED) == wanted->unbalanced);
    CHECK(told.count == wanted->count && told.len == wanted->len);
    CHECK(memcmp(told.bytes, wanted->bytes, told.len) == 0);
    free(line);
}

/* Where there is neither a NUL nor one of the two rare blanks, configuration lines have the same words. */
static void run_words(const uint8_t *data, size_t size, const struct told *wanted)
{
    static struct told told;
    struct words words;
    struct words again;
    struct buf quoted;
    const char *why = NULL;

    told.len = told.count = 0;
    int rc = words_split(&words, varve_slice(data, size), &why);
    if (rc != 0) {
        CHECK(rc == VARVE_EINVAL && why != NULL);
        return;
    }
    CHECK(!wanted->unbalanced || memchr(data, '\v', size) || memchr(data, '\f', size));
    buf_init(&quoted, (size_t)1 << 20);
    for (size_t i = 0; i < words.count; i++) {
        tell(&told, words.at[i], strlen(words.at[i]));
        CHECK(buf_append(&quoted, " ", 1) == 0 && words_quote(&quoted, words.at[i]) == 0);
    }
    if (memchr(data, '\v', size) == NULL && memchr(data, '\f', size) == NULL) {
        CHECK(told.count == wanted->count && told.len == wanted->len);
        CHECK(memcmp(told.bytes, wanted->bytes, told.len) == 0);
    }
    if (words.count > 0) {
        CHECK(words_split(&again, buf_slice(&quoted), &why) == 0 && again.count == words.count);
        for (size_t i = 0; i < words.count; i++)
            CHECK(strcmp(again.at[i], words.at[i]) == 0);
        words_deinit(&again);
    }
    words_deinit(&words);
    buf_deinit(&quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct told wanted;

    if (size > LINE_MAX_BYTES)
        size = LINE_MAX_BYTES;
    wanted.len = wanted.count = 0;
    wanted.unbalanced = 0;
    oracle(data, data + size, &wanted);
    fuzz_bound_allocations((size_t)64 * 1024);
    run_inline(data, size, &wanted);
    run_words(data, size, &wanted);
    return 0;
}
