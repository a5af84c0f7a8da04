/* Where the run is cut before a key, the key space is cut at that key's lower bound: what lies before is the
 * share of the one segment, the rest that of those to come. The shares touch each other, and the first
 * and the last reach as far as the run does, so that no piece of a range tombstone is lost between two
 * segments. A segment gets its pieces when it ends, for only then its share is known. */
#include "lsm/segment_set.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/names.h"

struct output {
    char *path; /* owned */
    uint64_t file_no;
};

struct segment_set {
    struct segment_set_config config;
    struct segment_writer *writer; /* of outputs[output_count], which is made but not counted yet */
    struct output *outputs;        /* complete files */
    size_t output_count;
    size_t output_cap;
    struct segment **segments; /* the same ones, open */
    size_t segment_count;
    struct entry *pieces;             /* scratch, room for config.range_count */
    size_t cut_next;                  /* config.cuts before it are behind us */
    struct segment_bound share_lower; /* of the segment at hand; of the first: config.lower */
    uint64_t written_bytes;
    uint64_t copied_bytes;
    int kept;
};

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "write segments: out of memory");
}

/* What is cut and gets a new CRC was whole before. */
static int check_ranges(const struct segment_set_config *config, struct varve_err *err)
{
    for (size_t i = 0; i < config->range_count; i++) {
        const struct entry *range = &config->ranges[i];
        if (chunk_crc(&range->chunk) != range->chunk.crc)
            return err_set(err, VARVE_ECORRUPT, "range tombstone %" PRIu64 ": chunk CRC mismatch",
                           range->seq);
    }
    return 0;
}

int segment_set_create(const struct segment_set_config *config, struct segment_set **out,
                       struct varve_err *err)
{
    struct segment_set *set = NULL;
    int rc = check_ranges(config, err);

    *out = NULL;
    if (rc != 0)
        return rc;
    set = mem_alloc_zero(sizeof(*set));
    if (set == NULL)
        return no_memory(err);
    set->config = *config;
    if (config->range_count > 0) {
        set->pieces = mem_alloc(config->range_count * sizeof(*set->pieces));
        if (set->pieces == NULL) {
            segment_set_destroy(set);
            return no_memory(err);
        }
    }
    *out = set;
    return 0;
}

static int compare_pieces(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;

    return entry_compare(left->chunk.key, left->seq, right->chunk.key, right->seq);
}

/* The pieces of the range tombstones in [lower, upper), in their order; returns how many. */
static size_t make_pieces(struct segment_set *set, struct varve_slice lower,
                          struct varve_slice upper)
{
    size_t count = 0;

    for (size_t i = 0; i < set->config.range_count; i++) {
        struct entry *piece = &set->pieces[count];
        *piece = set->config.ranges[i];
        struct chunk *chunk = &piece->chunk;
        if (!segment_below_upper(chunk->key, upper))
            break;
        if (varve_slice_compare(chunk->key, lower) < 0)
            chunk->key = lower;
        if (upper.len > 0 && varve_slice_compare(upper, chunk->value) < 0)
            chunk->value = upper;
        if (varve_slice_compare(chunk->key, chunk->value) >= 0)
            continue;
        chunk->crc = chunk_crc(chunk);
        count++;
    }
    if (count > 0)
        qsort(set->pieces, count, sizeof(set->pieces[0]), compare_pieces);
    return count;
}

static struct varve_slice share_lower(const struct segment_set *set)
{
    return set->output_count == 0 ? set->config.lower : segment_bound_slice(&set->share_lower);
}

static int begin_segment(struct segment_set *set, struct varve_err *err)
{
    const struct segment_set_config *config = &set->config;

    if (set->output_count == set->output_cap) {
        size_t cap = set->output_cap == 0 ? 8 : set->output_cap * 2;
        struct output *outputs = mem_realloc(set->outputs, cap * sizeof(*outputs));
        if (outputs == NULL)
            return no_memory(err);
        set->outputs = outputs;
        set->output_cap = cap;
    }
    struct output *output = &set->outputs[set->output_count];
    output->file_no = config->new_file_no(config->file_no_arg);
    output->path = name_segment_path(config->dir, output->file_no);
    if (output->path == NULL)
        return no_memory(err);
    int rc = segment_writer_create(&config->writer, output->path, output->file_no, &set->writer,
                                   err);
    if (rc != 0)
        mem_free(output->path);
    return rc;
}

/* The writer may not have been finished: then its file goes with it. */
static void drop_writer(struct segment_set *set)
{
    if (set->writer == NULL)
        return;
    segment_writer_destroy(set->writer);
    set->writer = NULL;
    mem_free(set->outputs[set->output_count].path);
}

/* Ends the segment at hand, whose share ends at upper. */
static int end_segment(struct segment_set *set, size_t piece_count, struct varve_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < piece_count && rc == 0; i++)
        rc = segment_writer_add_range(set->writer, &set->pieces[i], err);
    if (rc == 0)
        rc = segment_writer_finish(set->writer, err);
    if (rc != 0) {
        drop_writer(set);
        return rc;
    }
    segment_writer_destroy(set->writer);
    set->writer = NULL;
    set->output_count++;
    return 0;
}

