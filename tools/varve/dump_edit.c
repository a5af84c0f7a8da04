#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "dump.h"

#define FIELDS_MAX 4
#define TAG_GROUP 9
#define GROUP_UNKNOWN 1
#define GROUP_FORGET 2

struct tag {
    const char *name; /* of what the edit does */
    const char *fields[FIELDS_MAX];
};

static const struct tag tags[] = {
    {NULL, {NULL}},
    {"next-file", {"file"}},
    {"clock", {"ms"}},
    {"add-log", {"file"}},
    {"end-log", {"file", "end"}},
    {"drop-log", {"file"}},
    {"add-segment", {"file", "level", "run", "size"}},
    {"drop-segment", {"file"}},
    {"flushed", {"seq"}},
    {"group", {NULL}},
};

static void show_group(struct dump *dump, const uint64_t fields[FIELDS_MAX],
                       struct varve_slice name)
{
    int64_t live = (int64_t)((fields[1] >> 1) ^ (fields[1] & 1 ? UINT64_MAX : 0));
    int unknown = fields[0] == GROUP_UNKNOWN;
    int forget = fields[0] == GROUP_FORGET;

    if (dump->as_json) {
        json_bytes(&dump->json, "name", name);
        json_signed(&dump->json, "live", live);
        json_number(&dump->json, "seq", fields[2]);
        json_bool(&dump->json, "unknown", unknown);
        json_bool(&dump->json, "forget", forget);
        return;
    }
    putchar(' ');
    output_bytes(stdout, name, 0);
    if (forget)
        printf(" forget");
    else
        printf(" live %" PRId64 "%s from seq %" PRIu64, live, unknown ? " (not known)" : "",
               fields[2]);
}

static void show_fields(struct dump *dump, const struct tag *tag, const uint64_t *fields)
{
    for (size_t i = 0; i < FIELDS_MAX && tag->fields[i] != NULL; i++) {
        if (dump->as_json)
            json_number(&dump->json, tag->fields[i], fields[i]);
        else
            printf(" %s %" PRIu64, tag->fields[i], fields[i]);
    }
}

/* One change at `at`; where the next begins, NULL: it does not decode. */
static const uint8_t *show_change(struct dump *dump, const uint8_t *at, const uint8_t *end)
{
    uint64_t fields[FIELDS_MAX] = {0};
    uint8_t tag = *at++;
    struct varve_slice name = varve_slice(NULL, 0);

    if (tag == 0 || tag >= COUNT_OF(tags))
        return NULL;
    for (size_t i = 0; i < FIELDS_MAX && (tag == TAG_GROUP || tags[tag].fields[i] != NULL); i++) {
        size_t n = get_varint(at, end, &fields[i]);
        if (n == 0)
            return NULL;
        at += n;
    }
    if (tag == TAG_GROUP) {
        if (fields[3] > (size_t)(end - at))
            return NULL;
        name = varve_slice(at, (size_t)fields[3]);
        at += name.len;
    }
    if (dump->as_json) {
        json_begin_object(&dump->json, NULL);
        json_text(&dump->json, "change", tags[tag].name);
    } else {
        printf("  %s", tags[tag].name);
    }
    show_fields(dump, &tags[tag], fields);
    if (tag == TAG_GROUP)
        show_group(dump, fields, name);
    if (dump->as_json)
        json_end_object(&dump->json);
    else
        putchar('\n');
    return at;
}

void dump_edit(struct dump *dump, uint64_t offset, struct varve_slice payload)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;

    while (at != NULL && at < end)
        at = show_change(dump, at, end);
    if (at == NULL)
        dump_damage(dump, offset, "the rest of the edit does not decode");
}
