/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of computing a convolution's gradients share. */
#ifndef OPS_CONV_CONV_GRADIENT_H
#define OPS_CONV_CONV_GRADIENT_H

#include "conv/conv.h"

/* One backward call. What nobody needs is NULL. */
struct gradient_work {
    const struct flow_call *call;
    const struct conv_plan *plan;
    const struct conv_table *table;
    const char *x, *weight, *dy;
    char *dx;
    bool add; /* to what is in dx */
    int32_t dtype;
    int64_t size; /* of an element */
    bool sums_wanted, bias_wanted;
    char *sums, *bias, *scratch; /* of slot 0; the slots' parts are so far apart: */
    int64_t sums_step, bias_step;
    char *offsets, *turned; /* DIRECT */
    int *status;            /* of each slot */
};

void gradient_direct_plan(struct conv_plan *plan);
void gradient_direct_start(const struct gradient_work *work);
void gradient_direct_run(const struct gradient_work *work, int64_t slot);
void gradient_columns_plan(struct conv_plan *plan);
void gradient_columns_run(const struct gradient_work *work, int64_t slot);

/* to[first + i * stride] of a line of `in` elements gets from[i], i < count: set where that covers it (`set`, padding of zeros alone), else
 * added. What lies in the padding goes to the element that the padding repeats. */
void gradient_fold_line(const struct gradient_work *work, char *to, int64_t in, const char *from, int64_t first, int64_t count,
                        int64_t stride, bool set);
/* sum of n elements is added to bias[unit] of a slot */
void gradient_bias(const struct gradient_work *work, int64_t slot, int64_t unit, const char *from, int64_t n);

#endif
