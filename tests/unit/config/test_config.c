#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "varve/options.h"

static int setup(void **state)
{
    *state = config_create();
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    config_destroy(*state);
    return 0;
}

/* ---- the table ---- */

static void test_table__each_default_passes_its_own_check(void **state)
{
    struct config *config = *state;

    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        struct varve_err err = {0};
        if (config_set(config, row->name, row->value, &err) != 0)
            fail_msg("%s", err.text);
    }
}

static void test_table__rows_are_complete(void **state)
{
    (void)state;
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        int ignored = (row->flags & CONFIG_IGNORED) != 0;
        assert_int_equal(config_find(varve_slice_str(row->name)), i); /* no name twice */
        assert_int_equal(row->text[0] == '\0', ignored);
        assert_int_equal(row->group[0] == '\0', ignored);
        if (row->type == CONFIG_INT || row->type == CONFIG_SIZE)
            assert_true(row->min <= row->max);
        if (row->type == CONFIG_ENUM)
            assert_true(row->unit[0] != '\0');
    }
}

static void test_table__finds_names_and_their_neighbours(void **state)
{
    (void)state;
    assert_int_equal(config_find(varve_slice_str("PORT")), OPT_PORT);
    assert_int_equal(config_find(varve_slice_str("slave-read-only")), OPT_REPLICA_READ_ONLY);
    assert_int_equal(config_find(varve_slice_str("por")), -1);
    assert_int_equal(config_find(varve_slice_str("")), -1);
    assert_string_equal(config_nearest(varve_slice_str("prot")), "port");
    assert_string_equal(config_nearest(varve_slice_str("appendsync")), "appendfsync");
    assert_string_equal(config_nearest(varve_slice_str("Max-Clients")), "maxclients");
    assert_null(config_nearest(varve_slice_str("entirely-other-thing")));
    assert_null(config_nearest(varve_slice_str("x")));
}

/* ---- values ---- */

static void test_values__defaults(void **state)
{
    struct config *config = *state;
    struct config_limit limit;
    char word[64];

    assert_int_equal(config_int(config, OPT_PORT), 6379);
    assert_int_equal(config_int(config, OPT_MEMTABLE_SIZE), 0);
    assert_int_equal(config_int(config, OPT_APPENDFSYNC), VARVE_EVERYSEC);
    assert_int_equal(config_int(config, OPT_LOGLEVEL), LOG_NOTICE);
    assert_string_equal(config_str(config, OPT_LOGLEVEL), "notice");
    assert_int_equal(config_int(config, OPT_PROTECTED_MODE), 1);
    assert_string_equal(config_str(config, OPT_DIR), "./data");
    assert_string_equal(config_str(config, OPT_REQUIREPASS), "");
    assert_true(config_word(config, OPT_BIND, 0, word, sizeof(word)));
    assert_string_equal(word, "127.0.0.1");
    assert_false(config_word(config, OPT_BIND, 1, word, sizeof(word)));
    config_limit(config, CONFIG_PUBSUB, &limit);
    assert_int_equal(limit.hard_bytes, 32 << 20);
    assert_int_equal(limit.soft_bytes, 8 << 20);
    assert_int_equal(limit.soft_seconds, 60);
    assert_string_equal(config_file(config), "");
}

