#include "types/space_map.h"

#include "base/err.h"

struct varve_slice database_key(uint8_t out[3], int db)
{
    out[0] = SPACE_KEYSPACE;
    out[1] = KEY_TAG_DATABASE;
    out[2] = (uint8_t)db;
    return varve_slice(out, 3);
}

struct varve_slice next_space_key(uint8_t out[2])
{
    out[0] = SPACE_KEYSPACE;
    out[1] = KEY_TAG_NEXT_SPACE;
    return varve_slice(out, 2);
}

/* The id of a database's space: 0, or VARVE_ECORRUPT. */
static int database_space_get(struct varve_slice bytes, uint64_t *id)
{
    return space_id_get(bytes, id) == bytes.len && *id != 0 ? 0 : VARVE_ECORRUPT;
}

/* A record of space 0: *id is 0 if there is none. */
static int map_load_id(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                       int (*decode)(struct varve_slice bytes, uint64_t *id), uint64_t *id,
                       uint64_t *seq, struct varve_err *err)
{
    struct varve_pin pin = {0};
    int rc = varve_get(db, read, key, &pin, err);

    *id = 0;
    *seq = pin.seq;
    if (rc == VARVE_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    rc = decode(pin.value, id);
    if (rc == VARVE_EVERSION)
        err_set(err, rc, "keyspace: its format is version %llu, this build reads version %d",
                (unsigned long long)*id, KEYSPACE_VERSION);
    else if (rc != 0)
        err_set(err, rc, "keyspace: record %02x%02x%s does not decode", key.data[0], key.data[1],
                key.len > 2 ? " of a database" : "");
    varve_pin_release(&pin);
    return rc;
}

int space_load(struct varve_db *engine, const struct varve_read *read, int db, struct space *space,
               struct varve_err *err)
{
    uint8_t key[3];
    int rc = map_load_id(engine, read, database_key(key, db), database_space_get, &space->id,
                         &space->map_seq, err);

    key_prefix_set(&space->prefix, space->id, KEY_TAG_NAME);
    return rc;
}

static int map_check(const struct space_map *map, struct varve_err *err)
{
    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++) {
        uint64_t id = map->of_db[db].id;
        if (id == 0)
            continue;
        if (id >= map->next_id)
            return err_set(err, VARVE_ECORRUPT,
                           "keyspace: database %d has space %llu, the next one is %llu", db,
                           (unsigned long long)id, (unsigned long long)map->next_id);
        for (int other = 0; other < db; other++)
            if (map->of_db[other].id == id)
                return err_set(err, VARVE_ECORRUPT, "keyspace: databases %d and %d share a space",
                               other, db);
    }
    return 0;
}

int space_map_load(struct varve_db *db, struct space_map *map, struct varve_err *err)
{
    struct varve_read read = {.uncommitted = 1};
    struct space_map loaded = {0};
    uint8_t key[2];
    uint64_t seq;
    int rc = map_load_id(db, &read, next_space_key(key), next_space_get, &loaded.next_id, &seq,
                         err);

    if (loaded.next_id == 0)
        loaded.next_id = SPACE_FIRST;
    for (int i = 0; rc == 0 && i < KEYSPACE_DATABASES_MAX; i++)
        rc = space_load(db, &read, i, &loaded.of_db[i], err);
    if (rc == 0)
        rc = map_check(&loaded, err);
    if (rc == 0)
        *map = loaded;
    return rc;
}
