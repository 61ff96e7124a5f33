/* SPDX-License-Identifier: Apache-2.0 */
/* What upsample is told, and what it has planned. */
#ifndef OPS_CONV_RESIZE_H
#define OPS_CONV_RESIZE_H

#include <flow/plugin.h>

struct upsample_attrs {
    struct flow_ints factor;
    int32_t mode;
};
enum { UPSAMPLE_NEAREST, UPSAMPLE_LINEAR };

struct upsample_plan {
    int64_t h, w, factor_h, factor_w; /* extents of x; of one axis a height of 1 */
    int64_t channels;                 /* of all samples */
};

#endif
