/* The rows, and how a name finds its row: an open hash table over all rows, made once. Its hash takes
 * the first eight bytes, the last one and the length, with the case bit of each byte set, so that a
 * lookup costs one multiplication and, mostly, one comparison. Clients choose what is looked up, never
 * what is in the table: its longest run is the same in every build. */
#include "cmd/table.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 10
#define SLOT_COUNT (1 << SLOT_BITS) /* at least twice the rows */

#define COLUMNS(arity_, flags_, acl_, keys_, tips_, since_, group_, complexity_, summary_,         \
                history_, arguments_)                                                              \
    .arity = (arity_), .flags = (flags_), .acl = (acl_), .keys = (keys_), .tips = (tips_),         \
    .since = (since_), .group = (group_), .complexity = (complexity_), .summary = (summary_),      \
    .history = (history_), .arguments = (arguments_)

#define COMMAND(name_, handler_, ...)                                                              \
    {.name = (name_), .full_name = (name_), .run = (handler_), COLUMNS(__VA_ARGS__)},
#define SUBCOMMAND(parent_, name_, handler_, ...)                                                  \
    {.name = (name_),                                                                              \
     .full_name = parent_ "|" name_,                                                               \
     .parent_name = (parent_),                                                                     \
     .run = (handler_),                                                                            \
     COLUMNS(__VA_ARGS__)},
#define CONTAINER(name_, ...) {.name = (name_), .full_name = (name_), COLUMNS(__VA_ARGS__)},

static struct command rows[] = {
#include "cmd/table.def"
};

#define ROW_COUNT ((int)COUNT_OF(rows))
_Static_assert(COUNT_OF(rows) * 2 <= SLOT_COUNT, "the table of slots is too small");

static uint16_t slots[SLOT_COUNT]; /* row + 1; 0: free */
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct named_bit {
    uint32_t bit;
    const char *name;
};

static const struct named_bit flag_names[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_ALLOW_BUSY, "allow_busy"},
};

static const struct named_bit acl_names[] = {
    {ACL_KEYSPACE, "keyspace"},
    {ACL_READ, "read"},
    {ACL_WRITE, "write"},
    {ACL_SET, "set"},
    {ACL_SORTEDSET, "sortedset"},
    {ACL_LIST, "list"},
    {ACL_HASH, "hash"},
    {ACL_STRING, "string"},
    {ACL_BITMAP, "bitmap"},
    {ACL_HYPERLOGLOG, "hyperloglog"},
    {ACL_GEO, "geo"},
    {ACL_STREAM, "stream"},
    {ACL_PUBSUB, "pubsub"},
    {ACL_ADMIN, "admin"},
    {ACL_FAST, "fast"},
    {ACL_SLOW, "slow"},
    {ACL_BLOCKING, "blocking"},
    {ACL_DANGEROUS, "dangerous"},
    {ACL_CONNECTION, "connection"},
    {ACL_TRANSACTION, "transaction"},
    {ACL_SCRIPTING, "scripting"},
};

static unsigned slot_of(int parent, struct varve_slice name)
{
    uint64_t head = 0;

    memcpy(&head, name.data, name.len < sizeof(head) ? name.len : sizeof(head));
    head |= 0x2020202020202020u;
    uint64_t tail = name.data[name.len - 1] | 0x20u;
    uint64_t mixed = (head ^ tail << 56 ^ name.len << 48 ^ (uint64_t)(parent + 1) << 40) *
                     0x9e3779b97f4a7c15u;
    return (unsigned)(mixed >> (64 - SLOT_BITS));
}

static uint32_t implied_acl(uint32_t flags)
{
    uint32_t acl = (flags & CMD_FAST) ? ACL_FAST : ACL_SLOW;

    if (flags & CMD_WRITE)
        acl |= ACL_WRITE;
    if (flags & CMD_READONLY)
        acl |= ACL_READ;
    if (flags & CMD_ADMIN)
        acl |= ACL_ADMIN | ACL_DANGEROUS;
    return acl;
}

static void table_make(void)
{
    struct command *parent = NULL;

    for (int i = 0; i < ROW_COUNT; i++) {
        struct command *row = &rows[i];
        row->acl |= implied_acl(row->flags);
        if (row->parent_name == NULL) {
            parent = row;
        } else {
            CHECK(parent != NULL && strcmp(parent->name, row->parent_name) == 0);
            row->parent = parent;
            parent->child_count++;
        }
        unsigned slot = slot_of(row->parent == NULL ? -1 : command_index(row->parent),
                                varve_slice_str(row->name));
        while (slots[slot] != 0)
            slot = (slot + 1) & (SLOT_COUNT - 1);
        slots[slot] = (uint16_t)(i + 1);
    }
}

void command_table_init(void)
{
    CHECK(pthread_once(&once, table_make) == 0);
}

int command_count(void)
{
    return ROW_COUNT;
}

const struct command *command_at(int i)
{
    CHECK(i >= 0 && i < ROW_COUNT);
    return &rows[i];
}

int command_index(const struct command *command)
{
    return (int)(command - rows);
}

const struct command *command_find(const struct command *parent, struct varve_slice name)
{
    if (name.len == 0)
        return NULL;
    unsigned slot = slot_of(parent == NULL ? -1 : command_index(parent), name);
    for (; slots[slot] != 0; slot = (slot + 1) & (SLOT_COUNT - 1)) {
        const struct command *row = &rows[slots[slot] - 1];
        if (row->parent == parent && cmd_arg_is(name, row->name))
            return row;
    }
    return NULL;
}

const struct command *command_find_full(struct varve_slice name)
{
    const uint8_t *bar = name.len == 0 ? NULL : memchr(name.data, '|', name.len);

    if (bar == NULL)
        return command_find(NULL, name);
    size_t len = (size_t)(bar - name.data);
    const struct command *parent = command_find(NULL, varve_slice(name.data, len));
    if (parent == NULL || parent->child_count == 0)
        return NULL;
    return command_find(parent, varve_slice(bar + 1, name.len - len - 1));
}

int command_key_spec(const struct command *command, int i, struct command_keys *keys)
{
    const char *text = command->keys;
    char *at;

    *keys = (struct command_keys){.flags = ""};
    for (; i > 0 && text != NULL; i--)
        text = strchr(text, '|') == NULL ? NULL : strchr(text, '|') + 1;
    if (text == NULL || *text == '\0')
        return 0;
    keys->first = (int)strtol(text, &at, 10);
    keys->last = (int)strtol(at, &at, 10);
    keys->step = (int)strtol(at, &at, 10);
    keys->flags = at + strspn(at, " ");
    return 1;
}

void command_get_keys(const struct command *command, struct command_keys *keys)
{
    struct command_keys further;

    if (!command_key_spec(command, 0, keys))
        return;
    for (int i = 1; command_key_spec(command, i, &further); i++)
        keys->last = further.last < 0 ? further.last : further.first + further.last - keys->first;
}

static const char *bit_name(const struct named_bit *names, size_t count, int i, uint32_t *bit)
{
    if (i < 0 || (size_t)i >= count)
        return NULL;
    *bit = names[i].bit;
    return names[i].name;
}

const char *command_flag_name(int i, uint32_t *bit)
{
    return bit_name(flag_names, COUNT_OF(flag_names), i, bit);
}

const char *command_acl_name(int i, uint32_t *bit)
{
    return bit_name(acl_names, COUNT_OF(acl_names), i, bit);
}
