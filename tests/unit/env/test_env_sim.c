/* The simulated disk, bare and behind a wrapper without a plan, behaves as the real one does. */
#include "env_suite.h"

#include <string.h>

#include "fault_env.h"
#include "sim_env.h"

struct owned {
    struct sim_env *sim;
    struct fault_env *fault;
};

static int sim_setup(void **state)
{
    static struct env_fixture fixture;
    static struct owned owned;

    owned = (struct owned){.sim = sim_env_create(1)};
    fixture = (struct env_fixture){.env = sim_as_env(owned.sim), .owned = &owned};
    memcpy(fixture.root, "/data", sizeof("/data"));
    *state = &fixture;
    return fixture.env->ops->make_dir(fixture.env, fixture.root, &fixture.err);
}

static int fault_setup(void **state)
{
    struct env_fixture *f;
    struct owned *owned;
    int rc = sim_setup(state);

    f = *state;
    owned = f->owned;
    owned->fault = fault_env_create(f->env);
    f->env = fault_as_env(owned->fault);
    return rc;
}

static int teardown(void **state)
{
    struct env_fixture *f = *state;
    struct owned *owned = f->owned;

    fault_env_destroy(owned->fault);
    sim_env_destroy(owned->sim);
    return 0;
}

int main(void)
{
    int failed = env_suite_run("sim", sim_setup, teardown);

    return failed + env_suite_run("sim behind a wrapper", fault_setup, teardown);
}
