#include "seal.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "segment/block.h"
#include "segment/properties.h"
#include "segment/segment.h"

struct sealed {
    uint8_t *bytes;
    size_t len;
    uint32_t salt;
};

/* Its trailer keeps what it says of kind and compression. Returns 0 if the block is not in the file. */
static int seal_block(const struct sealed *file, uint64_t offset, uint64_t payload_len)
{
    if (offset > file->len || file->len - offset < BLOCK_TRAILER_BYTES ||
        payload_len > file->len - offset - BLOCK_TRAILER_BYTES)
        return 0;
    uint8_t *trailer = file->bytes + offset + payload_len;
    uint32_t crc = crc32c(block_crc_begin(file->salt, offset), file->bytes + offset, payload_len);
    put_u32(trailer + 4, crc32c(crc, trailer, 4));
    return 1;
}

/* The index is taken as it lies: not compressed. */
static void seal_data(const struct sealed *file, const struct segment_place *index)
{
    const uint8_t *at = file->bytes + index->offset;
    const uint8_t *end = at + index->len;
    uint64_t file_at = FILE_HEADER_BYTES;
    uint64_t count = 0;

    at += get_varint(at, end, &count);
    for (uint64_t i = 0; i < count && at < end; i++) {
        uint64_t fields[4] = {0}; /* shared, unshared, gap, length */
        for (int f = 0; f < 4; f++) {
            size_t n = get_varint(at, end, &fields[f]);
            at += n;
            if (n == 0 || (f == 1 && fields[1] > (uint64_t)(end - at)))
                return;
            at += f == 1 ? fields[1] : 0;
        }
        if (fields[2] > file->len - file_at || !seal_block(file, file_at + fields[2], fields[3]))
            return;
        file_at += fields[2] + fields[3] + BLOCK_TRAILER_BYTES;
    }
}

static void seal_meta(const struct sealed *file, const uint8_t *footer, unsigned what)
{
    struct segment_place place = {.offset = get_u64(footer + 16), .len = get_u64(footer + 24)};
    struct properties properties;

    if (!seal_block(file, place.offset, place.len) ||
        properties_get(varve_slice(file->bytes + place.offset, place.len), &properties, NULL) != 0)
        return;
    (void)seal_block(file, properties.filter.offset, properties.filter.len);
    (void)seal_block(file, properties.range_block.offset, properties.range_block.len);
    if (seal_block(file, properties.index.offset, properties.index.len) && (what & SEAL_DATA))
        seal_data(file, &properties.index);
}

void seal_segment(uint8_t *bytes, size_t len, const struct dir_id *id, uint64_t file_no,
                  unsigned what)
{
    struct sealed file = {bytes, len, file_salt(id, file_no)};

    if (len < FILE_HEADER_BYTES + SEGMENT_FOOTER_BYTES)
        return;
    uint8_t *footer = bytes + len - SEGMENT_FOOTER_BYTES;
    if (what & SEAL_META)
        seal_meta(&file, footer, what);
    if (what & SEAL_HEADER)
        file_header_put(bytes, SEGMENT_MAGIC, id, file_no);
    if (what & SEAL_SIZE)
        put_u64(footer + 32, len);
    if (what & SEAL_FOOTER)
        put_u32(footer + 60, crc32c(file.salt, footer, 60));
}
