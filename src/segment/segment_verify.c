/* Everything is read anew from the file: what lies in memory was checked when the segment was opened, the
 * disk may have changed since. Blocks follow each other without a hole, header to footer: the index
 * names every data block and the gap before it, and the value blocks that the block's entries name must
 * fill that gap, in their order. So each byte is under a CRC that was checked.
 *
 * Entries are walked as they lie in their blocks, for a new segment goes through here before it is named. The
 * index is asked for the first and the last key of each block only: how many separators are not greater
 * than a key grows with the key, so what lies between two keys that lead to their block leads there, too. */
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/collector.h"
#include "segment/segment_impl.h"
#include "segment/segment_stream.h"
#include "varve/batch.h"

#define PIECE_BYTES ((size_t)64 * 1024)
#define READAHEAD_BYTES ((size_t)256 * 1024)

/* Keys whose lines of the filter are on their way: each alone would be waited for. */
#define FILTER_KEYS 32

struct verify {
    struct segment *fresh;                        /* what was read anew */
    const struct segment_verify_options *options; /* NULL: the first finding ends it */
    uint64_t findings;                            /* that were told */
    struct segment_stream stream;
    struct collector collector;
    struct segment_group *groups; /* of the properties, counted by the beginning of keys */
    uint32_t group_first;         /* the keys have passed those before it */
    struct buf last_key;          /* of the blocks before; with any */
    int any;
    struct bloom_hash hashes[FILTER_KEYS]; /* of this block's keys, still to be looked up */
    uint32_t hash_count;
    uint64_t value_bytes;
    uint64_t at; /* the file is checked up to here */
    uint8_t *piece;
};

static int verify_fail(const struct verify *verify, uint64_t offset, struct varve_err *err,
                       const char *what)
{
    return segment_fail(verify->fresh, offset, err_set(err, VARVE_ECORRUPT, "%s", what), err);
}

/* Of what is wrong at one place: told, and 0, if all is to be known. */
static int verify_go_on(struct verify *verify, int rc, struct varve_err *err)
{
    if (verify->options == NULL || (rc != VARVE_ECORRUPT && rc != VARVE_EIO))
        return rc;
    verify->findings++;
    if (!MUTANT("verify-skips-block"))
        verify->options->finding(verify->options->arg, err);
    err_clear(err);
    return 0;
}

