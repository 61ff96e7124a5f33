/* SPDX-License-Identifier: Apache-2.0 */
/* Indices are checked before anything is read by them. */
#ifndef OPS_INDEX_CHECK_H
#define OPS_INDEX_CHECK_H

#include <flow/plugin.h>

/* Every element of `index` (row-major i64) lies in [0, extent), else fails with the value and its position. `name`: the port's. [run] */
int index_check(const struct flow_call *call, const struct flow_tensor *index, const char *name, int64_t extent);

#endif
