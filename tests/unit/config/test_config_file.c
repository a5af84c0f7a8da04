#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"

/* Each test works in an empty directory of its own, as its current one. */
struct fixture {
    char dir[64];
    struct config *config;
    struct varve_err err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/varve-config-XXXXXX");
    if (mkdtemp(f->dir) == NULL || chdir(f->dir) != 0)
        return -1;
    f->config = config_create();
    *state = f;
    return f->config == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    config_destroy(f->config);
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    int rc = chdir("/") != 0 || system(command) != 0;
    free(f);
    return rc;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static const char *read_file(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    assert_int_equal(fclose(file), 0);
    text[len] = '\0';
    return text;
}

/* What reading this text as c.conf answers. */
static const char *parse(struct fixture *f, const char *text)
{
    write_file("c.conf", text);
    f->err = (struct varve_err){0};
    int rc = config_parse_file(f->config, "c.conf", &f->err);
    assert_int_equal(rc, f->err.code);
    return rc == 0 ? "OK" : f->err.text;
}

static const char *args(struct fixture *f, enum config_action *action, const char *const *words,
                        int count)
{
    char program[] = "varved";
    char *argv[16] = {program};

    for (int i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    f->err = (struct varve_err){0};
    int rc = config_parse_args(f->config, count + 1, argv, action, &f->err);
    assert_int_equal(rc, f->err.code);
    return rc == 0 ? "OK" : f->err.text;
}

#define ARGS(...)                                                                                  \
    args(f, &action, (const char *const[]){__VA_ARGS__},                                           \
         (int)COUNT_OF(((const char *const[]){__VA_ARGS__})))

static void test_file__lines_comments_quotes(void **state)
{
    struct fixture *f = *state;
    char path[128];

    assert_string_equal(parse(f, "# port 1\n"
                                 "\n"
                                 "  PORT 7001\r\n"
                                 "\t# indented\n"
                                 "dir \"/tmp/a b\"\n"
                                 "bind 127.0.0.1 ::1\n"
                                 "requirepass 'x\"y'\n"
                                 "memtable-size 1gb\n"
                                 "save 900 1\n"
                                 "save \"\"\n"
                                 "client-output-buffer-limit normal 1mb 0 0\n"
                                 "client-output-buffer-limit pubsub 1mb 0 0\n"
                                 "timeout 5"),
                        "OK");
    assert_int_equal(config_int(f->config, OPT_PORT), 7001);
    assert_string_equal(config_str(f->config, OPT_DIR), "/tmp/a b");
    assert_string_equal(config_str(f->config, OPT_BIND), "127.0.0.1 ::1");
    assert_string_equal(config_str(f->config, OPT_REQUIREPASS), "x\"y");
    assert_int_equal(config_int(f->config, OPT_MEMTABLE_SIZE), 1 << 30);
    assert_string_equal(config_str(f->config, OPT_SAVE), "");
    assert_int_equal(config_int(f->config, OPT_TIMEOUT), 5);
    struct config_limit normal, pubsub;
    config_limit(f->config, CONFIG_NORMAL, &normal);
    config_limit(f->config, CONFIG_PUBSUB, &pubsub);
    assert_int_equal(normal.hard_bytes, 1 << 20);
    assert_int_equal(pubsub.hard_bytes, 1 << 20);
    snprintf(path, sizeof(path), "%s/c.conf", f->dir);
    assert_string_equal(config_file(f->config), path);
}

static void test_file__errors_name_place_and_option(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(parse(f, "\nport 70000\n"),
                        "c.conf:2: port \"70000\": argument must be between 0 and 65535 inclusive");
    assert_string_equal(parse(f, "prot 7000\n"),
                        "c.conf:1: unknown option 'prot': did you mean 'port'?");
    assert_string_equal(parse(f, "entirely-other-thing 1"),
                        "c.conf:1: unknown option 'entirely-other-thing'");
    assert_string_equal(parse(f, "port"), "c.conf:1: port: a value is missing");
    assert_string_equal(parse(f, "port 1 2"),
                        "c.conf:1: port: it takes one value; quote one with blanks");
    assert_string_equal(parse(f, "dir \"x"), "c.conf:1: unbalanced quotes");
    assert_string_equal(parse(f, "daemonize yes"),
                        "c.conf:1: daemonize \"yes\": argument(s) must be one of the following: "
                        "no");
    assert_string_equal(parse(f, "include"), "c.conf:1: include: a value is missing");
    assert_int_equal(config_parse_file(f->config, "none.conf", &f->err), VARVE_ENOENT);
    assert_string_equal(f->err.text, "none.conf: No such file or directory");
    assert_int_equal(config_parse_file(f->config, ".", &f->err), VARVE_EIO);
}

static void test_file__secrets_are_in_no_error(void **state)
{
    static char longest[66 * 1024] = "requirepass ";
    struct fixture *f = *state;
    enum config_action action;

    memset(longest + strlen(longest), 'x', sizeof(longest) - strlen(longest) - 1);
    assert_string_equal(parse(f, longest), "c.conf:1: requirepass: argument is too long");

    assert_string_equal(parse(f, "requirepass hush hush\n"),
                        "c.conf:1: requirepass: it takes one value; quote one with blanks");
    assert_null(strstr(parse(f, "requirepas hush\n"), "hush"));
    assert_null(strstr(parse(f, "requirepass \"hush\n"), "hush"));
    assert_string_equal(ARGS("--requirepass=hush"),
                        "command line: unknown option 'requirepass=': write 'requirepass VALUE'");
}

static void test_file__too_large_is_refused(void **state)
{
    struct fixture *f = *state;

    write_file("c.conf", "port 1\n");
    assert_int_equal(truncate("c.conf", 2 << 20), 0);
    assert_int_equal(config_parse_file(f->config, "c.conf", &f->err), VARVE_EFULL);
    assert_string_equal(f->err.text, "c.conf: too large");
}

static void test_include__files_and_globs(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir("d", 0700), 0);
    write_file("d/1.conf", "port 1\ntimeout 1\n");
    write_file("d/2.conf", "port 2\n");
    assert_string_equal(parse(f, "include d/*.conf\ninclude none/*.conf\nmaxclients 9\n"), "OK");
    assert_int_equal(config_int(f->config, OPT_PORT), 2);
    assert_int_equal(config_int(f->config, OPT_TIMEOUT), 1);
    assert_int_equal(config_int(f->config, OPT_MAXCLIENTS), 9);
    write_file("d/2.conf", "\n\nport x\n");
    assert_string_equal(parse(f, "include d/2.conf\n"),
                        "c.conf:1: d/2.conf:3: port \"x\": argument couldn't be parsed into an "
                        "integer");
    assert_string_equal(parse(f, "include d/9.conf\n"),
                        "c.conf:1: d/9.conf: No such file or directory");
}

static void test_include__of_itself_ends(void **state)
{
    struct fixture *f = *state;

    assert_non_null(strstr(parse(f, "include c.conf\n"), "nested more than 16 deep"));
}

static void test_args__win_over_the_file(void **state)
{
    struct fixture *f = *state;
    enum config_action action;

    write_file("c.conf", "port 7001\ntimeout 3\n");
    assert_string_equal(ARGS("c.conf", "--port", "7002", "--bind", "127.0.0.1", "-::1", "--save",
                             "", "--dir", "x y"),
                        "OK");
    assert_int_equal(action, CONFIG_RUN);
    assert_int_equal(config_int(f->config, OPT_PORT), 7002);
    assert_int_equal(config_int(f->config, OPT_TIMEOUT), 3);
    assert_string_equal(config_str(f->config, OPT_BIND), "127.0.0.1 -::1");
    assert_string_equal(config_str(f->config, OPT_DIR), "x y");
}

static void test_args__errors(void **state)
{
    struct fixture *f = *state;
    enum config_action action;

    assert_string_equal(ARGS("--port"), "command line: port: a value is missing");
    assert_string_equal(ARGS("--port", "--timeout", "1"), "command line: port: a value is missing");
    assert_string_equal(ARGS("--prot", "1"),
                        "command line: unknown option 'prot': did you mean 'port'?");
    assert_string_equal(ARGS("--port=1"),
                        "command line: unknown option 'port=': write 'port VALUE'");
    assert_string_equal(ARGS("-p", "1"), "command line: '-p' is no option; see --help");
    assert_string_equal(ARGS("--"), "command line: '--' is no option; see --help");
    assert_string_equal(ARGS("none.conf"), "none.conf: No such file or directory");
}

static void test_args__actions(void **state)
{
    struct fixture *f = *state;
    enum config_action action;

    assert_string_equal(ARGS("none.conf", "--help"), "OK");
    assert_int_equal(action, CONFIG_HELP);
    assert_string_equal(ARGS("-v"), "OK");
    assert_int_equal(action, CONFIG_VERSION);
    assert_string_equal(ARGS("--print-config"), "OK");
    assert_int_equal(action, CONFIG_PRINT);
    assert_string_equal(ARGS("--check-config", "--port", "7"), "OK");
    assert_int_equal(action, CONFIG_CHECK);
    assert_int_equal(config_int(f->config, OPT_PORT), 7);
    assert_string_equal(ARGS("--port", "x", "--check-config"),
                        "command line: port \"x\": argument couldn't be parsed into an integer");
}

static void test_args__standard_input(void **state)
{
    struct fixture *f = *state;
    enum config_action action;

    write_file("in", "port 7003\n");
    int kept = dup(STDIN_FILENO);
    FILE *in = freopen("in", "r", stdin);
    assert_non_null(in);
    assert_string_equal(ARGS("-", "--timeout", "4"), "OK");
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
    assert_int_equal(config_int(f->config, OPT_PORT), 7003);
    assert_string_equal(config_file(f->config), "");
    assert_int_equal(config_rewrite(f->config, &f->err), VARVE_EINVAL);
    assert_string_equal(f->err.text, "The server is running without a config file");
}

static void test_ignored__are_logged_by_name(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(parse(f, "save 900 1\nport 7001\nslave-read-only yes\n"), "OK");
    assert_int_equal(log_open("log"), 0);
    config_log_ignored(f->config);
    assert_int_equal(log_open(""), 0);
    assert_non_null(strstr(read_file("log"), " * options ignored here: save, replica-read-only\n"));
}

static void test_ignored__all_of_them_fit_log_lines(void **state)
{
    struct fixture *f = *state;
    const char *text;
    size_t names = 0;

    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        assert_int_equal(config_set(f->config, row->name, row->value, NULL), 0);
        names += (row->flags & CONFIG_IGNORED) != 0;
    }
    assert_int_equal(log_open("log"), 0);
    config_log_ignored(f->config);
    assert_int_equal(log_open(""), 0);
    text = read_file("log");
    for (const char *c = text; *c != '\0'; c++)
        names -= *c == ',' || *c == '\n';
    assert_int_equal(names, 0);
    assert_non_null(strstr(text, "shutdown-on-sigterm, "));
    assert_non_null(strstr(text, "loading-process-events-interval-bytes\n"));
}

