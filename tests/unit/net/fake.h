/* fake.h - a loop over hooks that play a processor and an engine, and clients on real sockets. All in
 * one thread: what a client waits for, it waits for by running turns of the loop. */
#ifndef TESTS_NET_FAKE_H
#define TESTS_NET_FAKE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "net/conn.h"
#include "net/loop.h"
#include "net/team.h"

#define FAKE_SESSIONS_MAX 64
#define FAKE_LOOPS_MAX 4

/* Commands: ECHO text | PUT (a write: its sequence) | GET (the writes so far) | SYNC (OK, when all is durable) | BIG bytes |
 * BARRIER (wants no open writes) | LAST (a write; commit now) | QUIT | SUICIDE | SILENT |
 * PINNED bytes (BIG, of memory that is not copied) |
 * SLOW text (ECHO, but parks while the disk is slow) | COLD (GET, but parks while writes are refused and
 * the disk is slow) | DELAY microseconds (parks once for that time, then OK) */
/* Beside it there may be other loops, which run ECHO, BIG, PINNED and SEEN (the writes that are committed)
 * by themselves. */
struct fake {
    struct net_loop *loop;
    struct metrics team_metrics[FAKE_LOOPS_MAX];
    uint32_t team;          /* loops beside it */
    _Atomic uint32_t local; /* commands that those ran */
    struct net_limits limits;
    struct metrics metrics;
    struct conn *conns[FAKE_SESSIONS_MAX]; /* by order of arrival; NULL once closed */
    uint32_t opened;
    uint32_t closed;
    char peer[64];

    uint64_t seq;       /* of the newest write */
    uint64_t committed; /* of the newest committed one */
    int refuse;         /* writes answer an error */
    int fail_commits;   /* so many commits of writes fail, after which writes are refused, */
    int good_commits;   /* but not before so many did not */
    uint64_t group_max; /* writes in one commit */
    int always;         /* replies wait for the sync */
    uint64_t durable;
    int refuse_sessions;
    int slow_disk;
    int slow_once; /* each SLOW parks, once */
    int inside;    /* between turn_begin() and turn_end() */
    uint32_t parks;
    uint32_t pinned; /* values that lie in a connection's replies */
    uint32_t pinned_max;

    uint32_t executed;
    uint32_t barriers;
    uint32_t commits;
    uint32_t rewinds;
    uint32_t executed_at_rewind; /* the last one */
    uint32_t ticks;
    _Atomic size_t hinted_max; /* commands in one hint */
    uint32_t turn_executed;    /* by one connection, between two commits */
    uint32_t turn_executed_max;
};

extern uint64_t fake_now_ms; /* what the loop takes for the time */

/* Changes to fake->limits count if made before fake_start(). */
void fake_init(struct fake *fake);
void fake_start(struct fake *fake);
/* The same with so many loops beside it; no thread runs them. */
void fake_start_team(struct fake *fake, uint32_t count);
void fake_turn(struct fake *fake); /* one turn of each loop */
void fake_stop(struct fake *fake);

int client_connect(struct fake *fake); /* a non-blocking socket that the loop has accepted */
int client_connect_raw(struct fake *fake);
int fake_dial(uint16_t port); /* a blocking socket; any thread */
void client_send(struct fake *fake, int fd, const char *bytes);
void client_send_bytes(struct fake *fake, int fd, const void *bytes, size_t len);

/* Runs turns until that many bytes came, and compares. */
void client_expect(struct fake *fake, int fd, const char *bytes);
void client_expect_nothing(struct fake *fake, int fd); /* after some turns */
void client_expect_end(struct fake *fake, int fd);     /* closes fd */

/* Runs turns until the condition holds; fails the test after some seconds. */
#define run_until(fake, condition)                                                                 \
    do {                                                                                           \
        uint64_t deadline_us_ = clock_mono_us() + 10 * 1000000;                                    \
        while (!(condition)) {                                                                     \
            assert_true(clock_mono_us() < deadline_us_);                                           \
            fake_turn(fake);                                                                       \
        }                                                                                          \
    } while (0)

#endif
