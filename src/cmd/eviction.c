#include "cmd/eviction.h"

#include "base/log.h"
#include "base/mutant.h"
#include "cmd/client.h"
#include "cmd/processor_private.h"
#include "config/config.h"
#include "metrics/metrics.h"

#define LINE_MAX_BYTES ((size_t)4096)
#define CLASSES 64 /* class n: clients that hold 2^n to 2^(n+1) - 1 bytes */

/* 0: there is none. */
static uint64_t limit_bytes(const struct processor *processor)
{
    int64_t limit = config_int(processor->config, OPT_MAXMEMORY_CLIENTS);
    uint64_t budget = processor->metrics->memory_budget_bytes;

    if (limit >= 0)
        return (uint64_t)limit;
    uint64_t percent = (uint64_t)-limit;
    return budget / 100 * percent + budget % 100 * percent / 100;
}

/* What closing it would give back; 0: it is not to be closed. */
static uint64_t gain_bytes(const struct session *session)
{
    if (session->killed || (session->no_evict && !MUTANT("evict-no-evict")))
        return 0;
    return client_memory_bytes(session);
}

static int class_of(uint64_t bytes)
{
    return CLASSES - 1 - __builtin_clzll(bytes);
}

static void evict(struct processor *processor, struct session *session)
{
    struct buf line;

    buf_init(&line, LINE_MAX_BYTES);
    if (client_describe(session, processor_now_ms(processor), &line) == 0)
        log_line(LOG_NOTICE, "Evicting client: %.*s", (int)line.len - 1, (const char *)line.data);
    buf_deinit(&line);
    session->killed = 1;
    processor->metrics->evicted_clients++;
    processor->host.kill(processor->host.arg, session->figures_arg);
}

/* Those of the higher classes all go; of `last` as many as must. */
static void evict_down_to(struct processor *processor, int last, uint64_t held, uint64_t limit)
{
    const struct list *head = &processor->sessions;

    for (struct list *at = head->next; at != head; at = at->next) {
        struct session *session = CONTAINER_OF(at, struct session, node);
        uint64_t bytes = gain_bytes(session);
        if (bytes == 0 || class_of(bytes) < last)
            continue;
        if (class_of(bytes) == last) {
            if (held <= limit)
                continue;
            held -= bytes;
        }
        evict(processor, session);
    }
}

static void evict_beyond(struct processor *processor, uint64_t limit)
{
    const struct list *head = &processor->sessions;
    uint64_t classes[CLASSES] = {0};
    uint64_t held = 0;
    int last = CLASSES - 1;

    for (struct list *at = head->next; at != head; at = at->next) {
        uint64_t bytes = gain_bytes(CONTAINER_OF(at, struct session, node));
        if (bytes == 0)
            continue;
        held += bytes;
        classes[class_of(bytes)] += bytes;
    }
    if (held <= limit)
        return;
    while (held - classes[last] > limit)
        held -= classes[last--];
    evict_down_to(processor, last, held, limit);
}

void eviction_run(struct processor *processor, uint64_t others_bytes)
{
    const struct processor_host *host = &processor->host;
    uint64_t limit = limit_bytes(processor);

    if (limit == 0 || others_bytes <= limit || host->kill == NULL || MUTANT("evict-nobody"))
        return;
    if (host->halt != NULL)
        host->halt(host->arg);
    evict_beyond(processor, limit);
    if (host->resume != NULL)
        host->resume(host->arg);
}