static int verify_packed(struct verify *verify, const struct entry *entry, struct varve_err *err)
{
    struct chunk chunk = entry->chunk;
    uint8_t *value = mem_alloc(chunk.value.len);

    if (value == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a value of %zu bytes", chunk.value.len);
    int rc = segment_unpack_value(entry, SEGMENT_WAIT, value, err);
    chunk.value.data = value;
    if (MUTANT("verify-skips-values"))
        rc = 0;
    else if (rc == 0 && chunk_crc(&chunk) != chunk.crc)
        rc = verify_fail(verify, entry->value_offset, err, "a record's CRC does not match");
    mem_free(value);
    return rc;
}

/* The value block that the entry names lies where the file is checked up to. */
static int verify_value(struct verify *verify, const struct entry *entry, struct varve_err *err)
{
    const struct segment *segment = verify->fresh;
    const struct chunk *chunk = &entry->chunk;
    uint32_t record_crc = chunk_crc_begin(chunk->kind, chunk->expire_ms, chunk->key.len);
    uint32_t block_crc = block_crc_begin(segment->salt, entry->value_offset);
    uint8_t trailer[BLOCK_TRAILER_BYTES];
    uint64_t offset = entry->value_offset;
    uint64_t from = verify->at;

    size_t stored = entry->value_packed_len > 0 ? entry->value_packed_len : chunk->value.len;
    verify->at = offset + stored + BLOCK_TRAILER_BYTES;
    if (offset != from)
        return verify_fail(verify, from, err, "a value block does not lie where it belongs");
    verify->value_bytes += chunk->value.len;
    if (entry->value_packed_len > 0)
        return verify_packed(verify, entry, err);
    record_crc = crc32c(record_crc, chunk->key.data, chunk->key.len);
    for (size_t at = 0; at < chunk->value.len;) {
        size_t len = chunk->value.len - at;
        if (len > PIECE_BYTES)
            len = PIECE_BYTES;
        int rc = segment_read_value(segment, offset, at, verify->piece, len, err);
        if (rc != 0)
            return rc;
        block_crc = crc32c(block_crc, verify->piece, len);
        record_crc = crc32c(record_crc, verify->piece, len);
        at += len;
    }
    int rc = segment_read_bytes(segment, SEGMENT_WAIT, trailer, sizeof(trailer),
                                offset + chunk->value.len, err);
    if (rc != 0)
        return rc;
    rc = block_trailer_check_plain(trailer, block_crc, BLOCK_VALUE, err);
    if (MUTANT("verify-skips-values"))
        return 0;
    if (rc != 0)
        return segment_fail(segment, offset, rc, err);
    if (record_crc != chunk->crc)
        return verify_fail(verify, offset, err, "a record's CRC does not match");
    return 0;
}

/* Groups are ascending by their names, as the keys are. */
static void verify_count_groups(struct verify *verify, const struct entry *entry)
{
    const struct properties *properties = &verify->fresh->properties;
    struct varve_slice key = entry->chunk.key;

    for (uint32_t i = verify->group_first; i < properties->group_count && i < SEGMENT_GROUPS_MAX;
         i++) {
        struct segment_group *group = &verify->groups[i];
        size_t len = key.len < group->name_len ? key.len : group->name_len;
        int order = len == 0 ? 0 : memcmp(key.data, group->name, len);
        if (order < 0 || (order == 0 && len < group->name_len))
            break;
        if (order > 0) {
            verify->group_first += i == verify->group_first;
            continue;
        }
        group->entries++;
        group->unknown += entry->prior_unknown != 0;
    }
}

static int verify_index(struct verify *verify, struct varve_slice key, struct varve_err *err)
{
    const struct segment_index *index = &verify->fresh->index;
    uint32_t block_no = verify->stream.block_no;
    uint32_t first;
    uint32_t last;

    if (segment_index_find(index, key, &first, &last) && first <= block_no && block_no <= last)
        return 0;
    return verify_fail(verify, index->offsets[block_no], err, "a key is not found by the index");
}

/* What goes for the first entry of a block. */
static int verify_first(struct verify *verify, struct varve_slice key, struct varve_err *err)
{
    uint64_t offset = verify->fresh->index.offsets[verify->stream.block_no];
    int order = verify->any ? varve_slice_compare(buf_slice(&verify->last_key), key) : -1;

    if (order > 0)
        return verify_fail(verify, offset, err, "entries out of order");
    if (order == 0)
        return verify_fail(verify, offset, err, "versions of one key lie in two blocks");
    return verify_index(verify, key, err);
}

/* The keys that were noted are in the filter. */
static int verify_filter(struct verify *verify, struct varve_err *err)
{
    const struct segment *segment = verify->fresh;
    uint32_t count = verify->hash_count;

    verify->hash_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!bloom_may_hold(&segment->bloom, verify->hashes[i]))
            return verify_fail(verify, segment->index.offsets[verify->stream.block_no], err,
                               "a key is not in the filter");
    return 0;
}

static int verify_filter_later(struct verify *verify, struct varve_slice key, struct varve_err *err)
{
    struct bloom_hash hash = bloom_hash(key);

    bloom_prefetch(&verify->fresh->bloom, hash);
    verify->hashes[verify->hash_count++] = hash;
    return verify->hash_count == FILTER_KEYS ? verify_filter(verify, err) : 0;
}

static int verify_entry(struct verify *verify, int is_first, struct varve_err *err)
{
    const struct segment *segment = verify->fresh;
    const struct block_walk *walk = &verify->stream.walk;
    const struct entry *entry = &walk->entry;
    uint64_t offset = segment->index.offsets[verify->stream.block_no];
    int rc = is_first ? verify_first(verify, entry->chunk.key, err) : 0;

    if (rc != 0)
        return rc;
    if (entry_value_apart(entry))
        rc = verify_value(verify, entry, err);
    else if (chunk_crc(&entry->chunk) != entry->chunk.crc)
        rc = verify_fail(verify, offset, err, "a record's CRC does not match");
    if (rc == 0 && !walk->same_key)
        rc = verify_filter_later(verify, entry->chunk.key, err);
    if (rc == 0 && walk->left == 0)
        rc = verify_index(verify, entry->chunk.key, err);
    if (rc != 0)
        return rc;
    collector_add(&verify->collector, entry, walk->same_key);
    verify_count_groups(verify, entry);
    return 0;
}

