/* pieces.h - memory for pieces of some KiB that come and go in any order, out of huge chunks: those of which nothing
 * is in use are spare, for pieces to come, until pieces_trim() gives them back to the system, whatever the C allocator
 * keeps; and being backed by huge pages they are read at random with few misses of the TLB. Any thread. */
#ifndef BASE_PIECES_H
#define BASE_PIECES_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "base/thread.h"

/* A piece takes whole units; a larger one than the most comes from mem_alloc(). */
#define PIECES_UNIT_BYTES ((size_t)256)
#define PIECES_MAX_BYTES ((size_t)32 * 1024)

struct pieces_chunk;

struct pieces {
    struct mutex mutex;
    struct list open; /* chunks that may have room; empty before the first one: see PIECES_INIT */
    struct list full; /* chunks that had none when they were asked last */
    struct list leaving; /* chunks that hand out nothing more: pieces_leave() */
    struct list spare;   /* chunks that are empty */
    size_t spare_count;
    size_t aged_bytes;  /* of them, not given back yet; below a chunk's */
    size_t chunk_count; /* those included */
    size_t used_units;
};

struct pieces_stats {
    size_t held_bytes;  /* of chunks */
    size_t used_bytes;  /* of pieces in them */
    size_t spare_bytes; /* of chunks without any */
};

#define PIECES_INIT(name)                                                                          \
    {                                                                                              \
        .mutex = {PTHREAD_MUTEX_INITIALIZER}, .open = {&(name).open, &(name).open},                \
        .full = {&(name).full, &(name).full}, .leaving = {&(name).leaving, &(name).leaving},       \
        .spare = {&(name).spare, &(name).spare},                                                   \
    }

/* What a piece of so many bytes takes; it may be asked for and freed with either size. */
static inline size_t pieces_size(size_t size_bytes)
{
    if (size_bytes > PIECES_MAX_BYTES)
        return size_bytes;
    return size_bytes == 0
               ? PIECES_UNIT_BYTES
               : (size_bytes + PIECES_UNIT_BYTES - 1) / PIECES_UNIT_BYTES * PIECES_UNIT_BYTES;
}

/* Uninitialised, aligned to 16; NULL: no memory. */
void *pieces_alloc(struct pieces *pieces, size_t size_bytes) MUST_CHECK;
void pieces_free(struct pieces *pieces, void *at, size_t size_bytes);
/* Gives spare chunks back, but for so many bytes of them. */
void pieces_trim(struct pieces *pieces, size_t keep_bytes);
/* Gives back one of so many parts of them; what is less than a chunk adds up over the calls. */
void pieces_age(struct pieces *pieces, size_t parts);

void pieces_get_stats(struct pieces *pieces, struct pieces_stats *stats);
/* Chooses the emptiest chunks, of which at least a third is free, until what is free in all that leave is
 * free_bytes: nothing new is put there, and who frees the pieces of which pieces_is_leaving() says so, gets their
 * memory back to the system. Returns how many bytes are still in use in them. Takes time by the number of
 * chunks. */
size_t pieces_leave(struct pieces *pieces, size_t free_bytes);
/* Of a piece of up to PIECES_MAX_BYTES, which stays there during the call. */
int pieces_is_leaving(const void *at);

#endif
