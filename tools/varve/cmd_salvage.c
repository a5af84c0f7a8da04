/* varve salvage: what can be proven of a damaged directory, into a new one. */
#include <inttypes.h>
#include <stdio.h>

#include "args.h"
#include "base/check.h"
#include "commands.h"
#include "json.h"
#include "output.h"
#include "salvage.h"
#include "types/keycode.h"

/* A bound between engine keys as a server's user may know it. */
struct bound {
    unsigned db;
    char hash[2 * NAME_HASH_BYTES +
              1]; /* where in the order of names, in hex; fewer digits in a short bound */
    struct varve_slice name; /* where among those of that hash; need be no name */
};

/* 0: it lies outside of the databases. */
static int bound_of(const struct salvage_spaces *spaces, struct varve_slice key,
                    struct bound *bound)
{
    size_t len = spaces->is_plain ? 0 : databases_prefix(&spaces->databases, key, &bound->db);
    size_t hash_len = key.len - len < NAME_HASH_BYTES ? key.len - len : NAME_HASH_BYTES;

    if (len == 0)
        return 0;
    bound->hash[0] = '\0';
    for (size_t i = 0; i < hash_len; i++)
        snprintf(bound->hash + 2 * i, 3, "%02x", key.data[len + i]);
    bound->name = varve_slice(key.data + len + hash_len, key.len - len - hash_len);
    return 1;
}

static void show_key(const struct salvage_spaces *spaces, struct varve_slice key)
{
    struct bound bound;

    if (bound_of(spaces, key, &bound)) {
        if (bound.hash[0] == '\0') {
            printf("the first of database %u", bound.db);
            return;
        }
        printf("%u hash %s ", bound.db, bound.hash);
        output_bytes(stdout, bound.name, OUTPUT_SHORT_BYTES);
        return;
    }
    fputs("engine key ", stdout);
    output_bytes(stdout, key, OUTPUT_SHORT_BYTES);
}

static void show_scope(const struct salvage_spaces *spaces, const struct loss *loss)
{
    switch (loss->scope) {
    case LOSS_NONE: puts("    no data are lost by it"); return;
    case LOSS_BACK: puts("    deleted or overwritten data may be back"); return;
    case LOSS_ANY: fputs("    any key may be missing, or older than it was", stdout); break;
    case LOSS_RANGE:
        fputs("    keys from ", stdout);
        if (loss->lower.len == 0)
            fputs("the first one", stdout);
        else
            show_key(spaces, loss->lower);
        fputs(" to before ", stdout);
        if (loss->upper.len == 0)
            fputs("the end", stdout);
        else
            show_key(spaces, loss->upper);
        fputs(" may be missing, or older than they were", stdout);
        break;
    }
    if (loss->seq_from != 0 && loss->seq_max == UINT64_MAX)
        printf(": operations from sequence %" PRIu64 " on", loss->seq_from);
    else if (loss->seq_from != 0)
        printf(": operations %" PRIu64 " to %" PRIu64, loss->seq_from, loss->seq_max);
    putchar('\n');
}

static void show_loss(const struct salvage_spaces *spaces, const struct loss *loss)
{
    printf("%s %s", loss->scope == LOSS_NONE ? "damaged" : "lost", loss->file);
    if (loss->offset != 0 || loss->bytes != 0)
        printf(" offset %" PRIu64, loss->offset);
    if (loss->bytes != 0)
        printf(", %" PRIu64 " bytes", loss->bytes);
    printf(": %s\n", loss->what);
    show_scope(spaces, loss);
}

static void show_text(const struct salvage *salvage, const char *new_path)
{
    const struct salvage_report *report = &salvage->report;

    for (size_t i = 0; i < report->count; i++)
        show_loss(&salvage->spaces, &report->losses[i].loss);
    printf("%" PRIu64 " keys (%" PRIu64 " bytes) of %" PRIu64 " segments and %" PRIu64
           " log files copied to %s\n",
           report->keys, report->bytes, report->segments, report->wals, new_path);
    printf("%" PRIu64 " losses; %" PRIu64 " records unreadable; %" PRIu64
           " of the copied keys may be older than they were\n",
           report->lost, report->unreadable, report->doubtful);
}

/* ---- JSON ---- */

