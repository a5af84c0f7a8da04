#include "config/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "varve/status.h"

struct cursor {
    const char *at;
    const char *end;
    char *out;
};

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a backslash within "...". */
static char take_escape(struct cursor *in)
{
    static const char names[] = "nrtba";
    static const char bytes[] = "\n\r\t\b\a";
    char c = *in->at++;

    if (c == 'x' && in->end - in->at >= 2 && hex_digit(in->at[0]) >= 0 &&
        hex_digit(in->at[1]) >= 0) {
        in->at += 2;
        return (char)(hex_digit(in->at[-2]) * 16 + hex_digit(in->at[-1]));
    }
    const char *found = c == '\0' ? NULL : strchr(names, c);
    return found == NULL ? c : bytes[found - names];
}

/* Takes up to the closing quote, which must end the word. Returns 0 if it does not. */
static int take_quoted(struct cursor *in)
{
    char quote = *in->at++;

    while (in->at < in->end && *in->at != quote) {
        char c = *in->at++;
        if (c == '\\' && quote == '"' && in->at < in->end)
            c = take_escape(in);
        else if (c == '\\' && quote == '\'' && in->at < in->end && *in->at == '\'')
            c = *in->at++;
        *in->out++ = c;
    }
    if (in->at == in->end)
        return 0;
    in->at++;
    return in->at == in->end || isspace((unsigned char)*in->at);
}

static int take_word(struct cursor *in)
{
    while (in->at < in->end && !isspace((unsigned char)*in->at)) {
        if (*in->at == '"' || *in->at == '\'') {
            if (!take_quoted(in))
                return 0;
        } else {
            *in->out++ = *in->at++;
        }
    }
    *in->out++ = '\0';
    return 1;
}

int words_split(struct words *words, struct varve_slice line, const char **why)
{
    struct cursor in = {.at = (const char *)line.data, .end = (const char *)line.data + line.len};

    words->count = 0;
    /* every word brings a blank or a quote of its own, but the last */
    words->storage = mem_alloc(line.len + 2);
    if (words->storage == NULL)
        return VARVE_ENOMEM;
    in.out = words->storage;
    *why = NULL;
    while (*why == NULL) {
        while (in.at < in.end && isspace((unsigned char)*in.at))
            in.at++;
        if (in.at == in.end)
            return 0;
        char *word = in.out;
        if (words->count == WORDS_MAX)
            *why = "too many words in one line";
        else if (!take_word(&in))
            *why = "unbalanced quotes";
        else if (strlen(word) + 1 != (size_t)(in.out - word))
            *why = "a NUL byte in it";
        else
            words->at[words->count++] = word;
    }
    words_deinit(words);
    return VARVE_EINVAL;
}

void words_deinit(struct words *words)
{
    mem_free(words->storage);
    words->storage = NULL;
    words->count = 0;
}

int words_join(const struct words *words, size_t from, struct buf *out)
{
    int rc = 0;

    for (size_t i = from; i < words->count && rc == 0; i++) {
        if (i > from)
            rc = buf_append(out, " ", 1);
        if (rc == 0)
            rc = buf_append(out, words->at[i], strlen(words->at[i]));
    }
    return rc != 0 ? rc : buf_append(out, "", 1);
}

int words_quote(struct buf *out, const char *text)
{
    int plain = text[0] != '\0';
    int rc;

    for (const char *c = text; *c != '\0'; c++)
        plain = plain && *c > ' ' && *c < 0x7f && *c != '"' && *c != '\'' && *c != '\\';
    if (plain)
        return buf_append(out, text, strlen(text));
    rc = buf_append(out, "\"", 1);
    for (const char *c = text; *c != '\0' && rc == 0; c++) {
        char escaped[8];
        if (*c == '"' || *c == '\\')
            snprintf(escaped, sizeof(escaped), "\\%c", *c);
        else if (*c >= ' ' && *c < 0x7f)
            snprintf(escaped, sizeof(escaped), "%c", *c);
        else
            snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char)*c);
        rc = buf_append(out, escaped, strlen(escaped));
    }
    return rc != 0 ? rc : buf_append(out, "\"", 1);
}
