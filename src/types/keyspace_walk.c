/* Walks over a database's names, for commands that must not wait: a short one is made at once if all that it
 * needs is in memory; else it is a READ job, for which the command is parked as for a cold key. A job sees what
 * is committed, so a caller that needs the open group commits first; in a transaction (keyspace_mark()), whose
 * writes nobody else may see, the walk waits for the disk instead. */
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "types/keyspace_private.h"

#define AT_ONCE_VISITS ((uint64_t)256)
#define AT_ONCE_PASSES ((uint64_t)2048) /* of deleted and expired names */
#define AT_ONCE_STEPS ((uint64_t)1000000)
#define SAMPLE_VISITS ((uint64_t)20000)
#define SCATTER UINT64_C(2654435761) /* each millisecond another place */
#define JOB_STEPS ((uint64_t)1 << 40)
#define JOB_RECORDS ((uint64_t)2048)

/* A walk as a job, from keyspace_fetch() to keyspace_fetch_release(). */
struct walk_job {
    struct varve_job job;
    struct varve_fetch *fetch; /* whose done() ends it */
    struct walk_job *next_known;
    struct varve_executor *executor;
    struct walk *walk; /* NULL once it has ended */
    uint64_t space_id;
    struct walk_query query;
    struct buf pattern;
    atomic_int cancelled;
    struct walk_page page;
    int rc;
    struct varve_err err;
};

void keyspace_set_executor(struct keyspace *keyspace, struct varve_executor *executor)
{
    keyspace->executor = executor;
}

/* A part of it a job: with a few walks over many names those who wait for a block would wait long. */
static void run_job(struct varve_job *base)
{
    struct walk_job *job = CONTAINER_OF(base, struct walk_job, job);

    job->rc = walk_step(job->walk, MUTANT("walk-gives-no-way") ? UINT64_MAX : JOB_RECORDS,
                        &job->err);
    if (job->rc == WALK_MORE) {
        job->executor->submit(job->executor, VARVE_JOB_READ, base);
        return;
    }
    walk_destroy(job->walk);
    job->walk = NULL;
    job->fetch->rc = 0; /* its own errors are told from here, not by a second walk */
    job->fetch->done(job->fetch);
}

void walk_job_free(struct walk_job *job)
{
    if (job == NULL)
        return;
    walk_destroy(job->walk);
    walk_page_deinit(&job->page);
    buf_deinit(&job->pattern);
    mem_free(job);
}

void walk_job_cancel(struct walk_job *job)
{
    atomic_store_explicit(&job->cancelled, 1, memory_order_relaxed);
}

void walk_job_know(struct keyspace *keyspace, struct walk_job *job)
{
    job->next_known = keyspace->known_walks;
    keyspace->known_walks = job;
}

static const struct walk_job *known_walk(const struct keyspace *keyspace, uint64_t space_id)
{
    const struct walk_job *job = keyspace->known_walks;

    while (job != NULL && job->space_id != space_id)
        job = job->next_known;
    return job;
}

int walk_job_start(struct keyspace *keyspace, const struct wanted_walk *wanted,
                   struct varve_fetch *fetch, struct walk_job **started)
{
    struct varve_read read = {.now_ms = wanted->now_ms, .no_fill = 1};
    struct walk_job *job = mem_alloc_zero(sizeof(*job));

    *started = NULL;
    if (job == NULL)
        return VARVE_ENOMEM;
    walk_page_init(&job->page);
    buf_init(&job->pattern, VARVE_KEY_MAX_BYTES);
    job->job.run = run_job;
    job->fetch = fetch;
    job->executor = keyspace->executor;
    job->space_id = wanted->space_id;
    job->query = wanted->query;
    job->query.pattern_steps = JOB_STEPS;
    job->walk = walk_create(keyspace->db, &read, wanted->space_id, &job->query, &job->cancelled,
                            &job->page);
    if (job->walk == NULL ||
        buf_append(&job->pattern, wanted->query.pattern.data, wanted->query.pattern.len) != 0) {
        walk_job_free(job);
        return VARVE_ENOMEM;
    }
    job->query.pattern = buf_slice(&job->pattern);
    *started = job;
    keyspace->executor->submit(keyspace->executor, VARVE_JOB_READ, &job->job);
    return 0;
}

