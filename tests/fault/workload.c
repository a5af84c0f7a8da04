#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "campaign.h"
#include "lsm/db.h"
#include "lsm/log_reader.h"
#include "lsm/names.h"
#include "lsm/recovery.h"

#define VALUE_MAX_BYTES 2000
#define DUMP_TEXT_BYTES LOOK_TEXT_BYTES
#define FLUSH_PATIENCE_MS 2000
#define HEAL_PATIENCE_MS 2000

const struct step workload_plain[] = {
    {STEP_OPEN, 0, 0},    {STEP_PUT, 0, 5},    {STEP_PUT, 1, 10},    {STEP_RUN, 0, 0},
    {STEP_BATCH, 2, 0},   {STEP_PUT, 3, 1500}, {STEP_RUN_ONE, 0, 0}, {STEP_PUT, 4, 1500},
    {STEP_PUT, 5, 1500},  {STEP_RUN, 0, 0},    {STEP_PUT, 6, 900},   {STEP_DELETE, 1, 0},
    {STEP_PASS, 900, 0},  {STEP_RUN, 0, 0},    {STEP_RANGE, 2, 5},   {STEP_GROUP, 0, 3},
    {STEP_PASS, 1200, 0}, {STEP_RUN, 0, 0},    {STEP_PASS, 1200, 0}, {STEP_RUN, 0, 0},
    {STEP_PUT, 7, 1900},  {STEP_PUT, 6, 1900}, {STEP_PUT, 5, 1900},  {STEP_RUN_ONE, 0, 0},
    {STEP_PUT, 4, 10},    {STEP_RUN, 0, 0},    {STEP_PUT, 0, 30},    {STEP_CLOSE, 0, 0},
    {STEP_OPEN, 0, 0},    {STEP_PUT, 1, 12},   {STEP_RUN_ONE, 0, 0}, {STEP_BATCH, 3, 5},
    {STEP_PUT, 2, 1900},  {STEP_PASS, 100, 0}, {STEP_PUT, 3, 1900},  {STEP_RUN, 0, 0},
    {STEP_PUT, 4, 1900},  {STEP_RUN, 0, 0},    {STEP_DELETE, 0, 0},  {STEP_GROUP, 1, 4},
    {STEP_PASS, 1100, 0}, {STEP_RUN, 0, 0},    {STEP_RANGE, 0, 2},   {STEP_CLOSE, 0, 0},
    {STEP_OPEN, 0, 0},    {STEP_PUT, 0, 7},    {STEP_RUN, 0, 0},     {STEP_END, 0, 0},
};

const struct step workload_levels[] = {
    {STEP_OPEN, 0, 0},    {STEP_PUT, 0, 5},     {STEP_PUT, 1, 1900},  {STEP_PUT, 2, 30},
    {STEP_FLUSH, 0, 0},   {STEP_LOOK, 0, 0},    {STEP_BATCH, 2, 0},   {STEP_HOLD, 0, 0},
    {STEP_DELETE, 1, 0},  {STEP_FLUSH, 0, 0},   {STEP_RUN_ONE, 0, 0}, {STEP_LOOK, 0, 0},
    {STEP_RANGE, 2, 4},   {STEP_PUT, 3, 1900},  {STEP_FLUSH, 0, 0},   {STEP_RUN, 0, 0},
    {STEP_COMPACT, 0, 0}, {STEP_LOOK, 0, 0},    {STEP_RELEASE, 0, 0}, {STEP_PUT, 4, 1900},
    {STEP_GROUP, 5, 3},   {STEP_COMPACT, 0, 0}, {STEP_RUN, 0, 0},     {STEP_LOOK, 0, 0},
    {STEP_RANGE, 0, 3},   {STEP_HOLD, 0, 0},    {STEP_FLUSH, 0, 0},   {STEP_CLOSE, 0, 0},
    {STEP_OPEN, 0, 0},    {STEP_LOOK, 0, 0},    {STEP_PUT, 1, 900},   {STEP_HOLD, 0, 0},
    {STEP_PUT, 1, 12},    {STEP_COMPACT, 0, 0}, {STEP_LOOK, 0, 0},    {STEP_PASS, 1100, 0},
    {STEP_RUN, 0, 0},     {STEP_CLOSE, 0, 0},   {STEP_OPEN, 0, 0},    {STEP_LOOK, 0, 0},
    {STEP_DELETE, 3, 0},  {STEP_END, 0, 0},
};

