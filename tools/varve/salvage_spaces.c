#include "salvage_spaces.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "types/keycode.h"

#define DATABASE_KEY_BYTES 3
#define NEXT_SPACE_KEY_BYTES 2
#define KEYSPACE_FILE "databases"

void spaces_deinit(struct salvage_spaces *spaces)
{
    mem_free(spaces->spaces);
    memset(spaces, 0, sizeof(*spaces));
}

static int is_id(struct varve_slice value, uint64_t *id)
{
    return space_id_get(value, id) == value.len && value.len > 0 && *id >= SPACE_FIRST;
}

static void see_keyspace(struct salvage_spaces *spaces, struct varve_slice key,
                         struct varve_slice value)
{
    uint64_t id = 0;
    int is_database = key.len == DATABASE_KEY_BYTES && key.data[1] == KEY_TAG_DATABASE;
    int is_next = key.len == NEXT_SPACE_KEY_BYTES && key.data[1] == KEY_TAG_NEXT_SPACE;

    if (is_next && next_space_get(value, &id) == 0)
        spaces->next_space = id;
    else if (!is_database || !is_id(value, &id))
        spaces->is_plain = 1;
    else
        spaces->databases.spaces[key.data[DATABASE_KEY_BYTES - 1]] = id;
}

int spaces_see(struct salvage_spaces *spaces, struct varve_slice key, struct varve_slice value)
{
    uint64_t id = 0;
    size_t len = space_id_get(key, &id);

    if (len > 0 && id == SPACE_KEYSPACE) {
        see_keyspace(spaces, key, value);
        return 0;
    }
    if (len == 0 || key.len == len || key.data[len] != KEY_TAG_NAME) {
        spaces->is_plain = 1;
        return 0;
    }
    if (spaces->count > 0 && spaces->spaces[spaces->count - 1] == id)
        return 0;
    if (spaces->count == spaces->cap) {
        size_t cap = spaces->cap == 0 ? 16 : spaces->cap * 2;
        uint64_t *grown = mem_realloc(spaces->spaces, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        spaces->spaces = grown;
        spaces->cap = cap;
    }
    spaces->spaces[spaces->count++] = id;
    return 0;
}

/* ---- mending ---- */

static int tell(struct salvage_report *report, uint64_t space, const char *what)
{
    struct key_prefix lower;
    struct key_prefix upper;
    struct loss loss = {.file = KEYSPACE_FILE, .what = what, .scope = LOSS_RANGE};

    key_prefix_set(&lower, space, KEY_TAG_NAME);
    key_prefix_set(&upper, space, KEY_TAG_NAME + 1);
    loss.lower = key_prefix_slice(&lower);
    loss.upper = key_prefix_slice(&upper);
    return report_add(report, &loss);
}

static int database_of(const struct salvage_spaces *spaces, uint64_t space)
{
    for (int i = 0; i < DATABASES_MAX; i++)
        if (spaces->databases.spaces[i] == space)
            return i;
    return -1;
}

static struct varve_slice database_key(uint8_t key[DATABASE_KEY_BYTES], int db)
{
    key[0] = SPACE_KEYSPACE;
    key[1] = KEY_TAG_DATABASE;
    key[2] = (uint8_t)db;
    return varve_slice(key, DATABASE_KEY_BYTES);
}

/* A space of two databases stays with the first. */
static int part_databases(struct salvage_spaces *spaces, struct salvage_store *store,
                          struct salvage_report *report, struct varve_err *err)
{
    uint64_t *of = spaces->databases.spaces;
    uint8_t key[DATABASE_KEY_BYTES];
    char what[128];
    int rc = 0;

    for (int db = 1; rc == 0 && db < DATABASES_MAX; db++) {
        if (of[db] == 0 || database_of(spaces, of[db]) == db)
            continue;
        snprintf(what, sizeof(what),
                 "databases %d and %d both claim the same keys, which stay with the first",
                 database_of(spaces, of[db]), db);
        if (tell(report, of[db], what) != 0)
            return err_set(err, VARVE_ENOMEM, "no memory");
        of[db] = 0;
        rc = salvage_store_delete(store, database_key(key, db), err);
    }
    return rc;
}

static int adopt_space(struct salvage_spaces *spaces, uint64_t space, struct salvage_store *store,
                       struct salvage_report *report, struct varve_err *err)
{
    uint8_t key[DATABASE_KEY_BYTES];
    uint8_t id[SPACE_ID_MAX_BYTES];
    char what[128];
    int db = database_of(spaces, 0); /* one without a space */

    if (db < 0)
        snprintf(what, sizeof(what),
                 "no record says whose the keys of space %" PRIu64 " are; no number is free for it",
                 space);
    else
        snprintf(what, sizeof(what),
                 "the record that says whose the keys of space %" PRIu64
                 " are is lost: they become database %d",
                 space, db);
    if (tell(report, space, what) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory");
    if (db < 0)
        return 0;
    spaces->databases.spaces[db] = space;
    return salvage_store_put(store, database_key(key, db), varve_slice(id, space_id_put(id, space)),
                             0, err);
}

int spaces_mend(struct salvage_spaces *spaces, struct salvage_store *store,
                struct salvage_report *report, struct varve_err *err)
{
    static const uint8_t next_key[NEXT_SPACE_KEY_BYTES] = {SPACE_KEYSPACE, KEY_TAG_NEXT_SPACE};
    uint8_t id[NEXT_SPACE_MAX_BYTES];
    uint64_t next = SPACE_FIRST;
    int rc = 0;

    if (spaces->is_plain)
        return 0;
    rc = part_databases(spaces, store, report, err);
    for (size_t i = 0; rc == 0 && i < spaces->count; i++)
        if (database_of(spaces, spaces->spaces[i]) < 0)
            rc = adopt_space(spaces, spaces->spaces[i], store, report, err);
    for (int i = 0; i < DATABASES_MAX; i++)
        if (spaces->databases.spaces[i] >= next)
            next = spaces->databases.spaces[i] + 1;
    if (spaces->count > 0 && spaces->spaces[spaces->count - 1] >= next)
        next = spaces->spaces[spaces->count - 1] + 1;
    if (rc != 0 || next == SPACE_FIRST || next <= spaces->next_space)
        return rc;
    if (tell(report, next, "the record that names the next new space is lost, and made anew") != 0)
        return err_set(err, VARVE_ENOMEM, "no memory");
    return salvage_store_put(store, varve_slice(next_key, sizeof(next_key)),
                             varve_slice(id, next_space_put(id, next)), 0, err);
}
