/* A chunk is a head with one bit a unit, and units. A piece is a run of free units: the first one that is long
 * enough, so that what is in use gathers at the front, in the chunk at the front of the list. A chunk in which
 * not even a usual piece finds one goes to the other list, until something of it is freed: so each such search is
 * paid for by a piece that was freed. For what is larger the chunks are asked one after the other. */
#include "base/pieces.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

#define UNITS (MEM_HUGE_BYTES / PIECES_UNIT_BYTES)
#define WORDS (UNITS / 64)
#define USUAL_UNITS                                                                                \
    ((size_t)6 * 1024 / PIECES_UNIT_BYTES) /* a block of 4 KiB, as it lies in memory */
#define HEAD_UNITS ((sizeof(struct pieces_chunk) + PIECES_UNIT_BYTES - 1) / PIECES_UNIT_BYTES)

struct pieces_chunk {
    struct list list; /* first */
    int is_full;      /* in that list */
    _Atomic int is_leaving;
    size_t used_units;
    uint64_t used[WORDS]; /* bits */
};

#ifdef __SANITIZE_ADDRESS__
void __asan_poison_memory_region(const volatile void *at, size_t size_bytes);
void __asan_unpoison_memory_region(const volatile void *at, size_t size_bytes);
#else
#define __asan_poison_memory_region(at, size_bytes) ((void)(at))
#define __asan_unpoison_memory_region(at, size_bytes) ((void)(at))
#endif

static size_t units_of(size_t size_bytes)
{
    return pieces_size(size_bytes) / PIECES_UNIT_BYTES;
}

/* The first unit from `at` on that is in use (or, with `flip` all ones, is not); UNITS: there is none. */
static size_t next_unit(const struct pieces_chunk *chunk, size_t at, uint64_t flip)
{
    uint64_t here;

    if (at >= UNITS)
        return UNITS;
    here = (chunk->used[at / 64] ^ flip) & (UINT64_MAX << at % 64);
    for (size_t word = at / 64;;) {
        if (here != 0)
            return word * 64 + (size_t)__builtin_ctzll(here);
        if (++word == WORDS)
            return UNITS;
        here = chunk->used[word] ^ flip;
    }
}

/* Where so many units in a row are free; UNITS: nowhere. */
static size_t find_run(const struct pieces_chunk *chunk, size_t count)
{
    size_t at = next_unit(chunk, 0, UINT64_MAX);

    while (at < UNITS) {
        size_t end = next_unit(chunk, at, 0);
        if (end - at >= count)
            return at;
        at = next_unit(chunk, end, UINT64_MAX);
    }
    return UNITS;
}

static void mark(struct pieces_chunk *chunk, size_t at, size_t count, int used)
{
    for (size_t i = at; i < at + count;) {
        size_t bit = i % 64;
        size_t n = 64 - bit < at + count - i ? 64 - bit : at + count - i;
        uint64_t bits = (n == 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1) << bit;
        CHECK((chunk->used[i / 64] & bits) == (used ? 0 : bits));
        chunk->used[i / 64] ^= bits;
        i += n;
    }
    chunk->used_units += used ? count : (size_t)0 - count;
}

static struct pieces_chunk *chunk_create(void)
{
    struct pieces_chunk *chunk = mem_alloc_huge(MEM_HUGE_BYTES);

    if (chunk == NULL)
        return NULL;
    *chunk = (struct pieces_chunk){0};
    mark(chunk, 0, HEAD_UNITS, 1);
    __asan_poison_memory_region((uint8_t *)chunk + HEAD_UNITS * PIECES_UNIT_BYTES,
                                MEM_HUGE_BYTES - HEAD_UNITS * PIECES_UNIT_BYTES);
    return chunk;
}

static void chunk_destroy(struct pieces_chunk *chunk)
{
    if (chunk != NULL)
        __asan_unpoison_memory_region(chunk, MEM_HUGE_BYTES);
    mem_free_huge(chunk, MEM_HUGE_BYTES);
}

