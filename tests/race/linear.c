#include "linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MULTIPLIER 0x9e3779b97f4a7c15u /* odd */
#define CHOICES_MAX ((size_t)1 << 16)
#define SHOWN_AROUND 12

/* The key may hold this, and of what is under way those with a bit have had their moment. */
struct choice {
    uint64_t hash;
    uint64_t len;
    uint64_t done;
    uint64_t present;
};

struct choices {
    struct choice list[CHOICES_MAX];
    size_t count;
    uint32_t table[2 * CHOICES_MAX]; /* open addressing: index + 1 */
};

struct search {
    const struct linear_op *ops;
    const struct linear_op *pending[LINEAR_PENDING_MAX];
    uint64_t used; /* slots of pending */
    struct choices *now;
    struct choices *met;  /* while an answer is explained */
    struct choices *next; /* that explain it */
    struct linear_report *report;
};

/* ---- values ---- */

struct linear_value linear_text(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    struct linear_value value = {.power = 1, .len = len};

    for (size_t i = 0; i < len; i++) {
        value.hash = value.hash * MULTIPLIER + at[i] + 1;
        value.power *= MULTIPLIER;
    }
    return value;
}

struct linear_value linear_number(uint64_t number)
{
    return (struct linear_value){.hash = number};
}

uint64_t linear_hash(struct linear_value value)
{
    return value.hash + value.power;
}

/* ---- one operation on one state ---- */

/* 0: with that answer it is not possible here. */
static int apply(const struct linear_op *op, struct choice *choice)
{
    int answered = op->end_ns != LINEAR_NEVER;
    int present = choice->present != 0;

    switch ((enum linear_kind)op->kind) {
    case LINEAR_GET:
        return !answered || (present == op->found && (!present || choice->hash == op->result));
    case LINEAR_SET_NX:
        if (answered && present == op->found)
            return 0;
        if (present)
            return 1;
        break;
    case LINEAR_SET: break;
    case LINEAR_DELETE:
        choice->present = choice->hash = choice->len = 0;
        return !answered || present == op->found;
    case LINEAR_APPEND:
        choice->hash = (present ? choice->hash : 1) * op->value.power + op->value.hash;
        choice->len += op->value.len;
        choice->present = 1;
        return !answered || choice->len == op->result;
    case LINEAR_ADD:
        choice->hash += op->value.hash;
        choice->present = 1;
        return !answered || choice->hash == op->result;
    }
    choice->hash = linear_hash(op->value);
    choice->len = op->value.len;
    choice->present = 1;
    return 1;
}

/* ---- sets of choices ---- */

static size_t choice_slot(const struct choices *choices, const struct choice *choice)
{
    uint64_t hash = choice->hash * MULTIPLIER ^ choice->done * 0xbf58476d1ce4e5b9u ^
                    (choice->len * 2 + choice->present) * 0x94d049bb133111ebu;
    size_t slot = (size_t)((hash ^ hash >> 29) * MULTIPLIER >> 32) % (2 * CHOICES_MAX);

    while (choices->table[slot] != 0 &&
           memcmp(&choices->list[choices->table[slot] - 1], choice, sizeof(*choice)) != 0)
        slot = (slot + 1) % (2 * CHOICES_MAX);
    return slot;
}

/* -1: there are too many. */
static int choices_add(struct choices *choices, const struct choice *choice)
{
    size_t slot = choice_slot(choices, choice);

    if (choices->table[slot] != 0)
        return 0;
    if (choices->count == CHOICES_MAX)
        return -1;
    choices->list[choices->count++] = *choice;
    choices->table[slot] = (uint32_t)choices->count;
    return 0;
}

static void choices_clear(struct choices *choices)
{
    if (choices->count > CHOICES_MAX / 64)
        memset(choices->table, 0, 2 * CHOICES_MAX * sizeof(*choices->table));
    /* Newest first, so that the place of each is found as when it came. */
    for (size_t i = choices->count; choices->count <= CHOICES_MAX / 64 && i > 0; i--)
        choices->table[choice_slot(choices, &choices->list[i - 1])] = 0;
    choices->count = 0;
}

/* ---- the search ---- */

/* With its answer it changes nothing, wherever it has its moment. */
static int only_looks(const struct linear_op *op)
{
    return op->end_ns != LINEAR_NEVER &&
           (op->kind == LINEAR_GET ||
            ((op->kind == LINEAR_SET_NX || op->kind == LINEAR_DELETE) && op->found == 0));
}

/* Something under way that fits as things are and only looks: to let it have its moment at once never shuts a
 * way. -1: there is none. */
static int harmless(const struct search *search, const struct choice *choice)
{
    for (uint64_t left = search->used & ~choice->done; left != 0; left &= left - 1) {
        int slot = __builtin_ctzll(left);
        struct choice after = *choice;
        if (only_looks(search->pending[slot]) && apply(search->pending[slot], &after))
            return slot;
    }
    return -1;
}

/* All that can come of one choice by one more moment. */
static int spread(struct search *search, const struct choice *choice)
{
    int easy = harmless(search, choice);
    uint64_t left = easy >= 0 ? (uint64_t)1 << easy : search->used & ~choice->done;

    for (; left != 0; left &= left - 1) {
        int slot = __builtin_ctzll(left);
        struct choice after = *choice;
        if (!apply(search->pending[slot], &after))
            continue;
        after.done |= (uint64_t)1 << slot;
        if (choices_add(search->met, &after) != 0)
            return -1;
    }
    return 0;
}

