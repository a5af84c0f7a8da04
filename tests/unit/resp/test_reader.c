/* What the reader makes of bytes: framing, limits, error texts, and that no cut changes any of it.
 * The expected texts were compared with Redis 7.0.15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "feed.h"

#define BUFFER_BYTES 16384
#define SMALL_BUFFER_BYTES 128
#define LINE_MAX_BYTES ((size_t)64 * 1024)

struct sample {
    struct varve_slice bytes;
    const char *expected; /* transcript */
};

/* clang-format off */
#define SAMPLE(bytes, expected) { { (const uint8_t *)(bytes), sizeof(bytes) - 1 }, expected }
static const struct sample samples[] = {
    /* arrays */
    SAMPLE("*1\r\n$4\r\nPING\r\n", "1 4:PING\nmore 0"),
    SAMPLE("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n",
           "3 3:SET 1:k 0:\n1 4:PING\nmore 0"),
    SAMPLE("*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\r\n\r\n", "2 4:ECHO 6:a\r\nb\r\n\nmore 0"),
    SAMPLE("*1\r\n$0\r\n\r\n", "1 0:\nmore 0"),
    SAMPLE("*12\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n"
           "$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n$10\r\n0123456789\r\nping\n",
           "12 1:a 1:b 1:c 1:d 1:e 1:f 1:g 1:h 1:i 1:j 1:k 10:0123456789\n1 4:ping\nmore 0"),
    SAMPLE("*2\r\n$3\r\nGET\r\n$3\r\nab", "more 19"),
    SAMPLE("PING\r\n*2\r\n$3\r\nGET\r\n$", "1 4:PING\nmore 14"),
    SAMPLE("*2147483647\r\n$1\r\na\r\n", "more 20"),
    SAMPLE("*1\r\n$536870912\r\nab", "more 18"),
    /* the bytes that Redis does not look at */
    SAMPLE("*1\rX$4\rYPINGzzPING\r\n", "1 4:PING\n1 4:PING\nmore 0"),
    /* nothing in it */
    SAMPLE("*0\r\nPING\r\n", "1 4:PING\nmore 0"),
    SAMPLE("*-1\r\nPING\r\n", "1 4:PING\nmore 0"),
    SAMPLE("*-9223372036854775808\r\nPING\r\n", "1 4:PING\nmore 0"),
    SAMPLE("*0\r\n*-1\r\n\r\n\n", "more 0"),
    /* counts */
    SAMPLE("*-0\r\n", "error invalid multibulk length"),
    SAMPLE("*03\r\n", "error invalid multibulk length"),
    SAMPLE("*+1\r\n", "error invalid multibulk length"),
    SAMPLE("* 1\r\n", "error invalid multibulk length"),
    SAMPLE("*\r\n", "error invalid multibulk length"),
    SAMPLE("*-\r\n", "error invalid multibulk length"),
    SAMPLE("*a\r\n", "error invalid multibulk length"),
    SAMPLE("*1a\r\n", "error invalid multibulk length"),
    SAMPLE("*2147483648\r\n", "error invalid multibulk length"),
    SAMPLE("*99999999999999999999\r\n", "error invalid multibulk length"),
    SAMPLE("*18446744073709551617\r\n", "error invalid multibulk length"),
    SAMPLE("*-9223372036854775809\r\n", "error invalid multibulk length"),
    SAMPLE("PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n",
           "1 4:PING\n1 4:PING\nerror invalid multibulk length"),
    /* bulks */
    SAMPLE("*1\r\n!4\r\n", "error expected '$', got '!'"),
    SAMPLE("*1\r\n!4", "more 6"),
    SAMPLE("*1\r\n!4\r", "more 7"),
    SAMPLE("*1\r\n\r\n", "error expected '$', got ' '"),
    SAMPLE("*1\r\n\nx\r\n", "error expected '$', got ' '"),
    SAMPLE("*1\r\n\xff\r\n", "error expected '$', got '\xff'"),
    SAMPLE("*2\r\n$4\r\nPING\r\n4\r\n", "error expected '$', got '4'"),
    SAMPLE("*1\r\n$-1\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$-0\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$a\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$04\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$536870913\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$99999999999999999999\r\n", "error invalid bulk length"),
    SAMPLE("*1\r\n$9223372036854775807\r\n", "error invalid bulk length"),
    /* a NUL hides the end of the line */
    SAMPLE("PI\0NG\r\nPING\r\n", "more 13"),
    SAMPLE("*\0" "1\r\nPING\r\n", "more 11"),
    SAMPLE("*1\r\n\0$4\r\nPING\r\n", "more 15"),
    SAMPLE("echo \"a\0b\"\r\n", "more 12"),
    SAMPLE("*2\r\n$1\r\n\0\r\n$2\r\n\0\0\r\n", NULL),
    /* inline */
    SAMPLE("PING\n", "1 4:PING\nmore 0"),
    SAMPLE("   \r\n\r\n\n  PING  \n", "1 4:PING\nmore 0"),
    SAMPLE("\v\f echo\ta b  c\r\n", "4 4:echo 1:a 1:b 1:c\nmore 0"),
    SAMPLE("echo a\vb a\fb a\rb\r\n", "5 4:echo 3:a\vb 3:a\fb 1:a 1:b\nmore 0"),
    SAMPLE("echo a\r\r\n", "2 4:echo 1:a\nmore 0"),
    SAMPLE(" *1\r\n", "1 2:*1\nmore 0"),
    SAMPLE("e \"a\\x41\\xfF\\n\\r\\t\\b\\a\\q\\\\\\\"\"\n",
           "2 1:e 11:aA\xff\n\r\t\b\aq\\\"\nmore 0"),
    SAMPLE("e \"\\x4\" \"\\xg1\" \"\\X41\"\n", "4 1:e 2:x4 3:xg1 3:X41\nmore 0"),
    SAMPLE("e 'a\\'b\\x41' '\"'\n", "3 1:e 7:a'b\\x41 1:\"\nmore 0"),
    SAMPLE("e fo\"o b\" a'' \"\" ''\n", "5 1:e 5:foo b 1:a 0: 0:\nmore 0"),
    SAMPLE("e \"a\"\vb\n", "3 1:e 1:a 1:b\nmore 0"),
    SAMPLE("\"\"\n", "1 0:\nmore 0"),
    SAMPLE("e \xff \"\xa0\"\n", "3 1:e 1:\xff 1:\xa0\nmore 0"),
    SAMPLE("e \"a\"b\n", "error unbalanced quotes in request"),
    SAMPLE("e \"a\"\xa0\n", "error unbalanced quotes in request"),
    SAMPLE("e 'a'b\n", "error unbalanced quotes in request"),
    SAMPLE("PING\ne \"a\r\nPING\n", "1 4:PING\nerror unbalanced quotes in request"),
    SAMPLE("e 'a\r\n", "error unbalanced quotes in request"),
    SAMPLE("e \"a\\\n", "error unbalanced quotes in request"),
    SAMPLE("e \"a\\\"\n", "error unbalanced quotes in request"),
    SAMPLE("e 'a\\'\n", "error unbalanced quotes in request"),
    SAMPLE("e 'a\\\n", "error unbalanced quotes in request"),
};
/* clang-format on */