/* 1: there was a cut at or before key since the last one. */
static int pass_cuts(struct segment_set *set, struct varve_slice key)
{
    const struct segment_set_config *config = &set->config;
    int passed = 0;

    while (set->cut_next < config->cut_count &&
           varve_slice_compare(config->cuts[set->cut_next], key) <= 0) {
        set->cut_next++;
        passed = 1;
    }
    return passed;
}

/* Is the segment at hand to end before key? */
static int is_cut_before(struct segment_set *set, struct varve_slice key)
{
    const struct segment_set_config *config = &set->config;
    uint64_t size_bytes = segment_writer_size_bytes(set->writer);
    int passed = pass_cuts(set, key);

    if (size_bytes < config->segment_bytes && !(passed && size_bytes >= config->cut_min_bytes))
        return 0;
    return segment_writer_may_cut(set->writer, key);
}

static int cut_before(struct segment_set *set, struct varve_slice key, struct varve_err *err)
{
    struct segment_bound at;

    segment_bound_lower(&at, key);
    int rc = end_segment(set, make_pieces(set, share_lower(set), segment_bound_slice(&at)), err);
    if (MUTANT("range-clip-short") && at.len < SEGMENT_BOUND_MAX_BYTES)
        at.bytes[at.len++] = 0;
    set->share_lower = at;
    return rc;
}

/* There is a writer that takes key next. */
static int set_prepare(struct segment_set *set, struct varve_slice key, struct varve_err *err)
{
    int rc = 0;

    if (set->writer != NULL && is_cut_before(set, key))
        rc = cut_before(set, key, err);
    if (rc == 0 && set->writer == NULL)
        rc = begin_segment(set, err);
    return rc;
}

int segment_set_add(struct segment_set *set, const struct entry *entry, struct varve_err *err)
{
    int rc = set_prepare(set, entry->chunk.key, err);

    return rc == 0 ? segment_writer_add(set->writer, entry, err) : rc;
}

int segment_set_copy(struct segment_set *set, const struct iter_block *block, struct varve_err *err)
{
    int rc = set_prepare(set, block->first, err);

    if (rc != 0)
        return rc;
    pass_cuts(set, block->first);
    if (set->cut_next < set->config.cut_count &&
        varve_slice_compare(set->config.cuts[set->cut_next], block->upper) < 0 &&
        !MUTANT("copy-over-a-cut"))
        return 0;
    rc = segment_writer_copy(set->writer, block, err);
    set->copied_bytes += rc > 0 ? block->stored.len : 0;
    return rc;
}

/* Nothing is named that does not read back as it was written. */
static int read_back(struct segment_set *set, struct varve_err *err)
{
    const struct segment_set_config *config = &set->config;

    set->segments = mem_alloc_zero(set->output_count * sizeof(struct segment *));
    if (set->segments == NULL)
        return no_memory(err);
    for (size_t i = 0; i < set->output_count; i++) {
        const struct output *output = &set->outputs[i];
        struct segment *segment = NULL;
        int rc = segment_open(config->writer.env, output->path, config->writer.id, output->file_no,
                              config->cache, &segment, err);
        if (rc == 0)
            set->segments[set->segment_count++] = segment;
        if (rc == 0 && !MUTANT("skip-read-back") &&
            !(MUTANT("copied-unverified") && set->copied_bytes > 0))
            rc = segment_verify(segment, err);
        if (rc != 0)
            return err_wrap(err, rc, "read back");
        set->written_bytes += segment_size_bytes(segment);
    }
    return 0;
}

int segment_set_finish(struct segment_set *set, struct segment *const **segments, size_t *count,
                       struct varve_err *err)
{
    const struct segment_set_config *config = &set->config;
    struct varve_env *env = config->writer.env;
    size_t piece_count = make_pieces(set, share_lower(set), config->upper);
    int rc = 0;

    *segments = NULL;
    *count = 0;
    if (piece_count > 0 && set->writer == NULL)
        rc = begin_segment(set, err);
    if (rc == 0 && set->writer != NULL)
        rc = end_segment(set, piece_count, err);
    if (rc != 0 || set->output_count == 0)
        return rc;
    if (!MUTANT("skip-segment-dir-sync"))
        rc = env->ops->sync_dir(env, config->dir, err);
    if (rc == 0)
        rc = read_back(set, err);
    if (rc != 0)
        return rc;
    *segments = set->segments;
    *count = set->segment_count;
    return 0;
}

uint64_t segment_set_written_bytes(const struct segment_set *set)
{
    return set->written_bytes;
}

uint64_t segment_set_copied_bytes(const struct segment_set *set)
{
    return set->copied_bytes;
}

void segment_set_keep(struct segment_set *set)
{
    set->kept = 1;
}

void segment_set_destroy(struct segment_set *set)
{
    if (set == NULL)
        return;
    drop_writer(set);
    for (size_t i = 0; i < set->segment_count; i++)
        segment_unref(set->segments[i]);
    for (size_t i = 0; i < set->output_count; i++) {
        struct varve_env *env = set->config.writer.env;
        if (!set->kept) /* what stays is removed at the next open */
            (void)env->ops->remove(env, set->outputs[i].path, NULL);
        mem_free(set->outputs[i].path);
    }
    mem_free(set->outputs);
    mem_free(set->segments);
    mem_free(set->pieces);
    mem_free(set);
}
