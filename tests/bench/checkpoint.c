/* checkpoint - checkpoints taken under full write load: each opens, verifies, and equals the data at one
 * sequence; the original runs on, and their files do not change by one byte.
 *
 *   checkpoint [--seconds N] [--every N] [--checkpoints N] [--keys N] [--dir D] [--varve PROGRAM]
 *
 * Default: 5 checkpoints, one every 10 s, then 300 s more of the same load; 100,000 keys of 20 to 400
 * bytes. Memtables of 1 MiB, so that flushes and compactions never rest.
 *
 * The writer keeps a hash of the live data after each batch, by its sequence: the sum of a hash of each
 * live (key, serial number, expiry), where the serial number says what the whole value must be. A walk
 * through a checkpoint gives the same kind of sum, which must be that of the checkpoint's own sequence, and
 * of no other one. The keys are a server's, so that `varve` understands the directory; PROGRAM is by
 * default that of the same build. A checkpoint is opened as a copy, since opening writes to it.
 *
 * In the end the original is removed, too. Prints a table and closes with `N passed, N failed`. */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "types/keycode.h"
#include "varve/checkpoint.h"
#include "varve/db.h"
#include "varve/iter.h"

#define MIB ((uint64_t)1024 * 1024)
#define KEY_BYTES 14 /* space, tag, twelve digits: in order, so without a hash, and verified raw */
#define VALUE_MIN_BYTES 20
#define VALUE_MAX_BYTES 400
#define SERIAL_AT 1 /* in a value, behind the byte that says what it is */
#define RANGE_KEYS_MAX 200
#define BATCH_OPS_MAX 30
#define KEPT_SUMS ((size_t)1 << 20) /* so many batches back the sums are known */
#define LOG_MAX_BYTES (8 * MIB)     /* of three memtables of 1 MiB, in files of 2 MiB */
#define CHECKPOINTS_MAX 64
#define FILES_MAX 4096
#define SHA_BYTES 32
#define EXPIRES_MS ((uint64_t)4102444800000) /* 2100 */

extern char **environ;

struct sum {
    uint64_t seq;
    uint64_t a;
    uint64_t b;
    uint64_t keys;
};

struct model {
    uint64_t *serials; /* of each key; 0: it is not there */
    uint64_t next_serial;
    struct sum now;
};

/* What the writer meets depends on what else goes on. */
enum phase { PHASE_ALONE, PHASE_TAKING, PHASE_CHECKING, PHASE_COUNT };

struct pace {
    uint64_t us;
    uint64_t ops;
    uint64_t longest_us; /* of one write, its wait for memtables included */
};

struct frozen_file {
    char name[NAME_MAX + 1];
    ino_t inode;
    off_t size;
    struct timespec modified;
    uint8_t sha[SHA_BYTES];
};

struct taken {
    char dir[PATH_MAX];
    struct varve_checkpoint made;
    struct sum sum;
    uint64_t us;
    uint64_t own_bytes; /* allocated for files that it does not share, just after it was made */
    struct frozen_file *files;
    size_t file_count;
};

struct bench {
    uint32_t keys;
    uint32_t seconds;
    uint32_t every;
    uint32_t checkpoints;
    const char *varve;
    char data[PATH_MAX];
    struct varve_executor *executor;
    struct varve_db *db;
    struct model model; /* the writer's */
    struct mutex mutex; /* guards what follows up to paces */
    struct sum *sums;   /* of the last KEPT_SUMS batches, in a ring */
    size_t sum_count;   /* ever */
    struct pace paces[PHASE_COUNT];
    _Atomic int phase;
    _Atomic int stop;
    struct taken taken[CHECKPOINTS_MAX];
    size_t taken_count;
    uint64_t passed;
    uint64_t failed;
};

static void report(struct bench *bench, int ok, const char *what, double figure, const char *bound)
{
    printf("| %s | %.2f | %s | %s |\n", what, figure, bound, ok ? "PASS" : "FAIL");
    fflush(stdout);
    bench->passed += ok != 0;
    bench->failed += ok == 0;
}

static void tell(const char *what, double figure)
{
    printf("| %s | %.2f | | |\n", what, figure);
    fflush(stdout);
}

