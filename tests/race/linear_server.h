/* linear_server.h - a round against a server, and the threads that are its clients. */
#ifndef RACE_LINEAR_SERVER_H
#define RACE_LINEAR_SERVER_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"
#include "base/thread.h"
#include "linear.h"

#define CONNECTIONS 4u /* of a thread */
#define TEXT_KEYS 5u
#define NUMBER_KEYS 3u
#define KEYS (TEXT_KEYS + NUMBER_KEYS)

struct round {
    char dir[32];
    const char *mode;
    uint32_t io_threads;
    uint16_t port;
    pid_t pid;
    uint64_t seed;
    uint64_t part; /* commands of a connection */
    uint64_t count;
    struct linear_op *ops; /* the part of one connection behind that of the other */
    _Atomic uint64_t answered;
    _Atomic uint64_t unanswered;
};

struct client {
    struct thread thread;
    struct round *round;
    uint32_t no;
};

/* Sends and records until its connections have done their parts; comes back when the server is gone, over
 * and over, and ends the program if that takes too long. */
void client_run(void *arg); /* of a struct client */

int client_probe(uint16_t port); /* 0: the server answers PING */
uint16_t client_free_port(void);

/* Says what is wrong and ends the program, and the server with it. Any thread. */
_Noreturn void linear_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
