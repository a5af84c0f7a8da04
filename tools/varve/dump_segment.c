/* A segment: its properties, range tombstones and data blocks with their entries. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "dump.h"
#include "segment/segment_impl.h"

static void show_bytes(struct dump *dump, const char *name, struct varve_slice bytes)
{
    if (dump->as_json) {
        json_bytes(&dump->json, name, bytes);
        return;
    }
    printf(" %s ", name);
    output_bytes(stdout, bytes, 0);
}

static void show_properties(struct dump *dump, const struct segment *segment)
{
    const struct properties *is = segment_properties(segment);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"size", segment_size_bytes(segment)},
        {"entries", is->entries},
        {"puts", is->puts},
        {"ranges", is->ranges},
        {"seq_min", is->seq_min},
        {"seq_max", is->seq_max},
        {"raw_bytes", is->raw_bytes},
        {"value_bytes", is->value_bytes},
        {"superseded_bytes", is->superseded_bytes},
        {"expiring", is->expiring},
        {"expire_ms_max", is->expire_ms_max},
        {"blocks", segment->index.count},
        {"filter_bytes", is->filter.len},
        {"groups", is->group_count},
    };

    if (!dump->as_json)
        printf("properties");
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (dump->as_json)
            json_number(&dump->json, numbers[i].name, numbers[i].value);
        else
            printf(" %s %" PRIu64, numbers[i].name, numbers[i].value);
    }
    if (is->hiding_known && dump->as_json)
        json_number(&dump->json, "hiding_bytes", is->hiding_bytes);
    else if (is->hiding_known)
        printf(" hiding_bytes %" PRIu64, is->hiding_bytes);
    show_bytes(dump, "lower", segment_bound_slice(&is->lower));
    show_bytes(dump, "upper", segment_bound_slice(&is->upper));
    if (!dump->as_json)
        putchar('\n');
}

static void show_ranges(struct dump *dump, const struct segment *segment)
{
    size_t count = segment_range_count(segment);

    if (dump->as_json)
        json_begin_array(&dump->json, "range_tombstones");
    else if (count > 0)
        printf("%" PRIu64 " range tombstones %zu\n", segment->properties.range_block.offset, count);
    for (size_t i = 0; i < count; i++) {
        struct entry entry;
        segment_range(segment, i, &entry);
        dump_entry(dump, &entry, entry.chunk.value);
    }
    if (dump->as_json)
        json_end_array(&dump->json);
}

static void show_entry(struct dump *dump, const struct segment *segment, const struct block *block,
                       uint32_t i)
{
    static const struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct segment_hold hold = {0};
    struct varve_err err = {0};
    struct entry entry;
    struct varve_slice value;

    segment_entry(segment, block, i, &entry);
    value = entry.chunk.value;
    int wanted = !dump->keys_only && entry_value_apart(&entry);
    int rc = wanted ? entry_value(&entry, &how, &value, &hold, &err) : 0;
    dump_entry(dump, &entry, value);
    if (rc != 0)
        dump_damage(dump, entry.value_offset, err_text(&err));
    segment_hold_release(&hold);
}

static void show_block(struct dump *dump, const struct segment *segment, uint32_t i)
{
    uint64_t offset = segment->index.offsets[i];
    struct varve_err err = {0};
    struct block *block = NULL;

    if (segment_read_block(segment, i, SEGMENT_WAIT, &block, &err) != 0) {
        dump_damage(dump, offset, err_text(&err));
        return;
    }
    if (dump->as_json) {
        json_begin_object(&dump->json, NULL);
        json_number(&dump->json, "offset", offset);
        json_number(&dump->json, "length", segment->index.lens[i]);
        json_begin_array(&dump->json, "entries");
    } else {
        printf("%" PRIu64 " block length %u entries %u\n", offset, segment->index.lens[i],
               block->count);
    }
    for (uint32_t at = 0; at < block->count; at++)
        show_entry(dump, segment, block, at);
    if (dump->as_json) {
        json_end_array(&dump->json);
        json_end_object(&dump->json);
    }
    cached_unref(&block->cached);
}

int dump_segment(struct dump *dump, const char *path, struct varve_err *err)
{
    struct segment *segment = NULL;
    struct dir_id id;
    uint64_t file_no;
    int rc = file_read_header(dump->env, path, NAME_SEGMENT, &id, &file_no, err);

    if (rc == 0)
        rc = segment_open(dump->env, path, &id, file_no, NULL, &segment, err);
    if (rc != 0)
        return rc;
    dump_begin_file(dump, path, "segment", &id, file_no);
    show_properties(dump, segment);
    show_ranges(dump, segment);
    if (dump->as_json)
        json_begin_array(&dump->json, "blocks");
    for (uint32_t i = 0; i < segment->index.count; i++)
        show_block(dump, segment, i);
    if (dump->as_json) {
        json_end_array(&dump->json);
        json_end_object(&dump->json);
    }
    segment_unref(segment);
    return 0;
}
