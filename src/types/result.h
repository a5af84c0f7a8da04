/* result.h - what an operation on a value may answer besides varve/status.h: positive, no errors of
 * the engine, each with Redis's reply in cmd/reply.c. */
#ifndef TYPES_RESULT_H
#define TYPES_RESULT_H

enum types_result {
    TYPES_WRONG_TYPE = 100,  /* the name holds another type */
    TYPES_NOT_INTEGER = 101, /* the string is not an integer of 64 bits */
    TYPES_OVERFLOW = 102,    /* the sum is not an integer of 64 bits */
    TYPES_TOO_LONG = 103,    /* the string would pass its maximum */
    TYPES_UNMET = 104,       /* a condition (NX, XX, GT, LT) did not hold: nothing was written */
    TYPES_NOT_FLOAT = 105,   /* the string is not a number */
    TYPES_NOT_FINITE = 106,  /* the sum is not a finite number */
};

#endif
