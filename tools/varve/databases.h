/* databases.h - what engine keys mean to the server: databases and names (types/FORMAT.md). One thread. */
#ifndef VARVE_TOOL_DATABASES_H
#define VARVE_TOOL_DATABASES_H

#include "content.h"

#define DATABASES_MAX 256 /* what the byte in their records can say */

struct databases {
    uint64_t spaces[DATABASES_MAX]; /* of each database; 0: it has none */
};

/* VARVE_ECORRUPT: a record of the keyspace does not decode. */
int databases_read(const struct content *content, struct databases *databases,
                   struct varve_err *err) MUST_CHECK;

/* The bytes in front of the hash of a name in this database's space, or of a bound between such keys; 0: it
 * is no such key. */
size_t databases_prefix(const struct databases *databases, struct varve_slice key, unsigned *db);

/* A key of a name that lies in a database: 1, its number and the name (borrowed from key). 0: it is none. */
int databases_name(const struct databases *databases, struct varve_slice key, unsigned *db,
                   struct varve_slice *name);

/* "db 3" for a count group of a database, "space 7" for one that no database has (any more), else "". */
const char *databases_group(const struct databases *databases, struct varve_slice group,
                            char text[32]);

#endif