static void die(const char *what, const struct varve_err *err)
{
    printf("FAILED: %s: %s\n0 passed, 1 failed\n", what, err->text);
    exit(1);
}

/* ---- the model ---- */

static struct varve_slice key_of(uint32_t key, char text[KEY_BYTES + 1])
{
    snprintf(text, KEY_BYTES + 1, "%c%c%012u", SPACE_FIRST, KEY_TAG_NAME, key);
    return varve_slice(text, KEY_BYTES);
}

static int expires(uint64_t serial)
{
    return serial % 16 == 0;
}

static struct varve_slice value_of(uint32_t key, uint64_t serial, uint8_t bytes[VALUE_MAX_BYTES])
{
    struct rng rng;

    rng_init(&rng, serial * 1000003 + key);
    size_t len = VALUE_MIN_BYTES + rng_below(&rng, VALUE_MAX_BYTES - VALUE_MIN_BYTES);
    bytes[0] = value_head(VALUE_STRING, VALUE_RAW);
    memcpy(bytes + SERIAL_AT, &serial, sizeof(serial));
    for (size_t at = SERIAL_AT + sizeof(serial); at < len; at += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(bytes + at, &word, len - at < 8 ? len - at : 8);
    }
    return varve_slice(bytes, len);
}

/* Adds the key's part to the sum, or takes it away again. */
static void sum_change(struct sum *sum, uint32_t key, uint64_t serial, int add)
{
    struct rng rng;

    if (serial == 0)
        return;
    rng_init(&rng, serial);
    rng_init(&rng, rng_next(&rng) ^ key);
    uint64_t a = rng_next(&rng);
    uint64_t b = rng_next(&rng);
    sum->a += add ? a : -a;
    sum->b += add ? b : -b;
    sum->keys += add ? 1 : (uint64_t)-1;
}

static int sum_is(const struct sum *a, const struct sum *b)
{
    return a->a == b->a && a->b == b->b && a->keys == b->keys;
}

static void model_set(struct model *model, uint32_t key, uint64_t serial)
{
    sum_change(&model->now, key, model->serials[key], 0);
    sum_change(&model->now, key, serial, 1);
    model->serials[key] = serial;
}

/* ---- the writer ---- */

static void stage_put(struct bench *bench, struct varve_batch *batch, uint32_t key)
{
    uint8_t bytes[VALUE_MAX_BYTES];
    char text[KEY_BYTES + 1];
    struct varve_slice name = key_of(key, text);
    uint64_t serial = bench->model.next_serial++;
    struct varve_slice value = value_of(key, serial, bytes);

    CHECK(varve_batch_put(batch, &name, 1, &value, 1, expires(serial) ? EXPIRES_MS : 0) == 0);
    model_set(&bench->model, key, serial);
}

static void stage_delete(struct bench *bench, struct varve_batch *batch, uint32_t key)
{
    char text[KEY_BYTES + 1];
    struct varve_slice name = key_of(key, text);

    CHECK(varve_batch_delete(batch, &name, 1) == 0);
    model_set(&bench->model, key, 0);
}

static void stage_range(struct bench *bench, struct varve_batch *batch, uint32_t first,
                        uint32_t count)
{
    char from[KEY_BYTES + 1];
    char to[KEY_BYTES + 1];

    if (count > bench->keys - first)
        count = bench->keys - first;
    CHECK(varve_batch_delete_range(batch, key_of(first, from), key_of(first + count, to)) == 0);
    for (uint32_t key = first; key < first + count; key++)
        model_set(&bench->model, key, 0);
}

/* A put comes first, so that no two batches leave the same data. */
static void stage_batch(struct bench *bench, struct varve_batch *batch, struct rng *rng)
{
    uint32_t ops = 1 + (uint32_t)rng_below(rng, BATCH_OPS_MAX);

    stage_put(bench, batch, (uint32_t)rng_below(rng, bench->keys));
    for (uint32_t i = 1; i < ops; i++) {
        uint32_t key = (uint32_t)rng_below(rng, bench->keys);
        uint64_t what = rng_below(rng, 1000);
        if (what < 2)
            stage_range(bench, batch, key, 1 + (uint32_t)rng_below(rng, RANGE_KEYS_MAX));
        else if (what < 200)
            stage_delete(bench, batch, key);
        else
            stage_put(bench, batch, key);
    }
}

