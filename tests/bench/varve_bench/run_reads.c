#include "run_reads.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "ticks.h"

#define ENTER_READS 64         /* reads between enter and leave */
#define WRITER_NAP_NS 200000   /* of readwhilewriting, when it is ahead */
#define READ_SEED UINT64_C(77) /* not the one of the data */

struct team;

struct reader {
    struct team *team;
    struct run *run;
    void *handle;
    uint64_t ops;
    struct rng rng;
    enum workload workload;
    int paces; /* it stands for the program's loop: the thread that writes */
    struct thread thread;
    struct histogram histogram;
};

struct team {
    uint32_t count;
    _Atomic uint64_t done; /* reads of all */
    struct reader *readers;
};

static void enter(struct reader *reader)
{
    if (reader->run->engine->enter != NULL)
        reader->run->engine->enter(reader->handle);
}

static void leave(struct reader *reader)
{
    if (reader->run->engine->leave != NULL)
        reader->run->engine->leave(reader->handle);
}

/* ---- gets ---- */

static void get_one(struct reader *reader)
{
    struct run *run = reader->run;
    uint64_t n = rng_below(&reader->rng, run->data.keys);
    uint64_t missing = reader->workload == READMISSING;
    uint8_t text[KEY_BYTES_MAX];
    struct varve_slice value = {0};
    struct varve_slice key = data_key(&run->data, 2 * n + missing, text);
    uint64_t begin = ticks_now();
    int found = run->engine->get(reader->handle, key, &value);

    histogram_add(&reader->histogram, ticks_now() - begin);
    if (found == (int)missing)
        bench_fail("key %" PRIu64 " is %s", n, found ? "there, and was never written" : "missing");
    if (!found)
        return;
    if (!data_check(&run->data, n, run->first_version, run->last_version, value, 0))
        bench_fail("key %" PRIu64 " has a wrong value", n);
    if (run->engine->release != NULL)
        run->engine->release(reader->handle);
}

/* ---- a seek, and some nexts ---- */

static void expect_entry(struct reader *reader, uint64_t n)
{
    struct run *run = reader->run;
    uint8_t text[KEY_BYTES_MAX];
    struct varve_slice key;
    struct varve_slice value;
    int there = run->engine->entry(reader->handle, &key, &value);

    if (there != (n < run->data.keys))
        bench_fail("a scan %s key %" PRIu64, there ? "goes on behind" : "ends before", n);
    if (there && (!varve_slice_equal(key, data_key(&run->data, 2 * n, text)) ||
                  !data_check(&run->data, n, run->first_version, run->last_version, value, 1)))
        bench_fail("a scan is wrong at key %" PRIu64, n);
}

static void seek_one(struct reader *reader)
{
    struct run *run = reader->run;
    uint64_t number = rng_below(&reader->rng, 2 * run->data.keys);
    uint64_t n = (number + 1) / 2; /* the first key that is there */
    uint8_t text[KEY_BYTES_MAX];
    struct varve_slice key = data_key(&run->data, number, text);
    uint64_t begin = ticks_now();

    run->engine->seek(reader->handle, &key);
    expect_entry(reader, n);
    for (int i = 0; i < SEEK_NEXTS && n < run->data.keys; i++) {
        run->engine->next(reader->handle);
        expect_entry(reader, ++n);
    }
    run->engine->seek_end(reader->handle);
    histogram_add(&reader->histogram, ticks_now() - begin);
}

/* ---- threads ---- */

static void reader_run(void *arg)
{
    struct reader *reader = arg;

    for (uint64_t i = 0; i < reader->ops;) {
        uint64_t end = i + ENTER_READS < reader->ops ? i + ENTER_READS : reader->ops;
        atomic_fetch_add_explicit(&reader->team->done, end - i, memory_order_relaxed);
        enter(reader);
        for (; i < end; i++)
            reader->workload == SEEKRANDOM ? seek_one(reader) : get_one(reader);
        leave(reader);
        if (reader->paces)
            run_pace(reader->run, ticks_now());
    }
}

