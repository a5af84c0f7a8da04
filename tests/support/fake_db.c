#include "fake_db_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "types/keycode.h"

static uint8_t *copy_parts(const struct varve_slice *parts, int count, size_t *len)
{
    uint8_t *copy;
    size_t at = 0;

    *len = 0;
    for (int i = 0; i < count; i++)
        *len += parts[i].len;
    copy = malloc(*len + 1);
    for (int i = 0; i < count; at += parts[i++].len)
        if (parts[i].len > 0)
            memcpy(copy + at, parts[i].data, parts[i].len);
    return copy;
}

static void list_add(struct list *list, enum kind kind, const struct varve_slice *key,
                     int key_count, const struct varve_slice *value, int value_count,
                     uint64_t expire_ms, uint64_t seq)
{
    if (list->count == list->cap) {
        list->cap = list->cap * 2 + 8;
        list->at = realloc(list->at, list->cap * sizeof(*list->at));
    }
    struct version *v = &list->at[list->count++];
    *v = (struct version){.kind = kind, .seq = seq, .expire_ms = expire_ms};
    v->key = copy_parts(key, key_count, &v->key_len);
    v->value = copy_parts(value, value_count, &v->value_len);
    list->bytes += v->key_len + v->value_len;
}

static void list_cut(struct list *list, size_t count)
{
    while (list->count > count) {
        struct version *v = &list->at[--list->count];
        list->bytes -= v->key_len + v->value_len;
        free(v->key);
        free(v->value);
    }
}

static void list_free(struct list *list)
{
    list_cut(list, 0);
    free(list->at);
}

/* ---- batch ---- */

struct varve_batch *varve_batch_create(void)
{
    return calloc(1, sizeof(struct varve_batch));
}

void varve_batch_destroy(struct varve_batch *batch)
{
    if (batch == NULL)
        return;
    list_free(&batch->ops);
    free(batch);
}

void varve_batch_clear(struct varve_batch *batch)
{
    list_cut(&batch->ops, 0);
}

uint32_t varve_batch_count(const struct varve_batch *batch)
{
    return (uint32_t)batch->ops.count;
}

uint64_t varve_batch_size(const struct varve_batch *batch)
{
    return batch->ops.bytes;
}

int varve_batch_put(struct varve_batch *batch, const struct varve_slice *key_parts, int key_count,
                    const struct varve_slice *value_parts, int value_count, uint64_t expire_ms)
{
    list_add(&batch->ops, PUT, key_parts, key_count, value_parts, value_count, expire_ms, 0);
    return 0;
}

int varve_batch_delete(struct varve_batch *batch, const struct varve_slice *key_parts,
                       int key_count)
{
    list_add(&batch->ops, DELETE, key_parts, key_count, NULL, 0, 0, 0);
    return 0;
}

static unsigned failing_range;

void fake_batch_fail_range(unsigned nth)
{
    failing_range = nth;
}

int varve_batch_delete_range(struct varve_batch *batch, struct varve_slice begin,
                             struct varve_slice end)
{
    if (failing_range > 0 && --failing_range == 0)
        return VARVE_ENOMEM;
    list_add(&batch->ops, RANGE, &begin, 1, &end, 1, 0, 0);
    return 0;
}

/* ---- database ---- */

struct varve_db *fake_db_create(void)
{
    struct varve_db *db = calloc(1, sizeof(*db));

    db->now_ms = 1700000000000;
    db->show_up_to = UINT64_MAX;
    return db;
}

void fake_db_destroy(struct varve_db *db)
{
    if (db->fetches != NULL)
        abort(); /* somebody forgot to release one */
    list_free(&db->versions);
    free(db);
}

void fake_db_set_now_ms(struct varve_db *db, uint64_t now_ms)
{
    db->now_ms = now_ms;
}

void fake_db_fail_commit(struct varve_db *db)
{
    db->fail_commit = 1;
}

void fake_db_refuse(struct varve_db *db, int code)
{
    db->refuse = code;
}

void fake_db_refuse_nth(struct varve_db *db, unsigned nth, int code)
{
    db->refuse_nth = nth;
    db->refuse_nth_code = code;
}

void fake_db_show_up_to(struct varve_db *db, uint64_t seq)
{
    db->show_up_to = seq;
}

uint64_t fake_db_version_count(const struct varve_db *db)
{
    return db->versions.count;
}

