/* sim_env.h - a disk in memory that records all that is done to it and can be cut off anywhere.
 *
 * Every call that changes the disk is an event of the trace; events are numbered from 0. A crash
 * image after the first `upto` events is a new sim_env whose durable state is one that the promises
 * of varve/env.h allow at that moment; it can be opened, written and cut off again.
 *
 * The model (sim_image.c says how):
 *  - an unsynced write persists any subset of its 512-byte sectors. A sector persists as a whole,
 *    as it was after one of the writes that touched it; a sector that never held durable bytes may
 *    also hold zeros or garbage (random bytes, or what another file holds or held);
 *  - the size persists independently of the data, and may stop inside a write;
 *  - create, rename, link, remove, make_dir persist independently of each other until sync_dir of the
 *    directory; a rename inside one directory is one step, one across directories is two;
 *  - after a failed sync all that it covered stays readable, is in doubt for ever, and is not
 *    settled by a later sync that returns 0. A later write of the same sector, or change of the
 *    same size or name, is a new chance.
 *
 * The clocks move only when told. Names are at most 63 bytes; ".." is refused with EINVAL.
 * Any thread may call any function (one mutex); images are independent of their source.
 * The simulator allocates past base/mem.h and aborts without memory, so that a sweep that fails
 * every allocation fails the engine's and never the simulator's. */
#ifndef SUPPORT_SIM_ENV_H
#define SUPPORT_SIM_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "varve/env.h"

struct sim_env; /* opaque */

/* An empty disk: "/" and nothing else. The seed feeds env.random. Never NULL. */
struct sim_env *sim_env_create(uint64_t seed);
/* Takes NULL. Files that are still open are freed with it, as by the death of a process. */
void sim_env_destroy(struct sim_env *sim);

/* The table to give to the engine. Lives as long as sim. */
struct varve_env *sim_as_env(struct sim_env *sim);
/* The way back; NULL if env is no simulated one. */
struct sim_env *sim_from_env(struct varve_env *env);

/* --- the trace --- */

enum sim_event_kind {
    SIM_WRITE,
    SIM_TRUNCATE,
    SIM_SYNC,
    SIM_SYNC_FAILED, /* of a file or a directory */
    SIM_CREATE,      /* a file or a directory */
    SIM_RENAME,
    SIM_LINK,
    SIM_REMOVE,
    SIM_SYNC_DIR,
    SIM_MARK,
};

struct sim_event {
    enum sim_event_kind kind;
    char path[128];    /* as it was at the time, cut to fit; of a rename or link: the new name */
    uint64_t offset;   /* SIM_WRITE: where; SIM_TRUNCATE: the new size; bytes */
    uint64_t len;      /* SIM_WRITE: bytes */
    int tag;           /* SIM_MARK */
    uint64_t value;    /* SIM_MARK */
    uint64_t sync_nth; /* SIM_SYNC, _FAILED, _DIR: its number among them, from 1; else 0 */
    uint64_t real_ms;  /* the clock at the time */
};

uint64_t sim_event_count(struct sim_env *sim);
/* CHECKs index < sim_event_count(). */
struct sim_event sim_event_at(struct sim_env *sim, uint64_t index);

/* Adds a marker event: "from here on, value of tag holds", such as the last acknowledged write. */
void sim_mark(struct sim_env *sim, int tag, uint64_t value);
/* The value of the last marker with that tag among the first `upto` events, or `missing`. */
uint64_t sim_last_mark(struct sim_env *sim, uint64_t upto, int tag, uint64_t missing);

/* A digest (campaign.h) of all that happened to this disk since it was made: the events with their names,
 * places, clocks and bytes, those that were forgotten as well. */
uint64_t sim_trace_digest(struct sim_env *sim);

/* Forgets the trace (not what is unsynced): the present is the new event 0, syncs count from 1.
 * For long runs, whose trace would fill the memory. */
void sim_trace_forget(struct sim_env *sim);

/* --- crash images --- */

/* What of the unsynced becomes durable. A unit is one sector of one write, one change of a size,
 * or one change of a name; units are numbered in the order in which they came about. Where a unit
 * was in doubt after a failed sync, all policies but SIM_ALL_KEPT, SIM_KILL treat it like any
 * other; SIM_ALL_KEPT drops it. */