static int walk_here(struct keyspace *keyspace, uint64_t space_id, const struct walk_query *query,
                     uint64_t now_ms, int no_wait, struct varve_err *err)
{
    struct varve_read read = {.now_ms = now_ms,
                              .uncommitted = 1,
                              .no_wait = no_wait,
                              .no_fill = 1,
                              .passes_max = AT_ONCE_PASSES};

    return walk_run(keyspace->db, &read, space_id, query, &keyspace->page, err);
}

int keyspace_walk(struct keyspace *keyspace, int db, const struct walk_query *query,
                  uint64_t now_ms, const struct walk_page **page, uint64_t *seq,
                  struct varve_err *err)
{
    struct walk_query at_once = *query;
    struct space space;
    int rc = keyspace_space_now(keyspace, db, &space, seq, err);

    *page = &keyspace->page;
    at_once.pattern_steps = AT_ONCE_STEPS;
    if (rc != 0)
        return rc;
    if (space.id == 0) /* nothing to walk over, and so nothing to wait for */
        at_once.from_hash = WALK_HASH_END;
    else
        keyspace_saw_newest(keyspace, seq);
    const struct walk_job *job = space.id == 0 ? NULL : known_walk(keyspace, space.id);
    if (job != NULL) {
        *page = &job->page;
        return job->rc == 0 ? 0 : err_set(err, job->rc, "%s", err_text(&job->err));
    }
    if (space.id == 0 || (query->visits_max != 0 && query->visits_max <= AT_ONCE_VISITS)) {
        rc = walk_here(keyspace, space.id, &at_once, now_ms, 1, err);
        if (rc != VARVE_WOULD_BLOCK && rc != VARVE_EINVAL)
            return rc;
    }
    if (keyspace->marked || keyspace->executor == NULL || keyspace->blocked.wait) {
        at_once.pattern_steps = JOB_STEPS;
        return walk_here(keyspace, space.id, &at_once, now_ms, 0, err);
    }
    const struct wanted_walk wanted = {.space_id = space.id, .now_ms = now_ms, .query = *query};
    return keyspace_note_walk(keyspace, &wanted, err);
}

/* ---- names with an expiry ---- */

static int put_nothing(struct buf *page, struct varve_slice name, uint64_t seq)
{
    (void)page;
    (void)name;
    (void)seq;
    return 0;
}

int keyspace_has_expiring(struct keyspace *keyspace, uint64_t space_id)
{
    struct key_prefix begin;
    struct key_prefix end;

    key_prefix_set(&begin, space_id, KEY_TAG_NAME);
    key_prefix_set(&end, space_id, KEY_TAG_NAME + 1);
    return varve_expiring(keyspace->db, key_prefix_slice(&begin), key_prefix_slice(&end)) > 0;
}

int keyspace_expiring(struct keyspace *keyspace, int db, uint64_t names, uint64_t now_ms,
                      struct keyspace_expiring *expiring, struct varve_err *err)
{
    struct walk_query query = {
        .visits_max = AT_ONCE_VISITS, .type = WALK_ANY_TYPE, .expired = 1, .put = put_nothing};
    uint64_t space_id = space_of(keyspace, db)->id;
    const struct walk_page *page;
    uint64_t seq = 0;

    *expiring = (struct keyspace_expiring){0};
    if (space_id == 0 || !keyspace_has_expiring(keyspace, space_id))
        return 0;
    if (names > VARVE_COUNT_EXACT_MAX) {
        query.visits_max = SAMPLE_VISITS;
        query.from_hash = now_ms * SCATTER % WALK_HASH_END;
        query.wraps = 1;
    } else if (names > AT_ONCE_VISITS) {
        query.visits_max = 0;
    }
    int rc = keyspace_walk(keyspace, db, &query, now_ms, &page, &seq, err);
    if (rc != 0 || page->visits == 0)
        return rc;
    double part = (double)page->expiring / (double)page->visits;
    expiring->names = names > VARVE_COUNT_EXACT_MAX ? (uint64_t)((double)names * part)
                                                    : page->expiring;
    if (page->expiring > page->count)
        expiring->ttl_ms = page->ttl_ms / (page->expiring - page->count);
    return 0;
}
