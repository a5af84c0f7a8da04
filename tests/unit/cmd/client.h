/* client.h - a processor over the fake engine, and clients that ask it. A reply is compared as the
 * bytes on the wire. */
#ifndef UNIT_CMD_CLIENT_H
#define UNIT_CMD_CLIENT_H

#include "cmd/processor.h"
#include "cmd/session.h"
#include "config/config.h"
#include "fake_db.h"
#include "metrics/metrics.h"
#include "types/keyspace.h"

#define CLIENT_NOW_MS UINT64_C(1700000000000)

struct server {
    struct varve_db *db;
    struct keyspace *keyspace;
    struct config *config;
    struct metrics metrics;
    struct processor *processor;
    struct session *session; /* of ask() */
    struct buf out;
    struct processor_outcome outcome; /* of the last command */
    enum processor_step step;
    int commit_firsts; /* COMMIT_FIRST answers since the start */
    int shutdowns;
    int parks; /* PARK answers to ask_argv() */
    int wakes;
    int unparks;
    void *unparked[8]; /* the figures_arg of the first ones */
    int kills;
    int halts; /* that were not resumed yet */
    int kills_halted;
    void *killed;      /* figures_arg of the last one */
    struct buf pushed; /* to all sessions; tests end it with a NUL */
};

int server_setup(void **state);      /* cmocka's: *state is a struct server */
int server_setup_cold(void **state); /* nothing is in memory that was not fetched for the command */
int server_teardown(void **state);

void server_set(struct server *server, const char *option, const char *value);

/* Runs one command and returns its reply, NUL-terminated, until the next call. COMMIT_FIRST is obeyed;
 * nothing else commits. What a parked command waits for is fetched. */
const char *ask_argv(struct server *server, struct session *session, int argc,
                     const struct varve_slice *argv);

/* Words separated by single spaces; '' is the empty word. */
const char *ask_as(struct server *server, struct session *session, const char *line);
const char *ask(struct server *server, const char *line);

/* Runs it once, whatever comes of it. */
enum processor_step try_argv(struct server *server, struct session *session, int argc,
                             const struct varve_slice *argv);
enum processor_step try_as(struct server *server, struct session *session, const char *line);

#define EXPECT(server, line, reply) assert_string_equal(ask(server, line), reply)

#endif