/* ---- the printed texts ---- */

static void test_default_file__reads_back_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct varve_slice all = varve_slice_str("*");
    FILE *out = fopen("default.conf", "w");

    config_print_default(out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(config_parse_file(f->config, "default.conf", &f->err), 0);
    assert_true(config_match(f->config, &all, 1, NULL, NULL) > OPT_COUNT);
    struct config *fresh = config_create();
    for (int i = 0; i < OPT_COUNT; i++) {
        assert_int_equal(config_int(f->config, (enum config_option)i),
                         config_int(fresh, (enum config_option)i));
        assert_string_equal(config_str(f->config, (enum config_option)i),
                            config_str(fresh, (enum config_option)i));
    }
    config_destroy(fresh);
}

static void test_help__names_every_option_in_80_columns(void **state)
{
    FILE *out = fopen("help", "w");

    (void)state;
    config_print_help(out);
    assert_int_equal(fclose(out), 0);
    const char *text = read_file("help");
    for (int i = 0; i < OPT_COUNT; i++)
        assert_non_null(strstr(text, config_row((enum config_option)i)->name));
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 84);
}

/* ---- CONFIG REWRITE ---- */

static void test_rename_command__is_kept_by_rewrite(void **state)
{
    static const char text[] = "rename-command CONFIG \"\"\nRename-Command keys list-of-keys\n";
    struct fixture *f = *state;
    const char *from, *to;

    assert_string_equal(parse(f, text), "OK");
    assert_int_equal(config_rename(f->config, 0, &from, &to), 1);
    assert_string_equal(from, "CONFIG");
    assert_string_equal(to, "");
    assert_int_equal(config_rename(f->config, 1, &from, &to), 1);
    assert_string_equal(to, "list-of-keys");
    assert_int_equal(config_rename(f->config, 2, &from, &to), 0);
    assert_int_equal(config_rewrite(f->config, &f->err), 0);
    assert_string_equal(read_file("c.conf"), text);
    assert_string_equal(parse(f, "rename-command a\n"),
                        "c.conf:1: rename-command: it takes two values");
    for (int i = 2; i < 1024; i++)
        assert_string_equal(parse(f, "rename-command a b\n"), "OK");
    assert_string_equal(parse(f, "rename-command a b\n"),
                        "c.conf:1: rename-command: there are more than 1024");
}

