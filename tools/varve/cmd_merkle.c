/* varve merkle: a hash of the live data of a directory, and where those of two differ. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/check.h"
#include "commands.h"
#include "content.h"
#include "json.h"
#include "leaves.h"
#include "output.h"

struct side {
    const char *path;
    struct data_dir dir;
    struct content content;
    struct leaves leaves;
    uint8_t root[MERKLE_HASH_BYTES];
};

struct command {
    int show_leaves;
    int as_json;
    int raw;
    const char *now_text;
    uint64_t now_ms;
    struct side sides[2];
    int count;
    struct json json;
    struct progress progress;
};

static int side_open(struct side *side, struct varve_err *err)
{
    int rc = dir_open_manifest(side->path, &side->dir, err);

    if (rc == 0)
        rc = content_open(&side->dir, &side->content, err);
    return rc;
}

/* The largest time that the directory knows of; ours is not asked, so that the hash of a directory that
 * rests does not change. */
static uint64_t side_clock(const struct side *side)
{
    uint64_t logged_ms = side->content.log.clock_ms;
    uint64_t named_ms = manifest_state(side->dir.manifest)->clock_ms;

    return logged_ms > named_ms ? logged_ms : named_ms;
}

static int side_read(struct command *command, struct side *side, struct varve_err *err)
{
    side->content.now_ms = command->now_ms;
    int rc = leaves_read(&side->leaves, &side->content, command->raw, &command->progress, err);
    if (rc == 0)
        rc = merkle_tree_root(&side->leaves.tree, side->root);
    return rc;
}

/* ---- what is said ---- */

static void show_key_range(FILE *to, uint32_t database, struct varve_slice first,
                           struct varve_slice last)
{
    fprintf(to, "%" PRIu32 " ", database);
    output_bytes(to, first, OUTPUT_SHORT_BYTES);
    fputs(" .. ", to);
    output_bytes(to, last, OUTPUT_SHORT_BYTES);
}

static void json_key_range(struct json *json, uint32_t database, struct varve_slice first,
                           struct varve_slice last)
{
    json_number(json, "db", database);
    json_bytes(json, "first", first);
    json_bytes(json, "last", last);
}

static void show_leaves(struct command *command, const struct leaves *leaves)
{
    char hash[2 * MERKLE_HASH_BYTES + 1];

    if (command->as_json)
        json_begin_array(&command->json, "leaf_list");
    for (size_t i = 0; i < leaves->count; i++) {
        const struct leaf_note *note = &leaves->notes[i];
        merkle_hex(note->hash, hash);
        if (command->as_json) {
            json_begin_object(&command->json, NULL);
            json_key_range(&command->json, note->database, leaf_first(leaves, i),
                           leaf_last(leaves, i));
            json_number(&command->json, "keys", note->count);
            json_text(&command->json, "hash", hash);
            json_end_object(&command->json);
            continue;
        }
        printf("leaf %s %" PRIu32 " keys, ", hash, note->count);
        show_key_range(stdout, note->database, leaf_first(leaves, i), leaf_last(leaves, i));
        putchar('\n');
    }
    if (command->as_json)
        json_end_array(&command->json);
}

static void show_side(struct command *command, const struct side *side)
{
    const struct merkle_tree *tree = &side->leaves.tree;
    char root[2 * MERKLE_HASH_BYTES + 1];

    merkle_hex(side->root, root);
    if (command->as_json) {
        json_begin_object(&command->json, NULL);
        json_text(&command->json, "dir", side->path);
        json_text(&command->json, "root", root);
        json_number(&command->json, "leaves", tree->leaves);
        json_number(&command->json, "keys", tree->keys);
        json_number(&command->json, "seq", side->content.seq);
    } else {
        printf("root %s %" PRIu64 " leaves, %" PRIu64 " keys, now %" PRIu64 ", %s\n", root,
               tree->leaves, tree->keys, command->now_ms, side->path);
    }
    if (command->show_leaves)
        show_leaves(command, &side->leaves);
    if (command->as_json)
        json_end_object(&command->json);
}

static void show_difference(struct command *command, const struct leaves_difference *found)
{
    if (command->as_json) {
        json_begin_object(&command->json, NULL);
        json_key_range(&command->json, found->database, found->first, found->last);
        json_number(&command->json, "keys_first", found->keys[0]);
        json_number(&command->json, "keys_second", found->keys[1]);
        json_end_object(&command->json);
        return;
    }
    fputs("differ ", stdout);
    show_key_range(stdout, found->database, found->first, found->last);
    printf(", %" PRIu64 " and %" PRIu64 " keys\n", found->keys[0], found->keys[1]);
}

