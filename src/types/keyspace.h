/* keyspace.h - Redis's databases and keys on one engine: which database lies where, what a name
 * holds, when it expires. Bytes are in types/FORMAT.md.
 *
 * Writing: keyspace_begin(), any number of puts, deletes and flushes, keyspace_apply(). What lies
 * between is one batch: atomic, and one record of the log. Reads see what was applied, the open group
 * of the engine included, not what is between begin and apply.
 *
 * Sequences: what reads and apply report in *seq is the record that decided the answer; a caller
 * that must not show what is not durable waits for the highest of them.
 *
 * Waiting: no call here waits for the disk. A lookup that would is noted and returns VARVE_WOULD_BLOCK, and
 * from then on keyspace_apply() refuses in the same way: a command that met such a lookup has written
 * nothing. Its caller drops what it answered, fetches what was noted, and runs it again.
 *
 * One thread, the engine's writer. Everything that returns int returns 0, VARVE_NOT_FOUND,
 * VARVE_WOULD_BLOCK, or a negative status and fills err. */
#ifndef TYPES_KEYSPACE_H
#define TYPES_KEYSPACE_H

#include <stdint.h>

#include "base/check.h"
#include "types/keycode.h"
#include "types/walk.h"
#include "varve/db.h"
#include "varve/executor.h"
#include "varve/pin.h"
#include "varve/slice.h"
#include "varve/status.h"

#define KEYSPACE_DATABASES_MAX 16
#define KEYSPACE_VALUE_PARTS_MAX 3

struct keyspace; /* opaque */

struct keyspace_stats {
    uint64_t expired_keys;
    uint64_t hits; /* lookups of KEYSPACE_READ */
    uint64_t misses;
    unsigned blocked; /* a gauge: lookups that are noted since they would block */
    unsigned full;    /* a gauge, 1: a batch was refused since a flush has to end first */
    uint64_t refused; /* batches refused for good: no memory, no disk. Is not reset */
};

/* Reads the map of databases. db is borrowed for life and was opened with keycode_count_group().
 * VARVE_ECORRUPT: the map does not decode. */
int keyspace_open(struct varve_db *db, struct keyspace **keyspace,
                  struct varve_err *err) MUST_CHECK;
void keyspace_close(struct keyspace *keyspace); /* takes NULL; what was not applied is dropped */

/* ---- readers on other threads ---- */

/* A keyspace that only reads, for one other thread: of the calls below keyspace_get(), _exists(), _release(),
 * _prefetch(), those of statistics, and _forget_blocked(), which then starts no fetch. It sees what is
 * committed; an expired name is absent, and not deleted. Opened, and closed before the writer is, on the
 * writer's thread. */
int keyspace_open_reader(struct keyspace *writer, struct keyspace **reader,
                         struct varve_err *err) MUST_CHECK;
/* Around the lookups of one command. begin: 0 if it is to be run by the writer, since the databases change just
 * now, or writes are refused. end: 0 if what it answered is no good, as they did so meanwhile, or a commit
 * came between its lookups. */
int keyspace_read_begin(struct keyspace *reader) MUST_CHECK;
int keyspace_read_end(struct keyspace *reader) MUST_CHECK;
/* The writer's, after each commit, or its failure. */
void keyspace_show(struct keyspace *writer);

/* Borrowed for the keyspace's life. */
const struct keyspace_stats *keyspace_stats(const struct keyspace *keyspace);
/* While the reader rests: its hits and misses become the writer's. */
void keyspace_take_stats(struct keyspace *writer, struct keyspace *reader);
/* Sets hits and misses back to what they were: the lookups since are made again. */
void keyspace_uncount_lookups(struct keyspace *keyspace, uint64_t hits, uint64_t misses);
void keyspace_get_stats(const struct keyspace *keyspace, struct keyspace_stats *stats);
void keyspace_reset_stats(struct keyspace *keyspace);

/* ---- reading ---- */

enum keyspace_lookup {
    KEYSPACE_READ,  /* counts as a hit or a miss */
    KEYSPACE_WRITE, /* does not: the look before a write */
};

/* What a name holds. Lives until keyspace_release(). */
struct keyspace_value {
    enum value_type type;
    enum value_encoding encoding;
    struct varve_slice payload;
    uint64_t expire_ms; /* 0: never */
    struct varve_pin pin;
};

/* Looks a name up at the time now_ms. A name that is found expired is absent; it is deleted on the
 * way unless writes are refused. VARVE_ECORRUPT names the key. seq is raised, never lowered. */
