#include "restore.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/checkpoint_dir.h"
#include "segment/segment.h"

#define PIECE_BYTES ((size_t)1024 * 1024)
#define UNIQUE "-XXXXXX"

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "no memory for a path");
}

/* ---- one file ---- */

static int copy_pieces(struct restore *restore, const char *name, struct varve_file *from,
                       struct varve_file *to, struct varve_err *err)
{
    struct varve_env *env = restore->from->env;
    uint8_t *bytes = mem_alloc(PIECE_BYTES);
    size_t got = PIECE_BYTES;
    int rc = bytes == NULL ? err_set(err, VARVE_ENOMEM, "no memory to copy a file") : 0;

    for (uint64_t at = 0; rc == 0 && got == PIECE_BYTES; at += got) {
        rc = env->ops->read_at(env, from, bytes, PIECE_BYTES, at, &got, err);
        struct varve_slice piece = varve_slice(bytes, got);
        if (rc == 0 && got > 0)
            rc = env->ops->write_at(env, to, &piece, 1, at, err);
        restore->copied_bytes += got;
        progress_tell(restore->progress, name, got);
    }
    mem_free(bytes);
    return rc;
}

/* All of it, synced. */
static int copy_file(struct restore *restore, const char *name, const char *from_path,
                     const char *to_path, struct varve_err *err)
{
    struct varve_env *env = restore->from->env;
    struct varve_file *from = NULL;
    struct varve_file *to = NULL;
    int rc = env->ops->open(env, from_path, VARVE_OPEN_READ, &from, err);

    if (rc == 0)
        rc = env->ops->open(env, to_path,
                            VARVE_OPEN_WRITE | VARVE_OPEN_CREATE | VARVE_OPEN_EXCLUSIVE, &to, err);
    if (rc == 0)
        rc = copy_pieces(restore, name, from, to, err);
    if (rc == 0)
        rc = env->ops->sync(env, to, err);
    env->ops->close(env, from);
    env->ops->close(env, to);
    restore->copied_files += rc == 0;
    return rc;
}

/* A copy is read back: a link is the file that was verified, a copy is another one. */
static int check_copy(const struct restore *restore, const char *path, uint64_t file_no,
                      struct varve_err *err)
{
    struct segment *copy = NULL;
    int rc = segment_open(restore->from->env, path, &restore->from->id, file_no, NULL, &copy, err);

    if (rc == 0)
        rc = segment_verify(copy, err);
    segment_unref(copy);
    return rc;
}

static int take_file(struct restore *restore, const struct dir_file *file, const char *to_dir,
                     struct varve_err *err)
{
    struct varve_env *env = restore->from->env;
    char *from = name_path(restore->from->path, file->name);
    char *to = name_path(to_dir, file->name);
    struct varve_err why = {.os_errno = 0};
    int rc = from == NULL || to == NULL ? no_memory(err) : 0;

    if (rc == 0 && (file->kind == NAME_SEGMENT || MUTANT("restore-links-log"))) {
        rc = env->ops->link(env, from, to, &why);
        restore->linked_files += rc == 0;
        restore->linked_bytes += rc == 0 ? file->size_bytes : 0;
        if (rc != 0 && checkpoint_has_no_link(&why)) {
            rc = copy_file(restore, file->name, from, to, err);
            if (rc == 0)
                rc = check_copy(restore, to, file->file_no, err);
        } else if (rc != 0) {
            *err = why;
        }
    } else if (rc == 0) {
        rc = copy_file(restore, file->name, from, to, err);
    }
    mem_free(from);
    mem_free(to);
    return rc;
}

/* ---- the directory ---- */

/* The same order as a checkpoint has: what has a CURRENT is whole. LOCK is made by who needs it. */
static int fill(struct restore *restore, const char *dir, struct varve_err *err)
{
    const struct data_dir *from = restore->from;
    struct varve_env *env = from->env;
    const struct dir_file *current = dir_find(from, NAME_CURRENT, 0);
    int rc = 0;

    if (current == NULL)
        return err_set(err, VARVE_ENOENT, "%s has no CURRENT any more", from->path);
    for (size_t i = 0; rc == 0 && i < from->file_count; i++) {
        const struct dir_file *file = &from->files[i];
        if (dir_is_alive(from, file) && file->kind != NAME_LOCK && file->kind != NAME_CURRENT)
            rc = take_file(restore, file, dir, err);
    }
    if (rc == 0)
        rc = env->ops->sync_dir(env, dir, err);
    if (rc == 0)
        rc = take_file(restore, current, dir, err);
    if (rc == 0)
        rc = env->ops->sync_dir(env, dir, err);
    return rc;
}

int restore_make(struct restore *restore, const char *name, char **made, struct varve_err *err)
{
    size_t cap = strlen(name) + sizeof(UNIQUE);
    char *dir = mem_alloc(cap);
    int rc = 0;

    *made = NULL;
    if (dir == NULL)
        return no_memory(err);
    snprintf(dir, cap, "%s%s", name, UNIQUE);
    if (mkdtemp(dir) == NULL) {
        rc = err_set_errno(err, errno, "%s", dir);
        mem_free(dir);
        return rc;
    }
    rc = fill(restore, dir, err);
    if (rc != 0) {
        (void)restore_remove(dir, NULL);
        mem_free(dir);
        return rc;
    }
    *made = dir;
    return 0;
}

int restore_publish(const struct restore *restore, const char *made, const char *path,
                    struct varve_err *err)
{
    struct varve_env *env = restore->from->env;
    char *copy = mem_strdup(path); /* dirname() writes to it */
    int rc = env->ops->rename(env, made, path, err);

    if (rc == 0)
        rc = copy == NULL ? no_memory(err) : env->ops->sync_dir(env, dirname(copy), err);
    mem_free(copy);
    return rc;
}

struct removal {
    struct varve_env *env;
    const char *dir;
    struct varve_err *err;
};

static int remove_entry(void *arg, const char *name)
{
    const struct removal *removal = arg;
    char *path = name_path(removal->dir, name);
    int rc = path == NULL ? no_memory(removal->err)
                          : removal->env->ops->remove(removal->env, path, removal->err);

    mem_free(path);
    return rc;
}

int restore_remove(const char *made, struct varve_err *err)
{
    struct varve_env *env = varve_env_posix();
    struct removal removal = {.env = env, .dir = made, .err = err};

    if (made == NULL)
        return 0;
    int rc = env->ops->list_dir(env, made, remove_entry, &removal, err);
    return rc == 0 ? env->ops->remove(env, made, err) : rc;
}
