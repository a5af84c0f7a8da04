/* value_sim [DATA_GB [BOUND]] - what it would cost to keep large values in files of their own (decisions/0023).
 *
 * The tree (levels.h) holds references of 40 bytes; a flush writes its values into value files. That a value is
 * dead is known once a merge of the tree drops its reference. When all of it, tree and value files, takes more
 * than the bound allows, the file with the most known dead bytes is collected: each of its values is looked
 * up in the tree, those that live are written anew, and their references as a run of the tree.
 * Beside it the same writes into a tree that holds the values itself. Both may take the same share of
 * the bound, 17 of 20 %; of that, the tree of references takes the share that turns out best. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "levels.h"

#define MB ((uint64_t)1 << 20)
#define GB ((uint64_t)1 << 30)
#define REFERENCE_BYTES 40
#define FLUSH_BYTES (64 * MB)
#define FILE_BYTES (16 * MB)
#define KNOWN_MIN 0.02 /* of a file has to be known dead for it to be collected */

struct value {
    uint32_t slot;
    uint64_t seq;
};

struct value_file {
    struct value *values;
    uint32_t count;
    uint32_t dead; /* known */
    int gone;
};

struct sim {
    struct levels tree;
    struct rng rng;
    uint32_t slots;
    uint64_t value_bytes; /* of a slot */
    uint32_t file_values;
    struct value_file *files;
    size_t file_count;
    size_t file_cap;
    size_t open[2];    /* of flushes, of collections */
    uint32_t *file_of; /* by sequence */
    size_t file_of_cap;
    uint64_t held; /* values in files */
    uint64_t written_bytes;
    int collecting;
    double limit; /* of all bytes, in parts of what is needed */
    double *zipf;
    double space;
    double space_most;
    uint64_t samples;
};

static struct value_file *file_open(struct sim *sim, int which)
{
    size_t at = sim->open[which];

    if (at < sim->file_count && sim->files[at].count < sim->file_values && !sim->files[at].gone)
        return &sim->files[at];
    if (sim->file_count == sim->file_cap) {
        sim->file_cap = sim->file_cap == 0 ? 256 : 2 * sim->file_cap;
        sim->files = mem_realloc(sim->files, sim->file_cap * sizeof(*sim->files));
        EXPECT(sim->files != NULL);
    }
    sim->open[which] = sim->file_count;
    struct value_file *file = &sim->files[sim->file_count++];
    *file = (struct value_file){.values = mem_alloc(sim->file_values * sizeof(struct value))};
    EXPECT(file->values != NULL);
    return file;
}

static void on_flushed(void *arg, const struct slot_entry *entry)
{
    struct sim *sim = arg;
    struct value_file *file = file_open(sim, sim->collecting);

    if (entry->seq >= sim->file_of_cap) {
        sim->file_of_cap = 2 * (size_t)entry->seq + 1024;
        sim->file_of = mem_realloc(sim->file_of, sim->file_of_cap * sizeof(uint32_t));
        EXPECT(sim->file_of != NULL);
    }
    file->values[file->count++] = (struct value){.slot = entry->slot, .seq = entry->seq};
    sim->file_of[entry->seq] = (uint32_t)(file - sim->files);
    sim->held++;
    sim->written_bytes += sim->value_bytes;
}

static void on_dropped(void *arg, const struct slot_entry *entry)
{
    struct sim *sim = arg;

    sim->files[sim->file_of[entry->seq]].dead++;
}

static double space_of(const struct sim *sim)
{
    uint64_t needed = sim->slots * (sim->value_bytes + sim->tree.config.slot_bytes);

    return (double)(sim->held * sim->value_bytes + levels_bytes(&sim->tree)) / (double)needed;
}

/* 0: no file is worth it. */
static int collect(struct sim *sim)
{
    struct value_file *best = NULL;

    for (size_t i = 0; i < sim->file_count; i++) {
        struct value_file *file = &sim->files[i];
        if (!file->gone && file->count == sim->file_values &&
            (best == NULL || file->dead > best->dead))
            best = file;
    }
    if (best == NULL || best->dead < KNOWN_MIN * best->count)
        return 0;
    struct value *values = best->values;
    uint32_t count = best->count;
    best->gone = 1;
    best->values = NULL;
    sim->held -= count;
    sim->collecting = 1;
    uint64_t user = sim->tree.user_bytes;
    for (uint32_t i = 0; i < count; i++)
        if (sim->tree.truth[values[i].slot].seq == values[i].seq)
            levels_write(&sim->tree, values[i].slot, 0);
    if (sim->tree.memtable_count > 0)
        levels_flush(&sim->tree);
    sim->tree.user_bytes = user;
    sim->collecting = 0;
    levels_drain(&sim->tree);
    mem_free(values);
    return 1;
}

static uint32_t next_slot(struct sim *sim)
{
    if (sim->zipf == NULL)
        return (uint32_t)rng_below(&sim->rng, sim->slots);
    double dice = (double)rng_below(&sim->rng, 1u << 30) / (1u << 30) * sim->zipf[sim->slots - 1];
    uint32_t low = 0, high = sim->slots - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sim->zipf[middle] < dice)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)((uint64_t)low * 40503 % sim->slots);
}

static void write_one(struct sim *sim, uint32_t slot, int measuring)
{
    if (!levels_write(&sim->tree, slot, 0))
        return;
    levels_drain(&sim->tree);
    while (sim->value_bytes > 0 && space_of(sim) > sim->limit && collect(sim))
        continue;
    if (!measuring)
        return;
    double space = space_of(sim);
    sim->samples++;
    sim->space += space;
    sim->space_most = space > sim->space_most ? space : sim->space_most;
}

