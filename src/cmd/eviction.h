/* eviction.h - maxmemory-clients: when all clients together hold more than that, those that hold most are closed.
 *
 * A client is held short by limits of its own, but thousands may come to them at once; and a closed client can come
 * again, while a process that the system ends takes all clients with it. As Redis 7.0 does it (networking.c,
 * evictClients): by classes of like size, the largest first, never one with CLIENT NO-EVICT. Unlike it, a limit in percent
 * is one for all but the largest client, since a single long value may be more. */
#ifndef CMD_EVICTION_H
#define CMD_EVICTION_H

#include <stdint.h>

struct processor;

/* Closes as many as must go. others_bytes: what the process has resident beside the engine's data, so at least what
 * the clients have of that (not what was reserved for them and not used yet); while it is no more than the limit nobody
 * is looked at. UINT64_MAX: not known. Between the commands of the loop's thread, some times a second; the other
 * loops rest meanwhile. */
void eviction_run(struct processor *processor, uint64_t others_bytes);

#endif
