/* A block does not say how long it is: the index does. Without it a block's end is found by its trailer:
 * wherever the eight bytes could be one (kind, compression and two zeros), the CRC of what lies between the
 * block's beginning and there decides. The CRC runs on from one such place to the next, so that a block costs
 * one pass over its bytes. It is seeded with the directory, the file and the offset: no bytes that a client
 * wrote pass for a block.
 *
 * The next block begins behind the trailer. Where none ends, bytes are damaged; then every place that could
 * be a trailer is tried as the end of the damage, with blocks of up to RESYNC_MAX_BYTES behind it. If the
 * damage is in a trailer, the block behind is not found either. Longer blocks (large values) behind
 * damage are not looked for, and what is spent on looking has a bound: without one, a file of many false
 * trailers would take the square of its length. */
#include "salvage_blocks.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "varve/batch.h"

#define WINDOW_BYTES ((size_t)1024 * 1024)
#define RESYNC_MAX_BYTES ((uint64_t)2 * 1024 * 1024)
#define RESYNC_SPENT_MAX_BYTES ((uint64_t)8 * 1024 * 1024 * 1024)
#define BLOCK_MAX_BYTES ((uint64_t)VARVE_VALUE_MAX_BYTES + VARVE_KEY_MAX_BYTES + 64 * 1024)

struct finder {
    const struct segment *segment;
    uint8_t *window;
    uint64_t window_at;
    size_t window_len;
    uint64_t spent_bytes; /* on looking behind damage */
};

int found_blocks_add(struct found_blocks *blocks, uint64_t offset, uint64_t len, int kind)
{
    if (blocks->count == blocks->cap) {
        size_t cap = blocks->cap == 0 ? 64 : blocks->cap * 2;
        struct found_block *grown = mem_realloc(blocks->items, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        blocks->items = grown;
        blocks->cap = cap;
    }
    blocks->items[blocks->count++] = (struct found_block){offset, len, kind};
    return 0;
}

void found_blocks_deinit(struct found_blocks *blocks)
{
    mem_free(blocks->items);
    *blocks = (struct found_blocks){0};
}

/* Bytes from `at` on, *len of them: what the window has, at least a trailer unless the file ends. Where the
 * disk fails, none. */
static const uint8_t *window_get(struct finder *finder, uint64_t at, size_t *len)
{
    const struct segment *segment = finder->segment;
    uint64_t window_end = finder->window_at + finder->window_len;

    if (at < finder->window_at || at + BLOCK_TRAILER_BYTES > window_end) {
        finder->window_at = at;
        finder->window_len = 0;
        if (segment->env->ops->read_at(segment->env, segment->file, finder->window, WINDOW_BYTES,
                                       at, &finder->window_len, NULL) != 0)
            finder->window_len = 0;
    }
    *len = (size_t)(finder->window_at + finder->window_len - at);
    return finder->window + (at - finder->window_at);
}

static int could_be_trailer(const uint8_t *at)
{
    return at[0] >= BLOCK_DATA && at[0] <= BLOCK_PROPERTIES && at[1] <= 1 && at[2] == 0 &&
           at[3] == 0;
}

/* Where the trailer of the block that begins at `start` lies, before `limit`; 0: nowhere. */
static uint64_t find_end(struct finder *finder, uint64_t start, uint64_t limit, int *kind)
{
    uint32_t crc = block_crc_begin(finder->segment->salt, start);
    uint64_t done = start; /* the CRC is that of what lies before */

    while (done + BLOCK_TRAILER_BYTES <= limit) {
        size_t len;
        const uint8_t *bytes = window_get(finder, done, &len);
        if (len < BLOCK_TRAILER_BYTES)
            return 0;
        if (len > limit - done)
            len = (size_t)(limit - done);
        size_t checked = 0;
        size_t places = len - BLOCK_TRAILER_BYTES + 1;
        for (size_t i = 0; i < places; i++) {
            if (!could_be_trailer(bytes + i))
                continue;
            crc = crc32c(crc, bytes + checked, i - checked);
            checked = i;
            if (crc32c(crc, bytes + i, 4) == get_u32(bytes + i + 4)) {
                *kind = bytes[i];
                return done + i;
            }
        }
        crc = crc32c(crc, bytes + checked, places - checked);
        done += places;
    }
    return 0;
}

/* The next place behind `at` where a block may begin, as what lies before could be a trailer; 0: none. */
static uint64_t next_start(struct finder *finder, uint64_t at, uint64_t limit)
{
    while (at + BLOCK_TRAILER_BYTES <= limit) {
        size_t len;
        const uint8_t *bytes = window_get(finder, at, &len);
        if (len < BLOCK_TRAILER_BYTES)
            return 0;
        size_t places = len - BLOCK_TRAILER_BYTES + 1;
        for (size_t i = 0; i < places; i++)
            if (could_be_trailer(bytes + i))
                return at + i + BLOCK_TRAILER_BYTES;
        at += places;
    }
    return 0;
}

/* Where the first readable block behind the damage at `from` begins; the file's end if there is none. */
static uint64_t resync(struct finder *finder, uint64_t from)
{
    uint64_t size_bytes = finder->segment->size_bytes;
    uint64_t start = from;
    int kind;

    while (finder->spent_bytes < RESYNC_SPENT_MAX_BYTES) {
        /* Trailers may overlap: the next one is looked for a byte behind this one's beginning. */
        start = next_start(finder, start == from ? from : start - BLOCK_TRAILER_BYTES + 1,
                           size_bytes);
        if (start == 0)
            return size_bytes;
        uint64_t limit = size_bytes - start < RESYNC_MAX_BYTES ? size_bytes
                                                               : start + RESYNC_MAX_BYTES;
        uint64_t end = find_end(finder, start, limit, &kind);
        if (end != 0)
            return start;
        finder->spent_bytes += limit - start;
    }
    return size_bytes;
}

static int find_all(struct finder *finder, struct found_blocks *blocks)
{
    uint64_t size_bytes = finder->segment->size_bytes;
    uint64_t at = FILE_HEADER_BYTES;
    int rc = 0;

    while (rc == 0 && at < size_bytes) {
        int kind = BLOCK_UNREADABLE;
        uint64_t limit = size_bytes - at < BLOCK_MAX_BYTES ? size_bytes : at + BLOCK_MAX_BYTES;
        uint64_t end = find_end(finder, at, limit, &kind);
        if (end == 0) {
            uint64_t next = resync(finder, at);
            rc = found_blocks_add(blocks, at, next - at, BLOCK_UNREADABLE);
            at = next;
            continue;
        }
        rc = found_blocks_add(blocks, at, end - at, kind);
        at = end + BLOCK_TRAILER_BYTES;
        if (kind == BLOCK_PROPERTIES)
            break; /* the footer says nothing more */
    }
    return rc;
}

int salvage_find_blocks(const struct segment *segment, struct found_blocks *blocks,
                        struct varve_err *err)
{
    struct finder finder = {.segment = segment, .window = mem_alloc(WINDOW_BYTES)};
    int rc = finder.window == NULL ? VARVE_ENOMEM : find_all(&finder, blocks);

    mem_free(finder.window);
    return rc == 0 ? 0 : err_set(err, rc, "%s: no memory to look for blocks", segment->path);
}
