/* names.h - the names of our files (FORMAT.md, section 1). */
#ifndef LSM_NAMES_H
#define LSM_NAMES_H

#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_BYTES 40
/* Numbers from here on are refused where they are found, which leaves room for new ones: names have
 * at most 18 digits. */
#define FILE_NO_LIMIT ((uint64_t)100000000000000000)

enum name_kind {
    NAME_OTHER,
    NAME_LOCK,
    NAME_CURRENT,
    NAME_CURRENT_TMP,
    NAME_MANIFEST,
    NAME_WAL,
    NAME_SEGMENT,
    NAME_RESERVE,
};

/* "DIR/NAME" in fresh memory, mem_free() it; NULL: no memory. */
char *name_path(const char *dir, const char *name);
char *name_wal_path(const char *dir, uint64_t file_no);
char *name_manifest_path(const char *dir, uint64_t file_no);
char *name_segment_path(const char *dir, uint64_t file_no);

/* What a directory entry is; *file_no is set for a manifest, a WAL, a segment. */
enum name_kind name_parse(const char *name, uint64_t *file_no);

#endif
