/* dump.h - what the parts of `varve dump` share. One thread. */
#ifndef VARVE_TOOL_DUMP_H
#define VARVE_TOOL_DUMP_H

#include "base/check.h"
#include "dir.h"
#include "json.h"
#include "output.h"
#include "segment/chunk.h"

struct dump {
    struct varve_env *env;
    int full;
    int keys_only;
    int as_json;
    struct json json;
    uint64_t damage; /* places that do not read */
};

/* One file as text, or as a member of the array that is open. What does not read is told in its place,
 * and counted; an error is returned where nothing of the rest can be read. */
int dump_log(struct dump *dump, const char *path, const char magic[8],
             struct varve_err *err) MUST_CHECK;
int dump_segment(struct dump *dump, const char *path, struct varve_err *err) MUST_CHECK;

/* One record of a log or a segment; value: of a put, and whole unless it is not to be shown. */
void dump_entry(struct dump *dump, const struct entry *entry, struct varve_slice value);
/* "at OFFSET: WHAT": something does not read. */
void dump_damage(struct dump *dump, uint64_t offset, const char *what);
/* The head of a file: its kind, number and directory; with JSON its object is begun. */
void dump_begin_file(struct dump *dump, const char *path, const char *kind, const struct dir_id *id,
                     uint64_t file_no);

/* The fields of a manifest's edit (lsm/FORMAT.md, section 4). */
void dump_edit(struct dump *dump, uint64_t offset, struct varve_slice payload);

#endif
