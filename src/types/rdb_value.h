/* rdb_value.h - values as DUMP and RESTORE carry them: the RDB format, version 10.
 *
 *   type (1) | the value | version (2, little-endian) | CRC-64 of all before (8, little-endian)
 *
 * A string (type 0) is a length and so many bytes, or in two forms that begin with the bits 11: an integer
 * of 1, 2 or 4 bytes, little-endian; or its packed and its own length, and LZF. A length is 6 bits in one
 * byte, 14 in two, or a byte 0x80 or 0x81 and 4 or 8 bytes, big-endian. The source for this is what
 * redis-server 7.0.15 answers, byte by byte (redis-compat/commands/dump.txt).
 *
 * Payloads are a stranger's: nothing is allocated that their length does not vouch for. Pure; any thread. */
#ifndef TYPES_RDB_VALUE_H
#define TYPES_RDB_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "types/integer.h"
#include "varve/slice.h"

#define RDB_VERSION 10
#define RDB_HEAD_MAX_BYTES 10    /* type, and a length or an integer */
#define RDB_FOOTER_BYTES 10      /* version and CRC */
#define RDB_INTEGER_MAX_BYTES 11 /* of text: longer strings are not looked at as integers */

/* A payload in three parts; the middle one is borrowed from the value. */
struct rdb_payload {
    uint8_t head[RDB_HEAD_MAX_BYTES];
    size_t head_len;
    struct varve_slice body;
    uint8_t footer[RDB_FOOTER_BYTES];
};

/* Never packs: DUMP of a long string is longer here than in Redis, and no less right. */
void rdb_dump_string(struct varve_slice value, struct rdb_payload *payload);

/* What FUNCTION DUMP says where there are no libraries: the version and the CRC. */
void rdb_dump_nothing(uint8_t payload[RDB_FOOTER_BYTES]);

/* 1 if the payload is of a version that we know, and its CRC is right. */
int rdb_verify(struct varve_slice payload) MUST_CHECK;

struct rdb_string {
    struct varve_slice value; /* in the payload, in text, or in unpacked */
    uint8_t text[INTEGER_TEXT_MAX_BYTES];
    uint8_t *unpacked; /* owned; may be NULL */
};

/* The string in a payload that was verified; what may follow it is not looked at. Returns 0, VARVE_ECORRUPT
 * (it is no string, or a damaged one) or VARVE_ENOMEM. After 0 *string lives until the free, and no longer
 * than the payload; it must not be copied. */
int rdb_load_string(struct varve_slice payload, struct rdb_string *string) MUST_CHECK;
void rdb_string_free(struct rdb_string *string);

/* What a payload of FUNCTION DUMP, which was verified, begins with. */
enum rdb_content { RDB_NOTHING, RDB_LIBRARY, RDB_OTHER };
enum rdb_content rdb_content(struct varve_slice payload);

/* The code of the first library in it; as rdb_load_string() otherwise. */
int rdb_load_library(struct varve_slice payload, struct rdb_string *code) MUST_CHECK;

#endif
