#include "command_oracle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "wide.h"

#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"

struct ask {
    struct oracle *oracle;
    int argc;
    const struct varve_slice *argv;
    const char *name; /* of the command */
    int variant;
};

/* ---- replies ---- */

static void say(struct oracle *oracle, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct oracle *oracle, const char *fmt, ...)
{
    va_list args;
    size_t room = sizeof(oracle->reply) - oracle->reply_len;

    va_start(args, fmt);
    int n = vsnprintf(oracle->reply + oracle->reply_len, room, fmt, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < room);
    oracle->reply_len += (size_t)n;
}

static void say_bytes(struct oracle *oracle, const void *bytes, size_t len)
{
    say(oracle, "$%zu\r\n", len);
    CHECK(oracle->reply_len + len + 2 < sizeof(oracle->reply));
    if (len > 0)
        memcpy(oracle->reply + oracle->reply_len, bytes, len);
    oracle->reply_len += len;
    say(oracle, "\r\n");
}

static void say_key(struct oracle *oracle, const struct oracle_key *key)
{
    if (key != NULL)
        say_bytes(oracle, key->value, key->len);
    else
        say(oracle, oracle->proto == 3 ? "_\r\n" : "$-1\r\n");
}

static void say_integer(struct oracle *oracle, int64_t number)
{
    say(oracle, ":%" PRId64 "\r\n", number);
}

/* ---- keys ---- */

static int is_live(const struct oracle *oracle, const struct oracle_key *key)
{
    return key->expire_ms == 0 || key->expire_ms > oracle->now_ms;
}

static void drop(struct oracle *oracle, size_t i)
{
    free(oracle->keys[i]);
    oracle->keys[i] = oracle->keys[--oracle->count];
}

/* The key's place, expired or not; count: there is none. */
static size_t place_of(const struct oracle *oracle, struct varve_slice name)
{
    size_t i = 0;

    while (
        i < oracle->count &&
        (oracle->keys[i]->db != oracle->db ||
         !varve_slice_equal(varve_slice(oracle->keys[i]->name, oracle->keys[i]->name_len), name)))
        i++;
    return i;
}

static struct oracle_key *find(const struct oracle *oracle, struct varve_slice name)
{
    size_t i = place_of(oracle, name);

    return i < oracle->count && is_live(oracle, oracle->keys[i]) ? oracle->keys[i] : NULL;
}

static int drop_name(struct oracle *oracle, struct varve_slice name)
{
    size_t i = place_of(oracle, name);

    if (i == oracle->count)
        return 0;
    int was_live = is_live(oracle, oracle->keys[i]);
    drop(oracle, i);
    return was_live;
}

static void put(struct oracle *oracle, struct varve_slice name, struct varve_slice value,
                uint64_t expire_ms)
{
    (void)drop_name(oracle, name);
    CHECK(oracle->count < ORACLE_KEYS_MAX && name.len <= sizeof(oracle->keys[0]->name));
    CHECK(value.len <= ORACLE_VALUE_MAX_BYTES);
    struct oracle_key *key = calloc(1, sizeof(*key));
    CHECK(key != NULL);
    key->db = oracle->db;
    key->name_len = name.len;
    key->len = value.len;
    key->expire_ms = expire_ms;
    if (name.len > 0)
        memcpy(key->name, name.data, name.len);
    if (value.len > 0)
        memcpy(key->value, value.data, value.len);
    oracle->keys[oracle->count++] = key;
}

/* ---- arguments ---- */

static int is_word(struct varve_slice arg, const char *word)
{
    return arg.len == strlen(word) && strncasecmp((const char *)arg.data, word, arg.len) == 0;
}

static int number_of(struct varve_slice text, int64_t *number)
{
    char copy[32] = "";
    char again[32];

    if (text.len >= sizeof(copy))
        return 0;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    errno = 0;
    *number = strtoll(copy, NULL, 10);
    snprintf(again, sizeof(again), "%" PRId64, *number);
    return errno == 0 && varve_slice_equal(varve_slice_str(again), text);
}

