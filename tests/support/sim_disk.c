#include "sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define HASH_OF_ZEROS 1u

void *sim_alloc(size_t size_bytes)
{
    void *ptr = calloc(1, size_bytes > 0 ? size_bytes : 1);

    CHECK(ptr != NULL);
    return ptr;
}

void sim_grow(void *array, size_t *cap, size_t need, size_t elem_bytes)
{
    void *ptr;
    size_t grown = *cap < 8 ? 8 : *cap * 2;

    if (need <= *cap)
        return;
    if (grown < need)
        grown = need;
    CHECK(grown <= SIZE_MAX / elem_bytes);
    memcpy(&ptr, array, sizeof(ptr));
    ptr = realloc(ptr, grown * elem_bytes);
    CHECK(ptr != NULL);
    memcpy(array, &ptr, sizeof(ptr));
    *cap = grown;
}

void sim_free(void *ptr)
{
    free(ptr);
}

/* --- sectors --- */

struct sim_sector sim_zero_sector = {.refs = 1, .hash = HASH_OF_ZEROS};

struct sim_sector *sim_sector_make(const uint8_t bytes[SIM_SECTOR_BYTES])
{
    struct sim_sector *sector;

    if (memcmp(bytes, sim_zero_sector.bytes, SIM_SECTOR_BYTES) == 0)
        return &sim_zero_sector;
    sector = malloc(sizeof(*sector));
    CHECK(sector != NULL);
    atomic_init(&sector->refs, 1);
    atomic_init(&sector->hash, 0);
    memcpy(sector->bytes, bytes, SIM_SECTOR_BYTES);
    return sector;
}

struct sim_sector *sim_sector_ref(struct sim_sector *sector)
{
    if (sector != NULL && sector != &sim_zero_sector)
        atomic_fetch_add_explicit(&sector->refs, 1, memory_order_relaxed);
    return sector;
}

void sim_sector_unref(struct sim_sector *sector)
{
    if (sector == NULL || sector == &sim_zero_sector)
        return;
    if (atomic_fetch_sub_explicit(&sector->refs, 1, memory_order_acq_rel) == 1)
        free(sector);
}

