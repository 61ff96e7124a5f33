/* SPDX-License-Identifier: Apache-2.0 */
/* What pools are told, and what they have planned. */
#ifndef OPS_CONV_POOL_H
#define OPS_CONV_POOL_H

#include "conv/conv.h"

struct pool_attrs {
    struct flow_ints kernel, stride, padding;
};

struct pool_plan {
    struct window axis[2]; /* height, width; of one axis a height of 1, and time */
    struct window_stream stream;
    bool mean;
    int64_t channels; /* of all samples */
};

#endif
