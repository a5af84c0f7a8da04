/* The length for each pair of prefixes, one row at a time, for only the row before is needed. To walk back
 * from the end one has to know of two prefixes that end differently, whether to shorten a ("up") or b: that
 * bit is kept. Prefixes that end alike need none, their last bytes are compared again. Where both ways are as
 * good b is shortened, as in Redis, whose replies show which. */
#include "types/lcs.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "varve/status.h"

static size_t bit_at(const struct lcs *lcs, size_t i, size_t j)
{
    return (i - 1) * lcs->b.len + (j - 1);
}

static void fill(struct lcs *lcs, uint32_t *above, uint32_t *row)
{
    for (size_t i = 1; i <= lcs->a.len; i++) {
        uint8_t end = lcs->a.data[i - 1];
        row[0] = 0;
        for (size_t j = 1; j <= lcs->b.len; j++) {
            if (end == lcs->b.data[j - 1]) {
                row[j] = above[j - 1] + 1;
                continue;
            }
            int up = MUTANT("lcs-prefers-up") ? above[j] >= row[j - 1] : above[j] > row[j - 1];
            row[j] = up ? above[j] : row[j - 1];
            if (up && lcs->went_up != NULL)
                lcs->went_up[bit_at(lcs, i, j) / 64] |= (uint64_t)1 << bit_at(lcs, i, j) % 64;
        }
        uint32_t *swapped = above;
        above = row;
        row = swapped;
    }
    lcs->length = above[lcs->b.len];
}

int lcs_init(struct lcs *lcs, struct varve_slice a, struct varve_slice b, int length_only)
{
    size_t row_count = b.len + 1;

    *lcs = (struct lcs){.a = a, .b = b};
    uint32_t *rows = mem_alloc_zero(2 * row_count * sizeof(*rows));
    if (rows == NULL)
        return VARVE_ENOMEM;
    if (!length_only) {
        lcs->went_up = mem_alloc_zero((a.len * b.len / 64 + 1) * sizeof(*lcs->went_up));
        if (lcs->went_up == NULL) {
            mem_free(rows);
            return VARVE_ENOMEM;
        }
    }
    fill(lcs, rows, rows + row_count);
    mem_free(rows);
    return 0;
}

void lcs_deinit(struct lcs *lcs)
{
    mem_free(lcs->went_up);
    lcs->went_up = NULL;
}

void lcs_begin(const struct lcs *lcs, struct lcs_walk *walk)
{
    *walk = (struct lcs_walk){.a_left = lcs->a.len, .b_left = lcs->b.len};
}

static int ends_alike(const struct lcs *lcs, const struct lcs_walk *walk)
{
    return lcs->a.data[walk->a_left - 1] == lcs->b.data[walk->b_left - 1];
}

int lcs_next(const struct lcs *lcs, struct lcs_walk *walk, struct lcs_range *range)
{
    range->len = 0;
    while (walk->a_left > 0 && walk->b_left > 0) {
        if (ends_alike(lcs, walk)) {
            walk->a_left--;
            walk->b_left--;
            range->len++;
            continue;
        }
        if (range->len > 0)
            break;
        size_t bit = bit_at(lcs, walk->a_left, walk->b_left);
        if (lcs->went_up[bit / 64] >> bit % 64 & 1)
            walk->a_left--;
        else
            walk->b_left--;
    }
    range->a_at = walk->a_left;
    range->b_at = walk->b_left;
    return range->len > 0;
}
