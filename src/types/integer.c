#include "types/integer.h"

#include <string.h>

int integer_parse(struct varve_slice text, int64_t *value)
{
    size_t at = 0;
    int negative = 0;
    uint64_t sum = 0;

    if (text.len == 0 || text.len > INTEGER_TEXT_MAX_BYTES)
        return 0;
    if (text.data[0] == '-') {
        negative = 1;
        at = 1;
    }
    if (at == text.len)
        return 0;
    if (text.data[at] == '0') {
        *value = 0;
        return text.len == 1;
    }
    for (; at < text.len; at++) {
        unsigned digit = (unsigned)text.data[at] - '0';
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10)
            return 0;
        sum = sum * 10 + digit;
    }
    if (sum > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return 0;
    *value = (int64_t)(negative ? 0 - sum : sum);
    return 1;
}

size_t integer_print(int64_t value, uint8_t *out)
{
    uint8_t digits[INTEGER_TEXT_MAX_BYTES];
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t first = sizeof(digits);

    do {
        digits[--first] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (value < 0)
        digits[--first] = '-';
    memcpy(out, digits + first, sizeof(digits) - first);
    return sizeof(digits) - first;
}
