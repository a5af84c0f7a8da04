/* salvage_spaces.h - keeps what was salvaged usable for a server: its databases are records like any other
 * (types/FORMAT.md), and one that is lost hides a whole database, or keeps the server from starting. */
#ifndef VARVE_TOOL_SALVAGE_SPACES_H
#define VARVE_TOOL_SALVAGE_SPACES_H

#include <stdint.h>
#include <stdio.h>

#include "databases.h"
#include "salvage_report.h"
#include "salvage_store.h"

struct salvage_spaces {
    struct databases databases;
    uint64_t next_space; /* as its record says; 0: there is none */
    uint64_t *spaces;    /* that have names, ascending; owned */
    size_t count;
    size_t cap;
    int is_plain; /* some key is not a server's: nothing is added or mended */
};

void spaces_deinit(struct salvage_spaces *spaces);
/* Of each record that is copied, in the order of their keys. 0 or VARVE_ENOMEM. */
int spaces_see(struct salvage_spaces *spaces, struct varve_slice key,
               struct varve_slice value) MUST_CHECK;
/* Gives spaces that no database has to database numbers that are free, lets each have one, and makes the
 * next new space one that is not there. The report is told. */
int spaces_mend(struct salvage_spaces *spaces, struct salvage_store *store,
                struct salvage_report *report, struct varve_err *err) MUST_CHECK;

#endif
