/* file_header.h - the first 64 bytes of every file of ours, which tie it to its directory and to its
 * number: lsm/FORMAT.md, section 3. Pure: bytes in, bytes out. Any thread. */
#ifndef ENV_FILE_HEADER_H
#define ENV_FILE_HEADER_H

#include <stdint.h>

#include "base/check.h"
#include "varve/status.h"

#define FORMAT_VERSION 3u
#define DIR_ID_BYTES 16
#define FILE_HEADER_BYTES 64
#define FILE_MAGIC_BYTES 8

struct dir_id {
    uint8_t bytes[DIR_ID_BYTES];
};

/* What seeds all other CRCs of the file. */
uint32_t file_salt(const struct dir_id *id, uint64_t file_no);

void file_header_put(uint8_t at[FILE_HEADER_BYTES], const char magic[FILE_MAGIC_BYTES],
                     const struct dir_id *id, uint64_t file_no);
/* 0, or VARVE_EFOREIGN (magic, id), VARVE_EVERSION, VARVE_ECORRUPT (CRC, number). */
int file_header_check(const uint8_t at[FILE_HEADER_BYTES], const char magic[FILE_MAGIC_BYTES],
                      const struct dir_id *id, uint64_t file_no, struct varve_err *err) MUST_CHECK;

#endif