const struct step workload_full[] = {
    {STEP_OPEN, 0, 0},    {STEP_PUT, 0, 5},  {STEP_FILL, 36, 0},  {STEP_RUN_ONE, 0, 0},
    {STEP_RUN_ONE, 0, 0}, {STEP_HOLD, 0, 0}, {STEP_PUT, 1, 10},   {STEP_RUN, 0, 0},
    {STEP_PASS, 1100, 0}, {STEP_RUN, 0, 0},  {STEP_LOOK, 0, 0},   {STEP_FILL, 36, 0},
    {STEP_PASS, 1100, 0}, {STEP_RUN, 0, 0},  {STEP_LOOK, 0, 0},   {STEP_CLOSE, 0, 0},
    {STEP_OPEN, 0, 0},    {STEP_LOOK, 0, 0}, {STEP_DELETE, 0, 0}, {STEP_END, 0, 0},
};

const struct step workload_healing[] = {
    {STEP_OPEN, 0, 0},       {STEP_PUT, 0, 5},     {STEP_RUN, 0, 0},   {STEP_PUT, 1, 1900},
    {STEP_PUT, 2, 1900},     {STEP_PUT, 3, 1900},  {STEP_RUN, 0, 0},   {STEP_BATCH, 2, 0},
    {STEP_FAIL_SYNC, 0, 0},  {STEP_PUT, 4, 100},   {STEP_RANGE, 2, 4}, {STEP_PASS, 1000, 0},
    {STEP_RUN, 0, 0},        {STEP_PASS, 1000, 0}, {STEP_RUN, 0, 0},   {STEP_PASS, 1000, 0},
    {STEP_PUT, 5, 1900},     {STEP_PUT, 6, 1900},  {STEP_RUN, 0, 0},   {STEP_PUT, 0, 1900},
    {STEP_FAIL_WRITE, 0, 0}, {STEP_GROUP, 1, 3},   {STEP_RUN, 0, 0},   {STEP_PASS, 1000, 0},
    {STEP_RUN, 0, 0},        {STEP_PASS, 1000, 0}, {STEP_RUN, 0, 0},   {STEP_PASS, 1000, 0},
    {STEP_PUT, 7, 20},       {STEP_CLOSE, 0, 0},   {STEP_OPEN, 0, 0},  {STEP_PUT, 1, 1900},
    {STEP_PUT, 2, 1900},     {STEP_PUT, 3, 1900},  {STEP_RUN, 0, 0},   {STEP_PUT, 4, 1900},
    {STEP_FAIL_SYNC, 0, 0},  {STEP_CLOSE, 0, 0},   {STEP_OPEN, 0, 0},  {STEP_PUT, 0, 7},
    {STEP_END, 0, 0},
};

/* ---- the oracle ---- */

static size_t value_fill(char value[VALUE_MAX_BYTES], int step, int len)
{
    memset(value, 'v', (size_t)len);
    snprintf(value, VALUE_MAX_BYTES, "%d", step);
    size_t digits = strlen(value);
    value[digits] = 'v';
    return (size_t)len > digits ? (size_t)len : digits;
}

static void model_print(const struct model *model, char text[DUMP_TEXT_BYTES])
{
    char value[VALUE_MAX_BYTES + 1];
    size_t at = 0;

    text[0] = '\0';
    for (int i = 0; i < MODEL_KEYS; i++) {
        if (model->step[i] == 0)
            continue;
        size_t len = value_fill(value, model->step[i], model->len[i]);
        if (len > 40)
            snprintf(value, sizeof(value), "#%zu:%08x", len, crc32c(0, value, len));
        else
            value[len] = '\0';
        at += (size_t)snprintf(text + at, DUMP_TEXT_BYTES - at, "%c=%s ", 'a' + i, value);
    }
}