struct question {
    uint64_t data;
    uint64_t value; /* bytes of one; 0: the tree holds them */
    int zipf;
    double bound;
    double share; /* of the bound's surplus that the tree of references may take */
};

struct answer {
    double write;
    double space;
    double space_most;
};

static void sim_init(struct sim *sim, const struct question *q, struct picker_tuning *tuning)
{
    uint64_t slots = q->data > 20 * GB ? 131072 : 65536;
    uint64_t all = q->data / slots;
    uint64_t entry = q->value == 0 ? all : all * REFERENCE_BYTES / (q->value + REFERENCE_BYTES);
    double surplus = 0.85 * (q->bound - 1);

    sim->slots = (uint32_t)slots;
    sim->value_bytes = all - entry;
    sim->file_values = (uint32_t)(FILE_BYTES / all);
    sim->limit = 1 + surplus;
    rng_init(&sim->rng, 1);
    *tuning = picker_default_tuning;
    tuning->upper_percent = (uint32_t)(100 * surplus * q->share + 0.5);
    struct levels_config config = {.slots = sim->slots,
                                   .slot_bytes = entry,
                                   .tombstone_bytes = 1,
                                   .flush_bytes = FLUSH_BYTES / all * entry,
                                   .segment_bytes = 64 * MB,
                                   .cut_min_bytes = MB,
                                   .segments_max = 4096,
                                   .hiding_percent = 100,
                                   .tuning = tuning,
                                   .arg = sim};
    if (q->value > 0) {
        config.flushed = on_flushed;
        config.dropped = on_dropped;
    }
    levels_init(&sim->tree, &config);
    if (!q->zipf)
        return;
    sim->zipf = mem_alloc(slots * sizeof(double));
    EXPECT(sim->zipf != NULL);
    for (uint32_t i = 0; i < slots; i++)
        sim->zipf[i] = (i > 0 ? sim->zipf[i - 1] : 0) + pow(i + 1, -0.99);
}

static void sim_deinit(struct sim *sim)
{
    for (size_t i = 0; i < sim->file_count; i++)
        mem_free(sim->files[i].values);
    mem_free(sim->files);
    mem_free(sim->file_of);
    mem_free(sim->zipf);
    levels_deinit(&sim->tree);
}

static struct answer ask(const struct question *q)
{
    struct sim sim = {0};
    struct picker_tuning tuning;

    sim_init(&sim, q, &tuning);
    for (uint32_t i = 0; i < sim.slots; i++)
        write_one(&sim, (uint32_t)((uint64_t)i * 40503 % sim.slots), 0);
    for (uint32_t i = 0; i < sim.slots; i++)
        write_one(&sim, next_slot(&sim), 0);
    uint64_t written = sim.written_bytes + sim.tree.written_bytes;
    for (uint32_t i = 0; i < sim.slots; i++)
        write_one(&sim, next_slot(&sim), 1);
    written = sim.written_bytes + sim.tree.written_bytes - written;
    uint64_t user = sim.slots * (sim.value_bytes + sim.tree.config.slot_bytes);
    struct answer answer = {.write = (double)written / (double)user,
                            .space = sim.space / (double)sim.samples,
                            .space_most = sim.space_most};
    sim_deinit(&sim);
    return answer;
}

/* The tree's share of the surplus that costs least while the bound holds. */
static struct answer ask_best(struct question *q)
{
    static const double shares[] = {0.4, 0.7, 0.85};
    struct answer best = {0};

    for (size_t i = 0; i < COUNT_OF(shares); i++) {
        struct question one = *q;
        one.share = shares[i];
        struct answer answer = ask(&one);
        if (answer.space > q->bound || (best.write > 0 && answer.write >= best.write))
            continue;
        best = answer;
        q->share = one.share;
    }
    return best;
}

static void print_rows(uint64_t data, int zipf, double bound)
{
    static const uint64_t values[] = {1024, 4096, 16384};
    struct question q = {.data = data, .zipf = zipf, .bound = bound, .share = 1};
    struct answer whole = ask(&q);

    printf("| %llu GB | %s | %.1f | %.2f (%.2f)", (unsigned long long)(data / GB),
           zipf ? "zipf" : "uniform", bound, whole.write, whole.space);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        q.value = values[i];
        q.share = 0;
        struct answer answer = ask_best(&q);
        if (answer.write > 0)
            printf(" | %.2f (%.2f), %.0f %%, %.2f", answer.write, answer.space, 100 * q.share,
                   whole.write / answer.write);
        else
            printf(" | -");
        fflush(stdout);
    }
    printf(" |\n");
}

int main(int argc, char **argv)
{
    static const uint64_t sizes[] = {1, 5, 20, 100};
    static const double bounds[] = {1.2, 1.3, 1.5, 2.0};
    uint64_t only = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    double only_bound = argc > 2 ? strtod(argv[2], NULL) : 0;

    printf("| data | writes | bound | tree | 1 KiB | 4 KiB | 16 KiB "
           "|\n|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int zipf = 0; zipf < 2; zipf++)
            for (size_t b = 0; b < COUNT_OF(bounds); b++)
                if ((only == 0 || only == sizes[i]) &&
                    (argc <= 2 || fabs(only_bound - bounds[b]) < 0.01))
                    print_rows(sizes[i] * GB, zipf, bounds[b]);
    return 0;
}
