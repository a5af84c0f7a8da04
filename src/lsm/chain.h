/* chain.h - what happened to one thing, newest first: links with falling sequence numbers, never
 * changed once made, so that readers walk them without a lock and lists may share their tails.
 *
 * Each link but the oldest has in front of it a jump to an older one, laid out as skew-binary
 * numbers (Myers: "An applicative random-access stack", IPL 1983): finding a link takes
 * O(log length) steps, so an old snapshot of a counter stays cheap. */
#ifndef LSM_CHAIN_H
#define LSM_CHAIN_H

#include <stddef.h>
#include <stdint.h>

struct chain {
    const struct chain *older; /* NULL: the oldest */
    uint64_t seq;
};

struct chain_jump {
    const struct chain *to;
    uint64_t depth; /* links below this one */
};

/* Bytes that must lie in front of a link that goes on top of older. */
static inline size_t chain_front_bytes(const struct chain *older)
{
    return older == NULL ? 0 : sizeof(struct chain_jump);
}

static inline const struct chain_jump *chain_jump(const struct chain *link)
{
    return (const struct chain_jump *)(const void *)link - 1;
}

static inline uint64_t chain_depth(const struct chain *link)
{
    return link->older == NULL ? 0 : chain_jump(link)->depth;
}

/* Makes link the newest of what it is put on; seq is above older's. */
static inline void chain_init(struct chain *link, const struct chain *older, uint64_t seq)
{
    *link = (struct chain){.older = older, .seq = seq};
    if (older == NULL)
        return;
    struct chain_jump *jump = (struct chain_jump *)(void *)link - 1;
    *jump = (struct chain_jump){.to = older, .depth = chain_depth(older) + 1};
    if (older->older == NULL)
        return;
    const struct chain *far = chain_jump(older)->to;
    if (far->older == NULL)
        return;
    uint64_t near_len = chain_depth(older) - chain_depth(far);
    uint64_t far_len = chain_depth(far) - chain_depth(chain_jump(far)->to);
    if (near_len == far_len)
        jump->to = chain_jump(far)->to;
}

/* The newest link with a sequence <= seq_max, or NULL. link may be NULL. */
static inline const struct chain *chain_find(const struct chain *link, uint64_t seq_max)
{
    while (link != NULL && link->seq > seq_max) {
        if (link->older == NULL)
            return NULL;
        const struct chain *far = chain_jump(link)->to;
        link = far->seq > seq_max ? far : link->older;
    }
    return link;
}

#endif
