/* Any bytes as a properties block: they are refused, or what they say keeps to FORMAT.md's bounds, and is
 * written and read again as the same. Input: the payload. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "segment/properties.h"

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x01\x01\x09"),
    FUZZ_TOKEN("\x03\x01\0"),
    FUZZ_TOKEN("\x07\x01k"),
    FUZZ_TOKEN("\x08\0"),
    FUZZ_TOKEN("\x0b\x02\0\0"),
    FUZZ_TOKEN("\x0e\x04\x05\x05\x06\x06"),
    FUZZ_TOKEN("\x0f\x06\x01\x01g\x05\x01\x02"),
    FUZZ_TOKEN("\x0f\x05\xff\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\x11\x01\x01"),
    FUZZ_TOKEN("\x12\x01\0"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    FUZZ_TOKEN("\x81\x02"),
    {NULL, 0},
};

static void check_bounds(const struct properties *p)
{
    struct varve_slice lower = segment_bound_slice(&p->lower);
    struct varve_slice upper = segment_bound_slice(&p->upper);

    CHECK(p->puts <= p->entries && p->expiring <= p->puts && p->seq_min <= p->seq_max);
    CHECK(p->superseded_bytes <= p->raw_bytes && p->hiding_bytes <= p->raw_bytes);
    CHECK(lower.len < SEGMENT_BOUND_MAX_BYTES && upper.len <= SEGMENT_BOUND_MAX_BYTES);
    CHECK(upper.len == 0 || varve_slice_compare(lower, upper) < 0);
    CHECK(p->expiry_count <= SEGMENT_EXPIRY_STEPS_MAX);
    CHECK(p->group_count <= SEGMENT_GROUPS_MAX + 1);
    for (uint32_t i = 1; i < p->expiry_count; i++)
        CHECK(p->expiry[i - 1].expire_ms < p->expiry[i].expire_ms &&
              p->expiry[i - 1].bytes <= p->expiry[i].bytes);
    for (uint32_t i = 0; i < p->group_count && p->group_count <= SEGMENT_GROUPS_MAX; i++) {
        const struct segment_group *group = &p->groups[i];
        CHECK(group->name_len > 0 && group->name_len <= VARVE_GROUP_MAX_BYTES);
        CHECK(group->unknown <= group->entries && group->live <= group->entries);
    }
    CHECK(p->index.len <= UINT64_MAX - p->index.offset);
    CHECK(p->filter.len <= UINT64_MAX - p->filter.offset);
    CHECK(p->range_block.len <= UINT64_MAX - p->range_block.offset);
}

/* As time goes by, more expires and nothing comes back. */
static void check_time(const struct properties *p)
{
    uint64_t before = 0;
    int were_dead = 0;

    for (uint32_t i = 0; i < p->expiry_count; i++) {
        uint64_t bytes = properties_expired_bytes(p, p->expiry[i].expire_ms);
        int dead = properties_all_dead(p, p->expiry[i].expire_ms);
        CHECK(bytes >= before && dead >= were_dead);
        before = bytes;
        were_dead = dead;
    }
    CHECK(properties_expired_bytes(p, UINT64_MAX) >= before);
    CHECK(properties_all_dead(p, UINT64_MAX) >= were_dead);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct properties properties;
    struct properties again;
    struct buf first;
    struct buf second;
    struct varve_err err = {0};

    if (properties_get(varve_slice(data, size), &properties, &err) != 0) {
        CHECK(err.code == VARVE_ECORRUPT && err.text[0] != '\0');
        return 0;
    }
    check_bounds(&properties);
    check_time(&properties);
    buf_init(&first, (size_t)1 << 20);
    buf_init(&second, (size_t)1 << 20);
    CHECK(properties_put(&properties, &first) == 0 && first.len <= size + 64);
    CHECK(properties_get(buf_slice(&first), &again, NULL) == 0);
    CHECK(properties_put(&again, &second) == 0);
    CHECK(varve_slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
