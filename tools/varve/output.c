#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/clock.h"
#include "base/err.h"

#define PROGRESS_EVERY_US 100000

int output_fail(const char *command, const struct varve_err *err)
{
    fprintf(stderr, "varve %s: %s\n", command, err_text(err));
    switch (err->code) {
    case VARVE_ECORRUPT:
    case VARVE_EFOREIGN:
    case VARVE_EVERSION: return TOOL_FINDINGS;
    default: return TOOL_FAILED;
    }
}

int output_close(const char *command, int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "varve %s: not all of the output was written: %s\n", command, strerror(errno));
    return TOOL_FAILED;
}

void output_bytes(FILE *to, struct varve_slice bytes, size_t max)
{
    size_t len = max != 0 && bytes.len > max ? max : bytes.len;

    putc('"', to);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            fprintf(to, "\\x%02x", c);
        else
            putc(c, to);
    }
    putc('"', to);
    if (len < bytes.len)
        fprintf(to, "... (%zu bytes)", bytes.len);
}

const char *output_size(uint64_t bytes, char text[24])
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < COUNT_OF(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

void progress_begin(struct progress *progress, uint64_t total_bytes)
{
    *progress = (struct progress){.on = isatty(STDERR_FILENO), .total_bytes = total_bytes};
}

void progress_tell(struct progress *progress, const char *what, uint64_t more_bytes)
{
    char done[24];
    char total[24];

    progress->done_bytes += more_bytes;
    if (!progress->on)
        return;
    uint64_t now_us = clock_mono_us();
    if (progress->last_us != 0 && now_us - progress->last_us < PROGRESS_EVERY_US)
        return;
    progress->last_us = now_us;
    fprintf(stderr, "\r\033[K%s  %s", what, output_size(progress->done_bytes, done));
    if (progress->total_bytes != 0)
        fprintf(stderr, " of %s", output_size(progress->total_bytes, total));
    fflush(stderr);
}

void progress_clear(struct progress *progress)
{
    if (progress->on && progress->last_us != 0)
        fputs("\r\033[K", stderr);
}

void progress_end(struct progress *progress)
{
    progress_clear(progress);
    progress->on = 0;
}
