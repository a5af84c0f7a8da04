/* cmd_command.c - COMMAND and its subcommands: the table, as clients want to see it. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/glob.h"
#include "cmd/arguments.h"
#include "cmd/ctx.h"
#include "cmd/table.h"

/* ---- words in a column ---- */

/* Takes the next word of a text; returns its length, 0 at the end, or at a ';' or '|'. */
static size_t next_word(const char **at, const char **word)
{
    *word = *at + strspn(*at, " ");
    size_t len = strcspn(*word, " ;|");
    *at = *word + len;
    return len;
}

static uint64_t count_words(const char *text)
{
    const char *word;
    uint64_t count = 0;

    while (next_word(&text, &word) > 0)
        count++;
    return count;
}

/* ---- COMMAND INFO ---- */

typedef const char *(*bit_name_fn)(int i, uint32_t *bit);

/* The set of the names of the bits, each behind a prefix. */
static void reply_bits(struct cmd_ctx *ctx, uint32_t bits, bit_name_fn name_of, const char *prefix)
{
    char text[32];
    uint32_t bit;
    const char *name;
    uint64_t count = 0;

    for (int i = 0; name_of(i, &bit) != NULL; i++)
        count += (bits & bit) != 0;
    resp_set(ctx->out, count);
    for (int i = 0; (name = name_of(i, &bit)) != NULL; i++) {
        if (!(bits & bit))
            continue;
        snprintf(text, sizeof(text), "%s%s", prefix, name);
        resp_simple(ctx->out, text);
    }
}

static void reply_words(struct cmd_ctx *ctx, const char *text,
                        void (*reply)(struct resp_writer *w, const char *text))
{
    char copy[64];
    const char *word;
    size_t len;

    resp_set(ctx->out, count_words(text));
    while ((len = next_word(&text, &word)) > 0) {
        cmd_arg_text(varve_slice(word, len), copy, sizeof(copy));
        reply(ctx->out, copy);
    }
}

static void reply_index(struct cmd_ctx *ctx, int index)
{
    resp_bulk_str(ctx->out, "begin_search");
    resp_map(ctx->out, 2);
    resp_bulk_str(ctx->out, "type");
    resp_bulk_str(ctx->out, "index");
    resp_bulk_str(ctx->out, "spec");
    resp_map(ctx->out, 1);
    resp_bulk_str(ctx->out, "index");
    resp_integer(ctx->out, index);
}

static void reply_key_spec(struct cmd_ctx *ctx, const struct command_keys *keys)
{
    size_t len = strcspn(keys->flags, "|");
    const char *note = memchr(keys->flags, ';', len);

    resp_map(ctx->out, note != NULL ? 4 : 3);
    if (note != NULL) {
        resp_bulk_str(ctx->out, "notes");
        note += 1 + strspn(note + 1, " ");
        resp_bulk(ctx->out, varve_slice(note, (size_t)(keys->flags + len - note)));
    }
    resp_bulk_str(ctx->out, "flags");
    reply_words(ctx, keys->flags, resp_simple);
    reply_index(ctx, keys->first);
    resp_bulk_str(ctx->out, "find_keys");
    resp_map(ctx->out, 2);
    resp_bulk_str(ctx->out, "type");
    resp_bulk_str(ctx->out, "range");
    resp_bulk_str(ctx->out, "spec");
    resp_map(ctx->out, 3);
    resp_bulk_str(ctx->out, "lastkey");
    resp_integer(ctx->out, keys->last);
    resp_bulk_str(ctx->out, "keystep");
    resp_integer(ctx->out, keys->step);
    resp_bulk_str(ctx->out, "limit");
    resp_integer(ctx->out, 0);
}

static void reply_key_specs(struct cmd_ctx *ctx, const struct command *command)
{
    struct command_keys keys;
    int count = 0;

    while (command_key_spec(command, count, &keys))
        count++;
    resp_set(ctx->out, (uint64_t)count);
    for (int i = 0; command_key_spec(command, i, &keys); i++)
        reply_key_spec(ctx, &keys);
}

/* Subcommands are the rows that follow: one level, so this calls itself once. */
static void reply_info(struct cmd_ctx *ctx, const struct command *command)
{
    struct command_keys keys;

    command_get_keys(command, &keys);
    resp_array(ctx->out, 10);
    resp_bulk_str(ctx->out, command->full_name);
    resp_integer(ctx->out, command->arity);
    reply_bits(ctx, command->flags, command_flag_name, "");
    resp_integer(ctx->out, keys.first);
    resp_integer(ctx->out, keys.last < 0 ? keys.last : keys.first + keys.last);
    resp_integer(ctx->out, keys.step);
    reply_bits(ctx, command->acl, command_acl_name, "@");
    reply_words(ctx, command->tips, resp_bulk_str);
    reply_key_specs(ctx, command);
    if (command->child_count == 0)
        resp_set(ctx->out, 0);
    else
        resp_array(ctx->out, (uint64_t)command->child_count);
    for (int i = 1; i <= command->child_count; i++)
        reply_info(ctx, command + i);
}

