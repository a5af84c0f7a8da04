/* levels.h - levels without files: segments are sorted lists of sampled keys, a key stands for slot_bytes of
 * data. Carries out what the picker chooses, and knows the right answer. Ends the program when a rule is
 * broken. One thread. */
#ifndef LEVELS_H
#define LEVELS_H

#include "base/rng.h"
#include "lsm/picker_private.h"

#define LEVELS_JOBS_MAX 3

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            levels_failed(__FILE__, __LINE__, #cond);                                              \
    } while (0)
_Noreturn void levels_failed(const char *file, int line, const char *what);

struct slot_entry {
    uint32_t slot;
    uint32_t expire; /* the tick from which on it is expired; 0: never, TOMBSTONE: a delete */
    uint64_t seq;
};
#define TOMBSTONE UINT32_MAX

struct model_segment {
    uint64_t file_no;
    struct slot_entry *entries;
    size_t count;
    uint64_t bytes;
    uint64_t deletes;
    uint64_t expiring;
    uint64_t hiding_bytes; /* of deletes, and of puts over older entries */
    uint64_t seq_min;
    uint64_t seq_max;
    uint64_t culled_seq;
    const struct model_job *job; /* that it is an input of; NULL: none */
};

struct model_run {
    uint32_t level;
    uint64_t no;
    struct model_segment **segments;
    size_t count;
    size_t cap;
};

struct model_job {
    struct pick pick;
    struct model_segment **outputs; /* made when it began: its inputs don't change */
    size_t output_count;
    size_t output_cap;
    int active;
};

struct levels_config {
    uint32_t slots;
    uint64_t slot_bytes;
    uint64_t tombstone_bytes;
    uint64_t flush_bytes;
    uint64_t floor_bytes;
    uint64_t segment_bytes;
    uint64_t cut_min_bytes;
    uint32_t segments_max;
    const struct picker_tuning *tuning;
    uint64_t disk_bytes; /* 0: no limit; else a merge that does not fit fails */
    uint64_t min_free_bytes;
    uint32_t hiding_percent; /* of what is hidden, the picker is told */
    int hiding_unknown;      /* it is told that all hides something */
    /* Told of what is flushed, and of what a merge drops under something newer; may be NULL. */
    void (*flushed)(void *arg, const struct slot_entry *entry);
    void (*dropped)(void *arg, const struct slot_entry *entry);
    void *arg;
    int check_always; /* all rules after each step, not only now and then */
};

struct levels {
    struct levels_config config;
    struct model_run *runs;
    size_t run_count;
    size_t run_cap;
    struct slot_entry *truth; /* by slot; seq 0: never written */
    struct slot_entry *memtable;
    uint8_t *in_memtable;
    uint32_t *memtable_slots;
    uint32_t memtable_count;
    uint8_t (*keys)[4];
    struct model_job jobs[LEVELS_JOBS_MAX];
    uint64_t seq;
    uint64_t file_no;
    uint64_t run_no;
    uint64_t oldest_snapshot_seq;
    uint32_t now; /* in flushes */
    int compact_all;
    uint64_t compact_all_seq;
    uint64_t user_bytes;
    uint64_t written_bytes;
    uint64_t picks;
    uint64_t picks_by[PICK_FOR_ALL + 1];
    uint64_t job_bytes_max;
    int idle;            /* nobody writes */
    uint64_t room_bytes; /* 0, or less than what there was no room for */
    uint64_t culls;
    uint64_t failures; /* for want of room */
};

void levels_init(struct levels *levels, const struct levels_config *config);
void levels_deinit(struct levels *levels);
/* expire as in slot_entry. A full memtable is flushed; 1: that happened. */
int levels_write(struct levels *levels, uint32_t slot, uint32_t expire);
void levels_flush(struct levels *levels);
/* Chooses and begins one job; 0: nothing is due, or all of it is busy. */
int levels_begin(struct levels *levels);
void levels_end(struct levels *levels, struct model_job *job);
size_t levels_jobs(const struct levels *levels);
/* Jobs one by one until nothing is due. */
void levels_drain(struct levels *levels);
/* The same where nobody has written for a while. */
void levels_rest(struct levels *levels);
void levels_check(const struct levels *levels);
uint64_t levels_bytes(const struct levels *levels);
uint64_t levels_free(const struct levels *levels);       /* of the disk */
uint64_t levels_live_bytes(const struct levels *levels); /* after a full compaction */
size_t levels_segments(const struct levels *levels);
size_t levels_level0_runs(const struct levels *levels);
double levels_depth(const struct levels *levels); /* mean runs that hold a key's place */
struct picker_debt levels_debt(const struct levels *levels);

#endif
