#include "config/config.h"

#include <string.h>

#include "base/err.h"
#include "base/glob.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/impl.h"

#define LOG_NAMES_BYTES 900 /* of names in one log line, which holds 1,024 */

struct config *config_create(void)
{
    struct config *config = mem_alloc_zero(sizeof(*config));

    if (config == NULL)
        return NULL;
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        struct config_value none = {0};
        if (value_parse(row, row->value, &none, &config->values[i], NULL) != 0) {
            config_destroy(config);
            return NULL;
        }
    }
    return config;
}

void config_destroy(struct config *config)
{
    if (config == NULL)
        return;
    for (int i = 0; i < OPT_COUNT; i++)
        value_deinit(&config->values[i]);
    for (size_t i = 0; i < 2 * config->rename_count; i++)
        mem_free(config->renames[i]);
    mem_free(config->renames);
    mem_free(config->file);
    mem_free(config);
}

int64_t config_int(const struct config *config, enum config_option option)
{
    return config->values[option].number;
}

const char *config_str(const struct config *config, enum config_option option)
{
    const char *text = config->values[option].text;

    return text == NULL ? "" : text;
}

int config_word(const struct config *config, enum config_option option, size_t index, char *out,
                size_t cap)
{
    const char *at = config_str(config, option);

    for (;;) {
        at += strspn(at, " \t");
        size_t len = strcspn(at, " \t");
        if (len == 0)
            return 0;
        if (index-- == 0) {
            if (len >= cap)
                return 0;
            memcpy(out, at, len);
            out[len] = '\0';
            return 1;
        }
        at += len;
    }
}

void config_limit(const struct config *config, enum config_client_class class,
                  struct config_limit *limit)
{
    *limit = config->values[OPT_CLIENT_OUTPUT_BUFFER_LIMIT].limits[class];
}

int config_rename(const struct config *config, size_t i, const char **from, const char **to)
{
    if (i >= config->rename_count)
        return 0;
    *from = config->renames[2 * i];
    *to = config->renames[2 * i + 1];
    return 1;
}

const char *config_file(const struct config *config)
{
    return config->file == NULL ? "" : config->file;
}

/* The name to answer with if one of the patterns matches, else one without data. */
static struct varve_slice matching_name(const char *name, int hidden,
                                        const struct varve_slice *patterns, size_t count)
{
    struct varve_slice known = varve_slice_str(name);

    for (size_t i = 0; i < count; i++)
        if ((!hidden || glob_is_literal(patterns[i])) &&
            glob_match(patterns[i], known, GLOB_NOCASE))
            return glob_is_literal(patterns[i]) ? patterns[i] : known;
    return varve_slice(NULL, 0);
}

size_t config_match(const struct config *config, const struct varve_slice *patterns, size_t count,
                    config_visit_fn visit, void *arg)
{
    const struct config_alias *alias = config_aliases;
    size_t found = 0;

    for (int i = 0; i < OPT_COUNT || alias->name != NULL; i++) {
        char scratch[CONFIG_TEXT_BYTES];
        int option = i < OPT_COUNT ? i : (int)alias->option;
        const struct config_row *row = config_row((enum config_option)option);
        const char *name = i < OPT_COUNT ? row->name : (alias++)->name;
        struct varve_slice shown = matching_name(name, (row->flags & CONFIG_HIDDEN) != 0, patterns,
                                                 count);
        if (shown.data == NULL)
            continue;
        found++;
        if (visit != NULL)
            visit(arg, shown, varve_slice_str(value_text(row, &config->values[option], scratch)));
    }
    return found;
}

int config_set_option(struct config *config, enum config_option option, const char *text,
                      struct varve_err *err)
{
    struct config_value *present = &config->values[option];
    struct config_value value = {0};
    int rc = value_parse(config_row(option), text, present, &value, err);

    if (rc != 0)
        return rc;
    value_deinit(present);
    *present = value;
    config->given[option] = 1;
    return 0;
}

int config_set(struct config *config, const char *name, const char *value, struct varve_err *err)
{
    int option = config_find(varve_slice_str(name));
    int rc;

    if (option < 0)
        return err_set(err, VARVE_EINVAL, "unknown option '%.64s'", name);
    rc = config_set_option(config, (enum config_option)option, value, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", name);
}

void config_log_ignored(const struct config *config)
{
    char names[LOG_NAMES_BYTES];
    size_t used = 0;

    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        if (!config->given[i] || (row->flags & CONFIG_IGNORED) == 0)
            continue;
        if (used + strlen(row->name) + 3 > sizeof(names)) {
            log_line(LOG_NOTICE, "options ignored here: %.*s", (int)used, names);
            used = 0;
        }
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "",
                                 row->name);
    }
    if (used > 0)
        log_line(LOG_NOTICE, "options ignored here: %.*s", (int)used, names);
}

