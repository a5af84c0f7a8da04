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
/* Writes answer this code from now on; 0: they are taken again. */
void fake_db_refuse(struct varve_db *db, int code);
/* With no group open, reads see nothing newer than seq, as while a failed sync heals; UINT64_MAX: all. */
void fake_db_show_up_to(struct varve_db *db, uint64_t seq);
/* Records put since the start, tombstones included. */
uint64_t fake_db_version_count(const struct varve_db *db);
/* Puts a record past all layers, to plant what cannot be written. */
void fake_db_plant(struct varve_db *db, const void *key, size_t key_len, const void *value,
                   size_t value_len);

#endif
