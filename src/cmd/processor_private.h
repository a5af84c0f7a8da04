/* processor_private.h - the processor's insides, for processor.c, park.c and session.c alone. */
#ifndef CMD_PROCESSOR_PRIVATE_H
#define CMD_PROCESSOR_PRIVATE_H

#include <stdint.h>

#include "base/list.h"
#include "base/rng.h"
#include "cmd/ctx.h"
#include "cmd/park.h"
#include "types/expirer.h"
#include "types/keyspace.h"

#define ERROR_CLASSES_MAX 64
#define ERROR_CLASS_MAX_BYTES 32

struct error_class {
    char name[ERROR_CLASS_MAX_BYTES];
    uint64_t count;
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
    struct error_class errors[ERROR_CLASSES_MAX];
    int error_class_count;
    uint64_t now_ms;          /* the clock as it was read last */
    unsigned now_uses;        /* commands that may use it yet */
    int ticked;               /* somebody calls processor_tick() */
    unsigned unsampled_count; /* frequent commands until the next one is timed */
    struct rng rng;
    const struct keyspace_stats *keys; /* the keyspace's */
    uint64_t hits_before;              /* the keyspace's, when the command began */
    uint64_t misses_before;
    uint64_t turn;       /* counted by processor_tick() */
    uint64_t delay_turn; /* the one that the next two are of */
    uint64_t delay_us;   /* of writes */
    int ask_delay;       /* 0: it is 0 */
    struct parking parking;
    struct expirer *expirer;
};

/* For EXEC: runs one command that was queued, as a part of ctx's; and, when all of them took effect, counts
 * them. */
void processor_run_queued(struct cmd_ctx *ctx, const struct queued_command *queued);
void processor_count_queued(struct processor *processor, const struct queued_command *queue,
                            size_t count);

#endif
