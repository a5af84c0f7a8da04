/* log_writer and log_reader over one file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fault_env.h"
#include "lsm/log_reader.h"
#include "lsm/log_writer.h"
#include "sim_env.h"

#define PATH "/000007.wal"
#define FILE_NO 7
#define SIZE 8192
#define AHEAD ((uint64_t)64 * 1024)

struct disk {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct varve_err err;
};

static int set_up(void **state)
{
    struct disk *disk = mem_alloc_zero(sizeof(*disk));

    disk->sim = sim_env_create(1);
    disk->fault = fault_env_create(sim_as_env(disk->sim));
    disk->env = fault_as_env(disk->fault);
    disk->id = (struct dir_id){{1, 2, 3}};
    *state = disk;
    return 0;
}

static int tear_down(void **state)
{
    struct disk *disk = *state;

    mem_fail_nth(0, 0);
    fault_env_destroy(disk->fault);
    sim_env_destroy(disk->sim);
    mem_free(disk);
    return 0;
}

static struct log_writer *make(struct disk *disk, uint64_t size)
{
    struct log_writer *writer;

    assert_int_equal(log_writer_create(disk->env, "/", PATH, WAL_MAGIC, &disk->id, FILE_NO, size,
                                       NULL, &writer, &disk->err),
                     0);
    return writer;
}

static struct log_reader *open_limited(struct disk *disk, uint64_t limit)
{
    struct log_reader *reader;

    assert_int_equal(
        log_reader_open(disk->env, PATH, WAL_MAGIC, &disk->id, FILE_NO, limit, &reader, &disk->err),
        0);
    return reader;
}

static void write_one(struct disk *disk, struct log_writer *writer, uint64_t seq,
                      struct varve_slice payload)
{
    struct record_header header = {.type = RECORD_OPS, .first_seq = seq, .op_count = 1};

    assert_int_equal(log_writer_stage(writer, header, &payload, 1), 0);
    assert_int_equal(log_writer_flush(writer, &disk->err), 0);
}

static uint8_t *random_bytes(size_t len)
{
    struct rng rng;
    uint8_t *bytes = mem_alloc(len);

    assert_non_null(bytes);
    rng_init(&rng, len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    return bytes;
}

/* Sizes around the reader's window, one record after the other. */
static void test_log__records_come_back_over_any_window(void **state)
{
    struct disk *disk = *state;
    uint8_t *bytes = random_bytes(600000);
    size_t lens[] = {0, 1, 39, 40, 262144 - 200, 41, 262144, 300000, 600000, 5, 0, 1000};
    struct log_writer *writer = make(disk, 0);
    struct log_record record;
    uint64_t at = FILE_HEADER_BYTES;

    for (size_t i = 0; i < COUNT_OF(lens); i++)
        write_one(disk, writer, i + 1, varve_slice(bytes, lens[i]));
    struct log_reader *reader = open_limited(disk, UINT64_MAX);
    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        assert_int_equal(log_reader_next(reader, &record, &disk->err), 0);
        assert_int_equal(record.offset, at);
        assert_int_equal(record.header.first_seq, i + 1);
        assert_int_equal(record.payload.len, lens[i]);
        if (lens[i] > 0)
            assert_memory_equal(record.payload.data, bytes, lens[i]);
        at = record.end;
    }
    assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
    assert_string_equal(log_reader_why(reader), "end of file");
    assert_int_equal(at, writer->offset);
    log_reader_close(reader);
    log_writer_close(writer);
    mem_free(bytes);
}