static int take_number_arg(const struct ask *ask, int at, int64_t *number)
{
    if (number_of(ask->argv[at], number))
        return 1;
    say(ask->oracle, NOT_INTEGER);
    return 0;
}

/* Milliseconds since the epoch of a time in units, from base on; 0: an overflow. */
static int time_of(int64_t time, int64_t unit, uint64_t base, int64_t *ms)
{
    wide ms_wide = (wide)time * unit;

    if (ms_wide > INT64_MAX || ms_wide < INT64_MIN)
        return 0;
    ms_wide += (int64_t)base;
    *ms = (int64_t)ms_wide;
    return ms_wide <= INT64_MAX && ms_wide >= INT64_MIN;
}

static void bad_time(const struct ask *ask)
{
    say(ask->oracle, "-ERR invalid expire time in '%s' command\r\n", ask->name);
}

/* ---- strings ---- */

static void ask_get(const struct ask *ask)
{
    say_key(ask->oracle, find(ask->oracle, ask->argv[1]));
}

static void ask_mget(const struct ask *ask)
{
    say(ask->oracle, "*%d\r\n", ask->argc - 1);
    for (int i = 1; i < ask->argc; i++)
        say_key(ask->oracle, find(ask->oracle, ask->argv[i]));
}

static void ask_strlen(const struct ask *ask)
{
    const struct oracle_key *key = find(ask->oracle, ask->argv[1]);

    say_integer(ask->oracle, key == NULL ? 0 : (int64_t)key->len);
}

struct set_options {
    int nx, xx, get, keep;
    int time_at;
    int64_t unit;
    int is_relative;
};

static int set_time_word(struct varve_slice word, struct set_options *options)
{
    static const char *const words[] = {"ex", "px", "exat", "pxat"};

    for (int i = 0; i < 4; i++) {
        if (!is_word(word, words[i]))
            continue;
        options->unit = i % 2 == 0 ? 1000 : 1;
        options->is_relative = i < 2;
        return 1 + i;
    }
    return 0;
}

/* 0: a syntax error. */
static int set_options(const struct ask *ask, struct set_options *options)
{
    int kind = 0;

    for (int i = 3; i < ask->argc; i++) {
        int before = kind;
        if (is_word(ask->argv[i], "nx") && !options->xx) {
            options->nx = 1;
        } else if (is_word(ask->argv[i], "xx") && !options->nx) {
            options->xx = 1;
        } else if (is_word(ask->argv[i], "get")) {
            options->get = 1;
        } else if (is_word(ask->argv[i], "keepttl") && kind == 0) {
            options->keep = 1;
        } else {
            kind = set_time_word(ask->argv[i], options);
            if (kind == 0 || (before != 0 && before != kind) || options->keep || i + 1 == ask->argc)
                return 0;
            options->time_at = ++i;
        }
    }
    return 1;
}

static void ask_set(const struct ask *ask)
{
    struct oracle *oracle = ask->oracle;
    struct set_options options = {0};
    int64_t time = 0;
    int64_t ms = 0;

    if (!set_options(ask, &options)) {
        say(oracle, SYNTAX);
        return;
    }
    if (options.time_at != 0 && !take_number_arg(ask, options.time_at, &time))
        return;
    if (options.time_at != 0 &&
        (time <= 0 ||
         !time_of(time, options.unit, options.is_relative ? oracle->now_ms : 0, &ms))) {
        bad_time(ask);
        return;
    }
    const struct oracle_key *old = find(oracle, ask->argv[1]);
    int goes_on = !(options.nx && old != NULL) && !(options.xx && old == NULL);
    if (options.get)
        say_key(oracle, old);
    else if (goes_on)
        say(oracle, "+OK\r\n");
    else
        say_key(oracle, NULL);
    uint64_t expire_ms = options.keep && old != NULL ? old->expire_ms : (uint64_t)ms;
    if (goes_on)
        put(oracle, ask->argv[1], ask->argv[2], expire_ms);
}

