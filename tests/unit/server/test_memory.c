/* The division of maxmemory, and what the machine has, by trees of /proc and /sys that are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/err.h"
#include "server/memory.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct memory_plan plan_of(uint64_t machine, uint64_t budget, uint64_t memtable,
                                  uint64_t cache)
{
    struct memory_wishes wishes = {.machine_bytes = machine,
                                   .budget_bytes = budget,
                                   .memtable_bytes = memtable,
                                   .memtables_max = 4,
                                   .cache_bytes = cache};
    struct memory_plan plan;

    assert_int_equal(memory_plan(&wishes, &plan, NULL), 0);
    assert_true(plan.memtables_bytes + plan.cache_bytes + MEMORY_PROGRAM_BYTES <=
                plan.budget_bytes);
    return plan;
}

static void test_plan__a_quarter_by_default(void **state)
{
    struct memory_plan plan = plan_of(16 * GIB, 0, 0, 0);

    (void)state;
    assert_int_equal(plan.budget_bytes, 4 * GIB);
    assert_int_equal(plan.memtable_bytes, 64 * MIB);
    assert_int_equal(plan.cache_bytes, 4 * GIB - 4 * 66 * MIB - MEMORY_PROGRAM_BYTES);
    assert_true(plan.cache_is_governed);
    assert_int_equal(plan_of(0, 0, 0, 0).budget_bytes, GIB); /* the system does not say */
}

static void test_plan__small_budgets(void **state)
{
    (void)state;
    assert_int_equal(plan_of(16 * GIB, 64 * MIB, 0, 0).memtable_bytes, 2 * MIB);
    assert_int_equal(plan_of(16 * GIB, 256 * MIB, 0, 0).memtable_bytes, 8 * MIB);
    assert_int_equal(plan_of(16 * GIB, 32 * MIB, 0, 0).memtable_bytes, MIB);
    assert_true(plan_of(16 * GIB, 26 * MIB, 0, 0).cache_bytes >= MEMORY_CACHE_MIN_BYTES);
    assert_int_equal(plan_of(16 * GIB, 64 * MIB, 0, 0).segment_bytes, 16 * MIB);
    assert_int_equal(plan_of(16 * GIB, GIB, 0, 0).segment_bytes, 64 * MIB);
}

static void test_plan__what_is_set_by_hand_stands(void **state)
{
    struct memory_plan plan = plan_of(16 * GIB, GIB, 16 * MIB, 100 * MIB);

    (void)state;
    assert_int_equal(plan.memtable_bytes, 16 * MIB);
    assert_int_equal(plan.cache_bytes, 100 * MIB);
    assert_false(plan.cache_is_governed);
    struct varve_stats engine = {0};
    assert_int_equal(memory_cache_target(&plan, 4 * GIB, &engine), 100 * MIB);
    /* More than a quarter, without a word about maxmemory: then that is the budget. */
    assert_int_equal(plan_of(4 * GIB, 0, 0, 3 * GIB).budget_bytes,
                     MEMORY_PROGRAM_BYTES + 4 * 34 * MIB + 3 * GIB);
}

