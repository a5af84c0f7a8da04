/* The engine's own readers are used throughout: a segment is loaded as ever, and only where that fails its
 * blocks are looked for, which gives the same list of data blocks with holes in it. */
#include "salvage_segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "salvage_blocks.h"
#include "segment/segment_impl.h"
#include "varve/batch.h"

struct salvage_segment {
    struct segment base; /* what the engine's readers take; entries name it */
    const char *name;    /* behind the last slash of base.path */
    struct salvage_report *report;
    struct found_blocks blocks; /* data blocks and unreadable stretches, in the order of the keys */
    int is_loaded;              /* the index and all else but data could be read */
    int has_properties;
};

struct salvage_walk {
    struct iter iter; /* first */
    struct salvage_segment *segment;
    size_t next_block; /* in segment->blocks */
    struct block *block;
    uint32_t at;
    struct buf last; /* the last key seen */
    int any;
    uint64_t last_seq;
    int in_hole;      /* something could not be read since the last entry */
    uint64_t hole_at; /* where that begins */
    uint64_t hole_bytes;
    char hole_why[VARVE_ERR_TEXT_MAX];
};

static uint64_t seq_max_of(const struct salvage_segment *segment)
{
    return segment->has_properties ? segment->base.properties.seq_max : UINT64_MAX;
}

/* Does the log have every record that the segment ever had? */
static int is_in_log(const struct salvage_segment *segment)
{
    const struct salvage_report *report = segment->report;

    return segment->has_properties && report->log_to_seq != 0 &&
           segment->base.properties.seq_min >= report->log_from_seq &&
           segment->base.properties.seq_max <= report->log_to_seq;
}

static struct loss loss_of(const struct salvage_segment *segment, uint64_t offset, uint64_t bytes,
                           const char *what)
{
    return (struct loss){.file = segment->name,
                         .offset = offset,
                         .bytes = bytes,
                         .what = what,
                         .scope = is_in_log(segment) ? LOSS_NONE : LOSS_RANGE,
                         .seq_max = seq_max_of(segment)};
}

/* ---- without an index ---- */

static int open_block(const struct salvage_segment *segment, const struct found_block *found,
                      struct buf *bytes, struct buf *scratch, struct varve_slice *payload,
                      struct varve_err *err)
{
    size_t len = (size_t)found->len + BLOCK_TRAILER_BYTES;

    buf_clear(bytes);
    int rc = buf_reserve(bytes, len);
    if (rc != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a block of %zu bytes", len);
    rc = segment_read_bytes(&segment->base, SEGMENT_WAIT, bytes->data, len, found->offset, err);
    if (rc == 0)
        rc = block_open(bytes->data, (size_t)found->len, segment->base.salt, found->offset,
                        (enum block_kind)found->kind, scratch, payload, err);
    return rc;
}

/* Properties and range tombstones out of a block that was found; one that does not decode is as if it were
 * not there. */
static int take_block(struct salvage_segment *segment, const struct found_block *found,
                      struct varve_err *err)
{
    struct varve_slice payload;
    struct buf scratch;
    struct buf bytes;
    int rc;

