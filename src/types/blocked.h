/* blocked.h - the keyspace's notes of lookups that would have waited for the disk, and what was fetched for
 * them. One owner, one thread. */
#ifndef TYPES_BLOCKED_H
#define TYPES_BLOCKED_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "types/keyspace.h"

#define FETCHED_BUCKETS 1024

struct blocked_note {
    size_t at; /* the engine key, or the count group's name, in blocked.keys */
    size_t len;
    uint64_t counted_space; /* 0: a key is read */
    int about;              /* of a count: it need not be exact */
    unsigned walk;          /* neither: names are walked over; which walk, counted from 1 */
};

struct known_count {
    uint64_t space;
    uint64_t count;
    int about;
};

struct blocked {
    struct buf keys;
    struct blocked_note notes[KEYSPACE_BLOCKED_MAX];
    unsigned count;
    struct known_count known[2 * KEYSPACE_DATABASES_MAX]; /* exact ones, and others */
    unsigned known_count;
    /* By the hash of their keys: a command of n keys looks through n of them n times. */
    const struct varve_fetch *fetched[FETCHED_BUCKETS];
    unsigned fetched_count;
    int wait;
};

void blocked_init(struct blocked *blocked);
void blocked_deinit(struct blocked *blocked);

/* Notes a lookup; key is copied. Returns VARVE_WOULD_BLOCK, or VARVE_ENOMEM if nothing is noted. */
int blocked_note(struct blocked *blocked, struct varve_slice key, uint64_t counted_space,
                 int about) MUST_CHECK;
void blocked_forget(struct blocked *blocked);

void blocked_know_count(struct blocked *blocked, uint64_t space, int about, uint64_t count);
/* 1 and *count if it is known, exactly if it must be. */
int blocked_known_count(const struct blocked *blocked, uint64_t space, int about,
                        uint64_t *count) MUST_CHECK;

uint32_t blocked_hash(struct varve_slice key);
/* Borrowed, its `next` included, until blocked_forget_known(). */
void blocked_know_fetched(struct blocked *blocked, uint32_t hash, struct varve_fetch *fetch);
/* Those that may be of the key, linked by `next`; NULL: none is. */
const struct varve_fetch *blocked_fetched(const struct blocked *blocked, struct varve_slice key);
/* What was fetched, and the counts. */
void blocked_forget_known(struct blocked *blocked);

#endif
