/* server.h - puts the parts together: settings, loop, engine, command processor; and the order in which
 * they start and stop. Main's thread, which becomes the loop's. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/check.h"
#include "varve/status.h"

struct config;
struct server; /* opaque */

/* Binds, opens the data directory, recovers, listens. A port that is taken, or a directory that is not
 * ours, changes nothing. config is borrowed for life. */
int server_start(struct config *config, struct server **server, struct varve_err *err) MUST_CHECK;

/* Serves until SIGTERM, SIGINT or SHUTDOWN. */
void server_run(struct server *server);

/* Ends: what was acknowledged is durable, the log is sealed. An error means that this cannot be said;
 * everything is freed all the same. Takes NULL. */
int server_stop(struct server *server, struct varve_err *err) MUST_CHECK;

#endif
