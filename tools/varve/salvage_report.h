/* salvage_report.h - what could not be copied, and what that means for which keys. One thread. */
#ifndef VARVE_TOOL_SALVAGE_REPORT_H
#define VARVE_TOOL_SALVAGE_REPORT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"
#include "varve/status.h"

enum loss_scope {
    LOSS_NONE,  /* damage, but no data lay there, or all of them are found elsewhere */
    LOSS_RANGE, /* keys in [lower, upper) */
    LOSS_ANY,   /* any key */
    LOSS_BACK,  /* nothing by itself, but what was deleted or overwritten may be back */
};

struct loss {
    const char *file; /* its name in the directory; copied */
    uint64_t offset;
    uint64_t bytes;   /* 0: not known, or all of the file */
    const char *what; /* copied */
    enum loss_scope scope;
    struct varve_slice lower; /* engine keys; copied */
    struct varve_slice upper; /* exclusive; len 0: no bound */
    uint64_t seq_max;         /* what was lost is not newer than that; UINT64_MAX: not known */
    uint64_t seq_from;        /* of operations of the log, up to seq_max; 0: no such thing */
};

struct kept_loss {
    struct loss loss;
    char *file;
    char *what;
    struct buf lower;
    struct buf upper;
};

struct salvage_report {
    struct kept_loss *losses;
    size_t count;
    size_t cap;
    size_t *active; /* those with a range that no key asked for was behind */
    size_t active_count;
    uint64_t lost;           /* of losses: those with a scope */
    uint64_t any_seq_max;    /* the largest of those that may concern any key */
    uint64_t keys;           /* copied */
    uint64_t bytes;          /* of their keys and values */
    uint64_t doubtful;       /* of those: a newer word on the key may be lost */
    uint64_t unreadable;     /* keys whose newest record is damaged */
    uint64_t segments;       /* read */
    uint64_t wals;           /* the same */
    uint64_t log_operations; /* read from them */
    uint64_t log_from_seq;   /* all from here to log_to_seq, without a gap */
    uint64_t log_to_seq;     /* 0: none */
};

void report_init(struct salvage_report *report);
void report_deinit(struct salvage_report *report);
/* 0 or VARVE_ENOMEM. */
int report_add(struct salvage_report *report, const struct loss *loss) MUST_CHECK;
/* May something newer than this version of the key be lost? Ascending keys. */
int report_is_doubtful(struct salvage_report *report, struct varve_slice key, uint64_t seq);

#endif
