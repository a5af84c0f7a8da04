#include "salvage_report.h"

#include <string.h>

#include "base/mem.h"
#include "varve/batch.h"

#define KEY_MAX_BYTES (VARVE_KEY_MAX_BYTES + 1) /* a key and the zero that makes the next one */

void report_init(struct salvage_report *report)
{
    memset(report, 0, sizeof(*report));
}

static void kept_deinit(struct kept_loss *kept)
{
    mem_free(kept->file);
    mem_free(kept->what);
    buf_deinit(&kept->lower);
    buf_deinit(&kept->upper);
}

void report_deinit(struct salvage_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        kept_deinit(&report->losses[i]);
    mem_free(report->losses);
    mem_free(report->active);
    memset(report, 0, sizeof(*report));
}

static int report_grow(struct salvage_report *report)
{
    size_t cap = report->cap == 0 ? 16 : report->cap * 2;

    if (report->count < report->cap)
        return 0;
    struct kept_loss *grown = mem_realloc(report->losses, cap * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    report->losses = grown;
    size_t *active = mem_realloc(report->active, cap * sizeof(*active));
    if (active == NULL)
        return VARVE_ENOMEM;
    report->active = active;
    report->cap = cap;
    return 0;
}

int report_add(struct salvage_report *report, const struct loss *loss)
{
    if (report_grow(report) != 0)
        return VARVE_ENOMEM;
    struct kept_loss *kept = &report->losses[report->count];
    *kept = (struct kept_loss){.loss = *loss};
    buf_init(&kept->lower, KEY_MAX_BYTES);
    buf_init(&kept->upper, KEY_MAX_BYTES);
    kept->file = mem_strdup(loss->file);
    kept->what = mem_strdup(loss->what);
    if (kept->file == NULL || kept->what == NULL ||
        buf_append(&kept->lower, loss->lower.data, loss->lower.len) != 0 ||
        buf_append(&kept->upper, loss->upper.data, loss->upper.len) != 0) {
        kept_deinit(kept);
        return VARVE_ENOMEM;
    }
    kept->loss.file = kept->file;
    kept->loss.what = kept->what;
    kept->loss.lower = buf_slice(&kept->lower);
    kept->loss.upper = buf_slice(&kept->upper);
    if (loss->scope == LOSS_RANGE)
        report->active[report->active_count++] = report->count;
    report->count++;
    report->lost += loss->scope != LOSS_NONE;
    if (loss->scope == LOSS_ANY && loss->seq_max > report->any_seq_max)
        report->any_seq_max = loss->seq_max;
    return 0;
}

int report_is_doubtful(struct salvage_report *report, struct varve_slice key, uint64_t seq)
{
    int is_doubtful = seq < report->any_seq_max;
    size_t kept = 0;

    for (size_t i = 0; i < report->active_count; i++) {
        const struct loss *loss = &report->losses[report->active[i]].loss;
        if (loss->upper.len != 0 && varve_slice_compare(loss->upper, key) <= 0)
            continue;
        report->active[kept++] = report->active[i];
        if (seq < loss->seq_max && varve_slice_compare(loss->lower, key) <= 0)
            is_doubtful = 1;
    }
    report->active_count = kept;
    return is_doubtful;
}
