/* compaction.h - carries a pick out: merges its inputs into new segments, which are synced, read back and
 * checked, but not yet named. It knows files and rules, not when it is due nor how it takes effect.
 *
 * A large one is cut into parts by key, which may run on several threads at once; each part writes segments
 * of its own. A step machine: compaction_part() runs one part whole. */
#ifndef LSM_COMPACTION_H
#define LSM_COMPACTION_H

#include <stdatomic.h>

#include "lsm/picker.h"
#include "lsm/rewrite.h"
#include "lsm/version.h"
#include "segment/segment_writer.h"

struct compaction; /* opaque */

struct compaction_config {
    const char *dir; /* borrowed, as all of it, for the compaction's life */
    struct cache *cache;
    struct segment_writer_options writer;
    const uint64_t *snapshots; /* ascending; copied */
    size_t snapshot_count;
    uint64_t expired_before_ms;
    varve_group_fn count_group;
    void *group_arg;
    uint32_t parts_max;
    uint64_t (*new_file_no)(void *arg); /* any thread */
    void *file_no_arg;
    const _Atomic int *stop; /* non-zero: give up soon */
    _Atomic uint64_t *took;  /* adds entries of the inputs as they are taken; may be NULL */
};

/* version: takes a reference; pick: borrowed for the call. Cuts the job into parts. */
int compaction_create(const struct compaction_config *config, struct version *version,
                      const struct pick *pick, struct compaction **compaction,
                      struct varve_err *err) MUST_CHECK;
size_t compaction_part_count(const struct compaction *compaction);
/* Runs one part; each once, on any thread. 0, REWRITE_STOPPED or an error. */
int compaction_part(struct compaction *compaction, size_t part, struct varve_err *err) MUST_CHECK;

/* After all parts succeeded: what came of it, as often as it is asked. Lives as long as the compaction. */
struct compaction_result {
    struct segment *const *outputs; /* ascending by key */
    size_t output_count;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t copied_bytes; /* of those, in blocks that were copied as they were */
    const struct count_changes *changes;
};
int compaction_result(struct compaction *compaction, struct compaction_result *result,
                      struct varve_err *err) MUST_CHECK;

/* Removes the output files unless compaction_keep() was called: the manifest names them, or may. */
void compaction_keep(struct compaction *compaction);
void compaction_destroy(struct compaction *compaction); /* takes NULL; no part may be running */

#endif
