/* salvage_store.h - the new directory, filled through the engine's public API. One thread, which runs the
 * engine's jobs, too. */
#ifndef VARVE_TOOL_SALVAGE_STORE_H
#define VARVE_TOOL_SALVAGE_STORE_H

#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"
#include "varve/status.h"

struct salvage_store; /* opaque */

/* path must not be there, or be empty, and not lie in old_path. */
int salvage_store_create(const char *path, const char *old_path, struct salvage_store **store,
                         struct varve_err *err) MUST_CHECK;
/* Nothing is borrowed behind the call. */
int salvage_store_put(struct salvage_store *store, struct varve_slice key, struct varve_slice value,
                      uint64_t expire_ms, struct varve_err *err) MUST_CHECK;
int salvage_store_delete(struct salvage_store *store, struct varve_slice key,
                         struct varve_err *err) MUST_CHECK;
/* Everything is durable when it returned 0. The store is gone either way. Takes NULL. */
int salvage_store_close(struct salvage_store *store, struct varve_err *err);

#endif
