/* CONFIG REWRITE. A line that says what is in force already stays as it is, byte for byte; the first
 * line of an option that says something else is replaced, further ones go. Then the text is read
 * into a fresh config, includes and all, and what differs from the present settings is set at the
 * end. So the result is right by construction, whatever order lines and includes came in. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/impl.h"
#include "config/words.h"

static const char marker[] = "# Set by CONFIG REWRITE:\n";

static int append_str(struct buf *out, const char *text)
{
    return buf_append(out, text, strlen(text));
}

/* "name value\n" of the present value. */
static int append_option(const struct config *config, enum config_option option, struct buf *out)
{
    const struct config_row *row = config_row(option);
    char scratch[CONFIG_TEXT_BYTES];
    const char *text = value_text(row, &config->values[option], scratch);
    /* The words of these were checked, and need no quotes. */
    int plain = row->type == CONFIG_LIMITS || row->type == CONFIG_ADDRS ||
                ((row->type == CONFIG_SAVE || row->type == CONFIG_PERCENTS) && text[0] != '\0');
    int rc = append_str(out, row->name);

    if (rc == 0)
        rc = append_str(out, " ");
    if (rc == 0)
        rc = plain ? append_str(out, text) : words_quote(out, text);
    return rc != 0 ? rc : append_str(out, "\n");
}

/* Would this line, read now, change anything? */
static int line_holds(const struct config *config, enum config_option option,
                      const struct words *words, int *holds)
{
    const struct config_row *row = config_row(option);
    const struct config_value *present = &config->values[option];
    struct config_value value = {0};
    struct buf text;
    int rc;

    buf_init(&text, CONFIG_FILE_MAX_BYTES);
    rc = words_join(words, 1, &text);
    if (rc == 0)
        rc = value_parse(row, (const char *)text.data, present, &value, NULL);
    *holds = rc == 0 && value_equal(row, &value, present);
    value_deinit(&value);
    buf_deinit(&text);
    return rc == VARVE_EINVAL ? 0 : rc;
}

static int rewrite_line(const struct config *config, struct varve_slice line, uint8_t *written,
                        struct buf *out)
{
    struct words words = {.count = 0};
    const char *why;
    int option = -1;
    int keep = 1;
    int rc = 0;

    size_t indent = 0;
    while (indent < line.len && (line.data[indent] == ' ' || line.data[indent] == '\t'))
        indent++;
    if (indent < line.len && line.data[indent] != '#')
        rc = words_split(&words, line, &why);
    if (rc == VARVE_ENOMEM)
        return rc;
    rc = 0; /* a line that cannot be read came after the start; it is kept */
    if (words.count > 0)
        option = config_find(varve_slice_str(words.at[0]));
    if (option >= 0)
        rc = line_holds(config, (enum config_option)option, &words, &keep);
    if (rc == 0 && keep)
        rc = buf_append(out, line.data, line.len);
    if (rc == 0 && keep)
        rc = append_str(out, "\n");
    if (rc == 0 && !keep && !written[option])
        rc = append_option(config, (enum config_option)option, out);
    if (option >= 0 && !keep)
        written[option] = 1;
    words_deinit(&words);
    return rc;
}

/* Reads text back. With `add`, what differs is appended to it; else a difference is an error. */
static int read_back(const struct config *config, struct buf *text, int *differences,
                     struct varve_err *err)
{
    struct config *fresh = config_create();
    int rc = VARVE_ENOMEM;

    *differences = 0;
    if (fresh == NULL)
        return err_set(err, rc, "out of memory");
    rc = config_parse_text(fresh, config->file, buf_slice(text), 0, err);
    for (int i = 0; i < OPT_COUNT && rc == 0; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        if (value_equal(row, &fresh->values[i], &config->values[i]))
            continue;
        if ((*differences)++ == 0)
            rc = append_str(text, marker);
        if (rc == 0)
            rc = append_option(config, (enum config_option)i, text);
        if (rc != 0)
            err_set(err, rc, "out of memory");
    }
    config_destroy(fresh);
    return rc;
}

static int compose(const struct config *config, struct buf *out, struct varve_err *err)
{
    uint8_t written[OPT_COUNT] = {0};
    struct varve_slice rest, line;
    struct buf old;
    int differences;
    int rc;

    buf_init(&old, CONFIG_FILE_MAX_BYTES);
    rc = config_read_file(config->file, &old, err);
    if (rc != 0)
        goto out;
    rest = buf_slice(&old);
    while (rc == 0 && config_next_line(&rest, &line))
        rc = rewrite_line(config, line, written, out);
    if (rc != 0) {
        err_set(err, rc, "out of memory");
        goto out;
    }
    rc = read_back(config, out, &differences, err);
    if (rc == 0 && differences > 0)
        rc = read_back(config, out, &differences, err);
    if (rc == 0 && differences > 0)
        rc = err_set(err, VARVE_EINVAL, "%s does not read back as the present settings",
                     config->file);
out:
    buf_deinit(&old);
    return rc;
}

static int write_all(int fd, struct varve_slice text)
{
    while (text.len > 0) {
        ssize_t put = write(fd, text.data, text.len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        text = varve_slice(text.data + put, text.len - (size_t)put);
    }
    return 0;
}

/* A new file of the old one's mode and, where we may, owner; synced. */
static int write_file(const char *path, const struct stat *like, struct varve_slice text,
                      struct varve_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = 0;

    if (fd < 0)
        return err_set_errno(err, errno, "%s", path);
    if (fchown(fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
        rc = err_set_errno(err, errno, "%s", path);
    if (rc == 0 &&
        (fchmod(fd, like->st_mode & 07777) != 0 || write_all(fd, text) != 0 || fsync(fd) != 0))
        rc = err_set_errno(err, errno, "%s", path);
    if (close(fd) != 0 && rc == 0)
        rc = err_set_errno(err, errno, "%s", path);
    if (rc != 0)
        unlink(path);
    return rc;
}

static int sync_parent(const char *path, struct varve_err *err)
{
    char dir[PATH_MAX];
    int rc = 0;

    snprintf(dir, sizeof(dir), "%s", path);
    *(strrchr(dir, '/') + 1) = '\0'; /* the path is absolute */
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "%s", dir);
    if (fsync(fd) != 0)
        rc = err_set_errno(err, errno, "%s", dir);
    close(fd);
    return rc;
}

int config_rewrite(const struct config *config, struct varve_err *err)
{
    char fresh[PATH_MAX];
    struct stat like;
    struct buf text;
    int rc;

    if (config->file == NULL)
        return err_set(err, VARVE_EINVAL, "The server is running without a config file");
    if ((size_t)snprintf(fresh, sizeof(fresh), "%s.rewrite", config->file) >= sizeof(fresh))
        return err_set(err, VARVE_EINVAL, "%.256s: the name is too long", config->file);
    buf_init(&text, CONFIG_FILE_MAX_BYTES);
    rc = compose(config, &text, err);
    if (rc != 0)
        goto out;
    if (stat(config->file, &like) != 0) {
        rc = err_set_errno(err, errno, "%s", config->file);
        goto out;
    }
    rc = write_file(fresh, &like, buf_slice(&text), err);
    if (rc != 0)
        goto out;
    if (rename(fresh, config->file) != 0) {
        rc = err_set_errno(err, errno, "rename %s", fresh);
        unlink(fresh);
        goto out;
    }
    rc = sync_parent(config->file, err); /* without it a crash may undo the rename */
out:
    buf_deinit(&text);
    return rc;
}