void fake_db_plant(struct varve_db *db, const void *key, size_t key_len, const void *value,
                   size_t value_len)
{
    struct varve_slice k = varve_slice(key, key_len);
    struct varve_slice v = varve_slice(value, value_len);

    list_add(&db->versions, PUT, &k, 1, &v, 1, 0, ++db->seq);
    db->committed = db->seq;
}

void plant_name(struct varve_db *db, const char *name, const void *value, size_t value_len)
{
    struct key_prefix space;
    struct name_prefix prefix;
    uint8_t key[64];
    size_t len = strlen(name);

    key_prefix_set(&space, SPACE_FIRST, KEY_TAG_NAME);
    name_prefix_set(&prefix, &space, name_hash(varve_slice(name, len)));
    CHECK(prefix.len + len <= sizeof(key));
    memcpy(key, prefix.bytes, prefix.len);
    memcpy(key + prefix.len, name, len);
    fake_db_plant(db, key, prefix.len + len, value, value_len);
}

int varve_group_add(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                    struct varve_err *err)
{
    if (db->refuse != 0)
        return err_set(err, db->refuse, "refused by the test");
    if (db->refuse_nth > 0 && --db->refuse_nth == 0)
        return err_set(err, db->refuse_nth_code, "refused by the test");
    for (size_t i = 0; i < batch->ops.count; i++) {
        const struct version *op = &batch->ops.at[i];
        struct varve_slice key = key_of(op);
        struct varve_slice value = varve_slice(op->value, op->value_len);
        list_add(&db->versions, op->kind, &key, 1, &value, 1, op->expire_ms, ++db->seq);
    }
    if (seq != NULL)
        *seq = db->seq;
    return 0;
}

void varve_group_mark(const struct varve_db *db, struct varve_group_mark *mark)
{
    *mark = (struct varve_group_mark){.count = db->versions.count};
}

void varve_group_cut(struct varve_db *db, const struct varve_group_mark *mark)
{
    db->seq -= db->versions.count - mark->count;
    list_cut(&db->versions, mark->count);
}

int varve_group_commit(struct varve_db *db, struct varve_err *err)
{
    if (!db->fail_commit) {
        db->committed = db->seq;
        return 0;
    }
    list_cut(&db->versions, db->versions.count - (size_t)(db->seq - db->committed));
    db->seq = db->committed;
    db->fail_commit = 0;
    return err_set(err, VARVE_EIO, "failed by the test");
}

int varve_group_open(const struct varve_db *db)
{
    return db->seq != db->committed;
}

int varve_group_is_full(const struct varve_db *db)
{
    return db->group_full;
}

void fake_db_fill_group(struct varve_db *db, int full)
{
    db->group_full = full;
}

uint64_t varve_visible_seq(const struct varve_db *db)
{
    return db->committed;
}

/* Nothing is synced, and everysec. */
uint64_t varve_read_ack_seq(const struct varve_db *db, uint64_t seq, uint64_t now_us)
{
    (void)db;
    (void)seq;
    (void)now_us;
    return 0;
}

int varve_writable(const struct varve_db *db, struct varve_err *err)
{
    return db->refuse == 0 ? 0 : err_set(err, VARVE_EREADONLY, "refused by the test");
}

/* ---- what is not in memory ---- */

void fake_db_chill(struct varve_db *db, const char *name)
{
    snprintf(db->cold[db->cold_count++], sizeof(db->cold[0]), "%s", name == NULL ? "" : name);
}

void fake_db_chill_values(struct varve_db *db, int on)
{
    db->cold_values = on;
}

void fake_db_chill_counts(struct varve_db *db, int on)
{
    db->cold_counts = on;
}

void fake_db_fail_fetches(struct varve_db *db, int code)
{
    db->fail_fetches = code;
}

void fake_db_fetch_in_vain(struct varve_db *db, int on)
{
    db->fetch_in_vain = on;
}

void fake_db_refuse_fetches(struct varve_db *db, int on)
{
    db->refuse_fetches = on;
}

uint64_t fake_db_blocked(const struct varve_db *db)
{
    return db->blocked;
}

uint64_t fake_db_waited(const struct varve_db *db)
{
    return db->waited;
}

uint64_t fake_db_cancelled(const struct varve_db *db)
{
    return db->cancelled;
}

uint64_t fake_db_held(const struct varve_db *db)
{
    uint64_t count = 0;

    for (const struct fetching *f = db->fetches; f != NULL; f = f->next)
        count++;
    return count;
}

void fake_db_delay_writes(struct varve_db *db, uint64_t us, enum varve_stall_cause cause)
{
    db->delay_us = us;
    db->delay_cause = cause;
}

