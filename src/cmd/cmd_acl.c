/* cmd_acl.c - ACL: there is one user, "default", who may do everything; his password is requirepass. What
 * would make or change users is refused. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/sha256.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "config/config.h"

#define USER "default"
#define HASH_CHARS (2 * SHA256_BYTES)
#define GENPASS_BITS 256
#define GENPASS_BITS_MAX 4096

static void to_hex(const uint8_t *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++) {
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *out = '\0';
}

/* Returns 0 if there is no password. */
static int password_hash(const struct cmd_ctx *ctx, char hash[HASH_CHARS + 1])
{
    const char *password = config_str(ctx->config, OPT_REQUIREPASS);
    uint8_t digest[SHA256_BYTES];

    if (password[0] == '\0')
        return 0;
    sha256(password, strlen(password), digest);
    to_hex(digest, sizeof(digest), hash);
    return 1;
}

static int is_user(struct varve_slice name)
{
    return varve_slice_equal(name, varve_slice_str(USER));
}

void cmd_acl_whoami(struct cmd_ctx *ctx)
{
    resp_bulk_str(ctx->out, USER);
}

void cmd_acl_users(struct cmd_ctx *ctx)
{
    resp_array(ctx->out, 1);
    resp_bulk_str(ctx->out, USER);
}

void cmd_acl_list(struct cmd_ctx *ctx)
{
    char hash[HASH_CHARS + 1] = "";
    int has_password = password_hash(ctx, hash);

    resp_array(ctx->out, 1);
    resp_bulk_fmt(ctx->out, "user " USER " on %s%s ~* &* +@all", has_password ? "#" : "nopass",
                  hash);
}

void cmd_acl_getuser(struct cmd_ctx *ctx)
{
    static const char *const rules[][2] = {
        {"commands", "+@all"}, {"keys", "~*"}, {"channels", "&*"}};
    char hash[HASH_CHARS + 1];
    int has_password = password_hash(ctx, hash);

    if (!is_user(ctx->argv[2])) {
        resp_null(ctx->out);
        return;
    }
    resp_map(ctx->out, 6);
    resp_bulk_str(ctx->out, "flags");
    resp_set(ctx->out, has_password ? 1 : 2);
    resp_bulk_str(ctx->out, "on");
    if (!has_password)
        resp_bulk_str(ctx->out, "nopass");
    resp_bulk_str(ctx->out, "passwords");
    resp_array(ctx->out, has_password ? 1 : 0);
    if (has_password)
        resp_bulk_str(ctx->out, hash);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        resp_bulk_str(ctx->out, rules[i][0]);
        resp_bulk_str(ctx->out, rules[i][1]);
    }
    resp_bulk_str(ctx->out, "selectors");
    resp_array(ctx->out, 0);
}

/* ---- categories ---- */

static void reply_categories(struct cmd_ctx *ctx)
{
    uint32_t bit;
    int count = 0;

    while (command_acl_name(count, &bit) != NULL)
        count++;
    resp_array(ctx->out, (uint64_t)count);
    for (int i = 0; i < count; i++)
        resp_bulk_str(ctx->out, command_acl_name(i, &bit));
}

void cmd_acl_cat(struct cmd_ctx *ctx)
{
    const char *name;
    char text[129];
    uint32_t bit = 0;
    uint64_t count = 0;
    int i = 0;

    if (ctx->argc > 3) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 2) {
        reply_categories(ctx);
        return;
    }
    while ((name = command_acl_name(i, &bit)) != NULL && !cmd_arg_is(ctx->argv[2], name))
        i++;
    if (name == NULL) {
        resp_error(ctx->out, "ERR Unknown category '%s'",
                   cmd_arg_text(ctx->argv[2], text, sizeof(text)));
        return;
    }
    for (int c = 0; c < command_count(); c++)
        count += (command_at(c)->acl & bit) != 0;
    resp_array(ctx->out, count);
    for (int c = 0; c < command_count(); c++)
        if (command_at(c)->acl & bit)
            resp_bulk_str(ctx->out, command_at(c)->full_name);
}