static void run_wrong(struct run *run, const char *what, const char *detail)
{
    run->wrong++;
    if (run->wrong <= 3)
        printf("WRONG: %s, nth %llu, first %s, step %d: %s: %s\n", run->what,
               (unsigned long long)run->nth,
               run->fail_alloc != 0 ? "allocation" : fault_env_where(run->bed.fault), run->step_no,
               what, detail);
}

static void run_want_text(struct run *run)
{
    if (run->bed.err.code >= 0 || run->bed.err.text[0] == '\0')
        run_wrong(run, "an error without code or text", run->bed.err.text);
    run->bed.err = (struct varve_err){0};
}

static void run_note_durable(struct run *run)
{
    uint64_t durable = varve_durable_seq(run->bed.db);

    while (run->promised + 1 < run->count && run->history[run->promised + 1].seq <= durable)
        run->promised++;
}

static int state_is(const struct model *model, const char *dump)
{
    char text[DUMP_TEXT_BYTES];

    model_print(model, text);
    return strcmp(text, dump) == 0;
}

/* The state must be one of those from history[from] on, or the attempt. Returns its model, or NULL. */
static const struct model *run_find_state(struct run *run, size_t from, const char *dump)
{
    if (run->has_attempt && state_is(&run->attempt, dump))
        return &run->attempt;
    for (size_t i = run->count; i-- > from;)
        if (state_is(&run->history[i].model, dump))
            return &run->history[i].model;
    return NULL;
}

/* What is read now must be the newest state; while a log whose sync failed heals in VARVE_ALWAYS the
 * last durable one. */
static const struct model *run_shown(struct run *run)
{
    struct bed *bed = &run->bed;

    run_note_durable(run);
    if (varve_writable(bed->db, NULL) == 0)
        run->syncs_failed = bed->told_failed;
    if (bed->options.durability == VARVE_ALWAYS && bed->told_failed != run->syncs_failed)
        return &run->history[run->promised].model;
    return &run->history[run->count - 1].model;
}

/* What a look showed. Where reads may fail, what came before the error must be right all the same. */
static void run_judge(struct run *run, const char *what, const struct model *model, int rc,
                      const char *text, int may_fail)
{
    char want[DUMP_TEXT_BYTES];

    model_print(model, want);
    if (rc < 0 && may_fail) {
        if (strncmp(text, want, strlen(text)) != 0)
            run_wrong(run, what, text);
        run_want_text(run);
        return;
    }
    if (rc != 0)
        run_wrong(run, what, run->bed.err.text);
    if (rc == 0 && strcmp(text, want) != 0) {
        run_wrong(run, what, text);
        run_wrong(run, "  wanted", want);
    }
}

/* Past the faults, and past the cache, so that reads that count find it as it was. */
static void run_check_reads(struct run *run)
{
    struct varve_read read = {.no_fill = 1};
    char text[DUMP_TEXT_BYTES];

    if (run->bed.db == NULL)
        return;
    const struct model *model = run_shown(run);
    fault_env_pause(run->bed.fault, 1);
    int rc = look(run->bed.db, &read, text, &run->bed.err);
    fault_env_pause(run->bed.fault, 0);
    run_judge(run, "read", model, rc, text, 0);
}

/* ---- allocations that fail, around calls of the engine only ---- */

static void run_arm(struct run *run)
{
    if (run->fail_alloc == 0)
        return;
    if (run->allocs < run->fail_alloc)
        mem_fail_nth(run->fail_alloc - run->allocs, run->fail_alloc_sticky);
    else if (run->fail_alloc_sticky)
        mem_fail_nth(1, 1);
    else
        mem_fail_nth(UINT64_MAX, 0);
}

static void run_disarm(struct run *run)
{
    if (run->fail_alloc == 0)
        return;
    run->allocs += mem_alloc_count();
    mem_fail_nth(0, 0);
}

/* ---- what is held, and looked at ---- */

void run_release(struct run *run)
{
    varve_iter_destroy(run->iter);
    varve_snapshot_release(run->bed.db, run->snapshot);
    run->iter = NULL;
    run->snapshot = NULL;
}

static void run_hold(struct run *run)
{
    if (run->bed.db == NULL)
        return;
    run_release(run);
    run->held = *run_shown(run);
    run_arm(run);
    run->snapshot = varve_snapshot_acquire(run->bed.db);
    if (run->snapshot != NULL) {
        struct varve_read read = {.snapshot = run->snapshot};
        run->iter = varve_iter_create(run->bed.db, &read, NULL, NULL, &run->bed.err);
        if (run->iter == NULL)
            run_want_text(run);
    }
    run_disarm(run);
}

