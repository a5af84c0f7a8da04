#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "segment/segment.h"

#define FILES_MAX ((size_t)1000 * 1000)

/* ---- opening ---- */

/* By hand, as the env's lock would make the file and wants to write to it. */
static int dir_lock(struct data_dir *dir, struct varve_err *err)
{
    char *path = name_path(dir->path, "LOCK");
    int rc = 0;

    if (path == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    dir->lock_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (dir->lock_fd < 0 && errno != ENOENT)
        rc = err_set_errno(err, errno, "%s", path);
    else if (dir->lock_fd >= 0 && flock(dir->lock_fd, LOCK_SH | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK
                 ? err_set(err, VARVE_ELOCKED,
                           "%s is in use by a running server (LOCK is held); stop it, or look at "
                           "a copy",
                           dir->path)
                 : err_set_errno(err, errno, "lock %s", path);
    mem_free(path);
    return rc;
}

struct listing {
    struct data_dir *dir;
    struct varve_err *err;
};

static int list_one(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct data_dir *dir = listing->dir;
    struct dir_file file = {.is_file = 0};
    struct stat about;

    if (dir->file_count == FILES_MAX)
        return err_set(listing->err, VARVE_EFULL, "%s holds more than %zu files", dir->path,
                       FILES_MAX);
    if (dir->file_count == dir->file_cap) {
        size_t cap = dir->file_cap == 0 ? 64 : dir->file_cap * 2;
        struct dir_file *grown = mem_realloc(dir->files, cap * sizeof(*grown));
        if (grown == NULL)
            return err_set(listing->err, VARVE_ENOMEM, "no memory to list %s", dir->path);
        dir->files = grown;
        dir->file_cap = cap;
    }
    char *path = name_path(dir->path, name);
    file.name = mem_strdup(name);
    if (path == NULL || file.name == NULL) {
        mem_free(path);
        mem_free(file.name);
        return err_set(listing->err, VARVE_ENOMEM, "no memory to list %s", dir->path);
    }
    if (stat(path, &about) == 0 && S_ISREG(about.st_mode)) {
        file.is_file = 1;
        file.size_bytes = (uint64_t)about.st_size;
    }
    file.kind = name_parse(name, &file.file_no);
    dir->files[dir->file_count++] = file;
    mem_free(path);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct dir_file *left = a;
    const struct dir_file *right = b;

    return strcmp(left->name, right->name);
}

int dir_hold(const char *path, struct data_dir *dir, struct varve_err *err)
{
    struct stat about;
    int rc;

    *dir = (struct data_dir){.env = varve_env_posix(), .lock_fd = -1};
    dir->path = mem_strdup(path);
    if (dir->path == NULL) {
        rc = err_set(err, VARVE_ENOMEM, "no memory");
    } else if (stat(path, &about) != 0) {
        rc = err_set_errno(err, errno, "%s", path);
    } else if (!S_ISDIR(about.st_mode)) {
        rc = err_set(err, VARVE_EINVAL, "%s is no directory", path);
    } else {
        rc = dir_lock(dir, err);
    }
    if (rc != 0)
        dir_close(dir);
    return rc;
}

int dir_open(const char *path, struct data_dir *dir, struct varve_err *err)
{
    struct listing listing = {.dir = dir, .err = err};
    int rc = dir_hold(path, dir, err);

    if (rc == 0)
        rc = dir->env->ops->list_dir(dir->env, path, list_one, &listing, err);
    if (rc == 0 && dir->file_count > 0)
        qsort(dir->files, dir->file_count, sizeof(*dir->files), by_name);
    if (rc != 0)
        dir_close(dir);
    return rc;
}

void dir_close(struct data_dir *dir)
{
    manifest_close(dir->manifest);
    for (size_t i = 0; i < dir->file_count; i++)
        mem_free(dir->files[i].name);
    mem_free(dir->files);
    mem_free(dir->path);
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    *dir = (struct data_dir){.lock_fd = -1};
}

int dir_read_current(struct data_dir *dir, struct varve_err *err)
{
    int rc = current_read(dir->env, dir->path, &dir->id, &dir->manifest_no, err);

    if (rc == VARVE_ENOENT)
        return err_set(err, VARVE_EFOREIGN, "%s has no CURRENT: it is no data directory",
                       dir->path);
    return rc;
}

int dir_read_manifest(struct data_dir *dir, struct varve_err *err)
{
    return manifest_open(dir->env, dir->path, &dir->id, dir->manifest_no, &dir->manifest, err);
}

int dir_open_manifest(const char *path, struct data_dir *dir, struct varve_err *err)
{
    int rc = dir_open(path, dir, err);

    if (rc == 0)
        rc = dir_read_current(dir, err);
    if (rc == 0)
        rc = dir_read_manifest(dir, err);
    return rc;
}

/* ---- its files ---- */

const struct dir_file *dir_find(const struct data_dir *dir, enum name_kind kind, uint64_t file_no)
{
    for (size_t i = 0; i < dir->file_count; i++)
        if (dir->files[i].kind == kind && dir->files[i].file_no == file_no)
            return &dir->files[i];
    return NULL;
}

int dir_is_alive(const struct data_dir *dir, const struct dir_file *file)
{
    if (file->kind == NAME_CURRENT || file->kind == NAME_LOCK)
        return 1;
    if (file->kind == NAME_MANIFEST)
        return file->file_no == dir->manifest_no;
    if (dir->manifest == NULL)
        return 0;
    const struct manifest_state *state = manifest_state(dir->manifest);
    if (file->kind == NAME_WAL)
        for (size_t i = 0; i < state->wal_count; i++)
            if (state->wals[i].file_no == file->file_no)
                return 1;
    if (file->kind == NAME_SEGMENT)
        for (size_t i = 0; i < state->segment_count; i++)
            if (state->segments[i].file_no == file->file_no)
                return 1;
    return 0;
}

uint64_t dir_live_bytes(const struct data_dir *dir)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < dir->file_count; i++)
        if (dir_is_alive(dir, &dir->files[i]))
            bytes += dir->files[i].size_bytes;
    return bytes;
}

/* ---- a new one ---- */

static int refuse_entry(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return VARVE_EEXIST;
}

int dir_contains(const char *old, const char *path)
{
    char parent[PATH_MAX];
    char real[PATH_MAX];
    char real_old[PATH_MAX];
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    if (len >= sizeof(parent))
        return 1;
    memcpy(parent, path, len);
    parent[len] = '\0';
    if (realpath(len == 0 ? "." : parent, real) == NULL || realpath(old, real_old) == NULL)
        return 0; /* opening says why */
    len = strlen(real_old);
    return strncmp(real, real_old, len) == 0 && (real[len] == '\0' || real[len] == '/');
}

int dir_check_new(const char *path, const char *old_path, struct varve_err *err)
{
    struct varve_env *env = varve_env_posix();
    struct varve_err ignored = {0};
    int rc = env->ops->list_dir(env, path, refuse_entry, NULL, &ignored);

    if (rc == VARVE_EEXIST)
        return err_set(err, rc, "%s is not empty: a new directory is wanted", path);
    if (rc != 0 && rc != VARVE_ENOENT)
        return err_set(err, rc, "%s", ignored.text);
    if (dir_contains(old_path, path))
        return err_set(err, VARVE_EINVAL, "%s lies in %s, which is not written to", path, old_path);
    return 0;
}

/* ---- headers ---- */

static const char *magic_of(enum name_kind kind)
{
    if (kind == NAME_WAL)
        return WAL_MAGIC;
    return kind == NAME_SEGMENT ? SEGMENT_MAGIC : MANIFEST_MAGIC;
}

int file_read_header(struct varve_env *env, const char *path, enum name_kind kind,
                     struct dir_id *id, uint64_t *file_no, struct varve_err *err)
{
    uint8_t header[FILE_HEADER_BYTES];
    struct varve_file *file = NULL;
    size_t got = 0;
    int rc = env->ops->open(env, path, VARVE_OPEN_READ, &file, err);

    if (rc == 0)
        rc = env->ops->read_at(env, file, header, sizeof(header), 0, &got, err);
    if (rc == 0 && got < sizeof(header))
        rc = err_set(err, VARVE_ECORRUPT, "%s: offset %zu: too short for a file header", path, got);
    if (rc == 0) {
        memcpy(id->bytes, header + 16, DIR_ID_BYTES);
        *file_no = get_u64(header + 32);
        rc = file_header_check(header, magic_of(kind), id, *file_no, err);
        if (rc != 0)
            err_wrap(err, rc, "%s: offset 0", path);
    }
    env->ops->close(env, file);
    return rc;
}

const char *dir_id_text(const struct dir_id *id, char text[2 * DIR_ID_BYTES + 1])
{
    for (size_t i = 0; i < DIR_ID_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", id->bytes[i]);
    return text;
}
