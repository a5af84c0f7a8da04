/* Every allocation of ours fails, once and from then on: an error, never a crash, a leak or half a
 * batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "workload.h"

static uint64_t points;

static void sweep(const char *name, const struct step *script, enum varve_durability durability,
                  int sticky)
{
    static struct run run;
    int wrong = 0;
    int leaks = 0;
    int fired = 1;

    for (uint64_t nth = 1; fired; nth++) {
        uint64_t used_before = mem_used_bytes();
        run_init(&run, name, nth, durability, script);
        run.fail_alloc = nth;
        run.fail_alloc_sticky = sticky;
        run_script(&run);
        fired = run.allocs >= nth;
        run_recover(&run);
        points += (uint64_t)fired;
        wrong += run.wrong > 0;
        run_deinit(&run);
        if (mem_used_bytes() != used_before && ++leaks <= 3)
            printf("WRONG: %s, allocation %llu: memory leaks\n", name, (unsigned long long)nth);
    }
    printf("%s: %llu fault points up to now\n", name, (unsigned long long)points);
    assert_int_equal(wrong, 0);
    assert_int_equal(leaks, 0);
}

static void test_oom__once(void **state)
{
    (void)state;
    sweep("always, once", workload_plain, VARVE_ALWAYS, 0);
    sweep("everysec, once", workload_plain, VARVE_EVERYSEC, 0);
}

static void test_oom__sticky(void **state)
{
    (void)state;
    sweep("always, sticky", workload_plain, VARVE_ALWAYS, 1);
    sweep("no, sticky", workload_plain, VARVE_NO, 1);
}

static void test_oom_levels__once(void **state)
{
    (void)state;
    sweep("levels always, once", workload_levels, VARVE_ALWAYS, 0);
    sweep("full everysec, once", workload_full, VARVE_EVERYSEC, 0);
}

static void test_oom_levels__sticky(void **state)
{
    (void)state;
    sweep("levels everysec, sticky", workload_levels, VARVE_EVERYSEC, 1);
}

static void test_oom__while_healing_once(void **state)
{
    (void)state;
    sweep("healing always, once", workload_healing, VARVE_ALWAYS, 0);
    sweep("healing everysec, once", workload_healing, VARVE_EVERYSEC, 0);
}

static void test_oom__while_healing_sticky(void **state)
{
    (void)state;
    sweep("healing always, sticky", workload_healing, VARVE_ALWAYS, 1);
}

/* With an argument: the tests that this pattern names. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oom__once),
        cmocka_unit_test(test_oom__sticky),
        cmocka_unit_test(test_oom_levels__once),
        cmocka_unit_test(test_oom_levels__sticky),
        cmocka_unit_test(test_oom__while_healing_once),
        cmocka_unit_test(test_oom__while_healing_sticky),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
