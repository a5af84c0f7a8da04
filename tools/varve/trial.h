/* trial.h - a directory is opened as a server opens it, and what it shows is compared with what its files
 * say. One thread, beside the engine's. */
#ifndef VARVE_TOOL_TRIAL_H
#define VARVE_TOOL_TRIAL_H

#include "content.h"
#include "output.h"

struct trial {
    int raw;          /* set by the caller: no key is in a group */
    uint64_t records; /* live records, those of the server itself included */
    uint64_t bytes;   /* of them and their values */
};

/* Opens the engine on path, which it writes to, walks all live keys beside those of `content` (which gets
 * the time of the engine's), and closes it again. VARVE_ECORRUPT: they differ, and where. */
int trial_run(struct trial *trial, const char *path, struct content *content,
              struct progress *progress, struct varve_err *err) MUST_CHECK;

#endif
