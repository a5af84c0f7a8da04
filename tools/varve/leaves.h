/* leaves.h - the leaves of a directory's hash tree, in memory, and where those of two directories differ.
 * One thread. */
#ifndef VARVE_TOOL_LEAVES_H
#define VARVE_TOOL_LEAVES_H

#include "content.h"
#include "databases.h"
#include "merkle.h"
#include "output.h"

struct leaf_note {
    uint32_t database;
    uint32_t count;  /* of its records */
    size_t first_at; /* its first key in `keys` */
    size_t first_len;
    size_t last_at;
    size_t last_len;
    uint8_t hash[MERKLE_HASH_BYTES];
};

struct leaves {
    struct leaf_note *notes; /* in the order of (database, hash of the name, name) */
    int raw;                 /* or, of the engine's keys, in theirs */
    size_t count;
    size_t cap;
    struct buf keys;
    struct merkle_tree tree; /* complete but for merkle_tree_root() */
};

/* Reads all live data; raw: the engine's keys and values as they are, as database 0. On error too the
 * caller deinits. */
void leaves_init(struct leaves *leaves);
int leaves_read(struct leaves *leaves, const struct content *content, int raw,
                struct progress *progress, struct varve_err *err) MUST_CHECK;
void leaves_deinit(struct leaves *leaves);

struct varve_slice leaf_first(const struct leaves *leaves, size_t i);
struct varve_slice leaf_last(const struct leaves *leaves, size_t i);

/* A stretch of keys, at both ends between leaves of both, whose leaves differ; one of the two may have none
 * there. */
struct leaves_difference {
    uint32_t database;
    struct varve_slice first; /* the first key of either */
    struct varve_slice last;  /* the last */
    uint64_t keys[2];
};

/* The next one behind where `at` (zeroed at first) stands; 0: there is none left. */
struct leaves_place {
    size_t at[2];
};
int leaves_next_difference(const struct leaves *const sides[2], struct leaves_place *place,
                           struct leaves_difference *difference);

#endif
