/* client.h - what CLIENT and HELLO share. */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include "base/buf.h"
#include "base/check.h"
#include "cmd/ctx.h"

/* 1 if the text has no spaces, newlines or other bytes outside of '!' to '~'. */
int client_text_valid(struct varve_slice text);
void client_reply_bad_name(struct cmd_ctx *ctx);

/* Appends the session's line of CLIENT LIST, with its newline. Returns 0 or the code of buf_append. */
int client_describe(const struct session *session, uint64_t now_ms, struct buf *out) MUST_CHECK;

#endif
