/* The bytes of every reply type in both protocols, and that they parse again as what was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "feed.h"
#include "resp/writer.h"
#include "varve/status.h"

struct fixture {
    struct buf out;
    struct resp_writer w;
};

static void open_writer(struct fixture *f, int proto, size_t max_bytes)
{
    buf_init(&f->out, max_bytes);
    f->w = (struct resp_writer){.out = &f->out, .proto = proto};
}

/* Parses one reply at *at; returns 1, or 0 if it is malformed or cut short. */
static int skip_reply(const uint8_t **at, const uint8_t *end);

static const uint8_t *line_end(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *cr = memchr(at, '\r', (size_t)(end - at));

    return cr != NULL && end - cr >= 2 && cr[1] == '\n' ? cr : NULL;
}

static int skip_payload(const uint8_t **at, const uint8_t *end, long long len)
{
    if (len < -1 || end - *at < len + 2)
        return 0;
    if (len == -1)
        return 1;
    *at += len;
    if ((*at)[0] != '\r' || (*at)[1] != '\n')
        return 0;
    *at += 2;
    return 1;
}

static int skip_reply(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *first = *at;
    const uint8_t *stop = first < end ? line_end(first, end) : NULL;

    if (stop == NULL)
        return 0;
    char digits[32] = "";
    size_t len = (size_t)(stop - first) - 1;
    memcpy(digits, first + 1, len < sizeof(digits) ? len : sizeof(digits) - 1);
    long long n = strtoll(digits, NULL, 10);
    *at = stop + 2;
    switch (*first) {
    case '+':
    case '-':
    case ':':
    case ',': return stop > first + 1;
    case '_': return stop == first + 1;
    case '#': return stop == first + 2 && (first[1] == 't' || first[1] == 'f');
    case '$':
    case '=': return skip_payload(at, end, n);
    case '%': n *= 2; break;
    case '*':
    case '~':
    case '>': break;
    default: return 0;
    }
    for (; n > 0; n--) {
        if (!skip_reply(at, end))
            return 0;
    }
    return 1;
}

static void write_nested(struct resp_writer *w)
{
    resp_array(w, 12);
    resp_simple(w, "PONG");
    resp_ok(w);
    resp_error(w, "ERR no such %s", "key");
    resp_integer(w, -7);
    resp_bulk(w, varve_slice("a\0\r\n", 4));
    resp_null(w);
    resp_null_array(w);
    resp_map(w, 1);
    resp_bulk_str(w, "k");
    resp_double(w, 1.5);
    resp_set(w, 1);
    resp_bool(w, 1);
    resp_push(w, 0);
    resp_verbatim(w, "txt", varve_slice_str("hi"));
    resp_bulk_fmt(w, "%d-%s", 12, "x");
}

static void check_out(struct fixture *f, const char *expected, size_t len)
{
    const uint8_t *at = f->out.data;

    assert_int_equal(f->w.failed, 0);
    assert_int_equal(f->out.len, len);
    assert_memory_equal(f->out.data, expected, len);
    assert_int_equal(skip_reply(&at, f->out.data + f->out.len), 1);
    assert_ptr_equal(at, f->out.data + f->out.len);
    buf_deinit(&f->out);
}

static void test_every_type__in_resp2(void **state)
{
    static const char expected[] =
        "*12\r\n+PONG\r\n+OK\r\n-ERR no such key\r\n:-7\r\n$4\r\na\0\r\n\r\n$-1\r\n*-1\r\n"
        "*2\r\n$1\r\nk\r\n$3\r\n1.5\r\n*1\r\n:1\r\n*0\r\n$2\r\nhi\r\n$4\r\n12-x\r\n";
    struct fixture f;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    write_nested(&f.w);
    check_out(&f, expected, sizeof(expected) - 1);
}

static void test_every_type__in_resp3(void **state)
{
    static const char expected[] =
        "*12\r\n+PONG\r\n+OK\r\n-ERR no such key\r\n:-7\r\n$4\r\na\0\r\n\r\n_\r\n_\r\n"
        "%1\r\n$1\r\nk\r\n,1.5\r\n~1\r\n#t\r\n>0\r\n=6\r\ntxt:hi\r\n$4\r\n12-x\r\n";
    struct fixture f;

    (void)state;
    open_writer(&f, 3, 1 << 20);
    write_nested(&f.w);
    check_out(&f, expected, sizeof(expected) - 1);
}

static void test_false(void **state)
{
    struct fixture f;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    resp_bool(&f.w, 0);
    check_out(&f, ":0\r\n", 4);
    open_writer(&f, 3, 1 << 20);
    resp_bool(&f.w, 0);
    check_out(&f, "#f\r\n", 4);
}

static void check_integer(int64_t value)
{
    struct fixture f;
    char expected[32];

    int n = snprintf(expected, sizeof(expected), ":%lld\r\n", (long long)value);
    open_writer(&f, 2, 1 << 20);
    resp_integer(&f.w, value);
    check_out(&f, expected, (size_t)n);
}

