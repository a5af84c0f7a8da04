/* space_map.h - which database has which space: the records of space 0 (types/FORMAT.md). One thread, the
 * keyspace's. */
#ifndef TYPES_SPACE_MAP_H
#define TYPES_SPACE_MAP_H

#include <stdint.h>

#include "base/check.h"
#include "types/keycode.h"
#include "types/keyspace.h"
#include "varve/db.h"

struct space {
    uint64_t id;              /* 0: the database has none */
    uint64_t map_seq;         /* of the record, or tombstone, that says so; 0: none */
    struct key_prefix prefix; /* of names; if id is not 0 */
};

struct space_map {
    struct space of_db[KEYSPACE_DATABASES_MAX];
    uint64_t next_id;
};

/* The keys of the records; they lie in `out`. */
struct varve_slice database_key(uint8_t out[3], int db);
struct varve_slice next_space_key(uint8_t out[2]);

/* Reads the record of a database; without one its space has the id 0. VARVE_ECORRUPT, or an error of the
 * read. */
int space_load(struct varve_db *engine, const struct varve_read *read, int db, struct space *space,
               struct varve_err *err) MUST_CHECK;
/* Reads all of them. VARVE_EVERSION: they are of another version of the format. */
int space_map_load(struct varve_db *db, struct space_map *map, struct varve_err *err) MUST_CHECK;

#endif
