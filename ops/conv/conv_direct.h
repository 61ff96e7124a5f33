/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of conv_direct.c, which its gradients use, too: rows of a sample's group, padded and split by stride. */
#ifndef OPS_CONV_CONV_DIRECT_H
#define OPS_CONV_CONV_DIRECT_H

#include "conv/conv.h"

struct direct {
    struct window h, w;
    int64_t channels, units; /* of a group */
    bool plain;              /* the buffer is the input */
    int64_t rows;            /* of places in a share */
    int64_t row, planes_h;   /* a buffer's row; rows of a plane */
    int64_t channel;         /* elements of one channel's buffer */
    bool dense;              /* rows of the buffer are as wide as those of the result */
};

/* For shares of `rows` rows of places. */
void direct_of(const struct conv_plan *plan, int64_t rows, struct direct *d);
/* Where tap j of a unit finds its element of place 0. */
void direct_offsets(const struct direct *d, int64_t *offset);
/* The buffer of one channel for places from row `begin` on. */
void direct_fill(const struct direct *d, char *to, const char *x, int64_t begin, int64_t rows, int32_t mode, int64_t size);

#endif
