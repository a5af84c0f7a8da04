#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define MODES 3

static const uint8_t core_actions[] = {ACT_PUT,     ACT_PUT_LARGE, ACT_DELETE,
                                       ACT_BATCH,   ACT_ROTATE,    ACT_FLUSH,
                                       ACT_COMPACT, ACT_SNAPSHOT,  ACT_REOPEN};

static size_t sequences_of(unsigned length, size_t actions)
{
    size_t count = 1;

    for (unsigned i = 0; i < length; i++)
        count *= actions;
    return count;
}

static void list_shuffle(struct plan_list *list, uint64_t seed)
{
    struct rng rng;

    rng_init(&rng, seed);
    for (size_t i = list->count; i > 1; i--) {
        size_t other = rng_below(&rng, i);
        struct plan taken = list->items[i - 1];
        list->items[i - 1] = list->items[other];
        list->items[other] = taken;
    }
}

void plan_list_make(struct plan_list *list, uint64_t seed, unsigned shortest, unsigned longest,
                    int mode, int core)
{
    size_t actions = core ? COUNT_OF(core_actions) : ACTION_COUNT;
    size_t cap = 0;

    CHECK(longest <= PLAN_ACTIONS_MAX);
    for (unsigned length = shortest; length <= longest; length++)
        cap += MODES * sequences_of(length, actions);
    *list = (struct plan_list){.items = mem_alloc(cap * sizeof(*list->items))};
    CHECK(list->items != NULL);
    for (unsigned length = shortest; length <= longest; length++)
        for (size_t nth = 0; nth < MODES * sequences_of(length, actions); nth++) {
            struct plan plan = {
                .seed = seed, .mode = (enum varve_durability)(nth % MODES), .count = length};
            size_t rest = nth / MODES;
            if (mode >= 0 && plan.mode != (enum varve_durability)mode)
                continue;
            for (unsigned i = 0; i < length; i++, rest /= actions)
                plan.actions[i] = (uint8_t)(core ? core_actions[rest % actions] : rest % actions);
            list->items[list->count++] = plan;
        }
    list_shuffle(list, seed);
}

void plan_list_free(struct plan_list *list)
{
    mem_free(list->items);
    *list = (struct plan_list){0};
}

/* ---- text ---- */

const char *mode_name(enum varve_durability mode)
{
    switch (mode) {
    case VARVE_ALWAYS: return "always";
    case VARVE_EVERYSEC: return "everysec";
    case VARVE_NO: return "no";
    }
    return "unknown";
}

int mode_parse(const char *text)
{
    for (int mode = 0; mode < MODES; mode++)
        if (strcmp(mode_name((enum varve_durability)mode), text) == 0)
            return mode;
    return -1;
}

void sequence_format(const struct plan *plan, char *text, size_t cap)
{
    size_t len = 0;

    snprintf(text, cap, "-");
    for (unsigned i = 0; i < plan->count && len < cap; i++)
        len += (size_t)snprintf(text + len, cap - len, "%s%s", i == 0 ? "" : ",",
                                action_name((enum action)plan->actions[i]));
}

static int action_parse(const char *text, size_t len)
{
    for (int action = 0; action < ACTION_COUNT; action++) {
        const char *name = action_name((enum action)action);
        if (strlen(name) == len && memcmp(name, text, len) == 0)
            return action;
    }
    return -1;
}

int sequence_parse(const char *text, struct plan *plan)
{
    plan->count = 0;
    if (strcmp(text, "-") == 0)
        return 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        int action = action_parse(text, len);
        if (action < 0 || plan->count == PLAN_ACTIONS_MAX)
            return -1;
        plan->actions[plan->count++] = (uint8_t)action;
        if (text[len] == '\0')
            return 0;
        text += len + 1;
    }
}
