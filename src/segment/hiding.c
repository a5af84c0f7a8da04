/* A filter says "may be there" of a key that is not, once in a hundred; of eight filters one does so once in
 * twelve. How often it is here is measured: the same filters are asked for a hash that is nobody's. */
#include "segment/hiding.h"

#include "base/mutant.h"

#define EACH_BYTES 8192 /* a key is asked for, on the average */

void hiding_init(struct hiding *hiding, hiding_older_fn older, void *arg)
{
    *hiding = (struct hiding){.older = older, .arg = arg, .next = EACH_BYTES / 2};
}

void hiding_add(struct hiding *hiding, struct varve_slice key, uint64_t bytes, int is_delete)
{
    if (hiding->older == NULL)
        return;
    if (is_delete) {
        hiding->deletes += bytes;
        return;
    }
    hiding->puts += bytes;
    hiding->since += bytes;
    if (hiding->since < hiding->next)
        return;
    struct bloom_hash hash = bloom_hash(key);
    struct bloom_hash nobody = {{hash.half[1], hash.half[0]}};
    hiding->asked += hiding->since;
    if (hiding->older(hiding->arg, key, hash))
        hiding->held += hiding->since;
    if (hiding->older(hiding->arg, key, nobody) && !MUTANT("hiding-trusts-filters"))
        hiding->by_chance += hiding->since;
    hiding->since = 0;
    /* Not each n-th: keys may alternate between what is overwritten and what is not. */
    hiding->next = EACH_BYTES / 2 + (hash.half[0] & (EACH_BYTES - 1));
}

uint64_t hiding_bytes(const struct hiding *hiding)
{
    double share = 1;

    if (hiding->held < hiding->by_chance)
        share = 0;
    else if (hiding->by_chance < hiding->asked)
        share = (double)(hiding->held - hiding->by_chance) /
                (double)(hiding->asked - hiding->by_chance);
    return hiding->deletes + (uint64_t)((double)hiding->puts * share);
}