uint64_t fake_db_delay_asked(const struct varve_db *db)
{
    return db->delay_asked;
}

uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause)
{
    ((struct varve_db *)(uintptr_t)db)->delay_asked++;
    *cause = db->delay_cause;
    return db->delay_us;
}

uint64_t varve_write_round_bytes(const struct varve_db *db)
{
    return db->delay_cause == VARVE_STALL_NONE ? UINT64_MAX : 32 * 1024;
}

const char *varve_stall_name(enum varve_stall_cause cause)
{
    return cause == VARVE_STALL_LEVEL0 ? "level0" : cause == VARVE_STALL_NONE ? "none" : "other";
}

int fake_is_cold(const struct varve_db *db, const struct varve_read *read, struct varve_slice key)
{
    int cold = 0;

    for (unsigned i = 0; i < db->cold_count; i++) {
        size_t len = strlen(db->cold[i]);
        cold |= key.len >= len && memcmp(key.data + key.len - len, db->cold[i], len) == 0;
    }
    for (const struct varve_fetch *known = read->fetched; known != NULL; known = known->next) {
        const struct fetching *f = known->request;
        CHECK(f->ended && f->kind == FETCH_KEY);
        if (!db->fetch_in_vain && known->rc == 0 && f->key_len == key.len &&
            memcmp(f->key, key.data, key.len) == 0)
            cold = 0;
    }
    return cold;
}

/* The error of what was fetched for the key, 0 if there is none. */
static int fetch_failed(const struct varve_read *read, struct varve_slice key)
{
    for (const struct varve_fetch *known = read->fetched; known != NULL; known = known->next) {
        const struct fetching *f = known->request;
        if (known->rc != 0 && varve_slice_equal(varve_slice(f->key, f->key_len), key))
            return known->rc;
    }
    return 0;
}

static int fetch_add(struct varve_db *db, struct varve_slice key, enum fetch_kind kind,
                     struct varve_fetch *fetch)
{
    struct fetching **end = &db->fetches;
    struct fetching *made;

    if (db->refuse_fetches)
        return VARVE_ENOMEM;
    made = calloc(1, sizeof(*made));
    *made = (struct fetching){.db = db, .fetch = fetch, .kind = kind};
    made->key = copy_parts(&key, 1, &made->key_len);
    fetch->request = made;
    while (*end != NULL)
        end = &(*end)->next;
    *end = made;
    return 0;
}

int varve_fetch_start(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_fetch *fetch)
{
    (void)read;
    return fetch_add(db, key, FETCH_KEY, fetch);
}

int varve_fetch_count(struct varve_db *db, struct varve_slice group, struct varve_fetch *fetch)
{
    return fetch_add(db, group, FETCH_COUNT, fetch);
}

int varve_fetch_count_about(struct varve_db *db, struct varve_slice group,
                            struct varve_fetch *fetch)
{
    return fetch_add(db, group, FETCH_ABOUT, fetch);
}

static void submit(struct varve_executor *executor, enum varve_job_class job_class,
                   struct varve_job *job)
{
    struct varve_db *db = CONTAINER_OF(executor, struct varve_db, executor);

    CHECK(job_class == VARVE_JOB_READ);
    job->next = db->jobs;
    db->jobs = job;
}

struct varve_executor *fake_db_executor(struct varve_db *db)
{
    db->executor.submit = submit;
    return &db->executor;
}

int fake_db_step(struct varve_db *db)
{
    struct varve_job *job = db->jobs;

    if (job != NULL) {
        db->jobs = job->next;
        job->run(job);
        return 1;
    }
    struct fetching *f = db->fetches;

    while (f != NULL && f->ended)
        f = f->next;
    if (f == NULL)
        return 0;
    f->ended = 1;
    f->fetch->rc = db->fail_fetches;
    if (f->kind == FETCH_COUNT)
        varve_count(db, varve_slice(f->key, f->key_len), &f->fetch->count, NULL);
    if (f->kind == FETCH_ABOUT)
        varve_count_about(db, varve_slice(f->key, f->key_len), &f->fetch->count, NULL);
    f->fetch->done(f->fetch);
    return 1;
}

/* One that did not end must not be released: it is the job's yet. */
void varve_fetch_cancel(struct varve_fetch *fetch)
{
    ((struct fetching *)fetch->request)->db->cancelled++;
}

