#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX_BYTES 1024

static _Atomic int log_fd = STDOUT_FILENO;
static _Atomic int log_min_level = LOG_NOTICE;

int log_open(const char *path)
{
    int fd = STDOUT_FILENO;

    if (path[0] != '\0')
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int old = atomic_exchange(&log_fd, fd);
    if (old != STDOUT_FILENO && old != fd)
        close(old);
    return 0;
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_min_level, (int)level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load(&log_min_level);
}

static size_t log_put_escaped(char *out, size_t cap, const char *text, size_t len)
{
    size_t used = 0;

    for (size_t i = 0; i < len && used + 5 < cap; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != 0x7f)
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, cap - used, "\\x%02x", c);
    }
    return used;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char mark[] = ".-*#";
    char text[LOG_LINE_MAX_BYTES];
    char line[LOG_LINE_MAX_BYTES + 128];
    struct timespec now;
    struct tm parts;
    va_list args;

    if ((int)level < atomic_load_explicit(&log_min_level, memory_order_relaxed))
        return;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof(text))
        len = (int)sizeof(text) - 1;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    size_t used = (size_t)snprintf(line, sizeof(line), "%d:M ", (int)getpid());
    used += strftime(line + used, sizeof(line) - used, "%d %b %Y %H:%M:%S", &parts);
    used += (size_t)snprintf(line + used, sizeof(line) - used, ".%03d %c ",
                             (int)(now.tv_nsec / 1000000), mark[level]);
    used += log_put_escaped(line + used, sizeof(line) - used - 1, text, (size_t)len);
    line[used++] = '\n';
    ssize_t written = write(atomic_load(&log_fd), line, used);
    (void)written; /* a log that cannot be written has nowhere to complain */
}

const char *log_escape(struct varve_slice bytes, char *out, size_t cap)
{
    size_t used = 0;

    CHECK(cap >= 16);
    out[used++] = '"';
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = bytes.data[i];
        if (used + 10 > cap) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (c == '"' || c == '\\') {
            out[used++] = '\\';
            out[used++] = (char)c;
        } else if (c >= 0x20 && c < 0x7f) {
            out[used++] = (char)c;
        } else {
            used += (size_t)snprintf(out + used, cap - used, "\\x%02x", c);
        }
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}
