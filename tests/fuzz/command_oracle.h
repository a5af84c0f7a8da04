/* command_oracle.h - what the commands on strings and keys answer, by a plain list of keys: the model of the
 * target fuzz_commands. Nothing of it is the server's. */
#ifndef TESTS_FUZZ_COMMAND_ORACLE_H
#define TESTS_FUZZ_COMMAND_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

#define ORACLE_KEYS_MAX 1024
#define ORACLE_VALUE_MAX_BYTES 8192
#define ORACLE_REPLY_MAX_BYTES ((size_t)256 * 1024)
#define ORACLE_DATABASES 16

struct oracle_key {
    int db;
    uint8_t name[32];
    size_t name_len;
    uint8_t value[ORACLE_VALUE_MAX_BYTES];
    size_t len;
    uint64_t expire_ms; /* 0: never */
};

struct oracle {
    struct oracle_key *keys[ORACLE_KEYS_MAX]; /* owned */
    size_t count;
    uint64_t now_ms;
    int db;    /* of the session that asks; SELECT changes it */
    int proto; /* 2 or 3 */
    char reply[ORACLE_REPLY_MAX_BYTES];
    size_t reply_len;
    uint64_t count_min; /* of DBSIZE: what expired may be counted or not */
    uint64_t count_max;
};

enum oracle_answer {
    ORACLE_REPLY, /* exactly `reply` */
    ORACLE_COUNT, /* an integer between the two */
    ORACLE_ANY,   /* the oracle does not know the command: any reply that is well-formed */
};

void oracle_init(struct oracle *oracle);
void oracle_deinit(struct oracle *oracle);
/* Runs a command for the session of db and proto at the time now_ms. */
enum oracle_answer oracle_run(struct oracle *oracle, int argc, const struct varve_slice *argv);

#endif
