/* object.h - what OBJECT and DEBUG OBJECT say of a string, as Redis would of one that was just set. */
#ifndef CMD_OBJECT_H
#define CMD_OBJECT_H

#include <stdint.h>

#include "varve/slice.h"

/* "int", "embstr" or "raw". */
const char *cmd_encoding_name(struct varve_slice string);
int64_t cmd_refcount(struct varve_slice string);

#endif
