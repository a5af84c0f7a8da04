#include "campaign.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A whole number and what follows it. */
static int number_parse(const char *text, uint64_t *number, const char **rest)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    *number = strtoull(text, &end, 10);
    *rest = end;
    return errno == 0 ? 0 : -1;
}

int budget_parse(const char *text, struct budget *budget)
{
    static const char units[] = "smh";
    static const uint64_t seconds[] = {1, 60, 3600};
    const char *rest = NULL;
    uint64_t number = 0;

    if (number_parse(text, &number, &rest) != 0 || number == 0)
        return -1;
    if (*rest == '\0') {
        *budget = (struct budget){.count = number};
        return 0;
    }
    const char *unit = strchr(units, *rest);
    if (unit == NULL || rest[1] != '\0' || number > UINT32_MAX)
        return -1;
    *budget = (struct budget){.seconds = number * seconds[unit - units]};
    return 0;
}

int budget_left(const struct budget *budget, uint64_t done, double began_s)
{
    if (budget->count > 0)
        return done < budget->count;
    return campaign_now_s() - began_s < (double)budget->seconds;
}

double campaign_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int seed_parse(const char *text, uint64_t *seed)
{
    const char *rest = NULL;

    return number_parse(text, seed, &rest) == 0 && *rest == '\0' ? 0 : -1;
}

int campaign_close(const char *name, uint64_t seed, uint64_t passed, uint64_t failed,
                   const char *figures, ...)
{
    va_list args;

    printf("figures: %s, seed %" PRIu64 ": ", name, seed);
    va_start(args, figures);
    vprintf(figures, args);
    va_end(args);
    printf("\n%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
