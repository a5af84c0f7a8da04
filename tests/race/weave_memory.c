/* Memory of a run: what is freed is poisoned and kept, so that no address stands for two things. */
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WEAVE_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#include "base/mem.h"
#include "weave_impl.h"

#define PIECES_MAX 256
#define POISON 0xdb

struct piece {
    uint8_t *at;
    size_t size;
    int freed;
};

static struct piece pieces[PIECES_MAX];
static size_t piece_count;
static int counting; /* a run goes on */

void *weave_alloc(size_t size_bytes)
{
    void *at = mem_alloc(size_bytes);

    if (!counting || at == NULL)
        return at;
    CHECK(piece_count < PIECES_MAX);
    pieces[piece_count++] = (struct piece){.at = at, .size = size_bytes};
    return at;
}

void *weave_alloc_zero(size_t size_bytes)
{
    void *at = weave_alloc(size_bytes);

    if (at != NULL)
        memset(at, 0, size_bytes);
    return at;
}

void weave_free(void *ptr)
{
    for (size_t i = 0; ptr != NULL && i < piece_count; i++) {
        struct piece *piece = &pieces[i];
        if (piece->at != ptr)
            continue;
        threads_free(ptr, piece->size);
        if (piece->freed)
            weave_fail("%zu bytes are freed twice", piece->size);
        piece->freed = 1;
        memset(ptr, POISON, piece->size);
        ASAN_POISON_MEMORY_REGION(piece->at, piece->size);
        return;
    }
    mem_free(ptr);
}

void memory_check(uintptr_t addr)
{
    for (size_t i = 0; i < piece_count; i++) {
        const struct piece *piece = &pieces[i];
        if (piece->freed && addr - (uintptr_t)piece->at < piece->size)
            weave_fail("byte %zu of %zu bytes that are freed",
                       (size_t)(addr - (uintptr_t)piece->at), piece->size);
    }
}

size_t memory_end(void)
{
    size_t left = 0;

    for (size_t i = 0; i < piece_count; i++) {
        left += !pieces[i].freed;
        ASAN_UNPOISON_MEMORY_REGION(pieces[i].at, pieces[i].size);
        mem_free(pieces[i].at);
    }
    piece_count = 0;
    counting = 0;
    return left;
}

void memory_begin(void)
{
    (void)memory_end();
    counting = 1;
}
