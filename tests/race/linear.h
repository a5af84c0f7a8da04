/* linear.h - is a recorded history linearizable? That is: can each operation be given one moment between its
 * call and its answer, so that all answers are those of a single key that does one thing at a time? Keys are
 * independent (locality), so each is checked by itself.
 *
 * The search goes along the time and keeps every state that the key may be in, together with the operations
 * that are under way and have had their moment (Wing and Gong, with the memory of Lowe). It needs such moments
 * only when an answer comes. Where nothing is under way only the states are left, so that a long history
 * costs no more than its widest place. */
#ifndef RACE_LINEAR_H
#define RACE_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define LINEAR_NEVER                                                                               \
    UINT64_MAX                /* an answer that did not come: it may have had its moment, or not */
#define LINEAR_PENDING_MAX 64 /* operations on a key that are under way at once */

enum linear_kind {
    LINEAR_GET,    /* found; result: the value */
    LINEAR_SET,    /* value */
    LINEAR_SET_NX, /* value; found: 1 if it was set */
    LINEAR_DELETE, /* found: 1 if it was there */
    LINEAR_APPEND, /* value; result: the new length */
    LINEAR_ADD,    /* value: by how much; result: the new number */
};

/* A value as the checker knows it. Of a text: a hash that can be continued. Of a number: itself. */
struct linear_value {
    uint64_t hash;
    uint64_t power; /* what the hash of what lies in front is multiplied with; of a number 0 */
    uint64_t len;
};

struct linear_value linear_text(const void *bytes, size_t len);
struct linear_value linear_number(uint64_t number);
uint64_t linear_hash(struct linear_value value); /* of the whole value: what a GET compares */

struct linear_op {
    uint64_t begin_ns; /* of one clock for all threads */
    uint64_t end_ns;
    struct linear_value value;
    uint64_t result;
    uint32_t key;
    uint8_t kind;
    uint8_t found;
};

enum linear_verdict {
    LINEAR_YES,
    LINEAR_NO,
    LINEAR_TOO_WIDE, /* not known: too much was under way at once */
};

struct linear_report {
    enum linear_verdict verdict;
    uint64_t op; /* the one whose answer nothing explains, by its place in the sorted history */
    uint64_t pending_max;
    uint64_t choices_max; /* kept at once */
};

/* Both on one thread at a time. The operations of one key, which is absent at first; sorts them by their begin. */
void linear_check(struct linear_op *ops, size_t count, struct linear_report *report);

/* All keys of a history, of which there are key_count. Sorts it by key. The report of the first key that is
 * not linearizable, else the maxima. */
void linear_check_all(struct linear_op *ops, size_t count, uint32_t key_count,
                      struct linear_report *report);

/* The operations around one, for a person. */
void linear_print(const struct linear_op *ops, size_t count, uint64_t at);

#endif
