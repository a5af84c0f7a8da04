/* pause.h - CLIENT PAUSE: until a time, all commands wait, or those that write. A paused command is
 * parked, and holds neither the loop nor the clients that may go on. One thread, the loop's. */
#ifndef CMD_PAUSE_H
#define CMD_PAUSE_H

#include <stdint.h>

#include "base/list.h"

struct processor;
struct session;

/* In the order of how much waits. */
enum pause_mode { PAUSE_OFF, PAUSE_WRITE, PAUSE_ALL };

struct pausing {
    enum pause_mode mode;
    uint64_t end_us;     /* on clock_mono_us() */
    struct list waiting; /* sessions, by pause_node, in the order in which they came */
    uint64_t waiting_count;
};

void pausing_init(struct pausing *pausing);

/* A pause that is in force gets no shorter and no weaker. */
void pause_begin(struct processor *processor, enum pause_mode mode, uint64_t duration_ms);
/* Ends it at once; all that wait may run. */
void pause_end(struct processor *processor);
/* Ends it if its time is over. */
void pause_tick(struct processor *processor);

/* 1 if a command with these flags (enum command_flag) has to wait: the session is then entered. */
int pause_holds(struct processor *processor, struct session *session, uint32_t flags);
/* The session waits no more. */
void pause_forget(struct processor *processor, struct session *session);

#endif
