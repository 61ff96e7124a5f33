/* SPDX-License-Identifier: Apache-2.0 */
/* Reverse mode over an instance. */
#ifndef FLOW_GRAD_GRAD_H
#define FLOW_GRAD_GRAD_H

#include "graph/instance.h"

/* What is differentiated: the sum over the elements of `value`, times `weight`; or, with a cotangent, the sum of value * cotangent. */
struct grad_root {
    int32_t value;
    double weight;
    int32_t cotangent; /* a value of the same shape; -1 */
};

/* One walk backward. `wants` are values that own their memory: inputs, parameters, nodes' values. gradients[i] receives the value that
 * holds the gradient by wants[i], of its shape; zeros where the roots do not depend on it. */
struct grad_pass {
    const struct grad_root *roots;
    size_t root_count;
    const int32_t *wants;
    size_t want_count;
    int32_t *gradients;
};

/* Makes out the instance's {op: gradient} nodes, those in loops too, and then the passes. A pass of one root that a gradient node has as
 * its loss shares its walk. Made with instance_options.differentiate. Fails, with the node, where an operator cannot be differentiated. */
int must_use grad_differentiate(struct instance *instance, const struct grad_pass *passes, size_t count, struct report *report);

/* An input beyond the network's, of a given type: for cotangents. -1: memory. The instance's inputs grow by it. */
int32_t grad_input(struct instance *instance, const char *name, const struct flow_tensor *type);
/* Outputs beyond the network's. */
int must_use grad_outputs(struct instance *instance, const int32_t *values, size_t count);

#endif
