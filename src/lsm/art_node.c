#include "lsm/art_node.h"

/* Brings the set up to what the node holds now. */
static void byte_set_update(struct art_byte_set *set, struct art_node *node)
{
    uint32_t count = atomic_load_explicit(&node->count, memory_order_acquire);
    const _Atomic uint64_t *bytes = art_array_bytes(node);

    while (set->count < count) {
        uint64_t word = atomic_load_explicit(&bytes[set->count / 8], memory_order_relaxed);
        uint8_t byte = (uint8_t)(word >> (set->count % 8 * 8));
        set->words[byte / 64] |= (uint64_t)1 << (byte % 64);
        set->count++;
    }
}

/* The nearest member from `byte` on in a direction, itself included; -1: none. */
static int byte_set_near(const struct art_byte_set *set, int byte, enum art_direction direction)
{
    while (byte >= 0 && byte <= 255) {
        uint64_t word = set->words[byte / 64];
        int shift = byte % 64;
        if (direction == ART_UP) {
            if ((word >> shift) != 0)
                return byte + __builtin_ctzll(word >> shift);
            byte = (byte | 63) + 1;
        } else {
            if ((word << (63 - shift)) != 0)
                return byte - __builtin_clzll(word << (63 - shift));
            byte = (byte & ~63) - 1;
        }
    }
    return -1;
}

static int array_step(struct art_node *node, int at, enum art_direction direction,
                      struct art_byte_set *seen, uintptr_t *ref)
{
    byte_set_update(seen, node);
    int byte = byte_set_near(seen, direction == ART_UP ? (at < 0 ? 0 : at) : at - 2, direction);
    if (byte < 0)
        return -1;
    *ref = art_load(art_array_find(node, (uint8_t)byte));
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

int art_node_step(struct art_node *node, int at, enum art_direction direction,
                  struct art_byte_set *seen, uintptr_t *ref)
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
    default: to = array_step(node, at, direction, seen, ref); break;
    }
    if (to < 0 && direction == ART_DOWN && at > 0) {
        *ref = art_load(&node->end);
        if (*ref != 0)
            return 0;
    }
    return to;
}
