/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and planned nodes of the shape family: what kernels of every device read. */
#ifndef OPS_SHAPE_SHAPE_H
#define OPS_SHAPE_SHAPE_H

#include <flow/plugin.h>

struct concat_attrs {
    int64_t axis;
};

struct concat {
    int32_t axis;
    bool rows;                     /* all inputs are row-major: per outer index each contributes one stretch of bytes */
    int64_t outer, stretch, bytes; /* stretch: bytes of y per outer index */
};

struct move {
    int32_t axis;
    uint64_t value; /* pad: the bytes of one element */
};

struct pad_attrs {
    int64_t axis, before, after;
    int32_t mode;
    double value;
};
enum { PAD_ZERO, PAD_REFLECT, PAD_REPLICATE, PAD_CIRCULAR };

struct repeat_attrs {
    int64_t axis, count;
};

struct roll_attrs {
    int64_t axis, shift;
};

struct shift_attrs {
    int64_t axis, by;
};

struct position_attrs {
    int64_t dims; /* rope */
    double base;
    int32_t style;
    int64_t offset;
};

struct rotation_table;
struct position {
    const struct rotation_table *table;
    int64_t pairs;
    int64_t grain; /* positions a piece */
};

struct constant_attrs {
    struct flow_values value;
    struct flow_ints shape;
    struct flow_dtype dtype;
};

struct random_attrs {
    struct flow_ints shape;
    double first, second; /* low, high; mean, std */
    int64_t seed;
};

#endif
