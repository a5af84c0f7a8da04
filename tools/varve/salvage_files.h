/* salvage_files.h - which files of a damaged directory count. One thread. */
#ifndef VARVE_TOOL_SALVAGE_FILES_H
#define VARVE_TOOL_SALVAGE_FILES_H

#include "dir.h"
#include "salvage_log.h"
#include "salvage_report.h"

struct salvage_files {
    uint64_t *segments; /* numbers, ascending; owned */
    size_t segment_count;
    struct salvage_log_file *logs; /* ascending; owned */
    size_t log_count;
    uint64_t flushed_seq;        /* SALVAGE_FLUSHED_UNKNOWN without a manifest */
    struct varve_err log_damage; /* code 0: a server would read the log without complaint */
    uint64_t log_last_seq;       /* what it would read up to */
};

/* Those that the manifest names; where it cannot be read, or lacks its end, all those with the directory's
 * id, and the report says so. dir is open; gets its id. On error too the caller deinits. */
int salvage_files_choose(struct data_dir *dir, struct salvage_report *report,
                         struct salvage_files *files, struct varve_err *err) MUST_CHECK;
void salvage_files_deinit(struct salvage_files *files);

#endif
