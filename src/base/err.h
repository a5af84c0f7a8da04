/* err.h - fills and wraps struct varve_err. Every function takes a NULL err and then only
 * passes the code on. Any thread; the err belongs to its caller. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#include "base/check.h"
#include "varve/status.h"

/* Sets code and text; returns code, so that `return err_set(...)` reads well. */
int err_set(struct varve_err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Sets the error of a failed system call: text is "WHAT: strerror(os_errno)", the code is chosen
 * from os_errno (ENOSPC, EDQUOT, EFBIG: VARVE_ENOSPC; ENOENT, EEXIST alike; else EIO). */
int err_set_errno(struct varve_err *err, int os_errno, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "CONTEXT: " before the text; returns the code that is there. */
int err_wrap(struct varve_err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Nothing failed. The rest of the text stays, whatever it is. */
static inline void err_clear(struct varve_err *err)
{
    if (err == NULL)
        return;
    err->code = 0;
    err->os_errno = 0;
    err->text[0] = '\0';
}

/* The text, or a generic one if the callee set none. Lives as long as err. */
const char *err_text(const struct varve_err *err);

#endif
