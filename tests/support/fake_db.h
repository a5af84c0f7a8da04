/* fake_db.h - the part of include/varve/ that src/types uses, as a list of versions in memory: for unit
 * tests until the engine is there. Linear, hence for small tests only. One thread. */
#ifndef SUPPORT_FAKE_DB_H
#define SUPPORT_FAKE_DB_H

#include <stdint.h>

#include "varve/db.h"

struct varve_db *fake_db_create(void);
void fake_db_destroy(struct varve_db *db);

void fake_db_set_now_ms(struct varve_db *db, uint64_t now_ms);
/* The next commit fails and undoes its group. */
void fake_db_fail_commit(struct varve_db *db);
/* The nth range from now on finds no memory in its batch; 0: all do. */
void fake_batch_fail_range(unsigned nth);
/* Writes answer this code from now on; 0: they are taken again. */
void fake_db_refuse(struct varve_db *db, int code);
/* What varve_group_is_full() answers from now on. */
void fake_db_fill_group(struct varve_db *db, int full);
/* The nth batch from now on answers it, and no other. */
void fake_db_refuse_nth(struct varve_db *db, unsigned nth, int code);
/* With no group open, reads see nothing newer than seq, as while a failed sync heals; UINT64_MAX: all. */
void fake_db_show_up_to(struct varve_db *db, uint64_t seq);
/* Records put since the start, tombstones included. */
uint64_t fake_db_version_count(const struct varve_db *db);
/* All that was written lies in segments: varve_is_newest() answers VARVE_WOULD_BLOCK of older walks. */
void fake_db_flush_up_to_now(struct varve_db *db);
uint64_t fake_db_swept_ms(const struct varve_db *db); /* the last varve_set_swept_ms() */
/* Puts a record past all layers, to plant what cannot be written. */
void fake_db_plant(struct varve_db *db, const void *key, size_t key_len, const void *value,
                   size_t value_len);
/* The same of a name in space 1. */
void plant_name(struct varve_db *db, const char *name, const void *value, size_t value_len);

/* ---- what is not in memory ---- */

/* From now on a read of a key that ends in `name` (NULL: of any key) that must not wait answers
 * VARVE_WOULD_BLOCK, unless it is told of a fetch of it. */
void fake_db_chill(struct varve_db *db, const char *name);
/* What counts that need not be exact are off by. */
#define FAKE_DB_ABOUT 100
/* The same of the values that an iterator shows, though their keys are in memory; nothing is fetched of them. */
void fake_db_chill_values(struct varve_db *db, int on);
/* So do counts. */
void fake_db_chill_counts(struct varve_db *db, int on);
/* Runs the jobs of keyspace_set_executor(): fake_db_step() does, before fetches. */
struct varve_executor *fake_db_executor(struct varve_db *db);
/* Ends the oldest fetch that runs; 0: there is none. The test is the job's thread. */
int fake_db_step(struct varve_db *db);
/* The next fetch to be started has this result, and so have reads of cold keys that wait; 0: neither. */
void fake_db_fail_fetches(struct varve_db *db, int code);
/* What is fetched helps no read, as if a flush had taken effect since. */
void fake_db_fetch_in_vain(struct varve_db *db, int on);
/* Fetches are not started (VARVE_ENOMEM). */
void fake_db_refuse_fetches(struct varve_db *db, int on);
uint64_t fake_db_blocked(const struct varve_db *db);   /* VARVE_WOULD_BLOCK answers so far, */
uint64_t fake_db_waited(const struct varve_db *db);    /* and reads of cold keys that waited */
uint64_t fake_db_cancelled(const struct varve_db *db); /* fetches that were, */
uint64_t fake_db_held(const struct varve_db *db);      /* fetches that are not released */

uint64_t fake_db_syncs(const struct varve_db *db);   /* varve_sync() calls so far, */
uint64_t fake_db_flushes(const struct varve_db *db); /* and varve_flush() */

/* What varve_write_delay_us() answers; while there is a cause, a round is 32 KiB. */
void fake_db_delay_writes(struct varve_db *db, uint64_t us, enum varve_stall_cause cause);
uint64_t fake_db_delay_asked(const struct varve_db *db); /* how often it was called */

#endif
