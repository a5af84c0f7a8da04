/* seal.h - makes the CRCs of a changed segment right, so that what lies behind them is reached. */
#ifndef TESTS_FUZZ_SEAL_H
#define TESTS_FUZZ_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "env/file_header.h"

enum seal {
    SEAL_HEADER = 1, /* id and number too */
    SEAL_FOOTER = 2,
    SEAL_META = 4,  /* the blocks that footer and properties name, as far as they lie in the file */
    SEAL_DATA = 8,  /* those that the index names */
    SEAL_SIZE = 16, /* the file's size in the footer */
};

void seal_segment(uint8_t *bytes, size_t len, const struct dir_id *id, uint64_t file_no,
                  unsigned what);

#endif
