/* compactor_view.h - between the compactor and what it works with: a version as the picture that the picker
 * looks at, and what came of a pick as manifest edits and a version change. No state. */
#ifndef LSM_COMPACTOR_VIEW_H
#define LSM_COMPACTOR_VIEW_H

#include "lsm/compaction.h"
#include "lsm/manifest.h"
#include "lsm/picker.h"
#include "lsm/snapshots.h"
#include "lsm/version.h"

struct compactor_view {
    struct picker_view view; /* its slices lie in the version's segments */
    struct picker_segment *segments;
    struct picker_run *runs;
};

/* The levels part of the picture; the rest of view is the caller's to fill. 0 or VARVE_ENOMEM. */
int compactor_view_init(struct compactor_view *picture, const struct version *version,
                        const struct snapshot_list *snapshots,
                        uint64_t expired_before_ms) MUST_CHECK;
void compactor_view_deinit(struct compactor_view *picture);

struct compactor_edit {
    struct manifest_edit *edits;
    size_t edit_count;
    struct version_change change;
    struct segment **inputs; /* borrowed from the version of the plan */
    size_t input_count;
    int keep_inputs; /* they were moved, not replaced */
    struct version_add *added;
    struct version_group *groups;
};

/* planned: the version that was picked from; now: the one that the change is made to, whose groups may have
 * changed. result: of a merge, else zeroed. 0 or VARVE_ENOMEM. */
int compactor_edit_init(struct compactor_edit *edit, const struct pick *pick,
                        const struct version *planned, const struct version *now,
                        const struct compaction_result *result) MUST_CHECK;
/* The files of what was replaced go with their last reader. */
void compactor_edit_mark_dead(const struct compactor_edit *edit);
void compactor_edit_deinit(struct compactor_edit *edit);

#endif