/* The bounds are the engine's (varve/options.h). */
static void test_values__of_the_levels(void **state)
{
    static const struct {
        const char *name;
        enum config_option option;
        int64_t value;
        const char *least;
        const char *too_little;
        const char *most;
        const char *too_much;
    } cases[] = {
        {"memtable-size", OPT_MEMTABLE_SIZE, 0, "65536", "65535", "100gb", NULL},
        {"memtables-max", OPT_MEMTABLES_MAX, 4, "2", "1", "16", "17"},
        {"block-cache-size", OPT_BLOCK_CACHE_SIZE, 0, "1mb", "1048575", "100gb", NULL},
        {"row-cache-size", OPT_ROW_CACHE_SIZE, 64 << 20, "0", "-1", "1024gb", "1025gb"},
        {"block-size", OPT_BLOCK_SIZE, 4096, "512", "511", "1mb", "1048577"},
        {"segment-size", OPT_SEGMENT_SIZE, 0, "16kb", "16383", "100gb", NULL},
        {"max-open-segments", OPT_MAX_OPEN_SEGMENTS, 4096, "16", "15", "32768", "32769"},
        {"bloom-bits-per-key", OPT_BLOOM_BITS_PER_KEY, 10, "0", "-1", "32", "33"},
        {"compaction-threads", OPT_COMPACTION_THREADS, 0, "0", "-1", "16", "17"},
        {"read-threads", OPT_READ_THREADS, 4, "1", "0", "64", "65"},
        {"rate-limit", OPT_RATE_LIMIT, 0, "0", "-1", "10gb", NULL},
        {"min-free", OPT_MIN_FREE, 64 << 20, "0", "-1", "10gb", NULL},
        {"reserve-size", OPT_RESERVE_SIZE, 16 << 20, "0", "-1", "10gb", NULL},
    };
    struct config *config = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(config_int(config, cases[i].option), cases[i].value);
        assert_int_equal(config_set(config, cases[i].name, cases[i].least, NULL), 0);
        assert_int_equal(config_set(config, cases[i].name, cases[i].most, NULL), 0);
        int64_t most = config_int(config, cases[i].option);
        assert_int_equal(config_set(config, cases[i].name, cases[i].too_little, NULL),
                         VARVE_EINVAL);
        if (cases[i].too_much != NULL)
            assert_int_equal(config_set(config, cases[i].name, cases[i].too_much, NULL),
                             VARVE_EINVAL);
        assert_int_equal(config_int(config, cases[i].option), most);
    }
    assert_int_equal(config_int(config, OPT_COMPRESSION), VARVE_SNAPPY);
    assert_int_equal(config_set(config, "compression", "NONE", NULL), 0);
    assert_int_equal(config_int(config, OPT_COMPRESSION), VARVE_COMPRESSION_NONE);
    assert_int_equal(config_set(config, "compression", "zstd", NULL), VARVE_EINVAL);
}

static void test_values__words_are_the_enums_of_others(void **state)
{
    struct config *config = *state;

    assert_int_equal(config_set(config, "appendfsync", "Always", NULL), 0);
    assert_int_equal(config_int(config, OPT_APPENDFSYNC), VARVE_ALWAYS);
    assert_string_equal(config_str(config, OPT_APPENDFSYNC), "always");
    assert_int_equal(config_set(config, "appendfsync", "no", NULL), 0);
    assert_int_equal(config_int(config, OPT_APPENDFSYNC), VARVE_NO);
    assert_int_equal(config_set(config, "loglevel", "debug", NULL), 0);
    assert_int_equal(config_int(config, OPT_LOGLEVEL), LOG_DEBUG);
    assert_int_equal(config_set(config, "loglevel", "warning", NULL), 0);
    assert_int_equal(config_int(config, OPT_LOGLEVEL), LOG_WARNING);
}

static void test_values__units(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {
        {"65536", 65536}, {"65536b", 65536}, {"100k", 100000},   {"100kb", 102400},
        {"1m", 1000000},  {"1MB", 1048576},  {"3g", 3000000000}, {"3Gb", INT64_C(3) << 30},
    };
    static const char *const bad[] = {"",
                                      "mb",
                                      "1tb",
                                      "-1",
                                      "1 mb",
                                      "1.5gb",
                                      "0x10",
                                      "1kx",
                                      "9223372036854775808",
                                      "99999999999999999999999",
                                      "9223372036854775807kb"};
    struct config *config = *state;
    struct varve_err err;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(config_set(config, "memtable-size", cases[i].text, NULL), 0);
        assert_int_equal(config_int(config, OPT_MEMTABLE_SIZE), cases[i].bytes);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(config_set(config, "memtable-size", bad[i], &err), VARVE_EINVAL);
        assert_string_equal(err.text, "memtable-size: argument must be a memory value");
    }
    assert_int_equal(config_int(config, OPT_MEMTABLE_SIZE), INT64_C(3) << 30);
}

