#include "lsm/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mutant.h"

_Static_assert(RECORD_SHORT_CRC_BYTES + CHUNK_HEAD_MAX_BYTES <= RECORD_HEAD_MAX_BYTES,
               "a short record's head is seen whole");

void record_header_put(uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                       const struct record_header *header)
{
    uint64_t distance = file_no - header->promised.file_no;
    int told = header->promised.offset != 0 && distance <= UINT16_MAX;

    at[RECORD_TYPE_AT] = (uint8_t)(RECORD_LONG_MARK | header->type);
    at[5] = (uint8_t)header->flags;
    put_u16(at + 6, told ? (uint16_t)distance : 0);
    put_u32(at + 8, header->payload_crc);
    put_u32(at + 12, header->op_count);
    put_u64(at + 16, header->payload_len);
    put_u64(at + 24, header->first_seq);
    put_u64(at + 32, told ? header->promised.offset : 0);
    put_u32(at, crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4));
}

int record_header_get(const uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                      struct record_header *header)
{
    uint8_t type = at[RECORD_TYPE_AT] ^ RECORD_LONG_MARK;

    *header = (struct record_header){0};
    if (type < RECORD_BEGIN || type > RECORD_EDIT)
        return VARVE_ECORRUPT;
    if (crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4) != get_u32(at) &&
        !MUTANT("skip-record-header-crc"))
        return VARVE_ECORRUPT;
    header->type = (enum record_type)type;
    header->flags = at[5];
    uint16_t distance = get_u16(at + 6);
    header->payload_crc = get_u32(at + 8);
    header->op_count = get_u32(at + 12);
    header->payload_len = get_u64(at + 16);
    header->first_seq = get_u64(at + 24);
    if (header->payload_len > RECORD_PIECE_MAX_BYTES || distance > file_no)
        return VARVE_ECORRUPT;
    uint64_t offset = get_u64(at + 32);
    if (offset != 0)
        header->promised = (struct log_place){.file_no = file_no - distance, .offset = offset};
    return 0;
}

uint32_t record_short_crc(uint32_t salt, uint64_t seq, struct varve_slice head)
{
    uint8_t bytes[8];

    put_u64(bytes, MUTANT("short-of-any-seq") ? 0 : seq);
    salt = crc32c(salt, bytes, sizeof(bytes));
    if (MUTANT("short-binds-no-chunk")) /* the kind, and what follows the chunk's CRC */
        return crc32c(crc32c(salt, head.data, 1), head.data + 5, head.len - 5);
    return crc32c(salt, head.data, head.len);
}

int record_short_get(const uint8_t *at, size_t len, uint32_t salt, uint64_t seq,
                     struct record_header *header)
{
    struct chunk chunk;

    *header = (struct record_header){0};
    if (len <= RECORD_SHORT_CRC_BYTES)
        return VARVE_ECORRUPT;
    const uint8_t *op = at + RECORD_SHORT_CRC_BYTES;
    size_t head_len = chunk_get_sizes(op, at + len, &chunk);
    if (head_len == 0)
        return VARVE_ECORRUPT;
    if (record_short_crc(salt, seq, varve_slice(op, head_len)) != get_u32(at) &&
        !MUTANT("skip-record-header-crc"))
        return VARVE_ECORRUPT;
    uint64_t payload_len = head_len + chunk.key.len + chunk.value.len;
    if (payload_len > RECORD_SHORT_MAX_BYTES)
        return VARVE_ECORRUPT;
    header->payload_len = payload_len;
    header->first_seq = seq;
    header->op_count = 1;
    header->type = RECORD_OPS;
    header->is_short = 1;
    return 0;
}
