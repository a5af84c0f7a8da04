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
    uint64_t rest;       /* bytes * 1000000 below a microsecond's: small pieces count, too */
};

void pacer_init(struct pacer *pacer, uint64_t rate_bytes);
void pacer_deinit(struct pacer *pacer);
/* Books the bytes, and says how long to wait from now_us on until what came before is paid for; 0: not at
 * all. */
uint64_t pacer_take(struct pacer *pacer, size_t bytes, uint64_t now_us);
/* The same, and waits. */
void pacer_wait(void *pacer, size_t bytes);

#endif
