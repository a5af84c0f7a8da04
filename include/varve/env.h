/* env.h - the engine's only door to files, clocks and randomness: one table of functions.
 * Programs take varve_env_posix(), or wrap it; tests bring a simulated disk.
 *
 * Paths are NUL-terminated and are handed on as they are. Every function that returns int
 * returns 0 or a negative enum varve_status and fills err. Any thread may call any function;
 * calls on one file from several threads at once are allowed for read_at and sync, and for
 * write_at with sync or write_behind.
 *
 * Durability promises, which the tests' simulated disk makes as weak as stated here:
 * - write_at, truncate: nothing, until sync of that file returned 0; any subset of the touched
 *   512-byte sectors may be on disk after a power cut. The size is independent of the data.
 * - open with CREATE, rename, remove, link: nothing, until sync_dir of the directory returned 0;
 *   each may be on disk or not, independently of the others. The bytes of a file are as durable
 *   under a second name as under the first.
 * - sync or sync_dir that failed: what it covered may or may not reach the disk, now or later,
 *   even if a later call returns 0. No implementation repeats a failed sync, an interrupted one
 *   neither. */
#ifndef VARVE_ENV_H
#define VARVE_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "varve/api.h"
#include "varve/slice.h"
#include "varve/status.h"

VARVE_API_BEGIN

struct varve_env;
struct varve_file; /* opaque: an open file of one env */
struct varve_lock; /* opaque: a held lock of one env */

enum varve_open_flags {
    VARVE_OPEN_READ = 0,
    VARVE_OPEN_WRITE = 1,     /* read and write */
    VARVE_OPEN_CREATE = 2,    /* create if it does not exist; needs WRITE; mode 0600 */
    VARVE_OPEN_EXCLUSIVE = 4, /* with CREATE: fail with VARVE_EEXIST if it exists */
    VARVE_OPEN_RANDOM = 8,    /* a hint: reads come from anywhere; who walks says read_ahead */
};

/* Called once a directory entry (never "." or ".."), in no order. A non-zero return ends the
 * walk and is returned by list_dir. The name is borrowed for the call. */
typedef int (*varve_list_fn)(void *arg, const char *name);

struct varve_env_ops {
    int (*open)(struct varve_env *env, const char *path, unsigned flags, struct varve_file **file,
                struct varve_err *err);
    void (*close)(struct varve_env *env,
                  struct varve_file *file); /* takes NULL; promises nothing */

    /* Reads up to len bytes at offset; *got is less than len only at the end of the file. */
    int (*read_at)(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                   uint64_t offset, size_t *got, struct varve_err *err);
    /* The same of what is in the system's memory: VARVE_WOULD_BLOCK if any of it is not (or the
     * system cannot tell), and then *got is 0. */
    int (*read_at_nowait)(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                          uint64_t offset, size_t *got, struct varve_err *err);
    /* A hint: this range is read next, and may be brought into the system's memory. Does not wait, does not
     * fail. */
    void (*read_ahead)(struct varve_env *env, struct varve_file *file, uint64_t offset,
                       uint64_t len);
    /* Writes all parts, one after the other, from offset on. After an error any part of it may
     * have been written. */
    int (*write_at)(struct varve_env *env, struct varve_file *file, const struct varve_slice *parts,
                    size_t count, uint64_t offset, struct varve_err *err);
    /* A hint: this range is complete, its way to the disk may begin. Promises nothing, does not
     * fail. */
    void (*write_behind)(struct varve_env *env, struct varve_file *file, uint64_t offset,
                         uint64_t len);
    /* A hint: the file will grow to size_bytes. Where there is plenty of room that much may be set aside at
     * once; the file's size stays. 0: it does not grow any more, what was set aside goes back. Promises nothing, does
     * not fail. Nobody writes to the file during the call. */
    void (*reserve)(struct varve_env *env, struct varve_file *file, uint64_t size_bytes);
    /* Makes the file's data and size durable (fdatasync). */
    int (*sync)(struct varve_env *env, struct varve_file *file, struct varve_err *err);
    int (*size)(struct varve_env *env, struct varve_file *file, uint64_t *size_bytes,
                struct varve_err *err);
    int (*truncate)(struct varve_env *env, struct varve_file *file, uint64_t size_bytes,
                    struct varve_err *err);

    int (*make_dir)(struct varve_env *env, const char *path, struct varve_err *err); /* mode 0700 */
    int (*list_dir)(struct varve_env *env, const char *path, varve_list_fn fn, void *arg,
                    struct varve_err *err);
    int (*rename)(struct varve_env *env, const char *from, const char *to, struct varve_err *err);
    /* A second name for the file `from`, which then lives until both are removed. Fails with
     * VARVE_EEXIST if `to` exists. err->os_errno EXDEV, EPERM, EMLINK or EOPNOTSUPP: the file system
     * has no such name to give, and only a copy does. */
    int (*link)(struct varve_env *env, const char *from, const char *to, struct varve_err *err);
    /* A file or an empty directory. An open file stays readable until it is closed. */
    int (*remove)(struct varve_env *env, const char *path, struct varve_err *err);
    int (*sync_dir)(struct varve_env *env, const char *path, struct varve_err *err);

    /* Bytes that the file system of path has left for us. */
    int (*free_space)(struct varve_env *env, const char *path, uint64_t *bytes,
                      struct varve_err *err);
    /* Takes an exclusive lock that dies with the process; creates the file if need be. Returns
     * VARVE_ELOCKED if somebody has it. unlock takes NULL. */
    int (*lock)(struct varve_env *env, const char *path, struct varve_lock **lock,
                struct varve_err *err);
    void (*unlock)(struct varve_env *env, struct varve_lock *lock);

    uint64_t (*now_mono_us)(struct varve_env *env); /* microseconds, never goes back */
    uint64_t (*now_real_ms)(struct varve_env *env); /* milliseconds since the epoch, may jump */
    /* Fills data with random bytes (ids; not secrets). */
    void (*random)(struct varve_env *env, void *data, size_t len);
};

/* The first member of every env; an implementation adds its state behind it. */
struct varve_env {
    const struct varve_env_ops *ops;
};

/* The operating system's files and clocks. One for all; static storage. Any thread. */
struct varve_env *varve_env_posix(void);

VARVE_API_END

#endif