static uint64_t write_batch(struct bench *bench, struct varve_batch *batch)
{
    struct varve_err err = {0};
    uint64_t seq = 0;
    int rc;

    while ((rc = varve_write(bench->db, batch, &seq, &err)) == VARVE_EFULL) {
        varve_tick(bench->db);
        thread_sleep_us(1000);
    }
    if (rc != 0)
        die("write", &err);
    varve_tick(bench->db);
    return seq;
}

/* A write belongs to the taking of a checkpoint if any of it does. */
static void book(struct bench *bench, enum phase began, uint32_t ops, uint64_t took_us)
{
    enum phase ended = (enum phase)atomic_load(&bench->phase);
    struct pace *pace = &bench->paces[ended == PHASE_TAKING ? ended : began];

    mutex_lock(&bench->mutex);
    bench->sums[bench->sum_count++ % KEPT_SUMS] = bench->model.now;
    pace->ops += ops;
    if (took_us > pace->longest_us)
        pace->longest_us = took_us;
    mutex_unlock(&bench->mutex);
}

static void writer_run(void *arg)
{
    struct bench *bench = arg;
    struct varve_batch *batch = varve_batch_create();
    struct rng rng;

    CHECK(batch != NULL);
    rng_init(&rng, 4);
    while (!atomic_load(&bench->stop)) {
        varve_batch_clear(batch);
        stage_batch(bench, batch, &rng);
        enum phase began = (enum phase)atomic_load(&bench->phase);
        uint64_t begin_us = clock_mono_us();
        bench->model.now.seq = write_batch(bench, batch);
        book(bench, began, varve_batch_count(batch), clock_mono_us() - begin_us);
    }
    varve_batch_destroy(batch);
}

/* The first keys, and the records that tell a server and `varve` of database 0. */
static void fill(struct bench *bench)
{
    struct varve_batch *batch = varve_batch_create();
    const struct {
        struct varve_slice key;
        struct varve_slice value;
    } known[] = {{varve_slice("\0\1\0", 3), varve_slice("\1", 1)},
                 {varve_slice("\0\2", 2), varve_slice("\2", 1)}};

    CHECK(batch != NULL);
    for (size_t i = 0; i < COUNT_OF(known); i++)
        CHECK(varve_batch_put(batch, &known[i].key, 1, &known[i].value, 1, 0) == 0);
    for (uint32_t key = 0; key < bench->keys; key++) {
        stage_put(bench, batch, key);
        if (varve_batch_count(batch) >= 100 || key + 1 == bench->keys) {
            (void)write_batch(bench, batch);
            varve_batch_clear(batch);
        }
    }
    varve_batch_destroy(batch);
}

static void enter_phase(struct bench *bench, enum phase phase)
{
    static uint64_t since_us;
    uint64_t now_us = clock_mono_us();

    if (since_us != 0)
        bench->paces[atomic_load(&bench->phase)].us += now_us - since_us;
    since_us = now_us;
    atomic_store(&bench->phase, (int)phase);
}

/* ---- files ---- */

static void hash_file(int dir, const char *name, uint8_t sha[SHA_BYTES])
{
    static uint8_t piece[1 << 16];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    CHECK(digest != NULL && fd >= 0);
    CHECK(EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1);
    while ((got = read(fd, piece, sizeof(piece))) > 0)
        CHECK(EVP_DigestUpdate(digest, piece, (size_t)got) == 1);
    CHECK(got == 0 && EVP_DigestFinal_ex(digest, sha, NULL) == 1);
    EVP_MD_CTX_free(digest);
    close(fd);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct frozen_file *)a)->name, ((const struct frozen_file *)b)->name);
}

/* Names, inodes, sizes, times and hashes of all files. own_bytes (may be NULL) gets what is allocated for
 * those that have no second name. mem_free() it. */
static struct frozen_file *freeze(const char *path, size_t *count, uint64_t *own_bytes)
{
    struct frozen_file *files = mem_alloc_zero(FILES_MAX * sizeof(*files));
    DIR *folder = opendir(path);
    struct dirent *entry;

