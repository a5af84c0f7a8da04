/* mem.h - the only door to the C allocator. Every allocation may fail and says so by NULL.
 * Thread-safe. Counted, so that tests can fail the N-th one and INFO can show the total. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

void *mem_alloc(size_t size_bytes) MUST_CHECK;
void *mem_alloc_zero(size_t size_bytes) MUST_CHECK;
void *mem_realloc(void *ptr, size_t size_bytes) MUST_CHECK;
void mem_free(void *ptr); /* takes NULL */

/* size_bytes, a multiple of MEM_HUGE_BYTES, aligned to that and, where the system does that, backed by
 * huge pages: for large memory that is read at random, whose page table would not fit the TLB. It comes
 * from the system and goes back to it by mem_free_huge() with the same size, whatever the C allocator keeps. */
#define MEM_HUGE_BYTES ((size_t)2 * 1024 * 1024)
void *mem_alloc_huge(size_t size_bytes) MUST_CHECK;
void mem_free_huge(void *ptr, size_t size_bytes); /* takes NULL */

/* A NUL-terminated copy of text[0..len). */
char *mem_strndup(const char *text, size_t len) MUST_CHECK;
char *mem_strdup(const char *text) MUST_CHECK;

/* Bytes that the allocator handed out and has not got back (usable sizes). */
uint64_t mem_used_bytes(void);

/* Tests only: the nth allocation from now (1 = the next) fails, and with `sticky` all after it.
 * 0 turns it off. Not for use while other threads allocate. */
void mem_fail_nth(uint64_t nth, int sticky);
/* 1 if a test wants this allocation to fail: for those that hand out parts of what they have from here. */
int mem_planned_failure(void);
uint64_t mem_alloc_count(void); /* allocations since mem_fail_nth was last called */

#endif