static void test_integers__of_every_length(void **state)
{
    (void)state;
    for (uint64_t power = 1; power <= UINT64_MAX / 10 && power <= INT64_MAX; power *= 10) {
        check_integer((int64_t)power - 1);
        check_integer((int64_t)power);
        check_integer((int64_t)power + 1);
        check_integer(-(int64_t)power);
        check_integer(1 - (int64_t)power);
    }
    for (int i = 0; i < 1000; i++)
        check_integer(i);
    check_integer(INT64_MAX);
    check_integer(INT64_MIN);
    check_integer(INT64_MIN + 1);
}

static void test_counts__up_to_64_bits(void **state)
{
    struct fixture f;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    resp_array(&f.w, UINT64_MAX);
    assert_memory_equal(f.out.data, "*18446744073709551615\r\n", f.out.len);
    buf_clear(&f.out);
    resp_map(&f.w, UINT64_MAX / 2);
    assert_memory_equal(f.out.data, "*18446744073709551614\r\n", f.out.len);
    buf_deinit(&f.out);
}

static void test_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {3, "3"},
        {0.1, "0.10000000000000001"},
        {1e300, "1.0000000000000001e+300"},
        {-2.5e-7, "-2.4999999999999999e-07"},
        {-1.7976931348623157e308, "-1.7976931348623157e+308"},
        {4.9406564584124654e-324, "4.9406564584124654e-324"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {-NAN, "nan"},
    };
    char expected[64];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        int n = snprintf(expected, sizeof(expected), "$%zu\r\n%s\r\n", strlen(rows[i].text),
                         rows[i].text);
        open_writer(&f, 2, 1 << 20);
        resp_double(&f.w, rows[i].value);
        check_out(&f, expected, (size_t)n);
        n = snprintf(expected, sizeof(expected), ",%s\r\n", rows[i].text);
        open_writer(&f, 3, 1 << 20);
        resp_double(&f.w, rows[i].value);
        check_out(&f, expected, (size_t)n);
    }
}

static void test_errors__are_one_line(void **state)
{
    static const char expected[] = "-ERR a  b c\r\n";
    struct fixture f;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    resp_error(&f.w, "ERR a\r\nb%cc", '\n');
    check_out(&f, expected, sizeof(expected) - 1);
    open_writer(&f, 2, 1 << 20);
    resp_error(&f.w, "ERR a b c\r\n\n"); /* Redis cuts these off */
    check_out(&f, "-ERR a b c\r\n", strlen("-ERR a b c\r\n"));
}

/* Around the size that is guessed before the text is made, and far beyond it. */
static void test_formatted_text__of_any_length(void **state)
{
    static const size_t lens[] = {0, 1, 99, 100, 254, 255, 256, 257, 1000, 100000};
    char *text = mem_alloc(100001);
    char *expected = mem_alloc(100100);

    (void)state;
    assert_non_null(text);
    assert_non_null(expected);
    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        struct fixture f;
        memset(text, 'e', lens[i]);
        text[lens[i]] = '\0';
        open_writer(&f, 2, 1 << 20);
        resp_error(&f.w, "%s", text);
        assert_int_equal(f.out.len, lens[i] + 3);
        assert_memory_equal(f.out.data + 1, text, lens[i]);
        assert_memory_equal(f.out.data + f.out.len - 2, "\r\n", 2);
        buf_deinit(&f.out);
        int n = snprintf(expected, 100100, "$%zu\r\n%s\r\n", lens[i], text);
        open_writer(&f, 2, 1 << 20);
        resp_bulk_fmt(&f.w, "%s", text);
        check_out(&f, expected, (size_t)n);
    }
    mem_free(text);
    mem_free(expected);
}

static void test_bulks__round_trip_through_the_reader(void **state)
{
    struct fixture f;
    struct feed feed;
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    open_writer(&f, 2, 1 << 20);
    for (uint64_t argc = 1; argc < 40; argc++) {
        resp_array(&f.w, argc);
        for (uint64_t i = 0; i < argc; i++) {
            uint8_t bytes[128];
            for (size_t j = 0; j < sizeof(bytes); j++)
                bytes[j] = (uint8_t)rng_next(&rng);
            resp_bulk(&f.w, varve_slice(bytes, rng_below(&rng, sizeof(bytes))));
        }
    }
    assert_int_equal(feed_open(&feed, 128), 0);
    assert_int_equal(feed_bytes(&feed, f.out.data, f.out.len), RESP_MORE);
    assert_int_equal(feed.count, 39);
    assert_int_equal(feed.wire_bytes, f.out.len);
    struct buf again;
    buf_init(&again, 1 << 20);
    struct resp_writer w = {.out = &again, .proto = 3};
    for (size_t i = 0; i < feed.live_count; i++) {
        resp_array(&w, (uint64_t)feed.live[i].argc);
        for (int j = 0; j < feed.live[i].argc; j++)
            resp_bulk(&w, feed.live[i].argv[j]);
    }
    assert_int_equal(again.len, f.out.len);
    assert_memory_equal(again.data, f.out.data, again.len);
    feed_close(&feed);
    buf_deinit(&again);
    buf_deinit(&f.out);
}

