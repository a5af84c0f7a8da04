#include "judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc_watch.h"
#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "explain.h"
#include "step_executor.h"
#include "varve/iter.h"

#define JOBS_MAX 10000
#define SECTOR_BYTES 512u
/* What is allocated whatever the bytes say: a compressed block may claim 1 MiB, a reader's window, an arena
 * and a cache have fixed sizes. */
#define ALLOC_FIXED_BYTES ((size_t)1024 * 1024)
#define ALLOC_TOTAL_FIXED_BYTES ((uint64_t)8 * 1024 * 1024)

struct judge {
    struct step_executor *stepper;
    struct zoo_db *zoo;
    /* The image in hand. */
    const struct attack *attack; /* NULL: no damage */
    const struct attacked *attacked;
    struct sim_env *image;
    struct varve_db *db;
    struct judgement *judgement;
    uint64_t k;
    uint64_t now_ms;
    uint64_t errors;  /* that reads gave */
    int is_compacted; /* what expired may be gone */
};

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[VERDICT_COUNT] = {
        "refused at the open", "refused at a read", "a shorter S_k", "unharmed", "WRONG",
    };

    return names[verdict];
}

const char *reason_text(enum reason reason)
{
    static const char *const texts[REASON_COUNT] = {
        "not known",
        "LOCK: no byte of it means anything",
        "a file that the manifest does not name",
        "behind the last record of a log",
        "the log's last records, which nothing promises and no operation is in",
        "the manifest's last edit, without which the log says the same",
        "a block that no read needs; its CRC tells verify",
    };

    return texts[reason];
}

struct judge *judge_create(uint64_t seed)
{
    struct judge *judge = mem_alloc_zero(sizeof(*judge));

    CHECK(judge != NULL);
    judge->stepper = step_executor_create(seed);
    return judge;
}

void judge_destroy(struct judge *judge)
{
    if (judge == NULL)
        return;
    step_executor_destroy(judge->stepper);
    mem_free(judge);
}

