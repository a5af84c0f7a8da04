/* Texts as numbers, and numbers as texts, beside what the C library makes of them: integers of commands,
 * whole numbers and sizes of options, varints, what replies print. Input: a byte that chooses, the text. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "config/config.h"
#include "fuzz.h"
#include "resp/writer.h"
#include "take.h"
#include "types/integer.h"
#include "wide.h"

#define TEXT_MAX_BYTES 100

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("9223372036854775807"),
    FUZZ_TOKEN("9223372036854775808"),
    FUZZ_TOKEN("-9223372036854775808"),
    FUZZ_TOKEN("18446744073709551615"),
    FUZZ_TOKEN("18014398509481984"), /* of KiB: 2^64 */
    FUZZ_TOKEN("8589934592gb"),
    FUZZ_TOKEN("2147483647"),
    FUZZ_TOKEN("kb"),
    FUZZ_TOKEN("mb"),
    FUZZ_TOKEN("G"),
    FUZZ_TOKEN("-"),
    FUZZ_TOKEN("0"),
    FUZZ_TOKEN(" "),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    FUZZ_TOKEN("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"),
    {NULL, 0},
};

/* Is text the one shortest form of a 64-bit integer? */
static int plain_integer(struct varve_slice text, int64_t *value)
{
    char copy[TEXT_MAX_BYTES + 1] = "";
    char again[32];

    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    errno = 0;
    *value = strtoll(copy, NULL, 10);
    snprintf(again, sizeof(again), "%lld", (long long)*value);
    return errno == 0 && strlen(again) == text.len && memcmp(again, copy, text.len) == 0;
}

static void run_integer(struct varve_slice text)
{
    uint8_t printed[INTEGER_TEXT_MAX_BYTES];
    int64_t value = 0;
    int64_t wanted = 0;
    int is_one = plain_integer(text, &wanted);

    CHECK(integer_parse(text, &value) == is_one);
    CHECK(!is_one || value == wanted);
    size_t len = integer_print(wanted, printed);
    CHECK(integer_parse(varve_slice(printed, len), &value) && value == wanted);
}

/* DIGITS and a unit, in 128 bits; -1: that is none, or none that fits. */
static wide size_of(const char *text)
{
    static const char *const units[] = {"", "b", "k", "kb", "m", "mb", "g", "gb"};
    static const int64_t unit_bytes[] = {1,       1,       1000,       1024,
                                         1000000, 1048576, 1000000000, 1073741824};
    size_t digits = strspn(text, "0123456789");
    wide number = 0;

    for (size_t i = 0; i < digits; i++) {
        number = number * 10 + (text[i] - '0');
        if (number > INT64_MAX)
            number = (wide)INT64_MAX + 1; /* too large, whatever comes */
    }
    for (size_t u = 0; digits > 0 && u < COUNT_OF(units); u++)
        if (strcasecmp(text + digits, units[u]) == 0)
            return number * unit_bytes[u];
    return -1;
}

/* An option set to a text: taken if it is a number within the option's bounds, and then it has that. */
static void run_option(struct varve_slice text, enum config_option option)
{
    const struct config_row *row = config_row(option);
    struct config *config = config_create();
    char copy[TEXT_MAX_BYTES + 1] = "";
    struct varve_err err = {0};
    wide wanted = -1;
    int64_t value;

    CHECK(config != NULL);
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    if (row->type == CONFIG_SIZE)
        wanted = size_of(copy);
    else if (plain_integer(varve_slice(copy, strlen(copy)), &value))
        wanted = value;
    int64_t before = config_int(config, option);
    int rc = config_set(config, row->name, copy, &err);
    CHECK((rc == 0) == (wanted >= row->min && wanted <= row->max));
    CHECK(config_int(config, option) == (rc == 0 ? (int64_t)wanted : before));
    CHECK(rc == 0 || (rc == VARVE_EINVAL && err.text[0] != '\0'));
    config_destroy(config);
}

static void run_varint(struct varve_slice bytes)
{
    uint8_t again[VARINT_MAX_BYTES];
    wide sum = 0;
    uint64_t value = 0;
    size_t wanted = 0;

    for (size_t i = 0; i < bytes.len && i < VARINT_MAX_BYTES && wanted == 0; i++) {
        sum |= (wide)(bytes.data[i] & 0x7f) << (7 * i);
        if (bytes.data[i] < 0x80)
            wanted = i + 1;
    }
    if (sum > (wide)UINT64_MAX)
        wanted = 0;
    CHECK(get_varint(bytes.data, bytes.data + bytes.len, &value) == wanted);
    if (wanted == 0)
        return;
    CHECK((wide)value == sum);
    size_t n = put_varint(again, value);
    CHECK(n <= wanted && n == varint_size(value));
    CHECK(get_varint(again, again + n, &value) == n && (wide)value == sum);
}

/* What replies print is the number again. */
static void run_printed(struct varve_slice bytes)
{
    uint8_t eight[8] = {0};
    struct buf out;
    double number;
    struct resp_writer writer = {.out = &out, .proto = 3};

    if (bytes.len > 0)
        memcpy(eight, bytes.data, bytes.len < 8 ? bytes.len : 8);
    memcpy(&number, eight, 8);
    buf_init(&out, 4096);
    resp_integer(&writer, (int64_t)get_u64(eight));
    resp_double(&writer, number);
    CHECK(buf_append(&out, "", 1) == 0 && writer.failed == 0);
    char *text = (char *)out.data;
    char *end = NULL;
    errno = 0;
    CHECK(text[0] == ':' && strtoll(text + 1, &end, 10) == (int64_t)get_u64(eight) && errno == 0);
    CHECK(memcmp(end, "\r\n,", 3) == 0);
    double again = strtod(end + 3, &end);
    CHECK(strcmp(end, "\r\n") == 0);
    CHECK(isnan(number) ? isnan(again) : again == number);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    uint8_t what = take_byte(&take);
    struct varve_slice text = take_slice(&take, TEXT_MAX_BYTES);

    switch (what % 6) {
    case 0: run_integer(text); break;
    case 1: run_option(text, OPT_TIMEOUT); break;
    case 2: run_option(text, OPT_PROTO_MAX_BULK_LEN); break;
    case 3: run_option(text, OPT_RATE_LIMIT); break;
    case 4: run_varint(text); break;
    case 5: run_printed(text); break;
    default: CHECK(0);
    }
    return 0;
}
