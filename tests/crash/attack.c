#include "attack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"

#define SECTOR_BYTES 512u

static const char *const kind_names[ATTACK_KIND_COUNT] = {
    "flip",       "cut",   "grow",         "zero-sector", "swap-sectors", "swap-pieces",
    "piece-over", "donor", "donor-sector", "donor-piece", "missing",
};

enum growth { GROW_ZEROS, GROW_GARBAGE, GROW_OWN_END, GROW_COUNT };
static const size_t grow_bytes[] = {1, 8, 40, 512, 4096};

const char *attack_name(enum attack_kind kind)
{
    return kind_names[kind];
}

void attack_format(const struct zoo_db *zoo, const struct attack *attack,
                   char text[ATTACK_TEXT_BYTES])
{
    snprintf(text, ATTACK_TEXT_BYTES, "%s:%s:%s:%" PRIu64 ":%" PRIu64, zoo->name,
             zoo->files[attack->file].name, kind_names[attack->kind], attack->a, attack->b);
}

/* ---- how many ---- */

static uint64_t sectors_of(size_t len)
{
    return (len + SECTOR_BYTES - 1) / SECTOR_BYTES;
}

uint64_t attack_count(const struct zoo_file *file, enum attack_kind kind)
{
    uint64_t sectors = sectors_of(file->len);

    switch (kind) {
    case ATTACK_FLIP: return (uint64_t)file->len * 8;
    case ATTACK_CUT: return file->len;
    case ATTACK_GROW: return COUNT_OF(grow_bytes) * (uint64_t)GROW_COUNT;
    case ATTACK_ZERO_SECTOR: return sectors;
    case ATTACK_SWAP_SECTORS: return sectors * sectors;
    case ATTACK_SWAP_PIECES:
    case ATTACK_PIECE_OVER: return (uint64_t)file->piece_count * file->piece_count;
    case ATTACK_DONOR: return file->donor_count;
    case ATTACK_DONOR_SECTOR: return file->donor_count * sectors;
    case ATTACK_DONOR_PIECE: return (uint64_t)file->donor_count * file->piece_count;
    case ATTACK_MISSING: return 1;
    default: return 0;
    }
}

/* Values of b for each of a; at least 1. */
static uint64_t count_per_a(const struct zoo_file *file, enum attack_kind kind)
{
    uint64_t count = 1;

    if (kind == ATTACK_SWAP_SECTORS || kind == ATTACK_DONOR_SECTOR)
        count = sectors_of(file->len);
    else if (kind == ATTACK_SWAP_PIECES || kind == ATTACK_PIECE_OVER || kind == ATTACK_DONOR_PIECE)
        count = file->piece_count;
    return count == 0 ? 1 : count;
}

struct attack attack_at(const struct zoo_db *zoo, size_t file, enum attack_kind kind, uint64_t n)
{
    struct attack attack = {.kind = kind, .file = file};
    uint64_t per_a = count_per_a(&zoo->files[file], kind);

    attack.a = n / per_a;
    attack.b = n % per_a;
    return attack;
}

int attack_parse(const struct zoo_db *zoo, const char *text, struct attack *attack)
{
    char name[NAME_MAX_BYTES];
    char kind[16];

    if (sscanf(text, "%*[^:]:%39[^:]:%15[^:]:%" SCNu64 ":%" SCNu64, name, kind, &attack->a,
               &attack->b) != 4)
        return -1;
    for (attack->file = 0; attack->file < zoo->file_count; attack->file++)
        if (strcmp(zoo->files[attack->file].name, name) == 0)
            break;
    if (attack->file == zoo->file_count)
        return -1;
    unsigned found = 0;
    while (found < ATTACK_KIND_COUNT && strcmp(kind_names[found], kind) != 0)
        found++;
    attack->kind = (enum attack_kind)found;
    uint64_t per_a = count_per_a(&zoo->files[attack->file], attack->kind);
    uint64_t count = attack_count(&zoo->files[attack->file], attack->kind);
    return attack->a < count / per_a && attack->b < per_a ? 0 : -1;
}

static int at_boundary(const struct zoo_file *file, uint64_t len)
{
    if (len <= 1 || (len + 1 >= FILE_HEADER_BYTES && len <= FILE_HEADER_BYTES + 1) ||
        len + 1 == file->len)
        return 1;
    for (size_t i = 0; i < file->piece_count; i++) {
        uint64_t begin = file->pieces[i].offset;
        uint64_t end = begin + file->pieces[i].len;
        if ((len + 1 >= begin && len <= begin + 1) || (len + 1 >= end && len <= end + 1))
            return 1;
    }
    return 0;
}

int attack_is_vital(const struct zoo_db *zoo, const struct attack *attack)
{
    const struct zoo_file *file = &zoo->files[attack->file];

    switch (attack->kind) {
    case ATTACK_FLIP: return file->vital[attack->a / 8];
    case ATTACK_CUT:
        return at_boundary(file, attack->a) || file->kind == NAME_CURRENT ||
               (file->kind == NAME_MANIFEST && file->named);
    case ATTACK_GROW:
    case ATTACK_ZERO_SECTOR:
    case ATTACK_DONOR:
    case ATTACK_MISSING: return 1;
    case ATTACK_SWAP_PIECES:
    case ATTACK_PIECE_OVER:
    case ATTACK_DONOR_PIECE: return file->kind == NAME_SEGMENT;
    default: return 0;
    }
}

