/* A good data directory with its files changed, cut, swapped, removed, made up: the open refuses it and
 * changes nothing, or every read ends well or with an error, writes are taken or refused, and it closes.
 *
 * Input: which directory; what is made right afterwards (low 4 bits: enum log_disk_repair of logs and
 * manifests; 16: segments, 32: CURRENT); changes: a file's number, what is done to it, how many edits,
 * edits (edits.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "edits.h"
#include "fuzz.h"
#include "log_disk.h"
#include "lsm/manifest.h"
#include "lsm/names.h"
#include "lsm/wal.h"
#include "seal.h"
#include "segment/block.h"
#include "varve/checkpoint.h"

#define DIRS 3
#define CHANGES_MAX 6
#define EDITS_MAX 15
#define SEAL_SEGMENTS 16
#define SEAL_CURRENT 32
#define MEMORY_MAX_BYTES ((size_t)16 * 1024 * 1024) /* the largest of the engine's own is 2 MiB */

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x00\x3f"),
    FUZZ_TOKEN("\x01\x3f"),
    FUZZ_TOKEN("\x02\x3f"),
    FUZZ_TOKEN("\x01\x00\x01\x80\x10\0\x01"),
    FUZZ_TOKEN("\x03\x01"),
    FUZZ_TOKEN("\x02\x02\x05"),
    FUZZ_TOKEN("\x00\x01\x06\x08\x01\x10"),
    {NULL, 0},
};

/* ---- good directories ---- */

static void write_some(struct bed *bed, int round)
{
    char key[8];

    bed_fill(bed, "a", 20, 40);
    for (int i = 0; i < 12; i++) {
        snprintf(key, sizeof(key), "k%02d", i + round);
        CHECK(bed_put_bytes(bed, key, varve_slice_str("value of a key"),
                            i % 3 == 0 ? SIM_CLOCK_START_REAL_MS + 1000 * (uint64_t)i : 0) == 0);
    }
    CHECK(bed_delete(bed, "k03") == 0 && bed_delete_range(bed, "a000005", "a000009") == 0);
    CHECK(bed_put(bed, "Upper", "of no group") == 0);
}

static struct bed *small_bed(void)
{
    struct bed *bed = malloc(sizeof(*bed));

    CHECK(bed != NULL);
    bed_init(bed, 1);
    bed->options.memtable_size_bytes = 64 * 1024;
    bed->options.block_size_bytes = 512;
    bed->options.segment_size_bytes = 16 * 1024;
    return bed;
}

static void move_checkpoint(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct bed_names names;

    CHECK(varve_checkpoint(bed->db, "/copy", NULL, &bed->err) == 0);
    bed_close_ok(bed);
    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++)
        bed_remove_file(bed, names.name[i]);
    CHECK(env->ops->remove(env, "/db", NULL) == 0);
    CHECK(env->ops->rename(env, "/copy", "/db", NULL) == 0);
}

/* 0: closed, with two levels; 1: killed, with a log; 2: a checkpoint. */
static struct sim_env *make_dir(int which)
{
    struct bed *bed = small_bed();
    struct sim_env *image;

    bed_open_ok(bed);
    write_some(bed, 0);
    CHECK(varve_compact(bed->db, &bed->err) == 0);
    write_some(bed, 5);
    bed_flush_ok(bed);
    write_some(bed, 9);
    if (which == 2)
        move_checkpoint(bed);
    else if (which == 0)
        bed_close_ok(bed);
    image = sim_image(bed->sim, sim_event_count(bed->sim), SIM_KILL, 0);
    bed_deinit(bed);
    free(bed);
    return image;
}

static struct sim_env *good_dir(int which)
{
    static struct sim_env *dirs[DIRS];

    if (dirs[which] == NULL)
        dirs[which] = make_dir(which);
    return sim_image(dirs[which], sim_event_count(dirs[which]), SIM_KILL, 0);
}

/* ---- changes ---- */

static struct dir_id id_of(struct bed *bed)
{
    struct dir_id id = {{0}};
    uint64_t manifest_no = 0;

    CHECK(current_read(sim_as_env(bed->sim), BED_DIR, &id, &manifest_no, NULL) == 0);
    return id;
}

static void seal_file(const char *name, struct edited *file, const struct dir_id *id, uint8_t what)
{
    uint64_t file_no = 0;

    switch (name_parse(name, &file_no)) {
    case NAME_WAL:
        log_disk_repair(file->bytes, file->len, WAL_MAGIC, id, file_no, what & 15);
        break;
    case NAME_MANIFEST:
        log_disk_repair(file->bytes, file->len, MANIFEST_MAGIC, id, file_no, what & 15);
        break;
    case NAME_SEGMENT:
        seal_segment(file->bytes, file->len, id, file_no, what & SEAL_SEGMENTS ? 31 : 0);
        break;
    case NAME_CURRENT:
        if (what & SEAL_CURRENT)
            log_disk_repair_current(file->bytes, file->len);
        break;
    default: break;
    }
}

