/* blocked.h - the keyspace's notes of lookups that would have waited for the disk, and what was fetched for
 * them. One owner, one thread. */
#ifndef TYPES_BLOCKED_H
#define TYPES_BLOCKED_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "types/keyspace.h"

struct blocked_note {
    size_t at; /* the engine key, or the count group's name, in blocked.keys */
    size_t len;
    uint64_t counted_space; /* 0: a key is read */
};

struct known_count {
    uint64_t space;
    uint64_t count;
};

struct blocked {
    struct buf keys;
    struct blocked_note notes[KEYSPACE_BLOCKED_MAX];
    unsigned count;
    struct known_count known[KEYSPACE_DATABASES_MAX];
    unsigned known_count;
    int wait;
};

void blocked_init(struct blocked *blocked);
void blocked_deinit(struct blocked *blocked);

/* Notes a lookup; key is copied. Returns VARVE_WOULD_BLOCK, or VARVE_ENOMEM if nothing is noted. */
int blocked_note(struct blocked *blocked, struct varve_slice key,
                 uint64_t counted_space) MUST_CHECK;
void blocked_forget(struct blocked *blocked);

void blocked_know_count(struct blocked *blocked, uint64_t space, uint64_t count);
/* 1 and *count if it is known. */
int blocked_known_count(const struct blocked *blocked, uint64_t space, uint64_t *count) MUST_CHECK;

#endif