    if (found->kind != BLOCK_PROPERTIES && found->kind != BLOCK_RANGES)
        return 0;
    buf_init(&bytes, SIZE_MAX / 2);
    buf_init(&scratch, SCRATCH_MAX_BYTES);
    rc = open_block(segment, found, &bytes, &scratch, &payload, err);
    if (rc == 0 && found->kind == BLOCK_PROPERTIES)
        segment->has_properties = properties_get(payload, &segment->base.properties, err) == 0;
    if (rc == 0 && found->kind == BLOCK_RANGES && segment->base.ranges == NULL)
        rc = block_decode(payload, BLOCK_RANGES, 0, &segment->base.ranges, err);
    buf_deinit(&bytes);
    buf_deinit(&scratch);
    return rc == VARVE_ENOMEM ? rc : 0;
}

/* Leaves data blocks, and the stretches where some or range tombstones may have been. */
static void keep_data(struct salvage_segment *segment, int is_whole)
{
    struct found_blocks *blocks = &segment->blocks;
    int behind_data = 0; /* what comes now is derived from the data */
    size_t kept = 0;

    for (size_t i = 0; i < blocks->count; i++) {
        const struct found_block *found = &blocks->items[i];
        behind_data |= found->kind == BLOCK_FILTER || found->kind == BLOCK_INDEX;
        if (found->kind == BLOCK_DATA ||
            (found->kind == BLOCK_UNREADABLE && !behind_data && !is_whole))
            blocks->items[kept++] = *found;
    }
    blocks->count = kept;
}

/* Do the blocks that were found hold all that the properties count? */
static int is_complete(struct salvage_segment *segment, int *complete, struct varve_err *err)
{
    const struct found_blocks *blocks = &segment->blocks;
    const struct properties *says = &segment->base.properties;
    uint64_t ranges = segment->base.ranges == NULL ? 0 : segment->base.ranges->count;
    struct varve_slice payload;
    struct buf scratch;
    struct buf bytes;
    uint64_t entries = 0;
    int rc = 0;

    *complete = 0;
    if (!segment->has_properties || ranges != says->ranges)
        return 0;
    buf_init(&bytes, SIZE_MAX / 2);
    buf_init(&scratch, SCRATCH_MAX_BYTES);
    for (size_t i = 0; rc != VARVE_ENOMEM && i < blocks->count; i++) {
        struct block *block = NULL;
        if (blocks->items[i].kind != BLOCK_DATA)
            continue;
        rc = open_block(segment, &blocks->items[i], &bytes, &scratch, &payload, err);
        if (rc == 0)
            rc = block_decode(payload, BLOCK_DATA, blocks->items[i].offset, &block, err);
        if (rc != 0)
            continue;
        entries += block->count;
        cached_unref(&block->cached);
    }
    buf_deinit(&bytes);
    buf_deinit(&scratch);
    *complete = entries == says->entries;
    return rc == VARVE_ENOMEM ? rc : 0;
}

/* They may have covered any key between its bounds. */
static int lose_ranges(struct salvage_segment *segment)
{
    struct loss loss = loss_of(segment, 0, 0, "its range tombstones cannot be read");

    loss.lower = segment_bound_slice(&segment->base.properties.lower);
    loss.upper = segment_bound_slice(&segment->base.properties.upper);
    return report_add(segment->report, &loss);
}

/* The segment could not be loaded, for the reason in `why`. */
static int find_blocks(struct salvage_segment *segment, const struct varve_err *why,
                       struct varve_err *err)
{
    struct found_blocks *blocks = &segment->blocks;
    int complete = 0;
    int rc;

    segment_unload(&segment->base);
    memset(&segment->base.properties, 0, sizeof(segment->base.properties));
    segment->base.salt = file_salt(&segment->base.id, segment->base.file_no);
    segment->base.data_end = segment->base.size_bytes;
    rc = salvage_find_blocks(&segment->base, blocks, err);
    for (size_t i = 0; rc == 0 && i < blocks->count; i++)
        rc = take_block(segment, &blocks->items[i], err);
    if (rc == 0)
        rc = is_complete(segment, &complete, err);
    if (rc != 0)
        return rc;
    struct loss loss = loss_of(segment, 0, 0, why->text);
    int has_end = blocks->count > 0 && blocks->items[blocks->count - 1].kind == BLOCK_PROPERTIES;
    int has_index = 0;
    for (size_t i = 0; i < blocks->count; i++)
        has_index |= blocks->items[i].kind == BLOCK_INDEX || blocks->items[i].kind == BLOCK_FILTER;
    keep_data(segment, complete);
    /* A file that was cut between two blocks has no hole, and lacks what came behind all the same. */
    int has_hole = blocks->count > 0 && blocks->items[blocks->count - 1].kind == BLOCK_UNREADABLE;
    if (!complete && !has_end && !has_index && !has_hole &&
        found_blocks_add(blocks, segment->base.size_bytes, 0, BLOCK_UNREADABLE) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for the blocks of %s", segment->name);
    loss.scope = LOSS_NONE; /* the holes are told by the walk */
    rc = report_add(segment->report, &loss);
    if (rc == 0 && segment->has_properties &&
        salvage_segment_range_count(segment) != segment->base.properties.ranges)
        rc = lose_ranges(segment);
    return rc;
}

/* ---- opening ---- */

static int list_blocks(struct salvage_segment *segment)
{
    const struct segment_index *index = &segment->base.index;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < index->count; i++)
        rc = found_blocks_add(&segment->blocks, index->offsets[i], index->lens[i], BLOCK_DATA);
    return rc;
}

static int segment_begin(const struct data_dir *dir, uint64_t file_no,
                         struct salvage_report *report, struct salvage_segment *segment,
                         struct varve_err *err)
{
    struct segment *base = &segment->base;

