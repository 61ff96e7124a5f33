/* SPDX-License-Identifier: Apache-2.0 */
/* cast: the planned node and its kernels. */
#ifndef OPS_ELEMENTWISE_CAST_H
#define OPS_ELEMENTWISE_CAST_H

#include "common/map.h"
#include "common/simd.h"

struct cast {
    struct map map;
    map_kernel kernel;
    int32_t from, to; /* FLOW_F32 ... */
};

struct cast_table {
    map_kernel any;
};
ISA_DECLARE(struct cast_table, cast_table);

#endif
