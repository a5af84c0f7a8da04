/* What may be left of the disk after a power cut.
 *
 * A crash_state is the durable tree and, in the order of issue, the units that are on their way: a
 * sector of a write, a size, a step of names. An image picks a subset of the units and applies it
 * in order onto a copy of the durable tree. Since the newest picked unit of a sector wins, every
 * sector may end as it was durably or as any later write left it, which is what a disk may do that
 * writes a page back at any time. Units are whole sectors as they read after their write, so that a
 * sector never mixes two writes other than in order.
 *
 * A sync moves all units of its file into the durable tree. A failed sync leaves them in doubt: the
 * kernel has marked those pages clean, so that no later sync writes them, but some may have reached
 * the disk. They stay pickable until a later durable unit of the same sector, size or name
 * overtakes them.
 *
 * Garbage, in sectors that were written to and never held durable bytes: random bytes, ones, or a
 * sector that another file holds or held. The last is the nastiest: a freed block with a valid old
 * record in it. */
#include <string.h>

#include "base/check.h"
#include "sim_internal.h"

/* --- crash states --- */

static void unit_deinit(struct unit *unit)
{
    sim_sector_unref(unit->sector);
    name_step_unref(unit->step);
}

void crash_state_init(struct crash_state *state)
{
    *state = (struct crash_state){0};
    sim_tree_init(&state->durable);
}

void crash_state_deinit(struct crash_state *state)
{
    for (size_t i = 0; i < state->count; i++)
        unit_deinit(&state->units[i]);
    sim_free(state->units);
    sim_tree_deinit(&state->durable);
    *state = (struct crash_state){0};
}

void crash_state_clone(struct crash_state *to, const struct crash_state *from)
{
    *to = (struct crash_state){.in_doubt_count = from->in_doubt_count};
    sim_tree_clone(&to->durable, &from->durable);
    if (from->count == 0)
        return;
    sim_grow(&to->units, &to->cap, from->count, sizeof(struct unit));
    for (size_t i = 0; i < from->count; i++) {
        to->units[i] = from->units[i];
        sim_sector_ref(to->units[i].sector);
        name_step_ref(to->units[i].step);
    }
    to->count = from->count;
}

static struct unit *unit_add(struct crash_state *state, enum unit_kind kind, uint32_t node)
{
    struct unit *unit;

    sim_grow(&state->units, &state->cap, state->count + 1, sizeof(struct unit));
    unit = &state->units[state->count++];
    *unit = (struct unit){.kind = kind, .node = node};
    return unit;
}

static void unit_apply(struct sim_tree *tree, const struct unit *unit)
{
    switch (unit->kind) {
    case UNIT_DATA:
        sim_content_put(sim_tree_own_content(tree, unit->node), unit->at, unit->sector);
        break;
    case UNIT_SIZE: sim_tree_own_content(tree, unit->node)->size = unit->at; break;
    case UNIT_NAME:
        for (size_t i = 0; i < unit->step->count; i++) {
            const struct name_change *change = &unit->step->changes[i];
            if ((unit->dead_changes >> i & 1) == 0)
                sim_tree_set(tree, change->dir, change->name, change->node);
        }
        break;
    }
}

/* Marks what in `old` concerns the same name as a step that is now durable. Returns 1 if nothing
 * of it is left. */
static int name_overtakes(const struct name_step *durable, struct unit *old)
{
    for (size_t i = 0; i < durable->count; i++)
        for (size_t j = 0; j < old->step->count; j++)
            if (durable->changes[i].dir == old->step->changes[j].dir &&
                strcmp(durable->changes[i].name, old->step->changes[j].name) == 0)
                old->dead_changes = (uint8_t)(old->dead_changes | 1u << j);
    return old->dead_changes == (1u << old->step->count) - 1;
}

/* Takes out the units in doubt among the first `count` that a durable unit makes obsolete; returns
 * how many are left of them. */
static size_t drop_overtaken(struct crash_state *state, size_t count, const struct unit *durable)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct unit *old = &state->units[i];
        int gone = 0;

        if (old->in_doubt && old->kind == durable->kind && old->node == durable->node) {
            if (old->kind == UNIT_NAME)
                gone = name_overtakes(durable->step, old);
            else
                gone = old->kind == UNIT_SIZE || old->at == durable->at;
        }
        if (gone) {
            state->in_doubt_count--;
            unit_deinit(old);
        } else {
            state->units[kept++] = *old;
        }
    }
    return kept;
}