    segment->report = report;
    base->env = dir->env;
    base->id = dir->id;
    base->file_no = file_no;
    base->block_reads = mem_alloc_zero(BLOOM_LINE_BYTES);
    base->path = name_segment_path(dir->path, file_no);
    if (base->path == NULL || base->block_reads == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a segment");
    segment->name = strrchr(base->path, '/') + 1;
    return 0;
}

/* Nothing of it is to be had. */
static int lose_all(struct salvage_segment *segment, const char *why)
{
    struct loss loss = loss_of(segment, 0, 0, why);

    loss.scope = LOSS_ANY;
    return report_add(segment->report, &loss);
}

int salvage_segment_open(const struct data_dir *dir, uint64_t file_no,
                         struct salvage_report *report, struct salvage_segment **out,
                         struct varve_err *err)
{
    struct salvage_segment *segment = mem_alloc_zero(sizeof(*segment));
    struct varve_err why = {0};
    int rc = VARVE_ENOMEM;
    int usable = 0;

    *out = NULL;
    if (segment == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a segment");
    rc = segment_begin(dir, file_no, report, segment, err);
    if (rc != 0)
        goto out;
    int opened = dir->env->ops->open(dir->env, segment->base.path, VARVE_OPEN_READ,
                                     &segment->base.file, &why);
    if (opened == 0)
        opened = segment_load(&segment->base, &why);
    if (opened == 0) {
        segment->is_loaded = 1;
        segment->has_properties = 1;
        rc = list_blocks(segment);
    } else if (opened == VARVE_ENOMEM) {
        rc = err_set(err, opened, "%s", why.text);
    } else if (segment->base.file == NULL) {
        rc = lose_all(segment, opened == VARVE_ENOENT ? "the file is missing" : why.text);
        goto out;
    } else if (opened == VARVE_EVERSION || opened == VARVE_EFOREIGN) {
        rc = lose_all(segment, why.text);
        goto out;
    } else {
        rc = find_blocks(segment, &why, err);
    }
    usable = rc == 0;
    report->segments += usable;
out:
    if (usable)
        *out = segment;
    else
        salvage_segment_close(segment);
    return rc;
}

void salvage_segment_close(struct salvage_segment *segment)
{
    if (segment == NULL)
        return;
    segment_unload(&segment->base);
    segment->base.env->ops->close(segment->base.env, segment->base.file);
    mem_free(segment->base.block_reads);
    mem_free(segment->base.path);
    found_blocks_deinit(&segment->blocks);
    mem_free(segment);
}

size_t salvage_segment_range_count(const struct salvage_segment *segment)
{
    return segment->base.ranges == NULL ? 0 : segment->base.ranges->count;
}

/* Those whose CRC is wrong lie in a block whose CRC is right: none that was written. They cover nothing. */
void salvage_segment_range(const struct salvage_segment *segment, size_t i,
                           struct range_tombstone *range)
{
    struct entry entry;

    block_entry(segment->base.ranges, (uint32_t)i, &entry);
    *range = (struct range_tombstone){
        .begin = entry.chunk.key, .end = entry.chunk.value, .seq = entry.seq};
    if (chunk_crc(&entry.chunk) != entry.chunk.crc)
        range->end = range->begin;
}

const char *salvage_segment_name(const struct entry *entry)
{
    const struct salvage_segment *segment = CONTAINER_OF((uintptr_t)entry->value_segment,
                                                         struct salvage_segment, base);

    return segment->name;
}

/* ---- walking ---- */

static struct salvage_walk *walk_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct salvage_walk, iter);
}

static void walk_let_go(struct salvage_walk *walk)
{
    if (walk->block != NULL)
        cached_unref(&walk->block->cached);
    walk->block = NULL;
    walk->iter.valid = 0;
}

static void walk_fail(struct salvage_walk *walk)
{
    walk_let_go(walk);
    walk->iter.rc = err_set(&walk->iter.err, VARVE_ENOMEM, "%s: no memory to read it",
                            walk->segment->name);
}

static void note_hole(struct salvage_walk *walk, const struct found_block *found, const char *why)
{
    uint64_t trailer = found->kind == BLOCK_UNREADABLE ? 0 : BLOCK_TRAILER_BYTES;

    if (!walk->in_hole) {
        walk->in_hole = 1;
        walk->hole_at = found->offset;
        snprintf(walk->hole_why, sizeof(walk->hole_why), "%s", why);
    }
    walk->hole_bytes = found->offset + found->len + trailer - walk->hole_at;
}

/* A hole ends before the key `before`, or with the segment (NULL). */
static int tell_hole(struct salvage_walk *walk, const struct varve_slice *before)
{
    const struct properties *properties = &walk->segment->base.properties;
    struct loss loss = loss_of(walk->segment, walk->hole_at, walk->hole_bytes, walk->hole_why);

    if (!walk->in_hole)
        return 0;
    walk->in_hole = 0;
    if (walk->segment->has_properties) {
        loss.lower = segment_bound_slice(&properties->lower);
        loss.upper = segment_bound_slice(&properties->upper);
    }
    if (walk->any) {
        /* The smallest key that is greater. */
        if (buf_append(&walk->last, "", 1) != 0)
            return VARVE_ENOMEM;
        walk->last.len--;
        loss.lower = varve_slice(walk->last.data, walk->last.len + 1);
    }
    if (before != NULL)
        loss.upper = *before;
    return report_add(walk->segment->report, &loss);
}

/* The decoded block, or NULL and what is wrong with it. */
static int walk_read(struct salvage_walk *walk, const struct found_block *found,
                     struct block **block, struct varve_err *why)
{
    struct varve_slice payload;
    struct buf scratch;
    struct buf bytes;

