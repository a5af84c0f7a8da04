#include "types/walk.h"

#include "base/err.h"
#include "base/glob.h"
#include "base/mutant.h"
#include "varve/iter.h"

#define CANCEL_EVERY 256

struct walk {
    const struct walk_query *query;
    const atomic_int *cancelled;
    struct walk_page *page;
    struct varve_iter *iter;
    uint64_t now_ms;
    size_t prefix_len;
    uint64_t steps;
    uint32_t hash; /* of the last one */
};

void walk_page_init(struct walk_page *page)
{
    *page = (struct walk_page){.next_hash = WALK_HASH_END, .first_ms = UINT64_MAX};
    buf_init(&page->names, SIZE_MAX / 2);
}

void walk_page_deinit(struct walk_page *page)
{
    buf_deinit(&page->names);
}

/* 1: the name is wanted. Negative: an error. */
static int is_wanted(struct walk *walk, struct varve_slice name, struct varve_err *err)
{
    const struct walk_query *query = walk->query;
    enum value_encoding encoding;
    struct varve_slice payload;
    enum value_type type;

    if (query->has_pattern) {
        int matches = glob_match_steps(query->pattern, name, 0, &walk->steps);
        if (matches < 0)
            return err_set(err, VARVE_EINVAL, "the pattern is too costly for a name of %zu bytes",
                           name.len);
        if (!matches)
            return 0;
    }
    if (query->type == WALK_ANY_TYPE)
        return 1;
    struct varve_slice value = varve_iter_value(walk->iter);
    if (!varve_iter_valid(walk->iter))
        return varve_iter_status(walk->iter, err);
    if (value_decode(value, &type, &encoding, &payload) != 0)
        return err_set(err, VARVE_ECORRUPT, "a value does not decode");
    return (int)type == query->type;
}

/* 1: the page ends in front of this record. */
static int page_ends(struct walk *walk, uint32_t hash)
{
    const struct walk_query *query = walk->query;

    if (query->takes_max != 0 && walk->page->count >= query->takes_max)
        return 1;
    if (query->bytes_max != 0 && walk->page->names.len >= query->bytes_max)
        return 1;
    return query->visits_max != 0 && walk->page->visits >= query->visits_max &&
           (hash != walk->hash || MUTANT("scan-cuts-a-hash"));
}

static void note_expiry(struct walk *walk, uint64_t expire_ms)
{
    struct walk_page *page = walk->page;

    if (expire_ms == 0)
        return;
    page->expiring++;
    if (expire_ms <= walk->now_ms)
        return;
    page->ttl_ms += expire_ms - walk->now_ms;
    if (expire_ms < page->first_ms)
        page->first_ms = expire_ms;
}

/* Takes the record that the iterator stands on. 1: the page ended before it. */
static int take(struct walk *walk, struct varve_err *err)
{
    struct varve_slice key = varve_iter_key(walk->iter);
    uint64_t expire_ms = varve_iter_expire_ms(walk->iter);
    int expired = expire_ms != 0 && expire_ms <= walk->now_ms;
    struct varve_slice name;
    int rc = name_of_key(key, walk->prefix_len, &name);

    if (rc != 0)
        return err_set(err, rc, "a key of its space has not the hash of its name");
    uint32_t hash = name_hash(name);
    if (page_ends(walk, hash)) {
        walk->page->next_hash = (uint64_t)hash + (uint64_t)MUTANT("scan-skips-a-hash");
        return 1;
    }
    walk->hash = hash;
    walk->page->visits++;
    note_expiry(walk, expire_ms);
    if (expired != walk->query->expired)
        return 0;
    int wanted = is_wanted(walk, name, err);
    if (wanted <= 0)
        return wanted;
    rc = walk->query->put(&walk->page->names, name, varve_iter_seq(walk->iter));
    if (rc != 0)
        return err_set(err, rc, "no memory for the names of a page");
    walk->page->count++;
    return 0;
}

static int is_cancelled(const struct walk *walk)
{
    return walk->cancelled != NULL && walk->page->visits % CANCEL_EVERY == 0 &&
           atomic_load_explicit(walk->cancelled, memory_order_relaxed);
}

static int take_all(struct walk *walk, struct varve_err *err)
{
    int rc = 0;

    for (; rc == 0 && varve_iter_valid(walk->iter); varve_iter_next(walk->iter)) {
        if (is_cancelled(walk))
            return err_set(err, VARVE_EINVAL, "the walk was cancelled");
        rc = take(walk, err);
        if (rc != 0)
            break;
    }
    if (rc > 0)
        return 0; /* the page is full */
    return rc < 0 ? rc : varve_iter_status(walk->iter, err);
}

/* The names whose hashes lie in [from, upto). */
static int walk_between(struct walk *walk, struct varve_db *db, const struct varve_read *read,
                        uint64_t space_id, uint64_t from, uint64_t upto, struct varve_err *err)
{
    struct key_prefix space;
    struct key_prefix behind;
    struct name_prefix low;
    struct name_prefix high;

    key_prefix_set(&space, space_id, KEY_TAG_NAME);
    key_prefix_set(&behind, space_id, KEY_TAG_NAME + 1);
    name_prefix_set(&low, &space, (uint32_t)from);
    name_prefix_set(&high, &space, (uint32_t)upto);
    walk->prefix_len = space.len;
    struct varve_slice lower = name_prefix_slice(&low);
    struct varve_slice upper = upto == WALK_HASH_END ? key_prefix_slice(&behind)
                                                     : name_prefix_slice(&high);
    walk->iter = varve_iter_create(db, read, &lower, &upper, err);
    if (walk->iter == NULL)
        return VARVE_ENOMEM;
    if (varve_iter_as_of(walk->iter) < walk->page->as_of)
        walk->page->as_of = varve_iter_as_of(walk->iter);
    varve_iter_first(walk->iter);
    int rc = take_all(walk, err);
    varve_iter_destroy(walk->iter);
    return rc;
}

int walk_run(struct varve_db *db, const struct varve_read *read, uint64_t space_id,
             const struct walk_query *query, const atomic_int *cancelled, struct walk_page *page,
             struct varve_err *err)
{
    struct varve_read how = *read;
    struct walk walk = {.query = query,
                        .cancelled = cancelled,
                        .page = page,
                        .now_ms = read->now_ms,
                        .steps = query->pattern_steps};

    how.dead = query->expired;
    buf_clear(&page->names);
    *page = (struct walk_page){.names = page->names,
                               .next_hash = WALK_HASH_END,
                               .as_of = UINT64_MAX,
                               .first_ms = UINT64_MAX};
    if (query->from_hash >= WALK_HASH_END)
        return 0;
    int rc = walk_between(&walk, db, &how, space_id, query->from_hash, WALK_HASH_END, err);
    if (rc == 0 && query->wraps && page->next_hash == WALK_HASH_END && query->from_hash > 0)
        rc = walk_between(&walk, db, &how, space_id, 0, query->from_hash, err);
    return rc;
}
