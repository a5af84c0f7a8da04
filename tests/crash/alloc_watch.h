/* alloc_watch.h - how much is asked of base/mem.h at once: nothing may be allocated on the word of damaged
 * bytes. Works where the program is linked with --wrap of those functions. One thread. */
#ifndef CRASH_ALLOC_WATCH_H
#define CRASH_ALLOC_WATCH_H

#include <stddef.h>
#include <stdint.h>

struct alloc_peak {
    size_t largest_bytes; /* one request */
    uint64_t total_bytes; /* of all requests */
};

void alloc_watch_begin(void);
struct alloc_peak alloc_watch_end(void);

#endif