/* The first word counts. Returns -1. */
static int wrong(struct judge *judge, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int wrong(struct judge *judge, const char *fmt, ...)
{
    struct judgement *judgement = judge->judgement;
    va_list args;

    if (judgement->verdict == VERDICT_WRONG)
        return -1;
    judgement->verdict = VERDICT_WRONG;
    va_start(args, fmt);
    vsnprintf(judgement->why, sizeof(judgement->why), fmt, args);
    va_end(args);
    return -1;
}

/* ---- the image ---- */

static struct sim_env *clone_disk(const struct judge *judge)
{
    return sim_image(judge->zoo->disk, sim_event_count(judge->zoo->disk), SIM_KILL, 0);
}

/* Only the sectors that differ are written: many images, few bytes. */
static void write_changes(struct varve_env *env, struct varve_file *file,
                          const struct zoo_file *old, const struct attacked *attacked)
{
    if (attacked->len < old->len)
        CHECK(env->ops->truncate(env, file, attacked->len, NULL) == 0);
    for (size_t at = 0; at < attacked->len; at += SECTOR_BYTES) {
        size_t len = attacked->len - at < SECTOR_BYTES ? attacked->len - at : SECTOR_BYTES;
        struct varve_slice part = varve_slice(attacked->bytes + at, len);
        if (at + len > old->len || memcmp(old->bytes + at, attacked->bytes + at, len) != 0)
            CHECK(env->ops->write_at(env, file, &part, 1, at, NULL) == 0);
    }
}

static struct sim_env *attack_disk(const struct judge *judge)
{
    struct sim_env *image = clone_disk(judge);
    struct varve_env *env = sim_as_env(image);
    struct varve_file *file = NULL;

    if (judge->attack == NULL)
        return image;
    const struct zoo_file *old = &judge->zoo->files[judge->attack->file];
    char *path = name_path(ZOO_DIR, old->name);
    CHECK(path != NULL);
    if (judge->attacked->is_missing) {
        CHECK(env->ops->remove(env, path, NULL) == 0);
    } else {
        CHECK(env->ops->open(env, path, VARVE_OPEN_WRITE, &file, NULL) == 0);
        write_changes(env, file, old, judge->attacked);
        env->ops->close(env, file);
    }
    mem_free(path);
    return image;
}

static int open_image(struct judge *judge, struct varve_err *err)
{
    struct varve_options options = judge->zoo->options;

    options.env = sim_as_env(judge->image);
    options.executor = step_as_executor(judge->stepper);
    options.on_durable = NULL;
    options.on_log = NULL;
    options.arg = NULL;
    return varve_open(ZOO_DIR, &options, &judge->db, err);
}

/* ---- reads ---- */

/* An error of a read or a compaction: allowed where a segment was hit, if it says where. */
static int take_error(struct judge *judge, const char *what, const struct varve_err *err)
{
    const struct attack *attack = judge->attack;

    if (attack == NULL || judge->zoo->files[attack->file].kind != NAME_SEGMENT)
        return wrong(judge, "%s: %s", what, err_text(err));
    if (!explain_fits(judge->zoo, attack, judge->attacked, err))
        return wrong(judge, "%s: an error that does not say where: %s", what, err_text(err));
    judge->errors++;
    if (judge->judgement->why[0] == '\0')
        snprintf(judge->judgement->why, sizeof(judge->judgement->why), "%s: %s", what,
                 err_text(err));
    return 0;
}

static int is_value_of(const struct zoo_op *op, struct varve_slice value)
{
    return op != NULL && varve_slice_equal(zoo_value(op), value);
}

static int check_get(struct judge *judge, const char *key)
{
    const struct zoo_op *want = zoo_get(judge->zoo, judge->k, key, judge->now_ms);
    struct varve_read read = {.now_ms = judge->now_ms};
    struct varve_err err = {0};
    struct varve_pin pin;
    int rc = varve_get(judge->db, &read, varve_slice_str(key), &pin, &err);

    if (rc == VARVE_NOT_FOUND)
        return want == NULL ? 0 : wrong(judge, "get: %s is lost", key);
    if (rc != 0)
        return take_error(judge, "get", &err);
    int ok = is_value_of(want, pin.value) && pin.expire_ms == want->expire_ms &&
             pin.seq == (uint64_t)(want - judge->zoo->ops) + 1;
    varve_pin_release(&pin);
    return ok ? 0 : wrong(judge, "get: %s has a value that is not its own", key);
}

/* The next key of the state from `i` on, one step a time; key_count: none. */
static size_t next_live(const struct judge *judge, size_t i, int backward)
{
    const struct zoo_db *zoo = judge->zoo;

    while (i < zoo->key_count && zoo_get(zoo, judge->k, zoo->keys[i], judge->now_ms) == NULL)
        i = backward ? i - 1 : i + 1; /* below 0 it is above all */
    return i < zoo->key_count ? i : zoo->key_count;
}

static int check_walk(struct judge *judge, int backward)
{
    const struct zoo_db *zoo = judge->zoo;
    const char *what = backward ? "walk backward" : "walk";
    struct varve_read read = {.now_ms = judge->now_ms};
    struct varve_err err = {0};
    struct varve_iter *iter = varve_iter_create(judge->db, &read, NULL, NULL, &err);
    size_t at = next_live(judge, backward ? zoo->key_count - 1 : 0, backward);
    int rc = 0;

    CHECK(iter != NULL);
    if (backward)
        varve_iter_last(iter);
    else
        varve_iter_first(iter);
    while (rc == 0 && varve_iter_valid(iter)) {
        struct varve_slice value = varve_iter_value(iter);
        if (!varve_iter_valid(iter))
            break;
        if (at == zoo->key_count ||
            !varve_slice_equal(varve_iter_key(iter), varve_slice_str(zoo->keys[at])))
            rc = wrong(judge, "%s: a key that is not the next one", what);
        else if (!is_value_of(zoo_get(zoo, judge->k, zoo->keys[at], judge->now_ms), value))
            rc = wrong(judge, "%s: %s has a value that is not its own", what, zoo->keys[at]);
        if (rc != 0)
            break;
        at = next_live(judge, backward ? at - 1 : at + 1, backward);
        if (backward)
            varve_iter_prev(iter);
        else
            varve_iter_next(iter);
    }
    int status = varve_iter_status(iter, &err);
    varve_iter_destroy(iter);
    if (rc == 0 && status != 0)
        return take_error(judge, what, &err);
    if (rc == 0 && at != zoo->key_count)
        return wrong(judge, "%s: %s is lost", what, zoo->keys[at]);
    return rc;
}

/* Keys of the group that S_k has at now_ms; 0: what expired counts, too. */
static uint64_t count_live(const struct judge *judge, struct varve_slice group, uint64_t now_ms)
{
    const struct zoo_db *zoo = judge->zoo;
    uint64_t count = 0;

    for (size_t i = 0; i < zoo->key_count; i++)
        count += strncmp(zoo->keys[i], (const char *)group.data, group.len) == 0 &&
                 zoo_get(zoo, judge->k, zoo->keys[i], now_ms) != NULL;
    return count;
}

static int check_count(struct judge *judge, struct varve_slice group)
{
    uint64_t most = count_live(judge, group, 0);
    uint64_t least = judge->is_compacted ? count_live(judge, group, judge->now_ms) : most;
    struct varve_err err = {0};
    uint64_t count = 0;
    int rc = varve_count(judge->db, group, &count, &err);

    if (rc != 0)
        return take_error(judge, "count", &err);
    if (count < least || count > most)
        return wrong(judge, "count: %" PRIu64 " keys begin with %.*s, where %" PRIu64 " do", count,
                     (int)group.len, (const char *)group.data, most);
    return 0;
}

static int check_counts(struct judge *judge)
{
    const struct zoo_db *zoo = judge->zoo;
    struct varve_slice last = varve_slice(NULL, 0);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < zoo->key_count; i++) {
        struct varve_slice key = varve_slice_str(zoo->keys[i]);
        struct varve_slice group = varve_slice(key.data, zoo_group(NULL, key));
        if (group.len == 0 || varve_slice_equal(group, last))
            continue;
        last = group;
        rc = check_count(judge, group);
    }
    return rc;
}

