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

/* ---- t_string_edit.c ---- */

/* Puts value at the offset, behind zeros if the string is shorter, or creates; keeps the expiry. *length is
 * the length then. An empty value writes nothing. TYPES_TOO_LONG: offset + value.len is past length_max. */
int string_set_range(const struct string_at *at, uint64_t offset, struct varve_slice value,
                     uint64_t length_max, uint64_t *length) MUST_CHECK;

/* The write of it: `old` is what string_get() found, or zeroed if that was nothing. No bound but the engine's. */
int string_put_range(const struct string_at *at, const struct keyspace_value *old, uint64_t offset,
                     struct varve_slice value) MUST_CHECK;

/* Adds to the number that the string is, 0 if it is absent; keeps the expiry. `text`, with
 * LONGDOUBLE_TEXT_MAX_BYTES of room, gets the sum. TYPES_NOT_FLOAT: one of them is no number.
 * TYPES_NOT_FINITE: the sum is too large, or infinite. */
int string_add_float(const struct string_at *at, struct varve_slice increment, char *text,
                     size_t *len) MUST_CHECK;

/* What OBJECT ENCODING calls a string of these bytes that was just set. */
enum string_encoding { STRING_INT, STRING_EMBSTR, STRING_RAW };
#define STRING_EMBEDDED_MAX_BYTES 44

enum string_encoding string_encoding(struct varve_slice value) MUST_CHECK;

#endif