static void run_look(struct run *run)
{
    struct varve_read read = {.snapshot = run->snapshot};
    char text[DUMP_TEXT_BYTES];

    if (run->bed.db == NULL)
        return;
    const struct model *model = run_shown(run);
    run_arm(run);
    int rc = look(run->bed.db, NULL, text, &run->bed.err);
    run_disarm(run);
    run_judge(run, "look", model, rc, text, 1);
    if (run->iter != NULL) {
        run_arm(run);
        rc = look_along(run->iter, text, &run->bed.err);
        run_disarm(run);
        run_judge(run, "held iterator", &run->held, rc, text, 1);
    }
    if (run->snapshot != NULL) {
        run_arm(run);
        rc = look(run->bed.db, &read, text, &run->bed.err);
        run_disarm(run);
        run_judge(run, "held snapshot", &run->held, rc, text, 1);
    }
}

/* ---- steps ---- */

/* The database is open again: what it holds is durable and the only possible state. */
static void run_opened(struct run *run, size_t from)
{
    struct varve_stats stats;
    fault_env_pause(run->bed.fault, 1);
    char *dump = bed_dump(&run->bed, NULL);
    fault_env_pause(run->bed.fault, 0);
    const struct model *found = run_find_state(run, from, dump);

    varve_stats(run->bed.db, &stats);
    if (found == NULL) {
        char want[DUMP_TEXT_BYTES];
        run_wrong(run, "recovered", dump);
        model_print(&run->history[from].model, want);
        run_wrong(run, "  from", want);
        model_print(&run->history[run->count - 1].model, want);
        run_wrong(run, "  to", want);
        found = &run->history[run->count - 1].model;
    }
    run->history[0] = (struct model_state){.seq = stats.seq_visible, .model = *found};
    run->count = 1;
    run->promised = 0;
    run->has_attempt = 0;
    mem_free(dump);
}

static int run_open(struct run *run)
{
    run_arm(run);
    int rc = bed_open(&run->bed);
    run_disarm(run);
    if (rc != 0)
        run_want_text(run);
    else
        run_opened(run, run->promised); /* a close that failed may have lost what was not synced */
    return rc;
}

static void run_close(struct run *run)
{
    if (run->bed.db == NULL)
        return;
    run_note_durable(run);
    run_release(run);
    run_arm(run);
    int rc = bed_close(&run->bed);
    run_disarm(run);
    if (rc == 0)
        run->promised = run->count - 1;
    else
        run_want_text(run);
}

static int add_put(struct run *run, struct varve_batch *batch, struct model *next, int key, int len)
{
    static char value[VALUE_MAX_BYTES + 1];
    char name = (char)('a' + key);
    struct varve_slice key_part = varve_slice(&name, 1);
    struct varve_slice part = varve_slice(value, value_fill(value, run->step_no, len));

    next->step[key] = run->step_no;
    next->len[key] = len;
    return varve_batch_put(batch, &key_part, 1, &part, 1, 0);
}

static int add_delete(struct varve_batch *batch, struct model *next, int key)
{
    char name = (char)('a' + key);
    struct varve_slice key_part = varve_slice(&name, 1);

    next->step[key] = 0;
    return varve_batch_delete(batch, &key_part, 1);
}

static int fill_batch(struct run *run, const struct step *step, struct varve_batch *batch,
                      struct model *next)
{
    int rc = 0;

    switch (step->kind) {
    case STEP_PUT: return add_put(run, batch, next, step->a, step->b);
    case STEP_DELETE: return add_delete(batch, next, step->a);
    case STEP_BATCH:
        rc = add_put(run, batch, next, step->a, 20);
        if (rc == 0)
            rc = add_delete(batch, next, step->b);
        if (rc == 0)
            rc = add_put(run, batch, next, step->b + 1, 50);
        return rc;
    default: break;
    }
    char from = (char)('a' + step->a);
    char to = (char)('a' + step->b);
    for (int i = step->a; i < step->b; i++)
        next->step[i] = 0;
    return varve_batch_delete_range(batch, varve_slice(&from, 1), varve_slice(&to, 1));
}