static void *take_locked(struct pieces *pieces, size_t count)
{
    struct list *next;

    for (struct list *node = pieces->open.next; node != &pieces->open; node = next) {
        struct pieces_chunk *chunk = CONTAINER_OF(node, struct pieces_chunk, list);
        size_t at = find_run(chunk, count);
        if (at < UNITS) {
            mark(chunk, at, count, 1);
            pieces->used_units += count;
            return (uint8_t *)chunk + at * PIECES_UNIT_BYTES;
        }
        next = node->next;
        if (count > USUAL_UNITS)
            continue;
        list_remove(node);
        list_push_back(&pieces->full, node);
        chunk->is_full = 1;
    }
    return NULL;
}

static void open_locked(struct pieces *pieces, struct pieces_chunk *chunk)
{
    chunk->is_full = 0;
    list_push_back(&pieces->open, &chunk->list);
}

/* There is one. */
static struct pieces_chunk *take_spare_locked(struct pieces *pieces)
{
    struct list *node = pieces->spare.next;

    list_remove(node);
    if (--pieces->spare_count == 0)
        pieces->aged_bytes = 0;
    return CONTAINER_OF(node, struct pieces_chunk, list);
}

void *pieces_alloc(struct pieces *pieces, size_t size_bytes)
{
    size_t count = units_of(size_bytes);

    if (size_bytes > PIECES_MAX_BYTES)
        return mem_alloc(size_bytes);
    if (mem_planned_failure())
        return NULL;
    mutex_lock(&pieces->mutex);
    void *at = take_locked(pieces, count);
    if (at == NULL && pieces->spare_count > 0) {
        open_locked(pieces, take_spare_locked(pieces));
        at = take_locked(pieces, count);
    }
    mutex_unlock(&pieces->mutex);
    if (at == NULL) {
        /* Not under the mutex: the system clears the pages. */
        struct pieces_chunk *chunk = chunk_create();
        if (chunk == NULL)
            return NULL;
        mutex_lock(&pieces->mutex);
        open_locked(pieces, chunk);
        mark(chunk, HEAD_UNITS, count, 1);
        pieces->chunk_count++;
        pieces->used_units += count;
        mutex_unlock(&pieces->mutex);
        at = (uint8_t *)chunk + HEAD_UNITS * PIECES_UNIT_BYTES;
    }
    __asan_unpoison_memory_region(at, size_bytes);
    return at;
}

void pieces_free(struct pieces *pieces, void *at, size_t size_bytes)
{
    if (size_bytes > PIECES_MAX_BYTES) {
        mem_free(at);
        return;
    }
    size_t offset = (uintptr_t)at % MEM_HUGE_BYTES;
    struct pieces_chunk *chunk = (struct pieces_chunk *)(void *)((uint8_t *)at - offset);
    struct pieces_chunk *unused = NULL;
    __asan_poison_memory_region(at, units_of(size_bytes) * PIECES_UNIT_BYTES);
    mutex_lock(&pieces->mutex);
    mark(chunk, offset / PIECES_UNIT_BYTES, units_of(size_bytes), 0);
    pieces->used_units -= units_of(size_bytes);
    int leaves = atomic_load_explicit(&chunk->is_leaving, memory_order_relaxed);
    if (chunk->used_units == HEAD_UNITS) {
        list_remove(&chunk->list);
        if (leaves) {
            unused = chunk;
            pieces->chunk_count--;
        } else {
            list_push_back(&pieces->spare, &chunk->list);
            pieces->spare_count++;
        }
    } else if (chunk->is_full) {
        list_remove(&chunk->list);
        open_locked(pieces, chunk);
    }
    mutex_unlock(&pieces->mutex);
    chunk_destroy(unused);
}

