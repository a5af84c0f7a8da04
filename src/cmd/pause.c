#include "cmd/pause.h"

#include "base/clock.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"

void pausing_init(struct pausing *pausing)
{
    pausing->mode = PAUSE_OFF;
    list_init(&pausing->waiting);
    pausing->waiting_count = 0;
}

/* While a pause is on, nothing of the data changes: expired names are absent, but not deleted. */
static void set_mode(struct processor *processor, enum pause_mode mode)
{
    processor->pausing.mode = mode;
    keyspace_keep_expired(processor->keyspace, mode != PAUSE_OFF && !MUTANT("expire-in-pause"));
}

void pause_begin(struct processor *processor, enum pause_mode mode, uint64_t duration_ms)
{
    struct pausing *pausing = &processor->pausing;
    uint64_t end_us = UINT64_MAX;

    if (__builtin_mul_overflow(duration_ms, 1000, &end_us) ||
        __builtin_add_overflow(end_us, clock_mono_us(), &end_us))
        end_us = UINT64_MAX;
    if (pausing->mode == PAUSE_OFF)
        pausing->end_us = 0;
    if (end_us > pausing->end_us)
        pausing->end_us = end_us;
    if (mode > pausing->mode)
        set_mode(processor, mode);
}

void pause_end(struct processor *processor)
{
    struct pausing *pausing = &processor->pausing;

    set_mode(processor, PAUSE_OFF);
    while (!list_empty(&pausing->waiting)) {
        struct session *session = CONTAINER_OF(pausing->waiting.next, struct session, pause_node);
        pause_forget(processor, session);
        if (processor->host.unpark != NULL)
            processor->host.unpark(processor->host.arg, session->figures_arg);
    }
}

void pause_tick(struct processor *processor)
{
    if (processor->pausing.mode != PAUSE_OFF && clock_mono_us() >= processor->pausing.end_us)
        pause_end(processor);
}

int pause_holds(struct processor *processor, struct session *session, uint32_t flags)
{
    struct pausing *pausing = &processor->pausing;

    if (pausing->mode == PAUSE_WRITE && !(flags & CMD_WRITE))
        return 0;
    if (list_empty(&session->pause_node)) {
        list_push_back(&pausing->waiting, &session->pause_node);
        pausing->waiting_count++;
    }
    return 1;
}

void pause_forget(struct processor *processor, struct session *session)
{
    if (list_empty(&session->pause_node))
        return;
    list_remove(&session->pause_node);
    processor->pausing.waiting_count--;
}