enum sim_policy {
    SIM_ALL_LOST, /* only what was synced */
    SIM_ALL_KEPT, /* all units */
    SIM_RANDOM,   /* each unit by a coin whose bias is drawn anew a image; some garbage */
    SIM_PREFIX,   /* the first (seed mod (units + 1)) units, in order */
    SIM_SUFFIX,   /* the units from (seed mod (units + 1)) on: later ones overtook earlier ones */
    SIM_ONE_MISSING,   /* all but unit (seed mod units) */
    SIM_ONE_KEPT,      /* unit (seed mod units) only */
    SIM_ONE_FILE_LOST, /* all but those of the file (or directory) of unit (seed mod units) */
    SIM_ONE_FILE_KEPT, /* those only */
    SIM_SUBSET,        /* unit i by bit (i mod 64) of seed: exhaustive when units are few */
    SIM_ONLY_SIZES,    /* sizes and names, but no data: zeros where nothing durable was */
    SIM_ONLY_DATA,     /* data and names, but no sizes */
    SIM_ONLY_NAMES,    /* names, with neither data nor sizes: empty files */
    SIM_NO_NAMES,      /* data and sizes, but no names */
    SIM_GARBAGE,       /* sizes and names; garbage in every sector that never held durable bytes */
    SIM_KILL,          /* the process dies, not the machine: all is there, the unsynced is still
                        unsynced and an image of the image may lose it */
    SIM_POLICY_COUNT
};

/* The image after the first `upto` events (CHECKs upto <= sim_event_count()). The same trace,
 * upto, policy and seed give the same image, byte for byte. Locks are free, no file is open, the
 * clocks are as they were then. The caller destroys it. Never NULL.
 * Cheap when upto does not go back between calls: then only new events are looked at. */
struct sim_env *sim_image(struct sim_env *sim, uint64_t upto, enum sim_policy policy,
                          uint64_t seed);

/* How many units are open after the first `upto` events: 0 means that all power-cut policies give
 * the same image. */
uint64_t sim_unit_count(struct sim_env *sim, uint64_t upto);

/* A hash of all names, sizes and bytes as a reader sees them now; equal disks have equal hashes. */
uint64_t sim_hash(struct sim_env *sim);

const char *sim_policy_name(enum sim_policy policy); /* "one-missing"; static storage */

/* --- syncs: failing them and taking them out --- */

/* The next sync or sync_dir fails with os_errno; what it covered is in doubt for ever. */
void sim_fail_sync(struct sim_env *sim, int os_errno);
/* The same for one file or directory and at once, without a call of the engine: for wrappers, which
 * return the error themselves. A path that is no directory does nothing. */
void sim_fail_sync_file(struct sim_env *sim, struct varve_file *file);
void sim_fail_sync_dir(struct sim_env *sim, const char *path);

/* The nth sync or sync_dir (from 1, counted together) returns 0 and does nothing. Works on the
 * trace too: set after a run, the images of that run are made without that sync. 0: none. */
void sim_drop_nth_sync(struct sim_env *sim, uint64_t nth);

struct sim_sync_info {
    uint64_t event;   /* its place in the trace */
    uint64_t covered; /* events that it made durable; 0: taking it out changes nothing */
    char class_name
        [128]; /* for reports: "sync #.wal", "sync CURRENT.tmp", "sync_dir create #.wal" */
};

uint64_t sim_sync_count(struct sim_env *sim); /* syncs and sync_dirs in the trace */
/* CHECKs 1 <= nth <= sim_sync_count(). */
struct sim_sync_info sim_sync_at(struct sim_env *sim, uint64_t nth);

/* fn is called when a sync or sync_dir begins, outside of the mutex: there a test plays on one thread
 * what other threads may do while a sync runs. It may call anything. NULL: nothing. */
void sim_on_sync(struct sim_env *sim, void (*fn)(void *arg), void *arg);

/* What free_space() says from now on; a full disk refuses nothing by itself (fault_env.h does). */
void sim_set_free_bytes(struct sim_env *sim, uint64_t bytes);

/* --- clocks --- */

#define SIM_CLOCK_START_REAL_MS 1700000000000u
#define SIM_CLOCK_START_MONO_US 1000000u

/* Moves both clocks on. */
void sim_clock_advance_us(struct sim_env *sim, uint64_t us);
/* Sets the real-time clock, backwards too; the monotonic one stays. */
void sim_clock_set_real_ms(struct sim_env *sim, uint64_t real_ms);

#endif
