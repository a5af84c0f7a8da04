#include <strings.h>

#include "config/impl.h"

#define NEAREST_NAME_MAX_BYTES 64

#define F(flag) CONFIG_##flag
static const struct config_row rows[OPT_COUNT] = {
#define OPTION(id, name, type, value, min, max, unit, flags, group, text)                          \
    [OPT_##id] = {name, value, min, max, unit, text, group, CONFIG_##type, flags},
#define ALIAS(name, id)
#include "config/options.def"
#undef OPTION
#undef ALIAS
};

const struct config_alias config_aliases[] = {
#define OPTION(id, name, type, value, min, max, unit, flags, group, text)
#define ALIAS(name, id) {name, OPT_##id},
#include "config/options.def"
#undef OPTION
#undef ALIAS
    {NULL, OPT_COUNT},
};

const struct config_row *config_row(enum config_option option)
{
    CHECK((unsigned)option < OPT_COUNT);
    return &rows[option];
}

static int same_name(struct varve_slice name, const char *known)
{
    return strlen(known) == name.len && strncasecmp((const char *)name.data, known, name.len) == 0;
}

int config_find(struct varve_slice name)
{
    if (name.len == 0)
        return -1;
    for (int i = 0; i < OPT_COUNT; i++)
        if (same_name(name, rows[i].name))
            return i;
    for (const struct config_alias *alias = config_aliases; alias->name != NULL; alias++)
        if (same_name(name, alias->name))
            return (int)alias->option;
    return -1;
}

/* Levenshtein's distance, by its one-row recurrence. Both are at most NEAREST_NAME_MAX_BYTES. */
static size_t edit_distance(struct varve_slice a, struct varve_slice b)
{
    size_t row[NEAREST_NAME_MAX_BYTES + 1];

    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t best = diagonal + ((a.data[i - 1] | 0x20) != (b.data[j - 1] | 0x20));
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

const char *config_nearest(struct varve_slice name)
{
    const char *nearest = NULL;
    size_t bound = 2 + name.len / 4; /* further away is another word, not a slip */

    if (name.len < 2 || name.len > NEAREST_NAME_MAX_BYTES)
        return NULL;
    for (int i = 0; i < OPT_COUNT; i++) {
        size_t distance = edit_distance(name, varve_slice_str(rows[i].name));
        if (distance < bound) {
            bound = distance;
            nearest = rows[i].name;
        }
    }
    return nearest;
}
