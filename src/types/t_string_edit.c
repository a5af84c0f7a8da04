/* Strings changed in part, or as a number with a point. */
#include <math.h>

#include "base/err.h"
#include "base/mem.h"
#include "types/integer.h"
#include "types/longdouble.h"
#include "types/t_string.h"

#define STRING_HEAD value_head(VALUE_STRING, VALUE_RAW)

int string_put_range(const struct string_at *at, const struct keyspace_value *old, uint64_t offset,
                     struct varve_slice value)
{
    struct varve_slice kept = old->payload.len > 0 ? old->payload : varve_slice(value.data, 0);
    struct varve_slice parts[3] = {kept, varve_slice(value.data, 0), value};
    uint8_t *zeros = NULL;

    if (offset < kept.len) {
        uint64_t end = offset + value.len;
        parts[0].len = offset;
        parts[1] = value;
        parts[2] = end < kept.len ? varve_slice(kept.data + end, kept.len - end)
                                  : varve_slice(kept.data, 0);
    } else if (offset > kept.len) {
        zeros = mem_alloc_zero(offset - kept.len);
        if (zeros == NULL)
            return err_set(at->err, VARVE_ENOMEM, "out of memory");
        parts[1] = varve_slice(zeros, offset - kept.len);
    }
    keyspace_begin(at->keyspace);
    int rc = keyspace_put(at->keyspace, at->db, at->key, STRING_HEAD, parts, 3, old->expire_ms,
                          at->err);
    mem_free(zeros);
    return rc == 0 ? keyspace_apply(at->keyspace, at->seq, at->err) : rc;
}

int string_set_range(const struct string_at *at, uint64_t offset, struct varve_slice value,
                     uint64_t length_max, uint64_t *length)
{
    struct keyspace_value old = {0};
    int rc = string_get(at, KEYSPACE_WRITE, &old);
    int found = rc == 0;

    *length = found ? old.payload.len : 0;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        return rc;
    rc = 0;
    if (value.len == 0)
        goto out;
    rc = TYPES_TOO_LONG;
    if (offset > length_max || value.len > length_max - offset)
        goto out;
    rc = string_put_range(at, &old, offset, value);
    if (rc == 0 && offset + value.len > *length)
        *length = offset + value.len;
out:
    if (found)
        keyspace_release(&old);
    return rc;
}

int string_add_float(const struct string_at *at, struct varve_slice increment, char *text,
                     size_t *len)
{
    struct keyspace_value old = {0};
    long double value = 0;
    long double delta;
    int rc = string_get(at, KEYSPACE_WRITE, &old);

    *len = 0;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        return rc;
    if (rc == 0) {
        int is_number = longdouble_parse(old.payload, &value);
        keyspace_release(&old);
        if (!is_number)
            return TYPES_NOT_FLOAT;
    }
    if (!longdouble_parse(increment, &delta))
        return TYPES_NOT_FLOAT;
    value += delta;
    if (!isfinite(value))
        return TYPES_NOT_FINITE;
    struct varve_slice printed = varve_slice(text, longdouble_print(value, text));
    keyspace_begin(at->keyspace);
    rc = keyspace_put(at->keyspace, at->db, at->key, STRING_HEAD, &printed, 1, old.expire_ms,
                      at->err);
    if (rc == 0)
        rc = keyspace_apply(at->keyspace, at->seq, at->err);
    if (rc == 0)
        *len = printed.len;
    return rc;
}

enum string_encoding string_encoding(struct varve_slice value)
{
    int64_t integer;

    if (integer_parse(value, &integer))
        return STRING_INT;
    return value.len <= STRING_EMBEDDED_MAX_BYTES ? STRING_EMBSTR : STRING_RAW;
}
