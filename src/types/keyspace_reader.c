/* Readers of a keyspace on other threads. What they share with the writer is the engine, whose reads take no
 * lock, and the map of databases, of which each has a copy: they look at one number before and after a command,
 * and copy anew when it changed. Nothing that they write is seen by another thread. */
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "types/keyspace_private.h"

static int shown_make(struct keyspace *writer, struct varve_err *err)
{
    struct shown_map *shown = mem_alloc_zero(sizeof(*shown));

    CHECK(writer->writer == NULL && !keyspace_group_open(writer));
    if (shown == NULL)
        return err_set(err, VARVE_ENOMEM, "keyspace: out of memory");
    keyspace_settle(writer);
    mutex_init(&shown->mutex);
    shown->map = writer->map;
    atomic_init(&shown->version, 2);
    writer->shown = shown;
    return 0;
}

int keyspace_open_reader(struct keyspace *writer, struct keyspace **reader, struct varve_err *err)
{
    struct keyspace *made;

    *reader = NULL;
    if (writer->shown == NULL && shown_make(writer, err) != 0)
        return VARVE_ENOMEM;
    made = mem_alloc_zero(sizeof(*made));
    if (made == NULL)
        return err_set(err, VARVE_ENOMEM, "keyspace: out of memory");
    made->db = writer->db;
    made->writer = writer;
    walk_page_init(&made->page);
    blocked_init(&made->blocked);
    buf_init(&made->scratch, VARVE_KEY_MAX_BYTES + sizeof(struct name_prefix));
    *reader = made;
    return 0;
}

void keyspace_unshow(struct keyspace *keyspace)
{
    if (keyspace->shown == NULL)
        return;
    mutex_deinit(&keyspace->shown->mutex);
    mem_free(keyspace->shown);
}

void keyspace_hide(struct keyspace *writer)
{
    struct shown_map *shown = writer->shown;
    uint64_t version = atomic_load_explicit(&shown->version, memory_order_relaxed);

    if (!MUTANT("map-shown-late"))
        atomic_store_explicit(&shown->version, version | 1, memory_order_relaxed);
    /* Who sees what the commit publishes, by a release, sees this too. */
}

void keyspace_show(struct keyspace *writer)
{
    struct shown_map *shown = writer->shown;

    if (shown == NULL)
        return;
    uint64_t version = atomic_load_explicit(&shown->version, memory_order_relaxed);
    if (LIKELY((version & 1) == 0) || keyspace_group_open(writer))
        return;
    keyspace_settle(writer);
    mutex_lock(&shown->mutex);
    shown->map = writer->map;
    mutex_unlock(&shown->mutex);
    atomic_store_explicit(&shown->version, version + 1, memory_order_release);
}

static COLD int take_map(struct keyspace *reader, uint64_t version)
{
    struct shown_map *shown = reader->writer->shown;

    if ((version & 1) != 0)
        return 0;
    mutex_lock(&shown->mutex);
    reader->map = shown->map;
    mutex_unlock(&shown->mutex);
    reader->map_version = version; /* if it is of a newer one, end finds out */
    return 1;
}

int keyspace_read_begin(struct keyspace *reader)
{
    uint64_t version = atomic_load_explicit(&reader->writer->shown->version, memory_order_acquire);

    reader->looked = 0;
    reader->begun_seq = varve_visible_seq(reader->db);
    if (UNLIKELY(version != reader->map_version) && !take_map(reader, version))
        return 0;
    return varve_writable(reader->db, NULL) == 0;
}

int keyspace_read_end(struct keyspace *reader)
{
    atomic_thread_fence(memory_order_acquire);
    uint64_t version = atomic_load_explicit(&reader->writer->shown->version, memory_order_relaxed);

    if (UNLIKELY(version != reader->map_version || varve_writable(reader->db, NULL) != 0))
        return 0;
    /* A command of several names sees one moment. */
    return LIKELY(reader->looked <= 1) || varve_visible_seq(reader->db) == reader->begun_seq ||
           MUTANT("torn-mget");
}

void keyspace_take_stats(struct keyspace *writer, struct keyspace *reader)
{
    writer->stats.hits += reader->stats.hits;
    writer->stats.misses += reader->stats.misses;
    reader->stats.hits = 0;
    reader->stats.misses = 0;
}
