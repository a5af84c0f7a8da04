#include "look.h"

#include <stdio.h>

#include "base/crc32c.h"
#include "base/err.h"

#define SHOWN_VALUE_BYTES 40

static size_t add_record(char *text, size_t at, struct varve_iter *iter)
{
    struct varve_slice key = varve_iter_key(iter);
    struct varve_slice value = varve_iter_value(iter);
    int len;

    if (value.len > SHOWN_VALUE_BYTES)
        len = snprintf(text + at, LOOK_TEXT_BYTES - at, "%.*s=#%zu:%08x ", (int)key.len,
                       (const char *)key.data, value.len, crc32c(0, value.data, value.len));
    else
        len = snprintf(text + at, LOOK_TEXT_BYTES - at, "%.*s=%.*s ", (int)key.len,
                       (const char *)key.data, (int)value.len, (const char *)value.data);
    return at + (size_t)len < LOOK_TEXT_BYTES ? at + (size_t)len : at;
}

static int disagrees(const char *what, struct varve_iter *iter, struct varve_err *err)
{
    snprintf(err->text, sizeof(err->text), "%s at record %llu", what,
             (unsigned long long)varve_iter_seq(iter));
    return LOOK_DISAGREES;
}

/* The record where the iterator stands, got by its key. */
static int get_same(struct varve_db *db, const struct varve_read *read, struct varve_iter *iter,
                    struct varve_err *err)
{
    struct varve_pin pin = {0};
    int rc = varve_get(db, read, varve_iter_key(iter), &pin, err);

    if (rc == VARVE_NOT_FOUND)
        rc = disagrees("a get finds nothing", iter, err);
    else if (rc == 0 && (pin.seq != varve_iter_seq(iter) ||
                         !varve_slice_equal(pin.value, varve_iter_value(iter))))
        rc = disagrees("a get finds something else", iter, err);
    varve_pin_release(&pin);
    return rc;
}

int look_along(struct varve_iter *iter, char text[LOOK_TEXT_BYTES], struct varve_err *err)
{
    size_t at = 0;

    text[0] = '\0';
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        at = add_record(text, at, iter);
    return varve_iter_status(iter, err);
}

int look(struct varve_db *db, const struct varve_read *read, char text[LOOK_TEXT_BYTES],
         struct varve_err *err)
{
    uint64_t seqs[64];
    size_t count = 0;
    size_t at = 0;
    int rc = 0;
    struct varve_iter *iter = varve_iter_create(db, read, NULL, NULL, err);

    text[0] = '\0';
    if (iter == NULL)
        return err->code;
    for (varve_iter_first(iter); rc == 0 && varve_iter_valid(iter) && count < 64;
         varve_iter_next(iter)) {
        at = add_record(text, at, iter);
        seqs[count++] = varve_iter_seq(iter);
        rc = get_same(db, read, iter, err);
    }
    if (rc == 0)
        rc = varve_iter_status(iter, err);
    if (rc == 0) {
        for (varve_iter_last(iter); rc == 0 && varve_iter_valid(iter); varve_iter_prev(iter))
            if (count == 0 || varve_iter_seq(iter) != seqs[--count])
                rc = disagrees("backward there is something else", iter, err);
        if (rc == 0)
            rc = varve_iter_status(iter, err);
        if (rc == 0 && count > 0) {
            snprintf(err->text, sizeof(err->text), "backward %zu records are missing", count);
            rc = LOOK_DISAGREES;
        }
    }
    varve_iter_destroy(iter);
    return rc;
}