    *block = NULL;
    buf_init(&bytes, SIZE_MAX / 2);
    buf_init(&scratch, SCRATCH_MAX_BYTES);
    int rc = open_block(walk->segment, found, &bytes, &scratch, &payload, why);
    if (rc == 0)
        rc = block_decode(payload, BLOCK_DATA, found->offset, block, why);
    buf_deinit(&bytes);
    buf_deinit(&scratch);
    if (rc == 0 && walk->any &&
        varve_slice_compare(block_key(*block, 0), buf_slice(&walk->last)) <= 0) {
        cached_unref(&(*block)->cached);
        *block = NULL;
        rc = err_set(why, VARVE_ECORRUPT, "its keys are not behind those of the block before");
    }
    return rc;
}

/* To the first entry of the next block that can be read. */
static void walk_next_block(struct salvage_walk *walk)
{
    const struct found_blocks *blocks = &walk->segment->blocks;

    walk_let_go(walk);
    while (walk->next_block < blocks->count) {
        const struct found_block *found = &blocks->items[walk->next_block++];
        struct varve_err why = {0};
        if (found->kind == BLOCK_UNREADABLE) {
            note_hole(walk, found,
                      found->len == 0 ? "the file ends here, too early"
                                      : "no block can be read here");
            continue;
        }
        int rc = walk_read(walk, found, &walk->block, &why);
        if (rc == VARVE_ENOMEM) {
            walk_fail(walk);
            return;
        }
        if (rc != 0) {
            note_hole(walk, found, why.text);
            continue;
        }
        struct varve_slice first = block_key(walk->block, 0);
        walk->at = 0;
        walk->iter.valid = 1;
        if (tell_hole(walk, &first) != 0)
            walk_fail(walk);
        return;
    }
    if (tell_hole(walk, NULL) != 0)
        walk_fail(walk);
}

static void walk_show(struct salvage_walk *walk)
{
    struct entry *entry = &walk->iter.entry;

    if (!walk->iter.valid)
        return;
    block_entry(walk->block, walk->at, entry);
    entry->value_segment = &walk->segment->base;
    walk->any = 1;
    buf_clear(&walk->last);
    if (buf_append(&walk->last, entry->chunk.key.data, entry->chunk.key.len) != 0)
        walk_fail(walk);
}

static void walk_first(struct iter *iter)
{
    struct salvage_walk *walk = walk_of(iter);

    walk->next_block = 0;
    walk->any = 0;
    walk->in_hole = 0;
    iter->rc = 0;
    walk_next_block(walk);
    walk_show(walk);
}

static void walk_next(struct iter *iter)
{
    struct salvage_walk *walk = walk_of(iter);

    CHECK(iter->valid);
    if (++walk->at == walk->block->count)
        walk_next_block(walk);
    walk_show(walk);
}

static void walk_destroy(struct iter *iter)
{
    struct salvage_walk *walk = walk_of(iter);

    walk_let_go(walk);
    buf_deinit(&walk->last);
    mem_free(walk);
}

static const struct iter_ops walk_ops = {
    .first = walk_first,
    .next = walk_next,
    .destroy = walk_destroy,
};

struct iter *salvage_segment_walk(struct salvage_segment *segment)
{
    struct salvage_walk *walk = mem_alloc_zero(sizeof(*walk));

    if (walk == NULL)
        return NULL;
    walk->iter.ops = &walk_ops;
    walk->segment = segment;
    buf_init(&walk->last, VARVE_KEY_MAX_BYTES + 1);
    return &walk->iter;
}
