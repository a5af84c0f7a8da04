#include "resp/inline.h"

/* Where a word is read from and where its unquoted bytes go: never ahead of what was read. */
struct word {
    uint8_t *from;
    uint8_t *end;
    uint8_t *to;
};

static int is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* A vertical tab or a form feed parts words only where a word has not begun. */
static int ends_bare_word(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The byte behind a backslash in double quotes; word->from is on the backslash. */
static uint8_t take_escape(struct word *word)
{
    const uint8_t *at = word->from;

    if (word->end - at >= 4 && at[1] == 'x' && hex_value(at[2]) >= 0 && hex_value(at[3]) >= 0) {
        word->from += 4;
        return (uint8_t)(hex_value(at[2]) * 16 + hex_value(at[3]));
    }
    word->from += 2;
    switch (at[1]) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return at[1];
    }
}

/* word->from is behind the opening quote. Returns 0, or -1 if the quote is not closed, or is closed
 * and something other than white space follows. */
static int take_quoted(struct word *word, uint8_t quote)
{
    while (word->from < word->end) {
        int escapes = word->from[0] == '\\' && word->end - word->from >= 2;

        if (word->from[0] == quote) {
            word->from++;
            return word->from == word->end || is_space(*word->from) ? 0 : -1;
        }
        if (escapes && quote == '"') {
            *word->to++ = take_escape(word);
        } else if (escapes && word->from[1] == '\'') {
            *word->to++ = '\'';
            word->from += 2;
        } else {
            *word->to++ = *word->from++;
        }
    }
    return -1;
}

enum inline_step inline_next(uint8_t **at, uint8_t *end, struct varve_slice *word)
{
    struct word w = {.from = *at, .end = end};
    int rc = 0;

    while (w.from < end && is_space(*w.from))
        w.from++;
    *at = w.from;
    if (w.from == end)
        return INLINE_END;
    w.to = w.from;
    uint8_t *start = w.to;
    while (w.from < end && !ends_bare_word(*w.from)) {
        uint8_t byte = *w.from++;
        if (byte == '"' || byte == '\'') {
            rc = take_quoted(&w, byte);
            break;
        }
        *w.to++ = byte;
    }
    *at = w.from;
    *word = varve_slice(start, (size_t)(w.to - start));
    return rc == 0 ? INLINE_WORD : INLINE_UNBALANCED;
}