/* A payload of n pieces and one byte less and more, from parts that the cuts fall into. */
static void test_log__large_payloads_are_cut_into_pieces(void **state)
{
    struct disk *disk = *state;
    size_t piece = (size_t)RECORD_PIECE_MAX_BYTES;
    uint8_t *bytes = random_bytes(2 * piece + 2);
    size_t lens[] = {piece - 1, piece, piece + 1, 2 * piece - 1, 2 * piece, 2 * piece + 1};
    struct log_record record;

    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        size_t third = lens[i] / 3;
        struct varve_slice parts[] = {varve_slice(bytes, third), varve_slice(NULL, 0),
                                      varve_slice(bytes + third, lens[i] - 2 * third),
                                      varve_slice(bytes + lens[i] - third, third)};
        struct record_header header = {
            .type = RECORD_OPS, .flags = RECORD_CLOCK, .first_seq = 9, .op_count = 77};
        struct log_writer *writer = make(disk, 0);
        assert_int_equal(log_writer_stage(writer, header, parts, COUNT_OF(parts)), 0);
        assert_int_equal(fault_env_calls(disk->fault, FAULT_WRITE), i * 2 + 1);
        assert_int_equal(log_writer_flush(writer, &disk->err), 0);
        assert_int_equal(fault_env_calls(disk->fault, FAULT_WRITE), i * 2 + 2); /* one write */
        struct log_reader *reader = open_limited(disk, UINT64_MAX);
        size_t pieces = (lens[i] + piece - 1) / piece;
        size_t at = 0;
        for (size_t k = 0; k < pieces; k++) {
            assert_int_equal(log_reader_next(reader, &record, &disk->err), 0);
            assert_int_equal(record.header.flags, (k == 0 ? RECORD_CLOCK : RECORD_CONTINUES) |
                                                      (k + 1 < pieces ? RECORD_MORE : 0));
            assert_int_equal(record.header.first_seq, 9);
            assert_int_equal(record.header.op_count, 77);
            assert_memory_equal(record.payload.data, bytes + at, record.payload.len);
            at += record.payload.len;
        }
        assert_int_equal(at, lens[i]);
        assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
        log_reader_close(reader);
        log_writer_close(writer);
        assert_int_equal(disk->env->ops->remove(disk->env, PATH, &disk->err), 0);
    }
    mem_free(bytes);
}

static size_t count_records(struct log_reader *reader, uint64_t first_seq)
{
    struct log_record record;
    struct varve_err err;
    size_t count = 0;
    int rc;

    while ((rc = log_reader_next(reader, &record, &err)) == 0) {
        assert_int_equal(record.header.first_seq, first_seq + count);
        assert_int_equal(record.payload.len, 10 + count);
        count++;
    }
    assert_int_equal(rc, VARVE_NOT_FOUND);
    return count;
}

static uint64_t write_five(struct disk *disk, uint64_t ends[5])
{
    struct log_writer *writer = make(disk, SIZE);

    for (size_t i = 0; i < 5; i++) {
        write_one(disk, writer, i + 1, varve_slice("fourteen bytes", 10 + i));
        log_writer_go_ahead(writer);
        ends[i] = writer->offset;
    }
    log_writer_close(writer);
    return ends[4];
}

/* At every limit, and at every length of the file: the records that are whole, and no others. */
static void test_log__cut_anywhere(void **state)
{
    struct disk *disk = *state;
    uint64_t ends[5];
    uint64_t end = write_five(disk, ends);
    struct varve_file *file;

    for (uint64_t limit = FILE_HEADER_BYTES; limit <= end; limit++) {
        size_t whole = 0;
        while (whole < 5 && ends[whole] <= limit)
            whole++;
        struct log_reader *reader = open_limited(disk, limit);
        assert_int_equal(count_records(reader, 1), whole);
        log_reader_close(reader);
    }
    assert_int_equal(disk->env->ops->open(disk->env, PATH, VARVE_OPEN_WRITE, &file, &disk->err), 0);
    for (uint64_t len = end + 50; len-- > FILE_HEADER_BYTES;) {
        assert_int_equal(disk->env->ops->truncate(disk->env, file, len, &disk->err), 0);
        size_t whole = 0;
        while (whole < 5 && ends[whole] <= len)
            whole++;
        struct log_reader *reader = open_limited(disk, UINT64_MAX);
        assert_int_equal(log_reader_limit(reader), len);
        assert_int_equal(count_records(reader, 1), whole);
        log_reader_close(reader);
    }
    for (uint64_t len = FILE_HEADER_BYTES; len-- > 0;) {
        struct log_reader *reader;
        assert_int_equal(disk->env->ops->truncate(disk->env, file, len, &disk->err), 0);
        assert_int_equal(log_reader_open(disk->env, PATH, WAL_MAGIC, &disk->id, FILE_NO, UINT64_MAX,
                                         &reader, &disk->err),
                         VARVE_ECORRUPT);
        assert_null(reader);
        assert_non_null(strstr(disk->err.text, PATH));
    }
    disk->env->ops->close(disk->env, file);
}

