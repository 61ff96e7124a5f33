/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of times that other programs disturb: order statistics, and comparisons that assume no distribution. */
#ifndef FLOWRUN_STATISTICS_H
#define FLOWRUN_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>

struct summary {
    double median, least, p90, p99, most, mean;
    double deviation; /* mean absolute one, from the median */
};
/* false: no memory, or no samples. */
bool statistics_summary(const double *samples, size_t count, struct summary *out);

struct comparison {
    double ratio;     /* of the medians, second by first; paired: the median of the ratios */
    double low, high; /* its 95% interval, by bootstrap: blocks of samples that followed each other are drawn together */
    double p;         /* that the two do not differ: Mann-Whitney; paired: the sign test. Two-sided */
};
bool statistics_compare(const double *first, size_t first_count, const double *second, size_t second_count, bool paired,
                        struct comparison *out);

#endif
