#include "types/rdb_value.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "types/crc64.h"
#include "types/lzf.h"
#include "varve/status.h"

#define TYPE_STRING 0
#define TYPE_LIBRARY 0xf5
#define VERSION_BYTES 2

/* The first two bits of a length. */
enum length_form { LENGTH_6 = 0, LENGTH_14 = 1, LENGTH_LONG = 2, LENGTH_SPECIAL = 3 };

#define LENGTH_32 0x80
#define LENGTH_64 0x81

/* The low six bits of a special form. */
enum special { SPECIAL_INT8 = 0, SPECIAL_INT16 = 1, SPECIAL_INT32 = 2, SPECIAL_LZF = 3 };

static void put_big_endian(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint64_t get_big_endian(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* ---- DUMP ---- */

static size_t put_length(uint8_t *at, uint64_t len)
{
    if (len < 1u << 6) {
        at[0] = (uint8_t)len;
        return 1;
    }
    if (len < 1u << 14) {
        put_big_endian(at, (uint64_t)LENGTH_14 << 14 | len, 2);
        return 2;
    }
    size_t bytes = len <= UINT32_MAX ? 4 : 8;
    at[0] = bytes == 4 ? LENGTH_32 : LENGTH_64;
    put_big_endian(at + 1, len, bytes);
    return 1 + bytes;
}

static uint8_t special_head(enum special special)
{
    return (uint8_t)(LENGTH_SPECIAL << 6 | (unsigned)special);
}

/* Returns the bytes written, 0 if value is not an integer that has such a form. */
static size_t put_integer(uint8_t *at, struct varve_slice value)
{
    int64_t integer;

    if (value.len > RDB_INTEGER_MAX_BYTES || !integer_parse(value, &integer))
        return 0;
    if (integer >= INT8_MIN && integer <= INT8_MAX) {
        at[0] = special_head(SPECIAL_INT8);
        at[1] = (uint8_t)integer;
        return 2;
    }
    if (integer >= INT16_MIN && integer <= INT16_MAX) {
        at[0] = special_head(SPECIAL_INT16);
        put_u16(at + 1, (uint16_t)integer);
        return 3;
    }
    if (integer < INT32_MIN || integer > INT32_MAX)
        return 0;
    at[0] = special_head(SPECIAL_INT32);
    put_u32(at + 1, (uint32_t)integer);
    return 5;
}

void rdb_dump_nothing(uint8_t payload[RDB_FOOTER_BYTES])
{
    put_u16(payload, RDB_VERSION);
    put_u64(payload + VERSION_BYTES, crc64_update(0, varve_slice(payload, VERSION_BYTES)));
}

void rdb_dump_string(struct varve_slice value, struct rdb_payload *payload)
{
    payload->head[0] = TYPE_STRING;
    payload->body = varve_slice(value.data, 0);
    size_t len = put_integer(payload->head + 1, value);
    if (len == 0) {
        len = put_length(payload->head + 1, value.len);
        payload->body = value;
    }
    payload->head_len = 1 + len;
    put_u16(payload->footer, RDB_VERSION);
    uint64_t crc = crc64_update(0, varve_slice(payload->head, payload->head_len));
    crc = crc64_update(crc, payload->body);
    crc = crc64_update(crc, varve_slice(payload->footer, VERSION_BYTES));
    put_u64(payload->footer + VERSION_BYTES, crc);
}

/* ---- RESTORE ---- */

int rdb_verify(struct varve_slice payload)
{
    if (payload.len < RDB_FOOTER_BYTES)
        return 0;
    const uint8_t *footer = payload.data + payload.len - RDB_FOOTER_BYTES;
    if (get_u16(footer) > RDB_VERSION)
        return 0;
    uint64_t crc = crc64_update(
        0, varve_slice(payload.data, payload.len - RDB_FOOTER_BYTES + VERSION_BYTES));
    return crc == get_u64(footer + VERSION_BYTES);
}

struct reading {
    const uint8_t *at;
    const uint8_t *end;
};

/* The next len bytes, or NULL. */
static const uint8_t *take(struct reading *r, uint64_t len)
{
    const uint8_t *taken = r->at;

    if ((uint64_t)(r->end - r->at) < len && !MUTANT("restore-trusts-length"))
        return NULL;
    r->at += len;
    return taken;
}

/* Returns 1; or 0, if it is damaged. *special is 1 if *len is one of enum special. */
static int take_length(struct reading *r, uint64_t *len, int *special)
{
    const uint8_t *head = take(r, 1);
    const uint8_t *rest;

    *special = 0;
    if (head == NULL)
        return 0;
    switch ((enum length_form)(head[0] >> 6)) {
    case LENGTH_6: *len = head[0]; return 1;
    case LENGTH_14:
        if ((rest = take(r, 1)) == NULL)
            return 0;
        *len = (uint64_t)(head[0] & 0x3f) << 8 | rest[0];
        return 1;
    case LENGTH_LONG: {
        size_t bytes = head[0] == LENGTH_32 ? 4 : 8;
        if ((head[0] != LENGTH_32 && head[0] != LENGTH_64) || (rest = take(r, bytes)) == NULL)
            return 0;
        *len = get_big_endian(rest, bytes);
        return 1;
    }
    case LENGTH_SPECIAL:
        *special = 1;
        *len = head[0] & 0x3f;
        return 1;
    }
    return 0;
}

static int load_integer(struct reading *r, enum special form, struct rdb_string *string)
{
    const uint8_t *bytes = take(r, (uint64_t)1 << form);
    int64_t value;

    if (bytes == NULL)
        return VARVE_ECORRUPT;
    if (form == SPECIAL_INT8)
        value = (int8_t)bytes[0];
    else if (form == SPECIAL_INT16)
        value = (int16_t)get_u16(bytes);
    else
        value = (int32_t)get_u32(bytes);
    string->value = varve_slice(string->text, integer_print(value, string->text));
    return 0;
}

static int load_packed(struct reading *r, struct rdb_string *string)
{
    uint64_t packed_len;
    uint64_t len;
    int special;
    const uint8_t *packed;

    if (!take_length(r, &packed_len, &special) || special || !take_length(r, &len, &special) ||
        special || (packed = take(r, packed_len)) == NULL)
        return VARVE_ECORRUPT;
    if (len == 0 || (len - 1) / LZF_GROWTH_MAX >= packed_len) /* it cannot become so long */
        return VARVE_ECORRUPT;
    string->unpacked = mem_alloc(len);
    if (string->unpacked == NULL)
        return VARVE_ENOMEM;
    if (!lzf_unpack(varve_slice(packed, packed_len), string->unpacked, len)) {
        rdb_string_free(string);
        return VARVE_ECORRUPT;
    }
    string->value = varve_slice(string->unpacked, len);
    return 0;
}

/* The string behind the first byte, which says what it is. */
static int load_behind_type(struct varve_slice payload, uint8_t type, struct rdb_string *string)
{
    struct reading r = {.at = payload.data, .end = payload.data + payload.len - RDB_FOOTER_BYTES};
    uint64_t len;
    int special;
    const uint8_t *bytes = take(&r, 1);

    string->unpacked = NULL;
    if (bytes == NULL || bytes[0] != type || !take_length(&r, &len, &special))
        return VARVE_ECORRUPT;
    if (special && len <= SPECIAL_INT32)
        return load_integer(&r, (enum special)len, string);
    if (special)
        return len == SPECIAL_LZF ? load_packed(&r, string) : VARVE_ECORRUPT;
    bytes = take(&r, len);
    if (bytes == NULL)
        return VARVE_ECORRUPT;
    string->value = varve_slice(bytes, len);
    return 0;
}

int rdb_load_string(struct varve_slice payload, struct rdb_string *string)
{
    return load_behind_type(payload, TYPE_STRING, string);
}

enum rdb_content rdb_content(struct varve_slice payload)
{
    if (payload.len == RDB_FOOTER_BYTES)
        return RDB_NOTHING;
    return payload.data[0] == TYPE_LIBRARY ? RDB_LIBRARY : RDB_OTHER;
}

int rdb_load_library(struct varve_slice payload, struct rdb_string *code)
{
    return load_behind_type(payload, TYPE_LIBRARY, code);
}

void rdb_string_free(struct rdb_string *string)
{
    mem_free(string->unpacked);
    string->unpacked = NULL;
}