/* The block behind is about to take the place of the one before. */
static int verify_keep_key(struct verify *verify, struct varve_err *err)
{
    struct varve_slice key = buf_slice(&verify->stream.walk.key);

    verify->any |= verify->stream.walk.any;
    buf_clear(&verify->last_key);
    if (buf_append(&verify->last_key, key.data, key.len) == 0)
        return 0;
    return segment_fail(verify->fresh, verify->at,
                        err_set(err, VARVE_ENOMEM, "no memory for a key"), err);
}

static int verify_block(struct verify *verify, uint32_t block_no, struct varve_err *err)
{
    const struct segment_index *index = &verify->fresh->index;
    uint64_t offset = index->offsets[block_no];
    int rc = verify_keep_key(verify, err);
    int is_first = 1;

    verify->hash_count = 0;
    if (rc == 0)
        rc = segment_stream_load(&verify->stream, block_no, err);
    while (rc == 0 && (rc = segment_stream_next(&verify->stream, err)) > 0) {
        rc = verify_go_on(verify, verify_entry(verify, is_first, err), err);
        is_first = 0;
    }
    if (rc == 0)
        rc = verify_go_on(verify, verify_filter(verify, err), err);
    if (rc == 0 && verify->at != offset)
        rc = verify_fail(verify, verify->at, err, "bytes that belong to no block");
    verify->at = offset + index->lens[block_no] + BLOCK_TRAILER_BYTES;
    return rc;
}

static int same_bound(const struct segment_bound *a, const struct segment_bound *b)
{
    return varve_slice_equal(segment_bound_slice(a), segment_bound_slice(b));
}

static int same_expiry(const struct properties *a, const struct properties *b)
{
    if (a->expiring != b->expiring || a->expire_ms_max != b->expire_ms_max ||
        a->expiry_count != b->expiry_count)
        return 0;
    for (uint32_t i = 0; i < a->expiry_count; i++)
        if (a->expiry[i].expire_ms != b->expiry[i].expire_ms ||
            a->expiry[i].bytes != b->expiry[i].bytes)
            return 0;
    return 1;
}

/* Which keys are in a group is the embedder's to say; but none that does not begin with its name. */
static int groups_possible(const struct verify *verify)
{
    const struct properties *properties = &verify->fresh->properties;

    for (uint32_t i = 0; i < properties->group_count && i < SEGMENT_GROUPS_MAX; i++)
        if (properties->groups[i].entries > verify->groups[i].entries ||
            properties->groups[i].unknown > verify->groups[i].unknown)
            return 0;
    return 1;
}

static int same_groups(const struct properties *a, const struct properties *b)
{
    if (a->group_count != b->group_count)
        return 0;
    for (uint32_t i = 0; i < a->group_count && i < SEGMENT_GROUPS_MAX; i++) {
        const struct segment_group *left = &a->groups[i];
        const struct segment_group *right = &b->groups[i];
        if (left->name_len != right->name_len ||
            memcmp(left->name, right->name, left->name_len) != 0 ||
            left->entries != right->entries || left->unknown != right->unknown ||
            left->live != right->live)
            return 0;
    }
    return 1;
}

static const char *properties_differ(const struct verify *verify)
{
    const struct properties *is = &verify->collector.properties;
    const struct properties *says = &verify->fresh->properties;

    if (is->entries != says->entries || is->puts != says->puts || is->ranges != says->ranges)
        return "the properties count other entries";
    if (is->seq_min != says->seq_min || is->seq_max != says->seq_max)
        return "the properties name other sequences";
    if (is->raw_bytes != says->raw_bytes || is->superseded_bytes != says->superseded_bytes ||
        verify->value_bytes != says->value_bytes)
        return "the properties count other bytes";
    if (!same_bound(&is->lower, &says->lower) || !same_bound(&is->upper, &says->upper))
        return "the properties have other bounds";
    if (!same_expiry(is, says))
        return "the properties have other expiries";
    if (!groups_possible(verify))
        return "the properties count more in a group than begins with its name";
    if (verify->collector.group != NULL && !same_groups(is, says))
        return "the properties count other keys of a group";
    return NULL;
}