uint64_t sim_sector_hash(struct sim_sector *sector)
{
    uint64_t hash = atomic_load_explicit(&sector->hash, memory_order_relaxed);

    if (hash != 0)
        return hash;
    for (size_t i = 0; i < SIM_SECTOR_BYTES; i += 8) {
        uint64_t word;
        memcpy(&word, sector->bytes + i, sizeof(word));
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    hash |= 2; /* never 0, never that of zeros, which sim_sector_make() does not let in here */
    atomic_store_explicit(&sector->hash, hash, memory_order_relaxed);
    return hash;
}

/* --- contents --- */

static struct sim_content *content_make(void)
{
    struct sim_content *content = sim_alloc(sizeof(*content));

    atomic_init(&content->refs, 1);
    return content;
}

static struct sim_content *content_ref(struct sim_content *content)
{
    if (content != NULL)
        atomic_fetch_add_explicit(&content->refs, 1, memory_order_relaxed);
    return content;
}

static void content_unref(struct sim_content *content)
{
    if (content == NULL || atomic_fetch_sub_explicit(&content->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < content->count; i++)
        sim_sector_unref(content->sectors[i]);
    free(content->sectors);
    free(content);
}

static struct sim_content *content_copy(const struct sim_content *from)
{
    struct sim_content *to = content_make();

    to->size = from->size;
    if (from->count == 0)
        return to;
    sim_grow(&to->sectors, &to->cap, from->count, sizeof(struct sim_sector *));
    for (size_t i = 0; i < from->count; i++)
        to->sectors[i] = sim_sector_ref(from->sectors[i]);
    to->count = from->count;
    return to;
}

struct sim_sector *sim_content_at(const struct sim_content *content, uint64_t sector_no)
{
    return sector_no < content->count ? content->sectors[sector_no] : NULL;
}

void sim_content_put(struct sim_content *content, uint64_t sector_no, struct sim_sector *sector)
{
    if (sector_no >= content->count) {
        if (sector == NULL)
            return;
        sim_grow(&content->sectors, &content->cap, sector_no + 1, sizeof(struct sim_sector *));
        for (size_t i = content->count; i <= sector_no; i++)
            content->sectors[i] = NULL;
        content->count = sector_no + 1;
    }
    sim_sector_ref(sector);
    sim_sector_unref(content->sectors[sector_no]);
    content->sectors[sector_no] = sector;
}

void sim_content_trim(struct sim_content *content)
{
    uint64_t whole = content->size / SIM_SECTOR_BYTES;
    size_t tail = content->size % SIM_SECTOR_BYTES;
    uint64_t keep = whole + (tail > 0 ? 1 : 0);

    while (content->count > keep)
        sim_sector_unref(content->sectors[--content->count]);
    if (tail > 0 && sim_content_at(content, whole) != NULL) {
        uint8_t bytes[SIM_SECTOR_BYTES] = {0};
        struct sim_sector *cut;

        memcpy(bytes, content->sectors[whole]->bytes, tail);
        cut = sim_sector_make(bytes);
        sim_content_put(content, whole, cut);
        sim_sector_unref(cut);
    }
}

void sim_content_read(const struct sim_content *content, uint64_t offset, size_t len, void *data)
{
    uint8_t *to = data;

    while (len > 0) {
        size_t skip = offset % SIM_SECTOR_BYTES;
        size_t part = SIM_SECTOR_BYTES - skip < len ? SIM_SECTOR_BYTES - skip : len;
        const struct sim_sector *sector = sim_content_at(content, offset / SIM_SECTOR_BYTES);

        if (sector != NULL)
            memcpy(to, sector->bytes + skip, part);
        else
            memset(to, 0, part);
        to += part;
        offset += part;
        len -= part;
    }
}

/* --- trees --- */

void sim_tree_init(struct sim_tree *tree)
{
    *tree = (struct sim_tree){0};
    sim_tree_make_at(tree, SIM_ROOT, SIM_DIR);
}

void sim_tree_deinit(struct sim_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        content_unref(tree->nodes[i].content);
        free(tree->nodes[i].entries);
    }
    free(tree->nodes);
    *tree = (struct sim_tree){0};
}

void sim_tree_clone(struct sim_tree *to, const struct sim_tree *from)
{
    *to = (struct sim_tree){.free_hint = from->free_hint};
    sim_grow(&to->nodes, &to->cap, from->count, sizeof(struct sim_node));
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        struct sim_node *node = &to->nodes[i];

        *node = from->nodes[i];
        node->locked = 0;
        node->open_count = 0;
        node->content = content_ref(node->content);
        node->entries = NULL;
        node->entry_cap = 0;
        if (node->entry_count > 0) {
            sim_grow(&node->entries, &node->entry_cap, node->entry_count,
                     sizeof(struct sim_dirent));
            memcpy(node->entries, from->nodes[i].entries,
                   node->entry_count * sizeof(struct sim_dirent));
        }
    }
}

void sim_tree_make_at(struct sim_tree *tree, uint32_t id, enum sim_node_kind kind)
{
    if (id >= tree->count) {
        sim_grow(&tree->nodes, &tree->cap, (size_t)id + 1, sizeof(struct sim_node));
        memset(tree->nodes + tree->count, 0, (id + 1 - tree->count) * sizeof(struct sim_node));
        tree->count = (size_t)id + 1;
    }
    CHECK(tree->nodes[id].kind == SIM_FREE);
    tree->nodes[id].kind = (uint8_t)kind;
    if (kind == SIM_FILE)
        tree->nodes[id].content = content_make();
}

uint32_t sim_tree_make(struct sim_tree *tree, enum sim_node_kind kind)
{
    size_t id = tree->free_hint;

    while (id < tree->count && tree->nodes[id].kind != SIM_FREE)
        id++;
    CHECK(id < SIM_NO_NODE);
    tree->free_hint = id + 1;
    sim_tree_make_at(tree, (uint32_t)id, kind);
    return (uint32_t)id;
}

