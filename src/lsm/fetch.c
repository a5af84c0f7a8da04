/* What a caller that must not wait has brought into memory by a READ job. */
#include "lsm/db.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

struct request {
    struct varve_job job;
    struct varve_db *db;
    struct varve_fetch *fetch;
    struct varve_read read;
    struct varve_pin pin; /* keeps what was fetched in memory */
    uint64_t seq;         /* it answers for all up to here */
    int answer;           /* 0, VARVE_NOT_FOUND, or an error */
    struct varve_err err;
    struct count_turn count; /* its db is NULL if a key is read */
    size_t key_len;
    uint8_t key[];
};

static void request_get(struct varve_job *job)
{
    struct request *request = CONTAINER_OF(job, struct request, job);
    struct varve_fetch *fetch = request->fetch;

    /* A snapshot sees nothing of what is written later. */
    request->seq = request->read.snapshot != NULL ? UINT64_MAX
                                                  : db_read_seq(request->db, &request->read);
    int rc = varve_get(request->db, &request->read, varve_slice(request->key, request->key_len),
                       &request->pin, &request->err);
    /* What lies in a memtable answers nobody, and its release may be the memtable's end, which takes long. */
    if (request->pin.owner[PIN_MEMTABLE] != NULL) {
        varve_pin_release(&request->pin);
        rc = VARVE_WOULD_BLOCK;
    }
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

/* The caller's memtables say nothing of the key up to `seq`, and its segments hold nothing that is newer than
 * what the fetch saw: so the answer is still the same, however they were merged since. What a fetch found in a
 * memtable is none: the read would have found it there, or it was flushed meanwhile. */
int fetch_find(const struct varve_read *read, uint64_t flushed_seq, uint64_t seq,
               struct varve_slice key, struct varve_pin *pin, struct varve_err *err)
{
    for (const struct varve_fetch *fetch = read->fetched; fetch != NULL; fetch = fetch->next) {
        const struct request *request = fetch->request;
        if (request->read.snapshot != read->snapshot ||
            !varve_slice_equal(varve_slice(request->key, request->key_len), key) ||
            request->answer == VARVE_WOULD_BLOCK)
            continue;
        if (request->answer < 0)
            return err_set(err, request->answer, "%s", err_text(&request->err));
        if (request->pin.seq > seq ||
            (flushed_seq > request->seq && !MUTANT("fetch-of-old-version")))
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
    count_turn_deinit(&request->count);
    mem_free(request);
    atomic_fetch_sub(&db->fetches, 1);
}
