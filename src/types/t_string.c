#include "types/t_string.h"

#include "base/mutant.h"
#include "types/integer.h"

#define STRING_HEAD value_head(VALUE_STRING, VALUE_RAW)

int string_get(const struct string_at *at, enum keyspace_lookup lookup,
               struct keyspace_value *value)
{
    int rc = keyspace_get(at->keyspace, at->db, at->key, at->now_ms, lookup, value, at->seq,
                          at->err);

    if (rc == 0 && value->type != VALUE_STRING) {
        keyspace_release(value);
        rc = TYPES_WRONG_TYPE;
    }
    return rc;
}

int string_put(const struct string_at *at, struct varve_slice value, uint64_t expire_ms)
{
    if (UNLIKELY(expire_ms != 0 && expire_ms <= at->now_ms))
        return keyspace_delete(at->keyspace, at->db, at->key, at->err);
    return keyspace_put(at->keyspace, at->db, at->key, STRING_HEAD, &value, 1, expire_ms, at->err);
}

int string_append(const struct string_at *at, struct varve_slice value, uint64_t length_max,
                  uint64_t *length)
{
    struct keyspace_value old = {0};
    int rc = string_get(at, KEYSPACE_WRITE, &old);

    *length = 0;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        return rc;
    int found = rc == 0;
    if (found && (old.payload.len > length_max || value.len > length_max - old.payload.len)) {
        keyspace_release(&old);
        return TYPES_TOO_LONG;
    }
    struct varve_slice parts[2] = {old.payload, value};
    keyspace_begin(at->keyspace);
    rc = keyspace_put(at->keyspace, at->db, at->key, STRING_HEAD, found ? parts : parts + 1,
                      found ? 2 : 1, found && !MUTANT("append-forgets-expiry") ? old.expire_ms : 0,
                      at->err);
    if (rc == 0)
        rc = keyspace_apply(at->keyspace, at->seq, at->err);
    if (rc == 0)
        *length = (found ? old.payload.len : 0) + value.len;
    if (found)
        keyspace_release(&old);
    return rc;
}

int string_increment(const struct string_at *at, int64_t delta, int64_t *result)
{
    struct keyspace_value old = {0};
    uint8_t text[INTEGER_TEXT_MAX_BYTES];
    uint64_t expire_ms = 0;
    int64_t value = 0;
    int rc = string_get(at, KEYSPACE_WRITE, &old);

    *result = 0;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        return rc;
    if (rc == 0) {
        int is_integer = integer_parse(old.payload, &value);
        expire_ms = MUTANT("increment-forgets-expiry") ? 0 : old.expire_ms;
        keyspace_release(&old);
        if (!is_integer)
            return TYPES_NOT_INTEGER;
    }
    if (__builtin_add_overflow(value, delta, &value))
        return TYPES_OVERFLOW;
    struct varve_slice printed = varve_slice(text, integer_print(value, text));
    keyspace_begin(at->keyspace);
    rc = keyspace_put(at->keyspace, at->db, at->key, STRING_HEAD, &printed, 1, expire_ms, at->err);
    if (rc == 0)
        rc = keyspace_apply(at->keyspace, at->seq, at->err);
    if (rc == 0)
        *result = value;
    return rc;
}
