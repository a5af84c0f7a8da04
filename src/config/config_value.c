/* One value by its type: from text, back to text. The reasons are worded as Redis words them, for
 * they end up in the replies of CONFIG SET. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "config/impl.h"

#define ADDRS_MAX 16
#define LIMIT_WORDS 4 /* of one class: CLASS HARD SOFT SECONDS */

static const char *const class_names[CONFIG_CLASS_COUNT] = {"normal", "slave", "pubsub"};

/* Takes the next word off *text; 0 at the end. */
static int next_word(const char **text, struct varve_slice *word)
{
    const char *start = *text + strspn(*text, " \t");

    *word = varve_slice(start, strcspn(start, " \t"));
    *text = start + word->len;
    return word->len > 0;
}

static int word_is(struct varve_slice word, const char *known)
{
    return strlen(known) == word.len && strncasecmp((const char *)word.data, known, word.len) == 0;
}

/* Decimal only, with no sign but -, no blank and no leading zero. */
static int parse_integer(struct varve_slice word, int64_t *number)
{
    char digits[24];
    char *end;

    if (word.len == 0 || word.len >= sizeof(digits))
        return VARVE_EINVAL;
    memcpy(digits, word.data, word.len);
    digits[word.len] = '\0';
    size_t sign = digits[0] == '-';
    if (digits[sign] < (word.len == 1 ? '0' : '1') || digits[sign] > '9')
        return VARVE_EINVAL;
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (errno != 0 || *end != '\0')
        return VARVE_EINVAL;
    *number = value;
    return 0;
}

/* DIGITS and a unit. */
static int parse_size(struct varve_slice word, int64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1000},
        {"kb", 1024},
        {"m", 1000 * 1000},
        {"mb", 1024 * 1024},
        {"g", 1000 * 1000 * 1000},
        {"gb", 1024 * 1024 * 1024},
    };
    size_t digits = 0;
    uint64_t count = 0;
    uint64_t total;

    for (; digits < word.len && word.data[digits] >= '0' && word.data[digits] <= '9'; digits++)
        if (__builtin_mul_overflow(count, 10, &count) ||
            __builtin_add_overflow(count, (uint64_t)(word.data[digits] - '0'), &count))
            return VARVE_EINVAL;
    if (digits == 0)
        return VARVE_EINVAL;
    struct varve_slice unit = varve_slice(word.data + digits, word.len - digits);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (!word_is(unit, units[i].name))
            continue;
        int wraps = __builtin_mul_overflow(count, units[i].bytes, &total);
        if ((wraps && !MUTANT("size-wraps")) || total > INT64_MAX)
            return VARVE_EINVAL;
        *bytes = (int64_t)total;
        return 0;
    }
    return VARVE_EINVAL;
}

static int parse_bounded(const struct config_row *row, const char *text, int64_t *number,
                         struct varve_err *err)
{
    struct varve_slice word = varve_slice_str(text);

    if (row->type == CONFIG_INT && parse_integer(word, number) != 0)
        return err_set(err, VARVE_EINVAL, "argument couldn't be parsed into an integer");
    if ((row->flags & CONFIG_PERCENT) && word.len > 1 && word.data[word.len - 1] == '%' &&
        parse_integer(varve_slice(word.data, word.len - 1), number) == 0 && *number >= 0) {
        *number = -*number;
        return *number >= -100
                   ? 0
                   : err_set(err, VARVE_EINVAL, "percentage argument must be less or equal to 100");
    }
    if (row->type == CONFIG_SIZE && parse_size(word, number) != 0)
        return err_set(err, VARVE_EINVAL, "argument must be a memory%s value",
                       (row->flags & CONFIG_PERCENT) ? " or percent" : "");
    if (*number == 0 && (row->flags & CONFIG_OR_ZERO))
        return 0;
    if (*number < row->min || *number > row->max)
        return err_set(err, VARVE_EINVAL,
                       "argument must be between %" PRId64 " and %" PRId64 " inclusive", row->min,
                       row->max);
    return 0;
}

static int parse_enum(const struct config_row *row, const char *text, struct config_value *value,
                      struct varve_err *err)
{
    const char *words = row->unit;
    struct varve_slice known;
    char list[128] = "";
    size_t used = 0;