static void ask_mset(const struct ask *ask)
{
    if (ask->argc % 2 == 0) {
        say(ask->oracle, "-ERR wrong number of arguments for 'mset' command\r\n");
        return;
    }
    for (int i = 1; i < ask->argc; i += 2)
        put(ask->oracle, ask->argv[i], ask->argv[i + 1], 0);
    say(ask->oracle, "+OK\r\n");
}

static void ask_append(const struct ask *ask)
{
    struct oracle_key *key = find(ask->oracle, ask->argv[1]);
    struct varve_slice more = ask->argv[2];

    if (key == NULL) {
        put(ask->oracle, ask->argv[1], more, 0);
        say_integer(ask->oracle, (int64_t)more.len);
        return;
    }
    CHECK(key->len + more.len <= sizeof(key->value));
    if (more.len > 0)
        memcpy(key->value + key->len, more.data, more.len);
    key->len += more.len;
    say_integer(ask->oracle, (int64_t)key->len);
}

/* variant: 1 INCR, -1 DECR, 2 INCRBY, -2 DECRBY. */
static void ask_increment(const struct ask *ask)
{
    struct oracle_key *key = find(ask->oracle, ask->argv[1]);
    int64_t delta = 1;
    int64_t value = 0;
    char text[32];

    if (ask->argc == 3 && !take_number_arg(ask, 2, &delta))
        return;
    if (ask->variant == -2 && delta == INT64_MIN) {
        say(ask->oracle, "-ERR decrement would overflow\r\n");
        return;
    }
    if (key != NULL && !number_of(varve_slice(key->value, key->len), &value)) {
        say(ask->oracle, NOT_INTEGER);
        return;
    }
    wide sum = (wide)value + (ask->variant < 0 ? -(wide)delta : delta);
    if (sum > INT64_MAX || sum < INT64_MIN) {
        say(ask->oracle, "-ERR increment or decrement would overflow\r\n");
        return;
    }
    snprintf(text, sizeof(text), "%" PRId64, (int64_t)sum);
    put(ask->oracle, ask->argv[1], varve_slice_str(text), key == NULL ? 0 : key->expire_ms);
    say_integer(ask->oracle, (int64_t)sum);
}

/* ---- strings as bits: one after the other ---- */

#define BITS_MAX (UINT64_C(1) << 32)

static int bit_of(const struct oracle_key *key, int64_t at)
{
    return key != NULL && (size_t)at / 8 < key->len && (key->value[at / 8] & 128 >> at % 8) != 0;
}

static int take_position_arg(const struct ask *ask, int64_t *position)
{
    if (number_of(ask->argv[2], position) && *position >= 0 && *position < (int64_t)BITS_MAX)
        return 1;
    say(ask->oracle, "-ERR bit offset is not an integer or out of range\r\n");
    return 0;
}

static void ask_getbit(const struct ask *ask)
{
    int64_t at;

    if (take_position_arg(ask, &at))
        say_integer(ask->oracle, bit_of(find(ask->oracle, ask->argv[1]), at));
}

static void ask_setbit(const struct ask *ask)
{
    const struct oracle_key *old = find(ask->oracle, ask->argv[1]);
    uint8_t value[ORACLE_VALUE_MAX_BYTES] = {0};
    size_t len = old == NULL ? 0 : old->len;
    int before;
    int64_t at;

    if (!take_position_arg(ask, &at))
        return;
    if (!is_word(ask->argv[3], "0") && !is_word(ask->argv[3], "1")) {
        say(ask->oracle, "-ERR bit is not an integer or out of range\r\n");
        return;
    }
    CHECK((size_t)at / 8 < sizeof(value));
    if (old != NULL)
        memcpy(value, old->value, len);
    before = bit_of(old, at);
    value[at / 8] &= (uint8_t) ~(128 >> at % 8);
    if (is_word(ask->argv[3], "1"))
        value[at / 8] |= (uint8_t)(128 >> at % 8);
    len = (size_t)at / 8 < len ? len : (size_t)at / 8 + 1;
    put(ask->oracle, ask->argv[1], varve_slice(value, len), old == NULL ? 0 : old->expire_ms);
    say_integer(ask->oracle, before);
}

