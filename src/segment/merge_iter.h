/* merge_iter.h - several iterators as one, in the order of entries. A loser tree (Knuth, TAOCP 3, 5.4.1)
 * of the sources' keys with their first 16 bytes as numbers; "the same source is smallest again" is
 * the fast path. Two sources never have the same key and sequence. */
#ifndef SEGMENT_MERGE_ITER_H
#define SEGMENT_MERGE_ITER_H

#include <stddef.h>

#include "segment/iter.h"

/* Takes the sources over (destroys them with itself, on failure too). NULL: no memory, or one of the
 * sources is NULL (there was none for it). The first error of a source is the merge's: it is not valid
 * then, and first() to seek_prev() try again. */
struct iter *merge_iter_create(struct iter **sources, size_t count);

#endif
