/* The linker leads all calls of base/mem.h from outside of it here (--wrap). */
#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"

static size_t bytes_bound;

void *__real_mem_alloc(size_t size_bytes);
void *__real_mem_alloc_zero(size_t size_bytes);
void *__real_mem_realloc(void *ptr, size_t size_bytes);
void *__real_mem_alloc_huge(size_t size_bytes);
void *__wrap_mem_alloc(size_t size_bytes);
void *__wrap_mem_alloc_zero(size_t size_bytes);
void *__wrap_mem_realloc(void *ptr, size_t size_bytes);
void *__wrap_mem_alloc_huge(size_t size_bytes);

void fuzz_bound_allocations(size_t bytes_max)
{
    bytes_bound = bytes_max;
}

static size_t checked(size_t size_bytes)
{
    CHECK(bytes_bound == 0 || size_bytes <= bytes_bound); /* out of proportion to the input */
    return size_bytes;
}

void *__wrap_mem_alloc(size_t size_bytes)
{
    return __real_mem_alloc(checked(size_bytes));
}

void *__wrap_mem_alloc_zero(size_t size_bytes)
{
    return __real_mem_alloc_zero(checked(size_bytes));
}

void *__wrap_mem_realloc(void *ptr, size_t size_bytes)
{
    return __real_mem_realloc(ptr, checked(size_bytes));
}

void *__wrap_mem_alloc_huge(size_t size_bytes)
{
    return __real_mem_alloc_huge(checked(size_bytes));
}
