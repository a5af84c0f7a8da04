/* Any bytes as a configuration file or as an option's value: an error that says where, or settings that are
 * the same when they are written down and read again; and CONFIG SET changes all or nothing. Lines that
 * include other files are left out: the target reads no file. Input: a byte (0: a file; 1: values), then the
 * file, or an option's number and its value up to a NUL, over and over. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/mem.h"
#include "config/impl.h"
#include "config/words.h"
#include "fuzz.h"
#include "take.h"

#define TEXT_MAX_BYTES ((size_t)16 * 1024)
#define PAIRS_MAX 8
#define VALUE_MAX_BYTES 200

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("port 7000\n"),
    FUZZ_TOKEN("save 60 1\n"),
    FUZZ_TOKEN("bind 127.0.0.1 -::1\n"),
    FUZZ_TOKEN("appendfsync always\n"),
    FUZZ_TOKEN("client-output-buffer-limit normal 1mb 0 10\n"),
    FUZZ_TOKEN("requirepass \"a\\x41\"\n"),
    FUZZ_TOKEN("maxclients "),
    FUZZ_TOKEN("memtable-size 64kb\n"),
    FUZZ_TOKEN("replica "),
    FUZZ_TOKEN("pubsub "),
    FUZZ_TOKEN("18446744073709551616"),
    FUZZ_TOKEN("9223372036854775807"),
    FUZZ_TOKEN("\"\""),
    FUZZ_TOKEN("# "),
    FUZZ_TOKEN("\r\n"),
    FUZZ_TOKEN("gb"),
    {NULL, 0},
};

static int has_include(struct varve_slice text)
{
    struct varve_slice line;
    struct words words;
    const char *why;
    int found = 0;

    while (!found && config_next_line(&text, &line)) {
        if (words_split(&words, line, &why) != 0)
            continue;
        found = words.count > 0 && strcasecmp(words.at[0], "include") == 0;
        words_deinit(&words);
    }
    return found;
}

static int same(const struct config *a, const struct config *b)
{
    for (int option = 0; option < OPT_COUNT; option++)
        if (!value_equal(config_row((enum config_option)option), &a->values[option],
                         &b->values[option]))
            return 0;
    return 1;
}

/* Writes all settings down as a file, and reads that. */
static void check_written(const struct config *config)
{
    char scratch[CONFIG_TEXT_BYTES];
    struct config *again = config_create();
    struct varve_err err = {0};
    struct buf text;

    CHECK(again != NULL);
    buf_init(&text, CONFIG_FILE_MAX_BYTES);
    for (int option = 0; option < OPT_COUNT; option++) {
        const struct config_row *row = config_row((enum config_option)option);
        const char *value = value_text(row, &config->values[option], scratch);
        CHECK(buf_append(&text, row->name, strlen(row->name)) == 0);
        CHECK(buf_append(&text, " ", 1) == 0 && words_quote(&text, value) == 0);
        CHECK(buf_append(&text, "\n", 1) == 0);
    }
    CHECK(config_parse_text(again, "again", buf_slice(&text), 0, &err) == 0);
    CHECK(same(config, again));
    buf_deinit(&text);
    config_destroy(again);
}

static void run_file(struct varve_slice text)
{
    struct config *config = config_create();
    struct varve_err err = {0};

    CHECK(config != NULL);
    int rc = config_parse_text(config, "file", text, 0, &err);
    CHECK(rc == 0 || (rc == VARVE_EINVAL && strncmp(err.text, "file:", 5) == 0));
    check_written(config);
    config_destroy(config);
}

static void run_values(struct take *take)
{
    char value[PAIRS_MAX][VALUE_MAX_BYTES + 1];
    struct varve_slice pairs[2 * PAIRS_MAX];
    struct config *config = config_create();
    struct config *before = config_create();
    struct varve_err err = {0};
    size_t count = 0;

    CHECK(config != NULL && before != NULL);
    for (; count < PAIRS_MAX && take_left(take) > 0; count++) {
        enum config_option option = (enum config_option)(take_byte(take) % OPT_COUNT);
        size_t max = take_left(take) < VALUE_MAX_BYTES ? take_left(take) : VALUE_MAX_BYTES;
        const uint8_t *nul = memchr(take->at, '\0', max);
        struct varve_slice text = take_slice(take, nul == NULL ? max : (size_t)(nul - take->at));
        (void)take_byte(take);
        if (text.len > 0)
            memcpy(value[count], text.data, text.len);
        value[count][text.len] = '\0';
        pairs[2 * count] = varve_slice_str(config_row(option)->name);
        pairs[2 * count + 1] = varve_slice(value[count], text.len);
    }
    if (count > 0 && config_set_pairs(config, pairs, count, NULL, NULL, &err) != 0)
        CHECK(err.text[0] != '\0' && same(config, before));
    for (size_t i = 0; i < count; i++) {
        err.text[0] = '\0';
        CHECK(config_set(config, (const char *)pairs[2 * i].data, value[i], &err) == 0 ||
              err.text[0] != '\0');
    }
    check_written(config);
    config_destroy(config);
    config_destroy(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    uint8_t what = take_byte(&take);
    uint64_t used = mem_used_bytes();

    fuzz_bound_allocations((size_t)256 * 1024);
    if (what & 1) {
        run_values(&take);
    } else {
        struct varve_slice text = take_slice(&take, TEXT_MAX_BYTES);
        if (!has_include(text))
            run_file(text);
    }
    fuzz_bound_allocations(0);
    CHECK(mem_used_bytes() == used);
    return 0;
}
