/* pin.h - a value that stays where it lies while it is read. varve_get() fills a pin without
 * copying. Outside of varve_enter() the bytes live until varve_pin_release(). What a thread gets
 * while it is inside lives only until its outermost varve_leave(), unless varve_pin_keep() was
 * called before; then until the release. A kept pin holds a block, or a whole memtable: copy
 * what is to live long. A pin that is zeroed holds nothing, and may be released. One owner, one
 * thread at a time; before varve_close(). */
#ifndef VARVE_PIN_H
#define VARVE_PIN_H

#include <stdint.h>

#include "varve/api.h"
#include "varve/slice.h"

VARVE_API_BEGIN

struct varve_pin {
    struct varve_slice value;
    uint64_t expire_ms; /* milliseconds since the epoch, 0: never */
    uint64_t seq;       /* of the record that decided the answer, a tombstone's included; 0: none */
    void *owner[2];     /* the engine's */
    int kept;           /* the engine's */
};

/* The value now lives until the release. By the thread that got it, before it leaves. Cannot
 * fail. */
void varve_pin_keep(struct varve_pin *pin);

/* Leaves it zeroed. A kept pin on any thread, one that is not kept where it was got. */
void varve_pin_release(struct varve_pin *pin);

VARVE_API_END

#endif
