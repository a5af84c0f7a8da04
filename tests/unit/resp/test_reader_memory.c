/* What the reader holds: slabs, big arguments, slots; what it gives back; and what it does when the
 * allocator, or the client's limit, has no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "feed.h"
#include "resp/slab.h"

#define BUFFER_BYTES 16384
#define SMALL_BUFFER_BYTES 128

/* Appends an array of the arguments. */
static void put_command(struct buf *bytes, int argc, const struct varve_slice *argv)
{
    char head[32];
    int n = snprintf(head, sizeof(head), "*%d\r\n", argc);

    assert_int_equal(buf_append(bytes, head, (size_t)n), 0);
    for (int i = 0; i < argc; i++) {
        n = snprintf(head, sizeof(head), "$%zu\r\n", argv[i].len);
        assert_int_equal(buf_append(bytes, head, (size_t)n), 0);
        assert_int_equal(buf_append(bytes, argv[i].data, argv[i].len), 0);
        assert_int_equal(buf_append(bytes, "\r\n", 2), 0);
    }
}

/* SET key <len seeded bytes>, then PING, as often as asked. */
static void put_sets(struct buf *bytes, const size_t *lens, size_t count)
{
    struct rng rng;

    rng_init(&rng, 7);
    for (size_t i = 0; i < count; i++) {
        uint8_t *value = mem_alloc(lens[i]);
        assert_non_null(value);
        for (size_t j = 0; j < lens[i]; j++)
            value[j] = (uint8_t)rng_next(&rng);
        struct varve_slice argv[] = {varve_slice_str("SET"), varve_slice_str("key"),
                                     varve_slice(value, lens[i])};
        put_command(bytes, 3, argv);
        assert_int_equal(buf_append(bytes, "PING\r\n", 6), 0);
        mem_free(value);
    }
}

/* Feeds in pieces of at most piece_max bytes, ends about every turn_every-th piece a turn, and
 * compares with the transcript of the whole. */
static void check_pieces(const struct buf *bytes, const struct buf *expected, size_t buffer_bytes,
                         size_t piece_max, uint64_t turn_every)
{
    struct feed feed;
    struct rng rng;

    rng_init(&rng, piece_max);
    assert_int_equal(feed_open(&feed, buffer_bytes), 0);
    for (size_t at = 0; at < bytes->len;) {
        size_t n = 1 + rng_below(&rng, piece_max);
        if (n > bytes->len - at)
            n = bytes->len - at;
        assert_int_equal(feed_bytes(&feed, bytes->data + at, n), RESP_MORE);
        at += n;
        if (rng_below(&rng, turn_every) == 0)
            feed_end_turn(&feed);
    }
    feed_finish(&feed);
    assert_int_equal(feed.transcript.len, expected->len);
    assert_memory_equal(feed.transcript.data, expected->data, expected->len);
    assert_int_equal(feed.wire_bytes, bytes->len);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    feed_close(&feed);
}

static void test_values_of_all_sizes__in_pieces_of_all_sizes(void **state)
{
    static const size_t lens[] = {0,     1,     100,   127,   128,   5000,   16383,   16384, 20000,
                                  32765, 32766, 32767, 32768, 32769, 65534,  65535,   65536, 65537,
                                  70000, 3,     99999, 0,     40000, 200000, 1000000, 10};
    static const size_t pieces[] = {7, 100, 4096, 16384, 50000, 2000000};
    static const size_t buffers[] = {128, 1000, 16384, 65536};
    struct feed whole;
    struct buf bytes;

    (void)state;
    buf_init(&bytes, 1 << 24);
    put_sets(&bytes, lens, COUNT_OF(lens));
    assert_int_equal(feed_open(&whole, 1 << 22), 0); /* all of it in one buffer */
    feed_bytes(&whole, bytes.data, bytes.len);
    feed_finish(&whole);
    assert_int_equal(whole.count, 2 * COUNT_OF(lens));
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        for (size_t j = 0; j < COUNT_OF(buffers); j++) {
            check_pieces(&bytes, &whole.transcript, buffers[j], pieces[i], 1);
            check_pieces(&bytes, &whole.transcript, buffers[j], pieces[i], 5);
            check_pieces(&bytes, &whole.transcript, buffers[j], pieces[i], UINT64_MAX);
        }
    }
    feed_close(&whole);
    buf_deinit(&bytes);
}