void varve_fetch_release(struct varve_fetch *fetch)
{
    struct fetching *f = fetch->request;
    struct fetching **at;

    if (f == NULL)
        return;
    if (!f->ended)
        abort();
    at = &f->db->fetches;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free(f->key);
    free(f);
    fetch->request = NULL;
}

/* The newest version that speaks of the key, below index `below`. */
const struct version *fake_find(const struct varve_db *db, struct varve_slice key, size_t below)
{
    while (below > 0) {
        const struct version *v = &db->versions.at[--below];
        int covers = v->kind == RANGE && varve_slice_compare(key, key_of(v)) >= 0 &&
                     varve_slice_compare(key, varve_slice(v->value, v->value_len)) < 0;
        if (covers || (v->kind != RANGE && varve_slice_equal(key_of(v), key)))
            return v;
    }
    return NULL;
}

void varve_prefetch(struct varve_db *db, enum varve_intent intent, const struct varve_slice *keys,
                    size_t count)
{
    (void)db;
    (void)intent;
    (void)keys;
    (void)count;
}

int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err)
{
    size_t shown = db->versions.count;

    while (!varve_group_open(db) && shown > 0 && db->versions.at[shown - 1].seq > db->show_up_to)
        shown--;
    while (read != NULL && !read->uncommitted && shown > 0 &&
           db->versions.at[shown - 1].seq > db->committed)
        shown--;
    const struct version *v = fake_find(db, key, shown);

    *pin = (struct varve_pin){0};
    int failed = fetch_failed(read, key);
    if (failed != 0)
        return err_set(err, failed, "failed by the test");
    if (fake_is_cold(db, read, key)) {
        db->blocked += read->no_wait != 0;
        db->waited += read->no_wait == 0;
        if (read->no_wait)
            return VARVE_WOULD_BLOCK;
        if (db->fail_fetches != 0)
            return err_set(err, db->fail_fetches, "failed by the test");
    }
    if (v == NULL)
        return VARVE_NOT_FOUND;
    pin->seq = v->seq;
    if (v->kind != PUT || (!read->dead && v->expire_ms != 0 && v->expire_ms <= read->now_ms))
        return VARVE_NOT_FOUND;
    /* A copy of its own, so that the sanitizer sees a pin that is used too long or is forgotten. */
    struct varve_slice value = varve_slice(v->value, v->value_len);
    pin->owner[0] = copy_parts(&value, 1, &pin->value.len);
    pin->value.data = pin->owner[0];
    pin->expire_ms = v->expire_ms;
    return 0;
}

/* It has a copy. */
void varve_pin_keep(struct varve_pin *pin)
{
    pin->kept = 1;
}

void varve_pin_release(struct varve_pin *pin)
{
    free(pin->owner[0]);
    *pin = (struct varve_pin){0};
}

int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                    struct varve_err *err)
{
    int rc = varve_count(db, group, count, err);

    if (!db->cold_counts)
        return rc;
    db->blocked++;
    *count += 7;
    return VARVE_WOULD_BLOCK;
}

int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err)
{
    (void)err;
    *count = 0;
    for (size_t i = 0; i < db->versions.count; i++) {
        const struct version *v = &db->versions.at[i];
        if (v->kind == PUT && v->key_len >= group.len &&
            memcmp(v->key, group.data, group.len) == 0 &&
            fake_find(db, key_of(v), db->versions.count) == v)
            (*count)++;
    }
    return 0;
}

int varve_count_about(struct varve_db *db, struct varve_slice group, uint64_t *count,
                      struct varve_err *err)
{
    int rc = varve_count(db, group, count, err);

    *count += FAKE_DB_ABOUT;
    return rc;
}

uint64_t varve_now_ms(struct varve_db *db)
{
    return db->now_ms;
}

int varve_flush(struct varve_db *db, struct varve_err *err)
{
    (void)err;
    db->flushes++;
    return db->refuse;
}

uint64_t fake_db_flushes(const struct varve_db *db)
{
    return db->flushes;
}

void varve_sync(struct varve_db *db)
{
    db->syncs++;
}

uint64_t fake_db_syncs(const struct varve_db *db)
{
    return db->syncs;
}

void varve_stats(const struct varve_db *db, struct varve_stats *stats)
{
    *stats = (struct varve_stats){.seq_applied = db->seq, .seq_visible = db->committed};
}

const char *varve_id(const struct varve_db *db)
{
    (void)db;
    return "0123456789abcdef0123456789abcdef";
}

const char *varve_version(void)
{
    return "0.0.0";
}