/* A bit is flipped: reading stops in front of that record, and the scan still finds the headers of the
 * others. */
static int count_header(void *arg, uint64_t offset, const struct record_header *header)
{
    (void)offset;
    (void)header;
    ++*(size_t *)arg;
    return 0;
}

static void test_log__flipped_bits(void **state)
{
    struct disk *disk = *state;
    uint64_t ends[5];
    uint64_t end = write_five(disk, ends);
    struct varve_file *file;
    uint8_t byte;
    struct varve_slice part = varve_slice(&byte, 1);
    size_t got;

    assert_int_equal(disk->env->ops->open(disk->env, PATH, VARVE_OPEN_WRITE, &file, &disk->err), 0);
    for (uint64_t bit = 8 * FILE_HEADER_BYTES; bit < 8 * end; bit++) {
        size_t hit = 0;
        size_t headers = 0;
        while (ends[hit] <= bit / 8)
            hit++;
        disk->env->ops->read_at(disk->env, file, &byte, 1, bit / 8, &got, &disk->err);
        byte ^= (uint8_t)(1u << bit % 8);
        disk->env->ops->write_at(disk->env, file, &part, 1, bit / 8, &disk->err);
        struct log_reader *reader = open_limited(disk, UINT64_MAX);
        assert_int_equal(count_records(reader, 1), hit);
        assert_int_equal(log_reader_offset(reader), hit == 0 ? FILE_HEADER_BYTES : ends[hit - 1]);
        assert_int_equal(log_reader_scan(reader, count_header, &headers, &disk->err), 0);
        uint64_t in_record = bit / 8 - log_reader_offset(reader);
        assert_int_equal(headers, 5 - hit - (in_record < RECORD_HEADER_BYTES));
        log_reader_close(reader);
        byte ^= (uint8_t)(1u << bit % 8);
        disk->env->ops->write_at(disk->env, file, &part, 1, bit / 8, &disk->err);
    }
    disk->env->ops->close(disk->env, file);
}

/* Headers that straddle the windows of the scan are found too. */
static void test_log__scan_finds_every_header(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 0);
    uint8_t *bytes = random_bytes(997);
    size_t found = 0;
    size_t rest = 0;
    struct log_record record;

    for (size_t i = 0; i < 700; i++)
        write_one(disk, writer, i + 1, varve_slice(bytes, 900 + i % 97));
    struct log_reader *reader = open_limited(disk, UINT64_MAX);
    assert_int_equal(log_reader_scan(reader, count_header, &found, &disk->err), 0);
    assert_int_equal(found, 700);
    assert_int_equal(log_reader_next(reader, &record, &disk->err), 0); /* the scan moved nothing */
    assert_int_equal(record.header.first_seq, 1);
    log_reader_seek(reader, record.end + 1, 0);
    assert_int_equal(log_reader_scan(reader, count_header, &rest, &disk->err), 0);
    assert_int_equal(rest, 698);
    log_reader_close(reader);
    log_writer_close(writer);
    mem_free(bytes);
}

