/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of products, minima and maxima of more than two inputs: y = ((x0 op x1) op x2) ..., backwards one pair after the other. */
#ifndef OPS_ELEMENTWISE_CHAIN_H
#define OPS_ELEMENTWISE_CHAIN_H

#include "elementwise/elementwise.h"

/* op: BINARY_MUL, BINARY_MINIMUM or BINARY_MAXIMUM; inputs of any strides, broadcast to y. */
int64_t chain_workspace(const struct flow_tensor *in, uint32_t inputs, const struct flow_tensor *y);
int chain_backward(const struct flow_call *call, int32_t op, uint32_t inputs);

#endif
