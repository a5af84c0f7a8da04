/* sim_help.h - one-line file calls for the tests of the simulated disk. All assert success. */
#ifndef UNIT_SUPPORT_SIM_HELP_H
#define UNIT_SUPPORT_SIM_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim_env.h"

static inline struct varve_file *help_open(struct sim_env *sim, const char *path)
{
    struct varve_env *env = sim_as_env(sim);
    struct varve_file *file = NULL;

    assert_int_equal(env->ops->open(env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, NULL),
                     0);
    return file;
}

static inline void help_close(struct sim_env *sim, struct varve_file *file)
{
    sim_as_env(sim)->ops->close(sim_as_env(sim), file);
}

/* len bytes of value `fill` at offset. */
static inline void help_fill(struct sim_env *sim, struct varve_file *file, uint64_t offset,
                             size_t len, int fill)
{
    static uint8_t bytes[65536];
    struct varve_env *env = sim_as_env(sim);
    struct varve_slice part = varve_slice(bytes, len);

    assert_true(len <= sizeof(bytes));
    memset(bytes, fill, len);
    assert_int_equal(env->ops->write_at(env, file, &part, 1, offset, NULL), 0);
}

static inline void help_sync(struct sim_env *sim, struct varve_file *file)
{
    assert_int_equal(sim_as_env(sim)->ops->sync(sim_as_env(sim), file, NULL), 0);
}

static inline void help_sync_dir(struct sim_env *sim, const char *path)
{
    assert_int_equal(sim_as_env(sim)->ops->sync_dir(sim_as_env(sim), path, NULL), 0);
}

static inline void help_rename(struct sim_env *sim, const char *from, const char *to)
{
    assert_int_equal(sim_as_env(sim)->ops->rename(sim_as_env(sim), from, to, NULL), 0);
}

static inline void help_remove(struct sim_env *sim, const char *path)
{
    assert_int_equal(sim_as_env(sim)->ops->remove(sim_as_env(sim), path, NULL), 0);
}

static inline void help_make_dir(struct sim_env *sim, const char *path)
{
    assert_int_equal(sim_as_env(sim)->ops->make_dir(sim_as_env(sim), path, NULL), 0);
}

/* The size of the file, or -1 if there is none. */
static inline int64_t help_size(struct sim_env *sim, const char *path)
{
    struct varve_env *env = sim_as_env(sim);
    struct varve_file *file = NULL;
    uint64_t size_bytes = 0;

    if (env->ops->open(env, path, VARVE_OPEN_READ, &file, NULL) != 0)
        return -1;
    assert_int_equal(env->ops->size(env, file, &size_bytes, NULL), 0);
    env->ops->close(env, file);
    return (int64_t)size_bytes;
}

/* The byte at an offset, -1 behind the end or without the file. */
static inline int help_byte(struct sim_env *sim, const char *path, uint64_t offset)
{
    struct varve_env *env = sim_as_env(sim);
    struct varve_file *file = NULL;
    uint8_t byte = 0;
    size_t got = 0;

    if (env->ops->open(env, path, VARVE_OPEN_READ, &file, NULL) != 0)
        return -1;
    assert_int_equal(env->ops->read_at(env, file, &byte, 1, offset, &got, NULL), 0);
    env->ops->close(env, file);
    return got == 1 ? byte : -1;
}

/* The image of now. */
static inline struct sim_env *help_image(struct sim_env *sim, enum sim_policy policy, uint64_t seed)
{
    return sim_image(sim, sim_event_count(sim), policy, seed);
}

#endif
