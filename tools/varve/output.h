/* output.h - what all subcommands say and how: errors, bytes as text, a line of progress. One thread. */
#ifndef VARVE_TOOL_OUTPUT_H
#define VARVE_TOOL_OUTPUT_H

#include <stdint.h>
#include <stdio.h>

#include "base/check.h"
#include "varve/slice.h"
#include "varve/status.h"

/* The error on stderr, behind the subcommand's name; returns the exit code: findings for what is wrong
 * with the data, else failed. */
int output_fail(const char *command, const struct varve_err *err);
/* Flushes stdout; code, or failed (and said) if not all of the output could be written. */
int output_close(const char *command, int code) MUST_CHECK;

/* Bytes in quotes: printable ASCII as it is, \\ \" and \xHH for the rest. Longer than `max`: that many, and
 * "... (N bytes)" behind the quote; 0: all. */
void output_bytes(FILE *to, struct varve_slice bytes, size_t max);
#define OUTPUT_SHORT_BYTES ((size_t)64)

/* "1.5 GB" of 1024s, in text[24]. */
const char *output_size(uint64_t bytes, char text[24]);

/* A line on stderr that is written over, if that is a terminal; at most ten times a second. */
struct progress {
    int on;
    uint64_t last_us;
    uint64_t total_bytes; /* 0: not known */
    uint64_t done_bytes;
};
void progress_begin(struct progress *progress, uint64_t total_bytes);
void progress_tell(struct progress *progress, const char *what, uint64_t more_bytes);
/* Clears the line: before something else is written. */
void progress_clear(struct progress *progress);
void progress_end(struct progress *progress);

#endif
