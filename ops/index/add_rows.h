/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of reading by index: rows added where they were read. */
#ifndef OPS_INDEX_ADD_ROWS_H
#define OPS_INDEX_ADD_ROWS_H

#include <flow/plugin.h>

/* to[b, index[b / shared, e], :] += from[b, e, :] for each of `blocks` tables of `extent` rows, e < count: in the order of e. */
struct add_rows {
    const void *from;
    void *to;
    const int64_t *index;
    int64_t blocks, shared, extent, count, width;
    int64_t bytes;    /* of an element: 4 f32, 8 f64 */
    int64_t left_out; /* a row that gets nothing; -1: none */
};
void add_rows_run(const struct flow_call *call, const struct add_rows *rows);

#endif
