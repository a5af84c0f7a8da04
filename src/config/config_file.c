/* The lines of a file and the words of the command line. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/impl.h"
#include "config/words.h"

#define READ_BYTES ((size_t)16 * 1024)
#define SHOWN_VALUE_BYTES 64 /* of a bad value, in its error */

int config_read_file(const char *path, struct buf *out, struct varve_err *err)
{
    int is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return err_set_errno(err, errno, "%s", path);
    for (;;) {
        rc = buf_reserve(out, READ_BYTES);
        if (rc != 0) {
            err_set(err, rc, "%s: %s", path, rc == VARVE_EFULL ? "too large" : "out of memory");
            break;
        }
        ssize_t got = read(fd, out->data + out->len, READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = err_set_errno(err, errno, "%s", path);
        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
    if (!is_stdin)
        close(fd);
    return rc;
}

int config_next_line(struct varve_slice *text, struct varve_slice *line)
{
    if (text->len == 0)
        return 0;
    const uint8_t *end = memchr(text->data, '\n', text->len);
    size_t len = end == NULL ? text->len : (size_t)(end - text->data);
    size_t taken = end == NULL ? len : len + 1;

    *line = varve_slice(text->data, len);
    *text = varve_slice(text->data + taken, text->len - taken);
    if (len > 0 && line->data[len - 1] == '\r')
        line->len--;
    return 1;
}

/* What redis.conf has and this server has not, and what must not be passed over. */
static const char *why_refused(const char *name)
{
    if (strcasecmp(name, "user") == 0)
        return "there is one user, default; requirepass is the password";
    if (strcasecmp(name, "loadmodule") == 0)
        return "there are no modules";
    return NULL;
}

static int unknown_option(const char *name, struct varve_err *err)
{
    size_t len = strcspn(name, "=");
    const char *nearest = config_nearest(varve_slice(name, len));

    if (why_refused(name) != NULL)
        return err_set(err, VARVE_EINVAL, "%s: %s", name, why_refused(name));
    /* What follows an = may be a password, so it is not shown. */
    if (name[len] == '=' && config_find(varve_slice(name, len)) >= 0)
        return err_set(err, VARVE_EINVAL, "unknown option '%.*s=': write '%.*s VALUE'", (int)len,
                       name, (int)len, name);
    if (nearest != NULL)
        return err_set(err, VARVE_EINVAL, "unknown option '%.*s': did you mean '%s'?",
                       (int)(len < 64 ? len : 64), name, nearest);
    return err_set(err, VARVE_EINVAL, "unknown option '%.*s'", (int)(len < 64 ? len : 64), name);
}

/* A name and its values. The error says everything but the place. */
static int set_words(struct config *config, const struct words *words, struct varve_err *err)
{
    int option = config_find(varve_slice_str(words->at[0]));
    struct buf value;
    int rc;

    if (option < 0)
        return unknown_option(words->at[0], err);
    const struct config_row *row = config_row((enum config_option)option);
    if (words->count < 2)
        return err_set(err, VARVE_EINVAL, "%s: a value is missing", row->name);
    if (words->count > 2 && (row->flags & CONFIG_MULTI) == 0)
        return err_set(err, VARVE_EINVAL, "%s: it takes one value; quote one with blanks",
                       row->name);
    buf_init(&value, CONFIG_FILE_MAX_BYTES);
    rc = words_join(words, 1, &value);
    if (rc != 0) {
        err_set(err, rc, "%s: out of memory", row->name);
        goto out;
    }
    rc = config_set_option(config, (enum config_option)option, (const char *)value.data, err);
    if (rc == 0)
        goto out;
    if ((row->flags & CONFIG_SECRET) != 0)
        err_wrap(err, rc, "%s", row->name);
    else
        err_wrap(err, rc, "%s \"%.*s\"", row->name, SHOWN_VALUE_BYTES, (const char *)value.data);
out:
    buf_deinit(&value);
    return rc;
}

static int parse_nested(struct config *config, const char *path, int depth, struct varve_err *err)
{
    struct buf text;
    int rc;

    if (depth > CONFIG_INCLUDE_DEPTH)
        return err_set(err, VARVE_EINVAL, "%s: includes are nested more than %d deep", path,
                       CONFIG_INCLUDE_DEPTH);
    buf_init(&text, CONFIG_FILE_MAX_BYTES);
    rc = config_read_file(path, &text, err);
    if (rc == 0)
        rc = config_parse_text(config, path, buf_slice(&text), depth, err);
    buf_deinit(&text);
    return rc;
}

/* A pattern that matches nothing is no error, a plain name that does not exist is one. */
static int parse_include(struct config *config, const struct words *words, int depth,
                         struct varve_err *err)
{
    glob_t found = {0};
    int rc = 0;

    for (size_t w = 1; w < words->count && rc == 0; w++) {
        const char *pattern = words->at[w];
        int status = glob(pattern, 0, NULL, &found);
        if (status == GLOB_NOMATCH && strpbrk(pattern, "*?[") == NULL)
            rc = parse_nested(config, pattern, depth + 1, err);
        else if (status != 0 && status != GLOB_NOMATCH)
            rc = err_set(err, VARVE_EIO, "include %s: cannot be read", pattern);
        for (size_t i = 0; status == 0 && i < found.gl_pathc && rc == 0; i++)
            rc = parse_nested(config, found.gl_pathv[i], depth + 1, err);
        globfree(&found);
    }
    if (words->count < 2)
        rc = err_set(err, VARVE_EINVAL, "include: a value is missing");
    return rc;
}

/* `rename-command FROM TO`: whether there is such a command is for others to say. */
static int parse_rename(struct config *config, const struct words *words, struct varve_err *err)
{
    size_t count = config->rename_count;
    char *from = NULL;
    char *to = NULL;

    if (words->count != 3)
        return err_set(err, VARVE_EINVAL, "rename-command: it takes two values");
    if (count == CONFIG_RENAMES_MAX)
        return err_set(err, VARVE_EINVAL, "rename-command: there are more than %d",
                       CONFIG_RENAMES_MAX);
    char **grown = mem_realloc(config->renames, 2 * (count + 1) * sizeof(*grown));
    if (grown != NULL) {
        config->renames = grown;
        from = mem_strdup(words->at[1]);
        to = mem_strdup(words->at[2]);
    }
    if (from == NULL || to == NULL) {
        mem_free(from);
        mem_free(to);
        return err_set(err, VARVE_ENOMEM, "rename-command: out of memory");
    }
    config->renames[2 * count] = from;
    config->renames[2 * count + 1] = to;
    config->rename_count++;
    return 0;
}

static int parse_line(struct config *config, struct varve_slice line, int depth,
                      struct varve_err *err)
{
    struct words words;
    const char *why;
    int rc;

    while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t')) {
        line.data++;
        line.len--;
    }
    if (line.len == 0 || line.data[0] == '#')
        return 0;
    rc = words_split(&words, line, &why);
    if (rc != 0)
        return err_set(err, rc, "%s", rc == VARVE_EINVAL ? why : "out of memory");
    if (words.count > 0 && strcasecmp(words.at[0], "include") == 0)
        rc = parse_include(config, &words, depth, err);
    else if (words.count > 0 && strcasecmp(words.at[0], "rename-command") == 0)
        rc = parse_rename(config, &words, err);
    else if (words.count > 0)
        rc = set_words(config, &words, err);
    words_deinit(&words);
    return rc;
}

int config_parse_text(struct config *config, const char *name, struct varve_slice text, int depth,
                      struct varve_err *err)
{
    struct varve_slice line;
    int rc;

    for (int line_no = 1; config_next_line(&text, &line); line_no++) {
        rc = parse_line(config, line, depth, err);
        if (rc != 0)
            return err_wrap(err, rc, "%s:%d", name, line_no);
    }
    return 0;
}

int config_parse_file(struct config *config, const char *path, struct varve_err *err)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    char absolute[PATH_MAX];
    struct buf text;
    int rc;

    buf_init(&text, CONFIG_FILE_MAX_BYTES);
    rc = config_read_file(path, &text, err);
    if (rc == 0)
        rc = config_parse_text(config, name, buf_slice(&text), 0, err);
    if (rc != 0 || strcmp(path, "-") == 0)
        goto out;
    mem_free(config->file);
    config->file = NULL;
    if (realpath(path, absolute) == NULL)
        rc = err_set_errno(err, errno, "%s", path);
    else if ((config->file = mem_strdup(absolute)) == NULL)
        rc = err_set(err, VARVE_ENOMEM, "%s: out of memory", path);
out:
    buf_deinit(&text);
    return rc;
}

