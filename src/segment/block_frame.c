#include <snappy-c.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mutant.h"
#include "segment/block.h"

#define COMPRESSION_NONE 0
#define COMPRESSION_SNAPPY 1

uint8_t block_compress(struct varve_slice payload, int compress, struct buf *scratch,
                       struct varve_slice *out)
{
    *out = payload;
    if (!compress || payload.len > BLOCK_COMPRESSED_MAX_BYTES)
        return COMPRESSION_NONE;
    size_t len = snappy_max_compressed_length(payload.len);
    buf_clear(scratch);
    if (buf_reserve(scratch, len) != 0)
        return COMPRESSION_NONE;
    if (snappy_compress((const char *)payload.data, payload.len, (char *)scratch->data, &len) !=
        SNAPPY_OK)
        return COMPRESSION_NONE;
    if (len > payload.len - payload.len / 8 || len >= payload.len)
        return COMPRESSION_NONE;
    scratch->len = len;
    *out = buf_slice(scratch);
    return COMPRESSION_SNAPPY;
}

uint32_t block_crc_begin(uint32_t salt, uint64_t offset)
{
    uint8_t at[8];

    put_u64(at, MUTANT("block-of-any-place") ? 0 : offset);
    return crc32c(salt, at, sizeof(at));
}

void block_trailer_put_crc(uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                           enum block_kind kind, uint8_t compression)
{
    at[0] = (uint8_t)kind;
    at[1] = compression;
    put_u16(at + 2, 0);
    put_u32(at + 4, crc32c(payload_crc, at, 4));
}

void block_trailer_put(uint8_t at[BLOCK_TRAILER_BYTES], uint32_t salt, uint64_t offset,
                       enum block_kind kind, uint8_t compression, struct varve_slice payload)
{
    uint32_t crc = crc32c(block_crc_begin(salt, offset), payload.data, payload.len);

    block_trailer_put_crc(at, crc, kind, compression);
}

int block_trailer_check_crc(const uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                            enum block_kind kind, struct varve_err *err)
{
    int is_skipped = kind == BLOCK_DATA ? MUTANT("skip-block-crc") : MUTANT("skip-meta-block-crc");
    int may_compress = kind != BLOCK_FILTER;

    if (get_u32(at + 4) != crc32c(payload_crc, at, 4) && !is_skipped)
        return err_set(err, VARVE_ECORRUPT, "block CRC mismatch");
    if (at[0] != (uint8_t)kind)
        return err_set(err, VARVE_ECORRUPT, "block of kind %u where %u belongs", at[0],
                       (unsigned)kind);
    if (at[1] > (may_compress ? COMPRESSION_SNAPPY : COMPRESSION_NONE))
        return err_set(err, VARVE_ECORRUPT, "block of kind %u with compression %u", at[0], at[1]);
    if (get_u16(at + 2) != 0)
        return err_set(err, VARVE_ECORRUPT, "block trailer has bytes that must be zero");
    return 0;
}

int block_trailer_check_plain(const uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                              enum block_kind kind, struct varve_err *err)
{
    int rc = block_trailer_check_crc(at, payload_crc, kind, err);

    if (rc == 0 && at[1] != COMPRESSION_NONE)
        rc = err_set(err, VARVE_ECORRUPT, "block of kind %u with compression %u", at[0], at[1]);
    return rc;
}

static int uncompress(struct varve_slice payload, struct buf *scratch, struct varve_slice *out,
                      struct varve_err *err)
{
    const char *bytes = (const char *)payload.data;
    size_t len;

    if (snappy_uncompressed_length(bytes, payload.len, &len) != SNAPPY_OK ||
        len > BLOCK_COMPRESSED_MAX_BYTES)
        return err_set(err, VARVE_ECORRUPT, "compressed block has no length, or one above 1 MiB");
    buf_clear(scratch);
    if (buf_reserve(scratch, len + 1) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a block of %zu bytes", len);
    size_t room = len;
    if (snappy_uncompress(bytes, payload.len, (char *)scratch->data, &room) != SNAPPY_OK ||
        room != len)
        return err_set(err, VARVE_ECORRUPT, "compressed block is damaged");
    scratch->len = len;
    *out = buf_slice(scratch);
    return 0;
}

int block_unpack(struct varve_slice payload, uint8_t *to, size_t len, struct varve_err *err)
{
    const char *bytes = (const char *)payload.data;
    size_t says;
    size_t room = len;

    if (snappy_uncompressed_length(bytes, payload.len, &says) != SNAPPY_OK || says != len)
        return err_set(err, VARVE_ECORRUPT, "compressed block does not have %zu bytes", len);
    if (snappy_uncompress(bytes, payload.len, (char *)to, &room) != SNAPPY_OK)
        return err_set(err, VARVE_ECORRUPT, "compressed block is damaged");
    return 0;
}

int block_open(uint8_t *bytes, size_t payload_len, uint32_t salt, uint64_t offset,
               enum block_kind kind, struct buf *scratch, struct varve_slice *out,
               struct varve_err *err)
{
    const uint8_t *trailer = bytes + payload_len;
    uint32_t crc = crc32c(block_crc_begin(salt, offset), bytes, payload_len);

    *out = varve_slice(NULL, 0);
    int rc = block_trailer_check_crc(trailer, crc, kind, err);
    if (rc != 0)
        return rc;
    if (trailer[1] == COMPRESSION_SNAPPY)
        return uncompress(varve_slice(bytes, payload_len), scratch, out, err);
    *out = varve_slice(bytes, payload_len);
    return 0;
}
