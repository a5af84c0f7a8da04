/* client.h - what the files of CLIENT and HELLO share. */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include "base/buf.h"
#include "base/check.h"
#include "cmd/ctx.h"

/* 1 if the text has no spaces, newlines or other bytes outside of '!' to '~'. */
int client_text_valid(struct varve_slice text);
void client_reply_bad_name(struct cmd_ctx *ctx);

/* The open session with this id; NULL: there is none. */
struct session *client_find(const struct cmd_ctx *ctx, int64_t id);

/* The argument as a type of client; there are only normal ones. Returns 0 after the error reply. */
int client_type_parse(struct cmd_ctx *ctx, int at, int *normal) MUST_CHECK;

/* Appends the session's line of CLIENT LIST, with its newline. Returns 0 or the code of buf_append. */
int client_describe(const struct session *session, uint64_t now_ms, struct buf *out) MUST_CHECK;

/* What the client takes: its session, input, replies not sent yet; 0: it ends with this turn. While its loop rests, or
 * on its thread. */
uint64_t client_memory_bytes(const struct session *session);
/* What all clients take so. Walks over them. */
uint64_t clients_memory_bytes(const struct processor *processor);

#endif
