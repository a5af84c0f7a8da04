/* signals.h - SIGTERM and SIGINT: the first asks the server to leave, the second makes it leave at once,
 * with exit code 1. While the server starts, the first one ends it at once, with exit code 0: nobody was
 * told anything yet. SIGPIPE and SIGXFSZ are ignored: both come back as errors of the call. */
#ifndef SERVER_SIGNALS_H
#define SERVER_SIGNALS_H

/* wake is called in the signal's handler: it may only do what is allowed there. */
void signals_install(void (*wake)(void *arg), void *arg);
/* The start is over: from now on the first one wakes. */
void signals_serving(void);
/* From now on the first one makes it leave at once, too: there is nobody left to be woken. */
void signals_detach(void);

#endif
