#include "lsm/art_node.h"

/* The smallest (byte ^ flip) - low, modulo 256, of the first `used` bytes; 255 too if there is
 * none. `all` is a constant at each call, so that this becomes vector code. */
static inline __attribute__((always_inline)) uint8_t
array_gap_min(const uint8_t *bytes, uint8_t all, uint8_t used, uint8_t low, uint8_t flip)
{
    uint8_t min = 255;

    for (uint8_t i = 0; i < all; i++) {
        uint8_t gap = (uint8_t)((bytes[i] ^ flip) - low);
        gap = i < used ? gap : 255;
        min = gap < min ? gap : min;
    }
    return min;
}

/* Steps among the unsorted children of a small node. Downwards is upwards over flipped bytes. */
static int array_step(struct art_node *node, int at, enum art_direction direction, uintptr_t *ref)
{
    uint8_t used = (uint8_t)atomic_load_explicit(&node->count, memory_order_acquire);
    uint8_t flip = direction == ART_UP ? 0 : 0xff;
    int low = direction == ART_UP ? at : ART_AT_BEHIND - at;
    uint64_t words[4] = {0};
    uint8_t bytes[sizeof(words)];
    uint8_t gap;

    if (low > 255)
        return -1;
    if (low < 0)
        low = 0;
    for (uint32_t i = 0; i * 8 < used; i++)
        words[i] = atomic_load_explicit(&art_array_bytes(node)[i], memory_order_relaxed);
    memcpy(bytes, words, sizeof(bytes));
    if (used <= 8)
        gap = array_gap_min(bytes, 8, used, (uint8_t)low, flip);
    else if (used <= 16)
        gap = array_gap_min(bytes, 16, used, (uint8_t)low, flip);
    else
        gap = array_gap_min(bytes, 32, used, (uint8_t)low, flip);
    if (gap > 255 - low)
        return -1; /* what is nearest lies on the other side */
    uint8_t byte = (uint8_t)(gap + low) ^ flip;
    art_slot *slot = art_array_find(node, byte);
    if (slot == NULL)
        return -1;
    *ref = art_load(slot);
    return 1 + byte;
}

static int node64_step(struct art_node64 *node, int at, enum art_direction direction,
                       uintptr_t *ref)
{
    int byte = direction == ART_UP ? (at < 0 ? 0 : at) : at - 2;

    while (byte >= 0 && byte <= 255) {
        uint64_t word = atomic_load_explicit(&node->index[byte / 8], memory_order_acquire);
        int shift = byte % 8 * 8;
        if (direction == ART_UP && (word >> shift) != 0) {
            byte += __builtin_ctzll(word >> shift) / 8;
        } else if (direction == ART_DOWN && (word << (56 - shift)) != 0) {
            byte -= __builtin_clzll(word << (56 - shift)) / 8;
        } else {
            byte = direction == ART_UP ? (byte | 7) + 1 : (byte & ~7) - 1;
            continue;
        }
        *ref = art_load(&node->child[(uint8_t)(word >> (byte % 8 * 8)) - 1]);
        return 1 + byte;
    }
    return -1;
}

static int node256_step(struct art_node256 *node, int at, enum art_direction direction,
                        uintptr_t *ref)
{
    int by = direction == ART_UP ? 1 : -1;

    for (int byte = direction == ART_UP ? (at < 0 ? 0 : at) : at - 2; byte >= 0 && byte <= 255;
         byte += by) {
        *ref = art_load(&node->child[byte]);
        if (*ref != 0)
            return 1 + byte;
    }
    return -1;
}

int art_node_step(struct art_node *node, int at, enum art_direction direction, uintptr_t *ref)
{
    int to;

    if (direction == ART_UP && at == ART_AT_BEFORE) {
        *ref = art_load(&node->end);
        if (*ref != 0)
            return 0;
    }
    switch (node->kind) {
    case ART_NODE256: to = node256_step((struct art_node256 *)node, at, direction, ref); break;
    case ART_NODE64: to = node64_step((struct art_node64 *)node, at, direction, ref); break;
    default: to = array_step(node, at, direction, ref); break;
    }
    if (to < 0 && direction == ART_DOWN && at > 0) {
        *ref = art_load(&node->end);
        if (*ref != 0)
            return 0;
    }
    return to;
}
