#include "databases.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "types/keycode.h"

#define DATABASE_KEY_BYTES 3

static int take_database(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct databases *databases = arg;
    struct varve_slice value = entry->chunk.value;
    uint64_t id = 0;

    if (entry->chunk.key.len != DATABASE_KEY_BYTES || space_id_get(value, &id) != value.len ||
        id < SPACE_FIRST)
        return err_set(err, VARVE_ECORRUPT,
                       "the keyspace's record with sequence %" PRIu64 " does not decode",
                       entry->seq);
    databases->spaces[entry->chunk.key.data[DATABASE_KEY_BYTES - 1]] = id;
    return 0;
}

int databases_read(const struct content *content, struct databases *databases,
                   struct varve_err *err)
{
    struct key_prefix prefix;

    *databases = (struct databases){0};
    key_prefix_set(&prefix, SPACE_KEYSPACE, KEY_TAG_DATABASE);
    return content_walk(content, key_prefix_slice(&prefix), take_database, databases, err);
}

static int find_database(const struct databases *databases, uint64_t space)
{
    for (int i = 0; i < DATABASES_MAX; i++)
        if (databases->spaces[i] == space)
            return i;
    return -1;
}

size_t databases_prefix(const struct databases *databases, struct varve_slice key, unsigned *db)
{
    size_t len = keycode_count_group(NULL, key);
    uint64_t space = 0;

    if (len == 0 || space_id_get(key, &space) == 0)
        return 0;
    int found = find_database(databases, space);
    if (found < 0)
        return 0;
    *db = (unsigned)found;
    return len;
}

int databases_name(const struct databases *databases, struct varve_slice key, unsigned *db,
                   struct varve_slice *name)
{
    size_t len = databases_prefix(databases, key, db);

    return len > 0 && name_of_key(key, len, name) == 0;
}

const char *databases_group(const struct databases *databases, struct varve_slice group,
                            char text[32])
{
    uint64_t space = 0;

    text[0] = '\0';
    if (keycode_count_group(NULL, group) != group.len || space_id_get(group, &space) == 0)
        return text;
    int found = find_database(databases, space);
    if (found >= 0)
        snprintf(text, 32, "db %d", found);
    else
        snprintf(text, 32, "space %" PRIu64, space);
    return text;
}
