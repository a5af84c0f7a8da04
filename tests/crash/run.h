/* run.h - drives one database through a sequence of actions on a simulated disk, and keeps what the
 * engine promised when: the trace of the disk and the notes together say which states a crash at any
 * moment may leave. All of it follows from the plan: the same plan is the same run, byte for byte,
 * and a plan that begins like another one runs like it as far as that. One thread. */
#ifndef CRASH_RUN_H
#define CRASH_RUN_H

#include "base/check.h"
#include "base/rng.h"
#include "model.h"
#include "sim_env.h"
#include "step_executor.h"

enum action {
    ACT_PUT,
    ACT_PUT_LARGE, /* several sectors, now and then longer than a WAL file */
    ACT_DELETE,
    ACT_BATCH, /* three operations with an overwrite in one record; or as a group of two batches */
    ACT_RANGE,
    ACT_ROTATE,    /* until the pool's next file is in use */
    ACT_TIME,      /* ticks over 1 to 3 seconds, with or without the jobs that they want */
    ACT_FAIL_SYNC, /* a sync fails; then healing, or not yet */
    ACT_REOPEN,
    ACT_CRASH, /* a power cut or the death of the process; goes on with what is left */
    ACT_FLUSH, /* waited for; or a memtable gets full, and its flush runs when the seed says so */
    ACT_COMPACT,
    ACT_SNAPSHOT,   /* is held to the next close or crash, and read at each comparison */
    ACT_DURABILITY, /* another mode from the next commit on */
    ACTION_COUNT
};

const char *action_name(enum action action); /* "put-large"; static storage */

#define PLAN_ACTIONS_MAX 8u

struct plan {
    uint64_t seed;
    enum varve_durability mode;
    uint8_t actions[PLAN_ACTIONS_MAX]; /* enum action */
    unsigned count;
    int settle; /* 1: at the end writes, ticks and a reopen, so that all that was done bears */
    int verbose;
};

#define RUN_SNAPSHOTS_MAX 2

struct run_snapshot {
    struct varve_snapshot *handle; /* NULL: free */
    uint64_t k;
};

enum note_kind {
    NOTE_ISSUED,    /* value: the sequence number of the last operation handed to the log */
    NOTE_COMMITTED, /* value: of the last one whose write returned 0 */
    NOTE_DURABLE,   /* value: the engine says that all up to here is durable */
    NOTE_ACKED,     /* value: a write that may be acknowledged before it is durable, in everysec */
    NOTE_CLOSED,    /* value: the database's clock at its clean close, in milliseconds */
};

/* Something that holds from event `at` of the trace on. */
struct note {
    enum note_kind kind;
    uint64_t at;
    uint64_t value;
    uint64_t mono_us;
};

#define RUN_WHY_BYTES 768

struct run {
    struct plan plan;
    struct sim_env *sim; /* the present life's: after ACT_CRASH it is the image */
    struct step_executor *stepper;
    struct varve_db *db;        /* NULL while it is closed */
    enum varve_durability mode; /* in force now; plan.mode is the one at an open */
    struct run_snapshot snapshots[RUN_SNAPSHOTS_MAX];
    struct varve_batch *batches[2];
    struct model model;
    struct rng rng;
    struct note *notes;
    size_t note_count;
    size_t note_cap;
    uint64_t cut_from;       /* events of the trace before the last action */
    int in_step;             /* a job runs */
    int in_turn;             /* the writer has a turn within a job */
    char why[RUN_WHY_BYTES]; /* "", or what went wrong before any crash */
};

#define RUN_DIR "/db"

/* Opens the database of a disk as all runs do. run NULL: nobody is told anything. */
int run_open_on(struct sim_env *sim, struct step_executor *stepper, enum varve_durability mode,
                struct run *run, struct varve_db **db, struct varve_err *err);

/* Runs the plan. run->why says whether all went well. To be ended in any case. */
void run_begin(struct run *run, const struct plan *plan);
void run_end(struct run *run);

/* Which k may be found after the first `upto` events. */
struct expect {
    uint64_t at_least;        /* after a power cut */
    uint64_t at_least_killed; /* after the death of the process */
    uint64_t at_most;
    int vouched;             /* closed cleanly, and nothing written since */
    uint64_t clock_floor_ms; /* the database's clock may not be before this; 0: not known */
};

struct expect run_expect(const struct run *run, uint64_t upto);

/* The two seconds of VARVE_EVERYSEC: 0 if losing all behind k is within them, else -1 and why. */
int run_check_acks(const struct run *run, uint64_t upto, uint64_t k, char *why, size_t why_cap);

/* What is promised durable by at least two of the records that hold S_k: damage to one record must be
 * seen if it takes more. 0 where records may have been written anew, without their promises. */
uint64_t run_promised_twice(const struct run *run, uint64_t k);

/* For run.c and actions.c. */
void run_fail(struct run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
int run_failed(const struct run *run);
void run_note(struct run *run, enum note_kind kind, uint64_t value);
void run_poll(struct run *run); /* asks what is durable by now */
void run_open(struct run *run);
void run_close(struct run *run);
/* Lets some jobs run, as the seed says. */
void run_turns(struct run *run);
void run_all_jobs(struct run *run);
int run_one_class(struct run *run, enum varve_job_class job_class);
void run_pass(struct run *run, unsigned steps); /* ticks, 100 ms apart */
/* Writes the operations as one record, those from `split` on as a batch of their own; 1 if done, 0
 * if the engine refused because its log has failed. */
int run_try_write(struct run *run, const struct model_op *ops, unsigned count, unsigned split);
/* The same, after healing if that is what it takes. */
void run_write(struct run *run, const struct model_op *ops, unsigned count, unsigned split);
void run_heal(struct run *run);
void run_compare(struct run *run); /* what is read now, and in the snapshots */
/* Waits for a flush, or for a compaction of everything. */
void run_flush(struct run *run, int compact);
void run_release_snapshots(struct run *run, struct varve_db *db);
struct model_op run_draw_put(struct run *run, size_t value_len);

void run_act(struct run *run, enum action action);
void run_settle(struct run *run);

#endif
