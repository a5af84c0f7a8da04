/* points.h - what iofail and oom have in common: classes of faults, each with its fault points 1, 2, 3 ...
 * in one script and mode, of which a budget takes all or so many, spread evenly. See workload.h. */
#ifndef TESTS_FAULT_POINTS_H
#define TESTS_FAULT_POINTS_H

#include "workload.h"

struct fault_class {
    const char *kind;   /* "EIO once, nothing done"; classes of one kind follow each other */
    const char *script; /* its name */
    const struct step *steps;
    enum varve_durability durability;
    size_t sweep;    /* the campaign's own */
    uint64_t points; /* filled in by points_main() */
};

#define POINTS_NONE UINT64_MAX /* nothing fails: the points are counted */

/* What came of one point. */
struct point {
    uint64_t nth;
    uint64_t seed;
    uint64_t calls; /* that could have failed, if nth is POINTS_NONE */
    int reached;
    int wrong; /* findings, each told on stdout */
    uint64_t images;
    uint64_t digest; /* of all disks */
};

struct points_campaign {
    const char *name;
    struct fault_class *classes;
    size_t count;
    uint64_t budget_default; /* points; 0: all there are */
    void (*run)(const struct fault_class *fault_class, struct point *point);
};

/* The program: --seed, --budget in points, --only TEXT of what a class is called, --nth N alone. Returns
 * the exit code. */
int points_main(const struct points_campaign *campaign, int argc, char **argv);

#endif