/* 1 if the argument is one of the words that are no options. */
static int take_action(const char *arg, enum config_action *action)
{
    static const struct {
        const char *arg;
        enum config_action action;
    } known[] = {
        {"-h", CONFIG_HELP},
        {"--help", CONFIG_HELP},
        {"-v", CONFIG_VERSION},
        {"--version", CONFIG_VERSION},
        {"--print-config", CONFIG_PRINT},
        {"--check-config", CONFIG_CHECK},
    };

    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strcmp(arg, known[i].arg) == 0) {
            *action = known[i].action;
            return 1;
        }
    }
    return 0;
}

/* `--name value ...` from argv[at] on; returns how many arguments it took, or an error. */
static int parse_option(struct config *config, int argc, char *const *argv, int at,
                        struct varve_err *err)
{
    struct words words = {.count = 0};
    int taken = 0;
    int rc;

    do {
        if (words.count == WORDS_MAX)
            return err_set(err, VARVE_EINVAL, "command line: too many words behind %.64s",
                           argv[at]);
        words.at[words.count++] = taken == 0 ? argv[at] + 2 : argv[at + taken];
        taken++;
    } while (at + taken < argc && strncmp(argv[at + taken], "--", 2) != 0);
    rc = strcasecmp(words.at[0], "rename-command") == 0 ? parse_rename(config, &words, err)
                                                        : set_words(config, &words, err);
    return rc == 0 ? taken : err_wrap(err, rc, "command line");
}

int config_parse_args(struct config *config, int argc, char *const *argv,
                      enum config_action *action, struct varve_err *err)
{
    int has_file = argc > 1 && (argv[1][0] != '-' || argv[1][1] == '\0');
    enum config_action unused;
    int rc = 0;

    *action = CONFIG_RUN;
    for (int i = 1; i < argc; i++)
        if (take_action(argv[i], action) && *action != CONFIG_CHECK)
            return 0;
    if (has_file)
        rc = config_parse_file(config, argv[1], err);
    for (int i = has_file ? 2 : 1; i < argc && rc >= 0;) {
        if (take_action(argv[i], &unused))
            rc = 1;
        else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0')
            rc = parse_option(config, argc, argv, i, err);
        else
            rc = err_set(err, VARVE_EINVAL, "command line: '%.64s' is no option; see --help",
                         argv[i]);
        i += rc;
    }
    return rc < 0 ? rc : 0;
}
