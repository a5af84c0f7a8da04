/* t_string.h - operations on names that hold a string. One thread, the keyspace's.
 * They return 0, VARVE_NOT_FOUND, an enum types_result, or a negative status with err filled; what
 * is not 0 has written nothing. `seq` as in keyspace.h. The writing ones begin and apply a batch of
 * their own, but for string_put(), which adds to the one that is begun. */
#ifndef TYPES_T_STRING_H
#define TYPES_T_STRING_H

#include <stdint.h>

#include "base/check.h"
#include "types/keyspace.h"
#include "types/result.h"

/* Where a string lies, and when. */
struct string_at {
    struct keyspace *keyspace;
    int db;
    struct varve_slice key;
    uint64_t now_ms;
    uint64_t *seq;
    struct varve_err *err;
};

/* value->payload is the string, until keyspace_release(). TYPES_WRONG_TYPE: nothing is held. */
int string_get(const struct string_at *at, enum keyspace_lookup lookup,
               struct keyspace_value *value) MUST_CHECK;

/* Adds the put of a whole string to the batch. An expiry (0: none) at or before now deletes. */
int string_put(const struct string_at *at, struct varve_slice value, uint64_t expire_ms) MUST_CHECK;

/* Appends, or creates; keeps the expiry. *length is the new length in bytes. TYPES_TOO_LONG: an
 * existing string would grow past length_max. */
int string_append(const struct string_at *at, struct varve_slice value, uint64_t length_max,
                  uint64_t *length) MUST_CHECK;

/* Adds to the integer that the string is, 0 if it is absent; keeps the expiry. */
int string_increment(const struct string_at *at, int64_t delta, int64_t *result) MUST_CHECK;

#endif
