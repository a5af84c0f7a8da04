#include "edits.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"

static const uint64_t numbers[] = {
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x10000,
    0x7fffffff,
    0x80000000,
    0xfffffff7,
    0xffffffff,
    0x100000000,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xfffffffffffffff7,
    0xffffffffffffffff,
};

void edited_init(struct edited *file, const void *bytes, size_t len)
{
    CHECK(len <= EDITS_FILE_MAX_BYTES);
    file->bytes = malloc(EDITS_FILE_MAX_BYTES);
    CHECK(file->bytes != NULL);
    if (len > 0)
        memcpy(file->bytes, bytes, len);
    file->len = len;
}

void edited_deinit(struct edited *file)
{
    free(file->bytes);
}

/* Replaces [at, at + old_len) by the bytes; nothing if that were too long. */
static void replace(struct edited *file, size_t at, size_t old_len, struct varve_slice bytes)
{
    if (file->len - old_len + bytes.len > EDITS_FILE_MAX_BYTES)
        return;
    memmove(file->bytes + at + bytes.len, file->bytes + at + old_len, file->len - at - old_len);
    if (bytes.len > 0)
        memcpy(file->bytes + at, bytes.data, bytes.len);
    file->len += bytes.len - old_len;
}

static void overwrite(struct edited *file, size_t at, struct varve_slice bytes)
{
    size_t left = file->len - at;

    replace(file, at, bytes.len < left ? bytes.len : left, bytes);
}

/* A place: from the front, or (bit 7 of the edit's byte) from the end. */
static size_t take_place(struct take *take, int from_end, size_t len)
{
    size_t place = (size_t)take_number(take, 2) % (len + 1);

    return from_end ? len - place : place;
}

void edited_change(struct edited *file, struct take *take)
{
    uint8_t what = take_byte(take);
    size_t at = take_place(take, what >> 7, file->len);
    size_t left = file->len - at;
    uint8_t arg = take_byte(take);
    uint64_t number = numbers[arg % COUNT_OF(numbers)];
    size_t n = arg < left ? arg : left;
    uint8_t bytes[VARINT_MAX_BYTES];

    switch (what & 7) {
    case 0:
        if (left > 0)
            file->bytes[at] ^= arg;
        break;
    case 1:
        if (left > 0)
            file->bytes[at] = arg;
        break;
    case 2: overwrite(file, at, take_slice(take, arg)); break;
    case 3: replace(file, at, what & 8 ? n : 0, take_slice(take, arg)); break;
    case 4: replace(file, at, n, varve_slice(NULL, 0)); break;
    case 5:
        if (what & 8)
            file->len = at;
        else
            replace(file, at, left > 0, varve_slice(bytes, put_varint(bytes, number)));
        break;
    case 6:
        put_u64(bytes, number);
        overwrite(file, at, varve_slice(bytes, what & 8 ? 4 : 8));
        break;
    case 7: { /* a piece of it once more somewhere else */
        uint8_t piece[256];
        memcpy(piece, file->bytes + at, n);
        size_t to = take_place(take, 0, file->len);
        if (what & 8)
            overwrite(file, to, varve_slice(piece, n));
        else
            replace(file, to, 0, varve_slice(piece, n));
        break;
    }
    default: CHECK(0);
    }
}
