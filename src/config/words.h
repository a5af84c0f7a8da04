/* words.h - a configuration line into words, and a word into a line: blanks between words, "..."
 * with \n \r \t \b \a \xHH and \c for any other c, '...' with \' only; a quote ends its word. */
#ifndef CONFIG_WORDS_H
#define CONFIG_WORDS_H

#include <stddef.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"

#define WORDS_MAX 256 /* in one line */

struct words {
    char *storage; /* owned: all words, each NUL-terminated */
    char *at[WORDS_MAX];
    size_t count;
};

/* Returns 0, VARVE_ENOMEM, or VARVE_EINVAL: then *why (static) says what is wrong with the line. On
 * success the caller ends it by words_deinit(). */
int words_split(struct words *words, struct varve_slice line, const char **why) MUST_CHECK;
void words_deinit(struct words *words);

/* words[from..] with a space between each two, NUL-terminated. Returns 0, or buf's error. */
int words_join(const struct words *words, size_t from, struct buf *out) MUST_CHECK;

/* Appends text as one word, in quotes where it needs them. */
int words_quote(struct buf *out, const char *text) MUST_CHECK;

#endif