static void run_took(struct run *run, const struct model *next)
{
    CHECK(run->count < HISTORY_MAX);
    run->history[run->count++] = (struct model_state){.seq = run->bed.seq, .model = *next};
    run->has_attempt = 0; /* the log was healed: what failed before cannot come back */
}

static void run_refused(struct run *run, int rc, const struct model *next)
{
    /* Too little memory or a full table never touch the log. */
    if (rc != VARVE_ENOMEM && rc != VARVE_EFULL && rc != VARVE_EREADONLY) {
        run->has_attempt = 1;
        run->attempt = *next;
    }
    run_want_text(run);
}

static void run_write(struct run *run, const struct step *step)
{
    struct bed *bed = &run->bed;
    struct model next = run->history[run->count - 1].model;
    struct varve_batch *batch;
    int rc;

    if (bed->db == NULL)
        return;
    run_arm(run);
    batch = varve_batch_create();
    rc = batch == NULL ? VARVE_ENOMEM : fill_batch(run, step, batch, &next);
    if (rc != 0)
        err_set(&bed->err, rc, "the batch");
    if (rc == 0)
        rc = varve_write(bed->db, batch, &bed->seq, &bed->err);
    varve_batch_destroy(batch);
    run_disarm(run);
    if (rc == 0)
        run_took(run, &next);
    else
        run_refused(run, rc, &next);
}

static void run_group(struct run *run, const struct step *step)
{
    struct bed *bed = &run->bed;
    struct model next = run->history[run->count - 1].model;
    int added = 0;
    int rc = 0;

    if (bed->db == NULL)
        return;
    run_arm(run);
    for (int i = 0; i < step->b; i++) {
        struct model before = next;
        uint64_t seq = 0;
        struct varve_batch *batch = varve_batch_create();
        rc = batch == NULL ? VARVE_ENOMEM : add_put(run, batch, &next, step->a + i, 15 + i);
        if (rc == 0)
            rc = varve_group_add(bed->db, batch, &seq, &bed->err);
        varve_batch_destroy(batch);
        if (rc == 0) {
            added++;
            bed->seq = seq;
        } else {
            next = before; /* that one alone has no effect */
        }
    }
    rc = varve_group_commit(bed->db, &bed->err);
    run_disarm(run);
    if (rc != 0)
        run_refused(run, rc, &next);
    else if (added > 0)
        run_took(run, &next);
}

static void run_fill(struct run *run, int count)
{
    for (int i = 0; i < count; i++) {
        struct step put = {STEP_PUT, i % MODEL_KEYS, 1900};
        run_write(run, &put);
    }
}

/* What returns 0 is durable, whatever the mode. */
static int run_flush(struct run *run, int compact)
{
    struct bed *bed = &run->bed;

    if (bed->db == NULL)
        return 0;
    run_arm(run);
    int rc = compact ? varve_compact(bed->db, &bed->err) : varve_flush(bed->db, &bed->err);
    run_disarm(run);
    if (rc == 0)
        run->promised = run->count - 1;
    if (rc != 0)
        run_want_text(run);
    return rc;
}

static void run_jobs(struct run *run, size_t max)
{
    run_arm(run);
    step_run_all(run->bed.stepper, max);
    run_disarm(run);
}

static void run_pass(struct run *run, int ms)
{
    sim_clock_advance_us(run->bed.sim, (uint64_t)ms * 1000);
    if (run->bed.db == NULL)
        return;
    run_arm(run);
    varve_tick(run->bed.db);
    run_disarm(run);
}

static void run_plan(struct run *run, enum fault_op op)
{
    fault_env_plan(run->bed.fault, (struct fault_plan){.op = op,
                                                       .nth = 1,
                                                       .os_errno = EIO,
                                                       .effect = FAULT_PARTLY_DONE,
                                                       .path_suffix = ".wal"});
}