    CHECK(files != NULL && folder != NULL);
    *count = 0;
    while ((entry = readdir(folder)) != NULL) {
        struct frozen_file *file = &files[*count];
        struct stat about;
        CHECK(*count < FILES_MAX && fstatat(dirfd(folder), entry->d_name, &about, 0) == 0);
        if (!S_ISREG(about.st_mode))
            continue;
        snprintf(file->name, sizeof(file->name), "%s", entry->d_name);
        file->inode = about.st_ino;
        file->size = about.st_size;
        file->modified = about.st_mtim;
        hash_file(dirfd(folder), entry->d_name, file->sha);
        if (own_bytes != NULL && about.st_nlink == 1)
            *own_bytes += (uint64_t)about.st_blocks * 512;
        (*count)++;
    }
    closedir(folder);
    qsort(files, *count, sizeof(*files), by_name);
    return files;
}

/* How many files are not as they were, gone or new. */
static uint64_t count_changed(const struct taken *taken)
{
    size_t count;
    struct frozen_file *now = freeze(taken->dir, &count, NULL);
    uint64_t changed = count > taken->file_count ? count - taken->file_count : 0;

    for (size_t i = 0; i < taken->file_count; i++)
        changed += i >= count || memcmp(&now[i], &taken->files[i], sizeof(now[i])) != 0;
    mem_free(now);
    return changed;
}

static uint64_t allocated_bytes(const char *path, const char *suffix)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    uint64_t bytes = 0;

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        struct stat about;
        if (strstr(entry->d_name, suffix) != NULL &&
            fstatat(dirfd(folder), entry->d_name, &about, 0) == 0 && S_ISREG(about.st_mode))
            bytes += (uint64_t)about.st_blocks * 512;
    }
    closedir(folder);
    return bytes;
}

static void remove_dir(const char *dir)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    CHECK(rmdir(dir) == 0);
}