void sim_tree_free_node(struct sim_tree *tree, uint32_t id)
{
    content_unref(tree->nodes[id].content);
    free(tree->nodes[id].entries);
    tree->nodes[id] = (struct sim_node){0};
    if (id < tree->free_hint)
        tree->free_hint = id;
}

static struct sim_dirent *find_entry(const struct sim_tree *tree, uint32_t dir, const char *name)
{
    const struct sim_node *node = &tree->nodes[dir];

    for (size_t i = 0; i < node->entry_count; i++)
        if (strcmp(node->entries[i].name, name) == 0)
            return &node->entries[i];
    return NULL;
}

uint32_t sim_tree_find(const struct sim_tree *tree, uint32_t dir, const char *name)
{
    const struct sim_dirent *entry = find_entry(tree, dir, name);

    return entry != NULL ? entry->node : SIM_NO_NODE;
}

void sim_tree_set(struct sim_tree *tree, uint32_t dir, const char *name, uint32_t id)
{
    struct sim_node *node = &tree->nodes[dir];
    struct sim_dirent *entry;

    if (node->kind != SIM_DIR)
        return;
    entry = find_entry(tree, dir, name);
    if (id == SIM_NO_NODE) {
        if (entry != NULL)
            *entry = node->entries[--node->entry_count];
        return;
    }
    if (entry == NULL) {
        sim_grow(&node->entries, &node->entry_cap, node->entry_count + 1,
                 sizeof(struct sim_dirent));
        entry = &node->entries[node->entry_count++];
        memcpy(entry->name, name, strlen(name) + 1);
    }
    entry->node = id;
    tree->nodes[id].parent = dir;
    memcpy(tree->nodes[id].name, entry->name, SIM_NAME_CAP);
}

static void reach_from(const struct sim_tree *tree, uint32_t id, uint8_t *mark)
{
    const struct sim_node *node = &tree->nodes[id];

    if (mark[id] != 0)
        return; /* two names, after half a rename across directories */
    mark[id] = 1;
    for (size_t i = 0; i < node->entry_count; i++)
        reach_from(tree, node->entries[i].node, mark);
}

void sim_tree_reach(const struct sim_tree *tree, uint8_t *mark)
{
    reach_from(tree, SIM_ROOT, mark);
}

struct sim_content *sim_tree_own_content(struct sim_tree *tree, uint32_t id)
{
    struct sim_node *node = &tree->nodes[id];
    struct sim_content *shared = node->content;

    if (atomic_load_explicit(&shared->refs, memory_order_acquire) > 1) {
        node->content = content_copy(shared);
        content_unref(shared);
    }
    return node->content;
}

/* Names without an order: the hashes of the entries are summed up. */
static uint64_t node_hash(const struct sim_tree *tree, uint32_t id)
{
    const struct sim_node *node = &tree->nodes[id];
    uint64_t hash = node->kind;

    for (size_t i = 0; i < node->entry_count; i++) {
        uint64_t name = 0;
        for (const char *at = node->entries[i].name; *at != '\0'; at++)
            name = name * 0x100000001b3u + (uint8_t)*at;
        hash += sim_mix(name, node_hash(tree, node->entries[i].node));
    }
    if (node->kind != SIM_FILE)
        return hash;
    hash = sim_mix(hash, node->content->size);
    for (size_t i = 0; i < node->content->count; i++) {
        struct sim_sector *sector = node->content->sectors[i];
        uint64_t one = sector != NULL ? sim_sector_hash(sector) : HASH_OF_ZEROS;
        if (one != HASH_OF_ZEROS)
            hash += sim_mix(one, i);
    }
    return hash;
}

uint64_t sim_tree_hash(const struct sim_tree *tree)
{
    return node_hash(tree, SIM_ROOT);
}
