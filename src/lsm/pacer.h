/* pacer.h - bytes a second that flushes and compactions may write together (options.rate_limit_bytes). Any
 * thread; who comes too early sleeps, outside of the mutex. */
#ifndef LSM_PACER_H
#define LSM_PACER_H

#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"

struct pacer {
    struct mutex mutex;
    uint64_t rate_bytes; /* a second; 0: no limit */
    uint64_t free_at_us; /* when what was let through so far is paid for */
};

void pacer_init(struct pacer *pacer, uint64_t rate_bytes);
void pacer_deinit(struct pacer *pacer);
void pacer_wait(void *pacer, size_t bytes);

#endif
