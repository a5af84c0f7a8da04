/* Short records: when the writer takes that form, and what a reader makes of damage among them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"
#include "lsm/log_reader.h"
#include "lsm/log_writer.h"

#define PATH "/000007.wal"
#define FILE_NO 7
#define RECORDS_MAX 400
#define KEY "a key of 16 byte"
#define SHORT_BYTES (4 + 7 + 16 + 100)

/* ---- the writer ---- */

struct forms {
    struct log_record records[RECORDS_MAX];
    size_t count;
};

/* The operations records of the log in use. */
static void read_forms(struct bed *bed, struct forms *forms)
{
    struct wal *wal = &bed->db->wal;
    struct log_reader *reader = NULL;
    struct log_record record;

    forms->count = 0;
    assert_int_equal(log_reader_open(wal->env, wal->log->path, WAL_MAGIC, &bed->db->id,
                                     wal->log->file_no, UINT64_MAX, &reader, &bed->err),
                     0);
    while (log_reader_next(reader, &record, &bed->err) == 0)
        if (record.header.type == RECORD_OPS) {
            assert_true(forms->count < RECORDS_MAX);
            forms->records[forms->count++] = record;
        }
    assert_int_equal(log_reader_offset(reader), wal->log->offset);
    log_reader_close(reader);
}

static void open_large(struct bed *bed)
{
    bed_init(bed, 3);
    bed->options.wal_size_bytes = (uint64_t)1024 * 1024;
    bed->options.durability = VARVE_NO;
    bed_open_ok(bed);
}

static void put_100(struct bed *bed)
{
    uint8_t value[100];

    memset(value, 'v', sizeof(value));
    assert_int_equal(bed_put_bytes(bed, KEY, varve_slice(value, sizeof(value)), 0), 0);
}

static void sync_now(struct bed *bed)
{
    varve_sync(bed->db);
    bed_run(bed);
}

static void test_short__one_operation_and_nothing_new(void **state)
{
    static struct bed bed;
    static struct forms forms;
    uint8_t large[16 * 1024] = {0};
    size_t i = 0;

    (void)state;
    open_large(&bed);
    put_100(&bed); /* the first of the file */
    put_100(&bed);
    assert_int_equal(bed_delete(&bed, KEY), 0);
    assert_int_equal(bed_put_bytes(&bed, KEY, varve_slice("x", 1), (uint64_t)1 << 60), 0);
    assert_int_equal(bed_add(&bed, "a", "1"), 0); /* two */
    assert_int_equal(bed_put(&bed, "b", "2"), 0);
    put_100(&bed);
    sync_now(&bed);
    put_100(&bed); /* promises that */
    put_100(&bed);
    assert_int_equal(bed_put_bytes(&bed, KEY, varve_slice(large, sizeof(large)), 0), 0);
    put_100(&bed);
    read_forms(&bed, &forms);
    static const int is_short[] = {0, 1, 1, 1, 0, 1, 0, 1, 0, 1};
    assert_int_equal(forms.count, COUNT_OF(is_short));
    for (i = 0; i < forms.count; i++)
        assert_int_equal(forms.records[i].header.is_short, is_short[i]);
    assert_int_equal(forms.records[1].end - forms.records[1].offset, SHORT_BYTES);
    assert_int_equal(forms.records[5].header.first_seq, 7);
    assert_int_equal(forms.records[6].header.promised.offset, forms.records[5].end);
    bed_deinit(&bed);
}

/* The long form comes again, and with it the promise, wherever damage may have taken the last one. */
static void test_short__long_form_is_repeated(void **state)
{
    static struct bed bed;
    static struct forms forms;
    uint64_t long_end = 0;
    size_t repeated = 0;

    (void)state;
    open_large(&bed);
    put_100(&bed);
    sync_now(&bed);
    for (size_t i = 0; i < RECORDS_MAX - 10; i++)
        put_100(&bed);
    read_forms(&bed, &forms);
    for (size_t i = 0; i < forms.count; i++) {
        const struct log_record *record = &forms.records[i];
        if (record->header.is_short) {
            assert_true(record->offset - long_end < 16384);
            continue;
        }
        long_end = record->end;
        repeated++;
        if (i > 0)
            assert_int_equal(record->header.promised.offset, forms.records[0].end);
    }
    assert_int_equal(repeated, 4);
    bed_deinit(&bed);
}

