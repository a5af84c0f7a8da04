/* slowlog.h - the slow log: commands that took long, newest first. Bounded by slowlog-max-len entries
 * of at most SLOWLOG_ARGS_MAX arguments of SLOWLOG_ARG_BYTES each (the rest is counted, not kept), so
 * about 6 KB an entry. One thread, the loop's. */
#ifndef CMD_SLOWLOG_H
#define CMD_SLOWLOG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "varve/slice.h"

#define SLOWLOG_ARGS_MAX 32
#define SLOWLOG_ARG_BYTES 128
#define SLOWLOG_NAME_BYTES 256 /* of a client's name */

struct cmd_ctx;

struct slowlog_entry {
    struct list node;
    uint64_t id;
    uint64_t time_s; /* since 1970 */
    uint64_t us;
    int argc;
    struct buf text; /* all arguments, the address and the name, one after the other */
    uint32_t ends[SLOWLOG_ARGS_MAX]; /* where the i-th argument ends there */
    uint32_t peer_end;               /* what follows is the name */
};

struct slowlog {
    struct list entries; /* newest first */
    uint64_t count;
    uint64_t next_id;
};

void slowlog_init(struct slowlog *slowlog);
void slowlog_deinit(struct slowlog *slowlog);

/* Enters the command of ctx, without what is secret in it. If there is no memory for it, it is left out. */
void slowlog_add(struct slowlog *slowlog, const struct cmd_ctx *ctx, uint64_t us);
/* Drops the oldest entries beyond so many. */
void slowlog_trim(struct slowlog *slowlog, uint64_t max_count);

struct varve_slice slowlog_arg(const struct slowlog_entry *entry, int i);
struct varve_slice slowlog_peer(const struct slowlog_entry *entry);
struct varve_slice slowlog_name(const struct slowlog_entry *entry);

#endif