static void test_big_argument__is_read_straight_into_its_buffer(void **state)
{
    static const char head[] = "*2\r\n$4\r\nECHO\r\n$300000\r\nab";
    struct feed feed;
    uint8_t *room = NULL;
    size_t room_bytes = 0;
    size_t got = 2;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    assert_int_equal(feed_bytes(&feed, head, sizeof(head) - 1), RESP_MORE);
    while (got < 300000 + 2) {
        assert_int_equal(resp_reader_room(feed.reader, &room, &room_bytes), RESP_MORE);
        assert_true(room_bytes > 0 && room_bytes <= 300002 - got);
        memset(room, 'x', room_bytes);
        resp_reader_filled(feed.reader, room_bytes);
        got += room_bytes;
        /* Twice what has come, and one buffer each for input and slots. */
        assert_true(resp_reader_held_bytes(feed.reader) < 2 * got + 64 * 1024 + 2 * BUFFER_BYTES);
    }
    /* The next bytes have room before the argument is taken. */
    assert_int_equal(feed_bytes(&feed, "PING\r\n", 6), RESP_MORE);
    assert_int_equal(feed.count, 2);
    assert_int_equal(feed.live[0].argv[1].len, 300000);
    assert_memory_equal(feed.live[0].argv[1].data, "abx", 3);
    feed_end_turn(&feed);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    feed_close(&feed);
}

static void test_declared_lengths__allocate_nothing(void **state)
{
    static const char *const heads[] = {"*2\r\n$3\r\nSET\r\n$536870912\r\nab", "*2147483647\r\n",
                                        "*2147483647\r\n$536870912\r\n"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        struct feed feed;
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        assert_int_equal(feed_bytes(&feed, heads[i], strlen(heads[i])), RESP_MORE);
        assert_true(resp_reader_held_bytes(feed.reader) <= 2 * BUFFER_BYTES + 64 * 1024);
        assert_int_equal(resp_reader_pending_bytes(feed.reader), strlen(heads[i]));
        feed_close(&feed);
    }
}

static void test_argument_array__of_a_million(void **state)
{
    enum { ARGC = 1048577 };
    struct feed feed;
    char head[32];

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    feed_bytes(&feed, "PING\r\n", 6);
    int n = snprintf(head, sizeof(head), "*%d\r\n", ARGC);
    feed_bytes(&feed, head, (size_t)n);
    for (int i = 0; i < ARGC; i++) {
        n = snprintf(head, sizeof(head), "$7\r\n%07d\r\n", i);
        assert_int_equal(feed_bytes(&feed, head, (size_t)n), RESP_MORE);
        if (i == 500000)
            feed_end_turn(&feed);
    }
    assert_int_equal(feed.live_count, 1);
    assert_int_equal(feed.live[0].argc, ARGC);
    for (int i = 0; i < ARGC; i++) {
        snprintf(head, sizeof(head), "%07d", i);
        assert_memory_equal(feed.live[0].argv[i].data, head, 7);
    }
    resp_reader_release(feed.reader);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    feed.live_count = 0;
    feed_close(&feed);
}

static void test_idle_reader__holds_no_buffer(void **state)
{
    struct feed feed;
    uint8_t *room = NULL;
    size_t room_bytes = 0;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    for (int i = 0; i < 3; i++) {
        feed_bytes(&feed, "PING\r\n*0\r\n\r\n", 12);
        assert_true(resp_reader_held_bytes(feed.reader) > 0);
        feed_end_turn(&feed);
        assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    }
    /* Asked for room, but nothing came. */
    assert_int_equal(resp_reader_room(feed.reader, &room, &room_bytes), RESP_MORE);
    resp_reader_filled(feed.reader, 0);
    feed_end_turn(&feed);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    feed_close(&feed);
}

/* The first buffer is full to its last byte, of whole commands; the second gets nothing. */
static void test_idle_reader__after_a_turn_of_two_buffers(void **state)
{
    struct feed feed;
    uint8_t *room = NULL;
    size_t room_bytes = 0;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    assert_int_equal(resp_reader_room(feed.reader, &room, &room_bytes), RESP_MORE);
    assert_int_equal(room_bytes % 2, 0);
    for (; room_bytes > 0; room_bytes -= 2) {
        memcpy(room, "x\n", 2);
        resp_reader_filled(feed.reader, 2);
        room += 2;
    }
    struct resp_command command;
    while (resp_reader_next(feed.reader, &command) == RESP_COMMAND)
        assert_int_equal(command.argc, 1);
    size_t held_bytes = resp_reader_held_bytes(feed.reader);
    assert_int_equal(resp_reader_room(feed.reader, &room, &room_bytes), RESP_MORE);
    assert_true(resp_reader_held_bytes(feed.reader) > held_bytes);
    feed_end_turn(&feed);
    assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
    feed_close(&feed);
}