/* The operation in that slot was answered: only choices in which it has had its moment stay. */
static enum linear_verdict answered(struct search *search, int slot)
{
    uint64_t bit = (uint64_t)1 << slot;

    choices_clear(search->met);
    choices_clear(search->next);
    for (size_t i = 0; i < search->now->count; i++)
        if (choices_add(search->met, &search->now->list[i]) != 0)
            return LINEAR_TOO_WIDE;
    for (size_t i = 0; i < search->met->count; i++) {
        struct choice choice = search->met->list[i];
        if ((choice.done & bit) == 0) {
            if (spread(search, &choice) != 0)
                return LINEAR_TOO_WIDE;
            continue;
        }
        choice.done &= ~bit;
        if (choices_add(search->next, &choice) != 0)
            return LINEAR_TOO_WIDE;
    }
    search->used &= ~bit;
    struct choices *before = search->now;
    search->now = search->next;
    search->next = before;
    if (search->now->count > search->report->choices_max)
        search->report->choices_max = search->now->count;
    return search->now->count == 0 ? LINEAR_NO : LINEAR_YES;
}

static int by_begin(const void *left, const void *right)
{
    const struct linear_op *a = left;
    const struct linear_op *b = right;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->begin_ns > b->begin_ns) - (a->begin_ns < b->begin_ns);
}

static int called(struct search *search, const struct linear_op *op)
{
    if (search->used == UINT64_MAX)
        return -1;
    int slot = __builtin_ctzll(~search->used);
    search->pending[slot] = op;
    search->used |= (uint64_t)1 << slot;
    uint64_t pending = (uint64_t)__builtin_popcountll(search->used);
    if (pending > search->report->pending_max)
        search->report->pending_max = pending;
    return 0;
}

/* The slot whose answer comes next, and before `until`; -1: none. A call at the same time was earlier. */
static int next_answer(const struct search *search, uint64_t until)
{
    int found = -1;

    for (uint64_t left = search->used; left != 0; left &= left - 1) {
        int slot = __builtin_ctzll(left);
        if (search->pending[slot]->end_ns < until) {
            until = search->pending[slot]->end_ns;
            found = slot;
        }
    }
    return found;
}

static void walk(struct search *search, size_t count)
{
    struct linear_report *report = search->report;

    for (size_t i = 0; i <= count; i++) {
        uint64_t until = i < count ? search->ops[i].begin_ns : LINEAR_NEVER;
        int slot;
        while ((slot = next_answer(search, until)) >= 0) {
            report->op = (uint64_t)(search->pending[slot] - search->ops);
            report->verdict = answered(search, slot);
            if (report->verdict != LINEAR_YES)
                return;
        }
        if (i < count && called(search, &search->ops[i]) != 0) {
            report->op = i;
            report->verdict = LINEAR_TOO_WIDE;
            return;
        }
    }
}

void linear_check(struct linear_op *ops, size_t count, struct linear_report *report)
{
    static struct choices sets[3];
    struct search search = {
        .ops = ops, .now = &sets[0], .met = &sets[1], .next = &sets[2], .report = report};
    const struct choice absent = {0};

    *report = (struct linear_report){0};
    qsort(ops, count, sizeof(*ops), by_begin);
    for (int i = 0; i < 3; i++)
        choices_clear(&sets[i]);
    CHECK(choices_add(search.now, &absent) == 0);
    walk(&search, count);
}

void linear_check_all(struct linear_op *ops, size_t count, uint32_t key_count,
                      struct linear_report *report)
{
    struct linear_report most = {0};
    size_t from = 0;

    qsort(ops, count, sizeof(*ops), by_begin);
    for (uint32_t key = 0; key < key_count; key++) {
        size_t to = from;
        while (to < count && ops[to].key == key)
            to++;
        linear_check(ops + from, to - from, report);
        report->op += from;
        if (report->verdict != LINEAR_YES)
            return;
        if (report->pending_max > most.pending_max)
            most.pending_max = report->pending_max;
        if (report->choices_max > most.choices_max)
            most.choices_max = report->choices_max;
        from = to;
    }
    CHECK(from == count);
    *report = most;
}

void linear_print(const struct linear_op *ops, size_t count, uint64_t at)
{
    static const char *const names[] = {"GET", "SET", "SET NX", "DEL", "APPEND", "ADD"};
    uint64_t from = at > SHOWN_AROUND ? at - SHOWN_AROUND : 0;

    for (uint64_t i = from; i < count && i < at + SHOWN_AROUND; i++) {
        const struct linear_op *op = &ops[i];
        if (op->key != ops[at].key)
            continue;
        printf("%s key %u %+" PRId64 " .. %+" PRId64 " ns: %s %016" PRIx64 ", found %u, result "
               "%" PRIx64 "\n",
               i == at ? "->" : "  ", op->key, (int64_t)(op->begin_ns - ops[at].begin_ns),
               op->end_ns == LINEAR_NEVER ? -1 : (int64_t)(op->end_ns - ops[at].begin_ns),
               names[op->kind], linear_hash(op->value), op->found, op->result);
    }
}
