#include "lsm/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define MANIFEST_PREFIX "MANIFEST-"
#define WAL_SUFFIX ".wal"
#define SEGMENT_SUFFIX ".seg"

char *name_path(const char *dir, const char *name)
{
    size_t len = strlen(dir) + 1 + strlen(name) + 1;
    char *path = mem_alloc(len);

    if (path != NULL)
        snprintf(path, len, "%s/%s", dir, name);
    return path;
}

char *name_wal_path(const char *dir, uint64_t file_no)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof(name), "%06" PRIu64 WAL_SUFFIX, file_no);
    return name_path(dir, name);
}

char *name_segment_path(const char *dir, uint64_t file_no)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof(name), "%06" PRIu64 SEGMENT_SUFFIX, file_no);
    return name_path(dir, name);
}

char *name_manifest_path(const char *dir, uint64_t file_no)
{
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof(name), MANIFEST_PREFIX "%06" PRIu64, file_no);
    return name_path(dir, name);
}

/* Decimal digits as we write them: at least six, no more zeros in front than that. */
static size_t parse_number(const char *text, uint64_t *value)
{
    size_t digits = 0;

    *value = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == 18)
            return 0;
        *value = *value * 10 + (uint64_t)(text[digits] - '0');
    }
    if (digits < 6 || (digits > 6 && text[0] == '0'))
        return 0;
    return digits;
}

static enum name_kind parse(const char *name, uint64_t *file_no)
{
    if (strcmp(name, "LOCK") == 0)
        return NAME_LOCK;
    if (strcmp(name, "CURRENT") == 0)
        return NAME_CURRENT;
    if (strcmp(name, "CURRENT.tmp") == 0)
        return NAME_CURRENT_TMP;
    if (strcmp(name, "RESERVE") == 0)
        return NAME_RESERVE;
    if (strncmp(name, MANIFEST_PREFIX, strlen(MANIFEST_PREFIX)) == 0) {
        const char *digits = name + strlen(MANIFEST_PREFIX);
        size_t len = parse_number(digits, file_no);
        return len > 0 && digits[len] == '\0' ? NAME_MANIFEST : NAME_OTHER;
    }
    size_t len = parse_number(name, file_no);
    if (len > 0 && strcmp(name + len, WAL_SUFFIX) == 0)
        return NAME_WAL;
    return len > 0 && strcmp(name + len, SEGMENT_SUFFIX) == 0 ? NAME_SEGMENT : NAME_OTHER;
}

/* The number of a name that is not ours must not move the counter of all files. */
enum name_kind name_parse(const char *name, uint64_t *file_no)
{
    enum name_kind kind;

    *file_no = 0;
    kind = parse(name, file_no);
    if (kind == NAME_OTHER)
        *file_no = 0;
    return kind;
}
