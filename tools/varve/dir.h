/* dir.h - a data directory, opened to be read: nothing in it is made, changed or removed. One thread.
 *
 * A server holds LOCK exclusively for as long as it runs; we hold it shared, so that no server starts
 * meanwhile, while several tools may look side by side. A copy without LOCK is taken as it is. */
#ifndef VARVE_TOOL_DIR_H
#define VARVE_TOOL_DIR_H

#include "base/check.h"
#include "lsm/manifest.h"
#include "lsm/names.h"
#include "lsm/recovery.h"
#include "varve/env.h"

struct dir_file {
    char *name; /* owned by the list */
    enum name_kind kind;
    uint64_t file_no; /* of a manifest, a WAL, a segment; else 0 */
    uint64_t size_bytes;
    int is_file; /* 0: a directory or whatever else has no bytes of its own */
};

struct data_dir {
    struct varve_env *env;
    char *path;
    int lock_fd;            /* -1: there is no LOCK */
    struct dir_file *files; /* in the order of their names */
    size_t file_count;
    size_t file_cap;
    struct dir_id id;          /* once dir_read_current() gave 0 */
    uint64_t manifest_no;      /* the same */
    struct manifest *manifest; /* NULL until dir_read_manifest() gave 0 */
};

/* Locks it and lists its files. VARVE_ELOCKED: a server runs there. On error *dir is empty; either way
 * dir_close() takes it. */
int dir_open(const char *path, struct data_dir *dir, struct varve_err *err) MUST_CHECK;
/* Locks it, and no more: there may be other files. */
int dir_hold(const char *path, struct data_dir *dir, struct varve_err *err) MUST_CHECK;
void dir_close(struct data_dir *dir);

/* CURRENT; the manifest that it names. */
int dir_read_current(struct data_dir *dir, struct varve_err *err) MUST_CHECK;
int dir_read_manifest(struct data_dir *dir, struct varve_err *err) MUST_CHECK;
/* All three. */
int dir_open_manifest(const char *path, struct data_dir *dir, struct varve_err *err) MUST_CHECK;

/* NULL: there is none. */
const struct dir_file *dir_find(const struct data_dir *dir, enum name_kind kind, uint64_t file_no);
/* Does the manifest, or CURRENT, say that the file is alive? */
int dir_is_alive(const struct data_dir *dir, const struct dir_file *file);
/* Bytes of the live WAL files and segments. */
uint64_t dir_live_bytes(const struct data_dir *dir);

/* Does path, or where it will be made, lie in the directory old? */
int dir_contains(const char *old, const char *path);
/* Can a new directory be made at path? It must not be there, or be empty (VARVE_EEXIST), and not lie in
 * old_path, which is not written to (VARVE_EINVAL). */
int dir_check_new(const char *path, const char *old_path, struct varve_err *err) MUST_CHECK;

/* The 64 bytes that a file of ours begins with: whose it is. 0, or VARVE_EFOREIGN: it is no file of that
 * kind; VARVE_EVERSION, VARVE_ECORRUPT, an error of the file. */
int file_read_header(struct varve_env *env, const char *path, enum name_kind kind,
                     struct dir_id *id, uint64_t *file_no, struct varve_err *err) MUST_CHECK;

/* "0123..." in text[2 * DIR_ID_BYTES + 1]. */
const char *dir_id_text(const struct dir_id *id, char text[2 * DIR_ID_BYTES + 1]);

#endif
