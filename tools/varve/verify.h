/* verify.h - what the parts of `varve verify` share. One thread. */
#ifndef VARVE_TOOL_VERIFY_H
#define VARVE_TOOL_VERIFY_H

#include <stdint.h>

#include "base/check.h"
#include "dir.h"
#include "json.h"
#include "output.h"

struct verify {
    struct data_dir dir;
    int raw; /* not the server's keys: nothing is known of groups */
    int as_json;
    struct json json;
    struct progress progress;
    /* Figures. */
    uint64_t findings;
    uint64_t notes;
    uint64_t files;
    uint64_t bytes;
    uint64_t wals;
    uint64_t records;
    uint64_t ops;
    uint64_t segments;
    uint64_t entries;
    uint64_t groups;
};

/* Something is wrong with the file. err names file and offset, or only the offset. */
void verify_finding(struct verify *verify, const char *file, const struct varve_err *err);
/* The same of the file `kind` with that number. */
void verify_finding_in(struct verify *verify, enum name_kind kind, uint64_t file_no,
                       const struct varve_err *err);
/* Worth a word, and harmless. */
void verify_note(struct verify *verify, const char *file, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The file was looked at. */
void verify_count_file(struct verify *verify, enum name_kind kind, uint64_t file_no);

/* An error that is about us, not about the data; it ends the verify. */
static inline int verify_is_ours(int rc)
{
    return rc == VARVE_ENOMEM || rc == VARVE_EFULL;
}

/* All of verify->dir, which is open. Findings and notes are told as they come: lines, or members of the
 * array of verify->json that is open. */
int verify_files(struct verify *verify, struct varve_err *err) MUST_CHECK;

/* The live WAL files: as recovery reads them, and if that refuses, each for itself. Without a manifest:
 * all that lie there. */
int verify_log(struct verify *verify, struct varve_err *err) MUST_CHECK;

/* The live segments, each for itself and then all together: levels, sequences, counts of groups. Without
 * a manifest: all that lie there, each for itself. */
int verify_segments(struct verify *verify, struct varve_err *err) MUST_CHECK;
/* The second half, over the whole set. */
int verify_levels(struct verify *verify, const struct version *version,
                  struct varve_err *err) MUST_CHECK;

#endif