static void test_plan__impossible_sums(void **state)
{
    static const struct {
        uint64_t budget, memtable, cache;
    } cases[] = {
        {8 * MIB, 0, 0},      {1, 0, 0},         {128 * MIB, 64 * MIB, 0},
        {256 * MIB, 0, GIB},  {0, 0, 4 * GIB},   {GIB, UINT64_MAX / 2, 0},
        {GIB, 0, UINT64_MAX}, {0, INT64_MAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct memory_wishes wishes = {.machine_bytes = 4 * GIB,
                                       .budget_bytes = cases[i].budget,
                                       .memtable_bytes = cases[i].memtable,
                                       .memtables_max = 4,
                                       .cache_bytes = cases[i].cache};
        struct memory_plan plan;
        struct varve_err err = {0};
        assert_int_equal(memory_plan(&wishes, &plan, &err), VARVE_EINVAL);
        assert_non_null(strstr(err.text, "maxmemory"));
        assert_non_null(strstr(err.text, "block-cache-size"));
    }
}

/* The one that was made at the start does not shrink with the budget, nor grow. */
static void test_plan__the_row_cache_stays(void **state)
{
    struct memory_wishes wishes = {.machine_bytes = 16 * GIB,
                                   .budget_bytes = GIB,
                                   .memtable_bytes = 2 * MIB,
                                   .memtables_max = 4,
                                   .row_cache_bytes = 64 * MIB};
    struct memory_plan start;
    struct memory_plan plan;

    (void)state;
    assert_int_equal(memory_plan(&wishes, &start, NULL), 0);
    assert_int_equal(start.row_cache_bytes, 64 * MIB);
    wishes.row_cache_made_bytes = start.row_cache_bytes;
    wishes.budget_bytes = 128 * MIB;
    assert_int_equal(memory_plan(&wishes, &plan, NULL), 0);
    assert_int_equal(plan.row_cache_bytes, 64 * MIB);
    assert_int_equal(plan.cache_bytes,
                     128 * MIB - 64 * MIB - plan.memtables_bytes - MEMORY_PROGRAM_BYTES);
    wishes.budget_bytes = 64 * MIB + MEMORY_PROGRAM_BYTES;
    assert_int_equal(memory_plan(&wishes, &plan, NULL), VARVE_EINVAL);
    /* Made under a small budget, it is small under a large one. */
    wishes.row_cache_made_bytes = 4 * MIB;
    wishes.budget_bytes = 4 * GIB;
    assert_int_equal(memory_plan(&wishes, &plan, NULL), 0);
    assert_int_equal(plan.row_cache_bytes, 4 * MIB);
}

/* Whatever grows beside the cache, it gives way to, and takes back. */
static void test_target__gives_way(void **state)
{
    struct memory_plan plan = plan_of(16 * GIB, GIB, 0, 0);
    struct varve_stats engine = {.cache_held_bytes = 600 * MIB, .cache_used_bytes = 600 * MIB};
    uint64_t at_rest = memory_cache_target(&plan, 620 * MIB, &engine);

    (void)state;
    assert_int_equal(at_rest, GIB - GIB / 32 - 20 * MIB - plan.memtables_bytes);
    assert_int_equal(memory_cache_target(&plan, 720 * MIB, &engine), at_rest - 100 * MIB);
    engine.pinned_bytes = 30 * MIB; /* counted by the limit of the cache, and not in its blocks */
    assert_int_equal(memory_cache_target(&plan, 650 * MIB, &engine), at_rest);
    engine.memtables_bytes = 100 * MIB; /* these have their part */
    assert_int_equal(memory_cache_target(&plan, 750 * MIB, &engine), at_rest);
    engine.memtables_bytes = 500 * MIB; /* one long value */
    assert_int_equal(memory_cache_target(&plan, 1150 * MIB, &engine),
                     at_rest + plan.memtables_bytes - 500 * MIB);
    assert_int_equal(memory_cache_target(&plan, 9 * GIB, &engine),
                     MEMORY_CACHE_MIN_BYTES + engine.pinned_bytes);
}

static void test_target__crumbs(void **state)
{
    struct memory_plan plan = plan_of(16 * GIB, GIB, 0, 0);
    struct varve_stats engine = {.cache_held_bytes = 600 * MIB, .cache_used_bytes = 600 * MIB};
    uint64_t whole = memory_cache_target(&plan, 620 * MIB, &engine);

    (void)state;
    engine.cache_free_bytes = 10 * MIB;
    engine.cache_used_bytes = 590 * MIB;
    assert_int_equal(memory_cache_target(&plan, 620 * MIB, &engine), whole - 10 * MIB);
    engine.cache_free_bytes = 500 * MIB; /* shrinking for being shrunk has an end */
    engine.cache_used_bytes = 100 * MIB;
    assert_int_equal(memory_cache_target(&plan, 620 * MIB, &engine), whole - whole / 8);
    engine.cache_free_bytes = 0;
    engine.cache_spare_bytes = 500 * MIB; /* which goes as soon as it is above, but for a chunk */
    engine.cache_used_bytes = 140 * MIB;  /* 40 of long values */
    assert_int_equal(memory_cache_target(&plan, 660 * MIB, &engine), whole - 2 * MIB);
    engine.cache_spare_bytes = 0;
    engine.cache_used_bytes = 640 * MIB; /* 40 of long values, not among the blocks */
    assert_int_equal(memory_cache_target(&plan, 660 * MIB, &engine), whole);
}

/* ---- the machine ---- */

static char root[64];

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/varve-memory-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char full[256];

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_machine__nothing_known(void **state)
{
    (void)state;
    assert_int_equal(memory_of_machine(root), 0);
    assert_true(memory_of_machine("") > MIB);
}

static void test_machine__version_2(void **state)
{
    (void)state;
    put("/proc/meminfo", "Foo: 1 kB\nMemTotal:       4194304 kB\nMemFree: 1 kB\n");
    assert_int_equal(memory_of_machine(root), 4 * GIB);
    put("/proc/self/cgroup", "0::/outer/inner\n");
    put("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
    assert_int_equal(memory_of_machine(root), 4 * GIB);
    put("/sys/fs/cgroup/outer/memory.max", "1073741824\n");
    assert_int_equal(memory_of_machine(root), GIB);
    put("/sys/fs/cgroup/outer/inner/memory.max", "104857600\n");
    assert_int_equal(memory_of_machine(root), 100 * MIB);
    put("/proc/self/cgroup", "0::/\n"); /* in a container with a view of its own */
    put("/sys/fs/cgroup/memory.max", "209715200\n");
    assert_int_equal(memory_of_machine(root), 200 * MIB);
}

static void test_machine__version_1(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal: 4194304 kB\n");
    put("/proc/self/cgroup",
        "12:cpu,cpuacct:/a\n5:memory:/docker/abc\nrubbish\n1:name=x:/\n0::/\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(memory_of_machine(root), 4 * GIB);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"); /* its own, in a container */
    assert_int_equal(memory_of_machine(root), 512 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan__a_quarter_by_default),
        cmocka_unit_test(test_plan__small_budgets),
        cmocka_unit_test(test_plan__what_is_set_by_hand_stands),
        cmocka_unit_test(test_plan__impossible_sums),
        cmocka_unit_test(test_plan__the_row_cache_stays),
        cmocka_unit_test(test_target__gives_way),
        cmocka_unit_test(test_target__crumbs),
        cmocka_unit_test_setup_teardown(test_machine__nothing_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_machine__version_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_machine__version_1, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