/* ---- doing it ---- */

static void copy_within(struct attacked *to, uint64_t at, const uint8_t *from, size_t from_len,
                        uint64_t from_at, uint64_t len)
{
    if (at >= to->len || from_at >= from_len)
        return;
    if (len > to->len - at)
        len = to->len - at;
    if (len > from_len - from_at)
        len = from_len - from_at;
    memcpy(to->bytes + at, from + from_at, (size_t)len);
}

static void grow(const struct zoo_file *file, const struct attack *attack, struct attacked *to)
{
    size_t more = grow_bytes[attack->a / GROW_COUNT % COUNT_OF(grow_bytes)];
    struct rng rng;

    rng_init(&rng, attack->a);
    to->bytes = mem_realloc(to->bytes, file->len + more);
    CHECK(to->bytes != NULL);
    to->len = file->len + more;
    for (size_t i = 0; i < more; i++) {
        uint8_t byte = 0;
        if (attack->a % GROW_COUNT == GROW_GARBAGE)
            byte = (uint8_t)rng_next(&rng);
        else if (attack->a % GROW_COUNT == GROW_OWN_END && file->len > 0)
            byte = file->bytes[(file->len - more % file->len + i) % file->len];
        to->bytes[file->len + i] = byte;
    }
}

static void change_pieces(const struct zoo_file *file, const struct attack *attack,
                          struct attacked *to)
{
    const struct zoo_piece *a = &file->pieces[attack->a];
    const struct zoo_piece *b = &file->pieces[attack->b];
    uint64_t len = a->len < b->len ? a->len : b->len;

    copy_within(to, b->offset, file->bytes, file->len, a->offset, len);
    if (attack->kind == ATTACK_SWAP_PIECES)
        copy_within(to, a->offset, file->bytes, file->len, b->offset, len);
}

static void change_sectors(const struct zoo_file *file, const struct attack *attack,
                           struct attacked *to)
{
    uint64_t a = attack->a * SECTOR_BYTES;
    uint64_t b = attack->b * SECTOR_BYTES;

    copy_within(to, b, file->bytes, file->len, a, SECTOR_BYTES);
    copy_within(to, a, file->bytes, file->len, b, SECTOR_BYTES);
}

static void take_donor(const struct zoo_file *file, const struct attack *attack,
                       struct attacked *to)
{
    const struct zoo_donor *donor = &file->donors[attack->a];
    uint64_t at = attack->b * SECTOR_BYTES;
    uint64_t len = SECTOR_BYTES;

    if (attack->kind == ATTACK_DONOR) {
        to->bytes = mem_realloc(to->bytes, donor->len + 1);
        CHECK(to->bytes != NULL);
        to->len = donor->len;
        at = 0;
        len = donor->len;
    } else if (attack->kind == ATTACK_DONOR_PIECE) {
        at = file->pieces[attack->b].offset;
        len = file->pieces[attack->b].len;
    }
    copy_within(to, at, donor->bytes, donor->len, at, len);
}

static void change(const struct zoo_file *file, const struct attack *attack, struct attacked *to)
{
    switch (attack->kind) {
    case ATTACK_FLIP: to->bytes[attack->a / 8] ^= (uint8_t)(1u << attack->a % 8); break;
    case ATTACK_CUT: to->len = (size_t)attack->a; break;
    case ATTACK_GROW: grow(file, attack, to); break;
    case ATTACK_ZERO_SECTOR: {
        uint64_t at = attack->a * SECTOR_BYTES;
        uint64_t left = file->len - at;
        memset(to->bytes + at, 0, (size_t)(left < SECTOR_BYTES ? left : SECTOR_BYTES));
        break;
    }
    case ATTACK_SWAP_SECTORS: change_sectors(file, attack, to); break;
    case ATTACK_SWAP_PIECES:
    case ATTACK_PIECE_OVER: change_pieces(file, attack, to); break;
    case ATTACK_DONOR:
    case ATTACK_DONOR_SECTOR:
    case ATTACK_DONOR_PIECE: take_donor(file, attack, to); break;
    default: to->is_missing = 1; break;
    }
}

/* Of a pair that can be taken either way, one is enough. */
static int is_other_way(const struct attack *attack)
{
    return (attack->kind == ATTACK_SWAP_SECTORS || attack->kind == ATTACK_SWAP_PIECES) &&
           attack->a >= attack->b;
}

int attack_make(const struct zoo_db *zoo, const struct attack *attack, struct attacked *attacked)
{
    const struct zoo_file *file = &zoo->files[attack->file];

    *attacked = (struct attacked){.len = file->len};
    if (is_other_way(attack))
        return 0;
    attacked->bytes = mem_alloc(file->len + 1);
    CHECK(attacked->bytes != NULL);
    memcpy(attacked->bytes, file->bytes, file->len);
    change(file, attack, attacked);
    if (attacked->is_missing || attacked->len != file->len ||
        memcmp(attacked->bytes, file->bytes, file->len) != 0)
        return 1;
    attacked_deinit(attacked);
    return 0;
}

void attacked_deinit(struct attacked *attacked)
{
    mem_free(attacked->bytes);
    attacked->bytes = NULL;
}