/* ---- what would need more users ---- */

void cmd_acl_setuser(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR ACL SETUSER is not supported yet: there is one user, " USER
                         ", and requirepass is the password");
}

void cmd_acl_deluser(struct cmd_ctx *ctx)
{
    for (int i = 2; i < ctx->argc; i++) {
        if (is_user(ctx->argv[i])) {
            resp_error(ctx->out, "ERR The 'default' user cannot be removed");
            return;
        }
    }
    resp_integer(ctx->out, 0);
}

void cmd_acl_file(struct cmd_ctx *ctx)
{
    resp_error(
        ctx->out,
        "ERR This Redis instance is not configured to use an ACL file. You may want to "
        "specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming "
        "you have a Redis configuration file set) in order to store users in the Redis "
        "configuration.");
}

void cmd_acl_log(struct cmd_ctx *ctx)
{
    int64_t count;

    if (ctx->argc > 3)
        cmd_reply_wrong_subcommand(ctx);
    else if (ctx->argc == 3 && cmd_arg_is(ctx->argv[2], "reset"))
        resp_ok(ctx->out);
    else if (ctx->argc == 2 || cmd_arg_int64(ctx, 2, &count, NULL))
        resp_array(ctx->out, 0); /* nobody is ever refused for his rights */
}

void cmd_acl_dryrun(struct cmd_ctx *ctx)
{
    struct varve_slice name = ctx->argv[3];
    const struct command *command = command_find(NULL, name);
    char text[256];

    if (!is_user(ctx->argv[2])) {
        resp_error(ctx->out, "ERR User '%s' not found",
                   cmd_arg_text(ctx->argv[2], text, sizeof(text)));
        return;
    }
    if (command != NULL && command->child_count > 0 && ctx->argc > 4)
        command = command_find(command, ctx->argv[4]);
    if (command == NULL)
        resp_error(ctx->out, "ERR Command '%s' not found", cmd_arg_text(name, text, sizeof(text)));
    else if (!command_arity_fits(command, ctx->argc - 3))
        cmd_reply_wrong_arity(ctx, command);
    else
        resp_ok(ctx->out);
}

void cmd_acl_genpass(struct cmd_ctx *ctx)
{
    uint8_t bytes[GENPASS_BITS_MAX / 8];
    char text[GENPASS_BITS_MAX / 4 + 1];
    int64_t bits = GENPASS_BITS;

    if (ctx->argc > 3) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 3 && !cmd_arg_int64(ctx, 2, &bits, NULL))
        return;
    if (bits <= 0 || bits > GENPASS_BITS_MAX) {
        resp_error(ctx->out,
                   "ERR ACL GENPASS argument must be the number of bits for the output password, a "
                   "positive number up to %d",
                   GENPASS_BITS_MAX);
        return;
    }
    size_t chars = (size_t)(bits + 3) / 4;
    size_t wanted = (chars + 1) / 2;
    for (size_t got = 0; got < wanted;) { /* at most 256 bytes come at once, always whole */
        size_t part = wanted - got < 256 ? wanted - got : 256;
        if (getrandom(bytes + got, part, 0) == (ssize_t)part)
            got += part;
    }
    to_hex(bytes, wanted, text);
    resp_bulk(ctx->out, varve_slice(text, chars));
}

void cmd_acl_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "CAT [<category>]",
        "    The categories of commands, or the commands of one.",
        "DELUSER <username> [<username> ...]",
        "    Deletes users; there are none that can be deleted.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Whether a user may run a command.",
        "GENPASS [<bits>]",
        "    A random password in hexadecimal digits, of 256 bits unless another number is given.",
        "GETUSER <username>",
        "    What a user may do.",
        "LIST",
        "    The users, as lines of a configuration file.",
        "LOG [<count> | RESET]",
        "    Who was refused something: nobody.",
        "USERS",
        "    The users' names.",
        "WHOAMI",
        "    The user of this connection.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
