/* manifest_state.h - what a manifest says is alive, as it changes edit by edit, and the edits as bytes:
 * FORMAT.md section 4. Pure: memory only. One owner, one thread. */
#ifndef LSM_MANIFEST_STATE_H
#define LSM_MANIFEST_STATE_H

#include "base/buf.h"
#include "base/check.h"
#include "lsm/manifest.h"

#define MANIFEST_EDIT_MAX_BYTES ((size_t)4 * 1024 * 1024)

void manifest_state_deinit(struct manifest_state *state);

/* A copy of the state with the edits in it; the caller's to deinit. 0, VARVE_ENOMEM, or VARVE_EINVAL: an
 * edit is impossible. On error *copy is empty. */
int manifest_state_with(const struct manifest_state *state, const struct manifest_edit *edits,
                        size_t count, struct manifest_state *copy) MUST_CHECK;

/* Appends next file number and clock of `state`, and then the edits. */
int manifest_put_edits(struct buf *to, const struct manifest_state *state,
                       const struct manifest_edit *edits, size_t count) MUST_CHECK;
/* Appends the edit that makes the whole state. */
int manifest_put_state(struct buf *to, const struct manifest_state *state) MUST_CHECK;
/* Applies the payload of an edit record. VARVE_ECORRUPT: it can't be applied; then, and without memory, the
 * state is only fit for deinit. */
int manifest_get_edit(struct manifest_state *state, struct varve_slice payload) MUST_CHECK;

#endif
