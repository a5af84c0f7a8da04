#include "lsm/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"

uint32_t record_salt(const struct dir_id *id, uint64_t file_no)
{
    uint8_t seed[DIR_ID_BYTES + 8];

    memcpy(seed, id->bytes, DIR_ID_BYTES);
    put_u64(seed + DIR_ID_BYTES, file_no);
    return crc32c(0, seed, sizeof(seed));
}

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
    if (crc32c(salt, at + 4, RECORD_HEADER_BYTES - 4) != get_u32(at))
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

void file_header_put(uint8_t at[FILE_HEADER_BYTES], const char magic[8], const struct dir_id *id,
                     uint64_t file_no)
{
    memset(at, 0, FILE_HEADER_BYTES);
    memcpy(at, magic, 8);
    put_u32(at + 8, FORMAT_VERSION);
    memcpy(at + 16, id->bytes, DIR_ID_BYTES);
    put_u64(at + 32, file_no);
    put_u32(at + 60, crc32c(0, at, 60));
}

int file_header_check(const uint8_t at[FILE_HEADER_BYTES], const char magic[8],
                      const struct dir_id *id, uint64_t file_no, struct varve_err *err)
{
    if (crc32c(0, at, 60) != get_u32(at + 60))
        return err_set(err, VARVE_ECORRUPT, "offset 0: the file header's CRC does not match");
    if (memcmp(at, magic, 8) != 0)
        return err_set(err, VARVE_EFOREIGN, "offset 0: not a %.8s file", magic);
    if (get_u32(at + 8) != FORMAT_VERSION)
        return err_set(err, VARVE_EVERSION, "format version %u, this build reads version %u",
                       get_u32(at + 8), FORMAT_VERSION);
    if (memcmp(at + 16, id->bytes, DIR_ID_BYTES) != 0)
        return err_set(err, VARVE_EFOREIGN, "it belongs to another data directory");
    if (get_u64(at + 32) != file_no)
        return err_set(err, VARVE_ECORRUPT, "offset 32: it says that it is file %llu",
                       (unsigned long long)get_u64(at + 32));
    return 0;
}
