/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of the index family. */
#ifndef OPS_INDEX_LINES_H
#define OPS_INDEX_LINES_H

#include "common/simd.h"

enum { SCAN_ROWS = 8 }; /* rows that are summed side by side, where one waits for itself */

/* Running sums of [steps] vectors of n columns, `inner` elements from step to step, in the order that `reverse` says; `sum` goes on.
 * add: they are added to y. */
typedef void (*scan_columns)(const void *x, void *y, int64_t steps, int64_t n, int64_t inner, bool exclusive, bool reverse, bool add,
                             void *sum);
/* The same for up to SCAN_ROWS rows of adjacent elements, `steps` from row to row. */
typedef void (*scan_rows)(const void *x, void *y, int64_t steps, int64_t rows, bool exclusive, bool reverse, bool add, void *sum);
/* Where the first of the greatest (least) of n > 0 elements stands; the first NaN if there is one. */
typedef int64_t (*line_best)(const void *x, int64_t n, bool least);

struct line_table {
    scan_columns columns[FLOW_TYPE_COUNT];
    scan_rows rows[FLOW_TYPE_COUNT];
    line_best best[FLOW_TYPE_COUNT];
};
ISA_DECLARE(struct line_table, line_table);

#endif
