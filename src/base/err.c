#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *varve_status_name(int code)
{
    switch (code) {
    case VARVE_OK: return "ok";
    case VARVE_NOT_FOUND: return "not found";
    case VARVE_WOULD_BLOCK: return "would block";
    case VARVE_EIO: return "I/O error";
    case VARVE_ECORRUPT: return "corrupt";
    case VARVE_EFULL: return "full";
    case VARVE_EREADONLY: return "read-only";
    case VARVE_EINVAL: return "invalid argument";
    case VARVE_ENOMEM: return "out of memory";
    case VARVE_ELOCKED: return "locked";
    case VARVE_EFOREIGN: return "foreign";
    case VARVE_EVERSION: return "unknown format version";
    case VARVE_ENOSPC: return "no space";
    case VARVE_ENOENT: return "no such file";
    case VARVE_EEXIST: return "exists already";
    case VARVE_EUNKNOWN: return "outcome unknown";
    default: return "unknown status";
    }
}

/* One line always: what comes from paths or the system may hold anything. */
static void err_flatten(char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\r' || *text == '\n')
            *text = ' ';
}

int err_set(struct varve_err *err, int code, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    err->os_errno = 0;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err_flatten(err->text);
    return code;
}

static int code_of_errno(int os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return VARVE_ENOSPC;
    case ENOENT: return VARVE_ENOENT;
    case EEXIST: return VARVE_EEXIST;
    default: return VARVE_EIO;
    }
}

int err_set_errno(struct varve_err *err, int os_errno, const char *fmt, ...)
{
    char what[VARVE_ERR_TEXT_MAX];
    va_list args;
    int code = code_of_errno(os_errno);

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    err_set(err, code, "%s: %s", what, strerror(os_errno));
    if (err != NULL)
        err->os_errno = os_errno;
    return code;
}

int err_wrap(struct varve_err *err, int code, const char *fmt, ...)
{
    char context[VARVE_ERR_TEXT_MAX];
    char inner[VARVE_ERR_TEXT_MAX];
    va_list args;

    if (err == NULL)
        return code;
    va_start(args, fmt);
    vsnprintf(context, sizeof(context), fmt, args);
    va_end(args);
    memcpy(inner, err->text, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    if (snprintf(err->text, sizeof(err->text), "%s: %s", context, inner) < 0)
        err->text[0] = '\0';
    err_flatten(err->text);
    err->code = code;
    return code;
}

const char *err_text(const struct varve_err *err)
{
    return err != NULL && err->text[0] != '\0' ? err->text : "no details";
}
