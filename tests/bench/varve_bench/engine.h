/* engine.h - the table of functions that each engine fills: varve-bench knows it by nothing else.
 * What fails ends the process by bench_fail(). Writes, tick, sync, compact and idle come from one
 * thread, a reader belongs to one. Slices that a reader gives live until its next call. */
#ifndef VARVE_BENCH_ENGINE_H
#define VARVE_BENCH_ENGINE_H

#include "bench.h"
#include "varve/slice.h"

struct engine {
    const char *name;
    /* How it is set up, one line. */
    void (*describe)(const struct bench_config *config, char *text, size_t cap);
    /* Makes the database in config->dir, which is there and empty, or opens the one in it. */
    void *(*open)(const struct bench_config *config);
    void (*close)(void *db);

    /* From now on a write returns when it is durable (1), or as config->durability says (0). */
    void (*set_sync)(void *db, int on);
    void (*put)(void *db, struct varve_slice key, struct varve_slice value);
    void (*erase)(void *db, struct varve_slice key);
    /* Adds to a batch, which batch_write() writes as one and empties. */
    void (*batch_put)(void *db, struct varve_slice key, struct varve_slice value);
    void (*batch_write)(void *db);

    void *(*reader_open)(void *db);
    void (*reader_close)(void *reader);
    /* NULL, or called around some dozens of reads: what a program does once a turn. */
    void (*enter)(void *reader);
    void (*leave)(void *reader);
    int (*get)(void *reader, struct varve_slice key, struct varve_slice *value); /* 1: found */
    void (*release)(void *reader); /* after a get that found; NULL: nothing to do */

    /* A new iterator at the first key, or at the first one >= *key. */
    void (*seek)(void *reader, const struct varve_slice *key);
    int (*entry)(void *reader, struct varve_slice *key, struct varve_slice *value); /* 0: the end */
    void (*next)(void *reader); /* where entry() said 1 */
    void (*seek_end)(void *reader);

    void (*tick)(void *db);    /* NULL, or called every 10 ms */
    void (*sync)(void *db);    /* what is written becomes durable */
    void (*compact)(void *db); /* into one run; waits for it */
    int (*idle)(void *db);     /* NULL, or: 1 if by its own word nothing runs or waits */
};

extern const struct engine engine_varve;
extern const struct engine engine_rocksdb;
extern const struct engine engine_rocksdb_tuned;
extern const struct engine engine_leveldb;
extern const struct engine engine_lmdb;

/* Of the file NAME in the database's folder; a path that does not fit ends the process. */
void engine_path(const struct bench_config *config, const char *name, char path[PATH_BYTES]);

#endif