/* The bits [*from, *to) of "... START END [BIT]", which are integers, behind `words` words. */
static void bits_asked(const struct ask *ask, const struct oracle_key *key, int words,
                       int64_t *from, int64_t *to)
{
    int64_t unit = ask->argc == words + 3 ? 1 : 8;
    int64_t total = (int64_t)key->len * 8 / unit;
    int64_t start = 0;
    int64_t end = -1;

    if (ask->argc > words)
        CHECK(number_of(ask->argv[words], &start) && number_of(ask->argv[words + 1], &end));
    start = start < 0 ? start + total : start;
    end = end < 0 ? end + total : end;
    *from = (start < 0 ? 0 : start) * unit;
    end = end < 0 ? 0 : end;
    *to = ((end >= total ? total - 1 : end) + 1) * unit;
}

static void ask_bitcount(const struct ask *ask)
{
    const struct oracle_key *key = find(ask->oracle, ask->argv[1]);
    int64_t count = 0;
    int64_t from = 0;
    int64_t to = 0;

    if (key != NULL)
        bits_asked(ask, key, 2, &from, &to);
    if (ask->argc >
        3) { /* Redis takes such a range for empty, also where both ends become the first bit */
        int64_t start;
        int64_t end;
        CHECK(number_of(ask->argv[2], &start) && number_of(ask->argv[3], &end));
        to = start < 0 && end < 0 && start > end ? 0 : to;
    }
    for (int64_t at = from; at < to; at++)
        count += bit_of(key, at);
    say_integer(ask->oracle, count);
}

static void ask_bitpos(const struct ask *ask)
{
    const struct oracle_key *key = find(ask->oracle, ask->argv[1]);
    int bit = is_word(ask->argv[2], "1");
    int64_t from = 0;
    int64_t to = 0;

    if (key == NULL) {
        say_integer(ask->oracle, bit ? -1 : 0);
        return;
    }
    bits_asked(ask, key, 3, &from, &to);
    int64_t at = from;
    while (at < to && bit_of(key, at) != bit)
        at++;
    int behind = at == to && !bit && ask->argc == 3 && to > 0;
    say_integer(ask->oracle, at < to || behind ? at : -1);
}

static void ask_bitop(const struct ask *ask)
{
    uint8_t value[ORACLE_VALUE_MAX_BYTES] = {0};
    size_t len = 0;

    for (int i = 3; i < ask->argc; i++) {
        const struct oracle_key *key = find(ask->oracle, ask->argv[i]);
        len = key != NULL && key->len > len ? key->len : len;
    }
    for (int64_t at = 0; at < (int64_t)len * 8; at++) {
        int bit = bit_of(find(ask->oracle, ask->argv[3]), at);
        if (is_word(ask->argv[1], "not"))
            bit = !bit;
        for (int i = 4; i < ask->argc; i++) {
            int other = bit_of(find(ask->oracle, ask->argv[i]), at);
            bit = is_word(ask->argv[1], "and")  ? bit & other
                  : is_word(ask->argv[1], "or") ? bit | other
                                                : bit ^ other;
        }
        value[at / 8] |= (uint8_t)(bit << (7 - at % 8));
    }
    if (len > 0)
        put(ask->oracle, ask->argv[2], varve_slice(value, len), 0);
    else
        (void)drop_name(ask->oracle, ask->argv[2]);
    say_integer(ask->oracle, (int64_t)len);
}

/* ---- keys ---- */

static void ask_del(const struct ask *ask)
{
    int64_t count = 0;

    for (int i = 1; i < ask->argc; i++)
        count += drop_name(ask->oracle, ask->argv[i]);
    say_integer(ask->oracle, count);
}

static void ask_exists(const struct ask *ask)
{
    int64_t count = 0;

    for (int i = 1; i < ask->argc; i++)
        count += find(ask->oracle, ask->argv[i]) != NULL;
    say_integer(ask->oracle, count);
}

