/* compact_dir - opens a server's data directory while no server runs on it, merges everything down into
 * the last level, and says what the segments take before and after. usage: compact_dir DIR */
#include <inttypes.h>
#include <stdio.h>

#include "types/keycode.h"
#include "varve/db.h"

#define MIB ((uint64_t)1024 * 1024)

int main(int argc, char **argv)
{
    struct varve_options options = {
        .no_create = 1,
        .count_group = keycode_count_group,
    };
    struct varve_err err = {0};
    struct varve_stats before, after;
    struct varve_db *db = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: compact_dir DIR\n");
        return 2;
    }
    int rc = varve_executor_threads_create(NULL, &options.executor, &err);
    if (rc == 0)
        rc = varve_open(argv[1], &options, &db, &err);
    if (rc == 0)
        varve_stats(db, &before);
    if (rc == 0)
        rc = varve_compact(db, &err);
    if (rc == 0) {
        varve_stats(db, &after);
        printf("segments: %.1f MiB, compacted %.1f MiB\n",
               (double)before.segment_bytes / (double)MIB,
               (double)after.segment_bytes / (double)MIB);
    }
    if (db != NULL) {
        int closed = varve_close(db, rc == 0 ? &err : NULL);
        rc = rc == 0 ? closed : rc;
    }
    varve_executor_threads_destroy(options.executor);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", argv[1], err.text);
    return rc != 0;
}
