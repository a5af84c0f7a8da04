#include "timeline.h"

#include <string.h>
#include <sys/mman.h>

struct timeline *timeline_create(void)
{
    void *memory = mmap(NULL, sizeof(struct timeline), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        bench_fail("no memory for what each second is like");
    return memory;
}

void timeline_begin(struct timeline *timeline, uint32_t seconds, uint64_t now)
{
    memset(timeline, 0, sizeof *timeline);
    timeline->begin = now;
    timeline->wanted = seconds;
}

void timeline_next(struct timeline *timeline, uint64_t now)
{
    while (timeline_goes_on(timeline) &&
           now - timeline->begin >= ticks_of_ms((timeline->count + UINT64_C(1)) * 1000)) {
        struct second *second = &timeline->seconds[timeline->count++];
        second->ops = timeline->now.total;
        second->p999_ns = ticks_to_ns(histogram_quantile(&timeline->now, 0.999));
        second->max_ns = ticks_to_ns(timeline->now.max);
        memset(&timeline->now, 0, sizeof timeline->now);
    }
}
