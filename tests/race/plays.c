#include "plays.h"

#include <inttypes.h>
#include <stdio.h>

#include "lsm/db.h"
#include "segment/segment_impl.h"
#include "segment/segment_writer.h"
#include "sim_env.h"

#define SEQS_MAX 6 /* segment n holds the key's value of sequence n */
#define RECLAIMS_MAX 8

static struct varve_db db;
static struct sim_env *sim;
static struct cache *cache; /* always empty: what does not change is no step */
static struct segment *segments[SEQS_MAX + 1];
static enum weave_urcu_bug planted;

/* ---- segments, made once ---- */

static struct varve_slice the_key(void)
{
    return varve_slice_str("key");
}

static struct chunk the_chunk(uint64_t seq, char text[24])
{
    snprintf(text, 24, "value %" PRIu64, seq);
    struct chunk chunk = {.kind = CHUNK_PUT, .key = the_key(), .value = varve_slice_str(text)};
    chunk.crc = chunk_crc(&chunk);
    return chunk;
}

static struct segment *make_segment(uint64_t seq)
{
    static const struct dir_id id;
    struct varve_env *env = sim_as_env(sim);
    struct segment_writer_options options = {
        .env = env, .id = &id, .block_size_bytes = 512, .bits_per_key = 10};
    struct segment_writer *writer;
    struct segment *segment;
    char text[24];
    char path[32];
    struct entry entry = {.chunk = the_chunk(seq, text), .seq = seq};

    snprintf(path, sizeof(path), "/%06" PRIu64 ".seg", seq);
    CHECK(segment_writer_create(&options, path, seq, &writer, NULL) == 0);
    CHECK(segment_writer_add(writer, &entry, NULL) == 0);
    CHECK(segment_writer_finish(writer, NULL) == 0);
    segment_writer_destroy(writer);
    CHECK(segment_open(env, path, &id, seq, NULL, &segment, NULL) == 0);
    return segment;
}

void plays_init(void)
{
    sim = sim_env_create(1);
    cache = cache_create((uint64_t)1024 * 1024);
    CHECK(cache != NULL);
    for (uint64_t seq = 1; seq <= SEQS_MAX; seq++)
        segments[seq] = make_segment(seq);
}

void plays_deinit(void)
{
    for (uint64_t seq = 1; seq <= SEQS_MAX; seq++)
        segment_unref(segments[seq]);
    cache_destroy(cache);
    sim_env_destroy(sim);
}

void plays_plant(enum weave_urcu_bug bug)
{
    planted = bug;
}

/* ---- what the threads do ---- */

static void put(uint64_t seq)
{
    enum memtable_prior prior;
    struct memtable_undo undo;
    char text[24];
    struct chunk chunk = the_chunk(seq, text);

    WEAVE_CHECK(memtable_add(db.memtable, seq, &chunk, &prior, &undo) == 0);
    atomic_store_explicit(&db.visible_seq, seq, memory_order_release);
}

static void swap(void)
{
    struct memtable *fresh = memtable_create();

    WEAVE_CHECK(view_swap_memtable(&db.view, fresh) == 0);
    db.memtable = fresh;
}

static void install(const struct version_change *change, const struct memtable *flushed)
{
    struct view *prepared;

    WEAVE_CHECK(view_prepare(&db.view, change, &prepared, NULL) == 0);
    view_install(&db.view, prepared, flushed);
}

/* The oldest immutable memtable, whose newest record is that of seq, becomes a segment. */
static void flush(uint64_t seq)
{
    struct view *view = view_acquire(&db.view);
    WEAVE_CHECK(view->immutable_count > 0);
    struct memtable *oldest = view->immutable[view->immutable_count - 1];
    struct version_add add = {.segment = segments[seq], .run_no = seq};
    struct version_change change = {.added = &add, .added_count = 1, .flushed_seq = seq};

    if (db.rows != NULL)
        row_cache_flush(db.rows, oldest, seq);
    install(&change, oldest);
    view_release(&db.view, view);
}

/* Two segments are merged into the second one, a level below. */
static void merge(uint64_t older, uint64_t newer)
{
    uint64_t dropped[] = {older, newer};
    struct version_add add = {.segment = segments[newer], .level = 1};
    struct version_change change = {
        .dropped = dropped, .dropped_count = 2, .added = &add, .added_count = 1};

    install(&change, NULL);
}

static void check_view(const struct view *view, uint64_t seq)
{
    const struct segment_read how = {.wait = SEGMENT_WAIT};
    struct segment_hold hold;
    struct memtable *memtable;
    struct entry entry;
    char text[24];
    struct chunk expected = the_chunk(seq, text);

    weave_touch(view);
    WEAVE_CHECK(db_lookup(&db, view, 0, the_key(), seq, &how, &entry, &hold, &memtable, NULL) == 0);
    WEAVE_CHECK(entry.seq == seq);
    WEAVE_CHECK(varve_slice_equal(entry.chunk.value, expected.value));
    weave_touch(view);
    weave_touch(view->version);
    if (memtable != NULL)
        weave_touch(entry.chunk.value.data);
    segment_hold_release(&hold);
}