/* Reasons as redis-server 7.0.15 gives them. */
static void test_values__reasons(void **state)
{
    static const struct {
        const char *name;
        const char *value;
        const char *reason;
    } cases[] = {
        {"timeout", "abc", "argument couldn't be parsed into an integer"},
        {"timeout", "", "argument couldn't be parsed into an integer"},
        {"timeout", "007", "argument couldn't be parsed into an integer"},
        {"timeout", "+1", "argument couldn't be parsed into an integer"},
        {"timeout", "-0", "argument couldn't be parsed into an integer"},
        {"timeout", "99999999999999999999", "argument couldn't be parsed into an integer"},
        {"timeout", "-1", "argument must be between 0 and 2147483647 inclusive"},
        {"maxclients", "0", "argument must be between 1 and 4294967295 inclusive"},
        {"port", "70000", "argument must be between 0 and 65535 inclusive"},
        {"proto-max-bulk-len", "1",
         "argument must be between 1048576 and 9223372036854775807 inclusive"},
        {"protected-mode", "maybe", "argument must be 'yes' or 'no'"},
        {"appendfsync", "foo", "argument(s) must be one of the following: everysec, always, no"},
        {"loglevel", "foo",
         "argument(s) must be one of the following: debug, verbose, notice, warning"},
        {"latency-tracking-info-percentiles", "50 x",
         "Invalid latency-tracking-info-percentiles parameters"},
        {"latency-tracking-info-percentiles", "nan",
         "Invalid latency-tracking-info-percentiles parameters"},
        {"latency-tracking-info-percentiles", "100.1",
         "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"},
        {"replicaof", "host 1", "it is not supported here"},
        {"maxmemory-clients", "101%", "percentage argument must be less or equal to 100"},
        {"maxmemory-clients", "x", "argument must be a memory or percent value"},
        {"maxmemory-clients", "%", "argument must be a memory or percent value"},
        {"maxmemory", "1%", "argument must be a memory value"},
        {"save", "a b", "Invalid save parameters"},
        {"save", "900", "Invalid save parameters"},
        {"save", "0 1", "Invalid save parameters"},
        {"client-output-buffer-limit", "normal 1",
         "Wrong number of arguments in buffer limit configuration."},
        {"client-output-buffer-limit", "",
         "Wrong number of arguments in buffer limit configuration."},
        {"client-output-buffer-limit", "foo 0 0 0",
         "Invalid client class specified in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 1mb 2mb x",
         "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
        {"bind", "localhost", "argument must be IP addresses, or * or ::*"},
        {"bind", "127.0.0.1 1.2.3.4.5", "argument must be IP addresses, or * or ::*"},
        {"bind", "-", "argument must be IP addresses, or * or ::*"},
        {"bind", " ", "at least one address is needed"},
        {"bind", "* * * * * * * * * * * * * * * * *", "Too many bind addresses specified."},
    };
    struct config *config = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[256];
        struct varve_err err = {0};
        snprintf(wanted, sizeof(wanted), "%s: %s", cases[i].name, cases[i].reason);
        assert_int_equal(config_set(config, cases[i].name, cases[i].value, &err), VARVE_EINVAL);
        assert_string_equal(err.text, wanted);
    }
}

