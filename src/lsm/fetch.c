/* What a caller that must not wait has brought into memory by a READ job. */
#include "lsm/db.h"

#include "base/mem.h"
#include "base/mutant.h"

struct request {
    struct varve_job job;
    struct varve_db *db;
    struct varve_fetch *fetch;
    struct varve_read read;
    struct varve_pin pin;    /* keeps what was fetched in memory */
    struct version *version; /* that it was read from; NULL: from another one, or not at all */
    int answer;              /* 0 or VARVE_NOT_FOUND */
    struct count_turn count; /* its db is NULL if a key is read */
    size_t key_len;
    uint8_t key[];
};

static void request_get(struct varve_job *job)
{
    struct request *request = CONTAINER_OF(job, struct request, job);
    struct varve_fetch *fetch = request->fetch;

    struct view *view = view_acquire(&request->db->view);
    int rc = varve_get(request->db, &request->read, varve_slice(request->key, request->key_len),
                       &request->pin, NULL);

    rcu_enter();
    if (rc >= 0 && view_current(&request->db->view)->version == view->version)
        request->version = version_ref(view->version);
    rcu_leave();
    view_release(&request->db->view, view);
    request->answer = rc;
    fetch->rc = rc < 0 ? rc : 0; /* that there is nothing is an answer */
    fetch->done(fetch);
}

static void request_count(struct varve_job *job)
{
    struct request *request = CONTAINER_OF(job, struct request, count.job);
    struct varve_fetch *fetch = request->fetch;

    fetch->rc = count_turn_run(&request->count, &fetch->count);
    fetch->done(fetch);
}

static struct request *request_create(struct varve_db *db, struct varve_slice key,
                                      struct varve_fetch *fetch)
{
    struct request *request = mem_alloc(sizeof(*request) + key.len);

    fetch->request = request;
    fetch->count = 0;
    fetch->rc = 0;
    if (request == NULL)
        return NULL;
    *request = (struct request){.db = db, .fetch = fetch, .key_len = key.len};
    if (key.len > 0)
        memcpy(request->key, key.data, key.len);
    atomic_fetch_add(&db->fetches, 1);
    return request;
}

int varve_fetch_start(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_fetch *fetch)
{
    struct request *request = request_create(db, key, fetch);

    if (request == NULL)
        return VARVE_ENOMEM;
    if (read != NULL)
        request->read = *read;
    request->read.no_wait = 0;
    request->read.fetched = NULL;
    request->read.dead = 1;        /* the read itself looks at the time */
    request->read.uncommitted = 0; /* what is open is in memory */
    request->job.run = request_get;
    db->options.executor->submit(db->options.executor, VARVE_JOB_READ, &request->job);
    return 0;
}

static int fetch_count(struct varve_db *db, struct varve_slice group, int about,
                       struct varve_fetch *fetch)
{
    if (group.len == 0 || group.len > VARVE_GROUP_MAX_BYTES)
        return VARVE_EINVAL;
    struct request *request = request_create(db, varve_slice(NULL, 0), fetch);
    if (request == NULL)
        return VARVE_ENOMEM;
    request->count.job.run = request_count;
    int rc = count_turn_start(&request->count, db, group, about);
    if (rc != 0)
        varve_fetch_release(fetch);
    return rc;
}

int varve_fetch_count(struct varve_db *db, struct varve_slice group, struct varve_fetch *fetch)
{
    return fetch_count(db, group, 0, fetch);
}

int varve_fetch_count_about(struct varve_db *db, struct varve_slice group,
                            struct varve_fetch *fetch)
{
    return fetch_count(db, group, 1, fetch);
}

/* The caller's memtables say nothing of the key, and its version is the one that was read: so the answer
 * is still the same. One that lay in a memtable is none: the read would have found it there. */
int fetch_find(const struct varve_read *read, const struct version *version, struct varve_slice key,
               struct varve_pin *pin)
{
    for (const struct varve_fetch *fetch = read->fetched; fetch != NULL; fetch = fetch->next) {
        const struct request *request = fetch->request;
        if ((request->version != version && !MUTANT("fetch-of-old-version")) ||
            request->read.snapshot != read->snapshot ||
            !varve_slice_equal(varve_slice(request->key, request->key_len), key) ||
            request->pin.owner[PIN_MEMTABLE] != NULL)
            continue;
        *pin = request->pin;
        pin->kept = 0;
        varve_pin_keep(pin);
        return request->answer;
    }
    return VARVE_WOULD_BLOCK;
}

void varve_fetch_cancel(struct varve_fetch *fetch)
{
    struct request *request = fetch->request;

    if (request->count.db != NULL)
        count_turn_cancel(&request->count);
}

void varve_fetch_release(struct varve_fetch *fetch)
{
    struct request *request = fetch->request;

    fetch->request = NULL;
    if (request == NULL)
        return;
    struct varve_db *db = request->db;
    varve_pin_release(&request->pin);
    version_unref(request->version);
    count_turn_deinit(&request->count);
    mem_free(request);
    atomic_fetch_sub(&db->fetches, 1);
}
