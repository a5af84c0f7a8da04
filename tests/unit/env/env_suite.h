/* env_suite.h - what every env must do, run over each of them. cmocka's state is a struct
 * env_fixture; the group's set-up makes it, each test works in a directory of its own. */
#ifndef UNIT_ENV_SUITE_H
#define UNIT_ENV_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "varve/env.h"

struct env_fixture {
    struct varve_env *env;
    char root[128]; /* a directory that exists */
    int next_dir;
    char dir[160]; /* of the running test; made anew by env_suite_setup */
    struct varve_err err;
    void *owned; /* the group's own */
};

int env_suite_setup(void **state); /* a test's set-up: a fresh fixture->dir */

/* "DIR/name", in one of four static buffers. */
const char *env_suite_path(const struct env_fixture *fixture, const char *name);

/* Runs the suite as one group; returns what cmocka returns. */
int env_suite_run(const char *name, CMFixtureFunction setup, CMFixtureFunction teardown);

#endif
