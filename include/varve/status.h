/* status.h - what a call returns. 0 is success, a positive code is a result that is no error,
 * a negative code is an error whose story is in struct varve_err. */
#ifndef VARVE_STATUS_H
#define VARVE_STATUS_H

#include "varve/api.h"

VARVE_API_BEGIN

enum varve_status {
    VARVE_OK = 0,

    /* Results. */
    VARVE_NOT_FOUND = 1,   /* the key is absent, the iteration is at its end */
    VARVE_WOULD_BLOCK = 2, /* answering needs the disk, and the caller said that it must not wait */

    /* Errors. */
    VARVE_EIO = -1,       /* the environment failed: read, write, sync, no such directory */
    VARVE_ECORRUPT = -2,  /* bytes on disk are not what was written */
    VARVE_EFULL = -3,     /* a stated limit is reached: bytes of a record, unsynced WAL files */
    VARVE_EREADONLY = -4, /* writes are refused until the log heals */
    VARVE_EINVAL = -5,    /* an argument or option that cannot be */
    VARVE_ENOMEM = -6,    /* an allocation failed */
    VARVE_ELOCKED = -7,   /* the data directory is in use by another process */
    VARVE_EFOREIGN = -8,  /* the file belongs to another data directory, or to no varve at all */
    VARVE_EVERSION = -9,  /* a format version that this build does not read */
    VARVE_ENOSPC = -10,   /* the disk is full (ENOSPC, EDQUOT, EFBIG) */
    VARVE_ENOENT = -11,   /* the file or directory does not exist */
    VARVE_EEXIST = -12,   /* the file exists already */
    VARVE_EUNKNOWN = -13, /* the write may or may not be durable: its sync failed */
};

#define VARVE_ERR_TEXT_MAX 512

/* Filled by the first level that fails and wrapped by each level above:
 * "open /data: replay 000003.wal: offset 4096: payload CRC mismatch". The caller owns it, need not
 * clear it, and looks at it only after a negative code. */
struct varve_err {
    int code;                      /* enum varve_status, 0 if nothing failed */
    int os_errno;                  /* errno of the failed call, 0 if there is none */
    char text[VARVE_ERR_TEXT_MAX]; /* one line, no CR or LF, NUL-terminated */
};

/* The name of a code, for logs: "corrupt". Static storage. Any thread. */
const char *varve_status_name(int code);

VARVE_API_END

#endif