/* A file that is used again: nothing of its first life reads as a record of the second. */
static void test_log__reused_file_starts_empty(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer;
    struct log_record record;
    struct log_reader *reader;
    uint64_t ends[5];
    uint64_t size_bytes;
    size_t headers = 0;

    write_five(disk, ends);
    assert_int_equal(log_writer_create(disk->env, "/", "/000008.wal", WAL_MAGIC, &disk->id, 8, SIZE,
                                       PATH, &writer, &disk->err),
                     0);
    assert_int_equal(disk->env->ops->size(disk->env, writer->file, &size_bytes, &disk->err), 0);
    assert_int_equal(size_bytes, SIZE);
    assert_int_equal(log_reader_open(disk->env, "/000008.wal", WAL_MAGIC, &disk->id, 8, UINT64_MAX,
                                     &reader, &disk->err),
                     0);
    assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
    assert_int_equal(log_reader_scan(reader, count_header, &headers, &disk->err), 0);
    assert_int_equal(headers, 0);
    log_reader_close(reader);
    assert_int_equal(log_writer_sync(writer, &disk->err), 0);
    log_writer_close(writer);
    /* With that, the name and all bytes are durable. */
    assert_int_equal(sim_unit_count(disk->sim, sim_event_count(disk->sim)), 0);
}

static uint64_t file_size(struct disk *disk, struct log_writer *writer)
{
    uint64_t size_bytes;

    assert_int_equal(disk->env->ops->size(disk->env, writer->file, &size_bytes, &disk->err), 0);
    return size_bytes;
}

/* Zeros go ahead of the records in steps, up to the file's nominal size and no further; nothing that was written
 * is lost by them, wherever a record ends, whether all are written with them or every third is not. */
static void test_log__zeros_ahead(void **state)
{
    struct disk *disk = *state;
    uint64_t size = 5 * AHEAD + 100;
    uint8_t *bytes = random_bytes(3 * AHEAD);
    size_t lens[] = {10, AHEAD - 500, 400, 7000, 2 * AHEAD + 1, AHEAD / 2, 3 * AHEAD, 60000, 10};
    struct log_record record;

    for (size_t some = 0; some < 2; some++) {
        struct log_writer *writer = make(disk, size);
        uint64_t grown = 0;
        assert_int_equal(file_size(disk, writer), FILE_HEADER_BYTES);
        for (size_t i = 0; i < COUNT_OF(lens); i++) {
            uint64_t before = file_size(disk, writer);
            int ahead = some == 0 || i % 3 != 1;
            write_one(disk, writer, i + 1, varve_slice(bytes, lens[i]));
            if (ahead)
                log_writer_go_ahead(writer);
            uint64_t after = file_size(disk, writer);
            grown += after != before;
            if (writer->offset >= size)
                assert_int_equal(after, writer->offset);
            else if (ahead)
                assert_true(after == size || (after % AHEAD == 0 && after >= writer->offset &&
                                              after <= writer->offset + AHEAD));
        }
        assert_in_range(grown, 5, 7);
        struct log_reader *reader = open_limited(disk, UINT64_MAX);
        for (size_t i = 0; i < COUNT_OF(lens); i++) {
            assert_int_equal(log_reader_next(reader, &record, &disk->err), 0);
            assert_int_equal(record.payload.len, lens[i]);
            assert_memory_equal(record.payload.data, bytes, lens[i]);
        }
        assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
        log_reader_close(reader);
        log_writer_close(writer);
        assert_int_equal(disk->env->ops->remove(disk->env, PATH, &disk->err), 0);
    }
    mem_free(bytes);
}

/* Short records change the size once a step. */
static void test_log__zeros_once_a_step(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 4 * AHEAD);
    uint64_t writes = fault_env_calls(disk->fault, FAULT_WRITE);
    uint64_t seq = 0;
    uint64_t grown = 0;

    while (writer->offset < 2 * AHEAD) {
        uint64_t before = file_size(disk, writer);
        write_one(disk, writer, ++seq, varve_slice("0123456789", 10));
        log_writer_go_ahead(writer);
        grown += file_size(disk, writer) != before;
    }
    assert_int_equal(grown, 3);
    assert_in_range(fault_env_calls(disk->fault, FAULT_WRITE) - writes, seq + 12, seq + 15);
    log_writer_close(writer);
}

