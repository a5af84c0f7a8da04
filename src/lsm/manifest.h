/* manifest.h - which files are alive, as a log of edits, and CURRENT, which names that log.
 * Bytes: FORMAT.md sections 1 and 4.
 *
 * An edit counts once it is synced (I5). After any error the manifest file is abandoned: the next
 * edit writes a new one with the whole state, and CURRENT is switched; nothing may be deleted on the
 * strength of an edit that failed. Used by one thread at a time: by open, then by the maintenance
 * jobs, then by close; but for manifest_new_file_no(). */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include "base/check.h"
#include "lsm/record.h"
#include "lsm/version.h"
#include "varve/env.h"

struct manifest; /* opaque */

/* A live WAL file as the manifest knows it. */
struct manifest_wal {
    uint64_t file_no;
    uint64_t end; /* where it ends for good; 0: wherever its valid records end */
};

/* A live segment. */
struct manifest_segment {
    uint64_t file_no;
    uint32_t level;
    uint64_t run_no;
    uint64_t size_bytes;
};

#define MANIFEST_WALS_MAX 32768
#define MANIFEST_SEGMENTS_MAX 32768
#define MANIFEST_GROUPS_MAX 65536

struct manifest_state {
    uint64_t next_file_no; /* when it was written */
    uint64_t clock_ms;
    struct manifest_wal *wals; /* ascending by number; owned by the manifest */
    size_t wal_count;
    size_t wal_cap;
    struct manifest_segment *segments; /* ascending by number; owned by the manifest */
    size_t segment_count;
    size_t segment_cap;
    struct version_group *groups; /* ascending by name; owned by the manifest */
    size_t group_count;
    size_t group_cap;
    uint64_t flushed_seq;
};

enum manifest_change {
    MANIFEST_ADD_WAL,
    MANIFEST_END_WAL,
    MANIFEST_DROP_WAL,
    MANIFEST_ADD_SEGMENT,
    MANIFEST_DROP_SEGMENT,
    MANIFEST_FLUSHED,
    MANIFEST_GROUP,
};

struct manifest_edit {
    enum manifest_change change;
    uint64_t file_no;
    uint64_t end;   /* of MANIFEST_END_WAL */
    uint32_t level; /* of MANIFEST_ADD_SEGMENT, as the next two */
    uint64_t run_no;
    uint64_t size_bytes;
    uint64_t flushed_seq;              /* of MANIFEST_FLUSHED */
    const struct version_group *group; /* of MANIFEST_GROUP; borrowed. live 0 and ignore_seq
                                        * UINT64_MAX: forget it */
};

/* What CURRENT says. VARVE_ENOENT: there is none. VARVE_EFOREIGN: not ours; VARVE_EVERSION. */
int current_read(struct varve_env *env, const char *dir, struct dir_id *id, uint64_t *manifest_no,
                 struct varve_err *err) MUST_CHECK;

/* An empty state with next_file_no; written by the first manifest_renew(). dir is copied. */
int manifest_create(struct varve_env *env, const char *dir, const struct dir_id *id,
                    uint64_t next_file_no, struct manifest **manifest,
                    struct varve_err *err) MUST_CHECK;
/* Reads manifest file_no. */
int manifest_open(struct varve_env *env, const char *dir, const struct dir_id *id, uint64_t file_no,
                  struct manifest **manifest, struct varve_err *err) MUST_CHECK;
void manifest_close(struct manifest *manifest); /* takes NULL */

const struct manifest_state *manifest_state(const struct manifest *manifest);
/* The manifest file in force, and the end of what is durable in it. */
struct log_place manifest_place(const struct manifest *manifest);
/* Where reading it ended, while it was opened. */
struct log_place manifest_read_end(const struct manifest *manifest);

/* Any thread, beside an edit, too. */
uint64_t manifest_new_file_no(struct manifest *manifest);
/* No number below that will be handed out. While it is opened. */
void manifest_reserve_file_no(struct manifest *manifest, uint64_t next_file_no);
void manifest_set_clock(struct manifest *manifest, uint64_t clock_ms);

/* Applies the edits and makes them durable as one. On error the state is as before, and what is on
 * disk is one or the other. */
int manifest_apply(struct manifest *manifest, const struct manifest_edit *edits, size_t count,
                   struct varve_err *err) MUST_CHECK;
/* The same, but writes the whole state into a new manifest file, switches CURRENT to it, and
 * removes the old one. */
int manifest_renew(struct manifest *manifest, const struct manifest_edit *edits, size_t count,
                   struct varve_err *err) MUST_CHECK;

#endif
