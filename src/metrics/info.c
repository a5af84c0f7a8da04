#include "metrics/info.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define INFO_MAX_BYTES ((size_t)1024 * 1024)
#define INFO_VALUE_BYTES 1024 /* a longer one is cut */

static const struct {
    const char *name;  /* as asked for */
    const char *title; /* as shown */
    int by_default;
} sections[INFO_SECTIONS] = {
    [INFO_SERVER] = {"server", "Server", 1},
    [INFO_CLIENTS] = {"clients", "Clients", 1},
    [INFO_MEMORY] = {"memory", "Memory", 1},
    [INFO_PERSISTENCE] = {"persistence", "Persistence", 1},
    [INFO_STATS] = {"stats", "Stats", 1},
    [INFO_REPLICATION] = {"replication", "Replication", 1},
    [INFO_CPU] = {"cpu", "CPU", 1},
    [INFO_MODULES] = {"modules", "Modules", 1},
    [INFO_COMMANDSTATS] = {"commandstats", "Commandstats", 0},
    [INFO_ERRORSTATS] = {"errorstats", "Errorstats", 1},
    [INFO_LATENCYSTATS] = {"latencystats", "Latencystats", 0},
    [INFO_CLUSTER] = {"cluster", "Cluster", 1},
    [INFO_KEYSPACE] = {"keyspace", "Keyspace", 1},
    [INFO_VARVE] = {"varve", "Varve", 1},
    [INFO_LSM] = {"lsm", "LSM", 1},
};

static int word_is(struct varve_slice word, const char *known)
{
    return strlen(known) == word.len && strncasecmp((const char *)word.data, known, word.len) == 0;
}

static uint32_t word_sections(struct varve_slice word)
{
    uint32_t wanted = 0;

    for (int i = 0; i < INFO_SECTIONS; i++) {
        int all = word_is(word, "everything") || word_is(word, "all");
        if (all || word_is(word, sections[i].name) ||
            (sections[i].by_default && word_is(word, "default")))
            wanted |= UINT32_C(1) << i;
    }
    return wanted;
}

uint32_t info_wanted(const struct varve_slice *words, int count)
{
    uint32_t wanted = 0;

    if (count == 0)
        return word_sections(varve_slice_str("default"));
    for (int i = 0; i < count; i++)
        wanted |= word_sections(words[i]);
    return wanted;
}

void info_init(struct info *info, uint32_t wanted)
{
    buf_init(&info->out, INFO_MAX_BYTES);
    info->wanted = wanted;
    info->failed = 0;
}

void info_deinit(struct info *info)
{
    buf_deinit(&info->out);
}

static void append(struct info *info, const char *text)
{
    if (info->failed == 0)
        info->failed = buf_append(&info->out, text, strlen(text));
}

int info_section(struct info *info, enum info_section section)
{
    if ((info->wanted & UINT32_C(1) << section) == 0)
        return 0;
    if (info->out.len > 0)
        append(info, "\r\n");
    append(info, "# ");
    append(info, sections[section].title);
    append(info, "\r\n");
    return 1;
}

void info_str(struct info *info, const char *name, const char *value)
{
    size_t start;

    append(info, name);
    append(info, ":");
    start = info->out.len;
    append(info, value);
    for (size_t i = start; i < info->out.len; i++)
        if (info->out.data[i] < ' ' || info->out.data[i] == 0x7f)
            info->out.data[i] = ' ';
    append(info, "\r\n");
}

void info_fmt(struct info *info, const char *name, const char *fmt, ...)
{
    char value[INFO_VALUE_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);
    info_str(info, name, value);
}

void info_u64(struct info *info, const char *name, uint64_t value)
{
    info_fmt(info, name, "%" PRIu64, value);
}

void info_bytes(struct info *info, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    char human_name[128];
    double human = (double)bytes;
    int unit = 0;

    info_u64(info, name, bytes);
    while (human >= 1024 && units[unit + 1] != '\0') {
        human /= 1024;
        unit++;
    }
    snprintf(human_name, sizeof(human_name), "%s_human", name);
    if (unit == 0)
        info_fmt(info, human_name, "%" PRIu64 "B", bytes);
    else
        info_fmt(info, human_name, "%.2f%c", human, units[unit]);
}
