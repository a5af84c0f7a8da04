/* pin.h - a value that stays where it lies while it is read.
 * varve_get() fills a pin without copying; the bytes live until varve_pin_release(), but those that a
 * thread gets inside varve_enter() only until its varve_leave(), unless varve_pin_keep() was called
 * before. A pin that is zeroed holds nothing. One owner; keep and release on any thread, before
 * varve_close(). */
#ifndef VARVE_PIN_H
#define VARVE_PIN_H

#include <stdint.h>

#include "varve/slice.h"

struct varve_pin {
    struct varve_slice value;
    uint64_t expire_ms; /* milliseconds since the epoch, 0: never */
    uint64_t seq;       /* of the record that decided the answer, a tombstone's included; 0: none */
    void *owner[2];     /* the engine's */
    int kept;           /* the engine's */
};

void varve_pin_keep(struct varve_pin *pin); /* the value now lives until the release */

void varve_pin_release(struct varve_pin *pin); /* leaves it zeroed */

#endif
