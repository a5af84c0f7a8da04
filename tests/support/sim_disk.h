/* sim_disk.h - what the simulated disk is made of: immutable sectors, file contents that share
 * them, trees of names. Copies are cheap (copy on write), because a campaign makes 50,000 of them.
 *
 * Used by sim_env.c, sim_trace.c and sim_image.c only. A tree belongs to one thread at a time;
 * sectors and contents are counted atomically, since an image shares them with its source.
 * Allocations abort without memory and go past base/mem.h (see sim_env.h). */
#ifndef SUPPORT_SIM_DISK_H
#define SUPPORT_SIM_DISK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

#define SIM_SECTOR_BYTES 512u
#define SIM_NAME_CAP 64u /* a name and its NUL */
#define SIM_NO_NODE UINT32_MAX
#define SIM_ROOT 0u

void *sim_alloc(size_t size_bytes); /* zeroed; never NULL */
/* Makes *array hold at least `need` elements of elem_bytes, doubling *cap. */
void sim_grow(void *array, size_t *cap, size_t need, size_t elem_bytes);
void sim_free(void *ptr);

/* 512 bytes that never change once they are made. */
struct sim_sector {
    _Atomic uint32_t refs;
    _Atomic uint64_t hash; /* 0: not computed yet */
    uint8_t bytes[SIM_SECTOR_BYTES];
};

/* Written zeros. NULL stands for a hole, which never held durable bytes. */
extern struct sim_sector sim_zero_sector;

/* A counted sector with these bytes; zeros give &sim_zero_sector. */
struct sim_sector *sim_sector_make(const uint8_t bytes[SIM_SECTOR_BYTES]);
struct sim_sector *sim_sector_ref(struct sim_sector *sector); /* takes NULL */
void sim_sector_unref(struct sim_sector *sector);             /* takes NULL */
uint64_t sim_sector_hash(struct sim_sector *sector);

/* The bytes of one file. Shared between trees; changed only by sim_node_own_content(). */
struct sim_content {
    _Atomic uint32_t refs;
    uint64_t size; /* bytes */
    size_t count;  /* sectors that are listed; those behind are holes */
    size_t cap;
    struct sim_sector **sectors;
};

struct sim_sector *sim_content_at(const struct sim_content *content, uint64_t sector_no);
/* Takes a reference of its own; the content must be owned by the caller's tree alone. */
void sim_content_put(struct sim_content *content, uint64_t sector_no, struct sim_sector *sector);
/* Drops what lies behind the size, as a file system does before it shows the file again. */
void sim_content_trim(struct sim_content *content);
/* Bytes [offset, offset + len), which must lie below the size. */
void sim_content_read(const struct sim_content *content, uint64_t offset, size_t len, void *data);

enum sim_node_kind { SIM_FREE, SIM_FILE, SIM_DIR };

struct sim_dirent {
    uint32_t node;
    char name[SIM_NAME_CAP];
};

struct sim_node {
    uint8_t kind;
    uint8_t locked;      /* live trees only, like the two below */
    uint32_t open_count; /* handles */
    uint32_t parent;     /* where it was linked last; with name: its path, for reports */
    char name[SIM_NAME_CAP];
    struct sim_content *content; /* SIM_FILE */
    struct sim_dirent *entries;  /* SIM_DIR */
    size_t entry_count;
    size_t entry_cap;
};

/* Nodes by number; the same number means the same file in the live tree and in the durable one. */
struct sim_tree {
    struct sim_node *nodes;
    size_t count;
    size_t cap;
    size_t free_hint; /* no SIM_FREE node lies below */
};

void sim_tree_init(struct sim_tree *tree); /* an empty root */
void sim_tree_deinit(struct sim_tree *tree);
/* Contents are shared; no file is open or locked in the copy. */
void sim_tree_clone(struct sim_tree *to, const struct sim_tree *from);

/* Makes node `id` an empty file or directory that no name leads to. */
void sim_tree_make_at(struct sim_tree *tree, uint32_t id, enum sim_node_kind kind);
/* The same with a number that is free. */
uint32_t sim_tree_make(struct sim_tree *tree, enum sim_node_kind kind);
void sim_tree_free_node(struct sim_tree *tree, uint32_t id);

/* The node behind a name of a directory, SIM_NO_NODE if there is none. */
uint32_t sim_tree_find(const struct sim_tree *tree, uint32_t dir, const char *name);
/* Lets the name lead to node; SIM_NO_NODE takes the name away. A dir that is no more: nothing. */
void sim_tree_set(struct sim_tree *tree, uint32_t dir, const char *name, uint32_t node);

/* Sets mark[id] for all nodes that names lead to from the root; mark has tree->count bytes. */
void sim_tree_reach(const struct sim_tree *tree, uint8_t *mark);

/* The file's content, for change: a copy of its own if it is shared. */
struct sim_content *sim_tree_own_content(struct sim_tree *tree, uint32_t id);

uint64_t sim_tree_hash(const struct sim_tree *tree);

static inline uint64_t sim_mix(uint64_t a, uint64_t b)
{
    struct rng rng = {.state = a * 0x9e3779b97f4a7c15u ^ b};

    return rng_next(&rng);
}

#endif
