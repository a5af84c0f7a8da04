#include "base/mem.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Each thread counts by itself: one shared counter would cost every allocation a cache line that
 * all loops write. A thread adds its share to the total when it grows past a slack. */
#define MEM_SLACK_BYTES (64 * 1024)

static _Atomic int64_t used_bytes;
static _Thread_local int64_t used_bytes_here;
static _Atomic uint64_t fail_at;
static _Atomic int fail_sticky;
static _Atomic uint64_t attempts;

static void mem_account(int64_t delta_bytes)
{
    used_bytes_here += delta_bytes;
    if (used_bytes_here > MEM_SLACK_BYTES || used_bytes_here < -MEM_SLACK_BYTES) {
        atomic_fetch_add_explicit(&used_bytes, used_bytes_here, memory_order_relaxed);
        used_bytes_here = 0;
    }
}

int mem_planned_failure(void)
{
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);

    if (LIKELY(at == 0))
        return 0;
    uint64_t nth = atomic_fetch_add(&attempts, 1) + 1;
    return nth == at || (nth > at && atomic_load(&fail_sticky));
}

void *mem_alloc(size_t size_bytes)
{
    void *ptr = mem_planned_failure() ? NULL : malloc(size_bytes == 0 ? 1 : size_bytes);

    if (ptr != NULL)
        mem_account((int64_t)malloc_usable_size(ptr));
    return ptr;
}

void *mem_alloc_zero(size_t size_bytes)
{
    void *ptr = mem_planned_failure() ? NULL : calloc(1, size_bytes == 0 ? 1 : size_bytes);

    if (ptr != NULL)
        mem_account((int64_t)malloc_usable_size(ptr));
    return ptr;
}

void *mem_alloc_huge(size_t size_bytes)
{
    CHECK(size_bytes % MEM_HUGE_BYTES == 0 && size_bytes <= SIZE_MAX / 2);
    if (mem_planned_failure())
        return NULL;
    /* Room for every place that the aligned part may have in it; what is around is given back. */
    size_t mapped = size_bytes + MEM_HUGE_BYTES;
    uint8_t *at = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    size_t front = (MEM_HUGE_BYTES - (uintptr_t)at % MEM_HUGE_BYTES) % MEM_HUGE_BYTES;
    if (front > 0)
        (void)munmap(at, front);
    (void)munmap(at + front + size_bytes, MEM_HUGE_BYTES - front);
    (void)madvise(at + front, size_bytes, MADV_HUGEPAGE); /* a wish */
    mem_account((int64_t)size_bytes);
    return at + front;
}

void mem_free_huge(void *ptr, size_t size_bytes)
{
    if (ptr == NULL)
        return;
    mem_account(-(int64_t)size_bytes);
    if (munmap(ptr, size_bytes) == 0)
        return;
    /* The process has as many mappings as it may, and this one would become two: its pages go at least. */
    CHECK(errno == ENOMEM);
    (void)madvise(ptr, size_bytes, MADV_DONTNEED);
}

void *mem_realloc(void *ptr, size_t size_bytes)
{
    int64_t before = ptr == NULL ? 0 : (int64_t)malloc_usable_size(ptr);
    void *grown = mem_planned_failure() ? NULL : realloc(ptr, size_bytes == 0 ? 1 : size_bytes);

    if (grown != NULL)
        mem_account((int64_t)malloc_usable_size(grown) - before);
    return grown;
}

void mem_free(void *ptr)
{
    if (ptr == NULL)
        return;
    mem_account(-(int64_t)malloc_usable_size(ptr));
    free(ptr);
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

uint64_t mem_used_bytes(void)
{
    int64_t total = atomic_load_explicit(&used_bytes, memory_order_relaxed) + used_bytes_here;

    return total > 0 ? (uint64_t)total : 0;
}

void mem_fail_nth(uint64_t nth, int sticky)
{
    atomic_store(&attempts, 0);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, nth);
}

uint64_t mem_alloc_count(void)
{
    return atomic_load(&attempts);
}
