/* salvage.h - copies what can be proven of a damaged directory into a new one: records whose CRCs are right,
 * of each key the one with the highest sequence, unless a tombstone or a range tombstone is newer. What was
 * lost on the way is in the report. The old directory is only read. One thread. */
#ifndef VARVE_TOOL_SALVAGE_H
#define VARVE_TOOL_SALVAGE_H

#include "output.h"
#include "salvage_report.h"
#include "salvage_spaces.h"

struct salvage {
    struct salvage_report report;
    struct salvage_spaces spaces;
    struct progress progress;
};

void salvage_init(struct salvage *salvage);
/* An error: it could not be done; what is in new_path is not whole. */
int salvage_run(struct salvage *salvage, const char *old_path, const char *new_path,
                struct varve_err *err) MUST_CHECK;
void salvage_deinit(struct salvage *salvage);

#endif
