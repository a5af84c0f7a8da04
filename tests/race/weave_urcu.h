/* weave_urcu.h - liburcu's QSBR flavour as the explorer can step through it: the same protocol, with its
 * fences, over the explorer's atomics. It takes the library's place in a program that links it. */
#ifndef RACE_WEAVE_URCU_H
#define RACE_WEAVE_URCU_H

enum weave_urcu_bug {
    URCU_RIGHT,
    URCU_NO_FENCE_ONLINE, /* a reader looks before the writer can see that it is there */
    URCU_SKIPS_FIRST,     /* a grace period does not wait for the first thread */
};

void weave_urcu_begin(enum weave_urcu_bug bug); /* before each run */

#endif
