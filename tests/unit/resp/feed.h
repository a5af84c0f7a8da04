/* feed.h - gives bytes to a RESP reader in pieces and writes down what came out.
 *
 * Commands are written down when their turn ends, not when they are parsed, so that a slice that did
 * not stay until the release shows. One line a command: "3 4:PING ...", then how it ended. */
#ifndef TESTS_RESP_FEED_H
#define TESTS_RESP_FEED_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "resp/reader.h"

struct feed {
    struct resp_limits limits; /* free to change between calls */
    struct resp_pool *pool;
    struct resp_reader *reader;
    enum resp_status status;   /* of the last call of the reader */
    struct buf transcript;     /* of the commands of the turns that have ended */
    struct resp_command *live; /* of the open turn */
    size_t live_count;
    size_t live_cap;
    size_t wire_bytes; /* of all commands */
    size_t count;      /* of all commands */
    int no_memory;     /* the feed's own allocation failed: the transcript is cut short */
};

/* Redis's limits. buffer_bytes as for the pool. Returns 0, or -1: no memory. */
int feed_open(struct feed *feed, size_t buffer_bytes);
void feed_close(struct feed *feed); /* for a feed that is zeroed, or whose open failed, too */

/* The bytes arrive, as many reads as the reader's room makes of them, and what is whole is taken.
 * Returns the reader's status then: RESP_MORE, or a failure. */
enum resp_status feed_bytes(struct feed *feed, const void *bytes, size_t len);

/* Ends the turn: writes its commands down and releases them. */
void feed_end_turn(struct feed *feed);

/* Ends the turn and the transcript: "more N" (N bytes pending), "error TEXT" or "no memory". Returns
 * it, NUL-terminated; the feed's own. */
const char *feed_finish(struct feed *feed);

#endif
