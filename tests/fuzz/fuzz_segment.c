/* A whole segment file, changed or made up: it is refused when it is opened, or every walk and lookup ends
 * well or with an error that names the file; and if the check of all of it finds nothing, then all of it
 * is read. Input: a byte of enum seal; which good file is changed (255: none, the rest is the file); edits
 * (edits.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "edits.h"
#include "fuzz.h"
#include "log_disk.h"
#include "seal.h"
#include "segment/block.h"
#include "segment/segment_writer.h"
#include "sim_env.h"

#define PATH "/000007.seg"
#define FILE_NO 7
#define GOOD_FILES 3
#define NO_FILE 255
#define EDITS_MAX 8
/* A compressed block may be 21 times its size, and share 64 times that in its keys. */
#define MEMORY_BASE_BYTES ((size_t)4 * 1024 * 1024)
#define MEMORY_FACTOR 1500

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x1f\0"),         FUZZ_TOKEN("\x1f\x01"),
    FUZZ_TOKEN("\x1f\x02"),       FUZZ_TOKEN("varveSEG"),
    FUZZ_TOKEN("varveEND"),       FUZZ_TOKEN("\x80\x30\0"),
    FUZZ_TOKEN("\x85\x50\0"),     FUZZ_TOKEN("\xff\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\x81\x80\0\x01"), {NULL, 0},
};

static const struct dir_id id = {{'f', 'u', 'z', 'z'}};

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] < 'm';
}

static void add(struct segment_writer *writer, struct entry *entry, const char *key, size_t key_len,
                struct varve_slice value)
{
    entry->chunk.key = varve_slice(key, key_len);
    entry->chunk.value = value;
    entry->chunk.crc = chunk_crc(&entry->chunk);
    CHECK((entry->chunk.kind == CHUNK_RANGE_DELETE ? segment_writer_add_range
                                                   : segment_writer_add)(writer, entry, NULL) == 0);
}

/* Puts and deletes with several versions, long keys, an expiry, a value in a block of its own. */
static void add_entries(struct segment_writer *writer, int keys, int with_more)
{
    static char value[20 * 1024];
    char key[320];

    memset(value, 'v', sizeof(value));
    memset(key, 'l', sizeof(key));
    for (int i = 0; i < keys; i++) {
        int stem = i >= keys / 2 && with_more ? 290 : 0;
        int len = stem + snprintf(key + stem, sizeof(key) - (size_t)stem, "k%03d", i);
        struct entry entry = {.seq = 1000 - (uint64_t)i, .chunk = {.kind = CHUNK_PUT}};
        if (with_more && i % 3 == 0)
            entry.chunk.expire_ms = 1000 + (uint64_t)i;
        entry.prior_unknown = i % 4 == 1;
        size_t value_len = with_more && i == 2 ? sizeof(value) : (size_t)(i * 7 % 90);
        add(writer, &entry, key, (size_t)len, varve_slice(value, value_len));
        if (i % 5 == 0) {
            entry = (struct entry){.seq = 7, .chunk = {.kind = CHUNK_DELETE}};
            add(writer, &entry, key, (size_t)len, varve_slice(NULL, 0));
        }
    }
}

/* 0: little; 1: all that there is, not compressed; 2: the same, compressed. */
static void make_file(struct sim_env *sim, int which)
{
    struct segment_writer_options options = {
        .env = sim_as_env(sim),
        .id = &id,
        .block_size_bytes = 512,
        .bits_per_key = which == 0 ? 0 : 10,
        .compress = which == 2,
        .count_group = group_of,
    };
    struct segment_writer *writer = NULL;

    CHECK(segment_writer_create(&options, PATH, FILE_NO, &writer, NULL) == 0);
    add_entries(writer, which == 0 ? 3 : 40, which != 0);
    for (int i = 0; which != 0 && i < 3; i++) {
        struct entry entry = {.seq = 2000 + (uint64_t)i, .chunk = {.kind = CHUNK_RANGE_DELETE}};
        add(writer, &entry, &"abc"[i], 1, varve_slice("x", 1));
    }
    CHECK(segment_writer_finish(writer, NULL) == 0);
    segment_writer_destroy(writer);
}

static void good_file(int which, struct edited *file)
{
    static uint8_t *bytes[GOOD_FILES];
    static size_t len[GOOD_FILES];

    if (bytes[which] == NULL) {
        struct sim_env *sim = sim_env_create(1);
        make_file(sim, which);
        bytes[which] = log_disk_get(sim, PATH, &len[which]);
        sim_env_destroy(sim);
    }
    edited_init(file, bytes[which], len[which]);
}

