/* Logs as no writer of ours makes them, record by record and with right CRCs: what recovery says of each.
 * File 2 comes first, file 3 behind it; both are named in the manifest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "fault_env.h"
#include "lsm/names.h"
#include "lsm/recovery.h"
#include "sim_env.h"

#define DIR "/"
#define PAYLOAD_MAX 1024

struct forge {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct manifest *manifest;
    struct log_writer *log; /* the file that is being forged */
    struct recovery recovery;
    char applied[64]; /* the keys that recovery handed out */
    struct varve_err err;
};

static int set_up(void **state)
{
    struct forge *forge = mem_alloc_zero(sizeof(*forge));
    struct manifest_edit files[] = {{.change = MANIFEST_ADD_WAL, .file_no = 2},
                                    {.change = MANIFEST_ADD_WAL, .file_no = 3}};

    forge->sim = sim_env_create(1);
    forge->fault = fault_env_create(sim_as_env(forge->sim));
    forge->env = fault_as_env(forge->fault);
    forge->id = (struct dir_id){{5, 6, 7}};
    assert_int_equal(manifest_create(forge->env, DIR, &forge->id, 1, &forge->manifest, &forge->err),
                     0);
    assert_int_equal(manifest_renew(forge->manifest, files, 2, &forge->err), 0);
    *state = forge;
    return 0;
}

static int tear_down(void **state)
{
    struct forge *forge = *state;

    recovery_deinit(&forge->recovery);
    log_writer_close(forge->log);
    manifest_close(forge->manifest);
    fault_env_destroy(forge->fault);
    sim_env_destroy(forge->sim);
    mem_free(forge);
    return 0;
}

/* ---- forging ---- */

static void file(struct forge *forge, uint64_t file_no)
{
    char *path = name_wal_path(DIR, file_no);

    log_writer_close(forge->log);
    forge->log = NULL;
    (void)forge->env->ops->remove(forge->env, path, NULL); /* what was forged there before */
    assert_int_equal(log_writer_create(forge->env, DIR, path, WAL_MAGIC, &forge->id, file_no, 0,
                                       NULL, &forge->log, &forge->err),
                     0);
    mem_free(path);
}

static void record(struct forge *forge, struct record_header header, const void *payload,
                   size_t len)
{
    struct varve_slice part = varve_slice(payload, len);

    assert_int_equal(log_writer_stage(forge->log, header, &part, 1), 0);
    assert_int_equal(log_writer_flush(forge->log, &forge->err), 0);
}

static void begin(struct forge *forge, uint64_t seq, struct log_place manifest,
                  struct log_place previous)
{
    uint8_t payload[BEGIN_PAYLOAD_BYTES];

    put_u64(payload, manifest.file_no);
    put_u64(payload + 8, manifest.offset);
    put_u64(payload + 16, previous.file_no);
    put_u64(payload + 24, previous.offset);
    record(forge, (struct record_header){.type = RECORD_BEGIN, .first_seq = seq}, payload,
           sizeof(payload));
}

/* File 2, as it begins in life. */
static void file_begun(struct forge *forge)
{
    file(forge, 2);
    begin(forge, 1, (struct log_place){1, FILE_HEADER_BYTES}, (struct log_place){0});
}

/* One put a letter of keys, without values; the letter ! is no operation, and + has a value that is not
 * there. */
static size_t ops_bytes(const char *keys, uint8_t to[PAYLOAD_MAX])
{
    size_t len = 0;

    for (; *keys != '\0'; keys++) {
        struct chunk chunk = {.kind = CHUNK_PUT, .key = varve_slice(keys, 1)};
        chunk.crc = chunk_crc(&chunk);
        if (*keys == '+')
            chunk.value.len = 5;
        if (*keys == '!') {
            to[len++] = 0;
            continue;
        }
        len += chunk_put_head(to + len, &chunk);
        to[len++] = (uint8_t)*keys;
    }
    return len;
}

static void ops(struct forge *forge, uint64_t seq, const char *keys)
{
    uint8_t payload[PAYLOAD_MAX];
    size_t len = ops_bytes(keys, payload);

    record(forge,
           (struct record_header){
               .type = RECORD_OPS, .first_seq = seq, .op_count = (uint32_t)strlen(keys)},
           payload, len);
}

