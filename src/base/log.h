/* log.h - leveled lines to stdout or a file, as Redis writes them:
 * "PID:M 21 Nov 2026 04:27:47.123 * message". Any thread; a line is one write(). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/check.h"
#include "varve/slice.h"

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING };

/* Opens path for append, "" for stdout. Returns 0 or -errno; then the old target stays. */
int log_open(const char *path) MUST_CHECK;
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* At most 1,024 bytes; CR, LF and other control bytes become \xHH. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Bytes of a client as printable text in out[cap]: quoted, \xHH escapes, cut with "...". */
const char *log_escape(struct varve_slice bytes, char *out, size_t cap);

#endif
