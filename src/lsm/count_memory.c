#include "lsm/count_memory.h"

#include <string.h>

#include "base/mem.h"

#define ANSWERS_MAX 65536

void count_memory_init(struct count_memory *memory)
{
    *memory = (struct count_memory){0};
    mutex_init(&memory->mutex);
}

void count_memory_deinit(struct count_memory *memory)
{
    mem_free(memory->answers);
    mutex_deinit(&memory->mutex);
}

static struct count_answer *find_locked(struct count_memory *memory, uint64_t layer,
                                        struct varve_slice name, int sampled)
{
    for (size_t i = 0; i < memory->count; i++) {
        struct count_answer *answer = &memory->answers[i];
        if (answer->layer == layer && (answer->step > 1) == sampled &&
            answer->name_len == name.len && memcmp(answer->name, name.data, name.len) == 0)
            return answer;
    }
    return NULL;
}

void count_memory_find(struct count_memory *memory, uint64_t layer, struct varve_slice name,
                       int sampled, struct count_answer *answer)
{
    *answer = (struct count_answer){0};
    mutex_lock(&memory->mutex);
    const struct count_answer *found = find_locked(memory, layer, name, sampled);
    if (found != NULL)
        *answer = *found;
    mutex_unlock(&memory->mutex);
}

void count_memory_keep(struct count_memory *memory, const struct count_answer *answer)
{
    mutex_lock(&memory->mutex);
    struct count_answer *at = find_locked(
        memory, answer->layer, varve_slice(answer->name, answer->name_len), answer->step > 1);
    if (at == NULL && memory->count == ANSWERS_MAX)
        memory->count = 0;
    if (at == NULL && memory->count == memory->cap) {
        size_t cap = memory->cap == 0 ? 64 : 2 * memory->cap;
        struct count_answer *grown = mem_realloc(memory->answers, cap * sizeof(*grown));
        if (grown != NULL) {
            memory->answers = grown;
            memory->cap = cap;
        }
    }
    if (at == NULL && memory->count < memory->cap)
        at = &memory->answers[memory->count++];
    if (at != NULL)
        *at = *answer;
    mutex_unlock(&memory->mutex);
}
