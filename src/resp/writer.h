/* writer.h - replies, in RESP2 or RESP3, appended to a buffer.
 * No call reports an error: the first append that fails sets `failed`, and the connection is closed
 * for it at the end of the turn. Error texts never contain CR or LF: they become spaces.
 * One thread. The RESP2 form of a RESP3 type is the one that Redis 7 sends. */
#ifndef RESP_WRITER_H
#define RESP_WRITER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"

struct resp_writer {
    struct buf *out; /* borrowed */
    int proto;       /* 2 or 3 */
    int failed;      /* 0, or the code of the append that failed */
};

void resp_simple(struct resp_writer *w, const char *text); /* +text */
void resp_ok(struct resp_writer *w);                       /* +OK */
/* -text; fmt brings the class. Line ends within become spaces, those behind go. */
void resp_error(struct resp_writer *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
void resp_integer(struct resp_writer *w, int64_t value);         /* :n */
void resp_bulk(struct resp_writer *w, struct varve_slice bytes); /* $n */
void resp_bulk_str(struct resp_writer *w, const char *text);
void resp_bulk_fmt(struct resp_writer *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
void resp_null(struct resp_writer *w);                  /* $-1, or _ */
void resp_null_array(struct resp_writer *w);            /* *-1, or _ */
void resp_array(struct resp_writer *w, uint64_t count); /* *n */
void resp_map(struct resp_writer *w, uint64_t pairs);   /* *2n, or %n */
void resp_set(struct resp_writer *w, uint64_t count);   /* *n, or ~n */
void resp_push(struct resp_writer *w, uint64_t count);  /* *n, or >n */
void resp_double(struct resp_writer *w, double value);  /* bulk, or ,d */
void resp_bool(struct resp_writer *w, int value);       /* :0 :1, or #f #t */
void resp_verbatim(struct resp_writer *w, const char *kind,
                   struct varve_slice text);                    /* bulk, or = */
void resp_raw(struct resp_writer *w, struct varve_slice bytes); /* bytes that are a reply already */

#endif
