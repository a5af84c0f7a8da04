/* salvage_log.h - what can be read of log files that may be damaged. One thread. */
#ifndef VARVE_TOOL_SALVAGE_LOG_H
#define VARVE_TOOL_SALVAGE_LOG_H

#include <stdint.h>

#include "dir.h"
#include "lsm/memtable.h"
#include "salvage_report.h"

struct salvage_log_file {
    uint64_t file_no;
    uint64_t limit; /* what lies behind does not count; UINT64_MAX: as far as records are */
    uint64_t end;   /* of its last whole record, once it was read */
};

#define SALVAGE_FLUSHED_UNKNOWN UINT64_MAX

/* Adds the operations of every whole record to the memtable, in the order of their sequences: of two with
 * the same one that of the later file counts, which was written after the end of the log was lost in the
 * earlier. The files are in the order of their numbers; limits that a later file states are filled in.
 * Operations up to flushed_seq lie in segments as well: damage to those loses nothing. 0, or an error that
 * has nothing to do with the files: VARVE_ENOMEM. */
int salvage_log_read(const struct data_dir *dir, struct salvage_log_file *files, size_t count,
                     uint64_t flushed_seq, struct salvage_report *report, struct memtable *memtable,
                     struct varve_err *err) MUST_CHECK;

#endif
