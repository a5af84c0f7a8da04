/* zoo.h - twelve small databases on simulated disks, each with what the campaign of damages must know of it:
 * the operations in the order of their sequence numbers, the bytes of all files, what those files held
 * before, and where in them records and blocks lie. Simple on purpose: a state is found by looking back
 * through the list. Aborts without memory. One thread. */
#ifndef CRASH_ZOO_H
#define CRASH_ZOO_H

#include <stddef.h>
#include <stdint.h>

#include "lsm/names.h"
#include "lsm/record.h"
#include "sim_env.h"
#include "varve/db.h"

#define ZOO_COUNT 12u
#define ZOO_DIR "/db"
#define ZOO_KEY_CAP 24
#define ZOO_OPS_MAX 400u
#define ZOO_KEYS_MAX 300u
#define ZOO_VALUE_MAX_BYTES ((size_t)20 * 1024)
#define ZOO_FILES_MAX 32u
#define ZOO_DONORS_MAX 24u
#define ZOO_PIECES_MAX 200u
#define ZOO_RECORDS_MAX 600u

enum zoo_op_kind { ZOO_PUT, ZOO_DELETE, ZOO_DELETE_RANGE };

struct zoo_op {
    enum zoo_op_kind kind;
    char key[ZOO_KEY_CAP]; /* of a range its begin */
    char end[ZOO_KEY_CAP];
    size_t value_len;
    uint64_t value_seed; /* even: compresses well */
    uint64_t expire_ms;  /* 0: never */
    int ends_record;     /* the log may end behind it */
};

/* A record of a log or manifest, a block of a segment: what has a CRC of its own. */
struct zoo_piece {
    uint64_t offset;
    uint64_t len;
};

/* Bytes that could come to lie in a file's place. */
struct zoo_donor {
    char what[48];  /* "before 3", "000004.seg", "twin" */
    int is_foreign; /* of a directory with another id */
    uint8_t *bytes;
    size_t len;
};

/* Bits [begin, end) of a file by the byte; what the campaign never leaves out. */
struct zoo_file {
    char name[NAME_MAX_BYTES];
    enum name_kind kind;
    uint64_t file_no;
    int named;    /* by CURRENT or the manifest: it counts */
    uint64_t end; /* of a named log or manifest: of its last record */
    int is_ended; /* a log whose end the manifest knows */
    uint8_t *bytes;
    uint8_t *vital; /* one a byte, 1: a header, a length, an index ... */
    size_t len;
    struct zoo_piece pieces[ZOO_PIECES_MAX];
    size_t piece_count;
    struct zoo_donor donors[ZOO_DONORS_MAX];
    size_t donor_count;
};

/* A record of a named log. */
struct zoo_record {
    uint64_t file_no;
    uint64_t offset;
    uint64_t end;
    uint64_t last_seq; /* of the log up to its end */
    struct log_place promised;
};

struct zoo_db {
    const char *name;
    struct sim_env *disk;         /* not open; as it was left */
    struct varve_options options; /* but env, executor, and callbacks other than count_group */
    struct dir_id id;
    struct zoo_op ops[ZOO_OPS_MAX]; /* op i has sequence number i + 1 */
    uint64_t count;
    char keys[ZOO_KEYS_MAX][ZOO_KEY_CAP]; /* all that were named and one that was not; ascending */
    size_t key_count;
    struct zoo_file files[ZOO_FILES_MAX]; /* by name */
    size_t file_count;
    struct zoo_record records[ZOO_RECORDS_MAX];
    size_t record_count;
    uint64_t flushed_seq;
};

/* Number `index` below ZOO_COUNT. The same seed gives the same bytes. */
struct zoo_db *zoo_create(unsigned index, uint64_t seed);
void zoo_destroy(struct zoo_db *zoo); /* takes NULL */
/* Its number; -1: no database has that name. */
int zoo_find(const char *name);

/* The count group of a key: what it begins with, up to a colon. As varve_options.count_group. */
size_t zoo_group(void *arg, struct varve_slice key);

/* The newest put of the key that S_k shows at now_ms; NULL: it is absent. */
const struct zoo_op *zoo_get(const struct zoo_db *zoo, uint64_t k, const char *key,
                             uint64_t now_ms);
/* The value of a put, static storage until the next call. */
struct varve_slice zoo_value(const struct zoo_op *op);

#endif
