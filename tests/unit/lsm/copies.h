/* copies.h - checkpoints as the tests see them: what they hold, where they lie, whether they change. All
 * of one thread; a call without a return code fails the test by a CHECK. */
#ifndef TESTS_LSM_COPIES_H
#define TESTS_LSM_COPIES_H

#include <stdint.h>

#include "bed.h"
#include "varve/checkpoint.h"

/* A checkpoint that jobs make, step by step. */
struct copy_try {
    struct varve_checkpoint checkpoint;
    int done; /* how often done() was called */
};
int copy_start(struct bed *bed, const char *dir, struct copy_try *try);
/* Until its second job waits; then its first has captured all. */
void copy_run_to_capture(struct bed *bed, const struct copy_try *try);
/* From now on a link fails with os_errno. */
void copy_no_links(struct bed *bed, int os_errno);

/* All that the database shows, and the exact count of group "a". mem_free() it. */
char *copy_state(struct bed *bed);
/* The same of the database in dir of that disk, which is consumed; NULL: it does not open, or is damaged, and *rc says
 * why. clock_ms (may be NULL) gets its time. */
char *copy_look(struct sim_env *disk, const char *dir, int *rc, uint64_t *clock_ms);
/* What a power cut right now leaves of dir; it must open. */
char *copy_look_now(struct bed *bed, const char *dir);

int copy_exists(struct sim_env *disk, const char *dir);
/* Names and bytes of all files of dir. */
uint64_t copy_hash(struct sim_env *disk, const char *dir);
/* Removes dir and what is in it, durably. */
void copy_remove(struct bed *bed, const char *dir);

#endif
