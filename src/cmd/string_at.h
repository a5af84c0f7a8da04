/* string_at.h - what the handlers of commands on strings share. */
#ifndef CMD_STRING_AT_H
#define CMD_STRING_AT_H

#include "base/err.h"
#include "cmd/ctx.h"
#include "types/t_string.h"

/* The string whose name is argv[at]; *err is cleared: its text is too long to be zeroed by each command. */
static inline struct string_at string_at(struct cmd_ctx *ctx, int at, struct varve_err *err)
{
    err_clear(err);
    return (struct string_at){
        .keyspace = ctx->keyspace,
        .db = ctx->session->db,
        .key = ctx->argv[at],
        .now_ms = ctx->now_ms,
        .seq = &ctx->wait_seq,
        .err = err,
    };
}

/* A time of SET and its kind as milliseconds since the epoch: `scale` milliseconds a unit, counted from
 * base_ms. Returns 0 after the error reply: it is not positive, or too far. */
int cmd_expiry_ms(struct cmd_ctx *ctx, int64_t time, int64_t scale, uint64_t base_ms,
                  uint64_t *expire_ms) MUST_CHECK;

#endif
