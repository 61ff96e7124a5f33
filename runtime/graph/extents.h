/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes: comparing, counting without overflow, row-major strides, printing. */
#ifndef FLOW_GRAPH_EXTENTS_H
#define FLOW_GRAPH_EXTENTS_H

#include "base/report.h"

enum { EXTENTS_TEXT = 216 }; /* enough for a type and eight numbers */

void extents_none(struct flow_tensor *tensor); /* rank -1: does not exist */
bool extents_equal(const struct flow_tensor *a, const struct flow_tensor *b);
bool extents_same(const struct flow_tensor *a, const struct flow_tensor *b); /* the type too */
/* Row-major strides. False when rank, an extent, or the bytes are more than can
 * be addressed. */
bool extents_contiguous(struct flow_tensor *tensor);
bool extents_count(const struct flow_tensor *tensor, int64_t *count); /* elements; false as above */
/* "f32 [2, 3]" into buffer[EXTENTS_TEXT]; without a type when dtype is
 * negative. Returns buffer. */
const char *extents_text(char *buffer, int32_t dtype, const struct flow_tensor *tensor);
/* "f32, f16 or f64" into buffer[EXTENTS_TEXT]. */
const char *extents_types(char *buffer, uint32_t types);

#endif
