#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

#include "base/rng.h"

/* The promise of VARVE_EVERYSEC, with syncs that take as long as they like: what a power cut could take
 * at any moment was acknowledged within one span of 2 s. Ticks come every 100 ms, as db.h asks. */
#define TICK_US ((uint64_t)100000)
#define SPAN_US ((uint64_t)2000000)
#define WRITES_MAX 4096

struct ack {
    uint64_t seq;
    uint64_t at_us; /* 0: held */
};

struct acks {
    struct ack items[WRITES_MAX];
    size_t count;
    size_t first; /* the first that is not durable */
    uint64_t held;
    uint64_t longest_us;
};

static uint64_t now_us(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);

    return env->ops->now_mono_us(env);
}

static void write_one(struct bed *bed, struct acks *acks)
{
    struct ack *ack = &acks->items[acks->count];

    if (acks->count == WRITES_MAX)
        return;
    assert_int_equal(bed_put(bed, "k", "some value that fills the small files of the test"), 0);
    *ack = (struct ack){.seq = bed->seq};
    if (varve_ack_seq(bed->db, ack->seq) <= varve_durable_seq(bed->db))
        ack->at_us = now_us(bed);
    else
        acks->held++;
    acks->count++;
}

static void check_span(struct bed *bed, struct acks *acks)
{
    uint64_t durable = varve_durable_seq(bed->db);
    uint64_t oldest = 0;

    while (acks->first < acks->count && acks->items[acks->first].seq <= durable)
        acks->first++;
    for (size_t i = acks->first; i < acks->count; i++) {
        uint64_t at = acks->items[i].at_us;
        if (at == 0)
            continue;
        if (oldest == 0)
            oldest = at;
        if (at - oldest > acks->longest_us)
            acks->longest_us = at - oldest;
    }
    assert_true(acks->longest_us <= SPAN_US);
}

static void test_everysec__span_of_what_may_go(void **state)
{
    static struct acks acks;

    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        static struct bed bed;
        struct rng rng;
        uint64_t sync_at = 0;
        bed_init(&bed, seed);
        bed.options.durability = VARVE_EVERYSEC;
        bed_open_ok(&bed);
        rng_init(&rng, seed);
        acks = (struct acks){0};
        uint64_t ticked = now_us(&bed);
        while (acks.count < 1500) {
            sim_clock_advance_us(bed.sim, rng_next(&rng) % 20000);
            if (now_us(&bed) - ticked >= TICK_US - 20000) {
                ticked = now_us(&bed);
                varve_tick(bed.db);
            }
            if (rng_next(&rng) % 4 != 0)
                write_one(&bed, &acks);
            while (step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE))
                ;
            if (step_waiting(bed.stepper, VARVE_JOB_SYNC) > 0 && sync_at == 0)
                sync_at = now_us(&bed) + rng_next(&rng) % (seed % 3 == 0 ? 5000000 : 1500000);
            if (sync_at != 0 && now_us(&bed) >= sync_at) {
                (void)step_run_class(bed.stepper, VARVE_JOB_SYNC);
                sync_at = 0;
            }
            check_span(&bed, &acks);
        }
        if (seed % 3 == 0)
            assert_true(acks.held > 0); /* such syncs are too slow for the writers */
        assert_true(acks.longest_us > SPAN_US / 4);
        bed_deinit(&bed);
    }
}

#define MIB ((uint64_t)1 << 20)

/* What was written begins its way to the disk a MiB at a time, each page once, in the next file from its beginning. */
static void test_everysec__the_log_is_written_behind(void **state)
{
    static uint8_t value[100 * 1000];
    struct fault_range last = {0};
    uint64_t count = 0;
    uint64_t end = 0;
    uint64_t files = 1;
    struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.durability = VARVE_EVERYSEC;
    bed.options.wal_size_bytes = 4 * MIB;
    bed.options.memtable_size_bytes = 64 * MIB;
    bed_open_ok(&bed);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bed_put_bytes(&bed, "k", varve_slice(value, sizeof(value)), 0), 0);
        bed_run(&bed);
        struct fault_range before = last;
        if (fault_env_behind(bed.fault, &last) == count)
            continue;
        assert_int_equal(fault_env_behind(bed.fault, &last), ++count);
        files += last.offset == 0 && before.len != 0;
        assert_int_equal(last.offset, last.offset == 0 ? 0 : end);
        assert_int_equal(last.offset % 4096, 0);
        assert_in_range(last.len, MIB - 4096, MIB + sizeof(value));
        end = last.offset + last.len;
    }
    assert_int_equal(files, 3); /* of 10 MB */
    assert_int_equal(count, 7); /* three, three and one */
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everysec__span_of_what_may_go),
        cmocka_unit_test(test_everysec__the_log_is_written_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
