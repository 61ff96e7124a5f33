/* SPDX-License-Identifier: Apache-2.0 */
/* Small matters of backward kernels: which gradients are wanted, what to do where none arrives. */
#ifndef OPS_COMMON_GRADIENT_H
#define OPS_COMMON_GRADIENT_H

#include "common/adjoint.h"

static inline bool gradient_adds_in(const struct flow_call *call, uint32_t i) { return FLOW_ACCUMULATES(call->accumulate_in, i); }
static inline bool gradient_adds_param(const struct flow_call *call, uint32_t i) { return FLOW_ACCUMULATES(call->accumulate_param, i); }

/* All of them are zero: no gradient arrives, or what the outputs sum over is empty. */
static inline int gradient_none(const struct flow_call *call) {
    for (uint32_t i = 0; i < call->in_count; ++i) adjoint_zero(call, &call->grad_in[i], gradient_adds_in(call, i));
    for (uint32_t i = 0; i < call->param_count; ++i) adjoint_zero(call, &call->grad_param[i], gradient_adds_param(call, i));
    return FLOW_OK;
}

static inline double gradient_value(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static inline void gradient_put(const struct flow_tensor *t, int64_t i, double value, bool adds) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = value + (adds ? ((double *)t->data)[i] : 0);
    else ((float *)t->data)[i] = (float)(value + (adds ? (double)((float *)t->data)[i] : 0));
}

#endif