/* Bytes [from, from + len) of the payload of `ops(seq, keys)`, as a piece of it. */
static void piece(struct forge *forge, uint64_t seq, const char *keys, unsigned flags, size_t from,
                  size_t len)
{
    uint8_t payload[PAYLOAD_MAX];
    size_t whole = ops_bytes(keys, payload);

    if (len > whole - from)
        len = whole - from;
    record(forge,
           (struct record_header){.type = RECORD_OPS,
                                  .flags = flags,
                                  .first_seq = seq,
                                  .op_count = (uint32_t)strlen(keys)},
           payload + from, len);
}

static void seal(struct forge *forge, uint64_t seq, struct log_place promised)
{
    record(forge,
           (struct record_header){.type = RECORD_SEAL, .first_seq = seq, .promised = promised},
           NULL, 0);
}

static struct log_place here(const struct forge *forge)
{
    return (struct log_place){forge->log->file_no, forge->log->offset};
}

/* The manifest says no more of file 3. */
static void one_file(struct forge *forge)
{
    struct manifest_edit drop = {.change = MANIFEST_DROP_WAL, .file_no = 3};

    assert_int_equal(manifest_apply(forge->manifest, &drop, 1, &forge->err), 0);
}

/* ---- reading ---- */

static int apply(void *arg, uint64_t seq, const struct chunk *chunk, struct varve_err *err)
{
    struct forge *forge = arg;
    size_t len = strlen(forge->applied);

    (void)err;
    assert_int_equal(chunk->key.len, 1);
    assert_true(seq > 0 && len + 1 < sizeof(forge->applied));
    forge->applied[len] = (char)chunk->key.data[0];
    return 0;
}

static void open_manifest(struct forge *forge)
{
    struct dir_id id;
    uint64_t file_no = 0;

    manifest_close(forge->manifest);
    forge->manifest = NULL;
    assert_int_equal(current_read(forge->env, DIR, &id, &file_no, &forge->err), 0);
    assert_int_equal(manifest_open(forge->env, DIR, &id, file_no, &forge->manifest, &forge->err),
                     0);
}

static int read_log(struct forge *forge, struct varve_err *err)
{
    recovery_deinit(&forge->recovery);
    memset(forge->applied, 0, sizeof(forge->applied));
    forge->recovery = (struct recovery){.env = forge->env,
                                        .dir = DIR,
                                        .id = forge->id,
                                        .manifest = forge->manifest,
                                        .apply = apply,
                                        .arg = forge};
    err_clear(&forge->err);
    return recovery_read(&forge->recovery, err);
}

/* It is read up to there, and there it says why it goes no further. */
static void check_ends(struct forge *forge, struct log_place end, const char *applied,
                       const char *why)
{
    open_manifest(forge);
    assert_int_equal(read_log(forge, &forge->err), 0);
    assert_string_equal(forge->applied, applied);
    assert_string_equal(forge->recovery.why, why);
    assert_int_equal(forge->recovery.last_seq, strlen(applied));
    assert_int_equal(forge->recovery.end.file_no, end.file_no);
    assert_int_equal(forge->recovery.end.offset, end.offset);
}

/* It is refused, and the error holds the text and names the file. */
static void check_refused(struct forge *forge, const char *name, const char *text)
{
    open_manifest(forge);
    assert_int_equal(read_log(forge, &forge->err), VARVE_ECORRUPT);
    if (strstr(forge->err.text, text) == NULL || strstr(forge->err.text, name) == NULL)
        fail_msg("'%s' instead of '%s' of %s", forge->err.text, text, name);
}

/* ---- records ---- */

static void test_forged__a_clock_that_is_cut_short(void **state)
{
    struct forge *forge = *state;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    piece(forge, 2, "b", RECORD_CLOCK, 0, 7);
    check_refused(forge, "000002.wal", "the record's clock is cut short");
    assert_non_null(strstr(forge->err.text, "after sequence 1"));
}

static void test_forged__more_and_less_than_the_header_says(void **state)
{
    struct forge *forge = *state;
    static const struct {
        const char *keys;
        uint32_t op_count;
        const char *text;
    } rows[] = {
        {"ab", 3, "2 operations where the header says 3"},
        {"ab", 1, "2 operations where the header says 1"},
        {"", 1, "0 operations where the header says 1"},
        {"a!", 2, "operation 1 does not decode"},
        {"ab+", 3, "operation 2 does not decode"},
    };
    uint8_t payload[PAYLOAD_MAX];

    one_file(forge);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        file_begun(forge);
        size_t len = ops_bytes(rows[i].keys, payload);
        record(forge,
               (struct record_header){
                   .type = RECORD_OPS, .first_seq = 1, .op_count = rows[i].op_count},
               payload, len);
        check_refused(forge, "000002.wal", rows[i].text);
    }
}