static void test_what_is_not_there__is_refused_with_the_reason(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(parse(f, "replicaof no one\nslaveof \"\"\naclfile \"\""), "OK");
    assert_string_equal(parse(f, "replicaof 10.0.0.1 6379"),
                        "c.conf:1: replicaof \"10.0.0.1 6379\": it is not supported here");
    assert_string_equal(parse(f, "aclfile /etc/users.acl"),
                        "c.conf:1: aclfile \"/etc/users.acl\": it is not supported here");
    assert_string_equal(parse(f, "user joe on"),
                        "c.conf:1: user: there is one user, default; requirepass is the password");
    assert_string_equal(parse(f, "loadmodule a.so"), "c.conf:1: loadmodule: there are no modules");
}

static void test_rewrite__keeps_comments_and_order(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(parse(f, "# mine\n"
                                 "port 7001\n"
                                 "  # more\n"
                                 "timeout 3\n"
                                 "memtable-size 1gb\n"
                                 "compression none\n"
                                 "rate-limit 20mb\n"
                                 "timeout 4\n"
                                 "\n"
                                 "save \"\"\n"
                                 "requirepass old"),
                        "OK");
    assert_int_equal(chmod("c.conf", 0640), 0);
    assert_int_equal(config_set(f->config, "timeout", "9", NULL), 0);
    assert_int_equal(config_set(f->config, "requirepass", "a \"b\\", NULL), 0);
    assert_int_equal(config_set(f->config, "maxclients", "77", NULL), 0);
    assert_int_equal(config_rewrite(f->config, &f->err), 0);
    assert_string_equal(read_file("c.conf"), "# mine\n"
                                             "port 7001\n"
                                             "  # more\n"
                                             "timeout 9\n"
                                             "memtable-size 1gb\n"
                                             "compression none\n"
                                             "rate-limit 20mb\n"
                                             "\n"
                                             "save \"\"\n"
                                             "requirepass \"a \\\"b\\\\\"\n"
                                             "# Set by CONFIG REWRITE:\n"
                                             "maxclients 77\n");
    struct stat st;
    assert_int_equal(stat("c.conf", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(access("c.conf.rewrite", F_OK), -1);
}

static void test_rewrite__twice_is_the_same(void **state)
{
    struct fixture *f = *state;
    char once[1024];

    assert_string_equal(parse(f, "client-output-buffer-limit normal 1mb 0 0\nbind ::1 *\n"), "OK");
    assert_int_equal(config_set(f->config, "client-output-buffer-limit", "pubsub 5 5 5", NULL), 0);
    assert_int_equal(config_set(f->config, "save", "900 1", NULL), 0);
    assert_int_equal(config_rewrite(f->config, &f->err), 0);
    snprintf(once, sizeof(once), "%s", read_file("c.conf"));
    assert_int_equal(config_rewrite(f->config, &f->err), 0);
    assert_string_equal(read_file("c.conf"), once);
}

/* An include behind a line would win over it; then the setting moves to the end. */
static void test_rewrite__wins_over_includes(void **state)
{
    struct fixture *f = *state;

    write_file("other", "port 7005\ntimeout 6\n");
    assert_string_equal(parse(f, "port 7001\ninclude other\n"), "OK");
    assert_int_equal(config_set(f->config, "port", "7009", NULL), 0);
    assert_int_equal(config_rewrite(f->config, &f->err), 0);
    assert_string_equal(read_file("c.conf"), "port 7009\n"
                                             "include other\n"
                                             "# Set by CONFIG REWRITE:\n"
                                             "port 7009\n");
    assert_string_equal(read_file("other"), "port 7005\ntimeout 6\n");
}

static void test_rewrite__reads_back_whatever_was_set(void **state)
{
    static const char *const texts[] = {"", " ", "#x", "\"", "a'b", "\n", "\xff\x01", "\\x41"};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_string_equal(parse(f, "# nothing\n"), "OK");
        assert_int_equal(config_set(f->config, "requirepass", texts[i], NULL), 0);
        assert_int_equal(config_set(f->config, "oom-score-adj-values", texts[i], NULL), 0);
        assert_int_equal(config_rewrite(f->config, &f->err), 0);
        struct config *fresh = config_create();
        assert_int_equal(config_parse_file(fresh, "c.conf", &f->err), 0);
        assert_string_equal(config_str(fresh, OPT_REQUIREPASS), texts[i]);
        assert_string_equal(config_str(fresh, OPT_OOM_SCORE_ADJ_VALUES), texts[i]);
        config_destroy(fresh);
    }
}

static void test_rewrite__failure_leaves_the_file(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(parse(f, "port 7001\n"), "OK");
    assert_int_equal(config_set(f->config, "port", "7002", NULL), 0);
    assert_int_equal(mkdir("c.conf.rewrite", 0700), 0);
    assert_int_not_equal(config_rewrite(f->config, &f->err), 0);
    assert_string_equal(read_file("c.conf"), "port 7001\n");
    assert_int_equal(rmdir("c.conf.rewrite"), 0);
    int rc = -1;
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = config_rewrite(f->config, &f->err);
        mem_fail_nth(0, 0);
        assert_string_equal(read_file("c.conf"), rc == 0 ? "port 7002\n" : "port 7001\n");
    }
    assert_int_equal(unlink("c.conf"), 0);
    assert_int_equal(config_rewrite(f->config, &f->err), VARVE_ENOENT);
}