/* Every entry from one end to the other; -1: it ended with an error. */
static int64_t walk(struct segment *segment, int backward, uint64_t entries_max)
{
    struct segment_read read = {.wait = SEGMENT_WAIT};
    struct iter *iter = segment_iter_create(segment, &read, 4096);
    struct varve_err err = {0};
    int64_t count = 0;

    CHECK(iter != NULL);
    void (*step)(struct iter *) = backward ? iter->ops->prev : iter->ops->next;
    for ((backward ? iter->ops->last : iter->ops->first)(iter); iter->valid; step(iter)) {
        struct segment_hold hold = {0};
        struct varve_slice value;
        CHECK((uint64_t)++count <= entries_max);
        if (entry_value(&iter->entry, &read, &value, &hold, &err) == 0)
            segment_hold_release(&hold);
        else
            CHECK(err.text[0] != '\0');
    }
    int rc = iter->rc;
    CHECK(rc == 0 || (rc == VARVE_ECORRUPT && strstr(iter->err.text, PATH) != NULL));
    iter_destroy(iter);
    return rc == 0 ? count : -1;
}

static void look_up(struct segment *segment, struct varve_slice key, int must_work)
{
    struct segment_read read = {.wait = SEGMENT_WAIT};
    struct segment_hold hold = {0};
    struct varve_err err = {0};
    struct entry entry;
    int may = segment_may_hold(segment, bloom_hash(key));
    int rc = segment_get(segment, key, bloom_hash(key), UINT64_MAX, &read, &entry, &hold, &err);

    CHECK(rc == 0 || rc == VARVE_NOT_FOUND || (rc == VARVE_ECORRUPT && err.text[0] != '\0'));
    CHECK(!must_work || (rc >= 0 && (may || rc == VARVE_NOT_FOUND)));
    if (rc == 0)
        segment_hold_release(&hold);
}

static void read_all(struct segment *segment, size_t size)
{
    uint64_t entries_max = 64 + 400 * (uint64_t)size; /* compressed, 21 to 1; 6 bytes an entry */
    struct varve_err err = {0};
    struct varve_slice lower;
    struct varve_slice upper;
    struct entry range;
    int verified = segment_verify(segment, &err) == 0;
    int64_t forward = walk(segment, 0, entries_max);
    int64_t backward = walk(segment, 1, entries_max);

    CHECK(verified || err.text[0] != '\0');
    CHECK(!verified ||
          (forward == backward && forward == (int64_t)segment_properties(segment)->entries));
    look_up(segment, varve_slice("", 0), verified);
    look_up(segment, varve_slice("k001", 4), verified);
    look_up(segment, varve_slice("zzz", 3), verified);
    for (size_t i = 0; i < segment_range_count(segment); i++) {
        segment_range(segment, i, &range);
        look_up(segment, range.chunk.key, verified);
    }
    size_t stretches = segment_stretch_count(segment);
    CHECK(stretches <= SEGMENT_STRETCHES_MAX);
    for (size_t i = 0; i < stretches; i++) {
        CHECK(segment_stretch(segment, i, &lower, &upper) <= size);
        look_up(segment, lower, verified);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    uint8_t seal = take_byte(&take);
    uint8_t which = take_byte(&take);
    struct segment *segment = NULL;
    struct varve_err err = {0};
    struct edited file;

    if (which == NO_FILE) {
        struct varve_slice rest = take_slice(&take, EDITS_FILE_MAX_BYTES);
        edited_init(&file, rest.data, rest.len);
    } else {
        good_file(which % GOOD_FILES, &file);
        for (int i = 0; i < EDITS_MAX && take_left(&take) > 0; i++)
            edited_change(&file, &take);
    }
    seal_segment(file.bytes, file.len, &id, FILE_NO, seal);
    struct sim_env *sim = sim_env_create(1);
    log_disk_put(sim, PATH, file.bytes, file.len);
    uint64_t used = mem_used_bytes();
    fuzz_bound_allocations(MEMORY_BASE_BYTES + MEMORY_FACTOR * file.len);
    rcu_enter();
    if (segment_open(sim_as_env(sim), PATH, &id, FILE_NO, NULL, &segment, &err) == 0)
        read_all(segment, file.len);
    else
        CHECK(segment == NULL && err.code < 0 && strstr(err.text, PATH) != NULL);
    rcu_leave();
    segment_unref(segment);
    (void)rcu_reclaim();
    block_memory_trim(0); /* what is kept for the next blocks */
    CHECK(mem_used_bytes() == used);
    fuzz_bound_allocations(0);
    sim_env_destroy(sim);
    edited_deinit(&file);
    return 0;
}
