/* look.h - all that a reader sees of a database, as text, where any read may fail. */
#ifndef TESTS_FAULT_LOOK_H
#define TESTS_FAULT_LOOK_H

#include <stddef.h>

#include "varve/db.h"
#include "varve/iter.h"

#define LOOK_TEXT_BYTES 1024

/* "key=value " each in order, as bed_dump() writes them. What is read backward must agree; what is got by
 * key as well. Returns 0; an error of the engine (text is then what was seen before it); or
 * LOOK_DISAGREES, and err says how. Allocates nothing. */
#define LOOK_DISAGREES 100
int look(struct varve_db *db, const struct varve_read *read, char text[LOOK_TEXT_BYTES],
         struct varve_err *err);
/* The same of an iterator alone, forward only. */
int look_along(struct varve_iter *iter, char text[LOOK_TEXT_BYTES], struct varve_err *err);

#endif
