/* log_disk.h - a data directory in memory that the targets fuzz_wal, fuzz_manifest and fuzz_current put
 * their input into, and what must hold when it is opened. */
#ifndef TESTS_FUZZ_LOG_DISK_H
#define TESTS_FUZZ_LOG_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "env/file_header.h"
#include "sim_env.h"

#define LOG_DISK_WAL_NO 2
#define LOG_DISK_MANIFEST_NO 1

/* The input's first byte: which CRCs are made right before it is used, so that what lies behind them
 * is reached. Damage that a CRC sees is the rest. */
enum log_disk_repair {
    LOG_DISK_REPAIR_FILE = 1, /* the file header, id and number too */
    LOG_DISK_REPAIR_RECORDS =
        2, /* headers and payloads of records, as far as they follow each other */
    LOG_DISK_REPAIR_CHUNKS = 4,  /* the operations in them */
    LOG_DISK_REPAIR_LENGTHS = 8, /* a payload length past the end is cut to what is there */
};

/* "/db" with a CURRENT, a manifest and a log file, as a new database has them. The caller destroys it. */
struct sim_env *log_disk_create(void);
/* Its directory's id. */
struct dir_id log_disk_id(void);
void log_disk_put(struct sim_env *sim, const char *path, const uint8_t *data, size_t len);
/* All bytes of a file; malloc()ed, the caller's. */
uint8_t *log_disk_get(struct sim_env *sim, const char *path, size_t *len);
void log_disk_repair(uint8_t *data, size_t len, const char magic[8], const struct dir_id *id,
                     uint64_t file_no, unsigned repairs);
/* Makes the CRC at the end of a CURRENT right, if there is one. */
void log_disk_repair_current(uint8_t *data, size_t len);
/* Opens the database; if that succeeds, walks it, writes, closes it, and finds the same again. CHECKs
 * that memory stays in proportion to input_len. */
void log_disk_open(struct sim_env *sim, size_t input_len);

#endif