/* The place of one file, with another's bytes or changed ones. */
static void change_file(struct bed *bed, const struct bed_names *names, const struct dir_id *id,
                        uint8_t seal, struct take *take)
{
    const char *name = names->name[take_byte(take) % names->count];
    uint8_t how = take_byte(take);
    struct edited file;
    char path[128];
    size_t len = 0;

    if (!bed_has_file(bed, name))
        return;
    if ((how & 7) == 1) {
        bed_remove_file(bed, name);
        return;
    }
    snprintf(path, sizeof(path), BED_DIR "/%s", name);
    uint8_t *bytes = log_disk_get(bed->sim, path, &len);
    edited_init(&file, bytes, len < EDITS_FILE_MAX_BYTES ? len : EDITS_FILE_MAX_BYTES);
    free(bytes);
    for (int i = how >> 3 & EDITS_MAX; i >= 0 && take_left(take) > 0; i--)
        edited_change(&file, take);
    if ((how & 7) == 2) /* in the place of another, or a new one */
        name = names->name[take_byte(take) % names->count];
    else if ((how & 7) == 3)
        name = how & 0x80 ? "000099.seg" : "000098.wal";
    seal_file(name, &file, id, seal);
    bed_write_file(bed, name, varve_slice(file.bytes, file.len));
    edited_deinit(&file);
}

/* ---- what must hold ---- */

static void walk(struct bed *bed)
{
    struct varve_err err = {0};
    struct varve_read read = {.now_ms = 1};
    struct varve_iter *iter = varve_iter_create(bed->db, &read, NULL, NULL, &err);
    int64_t count = 0;

    CHECK(iter != NULL);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter), count++)
        (void)varve_iter_value(iter);
    int rc = varve_iter_status(iter, &err);
    CHECK(rc == 0 || (rc == VARVE_ECORRUPT && err.text[0] != '\0'));
    for (varve_iter_last(iter); varve_iter_valid(iter); varve_iter_prev(iter))
        count--;
    CHECK(rc != 0 || varve_iter_status(iter, &err) != 0 || count == 0);
    varve_iter_destroy(iter);
}

static void use(struct bed *bed)
{
    static const char *const keys[] = {"k01", "k03", "k14", "a000006", "a000015", "Upper", ""};
    struct varve_err err = {0};
    uint64_t count;

    walk(bed);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct varve_pin pin;
        int rc = varve_get(bed->db, NULL, varve_slice_str(keys[i]), &pin, &err);
        CHECK(rc == 0 || rc == VARVE_NOT_FOUND || (rc == VARVE_ECORRUPT && err.text[0] != '\0'));
        if (rc == 0)
            varve_pin_release(&pin);
    }
    int rc = varve_count(bed->db, varve_slice("k", 1), &count, &err);
    CHECK(rc == 0 || (rc < 0 && err.text[0] != '\0'));
    rc = bed_put(bed, "k01", "new");
    CHECK(rc == 0 || (rc < 0 && bed->err.text[0] != '\0'));
    if (rc == 0)
        CHECK(strcmp(bed_get(bed, "k01"), "new") == 0);
    (void)varve_flush(bed->db, &err);
    for (int i = 0; i < 3; i++)
        bed_pass_us(bed, 1000000);
    walk(bed);
    (void)bed_close(bed);
}

static void touch_lock(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_lock *lock = NULL;

    CHECK(env->ops->lock(env, BED_DIR "/LOCK", &lock, NULL) == 0);
    env->ops->unlock(env, lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    struct bed *bed = small_bed();
    uint64_t used = mem_used_bytes();
    uint8_t which = take_byte(&take);
    uint8_t seal = take_byte(&take);
    struct bed_names names;

    bed_use_image(bed, good_dir(which % DIRS));
    struct dir_id id = id_of(bed);
    bed_list(bed, &names);
    for (int i = 0; i < CHANGES_MAX && take_left(&take) > 0; i++)
        change_file(bed, &names, &id, seal, &take);
    touch_lock(bed);
    uint64_t disk = sim_hash(bed->sim);
    fuzz_bound_allocations(MEMORY_MAX_BYTES);
    bed->err.text[0] = '\0';
    if (bed_open(bed) == 0) {
        use(bed);
    } else {
        CHECK(bed->db == NULL && bed->err.code < 0 && bed->err.text[0] != '\0');
        CHECK(sim_hash(bed->sim) == disk);
    }
    fuzz_bound_allocations(0);
    bed_run(bed);
    block_memory_trim(0); /* what is kept for the next blocks */
    CHECK(mem_used_bytes() <= used + 4096);
    bed_deinit(bed);
    free(bed);
    return 0;
}
