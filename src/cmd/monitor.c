#include "cmd/monitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"

#define LINE_KEPT_BYTES ((size_t)64 * 1024) /* of a buffer between two uses */
#define US_PER_SECOND ((uint64_t)1000 * 1000)

void monitoring_init(struct monitoring *monitoring)
{
    list_init(&monitoring->sessions);
    monitoring->count = 0;
    buf_init(&monitoring->line, MONITOR_WAITING_MAX_BYTES);
    buf_init(&monitoring->waiting, MONITOR_WAITING_MAX_BYTES);
    monitoring->cut = 0;
}

void monitoring_deinit(struct monitoring *monitoring)
{
    buf_deinit(&monitoring->line);
    buf_deinit(&monitoring->waiting);
}

void monitor_begin(struct processor *processor, struct session *session)
{
    if (!list_empty(&session->monitor_node))
        return;
    list_push_back(&processor->monitoring.sessions, &session->monitor_node);
    processor->monitoring.count++;
}

void monitor_end(struct processor *processor, struct session *session)
{
    if (list_empty(&session->monitor_node))
        return;
    list_remove(&session->monitor_node);
    processor->monitoring.count--;
}

/* ---- one line ---- */

static int append_escaped(struct buf *out, uint8_t byte)
{
    static const char named[] = "\nn\rr\tt\aa\bb\\\\\"\"";
    char text[8];
    int len;

    for (size_t i = 0; i < sizeof(named) - 1; i += 2) {
        if (byte == (uint8_t)named[i]) {
            text[0] = '\\';
            text[1] = named[i + 1];
            return buf_append(out, text, 2);
        }
    }
    len = snprintf(text, sizeof(text), "\\x%02x", byte);
    return buf_append(out, text, (size_t)len);
}

static int is_plain(uint8_t byte)
{
    return byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\';
}

/* In quotes, with what is not plain escaped. */
static int append_quoted(struct buf *out, struct varve_slice arg)
{
    int rc = buf_append(out, " \"", 2);

    for (size_t i = 0; i < arg.len && rc == 0;) {
        size_t plain = i;
        while (plain < arg.len && is_plain(arg.data[plain]))
            plain++;
        if (plain > i)
            rc = buf_append(out, arg.data + i, plain - i);
        else
            rc = append_escaped(out, arg.data[plain++]);
        i = plain;
    }
    return rc == 0 ? buf_append(out, "\"", 1) : rc;
}

static int make_line(const struct cmd_ctx *ctx, struct buf *out)
{
    const struct session *session = ctx->session;
    uint64_t now_us = clock_real_us();
    char head[SESSION_ADDRESS_MAX_BYTES + 64];
    int len = snprintf(head, sizeof(head), "+%" PRIu64 ".%06" PRIu64 " [%d %s%s]",
                       now_us / US_PER_SECOND, now_us % US_PER_SECOND, session->db,
                       session->is_unix ? "unix:" : "", session->peer);
    int rc = buf_append(out, head, (size_t)len);

    for (int i = 0; i < ctx->argc && rc == 0; i++)
        rc = append_quoted(out, cmd_shown_arg(ctx, i));
    return rc == 0 ? buf_append(out, "\r\n", 2) : rc;
}

/* ---- to the monitors ---- */

static void send_all(struct processor *processor, struct varve_slice lines)
{
    struct list *head = &processor->monitoring.sessions;

    if (processor->host.push == NULL || lines.len == 0)
        return;
    for (struct list *node = head->next; node != head; node = node->next) {
        const struct session *session = CONTAINER_OF(node, struct session, monitor_node);
        if (!(session->muted & SESSION_MUTED))
            processor->host.push(processor->host.arg, session->figures_arg, lines);
    }
}

/* A monitor that missed a line would lie: it is closed instead. */
static void close_all(struct processor *processor)
{
    struct list *head = &processor->monitoring.sessions;

    log_line(LOG_WARNING, "no memory for a line of MONITOR: its clients are closed");
    for (struct list *node = head->next; node != head; node = node->next) {
        const struct session *session = CONTAINER_OF(node, struct session, monitor_node);
        if (processor->host.kill != NULL)
            processor->host.kill(processor->host.arg, session->figures_arg);
    }
}

void monitor_command(const struct cmd_ctx *ctx)
{
    struct processor *processor = ctx->processor;
    struct monitoring *monitoring = &processor->monitoring;

    if (ctx->command->flags & (CMD_ADMIN | CMD_SKIP_MONITOR))
        return;
    int rc = make_line(ctx, &monitoring->line);
    if (rc == 0 && keyspace_group_open(processor->keyspace))
        rc = buf_append(&monitoring->waiting, monitoring->line.data, monitoring->line.len);
    else if (rc == 0)
        send_all(processor, buf_slice(&monitoring->line));
    monitoring->cut |= rc != 0;
    if (UNLIKELY(monitoring->cut) && !keyspace_group_open(processor->keyspace))
        monitor_group_ended(processor, 1);
    buf_clear(&monitoring->line);
    buf_shrink(&monitoring->line, LINE_KEPT_BYTES);
}

void monitor_group_ended(struct processor *processor, int committed)
{
    struct monitoring *monitoring = &processor->monitoring;

    if (UNLIKELY(monitoring->cut && committed))
        close_all(processor);
    else if (committed || MUTANT("monitor-undone"))
        send_all(processor, buf_slice(&monitoring->waiting));
    monitoring->cut = 0;
    buf_clear(&monitoring->waiting);
    buf_shrink(&monitoring->waiting, LINE_KEPT_BYTES);
}
