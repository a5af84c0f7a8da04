#include "types/walk.h"

#include "base/err.h"
#include "base/glob.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "varve/iter.h"

#define CANCEL_EVERY 256

struct walk {
    struct varve_db *db;
    struct varve_read read;
    uint64_t space_id;
    const struct walk_query *query;
    const atomic_int *cancelled;
    struct walk_page *page;
    struct varve_iter *iter; /* NULL: a round begins */
    int wrapped;             /* 1: this is the second round */
    uint64_t now_ms;
    size_t prefix_len;
    uint64_t left; /* records that this step may look at */
    uint64_t steps;
    uint32_t hash; /* of the last one */
    int full;      /* 1: the page ended in front of a record */
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

/* 0 and *wanted, or a status, VARVE_WOULD_BLOCK among them: a value may lie elsewhere than its key. */
static int look(struct walk *walk, struct varve_slice name, int *wanted, struct varve_err *err)
{
    const struct walk_query *query = walk->query;
    enum value_encoding encoding;
    struct varve_slice payload;
    enum value_type type;

    *wanted = 1;
    if (query->has_pattern) {
        int matches = glob_match_steps(query->pattern, name, 0, &walk->steps);
        if (matches < 0)
            return err_set(err, VARVE_EINVAL, "the pattern is too costly for a name of %zu bytes",
                           name.len);
        *wanted = matches;
    }
    if (!*wanted || query->type == WALK_ANY_TYPE)
        return 0;
    struct varve_slice value = varve_iter_value(walk->iter);
    if (!varve_iter_valid(walk->iter))
        return varve_iter_status(walk->iter, err);
    if (value_decode(value, &type, &encoding, &payload) != 0)
        return err_set(err, VARVE_ECORRUPT, "a value does not decode");
    *wanted = (int)type == query->type;
    return 0;
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

/* Takes the record that the iterator stands on, unless the page is full: 0, or a status. */
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
        walk->full = 1;
        return 0;
    }
    walk->hash = hash;
    walk->page->visits++;
    note_expiry(walk, expire_ms);
    if (expired != walk->query->expired)
        return 0;
    int wanted = 0;
    rc = look(walk, name, &wanted, err);
    if (rc != 0 || !wanted)
        return rc;
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
    while (varve_iter_valid(walk->iter)) {
        if (is_cancelled(walk))
            return err_set(err, VARVE_EINVAL, "the walk was cancelled");
        if (walk->left == 0)
            return WALK_MORE;
        walk->left--;
        int rc = take(walk, err);
        if (rc != 0 || walk->full)
            return rc;
        varve_iter_next(walk->iter);
    }
    return varve_iter_status(walk->iter, err);
}

/* To the first of the names whose hashes lie in [from, upto). */
static int round_begin(struct walk *walk, uint64_t from, uint64_t upto, struct varve_err *err)
{
    struct key_prefix space;
    struct key_prefix behind;
    struct name_prefix low;
    struct name_prefix high;

    key_prefix_set(&space, walk->space_id, KEY_TAG_NAME);
    key_prefix_set(&behind, walk->space_id, KEY_TAG_NAME + 1);
    name_prefix_set(&low, &space, (uint32_t)from);
    name_prefix_set(&high, &space, (uint32_t)upto);
    walk->prefix_len = space.len;
    struct varve_slice lower = name_prefix_slice(&low);
    struct varve_slice upper = upto == WALK_HASH_END ? key_prefix_slice(&behind)
                                                     : name_prefix_slice(&high);
    walk->iter = varve_iter_create(walk->db, &walk->read, &lower, &upper, err);
    if (walk->iter == NULL)
        return VARVE_ENOMEM;
    if (varve_iter_as_of(walk->iter) < walk->page->as_of)
        walk->page->as_of = varve_iter_as_of(walk->iter);
    varve_iter_first(walk->iter);
    return 0;
}

static int round_step(struct walk *walk, struct varve_err *err)
{
    uint64_t from_hash = walk->query->from_hash;
    int rc = 0;

    if (walk->iter == NULL)
        rc = walk->wrapped ? round_begin(walk, 0, from_hash, err)
                           : round_begin(walk, from_hash, WALK_HASH_END, err);
    if (rc == 0)
        rc = take_all(walk, err);
    if (rc == WALK_MORE)
        return rc;
    varve_iter_destroy(walk->iter);
    walk->iter = NULL;
    return rc;
}

/* ---- whole walks ---- */

static void walk_init(struct walk *walk, struct varve_db *db, const struct varve_read *read,
                      uint64_t space_id, const struct walk_query *query, struct walk_page *page)
{
    *walk = (struct walk){.db = db,
                          .read = *read,
                          .space_id = space_id,
                          .query = query,
                          .page = page,
                          .now_ms = read->now_ms,
                          .steps = query->pattern_steps};
    walk->read.dead = query->expired;
    buf_clear(&page->names);
    *page = (struct walk_page){.names = page->names,
                               .next_hash = WALK_HASH_END,
                               .as_of = UINT64_MAX,
                               .first_ms = UINT64_MAX};
}

struct walk *walk_create(struct varve_db *db, const struct varve_read *read, uint64_t space_id,
                         const struct walk_query *query, const atomic_int *cancelled,
                         struct walk_page *page)
{
    struct walk *walk = mem_alloc(sizeof(*walk));

    if (walk == NULL)
        return NULL;
    walk_init(walk, db, read, space_id, query, page);
    walk->cancelled = cancelled;
    return walk;
}

void walk_destroy(struct walk *walk)
{
    if (walk == NULL)
        return;
    varve_iter_destroy(walk->iter);
    mem_free(walk);
}

int walk_step(struct walk *walk, uint64_t records, struct varve_err *err)
{
    const struct walk_query *query = walk->query;

    walk->left = records;
    if (query->from_hash >= WALK_HASH_END)
        return 0;
    int rc = round_step(walk, err);
    if (rc != 0 || !query->wraps || walk->wrapped || walk->full || query->from_hash == 0)
        return rc;
    walk->wrapped = 1;
    return round_step(walk, err);
}

int walk_run(struct varve_db *db, const struct varve_read *read, uint64_t space_id,
             const struct walk_query *query, struct walk_page *page, struct varve_err *err)
{
    struct walk walk;

    walk_init(&walk, db, read, space_id, query, page);
    return walk_step(&walk, UINT64_MAX, err);
}
