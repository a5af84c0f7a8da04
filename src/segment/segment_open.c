#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/segment_impl.h"

#define FILE_MIN_BYTES (FILE_HEADER_BYTES + BLOCK_TRAILER_BYTES + SEGMENT_FOOTER_BYTES)

static int load_header(struct segment *segment, struct varve_err *err)
{
    uint8_t header[FILE_HEADER_BYTES];
    int rc = segment->env->ops->size(segment->env, segment->file, &segment->size_bytes, err);

    if (rc != 0)
        return err_wrap(err, rc, "%s", segment->path);
    if (segment->size_bytes < FILE_MIN_BYTES)
        return segment_fail(segment, segment->size_bytes,
                            err_set(err, VARVE_ECORRUPT, "the file ends here, too early"), err);
    rc = segment_read_bytes(segment, SEGMENT_WAIT, header, sizeof(header), 0, err);
    if (rc != 0)
        return rc;
    rc = file_header_check(header, SEGMENT_MAGIC, &segment->id, segment->file_no, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", segment->path);
}

static int footer_check(const struct segment *segment, const uint8_t *footer, struct varve_err *err)
{
    uint64_t end = segment->size_bytes - SEGMENT_FOOTER_BYTES;

    if (crc32c(segment->salt, footer, 60) != get_u32(footer + 60) && !MUTANT("skip-footer-crc"))
        return err_set(err, VARVE_ECORRUPT, "the footer's CRC does not match");
    if (memcmp(footer, SEGMENT_FOOTER_MAGIC, 8) != 0)
        return err_set(err, VARVE_ECORRUPT, "no footer");
    if (get_u32(footer + 8) != FORMAT_VERSION)
        return err_set(err, VARVE_EVERSION, "format version %u, this build reads version %u",
                       get_u32(footer + 8), FORMAT_VERSION);
    if (get_u64(footer + 32) != segment->size_bytes)
        return err_set(err, VARVE_ECORRUPT, "the footer says %llu bytes, the file has %llu",
                       (unsigned long long)get_u64(footer + 32),
                       (unsigned long long)segment->size_bytes);
    uint64_t offset = get_u64(footer + 16);
    uint64_t len = get_u64(footer + 24);
    if (len > PROPERTIES_MAX_BYTES || offset < FILE_HEADER_BYTES || offset > end ||
        end - offset != len + BLOCK_TRAILER_BYTES)
        return err_set(err, VARVE_ECORRUPT, "the footer names a wrong place of the properties");
    return 0;
}

static int load_footer(struct segment *segment, struct segment_place *properties,
                       struct varve_err *err)
{
    uint8_t footer[SEGMENT_FOOTER_BYTES];
    uint64_t offset = segment->size_bytes - SEGMENT_FOOTER_BYTES;
    int rc = segment_read_bytes(segment, SEGMENT_WAIT, footer, sizeof(footer), offset, err);

    if (rc != 0)
        return rc;
    rc = footer_check(segment, footer, err);
    if (rc != 0)
        return segment_fail(segment, offset, rc, err);
    properties->offset = get_u64(footer + 16);
    properties->len = get_u64(footer + 24);
    return 0;
}

/* A block that is not data, read and opened. Its place was checked. */
struct loaded {
    uint8_t *bytes;
    struct buf scratch;
    struct varve_slice payload;
};

static void loaded_deinit(struct loaded *loaded)
{
    mem_free(loaded->bytes);
    buf_deinit(&loaded->scratch);
}

static int load_block(const struct segment *segment, const struct segment_place *place,
                      enum block_kind kind, struct loaded *loaded, struct varve_err *err)
{
    int rc;

    memset(loaded, 0, sizeof(*loaded));
    buf_init(&loaded->scratch, SCRATCH_MAX_BYTES);
    loaded->bytes = mem_alloc(place->len + BLOCK_TRAILER_BYTES);
    if (loaded->bytes == NULL) {
        rc = err_set(err, VARVE_ENOMEM, "no memory for a block of %llu bytes",
                     (unsigned long long)place->len);
        return segment_fail(segment, place->offset, rc, err);
    }
    rc = segment_read_bytes(segment, SEGMENT_WAIT, loaded->bytes, place->len + BLOCK_TRAILER_BYTES,
                            place->offset, err);
    if (rc != 0)
        return rc;
    rc = block_open(loaded->bytes, place->len, segment->salt, place->offset, kind, &loaded->scratch,
                    &loaded->payload, err);
    return rc == 0 ? 0 : segment_fail(segment, place->offset, rc, err);
}

/* Does the block end at *end? Then *end is where it begins. */
static int place_take(const struct segment_place *place, uint64_t *end)
{
    if (place->offset < FILE_HEADER_BYTES || place->offset > *end ||
        *end - place->offset < BLOCK_TRAILER_BYTES ||
        (*end - place->offset - BLOCK_TRAILER_BYTES != place->len &&
         !MUTANT("place-length-unchecked")))
        return 0;
    *end = place->offset;
    return 1;
}

/* Index, filter and range tombstones lie one before the other, up to the properties. */
static int layout_check(struct segment *segment, uint64_t end, struct varve_err *err)
{
    const struct properties *properties = &segment->properties;
    int has_filter = properties->filter.offset != 0;
    int has_ranges = properties->range_block.offset != 0;

    if (!place_take(&properties->index, &end) ||
        (has_filter &&
         (!place_take(&properties->filter, &end) || properties->filter.len > FILTER_MAX_BYTES)) ||
        (has_ranges && !place_take(&properties->range_block, &end)) ||
        has_ranges != (properties->ranges > 0))
        return err_set(err, VARVE_ECORRUPT, "the properties name wrong places");
    segment->data_end = end;
    return 0;
}

static int load_properties(struct segment *segment, struct varve_err *err)
{
    struct segment_place place;
    struct loaded loaded;
    int rc = load_footer(segment, &place, err);

    if (rc != 0)
        return rc;
    rc = load_block(segment, &place, BLOCK_PROPERTIES, &loaded, err);
    if (rc == 0) {
        rc = properties_get(loaded.payload, &segment->properties, err);
        if (rc == 0)
            rc = layout_check(segment, place.offset, err);
        if (rc != 0)
            segment_fail(segment, place.offset, rc, err);
    }
    loaded_deinit(&loaded);
    return rc;
}

static int load_index(struct segment *segment, struct varve_err *err)
{
    const struct segment_place *place = &segment->properties.index;
    struct loaded loaded;
    int rc = load_block(segment, place, BLOCK_INDEX, &loaded, err);

    if (rc == 0) {
        rc = segment_index_open(&segment->index, loaded.payload, segment->data_end, err);
        if (rc != 0)
            segment_fail(segment, place->offset, rc, err);
    }
    loaded_deinit(&loaded);
    segment->pinned_bytes += segment->index.memory_bytes;
    return rc;
}

/* Read to where its lines are aligned to the processor's. */
static int load_filter(struct segment *segment, struct varve_err *err)
{
    const struct segment_place *place = &segment->properties.filter;
    size_t len = place->len + BLOCK_TRAILER_BYTES;
    struct varve_slice payload;
    int rc;

    if (place->offset == 0)
        return 0;
    segment->filter_memory = mem_alloc(len + BLOOM_LINE_BYTES);
    if (segment->filter_memory == NULL) {
        rc = err_set(err, VARVE_ENOMEM, "no memory for a filter of %zu bytes", len);
        return segment_fail(segment, place->offset, rc, err);
    }
    uint8_t *bytes = segment->filter_memory +
                     (-(uintptr_t)segment->filter_memory & (BLOOM_LINE_BYTES - 1));
    rc = segment_read_bytes(segment, SEGMENT_WAIT, bytes, len, place->offset, err);
    if (rc != 0)
        return rc;
    rc = block_open(bytes, place->len, segment->salt, place->offset, BLOCK_FILTER, NULL, &payload,
                    err);
    if (rc == 0 && bloom_open(&segment->bloom, bytes, payload.len) != 0)
        rc = err_set(err, VARVE_ECORRUPT, "the filter's head does not fit its size");
    if (rc != 0)
        return segment_fail(segment, place->offset, rc, err);
    segment->pinned_bytes += len + BLOOM_LINE_BYTES;
    return 0;
}

static int load_ranges(struct segment *segment, struct varve_err *err)
{
    const struct segment_place *place = &segment->properties.range_block;
    struct loaded loaded;
    int rc;

    if (place->offset == 0)
        return 0;
    rc = load_block(segment, place, BLOCK_RANGES, &loaded, err);
    if (rc == 0) {
        rc = block_decode(loaded.payload, BLOCK_RANGES, 0, &segment->ranges, err);
        if (rc == 0 && segment->ranges->count != segment->properties.ranges)
            rc = err_set(err, VARVE_ECORRUPT, "%u range tombstones where %llu belong",
                         segment->ranges->count, (unsigned long long)segment->properties.ranges);
        for (uint32_t i = 0; rc == 0 && i < segment->ranges->count; i++) {
            struct entry entry;
            block_entry(segment->ranges, i, &entry);
            if (chunk_crc(&entry.chunk) != entry.chunk.crc)
                rc = err_set(err, VARVE_ECORRUPT, "the CRC of range tombstone %u does not match",
                             i);
        }
        if (rc != 0)
            segment_fail(segment, place->offset, rc, err);
        else
            segment->pinned_bytes += segment->ranges->cached.charge_bytes;
    }
    loaded_deinit(&loaded);
    return rc;
}

int segment_load(struct segment *segment, struct varve_err *err)
{
    segment->salt = file_salt(&segment->id, segment->file_no);
    segment->pinned_bytes = sizeof(*segment);
    int rc = load_header(segment, err);
    if (rc == 0)
        rc = load_properties(segment, err);
    if (rc == 0)
        rc = load_index(segment, err);
    if (rc == 0)
        rc = load_filter(segment, err);
    if (rc == 0)
        rc = load_ranges(segment, err);
    return rc;
}

void segment_unload(struct segment *segment)
{
    segment_index_deinit(&segment->index);
    mem_free(segment->filter_memory);
    segment->filter_memory = NULL;
    if (segment->ranges != NULL)
        cached_unref(&segment->ranges->cached);
    segment->ranges = NULL;
}

static void segment_destroy(struct segment *segment)
{
    segment_unload(segment);
    segment->env->ops->close(segment->env, segment->file);
    mem_free(segment->slots);
    mem_free(segment->block_reads);
    mem_free(segment->path);
    mem_free(segment);
}

static struct segment *segment_alloc(const char *path)
{
    struct segment *segment = mem_alloc_zero(sizeof(*segment));

    if (segment == NULL)
        return NULL;
    segment->block_reads = mem_alloc_zero(BLOOM_LINE_BYTES);
    segment->path = mem_strdup(path);
    if (segment->block_reads != NULL && segment->path != NULL)
        return segment;
    mem_free(segment->block_reads);
    mem_free(segment->path);
    mem_free(segment);
    return NULL;
}

static int make_slots(struct segment *segment, struct varve_err *err)
{
    size_t bytes = segment->index.count * sizeof(*segment->slots);

    segment->slots = mem_alloc_zero(bytes);
    if (segment->slots == NULL)
        return err_set(err, VARVE_ENOMEM, "%s: no memory to open it", segment->path);
    segment->pinned_bytes += bytes;
    return 0;
}

int segment_open(struct varve_env *env, const char *path, const struct dir_id *id, uint64_t file_no,
                 struct cache *cache, struct segment **out, struct varve_err *err)
{
    struct segment *segment = segment_alloc(path);
    int rc;

    *out = NULL;
    if (segment == NULL)
        return err_set(err, VARVE_ENOMEM, "%s: no memory to open it", path);
    segment->env = env;
    segment->id = *id;
    segment->file_no = file_no;
    atomic_init(&segment->refs, 1);
    rc = env->ops->open(env, path, VARVE_OPEN_READ | VARVE_OPEN_RANDOM, &segment->file, err);
    if (rc == 0)
        rc = segment_load(segment, err);
    if (rc == 0 && cache != NULL)
        rc = make_slots(segment, err);
    if (rc != 0) {
        segment_destroy(segment);
        return rc;
    }
    if (cache != NULL) {
        segment->cache = cache;
        segment->owner = cache_new_owner(cache);
        cache_reserve(cache, segment->pinned_bytes);
    }
    *out = segment;
    return 0;
}

struct segment *segment_ref(struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
    return segment;
}

void segment_unref(struct segment *segment)
{
    if (segment == NULL || atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (segment->cache != NULL) {
        cache_drop_owner(segment->cache, segment->owner);
        cache_unreserve(segment->cache, segment->pinned_bytes);
    }
    /* What stays for a failed remove is found, unnamed, by the next open of the database. */
    if (atomic_load_explicit(&segment->dead, memory_order_relaxed))
        (void)segment->env->ops->remove(segment->env, segment->path, NULL);
    segment_destroy(segment);
}

void segment_mark_dead(struct segment *segment)
{
    atomic_store_explicit(&segment->dead, 1, memory_order_relaxed);
}