/* ---- CONFIG SET ---- */

/* One name and value of a CONFIG SET. The value is the new one, until it changes places with the
 * present one. */
struct change {
    enum config_option option;
    struct varve_slice name; /* as the client wrote it */
    struct config_value value;
    int changes;
};

static int refuse(struct varve_err *err, struct varve_slice name, const char *why)
{
    return err_set(err, VARVE_EINVAL,
                   "CONFIG SET failed (possibly related to argument '%.*s') - %s",
                   (int)(name.len < 128 ? name.len : 128), (const char *)name.data, why);
}

/* Which option is it, and may it be set at all? */
static int change_find(struct change *changes, size_t index, struct varve_err *err)
{
    struct varve_slice name = changes[index].name;
    int option = config_find(name);

    if (option < 0)
        return err_set(err, VARVE_EINVAL,
                       "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                       (int)(name.len < 128 ? name.len : 128), (const char *)name.data);
    unsigned flags = config_row((enum config_option)option)->flags;
    changes[index].option = (enum config_option)option;
    if ((flags & CONFIG_PROTECTED) != 0)
        return refuse(err, name, "can't set protected config");
    if ((flags & (CONFIG_RUNTIME | CONFIG_SAME)) == 0)
        return refuse(err, name, "can't set immutable config");
    for (size_t i = 0; i < index; i++)
        if (changes[i].option == changes[index].option)
            return refuse(err, name, "duplicate parameter");
    return 0;
}

static int change_parse(const struct config *config, struct change *change, struct varve_slice text,
                        struct varve_err *err)
{
    const struct config_row *row = config_row(change->option);
    const struct config_value *present = &config->values[change->option];
    struct varve_err why = {0};
    char *copy = NULL;
    int rc;

    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return refuse(err, change->name, "argument must not contain a NUL byte");
    if (text.len > CONFIG_VALUE_MAX_BYTES)
        return refuse(err, change->name, "argument is too long");
    copy = mem_strndup((const char *)text.data, text.len);
    if (copy == NULL)
        return refuse(err, change->name, "out of memory");
    rc = value_parse(row, copy, present, &change->value, &why);
    mem_free(copy);
    if (rc != 0)
        return refuse(err, change->name, err_text(&why));
    change->changes = !value_equal(row, &change->value, present);
    if (change->changes && (row->flags & CONFIG_RUNTIME) == 0)
        return refuse(err, change->name, "can't set immutable config");
    return 0;
}

static void change_swap(struct config *config, struct change *change)
{
    struct config_value other = config->values[change->option];

    config->values[change->option] = change->value;
    change->value = other;
}

static const char *change_apply(const struct change *change, config_apply_fn apply, void *arg)
{
    const struct config_row *row = config_row(change->option);

    if (apply == NULL || !change->changes || (row->flags & CONFIG_IGNORED) != 0)
        return NULL;
    return apply(arg, row->name);
}

/* Puts all in force, or, if one is refused, all back. */
static int changes_apply(struct config *config, struct change *changes, size_t count,
                         config_apply_fn apply, void *arg, struct varve_err *err)
{
    const char *why = NULL;
    size_t applied = 0;

    for (size_t i = 0; i < count; i++)
        change_swap(config, &changes[i]);
    while (applied < count && why == NULL) {
        why = change_apply(&changes[applied], apply, arg);
        applied++;
    }
    if (why == NULL)
        return 0;
    for (size_t i = 0; i < count; i++)
        change_swap(config, &changes[i]);
    for (size_t i = 0; i < applied; i++)
        (void)change_apply(&changes[i], apply, arg); /* it held before */
    return refuse(err, changes[applied - 1].name, why);
}

int config_set_pairs(struct config *config, const struct varve_slice *pairs, size_t pair_count,
                     config_apply_fn apply, void *arg, struct varve_err *err)
{
    /* A longer list names an option twice or an unknown one, which shows before its end. */
    size_t count = pair_count < OPT_COUNT + 1 ? pair_count : OPT_COUNT + 1;
    struct change *changes = mem_alloc_zero((count == 0 ? 1 : count) * sizeof(*changes));
    int rc = 0;

    if (changes == NULL)
        return err_set(err, VARVE_ENOMEM, "CONFIG SET failed - out of memory");
    for (size_t i = 0; i < count && rc == 0; i++) {
        changes[i].name = pairs[2 * i];
        rc = change_find(changes, i, err);
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = change_parse(config, &changes[i], pairs[2 * i + 1], err);
    if (rc == 0)
        rc = changes_apply(config, changes, count, apply, arg, err);
    for (size_t i = 0; i < count; i++)
        value_deinit(&changes[i].value);
    mem_free(changes);
    return rc;
}