static void check(struct feed *feed, const struct sample *sample)
{
    const char *got = feed_finish(feed);

    assert_false(feed->no_memory);
    if (sample->expected != NULL)
        assert_string_equal(got, sample->expected);
}

static void test_samples__in_one_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        struct feed feed;
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        feed_bytes(&feed, samples[i].bytes.data, samples[i].bytes.len);
        check(&feed, &samples[i]);
        feed_close(&feed);
    }
}

static void test_arguments__may_hold_nul(void **state)
{
    static const char bytes[] = "*2\r\n$1\r\n\0\r\n$2\r\n\0\0\r\n";
    static const char expected[] = "2 1:\0 2:\0\0\nmore 0";
    struct feed feed;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    feed_bytes(&feed, bytes, sizeof(bytes) - 1);
    feed_finish(&feed);
    assert_int_equal(feed.transcript.len, sizeof(expected));
    assert_memory_equal(feed.transcript.data, expected, sizeof(expected));
    feed_close(&feed);
}

/* The sample in pieces that end at first, at second and at its end; turn_each: a release each. */
static void check_cut(const struct sample *sample, size_t buffer_bytes, size_t first, size_t second,
                      int turn_each)
{
    const size_t cuts[] = {0, first, second, sample->bytes.len};
    struct feed feed;

    assert_int_equal(feed_open(&feed, buffer_bytes), 0);
    for (size_t i = 0; i + 1 < COUNT_OF(cuts); i++) {
        feed_bytes(&feed, sample->bytes.data + cuts[i], cuts[i + 1] - cuts[i]);
        if (turn_each)
            feed_end_turn(&feed);
    }
    check(&feed, sample);
    feed_close(&feed);
}

static void test_samples__cut_at_every_pair_of_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        size_t len = samples[i].bytes.len;
        for (size_t first = 0; first <= len; first++) {
            for (size_t second = first; second <= len; second++) {
                check_cut(&samples[i], SMALL_BUFFER_BYTES, first, second, 0);
                check_cut(&samples[i], BUFFER_BYTES, first, second, 1);
            }
        }
    }
}