/* Each write of a step fails: the records are there all the same, and nothing is tried again. */
static void test_log__zeros_that_fail(void **state)
{
    struct disk *disk = *state;
    struct varve_slice payload = varve_slice("0123456789", 10);
    struct log_record record;
    uint64_t fired = 1;
    uint64_t nth;

    for (nth = 1; fired > 0; nth++) {
        struct log_writer *writer = make(disk, 2 * AHEAD);
        write_one(disk, writer, 1, payload);
        fault_env_plan(
            disk->fault,
            (struct fault_plan){.nth = nth, .os_errno = ENOSPC, .effect = FAULT_PARTLY_DONE});
        log_writer_go_ahead(writer);
        fired = fault_env_fired(disk->fault);
        fault_env_heal(disk->fault);
        uint64_t writes = fault_env_calls(disk->fault, FAULT_WRITE);
        write_one(disk, writer, 2, payload);
        log_writer_go_ahead(writer);
        assert_int_equal(fault_env_calls(disk->fault, FAULT_WRITE), writes + 1);
        struct log_reader *reader = open_limited(disk, UINT64_MAX);
        for (int i = 0; i < 2; i++)
            assert_int_equal(log_reader_next(reader, &record, &disk->err), 0);
        assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
        log_reader_close(reader);
        log_writer_close(writer);
        assert_int_equal(disk->env->ops->remove(disk->env, PATH, &disk->err), 0);
    }
    assert_int_equal(nth, 6);
}

static void test_log__failed_write_moves_nothing(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 0);
    struct log_record record;

    write_one(disk, writer, 1, varve_slice("0123456789", 10));
    uint64_t end = writer->offset;
    fault_env_plan(disk->fault, (struct fault_plan){.op = FAULT_WRITE,
                                                    .nth = 1,
                                                    .os_errno = ENOSPC,
                                                    .effect = FAULT_PARTLY_DONE});
    struct record_header header = {.type = RECORD_OPS, .first_seq = 2, .op_count = 1};
    assert_int_equal(log_writer_stage_small(writer, header, "lost", 4), 0);
    assert_int_equal(log_writer_flush(writer, &disk->err), VARVE_ENOSPC);
    assert_int_equal(writer->offset, end);
    assert_int_equal(log_writer_flush(writer, &disk->err), 0); /* nothing is staged any more */
    assert_int_equal(writer->offset, end);
    write_one(disk, writer, 2, varve_slice("01234567890", 11));
    struct log_reader *reader = open_limited(disk, UINT64_MAX);
    assert_int_equal(count_records(reader, 1), 2);
    assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_NOT_FOUND);
    log_reader_close(reader);
    log_writer_close(writer);
}

/* Every call and every allocation of a creation fails: an error, nothing open, nothing leaked. */
static void test_log__creation_fails_at_each_step(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer;
    uint64_t points = 0;
    int rc = -1;

    for (uint64_t nth = 1; rc != 0; nth++) {
        fault_env_plan(disk->fault, (struct fault_plan){.nth = nth, .os_errno = EIO});
        rc = log_writer_create(disk->env, "/", PATH, WAL_MAGIC, &disk->id, FILE_NO, SIZE, NULL,
                               &writer, &disk->err);
        fault_env_heal(disk->fault);
        if (rc != 0) {
            assert_null(writer);
            (void)disk->env->ops->remove(disk->env, PATH, NULL);
            points++;
        }
    }
    assert_in_range(points, 3, 20);
    log_writer_close(writer);
    disk->env->ops->remove(disk->env, PATH, &disk->err);
    rc = -1;
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = log_writer_create(disk->env, "/", PATH, WAL_MAGIC, &disk->id, FILE_NO, SIZE, NULL,
                               &writer, &disk->err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
    }
    log_writer_close(writer);
    log_writer_close(NULL);
    log_reader_close(NULL);
}

static void test_log__staging_without_memory_stages_nothing(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 0);
    struct varve_slice parts[40];
    int refused = 0;

    for (size_t i = 0; i < COUNT_OF(parts); i++)
        parts[i] = varve_slice("0123456789", i == 0 ? 10 : 0);
    for (uint64_t seq = 1; seq < 20; seq++) {
        struct record_header header = {.type = RECORD_OPS, .first_seq = seq, .op_count = 1};
        parts[1] = varve_slice("abcdefghijklmnopqrstuvwxyz", seq - 1);
        mem_fail_nth(1, 1);
        int rc = log_writer_stage(writer, header, parts, COUNT_OF(parts));
        mem_fail_nth(0, 0);
        refused += rc != 0;
        if (rc != 0)
            assert_int_equal(log_writer_stage(writer, header, parts, COUNT_OF(parts)), 0);
    }
    assert_true(refused > 1);
    assert_int_equal(log_writer_flush(writer, &disk->err), 0);
    struct log_reader *reader = open_limited(disk, UINT64_MAX);
    assert_int_equal(count_records(reader, 1), 19);
    log_reader_close(reader);
    log_writer_close(writer);
}

