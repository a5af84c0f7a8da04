/* reply.h - replies read as a client reads them, by nothing of ours but this. */
#ifndef TESTS_FUZZ_REPLY_H
#define TESTS_FUZZ_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "take.h"

struct reply {
    char type;                /* the first byte: + - : $ * _ % ~ > , # = */
    int is_null;              /* $-1, *-1, _ */
    int64_t number;           /* of : and #; of * % ~ > how many follow (of % pairs) */
    struct varve_slice bytes; /* of + - $ , and = (behind its kind) */
};

/* Reads one reply, or the head of an aggregate, and moves on behind it. Returns 0, or -1 for bytes that are
 * none of this protocol (2 or 3). */
int reply_read(struct take *from, int proto, struct reply *reply);

#endif