static void ask_type(const struct ask *ask)
{
    say(ask->oracle, find(ask->oracle, ask->argv[1]) != NULL ? "+string\r\n" : "+none\r\n");
}

/* 0: the error is said. */
static int expire_words(const struct ask *ask, int has[4])
{
    static const char *const words[] = {"nx", "xx", "gt", "lt"};

    for (int i = 3; i < ask->argc; i++) {
        int w = 0;
        while (w < 4 && !is_word(ask->argv[i], words[w]))
            w++;
        if (w == 4) {
            char text[256] = ""; /* longer arguments are not made */
            memcpy(text, ask->argv[i].data,
                   ask->argv[i].len < sizeof(text) ? ask->argv[i].len : sizeof(text) - 1);
            for (char *c = text; *c != '\0'; c++)
                *c = *c == '\r' || *c == '\n' ? ' ' : *c;
            say(ask->oracle, "-ERR Unsupported option %s\r\n", text);
            return 0;
        }
        has[w] = 1;
    }
    if (has[0] && (has[1] || has[2] || has[3])) {
        say(ask->oracle,
            "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
        return 0;
    }
    if (has[2] && has[3])
        say(ask->oracle, "-ERR GT and LT options at the same time are not compatible\r\n");
    return !(has[2] && has[3]);
}

/* variant: bit 0: seconds; bit 1: a point in time. */
static void ask_expire(const struct ask *ask)
{
    struct oracle *oracle = ask->oracle;
    int has[4] = {0};
    int64_t time = 0;
    int64_t ms = 0;

    if (!expire_words(ask, has) || !take_number_arg(ask, 2, &time))
        return;
    if (!time_of(time, ask->variant & 1 ? 1000 : 1, ask->variant & 2 ? 0 : oracle->now_ms, &ms)) {
        bad_time(ask);
        return;
    }
    struct oracle_key *key = find(oracle, ask->argv[1]);
    int never = key != NULL && key->expire_ms == 0;
    int64_t old = key == NULL ? 0 : (int64_t)key->expire_ms;
    if (key == NULL || (has[0] && !never) || (has[1] && never) ||
        (has[2] && (never || ms <= old)) || (has[3] && !never && ms >= old)) {
        say_integer(oracle, 0);
        return;
    }
    say_integer(oracle, 1);
    if (ms <= (int64_t)oracle->now_ms)
        (void)drop_name(oracle, ask->argv[1]);
    else
        key->expire_ms = (uint64_t)ms;
}

/* variant as above, of TTL and its kind. */
static void ask_ttl(const struct ask *ask)
{
    const struct oracle_key *key = find(ask->oracle, ask->argv[1]);

    if (key == NULL || key->expire_ms == 0) {
        say_integer(ask->oracle, key == NULL ? -2 : -1);
        return;
    }
    uint64_t ms = key->expire_ms - (ask->variant & 2 ? 0 : ask->oracle->now_ms);
    say_integer(ask->oracle, (int64_t)(ask->variant & 1 ? (ms + 500) / 1000 : ms));
}

static void ask_persist(const struct ask *ask)
{
    struct oracle_key *key = find(ask->oracle, ask->argv[1]);

    say_integer(ask->oracle, key != NULL && key->expire_ms != 0);
    if (key != NULL)
        key->expire_ms = 0;
}

/* variant 1: all databases. */
static void ask_flush(const struct ask *ask)
{
    struct oracle *oracle = ask->oracle;

    if (ask->argc > 2 ||
        (ask->argc == 2 && !is_word(ask->argv[1], "async") && !is_word(ask->argv[1], "sync"))) {
        say(oracle, SYNTAX);
        return;
    }
    for (size_t i = oracle->count; i > 0; i--)
        if (ask->variant || oracle->keys[i - 1]->db == oracle->db)
            drop(oracle, i - 1);
    say(oracle, "+OK\r\n");
}

static void ask_select(const struct ask *ask)
{
    int64_t db = 0;

    if (!take_number_arg(ask, 1, &db))
        return;
    if (db < INT32_MIN || db > INT32_MAX)
        say(ask->oracle, "-ERR value is out of range, value must between %d and %d\r\n", INT32_MIN,
            INT32_MAX);
    else if (db < 0 || db >= ORACLE_DATABASES)
        say(ask->oracle, "-ERR DB index is out of range\r\n");
    if (ask->oracle->reply_len > 0)
        return;
    ask->oracle->db = (int)db;
    say(ask->oracle, "+OK\r\n");
}

static void ask_echo(const struct ask *ask)
{
    say_bytes(ask->oracle, ask->argv[1].data, ask->argv[1].len);
}

/* ---- all of them ---- */

static const struct row {
    const char *name;
    int arity; /* as in the server's table; its name counts, a negative one is the least */
    void (*run)(const struct ask *ask);
    int variant;
} rows[] = {
    {"get", 2, ask_get, 0},           {"mget", -2, ask_mget, 0},
    {"strlen", 2, ask_strlen, 0},     {"set", -3, ask_set, 0},
    {"mset", -3, ask_mset, 0},        {"append", 3, ask_append, 0},
    {"incr", 2, ask_increment, 1},    {"decr", 2, ask_increment, -1},
    {"incrby", 3, ask_increment, 2},  {"decrby", 3, ask_increment, -2},
    {"del", -2, ask_del, 0},          {"unlink", -2, ask_del, 0},
    {"exists", -2, ask_exists, 0},    {"touch", -2, ask_exists, 0},
    {"type", 2, ask_type, 0},         {"expire", -3, ask_expire, 1},
    {"pexpire", -3, ask_expire, 0},   {"expireat", -3, ask_expire, 3},
    {"pexpireat", -3, ask_expire, 2}, {"ttl", 2, ask_ttl, 1},
    {"pttl", 2, ask_ttl, 0},          {"expiretime", 2, ask_ttl, 3},
    {"pexpiretime", 2, ask_ttl, 2},   {"persist", 2, ask_persist, 0},
    {"flushdb", -1, ask_flush, 0},    {"flushall", -1, ask_flush, 1},
    {"select", 2, ask_select, 0},     {"echo", 2, ask_echo, 0},
    {"dbsize", 1, NULL, 0},           {"getbit", 3, ask_getbit, 0},
    {"setbit", 4, ask_setbit, 0},     {"bitcount", -2, ask_bitcount, 0},
    {"bitpos", -3, ask_bitpos, 0},    {"bitop", -4, ask_bitop, 0},
};

void oracle_init(struct oracle *oracle)
{
    oracle->count = 0;
    oracle->proto = 2;
    oracle->db = 0;
}

void oracle_deinit(struct oracle *oracle)
{
    while (oracle->count > 0)
        drop(oracle, 0);
}

static void count_keys(struct oracle *oracle)
{
    oracle->count_min = oracle->count_max = 0;
    for (size_t i = 0; i < oracle->count; i++) {
        if (oracle->keys[i]->db != oracle->db)
            continue;
        oracle->count_max++;
        oracle->count_min += is_live(oracle, oracle->keys[i]);
    }
}

enum oracle_answer oracle_run(struct oracle *oracle, int argc, const struct varve_slice *argv)
{
    const struct row *row = NULL;

    oracle->reply_len = 0;
    for (size_t i = 0; i < COUNT_OF(rows) && row == NULL; i++)
        if (is_word(argv[0], rows[i].name))
            row = &rows[i];
    if (row == NULL)
        return ORACLE_ANY;
    if (row->arity > 0 ? argc != row->arity : argc < -row->arity) {
        say(oracle, "-ERR wrong number of arguments for '%s' command\r\n", row->name);
        return ORACLE_REPLY;
    }
    if (row->run == NULL) {
        count_keys(oracle);
        return ORACLE_COUNT;
    }
    struct ask ask = {oracle, argc, argv, row->name, row->variant};
    row->run(&ask);
    return ORACLE_REPLY;
}