/* Returns how many stretches differ. */
static uint64_t show_differences(struct command *command)
{
    const struct leaves *const sides[2] = {&command->sides[0].leaves, &command->sides[1].leaves};
    struct leaves_place place = {{0, 0}};
    struct leaves_difference found;
    uint64_t count = 0;

    if (command->as_json)
        json_begin_array(&command->json, "differences");
    for (; leaves_next_difference(sides, &place, &found); count++)
        show_difference(command, &found);
    if (command->as_json)
        json_end_array(&command->json);
    return count;
}

static int show_all(struct command *command)
{
    int is_equal = memcmp(command->sides[0].root, command->sides[1].root, MERKLE_HASH_BYTES) == 0;
    uint64_t differences = 0;

    json_init(&command->json, stdout);
    if (command->as_json) {
        json_begin_object(&command->json, NULL);
        json_number(&command->json, "now_ms", command->now_ms);
        json_begin_array(&command->json, "dirs");
    }
    for (int i = 0; i < command->count; i++)
        show_side(command, &command->sides[i]);
    if (command->as_json)
        json_end_array(&command->json);
    if (command->count == 2)
        differences = show_differences(command);
    if (command->as_json) {
        if (command->count == 2)
            json_bool(&command->json, "equal", is_equal);
        json_end_object(&command->json);
    } else if (command->count == 2 && is_equal) {
        printf("equal\n");
    } else if (command->count == 2) {
        printf("not equal: %" PRIu64 " stretches differ\n", differences);
    }
    return command->count == 2 && !is_equal ? TOOL_FINDINGS : TOOL_OK;
}

/* ---- the command ---- */

static int read_sides(struct command *command, struct varve_err *err)
{
    uint64_t clock_ms = 0;
    int rc = 0;

    for (int i = 0; rc == 0 && i < command->count; i++) {
        rc = side_open(&command->sides[i], err);
        if (rc == 0 && side_clock(&command->sides[i]) > clock_ms)
            clock_ms = side_clock(&command->sides[i]);
    }
    if (command->now_text == NULL)
        command->now_ms = clock_ms;
    progress_begin(&command->progress, 0);
    for (int i = 0; rc == 0 && i < command->count; i++)
        rc = side_read(command, &command->sides[i], err);
    progress_end(&command->progress);
    return rc;
}

static int take_now(struct command *command)
{
    char *end = NULL;

    if (command->now_text == NULL)
        return 0;
    errno = 0;
    command->now_ms = strtoull(command->now_text, &end, 10);
    if (errno == 0 && end != command->now_text && *end == '\0' && command->now_text[0] != '-')
        return 0;
    fprintf(stderr, "varve merkle: --now: milliseconds since 1970\n");
    return -1;
}

static int run(struct command *command)
{
    struct varve_err err = {0};

    for (int i = 0; i < command->count; i++) {
        command->sides[i].dir.lock_fd = -1;
        leaves_init(&command->sides[i].leaves);
    }
    int rc = read_sides(command, &err);
    int code = TOOL_FAILED; /* whatever the reason: findings are differences */
    if (rc == 0)
        code = show_all(command);
    else
        (void)output_fail("merkle", &err);
    for (int i = 0; i < command->count; i++) {
        leaves_deinit(&command->sides[i].leaves);
        content_close(&command->sides[i].content);
        dir_close(&command->sides[i].dir);
    }
    return code;
}

int command_merkle(int argc, char **argv)
{
    struct command command = {.count = 0};
    const struct arg_option options[] = {
        {"--leaves", NULL, "each leaf: its hash, its records, its first and last key",
         &command.show_leaves, NULL},
        {"--now", "MS", "what expired by then is absent (default: the larger clock of both)", NULL,
         &command.now_text},
        {"--raw", NULL, "the engine's keys as they are, for directories that are no server's",
         &command.raw, NULL},
        {"--json", NULL, "one JSON document", &command.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "merkle",
        .operands = "DIR [DIR]",
        .operand_count = 1,
        .operand_more = 1,
        .text = "Prints a hash (SHA-256, a tree) of a directory's live data: databases, keys, "
                "values and\n"
                "expiries. It does not depend on how they are stored: the same data have the same "
                "root before\n"
                "and after a compaction, a restart, in a copy, in a server with other settings.\n"
                "Of two directories it says where they differ: stretches of a few hundred keys, "
                "each with\n"
                "its first and last key and how many keys either has in it. Exit code 1 if they "
                "differ.\n",
        .examples = "  varve merkle ./data\n"
                    "  varve merkle ./data ./restored\n"
                    "  varve merkle --leaves --json ./data > leaves.json\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX] = {NULL};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    if (take_now(&command) != 0)
        return TOOL_USAGE;
    for (command.count = 0; command.count < 2 && operands[command.count] != NULL; command.count++)
        command.sides[command.count].path = operands[command.count];
    return run(&command);
}