static void test_failure__is_kept_and_nothing_is_written_behind_it(void **state)
{
    struct fixture f;

    (void)state;
    for (int proto = 2; proto <= 3; proto++) {
        open_writer(&f, proto, 1024);
        resp_bulk(&f.w, varve_slice("x", 1));
        size_t len = f.out.len;
        uint8_t big[2000] = {0};
        resp_bulk(&f.w, varve_slice(big, sizeof(big)));
        assert_int_equal(f.w.failed, VARVE_EFULL);
        write_nested(&f.w);
        assert_int_equal(f.w.failed, VARVE_EFULL);
        assert_int_equal(f.out.len, len);
        buf_deinit(&f.out);
    }
    open_writer(&f, 2, 1 << 20);
    resp_bulk(&f.w, varve_slice("", SIZE_MAX - 5)); /* no sum of sizes wraps around */
    assert_true(f.w.failed != 0);
    buf_deinit(&f.out);
}

/* Every function fails in its own way: each is the first to need memory once. */
static void test_allocation_failure__at_every_site(void **state)
{
    struct fixture f;
    char long_text[600];
    int failed = 1;

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    uint64_t used_bytes = mem_used_bytes();
    uint64_t sites = 0;
    for (uint64_t nth = 1; failed; nth++) {
        open_writer(&f, 3, 1 << 20);
        mem_fail_nth(nth, 0);
        for (int i = 0; i < 20; i++) {
            write_nested(&f.w);
            resp_error(&f.w, "ERR %s", long_text);
            resp_bulk_fmt(&f.w, "%s", long_text);
        }
        failed = mem_alloc_count() >= nth;
        mem_fail_nth(0, 0);
        assert_int_equal(f.w.failed, failed ? VARVE_ENOMEM : 0);
        const uint8_t *at = f.out.data;
        while (!failed && at < f.out.data + f.out.len)
            assert_int_equal(skip_reply(&at, f.out.data + f.out.len), 1);
        buf_deinit(&f.out);
        assert_int_equal(mem_used_bytes(), used_bytes);
        sites = nth;
    }
    assert_true(sites > 5);
}

static void test_raw(void **state)
{
    struct fixture f;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    resp_raw(&f.w, varve_slice(NULL, 0));
    resp_raw(&f.w, varve_slice("+x\r\n", 4));
    check_out(&f, "+x\r\n", 4);
}

static void note_release(void *owner)
{
    ++*(int *)owner;
}

static void test_pinned__long_values_stay_where_they_are(void **state)
{
    static const size_t reply_bytes = sizeof("$16384\r\n\r\n") - 1;
    static uint8_t bytes[RESP_PINNED_MIN_BYTES];
    struct varve_slice value = varve_slice(bytes, sizeof(bytes));
    struct resp_pins pins = {0};
    struct fixture f;
    int released = 0;

    (void)state;
    open_writer(&f, 2, 1 << 20);
    resp_bulk_pinned(&f.w, value, note_release, &released);
    assert_int_equal(released, 1); /* there is no list: copied */
    assert_int_equal(f.out.len, sizeof(bytes) + reply_bytes);
    buf_clear(&f.out);
    f.w.pins = &pins;
    resp_bulk_pinned(&f.w, varve_slice(bytes, sizeof(bytes) - 1), note_release, &released);
    assert_int_equal(released, 2); /* it is short */
    buf_clear(&f.out);
    for (size_t i = 0; i < 9; i++) {
        resp_bulk_pinned(&f.w, value, note_release, &released);
        assert_int_equal(pins.items[i].at, reply_bytes * (i + 1) - 2);
    }
    assert_int_equal(pins.bytes, 9 * sizeof(bytes));
    resp_cut(&f.w, reply_bytes * 7);
    assert_int_equal(released, 4);
    resp_pins_drop(&pins, 2);
    assert_int_equal(released, 6);
    assert_int_equal(pins.count, 5);
    assert_int_equal(pins.items[0].at, reply_bytes * 3 - 2);
    for (size_t i = pins.count; i < RESP_PINS_MAX + 3; i++)
        resp_bulk_pinned(&f.w, value, note_release, &released);
    assert_int_equal(pins.count, RESP_PINS_MAX); /* the others were copied */
    assert_int_equal(released, 9);
    f.out.max = f.out.cap;
    f.out.len = f.out.cap;
    resp_bulk_pinned(&f.w, value, note_release, &released);
    assert_int_equal(f.w.failed, VARVE_EFULL);
    assert_int_equal(released, 10);
    resp_pins_deinit(&pins);
    assert_int_equal(released, 10 + RESP_PINS_MAX);
    buf_deinit(&f.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type__in_resp2),
        cmocka_unit_test(test_every_type__in_resp3),
        cmocka_unit_test(test_false),
        cmocka_unit_test(test_integers__of_every_length),
        cmocka_unit_test(test_counts__up_to_64_bits),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_errors__are_one_line),
        cmocka_unit_test(test_formatted_text__of_any_length),
        cmocka_unit_test(test_bulks__round_trip_through_the_reader),
        cmocka_unit_test(test_failure__is_kept_and_nothing_is_written_behind_it),
        cmocka_unit_test(test_allocation_failure__at_every_site),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_pinned__long_values_stay_where_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
