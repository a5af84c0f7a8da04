/* content.h - what a directory holds, as one sorted set: the records of the log that are in no segment, in
 * a memtable, over the segments. The state is the newest one that a server would recover. One thread. */
#ifndef VARVE_TOOL_CONTENT_H
#define VARVE_TOOL_CONTENT_H

#include "dir.h"
#include "lsm/memtable.h"
#include "lsm/recovery.h"
#include "lsm/version.h"
#include "segment/iter.h"

struct content {
    const struct data_dir *dir; /* borrowed */
    struct recovery log;        /* what was found in the log */
    struct memtable *memtable;
    struct version *version;
    uint64_t seq;    /* the newest */
    uint64_t now_ms; /* as a server that starts now: never below what the log says */
};

/* dir has its manifest. Anything that a server would refuse is an error that names the file. On error
 * *content is empty; either way content_close() takes it. */
int content_open(const struct data_dir *dir, struct content *content,
                 struct varve_err *err) MUST_CHECK;
void content_close(struct content *content);

/* One segment that the manifest names, its size checked; without a cache. Names the path in errors. */
int content_open_segment(const struct data_dir *dir, const struct manifest_segment *named,
                         struct segment **segment, struct varve_err *err) MUST_CHECK;

/* Takes a live key: neither deleted nor expired at now_ms. entry->chunk.value is the whole value; all
 * is borrowed for the call, and its CRC was checked. Non-zero ends the walk and is returned. */
typedef int (*content_fn)(void *arg, const struct entry *entry, struct varve_err *err);

int slice_begins_with(struct varve_slice key, struct varve_slice prefix);

/* All live keys that begin with prefix, in their order. */
int content_walk(const struct content *content, struct varve_slice prefix, content_fn fn, void *arg,
                 struct varve_err *err) MUST_CHECK;

#endif