int keyspace_get(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                 enum keyspace_lookup lookup, struct keyspace_value *value, uint64_t *seq,
                 struct varve_err *err) MUST_CHECK;
void keyspace_release(struct keyspace_value *value); /* of a value that was found; or zeroed */

/* 1: names that expired stay in the data until this is taken back by 0; they are absent all the same. */
void keyspace_keep_expired(struct keyspace *keyspace, int keep);

/* The same, when only its being there matters. */
int keyspace_exists(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                    enum keyspace_lookup lookup, uint64_t *seq, struct varve_err *err) MUST_CHECK;

/* A hint that these names are read or written soon (varve_prefetch). */
#define KEYSPACE_PREFETCH_MAX 32
void keyspace_prefetch(struct keyspace *keyspace, int db, enum varve_intent intent,
                       const struct varve_slice *keys, size_t count);

/* The names of a database, with those that expired and that nobody looked up since. Exact as of this
 * moment, or as of the end of a fetch that keyspace_know_fetched() was told of. */
int keyspace_count(struct keyspace *keyspace, int db, uint64_t *count, uint64_t *seq,
                   struct varve_err *err) MUST_CHECK;
/* The same for those who watch: about as many, if they are more than VARVE_COUNT_EXACT_MAX. */
int keyspace_count_about(struct keyspace *keyspace, int db, uint64_t *count, uint64_t *seq,
                         struct varve_err *err) MUST_CHECK;

/* The names of a database from a place on, those that are live at now_ms (walk.h). query is borrowed for the
 * call; *page lives until the next walk, or keyspace_forget_fetched(). A short walk sees the open group; one
 * that is fetched does not. It waits for the disk where there is no executor, and between keyspace_mark() and
 * its end. seq is raised to that of the newest write. */
int keyspace_walk(struct keyspace *keyspace, int db, const struct walk_query *query,
                  uint64_t now_ms, const struct walk_page **page, uint64_t *seq,
                  struct varve_err *err) MUST_CHECK;

/* Of a database's names (so many, as keyspace_count_about() said) those with an expiry, expired ones that were
 * not deleted yet included. Up to VARVE_COUNT_EXACT_MAX names exact, above that a sample says it. As a walk. */
struct keyspace_expiring {
    uint64_t names;
    uint64_t ttl_ms; /* what those that live have left, on average */
};
int keyspace_expiring(struct keyspace *keyspace, int db, uint64_t names, uint64_t now_ms,
                      struct keyspace_expiring *expiring, struct varve_err *err) MUST_CHECK;

/* Where walks run as READ jobs; the engine's. Borrowed for life; NULL in the beginning. */
void keyspace_set_executor(struct keyspace *keyspace, struct varve_executor *executor);

/* ---- lookups that would block ---- */

/* keyspace_stats()->blocked of them are noted. Once there are so many, all others return
 * VARVE_WOULD_BLOCK without a look, and are not. */
#define KEYSPACE_BLOCKED_MAX 512

/* What a fetch is of; the keyspace's. */
struct keyspace_wanted {
    uint64_t counted_space; /* the space whose names are counted; 0: a key is read */
    int about;              /* the count need not be exact */
    uint32_t hash;          /* of that key */
    struct walk_job *walk;  /* owned: neither, but a walk */
};

/* Starts the fetch of one of them (varve_fetch_start, varve_fetch_count, _about). Returns 0 or VARVE_ENOMEM. */
int keyspace_fetch(struct keyspace *keyspace, unsigned i, struct varve_fetch *fetch,
                   struct keyspace_wanted *wanted) MUST_CHECK;
/* As varve_fetch_cancel() and varve_fetch_release(), for all that it starts. */
void keyspace_fetch_cancel(struct keyspace_wanted *wanted, struct varve_fetch *fetch);
void keyspace_fetch_release(struct keyspace_wanted *wanted, struct varve_fetch *fetch);
/* Forgets them, and that a batch was refused: the next command begins. */
void keyspace_forget_blocked(struct keyspace *keyspace);

/* What the next lookups may build on, until keyspace_forget_fetched(): a fetch that is done (borrowed so
 * long; its `next` is the keyspace's); and, if `wait` is not 0, the disk. */
void keyspace_know_fetched(struct keyspace *keyspace, const struct keyspace_wanted *wanted,
                           struct varve_fetch *fetch);
void keyspace_let_wait(struct keyspace *keyspace, int wait);
void keyspace_forget_fetched(struct keyspace *keyspace);