/* Gives back up to `count` spare chunks, and none once so many are left. */
static void give_back(struct pieces *pieces, size_t count, size_t keep_count)
{
    struct pieces_chunk *unused;

    do {
        unused = NULL;
        mutex_lock(&pieces->mutex);
        if (count > 0 && pieces->spare_count > keep_count) {
            unused = take_spare_locked(pieces);
            pieces->chunk_count--;
            count--;
        }
        mutex_unlock(&pieces->mutex);
        chunk_destroy(unused); /* not under the mutex: the system takes its time */
    } while (unused != NULL);
}

void pieces_trim(struct pieces *pieces, size_t keep_bytes)
{
    give_back(pieces, SIZE_MAX, keep_bytes / MEM_HUGE_BYTES);
}

void pieces_age(struct pieces *pieces, size_t parts)
{
    mutex_lock(&pieces->mutex);
    size_t due_bytes = pieces->aged_bytes + pieces->spare_count * MEM_HUGE_BYTES / parts;
    pieces->aged_bytes = pieces->spare_count == 0 ? 0 : due_bytes % MEM_HUGE_BYTES;
    mutex_unlock(&pieces->mutex);
    give_back(pieces, due_bytes / MEM_HUGE_BYTES, 0);
}

void pieces_get_stats(struct pieces *pieces, struct pieces_stats *stats)
{
    mutex_lock(&pieces->mutex);
    *stats = (struct pieces_stats){.held_bytes = pieces->chunk_count * MEM_HUGE_BYTES,
                                   .used_bytes = pieces->used_units * PIECES_UNIT_BYTES,
                                   .spare_bytes = pieces->spare_count * MEM_HUGE_BYTES};
    mutex_unlock(&pieces->mutex);
}

/* ---- giving up what is nearly empty ---- */

#define LEAVE_STEPS 8  /* how finely the emptiest are told apart */
#define LEAVE_PARTS 12 /* of those parts of a chunk a leaving one uses at most LEAVE_STEPS */

/* Those of one list that use no more than so many units, while free_units is below what is wanted. */
static void leave_list(struct pieces *pieces, struct list *list, size_t units_max,
                       size_t units_wanted, size_t *free_units)
{
    struct list *next;

    for (struct list *node = list->next; node != list && *free_units < units_wanted; node = next) {
        struct pieces_chunk *chunk = CONTAINER_OF(node, struct pieces_chunk, list);
        next = node->next;
        if (chunk->used_units > units_max)
            continue;
        atomic_store_explicit(&chunk->is_leaving, 1, memory_order_relaxed);
        chunk->is_full = 0;
        list_remove(node);
        list_push_back(&pieces->leaving, node);
        *free_units += UNITS - chunk->used_units;
    }
}

size_t pieces_leave(struct pieces *pieces, size_t free_bytes)
{
    size_t units_wanted = free_bytes / PIECES_UNIT_BYTES;
    size_t free_units = 0;
    size_t used_units = 0;

    mutex_lock(&pieces->mutex);
    for (struct list *node = pieces->leaving.next; node != &pieces->leaving; node = node->next)
        free_units += UNITS - CONTAINER_OF(node, struct pieces_chunk, list)->used_units;
    for (size_t step = 1; step <= LEAVE_STEPS && free_units < units_wanted; step++) {
        leave_list(pieces, &pieces->open, UNITS * step / LEAVE_PARTS, units_wanted, &free_units);
        leave_list(pieces, &pieces->full, UNITS * step / LEAVE_PARTS, units_wanted, &free_units);
    }
    for (struct list *node = pieces->leaving.next; node != &pieces->leaving; node = node->next)
        used_units += CONTAINER_OF(node, struct pieces_chunk, list)->used_units - HEAD_UNITS;
    mutex_unlock(&pieces->mutex);
    return used_units * PIECES_UNIT_BYTES;
}

int pieces_is_leaving(const void *at)
{
    size_t offset = (uintptr_t)at % MEM_HUGE_BYTES;
    const struct pieces_chunk *chunk = (const void *)((const uint8_t *)at - offset);

    return atomic_load_explicit(&chunk->is_leaving, memory_order_relaxed);
}