static void run_step(struct run *run, const struct step *step)
{
    switch (step->kind) {
    case STEP_OPEN:
        if (run->bed.db == NULL && run_open(run) != 0)
            (void)run_open(run);
        break;
    case STEP_CLOSE: run_close(run); break;
    case STEP_PUT:
    case STEP_BATCH:
    case STEP_DELETE:
    case STEP_RANGE: run_write(run, step); break;
    case STEP_GROUP: run_group(run, step); break;
    case STEP_RUN: run_jobs(run, 1000); break;
    case STEP_RUN_ONE: run_jobs(run, 1); break;
    case STEP_PASS: run_pass(run, step->a); break;
    case STEP_FAIL_SYNC: run_plan(run, FAULT_SYNC); break;
    case STEP_FAIL_WRITE: run_plan(run, FAULT_WRITE); break;
    case STEP_FLUSH: (void)run_flush(run, 0); break;
    case STEP_COMPACT: (void)run_flush(run, 1); break;
    case STEP_HOLD: run_hold(run); break;
    case STEP_LOOK: run_look(run); break;
    case STEP_RELEASE: run_release(run); break;
    case STEP_FILL: run_fill(run, step->a); break;
    case STEP_END: break;
    }
}

/* ---- crash images ---- */

static void run_note_disk(struct run *run, struct sim_env *sim)
{
    run->digest = digest_add(run->digest, sim_trace_digest(sim));
}

static void run_try_image(struct run *run, enum sim_policy policy, uint64_t seed)
{
    static struct bed other;
    char what[128];

    if (run->bed.db != NULL)
        run_note_durable(run);
    bed_init(&other, seed);
    bed_use_image(&other, sim_image(run->bed.sim, sim_event_count(run->bed.sim), policy, seed));
    other.options.durability = run->bed.options.durability;
    run->images++;
    snprintf(what, sizeof(what), "image %s, seed %llu", sim_policy_name(policy),
             (unsigned long long)seed);
    if (bed_open(&other) != 0) {
        run_wrong(run, what, other.err.text);
    } else {
        char *dump = bed_dump(&other, NULL);
        size_t from = policy == SIM_KILL && run->bed.db != NULL ? run->count - 1 : run->promised;
        if (run_find_state(run, from, dump) == NULL) {
            char want[DUMP_TEXT_BYTES];
            run_wrong(run, what, dump);
            model_print(&run->history[from].model, want);
            run_wrong(run, "  from", want);
        }
        mem_free(dump);
    }
    run_note_disk(run, other.sim);
    bed_deinit(&other);
}

void run_try_images(struct run *run)
{
    static const enum sim_policy policies[] = {SIM_ALL_LOST,  SIM_ALL_KEPT, SIM_KILL,
                                               SIM_PREFIX,    SIM_SUFFIX,   SIM_ONE_MISSING,
                                               SIM_ONLY_SIZES};

    uint64_t seed = run->seed + run->nth;

    run_try_image(run, SIM_RANDOM, seed);
    run_try_image(run, policies[seed % COUNT_OF(policies)], seed);
}

void run_crash(struct run *run)
{
    size_t from = run->promised;

    run_release(run);
    run_note_disk(run, run->bed.sim);
    bed_crash(&run->bed, SIM_RANDOM, run->seed + run->nth);
    run->promised = from;
    run->crashed = 1;
}

/* ---- all ---- */

void run_init(struct run *run, const char *what, uint64_t nth, uint64_t seed,
              enum varve_durability durability, const struct step *script)
{
    memset(run, 0, sizeof(*run));
    bed_init(&run->bed, seed);
    run->bed.options.durability = durability;
    run->bed.options.block_size_bytes = 512;
    run->bed.options.segment_size_bytes = 16 * 1024;
    run->bed.options.memtable_size_bytes = 64 * 1024;
    run->what = what;
    run->nth = nth;
    run->seed = seed;
    run->digest = DIGEST_BEGIN;
    run->script = script;
    run->count = 1;
}

void run_deinit(struct run *run)
{
    run_release(run);
    run_note_disk(run, run->bed.sim);
    bed_deinit(&run->bed);
}

static int run_has_failed(const struct run *run)
{
    return run->fail_alloc != 0 ? run->allocs >= run->fail_alloc
                                : fault_env_fired(run->bed.fault) > 0;
}