static void team_init(struct team *team, struct run *run, const struct step *step)
{
    uint64_t ops = run->config->reads != 0 ? run->config->reads : run->config->keys;

    memset(team, 0, sizeof *team);
    team->count = run->config->threads;
    team->readers = mem_alloc_zero(team->count * sizeof *team->readers);
    if (team->readers == NULL)
        bench_fail("no memory for readers");
    for (uint32_t i = 0; i < team->count; i++) {
        struct reader *reader = &team->readers[i];
        reader->team = team;
        reader->run = run;
        reader->workload = step->workload;
        reader->ops = ops / team->count + (i < ops % team->count);
        reader->handle = run->engine->reader_open(run->db);
        rng_init(&reader->rng, run->config->seed * READ_SEED + step->round * THREADS_MAX + i);
    }
}

static void reader_start(struct reader *reader)
{
    if (thread_start(&reader->thread, "reader", reader_run, reader) != 0)
        bench_fail("a thread cannot be started");
}

/* Ends what reader_start() began, from `first` on; returns the operations of all. */
static uint64_t team_end(struct team *team, uint32_t first)
{
    uint64_t ops = 0;

    for (uint32_t i = 0; i < team->count; i++) {
        struct reader *reader = &team->readers[i];
        if (i >= first)
            thread_join(&reader->thread);
        histogram_merge(&reader->run->histogram, &reader->histogram);
        reader->run->engine->reader_close(reader->handle);
        ops += reader->ops;
    }
    mem_free(team->readers);
    return ops;
}

/* The first reader is the thread that would write, and does what belongs to it. */
static uint64_t run_team(struct run *run, const struct step *step)
{
    struct team team;

    team_init(&team, run, step);
    team.readers[0].paces = 1;
    for (uint32_t i = 1; i < team.count; i++)
        reader_start(&team.readers[i]);
    reader_run(&team.readers[0]);
    return team_end(&team, 1);
}

uint64_t run_gets(struct run *run, const struct step *step)
{
    return run_team(run, step);
}

uint64_t run_seeks(struct run *run, const struct step *step)
{
    return run_team(run, step);
}

uint64_t run_scan(struct run *run)
{
    struct step step = {.workload = READSEQ};
    struct team team;
    uint64_t n = 0;

    team_init(&team, run, &step);
    struct reader *reader = &team.readers[0];
    enter(reader);
    uint64_t begin = ticks_now();
    run->engine->seek(reader->handle, NULL);
    for (expect_entry(reader, n); n < run->data.keys; expect_entry(reader, n)) {
        run->engine->next(reader->handle);
        n++;
        uint64_t now = ticks_now();
        histogram_add(&reader->histogram, now - begin);
        run_pace(run, now);
        begin = now;
    }
    run->engine->seek_end(reader->handle);
    leave(reader);
    for (uint32_t i = 0; i < team.count; i++)
        team.readers[i].ops = i == 0 ? n : 0;
    return team_end(&team, team.count);
}

/* The writer keeps its share of what the readers did: every engine writes the same number of keys. */
uint64_t run_reads_beside_writes(struct run *run, const struct step *step)
{
    const struct timespec nap = {.tv_nsec = WRITER_NAP_NS};
    struct team team;
    struct rng rng;
    uint64_t all = 0;
    uint64_t written = 0;

    rng_init(&rng, run->config->seed + step->round);
    run->last_version++; /* before a reader looks at it */
    team_init(&team, run, step);
    for (uint32_t i = 0; i < team.count; i++) {
        all += team.readers[i].ops;
        reader_start(&team.readers[i]);
    }
    while (written < all / READS_PER_WRITE) {
        if (written < atomic_load_explicit(&team.done, memory_order_relaxed) / READS_PER_WRITE) {
            run_put(run, rng_below(&rng, run->data.keys), run->last_version, NULL);
            written++;
        } else {
            run_pace(run, ticks_now());
            nanosleep(&nap, NULL);
        }
    }
    return team_end(&team, 0);
}
