/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and planned nodes of the index family: what kernels of every device read. */
#ifndef OPS_INDEX_INDEX_H
#define OPS_INDEX_INDEX_H

#include "index/lines.h"

struct gather_attrs {
    int64_t axis, batch;
};
struct gather {
    int32_t axis;
};

struct embedding_attrs {
    int64_t count, units, padding;
};

struct one_hot_attrs {
    int64_t count;
};

struct order {
    int32_t axis;
    int64_t outer, n, inner; /* the axis with what lies before and behind it */
    line_best best;          /* argmax, argmin over adjacent elements */
};

struct topk_attrs {
    int64_t k, axis;
    bool largest;
};

struct cumsum_attrs {
    int64_t axis;
    bool exclusive, reverse;
};
struct cumsum {
    int32_t axis;
    int64_t outer, n, inner;
    bool integer;
    scan_columns columns;
    scan_rows rows;
};

#endif