static void test_forged__pieces(void **state)
{
    struct forge *forge = *state;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    struct log_place end = here(forge);
    piece(forge, 2, "bc", RECORD_MORE, 0, 5);
    piece(forge, 2, "bc", RECORD_CONTINUES | RECORD_MORE, 5, 3);
    check_ends(forge, end, "a",
               "a record that is not whole"); /* the tail of a large group is torn */
    assert_int_equal(forge->recovery.dropped_bytes, 2 * RECORD_HEADER_BYTES + 5 + 3);
    piece(forge, 2, "bc", RECORD_CONTINUES, 8, PAYLOAD_MAX);
    ops(forge, 4, "d");
    check_ends(forge, here(forge), "abcd", "end of file");
}

static void test_forged__pieces_out_of_place(void **state)
{
    struct forge *forge = *state;
    struct log_place end;

    one_file(forge);
    file_begun(forge);
    end = here(forge);
    piece(forge, 1, "a", RECORD_CONTINUES, 0, PAYLOAD_MAX); /* of nothing */
    check_ends(forge, end, "", "an unexpected sequence number or piece");
    file_begun(forge);
    piece(forge, 1, "ab", RECORD_MORE, 0, 5);
    ops(forge, 1, "a"); /* a whole record in the middle of another */
    check_ends(forge, end, "", "an unexpected sequence number or piece");
    file_begun(forge);
    piece(forge, 1, "ab", RECORD_MORE, 0, 5);
    seal(forge, 1, (struct log_place){0});
    check_ends(forge, end, "", "a record that is not whole");
    file_begun(forge);
    ops(forge, 2, "b"); /* one was left out */
    check_ends(forge, end, "", "an unexpected sequence number or piece");
}

static void test_forged__no_memory_for_pieces(void **state)
{
    struct forge *forge = *state;
    int failed = 0;
    int rc = VARVE_ENOMEM;

    one_file(forge);
    file_begun(forge);
    piece(forge, 1, "abc", RECORD_MORE, 0, 5);
    piece(forge, 1, "abc", RECORD_CONTINUES, 5, PAYLOAD_MAX);
    open_manifest(forge);
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = read_log(forge, &forge->err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        failed += strstr(forge->err.text, "no memory for a record of") != NULL;
    }
    assert_int_equal(failed, 1);
    assert_string_equal(forge->applied, "abc");
}

static void test_forged__records_without_a_place(void **state)
{
    struct forge *forge = *state;
    uint8_t clock[8];

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    struct log_place end = here(forge);
    record(forge, (struct record_header){.type = RECORD_EDIT, .first_seq = 2}, NULL, 0);
    check_ends(forge, end, "a", "a record type that has no place here");
    file_begun(forge);
    ops(forge, 1, "a");
    begin(forge, 2, (struct log_place){0}, (struct log_place){0}); /* a second time */
    check_ends(forge, end, "a", "a record type that has no place here");
    file_begun(forge);
    ops(forge, 1, "a");
    put_u64(clock, 99);
    record(forge, (struct record_header){.type = RECORD_PROMISE, .first_seq = 1}, clock, 8);
    check_ends(forge, end, "a", "an unexpected sequence number");
    assert_int_equal(forge->recovery.clock_ms, 0);
    file_begun(forge);
    ops(forge, 1, "a");
    record(forge, (struct record_header){.type = RECORD_PROMISE, .first_seq = 2}, clock, 8);
    record(forge, (struct record_header){.type = RECORD_PROMISE, .first_seq = 2}, clock, 4);
    check_ends(forge, here(forge), "a", "end of file");
    assert_int_equal(forge->recovery.clock_ms, 99); /* that of 4 bytes is none */
}

static void test_forged__a_record_behind_the_seal(void **state)
{
    struct forge *forge = *state;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    seal(forge, 2, (struct log_place){0});
    struct log_place end = here(forge);
    ops(forge, 2, "b");
    check_ends(forge, end, "a", "a record behind the seal");
}

/* Nothing follows the last file, but its seal promises a place behind itself. */
static void test_forged__a_seal_that_promises_what_is_not_there(void **state)
{
    struct forge *forge = *state;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    seal(forge, 2, (struct log_place){2, 4096});
    check_refused(forge, "000002.wal", "bytes that were durable are gone");
}

/* ---- begin records ---- */