/* Runs a program, its output goes where our stderr goes; its exit code. */
static int run_program(const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    char *words[8] = {NULL};
    pid_t pid;
    int status = -1;

    for (size_t i = 0; argv[i] != NULL; i++) {
        CHECK(i + 1 < COUNT_OF(words));
        CHECK((words[i] = mem_strdup(argv[i])) != NULL);
    }
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO) == 0);
    if (posix_spawnp(&pid, argv[0], &actions, NULL, words, environ) != 0) {
        fprintf(stderr, "cannot start %s\n", argv[0]);
    } else {
        CHECK(waitpid(pid, &status, 0) == pid);
    }
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; words[i] != NULL; i++)
        mem_free(words[i]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what a checkpoint holds ---- */

static struct varve_options options_of(const struct bench *bench)
{
    return (struct varve_options){
        .executor = bench->executor,
        .memtable_size_bytes = 1 * MIB,
        .memtables_max = 3,
        .block_cache_size_bytes = 16 * MIB,
        .segment_size_bytes = 2 * MIB,
        .wal_size_bytes = 2 * MIB,
        .count_group = keycode_count_group,
    };
}

/* Adds what the iterator stands at; 0: it is no record of the writer's. */
static int add_record(struct varve_iter *iter, struct sum *sum)
{
    struct varve_slice name = varve_iter_key(iter);
    struct varve_slice value = varve_iter_value(iter);
    uint8_t bytes[VALUE_MAX_BYTES];
    char text[KEY_BYTES + 1] = {0};
    uint64_t serial;

    if (name.len != KEY_BYTES || value.len < VALUE_MIN_BYTES)
        return 0;
    memcpy(text, name.data, KEY_BYTES);
    uint32_t key = (uint32_t)strtoul(text + 2, NULL, 10);
    memcpy(&serial, value.data + SERIAL_AT, sizeof(serial));
    sum_change(sum, key, serial, 1);
    return serial != 0 && varve_slice_equal(value, value_of(key, serial, bytes)) &&
           varve_iter_expire_ms(iter) == (expires(serial) ? EXPIRES_MS : 0);
}

/* Walks all of it; wrong values are counted. */
static struct sum walk(struct varve_db *db, uint64_t *wrong)
{
    struct varve_slice lower = varve_slice("\1", 1);
    struct varve_err err = {0};
    struct varve_iter *iter = varve_iter_create(db, NULL, &lower, NULL, &err);
    struct sum sum = {0};

    if (iter == NULL)
        die("iterator", &err);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        *wrong += !add_record(iter, &sum);
    if (varve_iter_status(iter, &err) != 0)
        die("walk", &err);
    varve_iter_destroy(iter);
    return sum;
}

/* Opens a copy, looks at all of it, writes to it and merges it. */
static void check_content(struct bench *bench, const struct taken *taken, const char *what)
{
    struct varve_options options = options_of(bench);
    struct varve_slice group = varve_slice("\1\1", 2);
    struct varve_err err = {0};
    struct varve_db *db = NULL;
    char copy[PATH_MAX + 8];
    char title[128];
    uint64_t wrong = 0;
    uint64_t count = 0;

    snprintf(copy, sizeof(copy), "%s.opened", taken->dir);
    const char *const argv[] = {"cp", "-r", taken->dir, copy, NULL};
    CHECK(run_program(argv) == 0);
    options.no_create = 1;
    if (varve_open(copy, &options, &db, &err) != 0)
        die("open a checkpoint", &err);
    struct sum sum = walk(db, &wrong);
    if (varve_count(db, group, &count, &err) != 0)
        die("count", &err);
    snprintf(title, sizeof(title), "%s: keys", what);
    report(bench, wrong == 0 && sum_is(&sum, &taken->sum) && count == sum.keys, title,
           (double)sum.keys, "as at its sequence");
    if (varve_compact(db, &err) != 0)
        die("compact a checkpoint", &err);
    struct sum merged = walk(db, &wrong);
    snprintf(title, sizeof(title), "%s: keys when merged", what);
    report(bench, wrong == 0 && sum_is(&merged, &sum), title, (double)merged.keys, "the same");
    if (varve_close(db, &err) != 0)
        die("close a checkpoint", &err);
    remove_dir(copy);
}

/* The sum at that sequence; how many batches left the same data. The writer notes a sum after its write
 * took effect: it may still be about to. */
static size_t find_sum(struct bench *bench, uint64_t seq, struct sum *found)
{
    size_t same = 0;

    mutex_lock(&bench->mutex);
    while (bench->sum_count == 0 || bench->sums[(bench->sum_count - 1) % KEPT_SUMS].seq < seq) {
        mutex_unlock(&bench->mutex);
        thread_sleep_us(1000);
        mutex_lock(&bench->mutex);
    }
    size_t kept = bench->sum_count < KEPT_SUMS ? bench->sum_count : KEPT_SUMS;
    *found = (struct sum){0};
    for (size_t i = 0; i < kept; i++)
        if (bench->sums[i].seq == seq)
            *found = bench->sums[i];
    for (size_t i = 0; i < kept; i++)
        same += sum_is(found, &bench->sums[i]);
    mutex_unlock(&bench->mutex);
    return found->seq == seq ? same : 0;
}

/* ---- the run ---- */

static void check_taken(struct bench *bench, struct taken *taken, const char *what)
{
    const char *const verify[] = {bench->varve, "verify", "--raw", taken->dir, NULL};
    const char *const restore[] = {bench->varve, "checkpoint", "--raw", taken->dir, NULL};
    uint64_t segments = 0;
    char title[128];

    for (size_t i = 0; i < taken->file_count; i++)
        if (strstr(taken->files[i].name, ".seg") != NULL)
            segments += (uint64_t)taken->files[i].size;
    size_t same = find_sum(bench, taken->made.seq, &taken->sum);
    snprintf(title, sizeof(title), "%s: batches that left its data", what);
    report(bench, same == 1, title, (double)same, "= 1");
    snprintf(title, sizeof(title), "%s: segments not linked, MiB", what);
    report(bench, segments == taken->made.linked_bytes, title,
           ((double)segments - (double)taken->made.linked_bytes) / (double)MIB, "= 0");
    snprintf(title, sizeof(title), "%s: exit code of varve verify", what);
    int code = run_program(verify);
    report(bench, code == 0, title, code, "= 0");
    snprintf(title, sizeof(title), "%s: exit code of varve checkpoint", what);
    code = run_program(restore);
    report(bench, code == 0, title, code, "= 0");
    check_content(bench, taken, what);
}

static void take(struct bench *bench)
{
    struct taken *taken = &bench->taken[bench->taken_count];
    struct varve_err err = {0};
    char what[32];
    char title[128];

    snprintf(what, sizeof(what), "checkpoint %zu", bench->taken_count + 1);
    snprintf(taken->dir, sizeof(taken->dir), "%.*s.checkpoint-%zu", PATH_MAX - 32, bench->data,
             bench->taken_count + 1);
    enter_phase(bench, PHASE_TAKING);
    uint64_t begin_us = clock_mono_us();
    if (varve_checkpoint(bench->db, taken->dir, &taken->made, &err) != 0)
        die("checkpoint", &err);
    taken->us = clock_mono_us() - begin_us;
    enter_phase(bench, PHASE_CHECKING);
    taken->files = freeze(taken->dir, &taken->file_count, &taken->own_bytes);
    snprintf(title, sizeof(title), "%s: ms to take it", what);
    tell(title, (double)taken->us / 1e3);
    snprintf(title, sizeof(title), "%s: MiB shared", what);
    tell(title, (double)taken->made.linked_bytes / (double)MIB);
    snprintf(title, sizeof(title), "%s: MiB copied (log)", what);
    report(bench, taken->made.copied_bytes <= LOG_MAX_BYTES, title,
           (double)taken->made.copied_bytes / (double)MIB, "<= 8, the memtables' log");
    snprintf(title, sizeof(title), "%s: MiB allocated that nobody shares (by now)", what);
    tell(title, (double)taken->own_bytes / (double)MIB);
    check_taken(bench, taken, what);
    bench->taken_count++;
    enter_phase(bench, PHASE_ALONE);
}

static void report_unchanged(struct bench *bench, const char *when)
{
    uint64_t changed = 0;
    uint64_t files = 0;
    char title[128];

    for (size_t i = 0; i < bench->taken_count; i++) {
        changed += count_changed(&bench->taken[i]);
        files += bench->taken[i].file_count;
    }
    snprintf(title, sizeof(title), "files of all checkpoints %s", when);
    tell(title, (double)files);
    snprintf(title, sizeof(title), "of these changed in a byte, size, inode or time");
    report(bench, changed == 0, title, (double)changed, "= 0");
}

static void report_paces(struct bench *bench)
{
    static const char *const names[PHASE_COUNT] = {
        [PHASE_ALONE] = "alone",
        [PHASE_TAKING] = "while one is taken",
        [PHASE_CHECKING] = "while one is checked",
    };
    char title[128];

    for (int i = 0; i < PHASE_COUNT; i++) {
        const struct pace *pace = &bench->paces[i];
        snprintf(title, sizeof(title), "writer %s: seconds", names[i]);
        tell(title, (double)pace->us / 1e6);
        snprintf(title, sizeof(title), "writer %s: k operations/s", names[i]);
        tell(title, pace->us == 0 ? 0 : (double)pace->ops * 1e3 / (double)pace->us);
        snprintf(title, sizeof(title), "writer %s: longest write, ms", names[i]);
        tell(title, (double)pace->longest_us / 1e3);
    }
}

static void report_load(struct bench *bench)
{
    struct varve_stats stats;

    varve_stats(bench->db, &stats);
    tell("written, MiB", (double)stats.user_bytes / (double)MIB);
    report(bench, stats.flushes > bench->seconds, "flushes", (double)stats.flushes,
           "> one a second");
    report(bench, stats.compactions > bench->seconds / 2, "compactions", (double)stats.compactions,
           "> one in 2 s");
    report(bench, stats.background_failures == 0, "flushes and compactions that failed",
           (double)stats.background_failures, "= 0");
    tell("allocated for the original, MiB", (double)allocated_bytes(bench->data, "") / (double)MIB);
}

static void sleep_s(uint32_t seconds)
{
    thread_sleep_us((uint64_t)seconds * 1000000);
}

static void run(struct bench *bench)
{
    struct varve_executor_threads threads = {.compaction = 1, .read = 1};
    struct varve_options options;
    struct thread writer;
    struct varve_err err = {0};
    uint64_t wrong = 0;

    if (varve_executor_threads_create(&threads, &bench->executor, &err) != 0)
        die("executor", &err);
    options = options_of(bench);
    if (varve_open(bench->data, &options, &bench->db, &err) != 0)
        die("open", &err);
    printf("| what | figure | bound | |\n|---|---|---|---|\n");
    fill(bench);
    CHECK(thread_start(&writer, "writer", writer_run, bench) == 0);
    enter_phase(bench, PHASE_ALONE);
    for (uint32_t i = 0; i < bench->checkpoints; i++) {
        sleep_s(bench->every);
        take(bench);
    }
    sleep_s(bench->seconds);
    enter_phase(bench, PHASE_CHECKING);
    report_unchanged(bench, "while the original runs");
    atomic_store(&bench->stop, 1);
    thread_join(&writer);
    enter_phase(bench, PHASE_ALONE);
    struct sum sum = walk(bench->db, &wrong);
    report(bench, wrong == 0 && sum_is(&sum, &bench->model.now), "the original: keys",
           (double)sum.keys, "as written");
    report_load(bench);
    report_paces(bench);
    if (varve_close(bench->db, &err) != 0)
        die("close", &err);
    remove_dir(bench->data);
    report_unchanged(bench, "when the original is gone");
    if (bench->taken_count > 0)
        check_content(bench, &bench->taken[0], "checkpoint 1 when the original is gone");
    varve_executor_threads_destroy(bench->executor);
}

/* The one that lies in the build where we lie. */
static const char *find_varve(void)
{
    static char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    const char *name = "tests/bench/checkpoint";

    if (len < (ssize_t)strlen(name))
        return "varve";
    snprintf(path + len - strlen(name), strlen(name), "tools/varve/varve");
    return path;
}

static void bench_deinit(struct bench *bench)
{
    for (size_t i = 0; i < bench->taken_count; i++) {
        remove_dir(bench->taken[i].dir);
        mem_free(bench->taken[i].files);
    }
    mem_free(bench->model.serials);
    mem_free(bench->sums);
    mutex_deinit(&bench->mutex);
}

static int parse(struct bench *bench, int argc, char **argv, const char **dir)
{
    static const struct option long_options[] = {
        {"seconds", required_argument, NULL, 's'},
        {"every", required_argument, NULL, 'e'},
        {"checkpoints", required_argument, NULL, 'c'},
        {"keys", required_argument, NULL, 'k'},
        {"dir", required_argument, NULL, 'd'},
        {"varve", required_argument, NULL, 'v'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 's': bench->seconds = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'e': bench->every = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'c': bench->checkpoints = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'k': bench->keys = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'd': *dir = optarg; break;
        case 'v': bench->varve = optarg; break;
        default: return -1;
        }
    }
    return bench->keys == 0 || bench->checkpoints > CHECKPOINTS_MAX ? -1 : 0;
}

int main(int argc, char **argv)
{
    static struct bench bench = {
        .keys = 100000, .seconds = 300, .every = 10, .checkpoints = 5, .model.next_serial = 1};
    char made[] = "/tmp/varve-checkpoint-XXXXXX";
    const char *dir = NULL;

    if (parse(&bench, argc, argv, &dir) != 0)
        return 2;
    if (bench.varve == NULL)
        bench.varve = find_varve();
    if (dir == NULL)
        dir = mkdtemp(made);
    CHECK(dir != NULL);
    snprintf(bench.data, sizeof(bench.data), "%s/data", dir);
    mutex_init(&bench.mutex);
    bench.model.serials = mem_alloc_zero(bench.keys * sizeof(*bench.model.serials));
    bench.sums = mem_alloc_zero(KEPT_SUMS * sizeof(*bench.sums));
    CHECK(bench.model.serials != NULL && bench.sums != NULL);
    run(&bench);
    bench_deinit(&bench);
    if (dir == made)
        rmdir(dir);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", bench.passed, bench.failed);
    return bench.failed != 0;
}
