/* The numbers of threads: a thread has one alone, and counts in its slot lose nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/thread.h"

#define CROWD (THREAD_SLOTS + 16) /* more than there are numbers */
#define COUNTS 20000

static struct mutex mutex;
static struct cond cond;
static unsigned arrived;
static unsigned crowd;
static _Atomic uint64_t counters[THREAD_SLOTS];
static unsigned owners[THREAD_SLOTS]; /* threads that had the number, of one crowd */

/* Nobody leaves before all have a number. */
static void run(void *arg)
{
    unsigned slot = thread_slot();

    (void)arg;
    CHECK(slot < THREAD_SLOTS);
    mutex_lock(&mutex);
    owners[slot]++;
    if (++arrived == crowd)
        cond_broadcast(&cond);
    while (arrived < crowd)
        cond_wait(&cond, &mutex);
    mutex_unlock(&mutex);
    for (int i = 0; i < COUNTS; i++)
        thread_count(&counters[thread_slot()]);
    CHECK(thread_slot() == slot);
}

static void run_crowd(unsigned count)
{
    struct thread threads[CROWD];

    arrived = 0;
    crowd = count;
    for (unsigned i = 0; i < THREAD_SLOTS; i++)
        owners[i] = 0;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(thread_start(&threads[i], "crowd", run, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        thread_join(&threads[i]);
}

static void test_thread_slot__one_thread_a_number(void **state)
{
    (void)state;
    run_crowd(8);
    assert_int_equal(owners[0], 0);
    for (unsigned i = 1; i < THREAD_SLOTS; i++)
        assert_true(owners[i] <= 1);
}

static void test_thread_slot__who_comes_late_shares(void **state)
{
    uint64_t before = 0;
    uint64_t after = 0;

    (void)state;
    for (unsigned i = 0; i < THREAD_SLOTS; i++)
        before += counters[i];
    for (int round = 0; round < 3; round++) { /* numbers come back */
        run_crowd(CROWD);
        assert_int_equal(owners[0], CROWD - (THREAD_SLOTS - 1));
        for (unsigned i = 1; i < THREAD_SLOTS; i++)
            assert_int_equal(owners[i], 1);
    }
    for (unsigned i = 0; i < THREAD_SLOTS; i++)
        after += counters[i];
    assert_int_equal(after - before, (uint64_t)3 * CROWD * COUNTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_slot__one_thread_a_number),
        cmocka_unit_test(test_thread_slot__who_comes_late_shares),
    };
    mutex_init(&mutex);
    cond_init(&cond);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