static void test_values__several_words(void **state)
{
    struct config *config = *state;
    struct config_limit limit;
    char word[64];
    char small[4];

    assert_int_equal(config_set(config, "bind", "127.0.0.1  -::1 * ::*", NULL), 0);
    assert_true(config_word(config, OPT_BIND, 1, word, sizeof(word)));
    assert_string_equal(word, "-::1");
    assert_true(config_word(config, OPT_BIND, 3, word, sizeof(word)));
    assert_string_equal(word, "::*");
    assert_false(config_word(config, OPT_BIND, 4, word, sizeof(word)));
    assert_false(config_word(config, OPT_BIND, 1, small, sizeof(small)));
    /* a class that is not named stays */
    assert_int_equal(
        config_set(config, "client-output-buffer-limit", "normal 1mb 512kb 10 replica 5 4 3", NULL),
        0);
    config_limit(config, CONFIG_NORMAL, &limit);
    assert_int_equal(limit.hard_bytes, 1 << 20);
    config_limit(config, CONFIG_REPLICA, &limit);
    assert_int_equal(limit.soft_seconds, 3);
    config_limit(config, CONFIG_PUBSUB, &limit);
    assert_int_equal(limit.hard_bytes, 32 << 20);
    assert_int_equal(config_set(config, "save", "900 1 300 0", NULL), 0);
    assert_string_equal(config_str(config, OPT_SAVE), "900 1 300 0");
}

static void test_values__have_a_longest(void **state)
{
    struct config *config = *state;
    static char longer[64 * 1024 + 2];
    struct varve_err err;

    memset(longer, 'x', sizeof(longer) - 1);
    assert_int_equal(config_set(config, "requirepass", longer, &err), VARVE_EINVAL);
    assert_null(strstr(err.text, "xx"));
    longer[sizeof(longer) - 2] = '\0';
    assert_int_equal(config_set(config, "requirepass", longer, &err), 0);
}

/* ---- CONFIG GET ---- */

struct seen {
    char text[16384];
    size_t used;
};

static void see(void *arg, struct varve_slice name, struct varve_slice value)
{
    struct seen *seen = arg;

    seen->used += (size_t)snprintf(seen->text + seen->used, sizeof(seen->text) - seen->used,
                                   "%.*s=%.*s;", (int)name.len, (const char *)name.data,
                                   (int)value.len, (const char *)value.data);
}

static const char *get(const struct config *config, const char *first, const char *second)
{
    static struct seen seen;
    const struct varve_slice patterns[2] = {varve_slice_str(first), varve_slice_str(second)};

    seen = (struct seen){0};
    size_t visited = config_match(config, patterns, 2, see, &seen);
    assert_int_equal(config_match(config, patterns, 2, NULL, NULL), visited);
    return seen.text;
}

static void test_match__globs_and_plain_names(void **state)
{
    struct config *config = *state;

    assert_string_equal(get(config, "timeout", ""), "timeout=0;");
    assert_string_equal(get(config, "TIMEOUT", ""), "TIMEOUT=0;");
    assert_string_equal(get(config, "[T]IMEOU?", ""), "timeout=0;");
    assert_string_equal(get(config, "port", "por*"), "port=6379;");
    assert_string_equal(get(config, "nothing", "x*"), "");
    assert_string_equal(get(config, "save", "appendonly"), "save=;appendonly=yes;");
    assert_string_equal(get(config, "maxmemory", "maxmemory-policy"),
                        "maxmemory=0;maxmemory-policy=noeviction;");
    assert_string_equal(get(config, "hash-max-*", ""),
                        "hash-max-listpack-entries=512;hash-max-listpack-value=64;"
                        "hash-max-ziplist-entries=512;hash-max-ziplist-value=64;");
    assert_string_equal(get(config, "client-output*", ""),
                        "client-output-buffer-limit=normal 0 0 0 slave 268435456 67108864 60 "
                        "pubsub 33554432 8388608 60;");
    assert_non_null(strstr(get(config, "*", "port"), ";port=6379;"));
}

/* ---- CONFIG SET ---- */

static const char *set_pairs(struct config *config, const char *const *words, size_t pair_count,
                             config_apply_fn apply, void *arg)
{
    static struct varve_err err;
    struct varve_slice pairs[16];

    err = (struct varve_err){0};
    for (size_t i = 0; i < 2 * pair_count; i++)
        pairs[i] = varve_slice_str(words[i]);
    int rc = config_set_pairs(config, pairs, pair_count, apply, arg, &err);
    assert_int_equal(rc, err.code);
    return rc == 0 ? "OK" : err.text;
}

