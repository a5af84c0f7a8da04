#include "cmd/slowlog.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/ctx.h"

#define TEXT_MAX_BYTES                                                                             \
    (SLOWLOG_ARGS_MAX * (SLOWLOG_ARG_BYTES + 64) + SESSION_ADDRESS_MAX_BYTES + SLOWLOG_NAME_BYTES)

void slowlog_init(struct slowlog *slowlog)
{
    list_init(&slowlog->entries);
    slowlog->count = 0;
    slowlog->next_id = 0;
}

static void entry_free(struct slowlog_entry *entry)
{
    list_remove(&entry->node);
    buf_deinit(&entry->text);
    mem_free(entry);
}

void slowlog_trim(struct slowlog *slowlog, uint64_t max_count)
{
    while (slowlog->count > max_count) {
        entry_free(CONTAINER_OF(slowlog->entries.prev, struct slowlog_entry, node));
        slowlog->count--;
    }
}

void slowlog_deinit(struct slowlog *slowlog)
{
    slowlog_trim(slowlog, 0);
}

static int append_arg(struct buf *text, const struct cmd_ctx *ctx, int i)
{
    struct varve_slice arg = cmd_shown_arg(ctx, i);
    char more[64];

    if (i == SLOWLOG_ARGS_MAX - 1 && ctx->argc > SLOWLOG_ARGS_MAX) {
        int len = snprintf(more, sizeof(more), "... (%d more arguments)", ctx->argc - i);
        return buf_append(text, more, (size_t)len);
    }
    if (arg.len <= SLOWLOG_ARG_BYTES)
        return buf_append(text, arg.data, arg.len);
    int len = snprintf(more, sizeof(more), "... (%zu more bytes)", arg.len - SLOWLOG_ARG_BYTES);
    int rc = buf_append(text, arg.data, SLOWLOG_ARG_BYTES);
    return rc == 0 ? buf_append(text, more, (size_t)len) : rc;
}

static int entry_fill(struct slowlog_entry *entry, const struct cmd_ctx *ctx)
{
    const struct session *session = ctx->session;
    size_t name_bytes = session->name.len < SLOWLOG_NAME_BYTES ? session->name.len
                                                               : SLOWLOG_NAME_BYTES;
    int rc = 0;

    entry->argc = ctx->argc < SLOWLOG_ARGS_MAX ? ctx->argc : SLOWLOG_ARGS_MAX;
    for (int i = 0; i < entry->argc && rc == 0; i++) {
        rc = append_arg(&entry->text, ctx, i);
        entry->ends[i] = (uint32_t)entry->text.len;
    }
    if (rc == 0)
        rc = buf_append(&entry->text, session->peer, strlen(session->peer));
    entry->peer_end = (uint32_t)entry->text.len;
    if (rc == 0)
        rc = buf_append(&entry->text, session->name.data, name_bytes);
    return rc;
}

void slowlog_add(struct slowlog *slowlog, const struct cmd_ctx *ctx, uint64_t us)
{
    struct slowlog_entry *entry = mem_alloc_zero(sizeof(*entry));

    if (entry == NULL)
        return;
    list_init(&entry->node);
    buf_init(&entry->text, TEXT_MAX_BYTES);
    if (entry_fill(entry, ctx) != 0) {
        entry_free(entry);
        return;
    }
    entry->id = slowlog->next_id++;
    entry->time_s = clock_real_us() / 1000000;
    entry->us = us;
    list_push_back(slowlog->entries.next, &entry->node);
    slowlog->count++;
}

struct varve_slice slowlog_arg(const struct slowlog_entry *entry, int i)
{
    size_t start = i == 0 ? 0 : entry->ends[i - 1];

    return varve_slice(entry->text.data + start, entry->ends[i] - start);
}

struct varve_slice slowlog_peer(const struct slowlog_entry *entry)
{
    size_t start = entry->ends[entry->argc - 1];

    return varve_slice(entry->text.data + start, entry->peer_end - start);
}

struct varve_slice slowlog_name(const struct slowlog_entry *entry)
{
    return varve_slice(entry->text.data + entry->peer_end, entry->text.len - entry->peer_end);
}