/* A sync of `node` that worked. */
static void settle(struct crash_state *state, uint32_t node)
{
    size_t kept = 0;

    for (size_t i = 0; i < state->count; i++) {
        struct unit unit = state->units[i];

        if (unit.node != node || unit.in_doubt) {
            state->units[kept++] = unit;
            continue;
        }
        unit_apply(&state->durable, &unit);
        if (state->in_doubt_count > 0)
            kept = drop_overtaken(state, kept, &unit);
        unit_deinit(&unit);
    }
    state->count = kept;
}

static void put_in_doubt(struct crash_state *state, uint32_t node)
{
    for (size_t i = 0; i < state->count; i++) {
        struct unit *unit = &state->units[i];
        if (unit->node == node && !unit->in_doubt) {
            unit->in_doubt = 1;
            state->in_doubt_count++;
        }
    }
}

static void add_file_units(struct crash_state *state, const struct event *event)
{
    for (size_t i = 0; i < event->sector_count; i++) {
        struct unit *unit = unit_add(state, UNIT_DATA, event->node);
        unit->at = event->first_sector + i;
        unit->sector = sim_sector_ref(event->sectors[i]);
    }
    if (event->size_changed)
        unit_add(state, UNIT_SIZE, event->node)->at = event->size_after;
}

static void add_name_units(struct crash_state *state, const struct event *event)
{
    for (size_t i = 0; i < 2; i++)
        if (event->steps[i] != NULL)
            unit_add(state, UNIT_NAME, event->steps[i]->changes[0].dir)->step = name_step_ref(
                event->steps[i]);
}

void crash_state_apply(struct crash_state *state, const struct event *event)
{
    switch (event->kind) {
    case SIM_WRITE:
    case SIM_TRUNCATE: add_file_units(state, event); break;
    case SIM_CREATE:
        sim_tree_make_at(&state->durable, event->node, event->node_kind);
        add_name_units(state, event);
        break;
    case SIM_RENAME:
    case SIM_LINK:
    case SIM_REMOVE: add_name_units(state, event); break;
    case SIM_SYNC:
    case SIM_SYNC_DIR: settle(state, event->node); break;
    case SIM_SYNC_FAILED: put_in_doubt(state, event->node); break;
    case SIM_MARK: break;
    }
}

void crash_state_drop_units(struct crash_state *state, const uint8_t *mark)
{
    size_t kept = 0;

    for (size_t i = 0; i < state->count; i++) {
        struct unit *unit = &state->units[i];

        if (mark[unit->node]) {
            state->units[kept++] = *unit;
            continue;
        }
        state->in_doubt_count -= unit->in_doubt;
        unit_deinit(unit);
    }
    state->count = kept;
}

/* --- the cursor --- */

void cursor_drop(struct sim_env *sim)
{
    if (sim->cursor_valid)
        crash_state_deinit(&sim->cursor);
    sim->cursor_valid = 0;
}

void cursor_seek(struct sim_env *sim, uint64_t upto)
{
    CHECK(upto <= sim->event_count);
    if (sim->cursor_valid && sim->cursor_at > upto)
        cursor_drop(sim);
    if (!sim->cursor_valid) {
        crash_state_clone(&sim->cursor, &sim->base);
        sim->cursor_at = 0;
        sim->cursor_valid = 1;
    }
    for (; sim->cursor_at < upto; sim->cursor_at++) {
        const struct event *event = &sim->events[sim->cursor_at];
        if (event->sync_nth == 0 || event->sync_nth != sim->drop_nth)
            crash_state_apply(&sim->cursor, event);
    }
}

uint64_t sim_unit_count(struct sim_env *sim, uint64_t upto)
{
    uint64_t count;

    mutex_lock(&sim->mutex);
    cursor_seek(sim, upto);
    count = sim->cursor.count;
    mutex_unlock(&sim->mutex);
    return count;
}

/* --- choosing --- */

/* How one image is chosen. */
struct choice {
    enum sim_policy policy;
    uint64_t seed;
    uint64_t count; /* units */
    uint32_t node;  /* SIM_ONE_FILE_LOST, _KEPT */
    struct rng rng;
    uint64_t odds[3];      /* SIM_RANDOM: of 16, a kind of unit */
    uint64_t garbage_odds; /* of 16 */
    uint64_t between_odds; /* of 16: a size between two that were */
};

#define ODDS_OF 16