static int top_level_count(void)
{
    int count = 0;

    for (int i = 0; i < command_count(); i++)
        count += command_at(i)->parent == NULL;
    return count;
}

static void reply_all(struct cmd_ctx *ctx)
{
    resp_array(ctx->out, (uint64_t)top_level_count());
    for (int i = 0; i < command_count(); i++)
        if (command_at(i)->parent == NULL)
            reply_info(ctx, command_at(i));
}

void cmd_command(struct cmd_ctx *ctx)
{
    reply_all(ctx);
}

void cmd_command_info(struct cmd_ctx *ctx)
{
    if (ctx->argc == 2) {
        reply_all(ctx);
        return;
    }
    resp_array(ctx->out, (uint64_t)(ctx->argc - 2));
    for (int i = 2; i < ctx->argc; i++) {
        const struct command *command = command_find_full(ctx->argv[i]);
        if (command == NULL)
            resp_null(ctx->out);
        else
            reply_info(ctx, command);
    }
}

void cmd_command_count(struct cmd_ctx *ctx)
{
    resp_integer(ctx->out, top_level_count());
}

/* ---- COMMAND DOCS ---- */

static void reply_argument_name(struct cmd_ctx *ctx, const struct argument *arg)
{
    uint8_t lower[64];
    size_t len = arg->name.len < sizeof(lower) ? arg->name.len : sizeof(lower);

    for (size_t i = 0; i < len; i++)
        lower[i] = (uint8_t)tolower(arg->name.data[i]);
    resp_bulk(ctx->out, varve_slice(lower, len));
}

static void reply_arguments(struct cmd_ctx *ctx, const struct arguments *arguments, int first,
                            int count);

static void reply_argument(struct cmd_ctx *ctx, const struct arguments *arguments,
                           const struct argument *arg)
{
    int is_key = varve_slice_equal(arg->type, varve_slice_str("key"));

    resp_map(ctx->out, 2 + (uint64_t)is_key + (arg->token.len > 0) + (arg->since.len > 0) +
                           (arg->flags != 0) + (arg->child_count > 0));
    resp_bulk_str(ctx->out, "name");
    reply_argument_name(ctx, arg);
    resp_bulk_str(ctx->out, "type");
    resp_bulk(ctx->out, arg->type);
    if (is_key) {
        resp_bulk_str(ctx->out, "key_spec_index");
        resp_integer(ctx->out, arg->key_spec);
    }
    if (arg->token.len > 0) {
        resp_bulk_str(ctx->out, "token");
        resp_bulk(ctx->out, arg->token);
    }
    if (arg->since.len > 0) {
        resp_bulk_str(ctx->out, "since");
        resp_bulk(ctx->out, arg->since);
    }
    if (arg->flags != 0) {
        resp_bulk_str(ctx->out, "flags");
        resp_set(ctx->out, (uint64_t)((arg->flags & ARGUMENT_OPTIONAL) != 0) +
                               ((arg->flags & ARGUMENT_MULTIPLE) != 0) +
                               ((arg->flags & ARGUMENT_MULTIPLE_TOKEN) != 0));
        if (arg->flags & ARGUMENT_OPTIONAL)
            resp_simple(ctx->out, "optional");
        if (arg->flags & ARGUMENT_MULTIPLE)
            resp_simple(ctx->out, "multiple");
        if (arg->flags & ARGUMENT_MULTIPLE_TOKEN)
            resp_simple(ctx->out, "multiple_token");
    }
    if (arg->child_count > 0) {
        resp_bulk_str(ctx->out, "arguments");
        reply_arguments(ctx, arguments, arg->first_child, arg->child_count);
    }
}

static void reply_arguments(struct cmd_ctx *ctx, const struct arguments *arguments, int first,
                            int count)
{
    resp_array(ctx->out, (uint64_t)count);
    for (int i = first; i != -1; i = arguments->all[i].next)
        reply_argument(ctx, arguments, &arguments->all[i]);
}

/* "VERSION:text|VERSION:text" as pairs. */
static void reply_history(struct cmd_ctx *ctx, const char *history)
{
    uint64_t count = 1;

    for (const char *at = history; *at != '\0'; at++)
        count += *at == '|';
    resp_set(ctx->out, count);
    while (count-- > 0) {
        size_t version_len = strcspn(history, ":");
        size_t text_len = strcspn(history + version_len + 1, "|");
        resp_array(ctx->out, 2);
        resp_bulk(ctx->out, varve_slice(history, version_len));
        resp_bulk(ctx->out, varve_slice(history + version_len + 1, text_len));
        history += version_len + 1 + text_len + (count > 0);
    }
}

