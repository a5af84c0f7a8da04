/* loops.h - the loops beside the writer's (io-threads): what each needs to run reads by itself, and what joins
 * their counts with the writer's. Made and ended on the writer's thread. */
#ifndef SERVER_LOOPS_H
#define SERVER_LOOPS_H

#include <stdint.h>

#include "base/check.h"
#include "net/hooks.h"

struct keyspace;
struct loops; /* opaque */
struct metrics;
struct net_loop;
struct processor;
struct varve_err;

/* What they stand on; borrowed for life. */
struct loops_base {
    struct net_loop *main;
    struct keyspace *keyspace;
    struct processor *processor;
    struct metrics *metrics;
};

/* Makes `count` of them (at least 1) and starts them. On an error *loops may still be something to be destroyed, in its
 * order. */
int loops_start(const struct loops_base *base, uint32_t count, struct loops **loops,
                struct varve_err *err) MUST_CHECK;
/* Ends their threads: none runs or reads any more. Takes NULL. */
void loops_stop(struct loops *loops);
/* After the writer's loop was destroyed. The keyspace may be closed already, and the processor is not. Takes NULL. */
void loops_destroy(struct loops *loops);

/* struct net_hooks' prefetch(), for the processor of any loop. */
void loops_prefetch(struct processor *processor, const struct net_hint *hints, size_t count);

/* That of the loop with the number, for struct session; NULL: it is the writer's. */
struct processor *loops_reader(const struct loops *loops, uint32_t no);

/* On the writer's thread: what changed for the others in a turn, a tick, a commit. All take NULL. */
void loops_publish(struct loops *loops);
void loops_tick(struct loops *loops);
void loops_committed(struct loops *loops);

/* struct processor_host's. */
void loops_halt(struct loops *loops);
void loops_resume(struct loops *loops);

#endif