static void json_key(struct json *json, const char *member, const struct salvage_spaces *spaces,
                     struct varve_slice key)
{
    struct bound bound;

    json_begin_object(json, member);
    if (bound_of(spaces, key, &bound)) {
        json_number(json, "db", bound.db);
        json_text(json, "hash", bound.hash);
        json_bytes(json, "key", bound.name);
    } else {
        json_bytes(json, "engine_key", key);
    }
    json_end_object(json);
}

static void json_loss(struct json *json, const struct salvage_spaces *spaces,
                      const struct loss *loss)
{
    static const char *const scopes[] = {
        [LOSS_NONE] = "none", [LOSS_RANGE] = "range", [LOSS_ANY] = "any", [LOSS_BACK] = "back"};

    json_begin_object(json, NULL);
    json_text(json, "file", loss->file);
    json_number(json, "offset", loss->offset);
    if (loss->bytes != 0)
        json_number(json, "bytes", loss->bytes);
    json_text(json, "what", loss->what);
    json_text(json, "scope", scopes[loss->scope]);
    if (loss->scope == LOSS_RANGE && loss->lower.len > 0)
        json_key(json, "from", spaces, loss->lower);
    if (loss->scope == LOSS_RANGE && loss->upper.len > 0)
        json_key(json, "before", spaces, loss->upper);
    if (loss->seq_from != 0) {
        json_number(json, "seq_from", loss->seq_from);
        if (loss->seq_max != UINT64_MAX)
            json_number(json, "seq_to", loss->seq_max);
    }
    json_end_object(json);
}

static void show_json(const struct salvage *salvage)
{
    const struct salvage_report *report = &salvage->report;
    struct json json;

    json_init(&json, stdout);
    json_begin_object(&json, NULL);
    json_begin_array(&json, "losses");
    for (size_t i = 0; i < report->count; i++)
        json_loss(&json, &salvage->spaces, &report->losses[i].loss);
    json_end_array(&json);
    json_number(&json, "lost", report->lost);
    json_number(&json, "keys", report->keys);
    json_number(&json, "bytes", report->bytes);
    json_number(&json, "segments", report->segments);
    json_number(&json, "log_files", report->wals);
    json_number(&json, "log_operations", report->log_operations);
    json_number(&json, "unreadable_records", report->unreadable);
    json_number(&json, "doubtful_keys", report->doubtful);
    json_end_object(&json);
}

/* ---- the command ---- */

static int run(const char *old_path, const char *new_path, int as_json)
{
    struct varve_err err = {0};
    struct salvage salvage;
    int code;

    salvage_init(&salvage);
    if (salvage_run(&salvage, old_path, new_path, &err) != 0) {
        (void)output_fail("salvage", &err);
        code = TOOL_FAILED;
    } else {
        if (as_json)
            show_json(&salvage);
        else
            show_text(&salvage, new_path);
        code = salvage.report.lost == 0 ? TOOL_OK : TOOL_FINDINGS;
    }
    salvage_deinit(&salvage);
    return code;
}

int command_salvage(int argc, char **argv)
{
    int as_json = 0;
    const struct arg_option options[] = {
        {"--json", NULL, "one JSON document", &as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "salvage",
        .operands = "OLD NEW",
        .operand_count = 2,
        .text =
            "Copies what can be proven of a damaged data directory into a new one: records "
            "whose CRCs\n"
            "are right, of each key the newest, unless it was deleted. OLD is only read. NEW "
            "must not be\n"
            "there, or be empty; on an error it is not whole. What is lost is listed: file, "
            "offset, what\n"
            "is wrong, which keys may be concerned. A key whose newest record is lost is copied "
            "as it was\n"
            "before, if that is there, and counted. Without a manifest every file is taken, and "
            "what was\n"
            "deleted may come back. The log's operations have to fit into memory. Exit code 0 "
            "only if\n"
            "nothing was lost.\n",
        .examples = "  varve salvage ./data ./rescued && varved --dir ./rescued\n"
                    "  varve salvage --json ./data ./rescued | jq '.losses[]'\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX] = {NULL};
    int code = args_parse(&spec, argc, argv, operands);

    return code != -1 ? code : run(operands[0], operands[1], as_json);
}