static void reply_field(struct cmd_ctx *ctx, const char *name, const char *text)
{
    resp_bulk_str(ctx->out, name);
    resp_bulk_str(ctx->out, text);
}

/* "1.0.0", or "1.0.0 6.2.0 what to use instead". */
static void reply_deprecated(struct cmd_ctx *ctx, const char *since)
{
    const char *until = since + strcspn(since, " ") + 1;
    size_t len = strcspn(until, " ");

    resp_bulk_str(ctx->out, "doc_flags");
    resp_set(ctx->out, 1);
    resp_simple(ctx->out, "deprecated");
    resp_bulk_str(ctx->out, "deprecated_since");
    resp_bulk(ctx->out, varve_slice(until, len));
    reply_field(ctx, "replaced_by", until + len + 1);
}

/* One pair of the map: the name, and what there is to say. One level of subcommands. */
static void reply_docs(struct cmd_ctx *ctx, const struct command *command)
{
    struct arguments arguments;
    size_t since_len = strcspn(command->since, " ");
    int deprecated = command->since[since_len] != '\0';

    CHECK(arguments_parse(command->arguments, &arguments) == 0);
    resp_bulk_str(ctx->out, command->full_name);
    resp_map(ctx->out, 3 + (uint64_t)(command->complexity[0] != '\0') +
                           (command->history[0] != '\0') + (arguments.count > 0) +
                           (command->child_count > 0) + (deprecated ? 3 : 0));
    reply_field(ctx, "summary", command->summary);
    resp_bulk_str(ctx->out, "since");
    resp_bulk(ctx->out, varve_slice(command->since, since_len));
    reply_field(ctx, "group", command->group);
    if (command->complexity[0] != '\0')
        reply_field(ctx, "complexity", command->complexity);
    if (deprecated)
        reply_deprecated(ctx, command->since);
    if (command->history[0] != '\0') {
        resp_bulk_str(ctx->out, "history");
        reply_history(ctx, command->history);
    }
    if (arguments.count > 0) {
        resp_bulk_str(ctx->out, "arguments");
        reply_arguments(ctx, &arguments, 0, arguments.count);
    }
    if (command->child_count > 0) {
        resp_bulk_str(ctx->out, "subcommands");
        resp_map(ctx->out, (uint64_t)command->child_count);
        for (int i = 1; i <= command->child_count; i++)
            reply_docs(ctx, command + i);
    }
}

void cmd_command_docs(struct cmd_ctx *ctx)
{
    uint64_t found = 0;

    if (ctx->argc == 2) {
        resp_map(ctx->out, (uint64_t)top_level_count());
        for (int i = 0; i < command_count(); i++)
            if (command_at(i)->parent == NULL)
                reply_docs(ctx, command_at(i));
        return;
    }
    for (int i = 2; i < ctx->argc; i++)
        found += command_find_full(ctx->argv[i]) != NULL;
    resp_map(ctx->out, found);
    for (int i = 2; i < ctx->argc; i++) {
        const struct command *command = command_find_full(ctx->argv[i]);
        if (command != NULL)
            reply_docs(ctx, command);
    }
}

/* ---- COMMAND LIST ---- */

enum list_filter { LIST_ALL, LIST_MODULE, LIST_ACLCAT, LIST_PATTERN };

static int list_shows(enum list_filter filter, struct varve_slice value, uint32_t acl,
                      const struct command *command)
{
    switch (filter) {
    case LIST_ALL: return 1;
    case LIST_MODULE: return 0; /* there are no modules */
    case LIST_ACLCAT: return (command->acl & acl) != 0;
    case LIST_PATTERN: return glob_match(value, varve_slice_str(command->full_name), GLOB_NOCASE);
    }
    return 0;
}

static int list_parse(struct cmd_ctx *ctx, enum list_filter *filter)
{
    static const char *const words[] = {"module", "aclcat", "pattern"};

    *filter = LIST_ALL;
    if (ctx->argc == 2)
        return 1;
    if (ctx->argc == 5 && cmd_arg_is(ctx->argv[2], "filterby"))
        for (size_t i = 0; i < COUNT_OF(words); i++)
            if (cmd_arg_is(ctx->argv[3], words[i]))
                *filter = (enum list_filter)(LIST_MODULE + i);
    if (*filter == LIST_ALL)
        cmd_reply_syntax_error(ctx);
    return *filter != LIST_ALL;
}