static void test_samples__byte_at_a_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(samples) * 2; i++) {
        const struct sample *sample = &samples[i / 2];
        struct feed feed;
        assert_int_equal(feed_open(&feed, SMALL_BUFFER_BYTES), 0);
        for (size_t n = 0; n < sample->bytes.len; n++) {
            feed_bytes(&feed, sample->bytes.data + n, 1);
            if (i % 2 == 1)
                feed_end_turn(&feed);
        }
        check(&feed, sample);
        feed_close(&feed);
    }
}

/* All samples without an error behind each other, as one stream over many small buffers. */
static void test_stream_of_samples__cut_at_every_byte(void **state)
{
    struct sample stream = {.expected = NULL};
    struct feed whole;
    struct buf bytes;

    (void)state;
    buf_init(&bytes, 1 << 20);
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        const char *expected = samples[i].expected;
        if (expected != NULL && strstr(expected, "more 0") != NULL)
            assert_int_equal(buf_append(&bytes, samples[i].bytes.data, samples[i].bytes.len), 0);
    }
    stream.bytes = buf_slice(&bytes);
    assert_int_equal(feed_open(&whole, BUFFER_BYTES), 0);
    feed_bytes(&whole, bytes.data, bytes.len);
    stream.expected = feed_finish(&whole);
    assert_true(whole.count > 20);
    assert_true(whole.wire_bytes < bytes.len); /* what was empty does not count */
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        check_cut(&stream, SMALL_BUFFER_BYTES, cut, bytes.len, 0);
        check_cut(&stream, SMALL_BUFFER_BYTES, cut, bytes.len, 1);
        check_cut(&stream, BUFFER_BYTES, cut / 2, cut, 1);
    }
    feed_close(&whole);
    buf_deinit(&bytes);
}

/* Feeds head, n bytes 'A' and tail, all at once or byte by byte, and compares the end. */
static void check_long_line(const char *head, size_t n, const char *tail, const char *error)
{
    for (int by_byte = 0; by_byte <= 1; by_byte++) {
        struct feed feed;
        struct buf bytes;
        buf_init(&bytes, 1 << 20);
        assert_int_equal(buf_append(&bytes, head, strlen(head)), 0);
        assert_int_equal(buf_reserve(&bytes, n), 0);
        memset(bytes.data + bytes.len, 'A', n);
        bytes.len += n;
        assert_int_equal(buf_append(&bytes, tail, strlen(tail)), 0);
        assert_int_equal(feed_open(&feed, by_byte ? SMALL_BUFFER_BYTES : BUFFER_BYTES), 0);
        for (size_t at = 0; at < bytes.len; at += by_byte ? 1 : bytes.len)
            feed_bytes(&feed, bytes.data + at, by_byte ? 1 : bytes.len);
        if (error == NULL)
            assert_int_equal(feed.status, RESP_MORE);
        else
            assert_string_equal(feed_finish(&feed), error);
        feed_close(&feed);
        buf_deinit(&bytes);
    }
}

static void test_lines__limit(void **state)
{
    (void)state;
    /* What stands before the line end may be 65,536 bytes long. */
    check_long_line("", LINE_MAX_BYTES, "", NULL);
    check_long_line("", LINE_MAX_BYTES + 1, "", "error too big inline request");
    check_long_line("", LINE_MAX_BYTES - 1, "\n", NULL);
    check_long_line("", LINE_MAX_BYTES, "\n", NULL);
    check_long_line("", LINE_MAX_BYTES + 1, "\n", "error too big inline request");
    check_long_line("", LINE_MAX_BYTES - 1, "\r\n", NULL);
    check_long_line("", LINE_MAX_BYTES, "\r\n", "error too big inline request");
    check_long_line("*", LINE_MAX_BYTES - 1, "", NULL);
    check_long_line("*", LINE_MAX_BYTES, "", "error too big mbulk count string");
    check_long_line("*", LINE_MAX_BYTES - 2, "\r\n", "error invalid multibulk length");
    check_long_line("*", LINE_MAX_BYTES - 1, "\r\n", "error invalid multibulk length");
    check_long_line("*", LINE_MAX_BYTES, "\r\n", "error too big mbulk count string");
    check_long_line("*1\r\n$", LINE_MAX_BYTES - 1, "", NULL);
    check_long_line("*1\r\n$", LINE_MAX_BYTES, "", "error too big bulk count string");
    check_long_line("*1\r\n$", LINE_MAX_BYTES - 2, "\r\n", "error invalid bulk length");
    check_long_line("*1\r\n$", LINE_MAX_BYTES - 1, "\r\n", "error invalid bulk length");
    check_long_line("*1\r\n$", LINE_MAX_BYTES, "\r\n", "error too big bulk count string");
}

static void check_text(struct feed *feed, const char *text, const char *expected)
{
    feed_bytes(feed, text, strlen(text));
    assert_string_equal(feed_finish(feed), expected);
    feed_close(feed);
}