    for (int64_t place = 0; next_word(&words, &known); place++) {
        if (strlen(text) == known.len &&
            strncasecmp(text, (const char *)known.data, known.len) == 0) {
            value->number = place;
            value->text = mem_strndup((const char *)known.data, known.len);
            return value->text != NULL ? 0 : err_set(err, VARVE_ENOMEM, "out of memory");
        }
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%.*s", place > 0 ? ", " : "",
                                 (int)known.len, (const char *)known.data);
        CHECK(used < sizeof(list));
    }
    return err_set(err, VARVE_EINVAL, "argument(s) must be one of the following: %s", list);
}

static int check_addrs(const char *text, struct varve_err *err)
{
    char address[INET6_ADDRSTRLEN + 1];
    unsigned char parsed[sizeof(struct in6_addr)];
    struct varve_slice word;
    int count = 0;

    while (next_word(&text, &word)) {
        if (word.data[0] == '-') {
            word.data++;
            word.len--;
        }
        if (++count > ADDRS_MAX)
            return err_set(err, VARVE_EINVAL, "Too many bind addresses specified.");
        snprintf(address, sizeof(address), "%.*s", (int)word.len, (const char *)word.data);
        if (word.len < sizeof(address) &&
            (strcmp(address, "*") == 0 || strcmp(address, "::*") == 0 ||
             inet_pton(AF_INET, address, parsed) == 1 || inet_pton(AF_INET6, address, parsed) == 1))
            continue;
        return err_set(err, VARVE_EINVAL, "argument must be IP addresses, or * or ::*");
    }
    if (count == 0)
        return err_set(err, VARVE_EINVAL, "at least one address is needed");
    return 0;
}

static int check_save(const char *text, struct varve_err *err)
{
    struct varve_slice word;
    int64_t number;
    int count = 0;

    for (; next_word(&text, &word); count++)
        if (parse_integer(word, &number) != 0 || number < (count % 2 == 0))
            return err_set(err, VARVE_EINVAL, "Invalid save parameters");
    if (count % 2 != 0)
        return err_set(err, VARVE_EINVAL, "Invalid save parameters");
    return 0;
}

/* As they are shown: without trailing zeros. */
static int parse_percents(const char *text, struct config_value *value, struct varve_err *err)
{
    char shown[CONFIG_TEXT_BYTES] = "";
    struct varve_slice word;
    size_t used = 0;
    char *end;

    while (next_word(&text, &word)) {
        double percent = strtod((const char *)word.data, &end);
        if ((const uint8_t *)end != word.data + word.len || !(percent == percent))
            return err_set(err, VARVE_EINVAL,
                           "Invalid latency-tracking-info-percentiles parameters");
        if (percent < 0 || percent > 100)
            return err_set(err, VARVE_EINVAL,
                           "latency-tracking-info-percentiles parameters should sit between "
                           "[0.0,100.0]");
        if (sizeof(shown) - used < 16)
            return err_set(err, VARVE_EINVAL, "argument is too long");
        used += (size_t)snprintf(shown + used, sizeof(shown) - used, "%s%f", used > 0 ? " " : "",
                                 percent);
        while (shown[used - 1] == '0')
            used--;
        used -= shown[used - 1] == '.';
        shown[used] = '\0';
    }
    value->text = used == 0 ? NULL : mem_strdup(shown);
    return used == 0 || value->text != NULL ? 0 : err_set(err, VARVE_ENOMEM, "out of memory");
}

static int parse_limits(const char *text, const struct config_value *base,
                        struct config_value *value, struct varve_err *err)
{
    struct varve_slice word[LIMIT_WORDS];
    int64_t hard, soft, seconds;
    int count = 0;