/* What a later long record vouches for is named wherever a bit of it turned. */
static void test_short__rot_is_refused(void **state)
{
    static struct bed bed;
    struct buf file = {.max = 1 << 20};

    (void)state;
    bed_init(&bed, 8);
    bed.options.durability = VARVE_NO;
    bed_open_ok(&bed);
    for (char key = 'a'; key < 'e'; key++)
        assert_int_equal(bed_put(&bed, (char[]){key, 0}, "value"), 0);
    uint64_t end = bed.db->wal.log->offset;
    sync_now(&bed);
    assert_int_equal(bed_put(&bed, "e", "value"), 0);
    bed_crash(&bed, SIM_KILL, 0);
    bed_read_file(&bed, "000002.wal", &file);
    for (uint64_t bit = 8 * FILE_HEADER_BYTES; bit < 8 * end; bit++) {
        bed_flip_bit(&bed, "000002.wal", bit);
        assert_int_equal(bed_open(&bed), VARVE_ECORRUPT);
        assert_non_null(strstr(bed.err.text, "000002.wal"));
        bed_flip_bit(&bed, "000002.wal", bit);
    }
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "e"), "value");
    buf_deinit(&file);
    bed_deinit(&bed);
}

/* ---- the reader ---- */

struct disk {
    struct sim_env *sim;
    struct varve_env *env;
    struct dir_id id;
    struct varve_err err;
    uint8_t file[2048];
    size_t len;
    uint64_t ends[16]; /* of records */
    size_t count;
};

static struct varve_slice make_op(uint8_t *to, const char *key, const char *value, size_t *head_len)
{
    struct chunk chunk = {
        .kind = CHUNK_PUT, .key = varve_slice_str(key), .value = varve_slice_str(value)};

    chunk.crc = chunk_crc(&chunk);
    *head_len = chunk_put_head(to, &chunk);
    memcpy(to + *head_len, key, strlen(key));
    memcpy(to + *head_len + strlen(key), value, strlen(value));
    return varve_slice(to, *head_len + strlen(key) + strlen(value));
}

static void stage(struct disk *disk, struct log_writer *log, uint64_t seq, int is_long)
{
    struct record_header header = {.type = RECORD_OPS, .first_seq = seq, .op_count = 1};
    uint8_t bytes[64];
    char value[16];
    size_t head_len;

    snprintf(value, sizeof(value), "value %02u", (unsigned)seq);
    struct varve_slice op = make_op(bytes, "key", value, &head_len);
    if (is_long)
        assert_int_equal(log_writer_stage(log, header, &op, 1), 0);
    else
        assert_int_equal(log_writer_stage_short(log, seq, op, head_len), 0);
    assert_int_equal(log_writer_flush(log, &disk->err), 0);
    disk->ends[disk->count++] = log->offset;
}

/* Records 1, 6 and 9 of ten are long. */
static int set_up(void **state)
{
    struct disk *disk = mem_alloc_zero(sizeof(*disk));
    struct log_writer *log = NULL;
    struct varve_file *file = NULL;

    disk->sim = sim_env_create(1);
    disk->env = sim_as_env(disk->sim);
    disk->id = (struct dir_id){{1, 2, 3}};
    assert_int_equal(log_writer_create(disk->env, "/", PATH, WAL_MAGIC, &disk->id, FILE_NO, 1024,
                                       NULL, &log, &disk->err),
                     0);
    for (uint64_t seq = 1; seq <= 10; seq++)
        stage(disk, log, seq, seq == 1 || seq == 6 || seq == 9);
    log_writer_close(log);
    assert_int_equal(disk->env->ops->open(disk->env, PATH, VARVE_OPEN_READ, &file, &disk->err), 0);
    assert_int_equal(disk->env->ops->read_at(disk->env, file, disk->file, sizeof(disk->file), 0,
                                             &disk->len, &disk->err),
                     0);
    disk->env->ops->close(disk->env, file);
    *state = disk;
    return 0;
}

static int tear_down(void **state)
{
    struct disk *disk = *state;

    sim_env_destroy(disk->sim);
    mem_free(disk);
    return 0;
}

/* The file with these bytes, from the beginning. */
static struct log_reader *open_bytes(struct disk *disk, const uint8_t *bytes, size_t len)
{
    struct varve_slice part = varve_slice(bytes, len);
    struct varve_file *file = NULL;
    struct log_reader *reader = NULL;

    assert_int_equal(disk->env->ops->open(disk->env, PATH, VARVE_OPEN_WRITE, &file, &disk->err), 0);
    assert_int_equal(disk->env->ops->truncate(disk->env, file, 0, &disk->err), 0);
    assert_int_equal(disk->env->ops->write_at(disk->env, file, &part, 1, 0, &disk->err), 0);
    disk->env->ops->close(disk->env, file);
    assert_int_equal(log_reader_open(disk->env, PATH, WAL_MAGIC, &disk->id, FILE_NO, UINT64_MAX,
                                     &reader, &disk->err),
                     0);
    return reader;
}

