/* record.h - the framing that the WAL and the manifest share: FORMAT.md sections 3 and 4.
 * Pure: bytes in, bytes out. Any thread. */
#ifndef LSM_RECORD_H
#define LSM_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "env/file_header.h"
#include "segment/chunk.h"
#include "varve/slice.h"
#include "varve/status.h"

#define RECORD_HEADER_BYTES 40
#define BEGIN_PAYLOAD_BYTES 32
#define RECORD_PIECE_MAX_BYTES ((uint64_t)4 * 1024 * 1024)
#define RECORD_PAYLOAD_MAX_BYTES ((size_t)UINT32_MAX) /* of all its pieces */

/* Of the short form: what stands in front of the operation, and how long that may be. */
#define RECORD_SHORT_CRC_BYTES 4
#define RECORD_SHORT_MAX_BYTES ((size_t)32 * 1024)
/* This byte of a long record is its type with the mark, of a short one the kind of its chunk, without. */
#define RECORD_TYPE_AT 4
#define RECORD_LONG_MARK 0x10

#define WAL_MAGIC "varveWAL"
#define MANIFEST_MAGIC "varveMAN"

enum record_type {
    RECORD_BEGIN = 1,
    RECORD_OPS = 2,
    RECORD_PROMISE = 3,
    RECORD_SEAL = 4,
    RECORD_EDIT = 5,
};

enum record_flags {
    RECORD_MORE = 1,      /* another piece follows */
    RECORD_CONTINUES = 2, /* not the first piece */
    RECORD_CLOCK = 4,     /* the payload begins with the time, 8 bytes */
};

/* A place in the log: everything before `offset` of file `file_no`, and all files before it. */
struct log_place {
    uint64_t file_no;
    uint64_t offset;
};

static inline int log_place_before(struct log_place a, struct log_place b)
{
    return a.file_no != b.file_no ? a.file_no < b.file_no : a.offset < b.offset;
}

struct record_header {
    uint32_t payload_crc;
    uint64_t payload_len;
    uint64_t first_seq;
    uint32_t op_count;
    enum record_type type;
    unsigned flags;
    int is_short;              /* one operation, its CRC in front of it, and no more */
    struct log_place promised; /* all zero: nothing */
};

static inline uint64_t record_bytes(const struct record_header *header)
{
    uint64_t head = header->is_short ? RECORD_SHORT_CRC_BYTES : RECORD_HEADER_BYTES;

    return head + header->payload_len;
}

/* The promise is left out where it can't be told (more than 65,535 file numbers back). */
void record_header_put(uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                       const struct record_header *header);
/* 0, or VARVE_ECORRUPT: no valid record header begins here. */
int record_header_get(const uint8_t at[RECORD_HEADER_BYTES], uint32_t salt, uint64_t file_no,
                      struct record_header *header) MUST_CHECK;

/* The CRC in front of a short record whose operation has sequence number `seq`; head is the operation up to
 * its key. */
uint32_t record_short_crc(uint32_t salt, uint64_t seq, struct varve_slice head);
/* Does a short record of sequence number `seq` begin here? The `len` bytes need not hold key and value, nor
 * are they checked. 0, or VARVE_ECORRUPT. */
int record_short_get(const uint8_t *at, size_t len, uint32_t salt, uint64_t seq,
                     struct record_header *header) MUST_CHECK;
/* So many bytes are enough to know a header of either form. */
#define RECORD_HEAD_MAX_BYTES RECORD_HEADER_BYTES

#endif