static void test_forged__begin_records(void **state)
{
    struct forge *forge = *state;
    uint8_t payload[BEGIN_PAYLOAD_BYTES + 1] = {0};

    one_file(forge);
    file(forge, 2);
    record(forge, (struct record_header){.type = RECORD_BEGIN, .first_seq = 1}, payload,
           BEGIN_PAYLOAD_BYTES + 1);
    check_refused(forge, "000002.wal", "a begin record of 33 bytes");
    file(forge, 2);
    begin(forge, 1, (struct log_place){1, 99999}, (struct log_place){0});
    check_refused(forge, "000002.wal", "it was begun under manifest 1 of 99999 bytes");
    file(forge, 2);
    begin(forge, 2, (struct log_place){0}, (struct log_place){0});
    check_refused(forge, "000002.wal", "the log begins at sequence 2, but segments end at 0");
    file(forge, 2);
    struct log_place end = here(forge);
    ops(forge, 1, "a");
    check_ends(forge, end, "", "no begin record");
}

/* File 3 must say where file 2 ends. */
static void test_forged__a_second_file(void **state)
{
    struct forge *forge = *state;
    struct log_place first;

    file_begun(forge);
    ops(forge, 1, "a");
    seal(forge, 2, (struct log_place){0});
    first = here(forge);
    file(forge, 3);
    struct log_place start = here(forge);
    struct log_place wrong[] = {
        {first.file_no, first.offset + 1}, {first.file_no + 1, first.offset}, {0}};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        file(forge, 3);
        begin(forge, 2, (struct log_place){0}, wrong[i]);
        ops(forge, 2, "b");
        check_ends(forge, start, "a", "it does not continue the file before it");
        assert_true(forge->recovery.dropped_bytes > 0);
    }
    for (uint64_t seq = 1; seq <= 3; seq += 2) {
        file(forge, 3);
        begin(forge, seq, (struct log_place){0}, first);
        check_ends(forge, start, "a", "an unexpected sequence number");
    }
    file(forge, 3);
    begin(forge, 2, (struct log_place){0}, first);
    ops(forge, 2, "bc");
    check_ends(forge, here(forge), "abc", "end of file");
}

/* ---- the judgement ---- */

/* File 2 is torn in its second record. */
static void file_torn(struct forge *forge)
{
    struct varve_file *file = NULL;

    file_begun(forge);
    ops(forge, 1, "a");
    struct log_place end = here(forge);
    ops(forge, 2, "b");
    assert_int_equal(
        forge->env->ops->open(forge->env, "/000002.wal", VARVE_OPEN_WRITE, &file, &forge->err), 0);
    assert_int_equal(forge->env->ops->truncate(forge->env, file, end.offset + 20, &forge->err), 0);
    forge->env->ops->close(forge->env, file);
}

static void test_forged__a_torn_file_before_another(void **state)
{
    struct forge *forge = *state;

    file_torn(forge);
    file(forge, 3);
    begin(forge, 3, (struct log_place){0}, (struct log_place){0});
    open_manifest(forge);
    assert_int_equal(read_log(forge, &forge->err), 0); /* nothing there promises what was torn */
    assert_string_equal(forge->applied, "a");
    fault_env_plan(forge->fault,
                   (struct fault_plan){
                       .op = FAULT_READ, .nth = 1, .os_errno = EIO, .path_suffix = "000003.wal"});
    assert_int_equal(read_log(forge, &forge->err), VARVE_EIO); /* who knows what it says? */
    fault_env_heal(forge->fault);
    assert_non_null(strstr(forge->err.text, "000003.wal"));
    ops(forge, 3, "c");
    record(forge,
           (struct record_header){
               .type = RECORD_PROMISE, .first_seq = 4, .promised = {.file_no = 3, .offset = 70}},
           NULL, 0);
    check_refused(forge, "000002.wal", "bytes that were durable are gone");
    assert_int_equal(read_log(forge, NULL), VARVE_ECORRUPT); /* who asks for no words gets none */
}

/* ---- copying ---- */

static void test_forged__no_memory_for_a_copy(void **state)
{
    struct forge *forge = *state;
    uint64_t first = 0;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "ab");
    open_manifest(forge);
    assert_int_equal(read_log(forge, &forge->err), 0);
    assert_int_equal(recovery_first_unvouched(&forge->recovery, &first, &forge->err), 0);
    assert_int_equal(first, 1);
    file(forge, 9);
    uint64_t empty = forge->log->offset;
    for (uint64_t nth = 1; forge->log->offset == empty; nth++) {
        mem_fail_nth(nth, 0);
        int rc = recovery_copy_unvouched(&forge->recovery, forge->log, &forge->err);
        mem_fail_nth(0, 0);
        assert_int_equal(rc == 0, forge->log->offset != empty);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        assert_true(nth < 20);
    }
}

