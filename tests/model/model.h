/* model.h - one episode: a database on a simulated disk, its oracle, and what is held of both. All of it
 * follows from the seed: what is done, which jobs run when, and how the database is set up, each
 * from numbers of its own, so that the same operations can be run under another configuration. One thread. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/check.h"
#include "fault_env.h"
#include "oracle.h"
#include "sim_env.h"
#include "step_executor.h"
#include "varve/db.h"
#include "varve/iter.h"

#define SNAPSHOTS_MAX 12
#define ITERS_MAX 6
#define PINS_MAX 16
#define MODEL_DIR "/db"

struct held_snapshot {
    struct varve_snapshot *handle; /* NULL: free */
    uint64_t seq;
    uint64_t now_ms;
};

/* Who reads: what of the oracle is seen. */
struct view {
    uint64_t seq;
    uint64_t now_ms;
    uint64_t sure_ms; /* what expired up to then may be gone, even for who asks for the dead */
    int dead;
};

struct held_iter {
    struct varve_iter *handle; /* NULL: free */
    struct view view;
    size_t from; /* of the oracle's keys: [from, to) lies in the bounds */
    size_t to;
    size_t at; /* where it stands, if it is valid */
};

struct held_pin {
    struct varve_pin pin;
    struct version version;
    int used;
};

struct figures {
    uint64_t writes; /* operations */
    uint64_t gets;
    uint64_t moves; /* of iterators */
    uint64_t counts;
    uint64_t jobs;
    uint64_t flushes; /* asked for */
    uint64_t compactions;
    uint64_t snapshots;
    uint64_t reopens;
    uint64_t crashes;
    uint64_t failed_groups;
    uint64_t cut_groups;
    uint64_t blocked; /* answers that needed the disk */
    uint64_t full;    /* writes that had to wait for jobs */
    uint64_t engine_flushes;
    uint64_t engine_compactions;
    uint64_t engine_moves;
    uint64_t engine_drops;
    uint64_t digest; /* of all disks and answers (campaign.h) */
};

struct plan {
    uint64_t seed;
    unsigned config;  /* 0, 1: how it is set up */
    int twin;         /* 1: must go alike under every configuration */
    uint64_t stop_at; /* step; 0: to the end */
    int verbose;      /* 1: tells the last steps */
};

struct model {
    struct plan plan;
    struct rng ops;   /* what is done */
    struct rng jobs;  /* which jobs run when */
    struct rng setup; /* knobs */
    struct sim_env *sim;
    struct fault_env *fault;
    struct step_executor *stepper;
    struct varve_db *db;
    struct varve_options options;
    struct oracle oracle;
    struct varve_batch *batch;
    uint32_t value_max; /* bytes */
    int huge_values;
    int jobs_chance;   /* of 64, after each step */
    uint64_t clock_ms; /* the largest time the database can have seen */
    uint64_t durable;  /* the largest sequence it called durable */
    struct held_snapshot snapshots[SNAPSHOTS_MAX];
    struct held_iter iters[ITERS_MAX];
    struct held_pin pins[PINS_MAX];
    uint64_t step;
    uint64_t steps;   /* of the episode */
    uint64_t answers; /* a hash of all that must be alike under every configuration */
    struct figures *figures;
};

/* Says what is wrong, how to see it again, and ends the program. */
_Noreturn void model_fail(const struct model *model, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A line about the present step, if it is one of the last. */
void model_tell(const struct model *model, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Within a step the order does not count: some answers wait for the disk, others need not. */
static inline void model_answer(struct model *model, uint64_t value)
{
    struct rng rng = {.state = value ^ model->step << 32};

    model->answers += rng_next(&rng);
}

/* ---- life.c ---- */

void model_begin(struct model *model, const struct plan *plan, struct figures *figures);
void model_end(struct model *model);
void model_open(struct model *model);
void model_reopen(struct model *model);
void model_crash(struct model *model);
/* Runs `max` jobs at most, of classes that the seed draws. */
void model_run_jobs(struct model *model, size_t max);
void model_advance(struct model *model, uint64_t us); /* both clocks, and what is due */
/* Writes are taken again after a log write failed. */
void model_heal(struct model *model);
uint64_t model_now(struct model *model);
void model_note_durable(struct model *model);

/* ---- writes.c ---- */

void model_put(struct model *model);
void model_delete(struct model *model);
void model_delete_range(struct model *model);
void model_batch(struct model *model);
/* Several batches, reads of what is not committed between them; now and then its log write fails. */
void model_group(struct model *model, int fails);

/* ---- reads.c ---- */

enum presence { ABSENT, PRESENT, MAYBE };

enum presence model_expect(const struct model *model, size_t key, const struct view *view,
                           const struct version **version);
void model_check_version(struct model *model, size_t key, const struct version *version,
                         struct varve_slice value, uint64_t seq, uint64_t expire_ms);
void model_get(struct model *model);
void model_get_snapshot(struct model *model);
void model_get_uncommitted(struct model *model);
void model_get_blocked(struct model *model); /* no_wait, and the fetch that follows */
void model_get_inside(struct model *model);  /* several between enter and leave */
void model_pin_release(struct model *model, struct held_pin *pin);
void model_count(struct model *model);
void model_snapshot_take(struct model *model);
void model_snapshot_drop(struct model *model, struct held_snapshot *snapshot);
/* All keys, now and in each snapshot, by gets and by iterations; counts. */
void model_compare(struct model *model);
size_t model_draw_key(struct model *model);

/* ---- iters.c ---- */

void model_iter_open(struct model *model);
void model_iter_move(struct model *model);
void model_iter_close(struct held_iter *iter);
/* A short life in an open group. */
void model_iter_uncommitted(struct model *model);
void model_iter_walk(struct model *model, const struct varve_read *read, const struct view *view);

/* What a read sees. snapshot NULL: the newest committed state. */
struct view model_view(struct model *model, const struct held_snapshot *snapshot, int uncommitted,
                       int dead);

#endif