static void choice_init(struct choice *choice, const struct crash_state *state,
                        enum sim_policy policy, uint64_t seed)
{
    static const uint64_t biases[] = {1, 8, 15, 4, 12};

    *choice = (struct choice){.policy = policy, .seed = seed, .count = state->count};
    rng_init(&choice->rng, sim_mix(seed, policy));
    if (state->count > 0)
        choice->node = state->units[seed % state->count].node;
    if (policy == SIM_GARBAGE)
        choice->garbage_odds = ODDS_OF;
    if (policy != SIM_RANDOM)
        return;
    for (size_t i = 0; i < COUNT_OF(choice->odds); i++)
        choice->odds[i] = biases[rng_below(&choice->rng, COUNT_OF(biases))];
    choice->garbage_odds = rng_below(&choice->rng, 2) * ODDS_OF / 2;
    choice->between_odds = ODDS_OF / 8;
}

/* Whether unit number i reaches the disk. */
static int choice_keeps(struct choice *choice, uint64_t i, const struct unit *unit)
{
    uint64_t nth = choice->count > 0 ? choice->seed % choice->count : 0;
    uint64_t cut = choice->seed % (choice->count + 1);

    switch (choice->policy) {
    case SIM_ALL_KEPT: return !unit->in_doubt;
    case SIM_KILL: return 1;
    case SIM_RANDOM: return rng_below(&choice->rng, ODDS_OF) < choice->odds[unit->kind];
    case SIM_PREFIX: return i < cut;
    case SIM_SUFFIX: return i >= cut;
    case SIM_ONE_MISSING: return i != nth;
    case SIM_ONE_KEPT: return i == nth;
    case SIM_ONE_FILE_LOST: return unit->node != choice->node;
    case SIM_ONE_FILE_KEPT: return unit->node == choice->node;
    case SIM_SUBSET: return (int)(choice->seed >> (i % 64) & 1);
    case SIM_GARBAGE:
    case SIM_ONLY_SIZES: return unit->kind != UNIT_DATA;
    case SIM_ONLY_DATA: return unit->kind != UNIT_SIZE;
    case SIM_ONLY_NAMES: return unit->kind == UNIT_NAME;
    case SIM_NO_NAMES: return unit->kind != UNIT_NAME;
    default: return 0; /* SIM_ALL_LOST */
    }
}

/* A sector of some file but `not_of`, NULL if the draw hits none. */
static struct sim_sector *stale_sector(struct choice *choice, const struct crash_state *state,
                                       uint32_t not_of)
{
    const struct unit *unit;
    uint32_t id;

    if (rng_below(&choice->rng, 2) == 0) {
        unit = &state->units[rng_below(&choice->rng, state->count)];
        return unit->kind == UNIT_DATA && unit->node != not_of ? sim_sector_ref(unit->sector)
                                                               : NULL;
    }
    id = (uint32_t)rng_below(&choice->rng, state->durable.count);
    if (id == not_of || state->durable.nodes[id].kind != SIM_FILE ||
        state->durable.nodes[id].content->count == 0)
        return NULL;
    return sim_sector_ref(
        sim_content_at(state->durable.nodes[id].content,
                       rng_below(&choice->rng, state->durable.nodes[id].content->count)));
}

static struct sim_sector *garbage_sector(struct choice *choice, const struct crash_state *state,
                                         uint32_t not_of)
{
    uint8_t bytes[SIM_SECTOR_BYTES];
    uint64_t draw = rng_below(&choice->rng, 4);
    struct sim_sector *stale = draw < 2 ? stale_sector(choice, state, not_of) : NULL;

    if (stale != NULL)
        return stale;
    memset(bytes, 0xff, sizeof(bytes));
    for (size_t i = 0; draw < 3 && i < sizeof(bytes); i += sizeof(uint64_t)) {
        uint64_t word = rng_next(&choice->rng);
        memcpy(bytes + i, &word, sizeof(word));
    }
    return sim_sector_make(bytes);
}

/* Puts garbage where a write was lost and nothing durable lies. */
static void maybe_garbage(struct choice *choice, const struct crash_state *state,
                          struct sim_tree *tree, const struct unit *lost)
{
    struct sim_sector *sector;