    memcpy(value->limits, base->limits, sizeof(value->limits));
    while (next_word(&text, &word[count % LIMIT_WORDS])) {
        if (++count % LIMIT_WORDS != 0)
            continue;
        int class = 0;
        while (class < CONFIG_CLASS_COUNT && !word_is(word[0], class_names[class]))
            class ++;
        if (word_is(word[0], "replica"))
            class = CONFIG_REPLICA;
        if (class == CONFIG_CLASS_COUNT)
            return err_set(err, VARVE_EINVAL,
                           "Invalid client class specified in buffer limit configuration.");
        if (parse_size(word[1], &hard) != 0 || parse_size(word[2], &soft) != 0 ||
            parse_integer(word[3], &seconds) != 0 || seconds < 0)
            return err_set(err, VARVE_EINVAL,
                           "Error in hard, soft or soft_seconds setting in buffer limit "
                           "configuration.");
        value->limits[class] = (struct config_limit){(uint64_t)hard, (uint64_t)soft,
                                                     (uint64_t)seconds};
    }
    if (count == 0 || count % LIMIT_WORDS != 0)
        return err_set(err, VARVE_EINVAL,
                       "Wrong number of arguments in buffer limit configuration.");
    return 0;
}

static int parse_bool(const char *text, struct config_value *value, struct varve_err *err)
{
    int yes = strcasecmp(text, "yes") == 0;

    if (!yes && strcasecmp(text, "no") != 0)
        return err_set(err, VARVE_EINVAL, "argument must be 'yes' or 'no'");
    value->number = yes;
    value->text = mem_strdup(yes ? "yes" : "no");
    return value->text != NULL ? 0 : err_set(err, VARVE_ENOMEM, "out of memory");
}

int value_parse(const struct config_row *row, const char *text, const struct config_value *base,
                struct config_value *value, struct varve_err *err)
{
    int rc = 0;

    if (strlen(text) > CONFIG_VALUE_MAX_BYTES)
        return err_set(err, VARVE_EINVAL, "argument is too long");
    switch (row->type) {
    case CONFIG_INT:
    case CONFIG_SIZE: return parse_bounded(row, text, &value->number, err);
    case CONFIG_BOOL: return parse_bool(text, value, err);
    case CONFIG_ENUM: return parse_enum(row, text, value, err);
    case CONFIG_LIMITS: return parse_limits(text, base, value, err);
    case CONFIG_NONE:
        if (text[0] != '\0' && strcasecmp(text, "no one") != 0)
            return err_set(err, VARVE_EINVAL, "it is not supported here");
        return 0;
    case CONFIG_PERCENTS: return parse_percents(text, value, err);
    case CONFIG_ADDRS: rc = check_addrs(text, err); break;
    case CONFIG_SAVE: rc = check_save(text, err); break;
    case CONFIG_STR: break;
    }
    if (rc != 0 || text[0] == '\0')
        return rc;
    value->text = mem_strdup(text);
    return value->text != NULL ? 0 : err_set(err, VARVE_ENOMEM, "out of memory");
}

void value_deinit(struct config_value *value)
{
    mem_free(value->text);
    value->text = NULL;
}

int value_equal(const struct config_row *row, const struct config_value *a,
                const struct config_value *b)
{
    if (row->type == CONFIG_LIMITS)
        return memcmp(a->limits, b->limits, sizeof(a->limits)) == 0;
    return a->number == b->number &&
           strcmp(a->text == NULL ? "" : a->text, b->text == NULL ? "" : b->text) == 0;
}

const char *value_text(const struct config_row *row, const struct config_value *value,
                       char scratch[CONFIG_TEXT_BYTES])
{
    size_t used = 0;

    if (row->type == CONFIG_INT || row->type == CONFIG_SIZE) {
        int percent = (row->flags & CONFIG_PERCENT) && value->number < 0;
        snprintf(scratch, CONFIG_TEXT_BYTES, "%" PRId64 "%s",
                 percent ? -value->number : value->number, percent ? "%" : "");
        return scratch;
    }
    if (row->type != CONFIG_LIMITS)
        return value->text == NULL ? "" : value->text;
    for (int class = 0; class < CONFIG_CLASS_COUNT; class ++) {
        const struct config_limit *limit = &value->limits[class];
        used += (size_t)snprintf(scratch + used, CONFIG_TEXT_BYTES - used,
                                 "%s%s %" PRIu64 " %" PRIu64 " %" PRIu64, class > 0 ? " " : "",
                                 class_names[class], limit->hard_bytes, limit->soft_bytes,
                                 limit->soft_seconds);
        CHECK(used < CONFIG_TEXT_BYTES);
    }
    return scratch;
}
