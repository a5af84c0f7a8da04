/* rot.h - damages a file of a crash image: what a disk, or memory, does to bytes at rest. */
#ifndef CRASH_ROT_H
#define CRASH_ROT_H

#include <stddef.h>
#include <stdint.h>

#include "sim_env.h"

/* A bit is flipped, a sector is zeroed, or a WAL payload is changed under a CRC that fits it, as if it
 * had been damaged before it was logged: the chunk's own CRC must tell. The same seed, the same
 * damage. `what` says it. Returns 1 if it is in one record at most, else 0. */
int rot_damage(struct sim_env *image, uint64_t seed, char *what, size_t what_cap);

#endif