static void test_bulk__limit(void **state)
{
    static const char *const expected[] = {"1 6:abcdef\nmore 0", "1 6:abcdef\nmore 0",
                                           "error invalid bulk length"};
    struct feed feed;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        feed.limits.bulk_max_bytes = 7 - i; /* for an argument of 6 bytes */
        check_text(&feed, "*1\r\n$6\r\nabcdef\r\n", expected[i]);
    }
}

static void test_unauthenticated__limits(void **state)
{
    static const char *const texts[][2] = {
        {"*9\r\n", "more 4"},
        {"*10\r\n", "more 5"},
        {"*11\r\n", "error unauthenticated multibulk length"},
        {"*2147483648\r\n", "error invalid multibulk length"},
        {"*-11\r\nPING\r\n", "1 4:PING\nmore 0"},
        {"*1\r\n$16383\r\n", "more 12"},
        {"*1\r\n$16384\r\n", "more 12"},
        {"*1\r\n$16385\r\n", "error unauthenticated bulk length"},
        {"*1\r\n$536870913\r\n", "error invalid bulk length"},
        {"e 1 2 3 4 5 6 7 8 9 0\r\n", "11 1:e 1:1 1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 1:0\nmore 0"},
    };
    struct feed feed;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
        feed.limits.unauthenticated = 1;
        check_text(&feed, texts[i][0], texts[i][1]);
    }
}

/* A pipeline of AUTH and something large: the limit falls between the two. */
static void test_limits__may_change_between_commands(void **state)
{
    static const char bytes[] = "AUTH x\r\n*11\r\n";
    struct feed feed;
    uint8_t *room = NULL;
    size_t room_bytes = 0;
    struct resp_command command;

    (void)state;
    assert_int_equal(feed_open(&feed, BUFFER_BYTES), 0);
    feed.limits.unauthenticated = 1;
    assert_int_equal(resp_reader_room(feed.reader, &room, &room_bytes), RESP_MORE);
    assert_true(room_bytes >= sizeof(bytes));
    memcpy(room, bytes, sizeof(bytes) - 1);
    resp_reader_filled(feed.reader, sizeof(bytes) - 1);
    assert_int_equal(resp_reader_next(feed.reader, &command), RESP_COMMAND);
    feed.limits.unauthenticated = 0;
    assert_int_equal(resp_reader_next(feed.reader, &command), RESP_MORE);
    feed_close(&feed);
}

static void test_error__is_repeated_and_input_is_dropped(void **state)
{
    struct feed feed;
    struct resp_command command;

    (void)state;
    assert_int_equal(feed_open(&feed, SMALL_BUFFER_BYTES), 0);
    assert_int_equal(feed_bytes(&feed, "PING\r\n*x\r\n", 10), RESP_PROTOCOL_ERROR);
    feed_end_turn(&feed);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(feed_bytes(&feed, "PING\r\n", 6), RESP_PROTOCOL_ERROR);
    assert_int_equal(resp_reader_next(feed.reader, &command), RESP_PROTOCOL_ERROR);
    assert_string_equal(resp_reader_error(feed.reader), "invalid multibulk length");
    assert_int_equal(resp_reader_pending_bytes(feed.reader), 0);
    assert_true(resp_reader_held_bytes(feed.reader) <= SMALL_BUFFER_BYTES);
    assert_int_equal(feed.count, 1);
    feed_close(&feed);
}

static void test_wire_bytes__count_the_command_alone(void **state)
{
    static const char bytes[] = "*0\r\n*1\r\n$4\r\nPING\r\n\r\n PING \r\n*0\r\n*1\r\n$4\r\nPI";

    (void)state;
    for (size_t cut = 0; cut < sizeof(bytes); cut++) {
        struct feed feed;
        assert_int_equal(feed_open(&feed, SMALL_BUFFER_BYTES), 0);
        feed_bytes(&feed, bytes, cut);
        feed_end_turn(&feed);
        feed_bytes(&feed, bytes + cut, sizeof(bytes) - 1 - cut);
        assert_int_equal(feed.count, 2);
        assert_int_equal(feed.wire_bytes, 14 + 8);
        assert_int_equal(resp_reader_pending_bytes(feed.reader), 10);
        feed_close(&feed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples__in_one_piece),
        cmocka_unit_test(test_arguments__may_hold_nul),
        cmocka_unit_test(test_samples__cut_at_every_pair_of_bytes),
        cmocka_unit_test(test_samples__byte_at_a_time),
        cmocka_unit_test(test_stream_of_samples__cut_at_every_byte),
        cmocka_unit_test(test_lines__limit),
        cmocka_unit_test(test_bulk__limit),
        cmocka_unit_test(test_unauthenticated__limits),
        cmocka_unit_test(test_limits__may_change_between_commands),
        cmocka_unit_test(test_error__is_repeated_and_input_is_dropped),
        cmocka_unit_test(test_wire_bytes__count_the_command_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
