/* attack.h - what a disk, a cable or a careless hand can do to one file at rest. Pure: bytes in, bytes
 * out. */
#ifndef CRASH_ATTACK_H
#define CRASH_ATTACK_H

#include "zoo.h"

enum attack_kind {
    ATTACK_FLIP,         /* bit a */
    ATTACK_CUT,          /* to a bytes */
    ATTACK_GROW,         /* by zeros, garbage, or its own end: a says which and how much */
    ATTACK_ZERO_SECTOR,  /* sector a */
    ATTACK_SWAP_SECTORS, /* a and b */
    ATTACK_SWAP_PIECES,  /* records or blocks a and b: what of the longer one fits */
    ATTACK_PIECE_OVER,   /* piece a lies in the place of b, too */
    ATTACK_DONOR,        /* donor a instead */
    ATTACK_DONOR_SECTOR, /* sector b of donor a */
    ATTACK_DONOR_PIECE,  /* what donor a has in the place of piece b */
    ATTACK_MISSING,
    ATTACK_KIND_COUNT
};

struct attack {
    enum attack_kind kind;
    size_t file; /* of the database's */
    uint64_t a;
    uint64_t b;
};

#define ATTACK_TEXT_BYTES 128

/* "levels:000007.seg:flip:1234:0", and back; -1: it does not read as one of that database. */
void attack_format(const struct zoo_db *zoo, const struct attack *attack,
                   char text[ATTACK_TEXT_BYTES]);
int attack_parse(const struct zoo_db *zoo, const char *text, struct attack *attack);
const char *attack_name(enum attack_kind kind); /* static storage */

/* How many of a kind there are on a file, and number n of them. */
uint64_t attack_count(const struct zoo_file *file, enum attack_kind kind);
struct attack attack_at(const struct zoo_db *zoo, size_t file, enum attack_kind kind, uint64_t n);

/* Never left out: headers, footers, lengths, indexes, manifests; and what is cheap. */
int attack_is_vital(const struct zoo_db *zoo, const struct attack *attack);

struct attacked {
    uint8_t *bytes; /* owned */
    size_t len;
    int is_missing;
};

/* 0: the file is as it was. After 1, attacked_deinit(). */
int attack_make(const struct zoo_db *zoo, const struct attack *attack, struct attacked *attacked);
void attacked_deinit(struct attacked *attacked);

#endif