static int read_all(struct judge *judge)
{
    const struct zoo_db *zoo = judge->zoo;
    struct varve_stats stats;
    int rc = 0;

    varve_stats(judge->db, &stats);
    if (stats.seq_visible != judge->k || stats.seq_durable > judge->k)
        return wrong(judge, "it says that it holds %" PRIu64 " operations", stats.seq_visible);
    judge->now_ms = varve_now_ms(judge->db);
    for (size_t i = 0; rc == 0 && i < zoo->key_count; i++)
        rc = check_get(judge, zoo->keys[i]);
    if (rc == 0)
        rc = check_walk(judge, 0);
    if (rc == 0)
        rc = check_walk(judge, 1);
    return rc == 0 ? check_counts(judge) : rc;
}

/* ---- what may be ---- */

static int check_k(struct judge *judge)
{
    const struct zoo_db *zoo = judge->zoo;
    uint64_t floor = judge->attack == NULL ? zoo->count
                                           : explain_floor(zoo, judge->attack, judge->attacked);
    struct varve_stats stats;

    varve_stats(judge->db, &stats);
    judge->k = judge->judgement->k = stats.seq_visible;
    if (judge->k < floor || judge->k > zoo->count)
        return wrong(judge, "it holds %" PRIu64 " operations, promised are %" PRIu64 " of %" PRIu64,
                     judge->k, floor, zoo->count);
    if (judge->k > 0 && !zoo->ops[judge->k - 1].ends_record)
        return wrong(judge, "operation %" PRIu64 " ends within a record", judge->k);
    return 0;
}

/* Merges, closes and opens what was read, and reads again. */
static int go_deep(struct judge *judge)
{
    struct varve_err err = {0};
    uint64_t errors = judge->errors;
    int rc = varve_compact(judge->db, &err);

    if (rc == VARVE_EIO) /* that is what a merge that failed is called; why, its text says */
        err.code = VARVE_ECORRUPT;
    step_run_all(judge->stepper, JOBS_MAX);
    judge->is_compacted = 1;
    if (rc != 0 && take_error(judge, "compact", &err) != 0)
        return -1;
    if (read_all(judge) != 0)
        return -1;
    rc = varve_close(judge->db, &err);
    judge->db = NULL;
    if (rc == 0)
        rc = open_image(judge, &err);
    if (rc != 0 && errors == 0)
        return wrong(judge, "it is not closed or opened again: %s", err_text(&err));
    return rc == 0 ? read_all(judge) : 0;
}