/* Reads all records, or scans all headers; 0 or what the disk said. */
static int read_through(struct disk *disk, struct log_reader *reader, int scan)
{
    struct log_record record;
    size_t headers = 0;
    int rc;

    if (scan)
        return log_reader_scan(reader, count_header, &headers, &disk->err);
    while ((rc = log_reader_next(reader, &record, &disk->err)) == 0)
        ;
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

/* A read that fails is an error wherever it comes, and never the end of the log. */
static void test_log__every_read_fails(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 0);
    uint8_t *bytes = random_bytes(300000);

    for (size_t i = 0; i < 600; i++)
        write_one(disk, writer, i + 1, varve_slice(bytes, 1000));
    write_one(disk, writer, 601, varve_slice(bytes, 300000)); /* longer than the window */
    for (int scan = 0; scan <= 1; scan++) {
        uint64_t failed = 0;
        int rc = -1;
        for (uint64_t nth = 1; rc != 0; nth++) {
            struct log_reader *reader = open_limited(disk, UINT64_MAX);
            fault_env_plan(disk->fault,
                           (struct fault_plan){.op = FAULT_READ, .nth = nth, .os_errno = EIO});
            rc = read_through(disk, reader, scan);
            assert_int_equal(rc, fault_env_fired(disk->fault) > 0 ? VARVE_EIO : 0);
            fault_env_heal(disk->fault);
            if (rc != 0)
                assert_non_null(strstr(disk->err.text, PATH));
            failed += rc != 0;
            log_reader_close(reader);
        }
        assert_true(failed >= 3);
    }
    log_writer_close(writer);
    mem_free(bytes);
}

/* The file gets shorter while it is read: bytes that were there when it was opened are missing. */
static void test_log__a_file_that_shrinks(void **state)
{
    struct disk *disk = *state;
    struct log_writer *writer = make(disk, 0);
    uint8_t *bytes = random_bytes(600000);
    struct log_record record;

    write_one(disk, writer, 1, varve_slice(bytes, 600000));
    log_writer_close(writer);
    struct log_reader *reader = open_limited(disk, UINT64_MAX);
    fault_env_plan(
        disk->fault,
        (struct fault_plan){.op = FAULT_READ, .nth = 1, .os_errno = EIO, .effect = FAULT_SHORT});
    assert_int_equal(log_reader_next(reader, &record, &disk->err), VARVE_EIO);
    assert_non_null(strstr(disk->err.text, PATH ": it shrank"));
    fault_env_heal(disk->fault);
    assert_int_equal(log_reader_next(reader, &record, &disk->err), 0);
    assert_int_equal(record.payload.len, 600000);
    log_reader_close(reader);
    mem_free(bytes);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DISK(test_log__records_come_back_over_any_window),
        WITH_DISK(test_log__large_payloads_are_cut_into_pieces),
        WITH_DISK(test_log__cut_anywhere),
        WITH_DISK(test_log__flipped_bits),
        WITH_DISK(test_log__scan_finds_every_header),
        WITH_DISK(test_log__reused_file_starts_empty),
        WITH_DISK(test_log__zeros_ahead),
        WITH_DISK(test_log__zeros_once_a_step),
        WITH_DISK(test_log__zeros_that_fail),
        WITH_DISK(test_log__failed_write_moves_nothing),
        WITH_DISK(test_log__creation_fails_at_each_step),
        WITH_DISK(test_log__staging_without_memory_stages_nothing),
        WITH_DISK(test_log__every_read_fails),
        WITH_DISK(test_log__a_file_that_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