/* What was durable ends before a short record, which does not say its number. */
static void test_forged__unvouched_short_records(void **state)
{
    struct forge *forge = *state;
    uint8_t op[PAYLOAD_MAX];
    uint64_t first = 0;
    uint64_t end_of_b = 0;

    one_file(forge);
    file_begun(forge);
    ops(forge, 1, "a");
    for (uint64_t seq = 2; seq <= 4; seq++) {
        size_t len = ops_bytes((char[]){(char)('a' + seq - 1), 0}, op);
        assert_int_equal(log_writer_stage_short(forge->log, seq, varve_slice(op, len), len - 1), 0);
        assert_int_equal(log_writer_flush(forge->log, &forge->err), 0);
        if (seq == 2)
            end_of_b = forge->log->offset;
    }
    struct record_header header = {
        .type = RECORD_OPS, .first_seq = 5, .op_count = 1, .promised = {2, end_of_b}};
    record(forge, header, op, ops_bytes("e", op));
    open_manifest(forge);
    assert_int_equal(read_log(forge, &forge->err), 0);
    assert_string_equal(forge->applied, "abcde");
    assert_int_equal(recovery_first_unvouched(&forge->recovery, &first, &forge->err), 0);
    assert_int_equal(first, 3);
    header = (struct record_header){
        .type = RECORD_PROMISE, .first_seq = 6, .promised = {2, end_of_b + 1}};
    record(forge, header, NULL, 0); /* where no record begins */
    assert_int_equal(read_log(forge, &forge->err), 0);
    assert_int_equal(recovery_first_unvouched(&forge->recovery, &first, &forge->err),
                     VARVE_ECORRUPT);
    assert_non_null(strstr(forge->err.text, "no record begins at offset"));
}

/* ---- files that nothing names ---- */

static int check_orphan(struct forge *forge)
{
    err_clear(&forge->err);
    return recovery_check_orphan(forge->env, DIR, &forge->id, manifest_read_end(forge->manifest), 7,
                                 &forge->err);
}

static void test_forged__orphans(void **state)
{
    struct forge *forge = *state;
    uint8_t payload[BEGIN_PAYLOAD_BYTES + 8];

    open_manifest(forge);
    struct log_place read_end = manifest_read_end(forge->manifest);
    file(forge, 7);
    assert_int_equal(check_orphan(forge), 0); /* no record in it */
    ops(forge, 1, "a");
    assert_int_equal(check_orphan(forge), 0); /* another than a begin record */
    memset(payload, 0xff, sizeof(payload));
    file(forge, 7);
    record(forge, (struct record_header){.type = RECORD_BEGIN}, payload, sizeof(payload));
    assert_int_equal(check_orphan(forge), 0); /* that is none of ours */
    file(forge, 7);
    begin(forge, 1, read_end, (struct log_place){0});
    assert_int_equal(check_orphan(forge), 0);
    read_end.offset++;
    file(forge, 7);
    begin(forge, 1, read_end, (struct log_place){0});
    assert_int_equal(check_orphan(forge), VARVE_ECORRUPT);
    assert_non_null(strstr(forge->err.text, "MANIFEST-000001 is damaged"));
    fault_env_plan(forge->fault, (struct fault_plan){.op = FAULT_READ, .nth = 1, .os_errno = EIO});
    assert_int_equal(check_orphan(forge), VARVE_EIO); /* it may say so: nobody knows */
    fault_env_heal(forge->fault);
    mem_fail_nth(1, 0);
    assert_int_equal(check_orphan(forge), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
}

int main(void)
{
#define FORGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FORGED(test_forged__a_clock_that_is_cut_short),
        FORGED(test_forged__more_and_less_than_the_header_says),
        FORGED(test_forged__pieces),
        FORGED(test_forged__pieces_out_of_place),
        FORGED(test_forged__no_memory_for_pieces),
        FORGED(test_forged__records_without_a_place),
        FORGED(test_forged__a_record_behind_the_seal),
        FORGED(test_forged__a_seal_that_promises_what_is_not_there),
        FORGED(test_forged__begin_records),
        FORGED(test_forged__a_second_file),
        FORGED(test_forged__a_torn_file_before_another),
        FORGED(test_forged__no_memory_for_a_copy),
        FORGED(test_forged__unvouched_short_records),
        FORGED(test_forged__orphans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
