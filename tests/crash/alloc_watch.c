#include "alloc_watch.h"

#include "base/mem.h"

static struct alloc_peak peak;

static void note(size_t size_bytes)
{
    peak.total_bytes += size_bytes;
    if (size_bytes > peak.largest_bytes)
        peak.largest_bytes = size_bytes;
}

void alloc_watch_begin(void)
{
    peak = (struct alloc_peak){0};
}

struct alloc_peak alloc_watch_end(void)
{
    return peak;
}

/* The linker gives calls of mem_alloc() to __wrap_mem_alloc(), and of __real_mem_alloc() to it. */
void *__real_mem_alloc(size_t size_bytes) MUST_CHECK;
void *__real_mem_alloc_zero(size_t size_bytes) MUST_CHECK;
void *__real_mem_alloc_huge(size_t size_bytes) MUST_CHECK;
void *__real_mem_realloc(void *ptr, size_t size_bytes) MUST_CHECK;
void *__wrap_mem_alloc(size_t size_bytes) MUST_CHECK;
void *__wrap_mem_alloc_zero(size_t size_bytes) MUST_CHECK;
void *__wrap_mem_alloc_huge(size_t size_bytes) MUST_CHECK;
void *__wrap_mem_realloc(void *ptr, size_t size_bytes) MUST_CHECK;

void *__wrap_mem_alloc(size_t size_bytes)
{
    note(size_bytes);
    return __real_mem_alloc(size_bytes);
}

void *__wrap_mem_alloc_zero(size_t size_bytes)
{
    note(size_bytes);
    return __real_mem_alloc_zero(size_bytes);
}

void *__wrap_mem_alloc_huge(size_t size_bytes)
{
    note(size_bytes);
    return __real_mem_alloc_huge(size_bytes);
}

void *__wrap_mem_realloc(void *ptr, size_t size_bytes)
{
    note(size_bytes);
    return __real_mem_realloc(ptr, size_bytes);
}
