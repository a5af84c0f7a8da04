/* segment_help.h - segments full of chance on a simulated disk, and the model that they are compared
 * with: a sorted array of their entries. A call without a return code asserts that it succeeded. */
#ifndef TESTS_SEGMENT_HELP_H
#define TESTS_SEGMENT_HELP_H

#include "base/rng.h"
#include "fault_env.h"
#include "segment/segment_writer.h"
#include "sim_env.h"

#define HELP_PATH "/000007.seg"
#define HELP_FILE_NO 7

struct model_item {
    uint8_t *key;
    size_t key_len;
    uint8_t *value; /* of a range: the end */
    struct entry entry;
};

struct model {
    struct model_item *items; /* puts and deletes, in order */
    size_t count;
    struct model_item *ranges;
    size_t range_count;
};

struct disk {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env; /* the fault env */
    struct dir_id id;
    struct segment_writer_options
        options; /* small blocks of 256 bytes, compressed, 10 bits a key */
    struct varve_err err;
};

void disk_init(struct disk *disk);
void disk_deinit(struct disk *disk);
/* Fixture: *state is a struct disk. */
int disk_set_up(void **state);
int disk_tear_down(void **state);

/* What a model is made of. */
struct model_plan {
    size_t keys;
    uint64_t versions_max;
    size_t long_keys;    /* of the keys, so many have a common beginning of 300 bytes */
    size_t large_values; /* so many values of 16 KiB and more */
    size_t huge_values;  /* so many of 300 KiB */
    size_t value_max;    /* of the others */
    size_t ranges;
};

void model_make(struct model *model, const struct model_plan *plan, struct rng *rng);
void model_free(struct model *model);
/* The first item whose key is not smaller (greater with `behind`). */
size_t model_find(const struct model *model, struct varve_slice key, int behind);
/* The newest item of key with seq <= seq_max; count: none. */
size_t model_get(const struct model *model, struct varve_slice key, uint64_t seq_max);

/* Writes items [from, to) of the model, and its ranges with `ranges`. 0 or the error. */
int model_write(struct disk *disk, const struct model *model, size_t from, size_t to, int ranges,
                const char *path, uint64_t file_no);
struct segment *disk_open(struct disk *disk, const char *path, uint64_t file_no,
                          struct cache *cache);
/* The whole file; the caller frees it. */
uint8_t *disk_read_all(struct disk *disk, const char *path, size_t *size);
/* A new file with those bytes in the place of path. */
void disk_replace(struct disk *disk, const char *path, const uint8_t *bytes, size_t size);

void assert_same_entry(const struct entry *is, const struct entry *model,
                       const struct segment_read *read);

#endif