    if (choice->garbage_odds == 0 || lost->kind != UNIT_DATA || lost->sector == NULL ||
        sim_content_at(state->durable.nodes[lost->node].content, lost->at) != NULL ||
        sim_content_at(tree->nodes[lost->node].content, lost->at) != NULL ||
        rng_below(&choice->rng, ODDS_OF) >= choice->garbage_odds)
        return;
    sector = garbage_sector(choice, state, lost->node);
    sim_content_put(sim_tree_own_content(tree, lost->node), lost->at, sector);
    sim_sector_unref(sector);
}

/* A write that is cut short may leave the size at any sector within it. */
static void maybe_size_between(struct choice *choice, const struct crash_state *state,
                               struct sim_tree *tree, const struct unit *unit)
{
    uint64_t low = unit->kind == UNIT_SIZE ? state->durable.nodes[unit->node].content->size : 0;
    uint64_t first = low / SIM_SECTOR_BYTES + 1;

    if (choice->between_odds == 0 || unit->kind != UNIT_SIZE ||
        unit->at <= first * SIM_SECTOR_BYTES ||
        rng_below(&choice->rng, ODDS_OF) >= choice->between_odds)
        return;
    sim_tree_own_content(tree, unit->node)->size = (first + rng_below(&choice->rng,
                                                                      unit->at / SIM_SECTOR_BYTES -
                                                                          first + 1)) *
                                                   SIM_SECTOR_BYTES;
}

static void free_unreachable(struct sim_tree *tree)
{
    uint8_t *mark = sim_alloc(tree->count);

    sim_tree_reach(tree, mark);
    for (uint32_t id = 0; id < tree->count; id++)
        if (!mark[id])
            sim_tree_free_node(tree, id);
    sim_free(mark);
}

/* The tree that the chosen units leave behind. */
static void tree_choose(struct sim_tree *tree, const struct crash_state *state,
                        struct choice *choice)
{
    sim_tree_clone(tree, &state->durable);
    for (size_t i = 0; i < state->count; i++) {
        const struct unit *unit = &state->units[i];

        if (choice_keeps(choice, i, unit))
            unit_apply(tree, unit);
        else
            maybe_garbage(choice, state, tree, unit);
        maybe_size_between(choice, state, tree, unit);
    }
    for (size_t i = 0; i < state->count; i++) {
        const struct unit *unit = &state->units[i];
        if (unit->kind != UNIT_NAME)
            sim_content_trim(sim_tree_own_content(tree, unit->node));
    }
}

struct sim_env *sim_image(struct sim_env *sim, uint64_t upto, enum sim_policy policy, uint64_t seed)
{
    struct sim_env *image = sim_env_make(sim_mix(sim_mix(sim->seed, upto), sim_mix(seed, policy)));
    struct choice choice;

    mutex_lock(&sim->mutex);
    cursor_seek(sim, upto);
    choice_init(&choice, &sim->cursor, policy, seed);
    tree_choose(&image->live, &sim->cursor, &choice);
    if (policy == SIM_KILL) {
        crash_state_clone(&image->base, &sim->cursor);
    } else {
        free_unreachable(&image->live);
        sim_tree_clone(&image->base.durable, &image->live);
    }
    image->mono_us = upto > 0 ? sim->events[upto - 1].mono_us : sim->start_mono_us;
    image->real_ms = upto > 0 ? sim->events[upto - 1].real_ms : sim->start_real_ms;
    mutex_unlock(&sim->mutex);
    image->start_mono_us = image->mono_us;
    image->start_real_ms = image->real_ms;
    return image;
}

const char *sim_policy_name(enum sim_policy policy)
{
    static const char *const names[SIM_POLICY_COUNT] = {
        [SIM_ALL_LOST] = "all-lost",
        [SIM_ALL_KEPT] = "all-kept",
        [SIM_RANDOM] = "random",
        [SIM_PREFIX] = "prefix",
        [SIM_SUFFIX] = "suffix",
        [SIM_ONE_MISSING] = "one-missing",
        [SIM_ONE_KEPT] = "one-kept",
        [SIM_ONE_FILE_LOST] = "one-file-lost",
        [SIM_ONE_FILE_KEPT] = "one-file-kept",
        [SIM_SUBSET] = "subset",
        [SIM_ONLY_SIZES] = "only-sizes",
        [SIM_ONLY_DATA] = "only-data",
        [SIM_ONLY_NAMES] = "only-names",
        [SIM_NO_NAMES] = "no-names",
        [SIM_GARBAGE] = "garbage",
        [SIM_KILL] = "kill",
    };

    return policy < SIM_POLICY_COUNT ? names[policy] : "unknown";
}