static void read_newest(void)
{
    uint64_t least = atomic_load_explicit(&db.visible_seq, memory_order_acquire);
    uint64_t seq;

    rcu_enter();
    const struct view *view = db_read_view(&db, NULL, &seq);
    WEAVE_CHECK(seq >= least);
    check_view(view, seq);
    rcu_leave();
}

/* A get by the public call; its pin outlives the memtable. */
static void read_pinned(void)
{
    uint64_t least = atomic_load_explicit(&db.visible_seq, memory_order_acquire);
    struct varve_pin pin;
    char text[24];

    WEAVE_CHECK(varve_get(&db, NULL, the_key(), &pin, NULL) == 0);
    WEAVE_CHECK(pin.seq >= least);
    struct chunk expected = the_chunk(pin.seq, text);
    weave_touch(pin.value.data);
    WEAVE_CHECK(varve_slice_equal(pin.value, expected.value));
    varve_pin_release(&pin);
}

/* As iterators do: the view is held, and looked at later. */
static void read_held(void)
{
    uint64_t seq;

    rcu_enter();
    struct view *view = db_read_view(&db, NULL, &seq);
    view_ref(view);
    rcu_leave();
    rcu_enter();
    check_view(view, seq);
    rcu_leave();
    view_release(&db.view, view);
}

/* ---- things that are retired by themselves ---- */

struct thing {
    struct rcu_retired retired;
    _Atomic uint64_t number;
};

static struct thing *_Atomic shared;
static uint64_t freed; /* a bit for each number */

static struct thing *make_thing(uint64_t number)
{
    struct thing *thing = mem_alloc(sizeof(*thing));

    WEAVE_CHECK(thing != NULL);
    atomic_init(&thing->number, number);
    return thing;
}

static void free_thing(struct rcu_retired *retired)
{
    struct thing *thing = CONTAINER_OF(retired, struct thing, retired);
    uint64_t bit = (uint64_t)1 << atomic_load_explicit(&thing->number, memory_order_relaxed);

    WEAVE_CHECK((freed & bit) == 0);
    freed |= bit;
    mem_free(thing);
}

static void replace_thing(uint64_t number)
{
    struct thing *before = atomic_exchange_explicit(&shared, make_thing(number),
                                                    memory_order_acq_rel);

    rcu_retire(&before->retired, free_thing);
}

static void look_at_thing(void)
{
    rcu_enter();
    struct thing *thing = atomic_load_explicit(&shared, memory_order_acquire);
    uint64_t number = atomic_load_explicit(&thing->number, memory_order_relaxed);
    WEAVE_CHECK(number <= 4);
    WEAVE_CHECK(atomic_load_explicit(&thing->number, memory_order_relaxed) == number);
    rcu_leave();
}

static void reclaim(void)
{
    (void)rcu_reclaim();
}

static void replace_and_reclaim(void)
{
    replace_thing(1);
    (void)rcu_reclaim();
}

static void replace_other(void)
{
    replace_thing(2);
}

static void replace_twice(void)
{
    replace_thing(3);
    replace_thing(4);
}

static void look_twice(void)
{
    look_at_thing();
    look_at_thing();
}

/* ---- threads ---- */

static void put_two(void)
{
    put(2);
    put(3);
}

static void swap_between(void)
{
    put(2);
    swap();
    put(3);
}

static void swap_twice(void)
{
    swap_between();
    swap();
    put(4);
}

static void put_next(void)
{
    put(3);
}

static void swap_next(void)
{
    put(3);
    swap();
    put(4);
}

static void flush_one(void)
{
    flush(2);
}

static void flush_and_reclaim(void)
{
    flush(2);
    (void)rcu_reclaim();
}

static void merge_and_reclaim(void)
{
    merge(1, 2);
    (void)rcu_reclaim();
}

static void flush_and_merge(void)
{
    flush(2);
    merge(1, 2);
    (void)rcu_reclaim();
}

static void put_swap_flush(void)
{
    put(2);
    swap();
    flush(2);
    (void)rcu_reclaim();
}

static void flush_swap_flush(void)
{
    flush(2);
    put(3);
    swap();
    flush(3);
}

static void read_pinned_twice(void)
{
    read_pinned();
    read_pinned();
}

static void read_twice(void)
{
    read_newest();
    read_newest();
}

/* ---- worlds ---- */

static void reclaim_all(void)
{
    for (int i = 0; rcu_pending(); i++) {
        WEAVE_CHECK(i < RECLAIMS_MAX);
        (void)rcu_reclaim();
    }
}