static void test_turns__allocate_nothing_once_the_pool_is_warm(void **state)
{
    struct feed feed;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    for (int i = 0; i < 100; i++) {
        if (i == 2)
            mem_fail_nth(UINT64_MAX, 0); /* counts from here */
        for (int j = 0; j < 20; j++)
            feed_bytes(&feed, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", 27);
        feed.live_count = 0;
        resp_reader_release(feed.reader);
    }
    assert_int_equal(mem_alloc_count(), 0);
    mem_fail_nth(0, 0);
    assert_int_equal(feed.count, 2000);
    feed_close(&feed);
}

/* One sender that never ends a command may not make the reader copy, or hold, more and more. */
static void test_byte_at_a_time__in_turns_of_one_byte(void **state)
{
    struct feed feed;

    (void)state;
    assert_int_equal(feed_open(&feed, 1024), 0);
    feed_bytes(&feed, "*1000000\r\n$30000\r\n", 18);
    for (int i = 0; i < 30000 - 1; i++) {
        assert_int_equal(feed_bytes(&feed, "x", 1), RESP_MORE);
        resp_reader_release(feed.reader);
    }
    assert_true(resp_reader_held_bytes(feed.reader) <= 2 * 30002);
    assert_int_equal(resp_reader_pending_bytes(feed.reader), 18 + 29999);
    feed_close(&feed);
}

static void test_query_limit__closes_the_client(void **state)
{
    enum { LIMIT = 1024 * 1024 };
    static const char *const units[] = {"PING\r\n", "$1\r\na\r\n", "$0\r\n\r\n"};
    static const char *const heads[] = {"", "*2147483647\r\n", "*2147483647\r\n"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        struct feed feed;
        enum resp_status status = RESP_MORE;
        size_t fed = 0;
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        feed.limits.query_max_bytes = LIMIT;
        feed_bytes(&feed, heads[i], strlen(heads[i]));
        while (status == RESP_MORE && fed < 2 * LIMIT) { /* a turn that does not end */
            status = feed_bytes(&feed, units[i], strlen(units[i]));
            fed += strlen(units[i]);
            assert_true(resp_reader_held_bytes(feed.reader) <= LIMIT);
        }
        assert_int_equal(status, RESP_NO_MEMORY);
        assert_true(fed > LIMIT / 8);
        assert_string_equal(resp_reader_error(feed.reader), "out of memory");
        feed_end_turn(&feed);
        assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
        feed_close(&feed);
    }
}

static void test_query_limit__of_a_big_argument(void **state)
{
    enum { LEN = 1000000 };
    uint8_t *value = mem_alloc_zero(LEN + 2);

    (void)state;
    assert_non_null(value);
    for (int over = 0; over <= 1; over++) {
        struct feed feed;
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        feed_bytes(&feed, "*1\r\n$1000000\r\n", 14);
        size_t others_bytes = resp_reader_held_bytes(feed.reader) - 64 * 1024;
        feed.limits.query_max_bytes = others_bytes + LEN + 2 - (size_t)over;
        enum resp_status status = feed_bytes(&feed, value, LEN + 2);
        if (over)
            assert_int_equal(status, RESP_NO_MEMORY);
        feed_close(&feed);
    }
    mem_free(value);
}

/* What is fed and how, for the sweeps over allocations. Returns the reader's last status. */
static enum resp_status run_all(struct feed *feed, const struct buf *bytes)
{
    enum resp_status status = RESP_MORE;

    for (size_t at = 0; at < bytes->len && status == RESP_MORE; at += 999) {
        size_t n = bytes->len - at < 999 ? bytes->len - at : 999;
        status = feed_bytes(feed, bytes->data + at, n);
        if (at % 2 == 0)
            feed_end_turn(feed);
    }
    return status;
}

static void test_allocation_failure__at_every_site(void **state)
{
    static const size_t lens[] = {10, 40000, 0, 300, 150000, 20000, 5, 64, 64, 64, 64};
    struct feed whole;
    struct buf bytes;
    uint64_t used_before;
    int failed = 1;

    (void)state;
    buf_init(&bytes, 1 << 20);
    put_sets(&bytes, lens, COUNT_OF(lens));
    struct varve_slice many[200];
    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = varve_slice_str("x");
    put_command(&bytes, COUNT_OF(many), many);
    assert_int_equal(feed_open(&whole, BUFFER_BYTES), 0);
    assert_int_equal(run_all(&whole, &bytes), RESP_MORE);
    feed_finish(&whole);
    used_before = mem_used_bytes();
    uint64_t sites = 0;
    for (uint64_t nth = 1; failed; nth++) {
        struct feed feed;
        mem_fail_nth(nth, nth % 2 == 0);
        int opened = feed_open(&feed, SMALL_BUFFER_BYTES) == 0;
        enum resp_status status = opened ? run_all(&feed, &bytes) : RESP_NO_MEMORY;
        failed = mem_alloc_count() >= nth;
        mem_fail_nth(0, 0);
        if (failed && opened && !feed.no_memory) {
            assert_int_equal(status, RESP_NO_MEMORY);
            feed_end_turn(&feed);
            assert_int_equal(resp_reader_held_bytes(feed.reader), 0);
            assert_memory_equal(feed.transcript.data, whole.transcript.data, feed.transcript.len);
        }
        if (!failed)
            assert_int_equal(status, RESP_MORE);
        feed_close(&feed);
        assert_int_equal(mem_used_bytes(), used_before);
        sites = nth;
    }
    assert_true(sites > 30);
    feed_close(&whole);
    buf_deinit(&bytes);
}

static void test_pool__keeps_no_more_than_its_count(void **state)
{
    enum { READERS = 8, KEEP = 3 };
    struct resp_limits limits = {
        .bulk_max_bytes = 1000, .inline_max_bytes = 1000, .query_max_bytes = (size_t)1 << 20};
    struct resp_reader *readers[READERS];
    struct resp_pool *pool = resp_pool_create(BUFFER_BYTES, KEEP);
    uint8_t *room = NULL;
    size_t room_bytes = 0;

    (void)state;
    for (int i = 0; i < READERS; i++) {
        readers[i] = resp_reader_create(&limits, pool);
        assert_int_equal(resp_reader_room(readers[i], &room, &room_bytes), RESP_MORE);
    }
    uint64_t used_bytes = mem_used_bytes();
    for (int i = 0; i < READERS; i++)
        resp_reader_release(readers[i]);
    assert_true(used_bytes - mem_used_bytes() >= (READERS - KEEP) * BUFFER_BYTES);
    assert_true(used_bytes - mem_used_bytes() < (READERS - KEEP + 1) * BUFFER_BYTES);
    for (int i = 0; i < READERS; i++)
        resp_reader_destroy(readers[i]);
    resp_pool_destroy(pool);
    resp_reader_destroy(NULL);
    resp_pool_destroy(NULL);
}

/* More than any address: refused before it is computed with. */
static void test_slab__of_an_impossible_size(void **state)
{
    struct resp_pool *pool = resp_pool_create(BUFFER_BYTES, 1);

    (void)state;
    assert_null(resp_slab_take(pool, SIZE_MAX));
    struct resp_slab *slab = resp_slab_take(pool, 100);
    assert_non_null(slab);
    memcpy(slab->data, "stays", 5);
    assert_null(resp_slab_grow(slab, SIZE_MAX - sizeof(*slab) + 1));
    assert_memory_equal(slab->data, "stays", 5);
    resp_slab_give(pool, slab);
    resp_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_all_sizes__in_pieces_of_all_sizes),
        cmocka_unit_test(test_big_argument__is_read_straight_into_its_buffer),
        cmocka_unit_test(test_declared_lengths__allocate_nothing),
        cmocka_unit_test(test_argument_array__of_a_million),
        cmocka_unit_test(test_idle_reader__holds_no_buffer),
        cmocka_unit_test(test_idle_reader__after_a_turn_of_two_buffers),
        cmocka_unit_test(test_turns__allocate_nothing_once_the_pool_is_warm),
        cmocka_unit_test(test_byte_at_a_time__in_turns_of_one_byte),
        cmocka_unit_test(test_query_limit__closes_the_client),
        cmocka_unit_test(test_query_limit__of_a_big_argument),
        cmocka_unit_test(test_allocation_failure__at_every_site),
        cmocka_unit_test(test_pool__keeps_no_more_than_its_count),
        cmocka_unit_test(test_slab__of_an_impossible_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
