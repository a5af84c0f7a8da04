#include "cmd/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"

#define SESSION_TEXT_MAX_BYTES ((size_t)512 * 1024 * 1024)

struct session *session_create(struct processor *processor, const char *peer, const char *local,
                               session_figures_fn figures, void *figures_arg)
{
    struct session *session = mem_alloc_zero(sizeof(*session));

    if (session == NULL)
        return NULL;
    session->processor = processor;
    transaction_init(session);
    list_init(&session->pause_node);
    list_init(&session->monitor_node);
    session->id = ++processor->last_session_id;
    session->proto = 2;
    session->authenticated = config_str(processor->config, OPT_REQUIREPASS)[0] == '\0';
    snprintf(session->peer, sizeof(session->peer), "%s", peer);
    snprintf(session->local, sizeof(session->local), "%s", local);
    session->is_unix = local[0] == '/';
    buf_init(&session->name, SESSION_TEXT_MAX_BYTES);
    buf_init(&session->lib_name, SESSION_TEXT_MAX_BYTES);
    buf_init(&session->lib_ver, SESSION_TEXT_MAX_BYTES);
    session->created_ms = keyspace_now_ms(processor->keyspace);
    session->active_ms = session->created_ms;
    session->figures = figures;
    session->figures_arg = figures_arg;
    list_push_back(&processor->sessions, &session->node);
    processor->stats.session_count++;
    processor->stats.sessions_made++;
    return session;
}

void session_destroy(struct session *session)
{
    if (session == NULL)
        return;
    list_remove(&session->node);
    park_release(session);
    pause_forget(session->processor, session);
    monitor_end(session->processor, session);
    transaction_deinit(session);
    session->processor->stats.session_count--;
    buf_deinit(&session->name);
    buf_deinit(&session->lib_name);
    buf_deinit(&session->lib_ver);
    mem_free(session);
}

int session_auth_required(const struct session *session)
{
    return UNLIKELY(!session->authenticated) &&
           config_str(session->processor->config, OPT_REQUIREPASS)[0] != '\0';
}

int session_set_text(struct buf *text, struct varve_slice value)
{
    size_t before = text->len;

    buf_clear(text);
    int rc = buf_append(text, value.data, value.len);
    if (rc != 0)
        text->len = before;
    return rc;
}