/* How many records come, each of them right. */
static size_t count_from(struct disk *disk, struct log_reader *reader, size_t first)
{
    struct log_record record;
    size_t count = first;
    int rc;

    while ((rc = log_reader_next(reader, &record, &disk->err)) == 0) {
        assert_int_equal(record.header.first_seq, count + 1);
        assert_int_equal(record.header.op_count, 1);
        assert_int_equal(record.end, disk->ends[count]);
        assert_memory_equal(record.payload.data, disk->file + record.end - record.payload.len,
                            record.payload.len);
        count++;
    }
    assert_int_equal(rc, VARVE_NOT_FOUND);
    return count - first;
}

static void test_short__cut_anywhere(void **state)
{
    struct disk *disk = *state;

    for (size_t len = FILE_HEADER_BYTES; len <= disk->ends[9]; len++) {
        size_t whole = 0;
        while (whole < 10 && disk->ends[whole] <= len)
            whole++;
        struct log_reader *reader = open_bytes(disk, disk->file, len);
        assert_int_equal(count_from(disk, reader, 0), whole);
        log_reader_close(reader);
    }
}

/* Reading ends in front of the record that was hit. Who goes on finds the next one, unless a short header is lost:
 * then it is the next long one. */
static void test_short__flipped_bits(void **state)
{
    struct disk *disk = *state;
    uint8_t *bytes = disk->file;

    for (uint64_t bit = 8 * FILE_HEADER_BYTES; bit < 8 * disk->ends[9]; bit++) {
        size_t hit = 0;
        int found = 0;
        while (disk->ends[hit] <= bit / 8)
            hit++;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct log_reader *reader = open_bytes(disk, bytes, disk->len);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(count_from(disk, reader, 0), hit);
        assert_int_equal(log_reader_pass(reader, &found, &disk->err), 0);
        size_t next = hit + 1;
        uint64_t at = bit / 8 - (hit == 0 ? FILE_HEADER_BYTES : disk->ends[hit - 1]);
        int is_long = hit == 0 || hit == 5 || hit == 8;
        if (at < (is_long ? RECORD_HEADER_BYTES : 11))
            next = hit < 5 ? 5 : hit < 8 ? 8 : 10;
        assert_int_equal(found, next < 10);
        if (found) {
            assert_int_equal(log_reader_offset(reader), disk->ends[next - 1]);
            assert_int_equal(count_from(disk, reader, next), 10 - next);
        }
        log_reader_close(reader);
    }
}

/* A file that is used again: every mixture of old and new, cut at each byte, either way round. */
static void test_short__stale_bytes_are_none(void **state)
{
    struct disk *disk = *state;
    uint8_t old[sizeof(disk->file)];
    uint8_t mixed[sizeof(disk->file)];
    struct dir_id other = {{9}};
    struct log_writer *log = NULL;

    memcpy(old, disk->file, sizeof(old));
    size_t len = (size_t)disk->ends[9];
    /* Its earlier life: the same operations with the same numbers, under another salt. */
    struct dir_id mine = disk->id;
    disk->id = other;
    disk->count = 0;
    assert_int_equal(log_writer_create(disk->env, "/", "/000006.wal", WAL_MAGIC, &other, 6, 0, NULL,
                                       &log, &disk->err),
                     0);
    for (uint64_t seq = 1; seq <= 10; seq++)
        stage(disk, log, seq, seq == 1 || seq == 6 || seq == 9);
    struct varve_file *file = log->file;
    size_t got = 0;
    assert_int_equal(disk->env->ops->read_at(disk->env, file, old, len, 0, &got, &disk->err), 0);
    log_writer_close(log);
    disk->id = mine;
    for (size_t cut = FILE_HEADER_BYTES; cut <= len; cut++) {
        size_t whole = 0;
        while (whole < 10 && disk->ends[whole] <= cut)
            whole++;
        memcpy(mixed, disk->file, len);
        memcpy(mixed + cut, old + cut, len - cut);
        struct log_reader *reader = open_bytes(disk, mixed, len);
        size_t count = count_from(disk, reader, 0);
        /* Key and value are the same in both, and no matter. */
        assert_in_range(count, whole, whole + 1);
        log_reader_close(reader);
        if (cut == FILE_HEADER_BYTES)
            continue;
        memcpy(mixed, old, len);
        memcpy(mixed, disk->file, FILE_HEADER_BYTES);
        memcpy(mixed + cut, disk->file + cut, len - cut);
        reader = open_bytes(disk, mixed, len);
        assert_int_equal(count_from(disk, reader, 0), 0);
        log_reader_close(reader);
    }
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short__one_operation_and_nothing_new),
        cmocka_unit_test(test_short__long_form_is_repeated),
        cmocka_unit_test(test_short__rot_is_refused),
        WITH_DISK(test_short__cut_anywhere),
        WITH_DISK(test_short__flipped_bits),
        WITH_DISK(test_short__stale_bytes_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