/* One memtable with the first value. */
static void begin(void)
{
    memset(&db, 0, sizeof(db));
    weave_urcu_begin(planted);
    db.cache = cache;
    db.memtable = memtable_create();
    WEAVE_CHECK(view_slot_init(&db.view, db.memtable, version_create()) == 0);
    put(1);
}

/* A memtable with the second value waits for its flush. */
static void begin_waiting(void)
{
    begin();
    put(2);
    swap();
    reclaim_all();
}

/* The first value lies in a segment, too. */
static void begin_layers(void)
{
    begin();
    swap();
    flush(1);
    put(2);
    swap();
    reclaim_all();
}

static void begin_merge(void)
{
    begin_layers();
    flush(2);
    reclaim_all();
}

/* Offered so often; segments have no cache here, so that each read of them offers its record, too. */
static void begin_rows(int offers)
{
    char text[24];
    struct entry entry = {.seq = 1, .chunk = the_chunk(1, text)};

    db.rows = row_cache_create(ROW_CACHE_TINY_BYTES);
    for (int i = 0; i < offers; i++)
        (void)row_cache_offer(db.rows, &entry, 1);
}

/* The first value lies in a segment, and the next read of it makes a row. */
static void begin_row_to_come(void)
{
    begin();
    swap();
    flush(1);
    reclaim_all();
    begin_rows(1);
}

/* There is a row, which was read. */
static void begin_row(void)
{
    begin();
    swap();
    flush(1);
    reclaim_all();
    begin_rows(2);
    read_pinned();
}

/* The same, and the second value waits for its flush. */
static void begin_row_waiting(void)
{
    begin_row();
    put(2);
    swap();
    reclaim_all();
}

static void end(void)
{
    if (db.rows != NULL) /* twice, as the first may make a row */
        read_pinned_twice();
    uint64_t seq;

    check_view(db_read_view(&db, NULL, &seq), atomic_load(&db.visible_seq));
    view_slot_deinit(&db.view);
    reclaim_all();
    row_cache_destroy(db.rows);
    for (uint64_t i = 1; i <= SEQS_MAX; i++)
        WEAVE_CHECK(atomic_load(&segments[i]->refs) == 1);
}

static void begin_things(void)
{
    weave_urcu_begin(planted);
    freed = 0;
    atomic_store(&shared, make_thing(0));
}

static void end_things(void)
{
    reclaim_all();
    mem_free(atomic_load(&shared));
}

#define PLAY(title, first, last, ...)                                                              \
    .play = {.name = (title), .begin = (first), .end = (last), .threads = {__VA_ARGS__}}

const struct play plays[] = {
    {PLAY("retire", begin_things, end_things, look_at_thing, replace_and_reclaim)},
    {PLAY("retire, reclaimed beside", begin_things, end_things, look_at_thing, replace_other,
          reclaim)},
    {PLAY("retire by two", begin_things, end_things, replace_and_reclaim, replace_other, reclaim)},
    {PLAY("retire by two, read", begin_things, end_things, look_at_thing, replace_and_reclaim,
          replace_other)},
    {PLAY("retire, read twice", begin_things, end_things, look_twice, replace_twice, reclaim)},
    {PLAY("put", begin, end, read_twice, put_two)},
    {PLAY("swap", begin, end, read_newest, swap_between, reclaim)},
    {PLAY("flush", begin_waiting, end, read_newest, flush_and_reclaim)},
    {PLAY("flush and put", begin_waiting, end, read_newest, put_next, flush_one)},
    {PLAY("flush and swap", begin_waiting, end, read_newest, swap_next, flush_one)},
    {PLAY("pin", begin_waiting, end, read_pinned, flush_and_reclaim)},
    {PLAY("hold", begin_waiting, end, read_held, flush_and_reclaim)},
    {PLAY("merge", begin_merge, end, read_newest, merge_and_reclaim)},
    {PLAY("merge, held", begin_merge, end, read_held, merge_and_reclaim)},
    {PLAY("swap twice", begin, end, read_newest, swap_twice, reclaim)},
    {PLAY("row to come", begin_row_to_come, end, read_pinned, put_swap_flush)},
    {PLAY("row", begin_row, end, read_pinned, put_swap_flush)},
    {PLAY("row, flush", begin_row_waiting, end, read_pinned, flush_and_reclaim)},
    {PLAY("row to come, two readers", begin_row_to_come, end, read_pinned, read_pinned,
          put_swap_flush),
     .large = 1},
    {PLAY("row, two flushes", begin_row_waiting, end, read_pinned_twice, flush_swap_flush),
     .large = 1},
    {PLAY("two readers", begin_waiting, end, read_newest, read_pinned, flush_and_reclaim),
     .large = 1},
    {PLAY("flush, swap, reclaim", begin_waiting, end, read_twice, swap_next, flush_and_reclaim),
     .large = 1},
    {PLAY("flush and merge", begin_layers, end, read_held, put_next, flush_and_merge), .large = 1},
};
const size_t play_count = sizeof(plays) / sizeof(plays[0]);
