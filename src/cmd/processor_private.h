/* processor_private.h - the processor's insides, for the files that are a part of it, and the commands that show
 * what it keeps. */
#ifndef CMD_PROCESSOR_PRIVATE_H
#define CMD_PROCESSOR_PRIVATE_H

#include <stdint.h>

#include "base/list.h"
#include "base/rng.h"
#include "cmd/ctx.h"
#include "cmd/monitor.h"
#include "cmd/park.h"
#include "cmd/pause.h"
#include "cmd/slowlog.h"
#include "metrics/histogram.h"
#include "metrics/latency.h"
#include "types/expirer.h"
#include "types/keyspace.h"

#define ERROR_CLASSES_MAX 64
#define ERROR_CLASS_MAX_BYTES 32

struct error_class {
    char name[ERROR_CLASS_MAX_BYTES];
    uint64_t count;
};

struct renamed {
    const struct command *command; /* no more by its own name, */
    const char *to;                /* but by this, the config's; "": by none */
};

struct processor {
    struct keyspace *keyspace;
    struct config *config;
    struct metrics *metrics;
    struct processor_host host;
    struct list sessions;
    struct list saved_transactions; /* of sessions, by saved.node */
    uint64_t last_session_id;
    struct processor_stats stats;
    struct command_stats *command_stats; /* by command_index() */
    struct renamed *renames;             /* rename-command; NULL: none */
    size_t rename_count;
    struct histogram **histograms; /* likewise; NULL: it was not tracked yet */
    struct error_class errors[ERROR_CLASSES_MAX];
    int error_class_count;
    uint64_t now_ms;   /* the clock as it was read last */
    unsigned now_uses; /* commands that may use it yet */
    int ticked;        /* somebody calls processor_tick() */
    struct rng rng;
    uint64_t tick_rate; /* of clock_ticks() */
    uint64_t slow_ns;   /* what takes so long is for the slow log or the latency monitor */
    int track_latency;  /* 1: into the histograms */
    struct slowlog slowlog;
    struct latency latency;
    struct monitoring monitoring;
    struct pausing pausing;
    const struct keyspace_stats *keys; /* the keyspace's */
    uint64_t hits_before;              /* the keyspace's, when the command began */
    uint64_t misses_before;
    uint64_t turn;       /* counted by processor_tick() */
    uint64_t delay_turn; /* the one that the next two are of */
    uint64_t delay_us;   /* of writes */
    int ask_delay;       /* 0: it is 0 */
    struct parking parking;
    struct expirer *expirer;
    struct mutex slow_mutex; /* of slowlog and latency: readers add to them, too */

    struct processor *writer; /* of a reader: whose it is; else NULL */
    uint64_t reads_us;        /* of a reader: when its turn began */
    int closed;               /* and that it has to leave all to the writer */
};

/* For local.c. */
const struct command *processor_lookup(const struct processor *processor, int argc,
                                       const struct varve_slice *argv);
uint64_t processor_now_ms(struct processor *processor);
int processor_count_error(struct processor *processor, const struct resp_writer *out, size_t start);
void processor_note_run(const struct cmd_ctx *ctx, uint64_t ns);

/* Takes over the settings that are looked at too often to be read anew each time. */
void processor_read_settings(struct processor *processor);

/* For EXEC: runs one command that was queued, as a part of ctx's; and, when all of them took effect, counts
 * them. */
void processor_run_queued(struct cmd_ctx *ctx, struct queued_command *queued);
void processor_count_queued(const struct cmd_ctx *ctx, const struct queued_command *queue,
                            size_t count);

#endif
