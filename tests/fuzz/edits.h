/* edits.h - an input that changes good files instead of being one: short inputs then reach what lies deep
 * in a file, and a corpus needs no copies of it. */
#ifndef TESTS_FUZZ_EDITS_H
#define TESTS_FUZZ_EDITS_H

#include <stddef.h>
#include <stdint.h>

#include "take.h"

#define EDITS_FILE_MAX_BYTES ((size_t)256 * 1024)

/* The bytes of one file; room for EDITS_FILE_MAX_BYTES. */
struct edited {
    uint8_t *bytes; /* owned; malloc: past base/mem.h, whose allocations are the engine's */
    size_t len;
};

void edited_init(struct edited *file, const void *bytes, size_t len);
void edited_deinit(struct edited *file);
/* Takes one edit from the input and does it. */
void edited_change(struct edited *file, struct take *take);

#endif
