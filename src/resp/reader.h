/* reader.h - bytes of a client in, commands out: RESP arrays of bulk strings, and inline commands.
 *
 * A reader owns the input of one connection. Its owner asks where the next bytes go
 * (resp_reader_room), says how many came (resp_reader_filled), and takes commands out
 * (resp_reader_next) until it is told MORE. Arguments are slices into the input, not copies, and
 * stay where they are until resp_reader_release(), also while more commands are parsed or more bytes
 * arrive: a turn may run all its commands again. An argument of RESP_BIG_ARG_BYTES or more that is
 * not wholly there is read straight into a buffer of its own, which grows with what has arrived,
 * never on the word of its length line.
 *
 * One thread, the connection's loop. Protocol: redis.io/docs/reference/protocol-spec. */
#ifndef RESP_READER_H
#define RESP_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

#define RESP_BIG_ARG_BYTES ((size_t)32 * 1024)

struct resp_reader; /* opaque */
struct resp_pool;   /* opaque: input buffers that idle connections do not keep; one a loop */

struct resp_limits {
    size_t bulk_max_bytes;   /* proto-max-bulk-len */
    size_t inline_max_bytes; /* of an inline line and of a count line: 64 KiB */
    size_t query_max_bytes;  /* all memory that a reader may hold: client-query-buffer-limit */
    int unauthenticated;     /* 1: at most 10 arguments of at most 16,384 bytes */
};

struct resp_command {
    const struct varve_slice *argv; /* argv[0] is the name */
    int argc;                       /* at least 1 */
    size_t wire_bytes;              /* what it took on the wire */
};

enum resp_status {
    RESP_COMMAND,        /* *command is filled */
    RESP_MORE,           /* nothing whole is left */
    RESP_PROTOCOL_ERROR, /* resp_reader_error() has the text; every later call says so again */
    RESP_NO_MEMORY,      /* an allocation failed or query_max_bytes is passed: close the client */
};

/* buffer_bytes is at least 128. Keeps at most keep_count free buffers. NULL: no memory. */
struct resp_pool *resp_pool_create(size_t buffer_bytes, size_t keep_count);
void resp_pool_destroy(struct resp_pool *pool); /* takes NULL; after all its readers */

/* limits and pool are borrowed for life; limits may change between calls. NULL: no memory. */
struct resp_reader *resp_reader_create(const struct resp_limits *limits, struct resp_pool *pool);
void resp_reader_destroy(struct resp_reader *reader); /* takes NULL */

/* Where the next bytes go: at least 1 byte of room, good until any other call for this reader. After
 * a protocol error there is room still, but what comes is dropped. Returns RESP_MORE, or
 * RESP_NO_MEMORY. */
enum resp_status resp_reader_room(struct resp_reader *reader, uint8_t **room,
                                  size_t *room_bytes) MUST_CHECK;
void resp_reader_filled(struct resp_reader *reader, size_t bytes);

/* The next command, judged by the limits as they are now: who runs AUTH or changes a limit asks for
 * the command behind it afterwards. */
enum resp_status resp_reader_next(struct resp_reader *reader,
                                  struct resp_command *command) MUST_CHECK;

/* The text behind "-ERR Protocol error: ". Static or the reader's own; no CR or LF. */
const char *resp_reader_error(const struct resp_reader *reader);

/* Ends the life of all commands that next() gave out since the last release, and gives the memory
 * back that they held (to the pool, where nothing is left over). */
void resp_reader_release(struct resp_reader *reader);

/* Memory that is held for input now, and bytes of input that are not yet part of a whole command:
 * for CLIENT LIST. */
size_t resp_reader_held_bytes(const struct resp_reader *reader);
size_t resp_reader_pending_bytes(const struct resp_reader *reader);

#endif
