/* zoo_files.h - the files of a database of the zoo: their bytes, what they held before, where records and
 * blocks lie in them. Aborts without memory. One thread. */
#ifndef CRASH_ZOO_FILES_H
#define CRASH_ZOO_FILES_H

#include "zoo.h"

struct zoo_past; /* opaque: what files of a directory held at some moments */

struct zoo_past *zoo_past_create(void);
void zoo_past_destroy(struct zoo_past *past);
/* As they are now. */
void zoo_past_add(struct zoo_past *past, struct sim_env *disk, const char *dir);

/* Fills files, records, id, flushed_seq from zoo->disk. Donors of a file: what it held before, the other
 * files of its kind, and the files of the twin that could stand in its place. */
void zoo_files_load(struct zoo_db *zoo, const struct zoo_past *past, struct sim_env *twin);
void zoo_files_free(struct zoo_db *zoo);

/* A file's bytes into fresh memory, mem_free() it. */
uint8_t *zoo_read_file(struct sim_env *disk, const char *dir, const char *name, size_t *len);

#endif
