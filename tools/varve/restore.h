/* restore.h - a new directory of the live files of another: what a checkpoint is for. Segments get a second
 * name (a hard link), or are copied and checked where the file system gives none; CURRENT, the manifest and
 * the logs are copied. The other one is only read. One thread. */
#ifndef VARVE_TOOL_RESTORE_H
#define VARVE_TOOL_RESTORE_H

#include "dir.h"
#include "output.h"

struct restore {
    const struct data_dir *from; /* with its manifest; borrowed, as is the next one */
    struct progress *progress;
    uint64_t linked_files;
    uint64_t linked_bytes;
    uint64_t copied_files;
    uint64_t copied_bytes;
};

/* Makes a directory with a name that begins with `name`, and fills it; *made is owned by the caller. It is
 * durable, but for its own name; CURRENT comes last. On an error nothing is left, and *made is NULL. */
int restore_make(struct restore *restore, const char *name, char **made,
                 struct varve_err *err) MUST_CHECK;
/* Gives it its name, durably. What is at path is never replaced, unless it is an empty directory. */
int restore_publish(const struct restore *restore, const char *made, const char *path,
                    struct varve_err *err) MUST_CHECK;
/* Removes it and what is in it. Takes NULL. */
int restore_remove(const char *made, struct varve_err *err);

#endif