static int verify_ranges(struct verify *verify, struct varve_err *err)
{
    const struct segment *segment = verify->fresh;

    for (size_t i = 0; i < segment_range_count(segment); i++) {
        struct entry entry;
        segment_range(segment, i, &entry);
        if (varve_slice_compare(entry.chunk.key, entry.chunk.value) >= 0) {
            int rc = verify_fail(verify, segment->properties.range_block.offset, err,
                                 "a range tombstone ends before it begins");
            return verify_go_on(verify, rc, err);
        }
        collector_add_range(&verify->collector, &entry);
    }
    return 0;
}

static int verify_run(struct verify *verify, struct varve_err *err)
{
    const struct segment *segment = verify->fresh;
    int rc = 0;

    memcpy(verify->groups, segment->properties.groups, sizeof(segment->properties.groups));
    for (uint32_t i = 0; i < SEGMENT_GROUPS_MAX; i++) {
        verify->groups[i].entries = 0;
        verify->groups[i].unknown = 0;
    }
    for (uint32_t i = 0; rc == 0 && i < segment->index.count; i++)
        rc = verify_go_on(verify, verify_block(verify, i, err), err);
    if (rc == 0)
        rc = verify_ranges(verify, err);
    if (rc != 0 || verify->findings > 0) /* then the content is not known */
        return rc;
    collector_finish(&verify->collector, buf_slice(&verify->stream.walk.key));
    const char *what = properties_differ(verify);
    if (what == NULL)
        return 0;
    uint64_t offset = segment->properties.index.offset + segment->properties.index.len +
                      BLOCK_TRAILER_BYTES;
    return verify_go_on(verify, verify_fail(verify, offset, err, what), err);
}

static int verify_segment(struct segment *segment, const struct segment_verify_options *options,
                          struct varve_err *err)
{
    struct verify *verify = mem_alloc_zero(sizeof(*verify));
    struct segment *fresh = mem_alloc_zero(sizeof(*fresh));
    uint8_t *piece = mem_alloc(PIECE_BYTES);
    struct segment_group *groups = mem_alloc(sizeof(segment->properties.groups));
    int rc;

    if (verify == NULL || fresh == NULL || piece == NULL || groups == NULL) {
        rc = err_set(err, VARVE_ENOMEM, "%s: no memory to verify it", segment->path);
        goto out;
    }
    fresh->block_reads = segment->block_reads;
    fresh->env = segment->env;
    fresh->file = segment->file;
    fresh->path = segment->path;
    fresh->id = segment->id;
    fresh->file_no = segment->file_no;
    verify->fresh = fresh;
    verify->piece = piece;
    verify->groups = groups;
    verify->at = FILE_HEADER_BYTES;
    verify->options = options;
    if (options != NULL)
        collector_init(&verify->collector, options->group, options->group_arg);
    else
        collector_init(&verify->collector, NULL, NULL);
    buf_init(&verify->last_key, VARVE_KEY_MAX_BYTES);
    /* Who wants all findings gets each block's own: what the disk cannot read is not to take along others that
     * one read would have brought with it. */
    segment_stream_init(&verify->stream, fresh, options != NULL ? 0 : READAHEAD_BYTES);
    rc = segment_load(fresh, err);
    if (rc == 0)
        rc = verify_run(verify, err);
    segment_stream_deinit(&verify->stream);
    segment_unload(fresh);
    buf_deinit(&verify->last_key);
out:
    mem_free(groups);
    mem_free(piece);
    mem_free(fresh);
    mem_free(verify);
    return rc;
}

int segment_verify(struct segment *segment, struct varve_err *err)
{
    return verify_segment(segment, NULL, err);
}

int segment_verify_all(struct segment *segment, const struct segment_verify_options *options,
                       struct varve_err *err)
{
    return verify_segment(segment, options, err);
}
