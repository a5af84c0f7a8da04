#include "rot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lsm/record.h"
#include "run.h"

#define SECTOR_BYTES 512
#define FILES_MAX 32
#define NAME_BYTES 64
#define FRONT_BYTES 1500 /* where most records lie: the rest of a WAL file is zeros */

struct names {
    char names[FILES_MAX][NAME_BYTES];
    size_t count;
};

static int take_name(void *arg, const char *name)
{
    struct names *names = arg;

    if (strcmp(name, "LOCK") != 0 && names->count < FILES_MAX)
        snprintf(names->names[names->count++], NAME_BYTES, "%s", name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The bytes of the record at `bytes`, 0 if none begins there. *next_seq: of a short one; brought up to date. */
static uint64_t record_at(const uint8_t *bytes, uint64_t len, uint32_t salt, uint64_t file_no,
                          uint64_t *next_seq, struct record_header *header)
{
    if ((len < RECORD_HEADER_BYTES || record_header_get(bytes, salt, file_no, header) != 0) &&
        record_short_get(bytes, len, salt, *next_seq, header) != 0)
        return 0;
    *next_seq = header->first_seq + (header->type == RECORD_OPS ? header->op_count : 0);
    return record_bytes(header) <= len ? record_bytes(header) : 0;
}

/* Changes a byte of the payload of some operations record of the long form, whose CRCs are made anew. Returns
 * its offset, 0 if the file has no such record. In a short one the chunk's CRC is all that there is. */
static uint64_t change_under_crc(uint8_t *bytes, uint64_t len, struct rng *rng)
{
    struct record_header header;
    struct record_header chosen;
    struct dir_id id;
    uint64_t chosen_at = 0;
    uint64_t next_seq = 0;
    uint64_t seen = 0;
    uint64_t took = 0;

    if (len < FILE_HEADER_BYTES || memcmp(bytes, WAL_MAGIC, 8) != 0)
        return 0;
    memcpy(id.bytes, bytes + 16, DIR_ID_BYTES);
    uint64_t file_no = get_u64(bytes + 32);
    uint32_t salt = file_salt(&id, file_no);
    for (uint64_t at = FILE_HEADER_BYTES;
         (took = record_at(bytes + at, len - at, salt, file_no, &next_seq, &header)) > 0;
         at += took)
        if (header.type == RECORD_OPS && !header.is_short && rng_below(rng, ++seen) == 0) {
            chosen = header;
            chosen_at = at;
        }
    if (chosen_at == 0)
        return 0;
    uint8_t *payload = bytes + chosen_at + RECORD_HEADER_BYTES;
    /* The clock before the operations has no CRC of its own. */
    uint64_t skip = chosen.flags & RECORD_CLOCK ? 8 : 0;
    uint64_t offset = skip + rng_below(rng, chosen.payload_len - skip);
    payload[offset] ^= (uint8_t)(1u << rng_below(rng, 8));
    chosen.payload_crc = crc32c(salt, payload, chosen.payload_len);
    record_header_put(bytes + chosen_at, salt, file_no, &chosen);
    return chosen_at + RECORD_HEADER_BYTES + offset;
}

static int damage_bytes(uint8_t *bytes, uint64_t len, const char *name, struct rng *rng, char *what,
                        size_t what_cap)
{
    uint64_t front = len > FRONT_BYTES && rng_below(rng, 4) != 0 ? FRONT_BYTES : len;
    uint64_t at = rng_below(rng, front);
    uint64_t kind = rng_below(rng, 4);
    uint64_t changed = kind == 0 ? change_under_crc(bytes, len, rng) : 0;

    if (changed != 0) {
        snprintf(what, what_cap, "byte %" PRIu64 " of %s changed under its CRC", changed, name);
    } else if (kind == 1) {
        if (rng_below(rng, 2) == 0) /* where a log ends */
            for (at = len - 1; at > 0 && bytes[at] == 0;)
                at--;
        uint64_t first = at / SECTOR_BYTES * SECTOR_BYTES;
        uint64_t part = len - first < SECTOR_BYTES ? len - first : SECTOR_BYTES;
        memset(bytes + first, 0, part);
        snprintf(what, what_cap, "sector at %" PRIu64 " of %s zeroed", first, name);
    } else {
        bytes[at] ^= (uint8_t)(1u << rng_below(rng, 8));
        snprintf(what, what_cap, "bit of byte %" PRIu64 " of %s flipped", at, name);
    }
    return changed != 0 || kind != 1;
}

int rot_damage(struct sim_env *image, uint64_t seed, char *what, size_t what_cap)
{
    struct varve_env *env = sim_as_env(image);
    struct varve_file *file = NULL;
    struct names names = {.count = 0};
    struct rng rng;
    char path[NAME_BYTES + 8];
    uint64_t len = 0;
    size_t got = 0;
    int in_one = 1;

    rng_init(&rng, seed);
    snprintf(what, what_cap, "nothing");
    (void)env->ops->list_dir(env, RUN_DIR, take_name, &names, NULL);
    if (names.count == 0)
        return in_one;
    qsort(names.names, names.count, NAME_BYTES, by_name);
    const char *name = names.names[rng_below(&rng, names.count)];
    snprintf(path, sizeof(path), "%s/%s", RUN_DIR, name);
    CHECK(env->ops->open(env, path, VARVE_OPEN_WRITE, &file, NULL) == 0);
    CHECK(env->ops->size(env, file, &len, NULL) == 0);
    if (len > 0) {
        uint8_t *bytes = mem_alloc(len);
        CHECK(bytes != NULL);
        CHECK(env->ops->read_at(env, file, bytes, len, 0, &got, NULL) == 0 && got == len);
        in_one = damage_bytes(bytes, len, name, &rng, what, what_cap);
        struct varve_slice part = varve_slice(bytes, len);
        CHECK(env->ops->write_at(env, file, &part, 1, 0, NULL) == 0);
        mem_free(bytes);
    }
    env->ops->close(env, file);
    return in_one;
}