#define SET(config, ...)                                                                           \
    set_pairs(config, (const char *const[]){__VA_ARGS__},                                          \
              COUNT_OF(((const char *const[]){__VA_ARGS__})) / 2, NULL, NULL)

static void test_set__texts_of_redis(void **state)
{
    struct config *config = *state;

    assert_string_equal(SET(config, "foo", "bar"),
                        "Unknown option or number of arguments for CONFIG SET - 'foo'");
    assert_string_equal(SET(config, "timeout", "5", "foo", "bar"),
                        "Unknown option or number of arguments for CONFIG SET - 'foo'");
    assert_string_equal(SET(config, "MaxClients", "abc"),
                        "CONFIG SET failed (possibly related to argument 'MaxClients') - argument "
                        "couldn't be parsed into an integer");
    assert_string_equal(SET(config, "timeout", "1", "Timeout", "2"),
                        "CONFIG SET failed (possibly related to argument 'Timeout') - duplicate "
                        "parameter");
    assert_string_equal(SET(config, "databases", "3"),
                        "CONFIG SET failed (possibly related to argument 'databases') - can't set "
                        "immutable config");
    assert_string_equal(SET(config, "dir", "."),
                        "CONFIG SET failed (possibly related to argument 'dir') - can't set "
                        "protected config");
    assert_string_equal(SET(config, "memtable-size", "1mb"),
                        "CONFIG SET failed (possibly related to argument 'memtable-size') - can't "
                        "set immutable config");
    assert_string_equal(SET(config, "memtable-size", "0", "port", "6380"), "OK");
    assert_string_equal(SET(config, "maxmemory-policy", "allkeys-lru"),
                        "CONFIG SET failed (possibly related to argument 'maxmemory-policy') - "
                        "argument(s) must be one of the following: noeviction");
    assert_string_equal(SET(config, "hash-max-ziplist-entries", "77", "save", "", "hz", "20"),
                        "OK");
    assert_int_equal(config_int(config, OPT_HASH_MAX_LISTPACK_ENTRIES), 77);
}

static void test_set__is_all_or_none(void **state)
{
    struct config *config = *state;

    assert_string_equal(SET(config, "timeout", "5", "requirepass", "s", "maxclients", "x"),
                        "CONFIG SET failed (possibly related to argument 'maxclients') - argument "
                        "couldn't be parsed into an integer");
    assert_int_equal(config_int(config, OPT_TIMEOUT), 0);
    assert_string_equal(config_str(config, OPT_REQUIREPASS), "");
    assert_string_equal(SET(config, "timeout", "5", "requirepass", "s", "maxclients", "10"), "OK");
    assert_int_equal(config_int(config, OPT_TIMEOUT), 5);
    assert_string_equal(config_str(config, OPT_REQUIREPASS), "s");
}

static void test_set__refuses_nul_bytes(void **state)
{
    struct config *config = *state;
    const struct varve_slice pair[2] = {varve_slice_str("requirepass"), varve_slice("a\0b", 3)};

    assert_int_equal(config_set_pairs(config, pair, 1, NULL, NULL, NULL), VARVE_EINVAL);
    assert_string_equal(config_str(config, OPT_REQUIREPASS), "");
}

/* More pairs than there are options cannot all be different. */
static void test_set__takes_any_number_of_pairs(void **state)
{
    struct config *config = *state;
    static struct varve_slice pairs[2 * 3 * OPT_COUNT];
    struct varve_err err;

    for (size_t i = 0; i < COUNT_OF(pairs); i += 2) {
        pairs[i] = varve_slice_str("timeout");
        pairs[i + 1] = varve_slice_str("1");
    }
    assert_int_equal(config_set_pairs(config, pairs, COUNT_OF(pairs) / 2, NULL, NULL, &err),
                     VARVE_EINVAL);
    assert_non_null(strstr(err.text, "duplicate parameter"));
}