/* How long the next write is to be held back, in microseconds (varve_write_delay_us). */
uint64_t keyspace_write_delay_us(const struct keyspace *keyspace, enum varve_stall_cause *cause);
/* And how large a group may be while they are held back (varve_write_round_bytes). */
uint64_t keyspace_write_round_bytes(const struct keyspace *keyspace);

/* ---- writing ---- */

/* Forgets what was not applied. */
void keyspace_begin(struct keyspace *keyspace);

/* A name's whole new record: head and the parts of its payload, one after the other (at most
 * KEYSPACE_VALUE_PARTS_MAX). The last one may be long, and stays as it is until keyspace_apply(); the others are
 * copied. */
int keyspace_put(struct keyspace *keyspace, int db, struct varve_slice key, uint8_t head,
                 const struct varve_slice *parts, int part_count, uint64_t expire_ms,
                 struct varve_err *err) MUST_CHECK;

int keyspace_delete(struct keyspace *keyspace, int db, struct varve_slice key,
                    struct varve_err *err) MUST_CHECK;

/* The same value with another expiry (0: none). */
int keyspace_set_expiry(struct keyspace *keyspace, int db, struct varve_slice key,
                        const struct keyspace_value *value, uint64_t expire_ms,
                        struct varve_err *err) MUST_CHECK;

/* What a name holds, its expiry included, under another name or in another database. */
int keyspace_put_value(struct keyspace *keyspace, int db, struct varve_slice key,
                       const struct keyspace_value *value, struct varve_err *err) MUST_CHECK;

/* Exchanges all that two databases hold, at the cost of two records. */
int keyspace_swap(struct keyspace *keyspace, int db, int other, struct varve_err *err) MUST_CHECK;

/* Empties a database at the cost of two records; one that is known to be empty costs nothing. */
int keyspace_flush(struct keyspace *keyspace, int db, struct varve_err *err) MUST_CHECK;
int keyspace_flush_all(struct keyspace *keyspace, struct varve_err *err) MUST_CHECK;

/* Makes the batch part of the engine's open group; an empty one does nothing. On an error nothing
 * of it happened. seq is raised to the last operation's. VARVE_WOULD_BLOCK after any lookup that said so. */
int keyspace_apply(struct keyspace *keyspace, uint64_t *seq, struct varve_err *err) MUST_CHECK;

/* ---- several batches, all or none ---- */

/* Where the open group stands, to go back there: what was applied since is undone. From a mark on, until
 * its end, a batch that is refused for another reason than a lookup is counted in keyspace_stats()->refused.
 * If the group began with the mark, VARVE_EFULL: what was applied since is too much for one memtable, and no
 * flush would help.
 * One mark at a time, and no commit before its end. */
void keyspace_mark(struct keyspace *keyspace);
/* Ends the mark; cut: all that was applied since is undone. */
void keyspace_unmark(struct keyspace *keyspace, int cut);

/* The open group, or the next one: groups have numbers, counted from 1. */
uint64_t keyspace_group_no(const struct keyspace *keyspace);

/* ---- keys that are watched ---- */

/* What a name was when it was looked at, but for its value. */
struct keyspace_watch {
    uint64_t space_id; /* 0: the database had none */
    uint64_t seq;      /* of the record, or tombstone, that decided it; 0: none */
    uint64_t at;       /* of the newest operation when it was looked at */
    int present;
};

/* Looks at a name. Not a hit, nor a miss. seq is raised, never lowered. */
int keyspace_watch(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                   struct keyspace_watch *watch, uint64_t *seq, struct varve_err *err) MUST_CHECK;
/* 1 if the name was written, deleted, or expired between two looks, or its database was emptied or
 * swapped while it was there before or after. A name that came and went in between has not changed if its
 * tombstone is gone as well, or went with the database. */
int keyspace_watch_differs(const struct keyspace_watch *before,
                           const struct keyspace_watch *after) MUST_CHECK;

/* ---- the engine behind it ---- */

/* 1 if there are writes that are not committed (varve_group_open), and about how many bytes of batches
 * they are. */
int keyspace_group_open(const struct keyspace *keyspace);
uint64_t keyspace_group_bytes(const struct keyspace *keyspace);

/* Starts a sync of all that is committed, up to *seq, whatever the durability mode is (varve_sync). */
void keyspace_sync(struct keyspace *keyspace, uint64_t *seq);

uint64_t keyspace_now_ms(struct keyspace *keyspace);

/* 0 if writes are taken, else VARVE_EREADONLY and why. */
int keyspace_writable(const struct keyspace *keyspace, struct varve_err *err);

/* Borrowed, for what only the engine knows (INFO). */
struct varve_db *keyspace_engine(const struct keyspace *keyspace);

#endif
