/* judge.h - opens a database of the zoo whose disk was attacked, reads all of it in every way there is, and
 * says whether what came of it may be: the true values, an error that names the file and the place, or,
 * where the end of the newest log was damaged behind its last promise, a shorter S_k. One thread. */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include <stddef.h>

#include "attack.h"
#include "zoo.h"

enum verdict {
    VERDICT_REFUSED,    /* by the open */
    VERDICT_READ_ERROR, /* some read says that a block is damaged, all others are true */
    VERDICT_SHORTER,    /* a shorter S_k */
    VERDICT_UNHARMED,   /* and why is known */
    VERDICT_WRONG,
    VERDICT_COUNT
};

/* Why damage did no harm. */
enum reason {
    REASON_NONE,
    REASON_NEVER_READ, /* LOCK: no byte of it means anything */
    REASON_NOT_NAMED,  /* a file that the manifest does not name */
    REASON_BEHIND_END, /* behind the last record of a log: room that was made for more */
    REASON_TAIL_RECORD, /* its CRC tells; but nothing promises that record, and it holds no operation */
    REASON_LAST_EDIT,  /* the same, of a manifest: the log says the same without it */
    REASON_DEAD_BLOCK, /* its CRC tells those who read it; no read needs it */
    REASON_COUNT
};

struct judgement {
    enum verdict verdict;
    enum reason reason;
    uint64_t k;
    char why[768]; /* of VERDICT_WRONG; else the error, or "" */
};

const char *verdict_name(enum verdict verdict); /* static storage */
const char *reason_text(enum reason reason);

struct judge; /* opaque */

struct judge *judge_create(uint64_t seed);
void judge_destroy(struct judge *judge); /* takes NULL */

/* The undamaged database, which is what all others are held against. 0, or -1 and why: it is not S_k. */
int judge_meet(struct judge *judge, struct zoo_db *zoo, struct judgement *judgement);

/* `deep`: after the reads a full compaction, all reads again, a close, an open, and all reads again. */
void judge_image(struct judge *judge, const struct attack *attack, const struct attacked *attacked,
                 int deep, struct judgement *judgement);

#endif