struct applied {
    struct config *config;
    char log[256];
};

static const char *apply_but_maxclients_7(void *arg, const char *name)
{
    struct applied *applied = arg;
    size_t used = strlen(applied->log);
    int64_t clients = config_int(applied->config, OPT_MAXCLIENTS);

    snprintf(applied->log + used, sizeof(applied->log) - used, "%s(%d) ", name,
             (int)config_int(applied->config, OPT_TIMEOUT));
    return strcmp(name, "maxclients") == 0 && clients == 7 ? "no files" : NULL;
}

static void test_set__puts_back_what_cannot_be_applied(void **state)
{
    struct config *config = *state;
    struct applied applied = {.config = config};
    const char *const words[] = {"timeout",    "5", "hz",       "20",
                                 "maxclients", "7", "loglevel", "debug"};

    assert_string_equal(set_pairs(config, words, 4, apply_but_maxclients_7, &applied),
                        "CONFIG SET failed (possibly related to argument 'maxclients') - no files");
    /* applied with the new values, then again with the old ones; what is ignored is not applied */
    assert_string_equal(applied.log, "timeout(5) maxclients(5) timeout(0) maxclients(0) ");
    assert_int_equal(config_int(config, OPT_TIMEOUT), 0);
    assert_int_equal(config_int(config, OPT_MAXCLIENTS), 10000);
    assert_int_equal(config_int(config, OPT_HZ), 10);
    assert_string_equal(config_str(config, OPT_LOGLEVEL), "notice");
}

static void test_set__applies_only_what_changes(void **state)
{
    struct config *config = *state;
    struct applied applied = {.config = config};
    const char *const words[] = {"timeout", "0", "loglevel", "debug"};

    assert_string_equal(set_pairs(config, words, 2, apply_but_maxclients_7, &applied), "OK");
    assert_string_equal(applied.log, "loglevel(0) ");
}

/* ---- memory ---- */

static void test_create__survives_each_failed_allocation(void **state)
{
    struct config *config = NULL;

    (void)state;
    for (uint64_t nth = 1; config == NULL; nth++) {
        mem_fail_nth(nth, 0);
        config = config_create();
        mem_fail_nth(0, 0);
        assert_true(nth < 1000);
    }
    config_destroy(config);
}

static void test_set__survives_each_failed_allocation(void **state)
{
    struct config *config = *state;
    const struct varve_slice pairs[] = {
        varve_slice_str("requirepass"), varve_slice_str("p"),       varve_slice_str("loglevel"),
        varve_slice_str("debug"),       varve_slice_str("timeout"), varve_slice_str("3"),
    };
    int rc = -1;

    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = config_set_pairs(config, pairs, 3, NULL, NULL, NULL);
        mem_fail_nth(0, 0);
        assert_int_equal(config_int(config, OPT_TIMEOUT), rc == 0 ? 3 : 0);
        assert_string_equal(config_str(config, OPT_REQUIREPASS), rc == 0 ? "p" : "");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_table__each_default_passes_its_own_check),
        TEST(test_table__rows_are_complete),
        TEST(test_table__finds_names_and_their_neighbours),
        TEST(test_values__defaults),
        TEST(test_values__of_the_levels),
        TEST(test_values__words_are_the_enums_of_others),
        TEST(test_values__units),
        TEST(test_values__reasons),
        TEST(test_values__several_words),
        TEST(test_values__have_a_longest),
        TEST(test_match__globs_and_plain_names),
        TEST(test_set__texts_of_redis),
        TEST(test_set__is_all_or_none),
        TEST(test_set__refuses_nul_bytes),
        TEST(test_set__takes_any_number_of_pairs),
        TEST(test_set__puts_back_what_cannot_be_applied),
        TEST(test_set__applies_only_what_changes),
        TEST(test_create__survives_each_failed_allocation),
        TEST(test_set__survives_each_failed_allocation),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