void cmd_command_list(struct cmd_ctx *ctx)
{
    struct varve_slice value = varve_slice(NULL, 0);
    enum list_filter filter;
    uint32_t acl = 0;
    uint32_t bit;
    uint64_t count = 0;
    const char *name;

    if (!list_parse(ctx, &filter))
        return;
    if (filter != LIST_ALL)
        value = ctx->argv[4];
    for (int i = 0; (name = command_acl_name(i, &bit)) != NULL; i++)
        if (cmd_arg_is(value, name))
            acl = bit;
    for (int i = 0; i < command_count(); i++)
        count += (uint64_t)list_shows(filter, value, acl, command_at(i));
    resp_array(ctx->out, count);
    for (int i = 0; i < command_count(); i++)
        if (list_shows(filter, value, acl, command_at(i)))
            resp_bulk_str(ctx->out, command_at(i)->full_name);
}

/* ---- COMMAND GETKEYS and GETKEYSANDFLAGS ---- */

/* The command that follows the subcommand's name, or NULL after the error reply. */
static const struct command *find_keyed(struct cmd_ctx *ctx)
{
    int argc = ctx->argc - 2;
    const struct varve_slice *argv = ctx->argv + 2;
    const struct command *command = command_find(NULL, argv[0]);
    struct command_keys keys;

    if (command != NULL && command->child_count > 0)
        command = command_find(command, argv[1]);
    if (command == NULL) {
        resp_error(ctx->out, "ERR Invalid command specified");
        return NULL;
    }
    command_get_keys(command, &keys);
    if (keys.first == 0) {
        resp_error(ctx->out, "ERR The command has no key arguments");
        return NULL;
    }
    if (!command_arity_fits(command, argc)) {
        resp_error(ctx->out, "ERR Invalid number of arguments specified for command");
        return NULL;
    }
    return command;
}

static int count_keys(const struct command_keys *keys, int argc)
{
    int last = keys->last < 0 ? argc + keys->last : keys->first + keys->last;

    return (last - keys->first) / keys->step + 1;
}

void cmd_command_getkeys(struct cmd_ctx *ctx)
{
    const struct command *command = find_keyed(ctx);
    const struct varve_slice *argv = ctx->argv + 2;
    struct command_keys keys;

    if (command == NULL)
        return;
    command_get_keys(command, &keys);
    int count = count_keys(&keys, ctx->argc - 2);
    resp_array(ctx->out, (uint64_t)count);
    for (int i = 0; i < count; i++)
        resp_bulk(ctx->out, argv[keys.first + i * keys.step]);
}

/* A BITFIELD that only gets; words that are none of its steps may write for all that is known. */
static int bitfield_reads(int argc, const struct varve_slice *argv)
{
    for (int i = 2; i < argc;) {
        if (cmd_arg_is(argv[i], "get") && argc - i > 2)
            i += 3;
        else if (cmd_arg_is(argv[i], "overflow") && argc - i > 1)
            i += 2;
        else
            return 0;
    }
    return 1;
}

/* The flags of a key spec, but of a command whose words decide over them. */
static const char *flags_of(const struct command *command, const struct command_keys *keys,
                            int argc, const struct varve_slice *argv)
{
    if (command->run == cmd_bitfield)
        return bitfield_reads(argc, argv) ? "RO access" : "RW access update";
    if (command->run != cmd_set)
        return keys->flags;
    for (int i = 3; i < argc; i++)
        if (cmd_arg_is(argv[i], "get"))
            return "RW access update";
    return "OW update";
}

void cmd_command_getkeysandflags(struct cmd_ctx *ctx)
{
    const struct command *command = find_keyed(ctx);
    int argc = ctx->argc - 2;
    const struct varve_slice *argv = ctx->argv + 2;
    struct command_keys keys;
    uint64_t count = 0;

    if (command == NULL)
        return;
    for (int spec = 0; command_key_spec(command, spec, &keys); spec++)
        count += (uint64_t)count_keys(&keys, argc);
    resp_array(ctx->out, count);
    for (int spec = 0; command_key_spec(command, spec, &keys); spec++) {
        const char *flags = flags_of(command, &keys, argc, argv);
        for (int i = 0; i < count_keys(&keys, argc); i++) {
            resp_array(ctx->out, 2);
            resp_bulk(ctx->out, argv[keys.first + i * keys.step]);
            reply_words(ctx, flags, resp_simple);
        }
    }
}

void cmd_command_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    All commands: arity, flags, keys, categories.",
        "COUNT",
        "    How many commands there are.",
        "DOCS [<command-name> ...]",
        "    Summary, arguments and history of the given commands, or of all.",
        "GETKEYS <full-command>",
        "    Which arguments of a command are keys.",
        "GETKEYSANDFLAGS <full-command>",
        "    The same, each with what the command does with it.",
        "INFO [<command-name> ...]",
        "    The entries of the given commands, or of all.",
        "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
        "    The names of the commands.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
