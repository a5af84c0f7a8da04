#include "cmd/eviction.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/mutant.h"
#include "cmd/client.h"
#include "cmd/processor_private.h"
#include "config/config.h"
#include "metrics/metrics.h"

#define LINE_MAX_BYTES ((size_t)4096)
#define LIMIT_MIN_BYTES ((uint64_t)128 * 1024) /* an administrator must get in; as in Redis */
#define CLASSES 64 /* class n: clients that hold 2^n to 2^(n+1) - 1 bytes */

/* All of them together. */
struct crowd {
    uint64_t bytes;
    uint64_t largest_bytes;
    uint64_t classes[CLASSES]; /* of those that may be closed */
};

/* 0: there is none. */
static uint64_t limit_bytes(const struct processor *processor)
{
    int64_t set = config_int(processor->config, OPT_MAXMEMORY_CLIENTS);
    uint64_t budget = processor->metrics->memory_budget_bytes;
    uint64_t limit = (uint64_t)set;

    if (set < 0) {
        uint64_t percent = (uint64_t)-set;
        limit = budget / 100 * percent + budget % 100 * percent / 100;
    }
    return limit == 0 || limit > LIMIT_MIN_BYTES ? limit : LIMIT_MIN_BYTES;
}

static int is_spared(const struct session *session)
{
    return session->no_evict && !MUTANT("evict-no-evict");
}

static int class_of(uint64_t bytes)
{
    return CLASSES - 1 - __builtin_clzll(bytes);
}

static void count(const struct processor *processor, struct crowd *crowd)
{
    const struct list *head = &processor->sessions;

    *crowd = (struct crowd){0};
    for (struct list *at = head->next; at != head; at = at->next) {
        const struct session *session = CONTAINER_OF(at, struct session, node);
        uint64_t bytes = client_memory_bytes(session);
        crowd->bytes += bytes;
        if (bytes > crowd->largest_bytes)
            crowd->largest_bytes = bytes;
        if (bytes > 0 && !is_spared(session))
            crowd->classes[class_of(bytes)] += bytes;
    }
}

static void evict(struct processor *processor, struct session *session)
{
    struct buf line;

    buf_init(&line, LINE_MAX_BYTES);
    if (client_describe(session, processor_now_ms(processor), &line) == 0)
        log_line(LOG_NOTICE, "Evicting client: %.*s", (int)line.len - 1, (const char *)line.data);
    else
        log_line(LOG_NOTICE, "Evicting client: id=%" PRIu64 " addr=%s", session->id, session->peer);
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
        uint64_t bytes = client_memory_bytes(session);
        if (bytes == 0 || is_spared(session) || class_of(bytes) < last)
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
    struct crowd crowd;
    int last = CLASSES - 1;

    count(processor, &crowd);
    /* A part of the budget may be less than one value that is allowed, whoever sends or is sent that. */
    if (config_int(processor->config, OPT_MAXMEMORY_CLIENTS) < 0)
        limit += crowd.largest_bytes;
    if (crowd.bytes <= limit)
        return;
    while (last >= 0 && crowd.bytes - crowd.classes[last] > limit)
        crowd.bytes -= crowd.classes[last--];
    evict_down_to(processor, last, crowd.bytes, limit);
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