void run_script(struct run *run)
{
    for (const struct step *step = run->script; step->kind != STEP_END; step++) {
        run->step_no++;
        run_step(run, step);
        run_check_reads(run);
        if (!run->faulted && run_has_failed(run)) {
            run->faulted = 1;
            run_try_images(run);
        }
    }
    run_try_images(run);
}

/* What failed in the background is tried again, and succeeds. */
static void run_recover_levels(struct run *run)
{
    int rc = run_flush(run, 0);

    for (int ms = 0; ms < FLUSH_PATIENCE_MS && rc != 0; ms += 100) {
        run_pass(run, 100);
        run_jobs(run, 1000);
        rc = run_flush(run, 0);
    }
    if (rc != 0)
        run_wrong(run, "a flush after healing", run->bed.log);
    else if (run_flush(run, 1) != 0)
        run_wrong(run, "a compaction after healing", run->bed.log);
    run_look(run);
    run_release(run);
    run_check_reads(run);
}

/* A log file that a power cut found unfinished may show old blocks of another file. Such a file counts as
 * somebody else's, which no open takes away. */
static int is_of_others(struct run *run, const char *name)
{
    struct varve_db *db = run->bed.db;
    struct log_reader *reader = NULL;
    uint64_t file_no = 0;

    if (!run->crashed || name_parse(name, &file_no) != NAME_WAL)
        return 0;
    char *path = name_wal_path(db->dir, file_no);
    CHECK(path != NULL);
    int rc = log_reader_open(db->env, path, WAL_MAGIC, &db->id, file_no, UINT64_MAX, &reader, NULL);
    log_reader_close(reader);
    mem_free(path);
    return recovery_is_of_others(rc);
}

/* No file is left over, and none is missing. Nothing runs. */
static void run_check_files(struct run *run)
{
    static struct bed_names names;
    struct varve_stats stats;
    char text[64];
    size_t segments = 0;
    size_t wals = 0;
    uint64_t named = 0;

    bed_list(&run->bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        segments += strstr(names.name[i], ".seg") != NULL;
        wals += strstr(names.name[i], ".wal") != NULL && !is_of_others(run, names.name[i]);
    }
    varve_stats(run->bed.db, &stats);
    for (int i = 0; i < VARVE_LEVELS_MAX; i++)
        named += stats.levels[i].segments;
    if (segments != named) {
        snprintf(text, sizeof(text), "%zu of %zu", (size_t)named, segments);
        run_wrong(run, "segments that the levels know", text);
    }
    const struct wal_pool *pool = &run->bed.db->wal.pool;
    size_t known = manifest_state(run->bed.db->manifest)->wal_count + pool->reusable_count +
                   (pool->unnamed != NULL);
    if (wals != known) {
        snprintf(text, sizeof(text), "%zu of %zu", known, wals);
        run_wrong(run, "log files that the manifest or the pool knows", text);
    }
}

void run_recover(struct run *run)
{
    struct step put = {STEP_PUT, 3, 25};
    size_t before;

    fault_env_heal(run->bed.fault);
    run->fail_alloc = 0;
    run->step_no++;
    if (run->bed.db == NULL && run_open(run) != 0) {
        run_wrong(run, "open after all faults are over", run->bed.log);
        return;
    }
    for (int ms = 0; ms < HEAL_PATIENCE_MS && varve_writable(run->bed.db, NULL) != 0; ms += 100) {
        run_pass(run, 100);
        run_jobs(run, 1000);
        run_check_reads(run);
    }
    run_pass(run, 100);
    run_jobs(run, 1000);
    before = run->count;
    run->step_no++;
    run_write(run, &put);
    if (run->count != before + 1)
        run_wrong(run, "a write after healing was refused", run->bed.log);
    run_check_reads(run);
    if (run->nth % 2 == 0) /* else the log alone holds what was written since */
        run_recover_levels(run);
    run_try_images(run);
    run_close(run);
    if (run->promised != run->count - 1)
        run_wrong(run, "close after healing", run->bed.err.text);
    if (run_open(run) != 0)
        run_wrong(run, "reopen after healing", run->bed.err.text);
    run_check_reads(run);
    if (run->bed.db == NULL)
        return;
    run_jobs(run, 1000);
    run_check_files(run);
}
