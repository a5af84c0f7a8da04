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

/* A value of RESP_PINNED_MIN_BYTES or more may stay where it lies, if the writer has a list for such: the
 * bytes belong in front of out->data[at]. Who sends the replies calls release(owner) when they have left,
 * or were taken back. More than RESP_PINS_MAX at once are copied: one command may have very many. */
#define RESP_PINNED_MIN_BYTES ((size_t)16 * 1024)
#define RESP_PINS_MAX 64

struct resp_pinned {
    size_t at;
    struct varve_slice bytes;
    void (*release)(void *owner);
    void *owner;
};

struct resp_pins {
    struct resp_pinned *items; /* by `at` */
    uint32_t count;
    uint32_t cap;
    size_t bytes; /* of all of them */
};

struct resp_writer {
    struct buf *out;        /* borrowed */
    struct resp_pins *pins; /* borrowed; NULL: all is copied */
    int proto;              /* 2 or 3 */
    int failed;             /* 0, or the code of the append that failed */
};

/* Takes everything from out->data[len] on back: the end of a reply. */
void resp_cut(struct resp_writer *w, size_t len);

/* $n of bytes that stay where they are. Takes over the owner, whatever happens. */
void resp_bulk_pinned(struct resp_writer *w, struct varve_slice bytes, void (*release)(void *owner),
                      void *owner);

/* Forgets, and releases, the first `count` of them. */
void resp_pins_drop(struct resp_pins *pins, uint32_t count);
/* The same of those from `first` on. */
void resp_pins_drop_from(struct resp_pins *pins, uint32_t first);
void resp_pins_deinit(struct resp_pins *pins);

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
