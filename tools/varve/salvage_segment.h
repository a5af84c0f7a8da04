/* salvage_segment.h - what can be read of a segment that may be damaged. One thread. */
#ifndef VARVE_TOOL_SALVAGE_SEGMENT_H
#define VARVE_TOOL_SALVAGE_SEGMENT_H

#include <stdint.h>

#include "dir.h"
#include "lsm/range_set.h"
#include "salvage_report.h"
#include "segment/iter.h"

struct salvage_segment; /* opaque */

/* Finds its blocks: by its index, or, where that cannot be read, by their CRCs alone. What cannot be read
 * is told to the report, here and while it is walked. *out is NULL where nothing is to be had. report,
 * which has been told of the log before, and dir must outlive it. 0, or an error that has nothing to do with the segment: VARVE_ENOMEM. */
int salvage_segment_open(const struct data_dir *dir, uint64_t file_no,
                         struct salvage_report *report, struct salvage_segment **out,
                         struct varve_err *err) MUST_CHECK;
void salvage_segment_close(struct salvage_segment *segment); /* takes NULL */

/* Its readable range tombstones; the slices live as long as it does. */
size_t salvage_segment_range_count(const struct salvage_segment *segment);
void salvage_segment_range(const struct salvage_segment *segment, size_t i,
                           struct range_tombstone *range);

/* Its entries in their order, by first() and next() only. Blocks that cannot be read are passed. Record
 * CRCs are the caller's. Borrows the segment. Every entry names it as its value_segment, so that
 * entry_value() works, and the next does. */
struct iter *salvage_segment_walk(struct salvage_segment *segment);

/* The name of the file that an entry of such a walk lies in. */
const char *salvage_segment_name(const struct entry *entry);

#endif