static void test_file__survives_each_failed_allocation(void **state)
{
    struct fixture *f = *state;
    int rc = -1;

    write_file("other", "requirepass x\n");
    write_file("c.conf", "port 7001\ninclude other\nbind 127.0.0.1\n");
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = config_parse_file(f->config, "c.conf", &f->err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file__lines_comments_quotes),
        TEST(test_file__errors_name_place_and_option),
        TEST(test_file__secrets_are_in_no_error),
        TEST(test_file__too_large_is_refused),
        TEST(test_include__files_and_globs),
        TEST(test_include__of_itself_ends),
        TEST(test_args__win_over_the_file),
        TEST(test_args__errors),
        TEST(test_args__actions),
        TEST(test_args__standard_input),
        TEST(test_ignored__are_logged_by_name),
        TEST(test_ignored__all_of_them_fit_log_lines),
        TEST(test_default_file__reads_back_and_changes_nothing),
        TEST(test_help__names_every_option_in_80_columns),
        TEST(test_rename_command__is_kept_by_rewrite),
        TEST(test_what_is_not_there__is_refused_with_the_reason),
        TEST(test_rewrite__keeps_comments_and_order),
        TEST(test_rewrite__twice_is_the_same),
        TEST(test_rewrite__wins_over_includes),
        TEST(test_rewrite__reads_back_whatever_was_set),
        TEST(test_rewrite__failure_leaves_the_file),
        TEST(test_file__survives_each_failed_allocation),
    };

    return cmocka_run_group_tests_name("config_file", tests, NULL, NULL);
}
