/* monitor.h - MONITOR: lines about commands that ran, for the sessions that asked for them.
 *
 * A command may be undone and run again if the commit of its turn fails (net/hooks.h). So while the open group
 * holds anything, lines are kept back until processor_committed() says that it was logged, or that it was not.
 * The line tells what a client sent, not what was written: it waits for no sync.
 *
 * One thread, the loop's. */
#ifndef CMD_MONITOR_H
#define CMD_MONITOR_H

#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"

struct cmd_ctx;
struct processor;
struct session;

#define MONITOR_WAITING_MAX_BYTES ((size_t)1024 * 1024 * 1024)

struct monitoring {
    struct list sessions; /* by monitor_node */
    size_t count;
    struct buf line;    /* the one that is being made */
    struct buf waiting; /* lines of the open group */
    int cut;            /* 1: there was no memory for all of them: monitors are closed */
};

void monitoring_init(struct monitoring *monitoring);
void monitoring_deinit(struct monitoring *monitoring);

/* The session gets lines from now on, or no more of them. */
void monitor_begin(struct processor *processor, struct session *session);
void monitor_end(struct processor *processor, struct session *session);

/* The command of ctx ran: its line is written, unless it is one that is not shown. */
void monitor_command(const struct cmd_ctx *ctx);

/* The open group was committed, or is undone: what waited goes out, or away. */
void monitor_group_ended(struct processor *processor, int committed);

#endif