static void judge_opened(struct judge *judge, int deep)
{
    struct varve_err err = {0};
    int rc = check_k(judge);

    if (rc == 0)
        rc = read_all(judge);
    uint64_t errors = judge->errors;
    if (rc == 0 && deep)
        rc = go_deep(judge);
    if (judge->db != NULL && varve_close(judge->db, &err) != 0 && rc == 0)
        rc = wrong(judge, "close: %s", err_text(&err));
    judge->db = NULL;
    step_run_all(judge->stepper, JOBS_MAX);
    if (rc != 0)
        return;
    if (errors > 0)
        judge->judgement->verdict = VERDICT_READ_ERROR;
    else if (judge->k < judge->zoo->count)
        judge->judgement->verdict = VERDICT_SHORTER;
    else
        judge->judgement->verdict = VERDICT_UNHARMED;
}

static void judge_refusal(struct judge *judge, const struct varve_err *err, uint64_t hash)
{
    judge->judgement->verdict = VERDICT_REFUSED;
    snprintf(judge->judgement->why, sizeof(judge->judgement->why), "%s", err_text(err));
    if (step_run_one(judge->stepper))
        wrong(judge, "an open that failed left jobs behind");
    else if (judge->attack == NULL ||
             !explain_fits(judge->zoo, judge->attack, judge->attacked, err))
        wrong(judge, "open: an error that does not say where: %s", err_text(err));
    else if (sim_hash(judge->image) != hash)
        wrong(judge, "open refused, and changed what it found: %s", err_text(err));
}

/* Beyond that, what is there: all files, and not some number that one of them names. */
static void check_allocations(struct judge *judge)
{
    struct alloc_peak peak = alloc_watch_end();
    const struct attacked *attacked = judge->attacked;
    uint64_t there = attacked == NULL || attacked->is_missing ? 0 : attacked->len;
    static int chunk_is_kept;

    /* The first block takes the chunk that all later openings use again. */
    if (attacked == NULL && !chunk_is_kept && peak.largest_bytes == MEM_HUGE_BYTES) {
        chunk_is_kept = 1;
        return;
    }
    for (size_t i = 0; i < judge->zoo->file_count; i++)
        there += judge->zoo->files[i].len;
    if (peak.largest_bytes > ALLOC_FIXED_BYTES + there ||
        peak.total_bytes > ALLOC_TOTAL_FIXED_BYTES + 64 * there)
        wrong(judge, "%zu bytes were allocated at once, %" PRIu64 " in all", peak.largest_bytes,
              peak.total_bytes);
}

static void judge_now(struct judge *judge, int deep)
{
    struct varve_err err = {0};

    judge->errors = 0;
    judge->is_compacted = 0;
    *judge->judgement = (struct judgement){.verdict = VERDICT_UNHARMED};
    judge->image = attack_disk(judge);
    uint64_t hash = sim_hash(judge->image);
    alloc_watch_begin();
    int rc = open_image(judge, &err);
    if (rc == 0)
        judge_opened(judge, deep);
    else
        judge_refusal(judge, &err, hash);
    sim_env_destroy(judge->image);
    judge->image = NULL;
}

int judge_meet(struct judge *judge, struct zoo_db *zoo, struct judgement *judgement)
{
    judge->zoo = zoo;
    judge->attack = NULL;
    judge->attacked = NULL;
    judge->judgement = judgement;
    judge_now(judge, 1);
    check_allocations(judge);
    if (judgement->verdict == VERDICT_UNHARMED)
        return 0;
    return wrong(judge, "undamaged: %s", verdict_name(judgement->verdict));
}

void judge_image(struct judge *judge, const struct attack *attack, const struct attacked *attacked,
                 int deep, struct judgement *judgement)
{
    judge->attack = attack;
    judge->attacked = attacked;
    judge->judgement = judgement;
    judge_now(judge, deep);
    check_allocations(judge);
    if (judgement->verdict != VERDICT_UNHARMED)
        return;
    struct sim_env *image = attack_disk(judge);
    judgement->reason = explain_unharmed(judge->zoo, attack, attacked, image);
    sim_env_destroy(image);
    if (judgement->reason == REASON_NONE)
        wrong(judge, "the damage was not seen, though it hit what counts");
}
