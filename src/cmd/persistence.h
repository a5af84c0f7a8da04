/* persistence.h - what Redis calls a save, in terms of the log. */
#ifndef CMD_PERSISTENCE_H
#define CMD_PERSISTENCE_H

#include <stdint.h>

#include "varve/stats.h"

/* The Unix time in seconds up to which all is durable: LASTSAVE, and INFO's rdb_last_save_time. */
uint64_t cmd_last_save_s(const struct varve_stats *engine);

#endif
