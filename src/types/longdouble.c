#include "types/longdouble.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int longdouble_parse(struct varve_slice text, long double *value)
{
    char copy[LONGDOUBLE_TEXT_MAX_BYTES];
    char *end;

    if (text.len == 0 || text.len >= sizeof(copy) || isspace(text.data[0]))
        return 0;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    long double parsed = strtold(copy, &end);
    if (end != copy + text.len || isnan(parsed))
        return 0;
    if (errno == ERANGE && (isinf(parsed) || fpclassify(parsed) == FP_ZERO))
        return 0;
    *value = parsed;
    return 1;
}

size_t longdouble_print(long double value, char *out)
{
    int printed = snprintf(out, LONGDOUBLE_TEXT_MAX_BYTES, "%.17Lf", value);
    size_t len = (size_t)printed;

    CHECK(printed > 0 && len < LONGDOUBLE_TEXT_MAX_BYTES);
    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    if (len == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        len = 1;
    }
    return len;
}
