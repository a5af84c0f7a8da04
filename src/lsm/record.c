#include "lsm/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mutant.h"

void record_header_put(uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                       const struct record_header *header)
{
    uint64_t distance = file_no - header->promised.file_no;
    int told = header->promised.offset != 0 && distance <= UINT16_MAX;

    put_u32(at + 4, header->payload_crc);
    put_u64(at + 8, header->payload_len);
    put_u64(at + 16, header->first_seq);
    put_u32(at + 24, header->op_count);
    at[28] = (uint8_t)header->type;
    at[29] = (uint8_t)header->flags;
    put_u16(at + 30, told ? (uint16_t)distance : 0);
    put_u64(at + 32, told ? header->promised.offset : 0);
    put_u32(at, crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4));
}

int record_header_get(const uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                      struct record_header *header)
{
    uint8_t type = at[28];

    *header = (struct record_header){0};
    if (type < RECORD_BEGIN || type > RECORD_EDIT)
        return VARVE_ECORRUPT;
    if (crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4) != get_u32(at) &&
        !MUTANT("skip-record-header-crc"))
        return VARVE_ECORRUPT;
    header->payload_crc = get_u32(at + 4);
    header->payload_len = get_u64(at + 8);
    header->first_seq = get_u64(at + 16);
    header->op_count = get_u32(at + 24);
    header->type = (enum record_type)type;
    header->flags = at[29];
    uint16_t distance = get_u16(at + 30);
    if (header->payload_len > RECORD_PIECE_MAX_BYTES || distance > file_no)
        return VARVE_ECORRUPT;
    uint64_t offset = get_u64(at + 32);
    if (offset != 0)
        header->promised = (struct log_place){.file_no = file_no - distance, .offset = offset};
    return 0;
}
