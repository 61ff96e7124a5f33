/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers' attributes, as graphs give them; read by the steps on every device. */
#ifndef OPS_OPTIMIZER_ATTRS_H
#define OPS_OPTIMIZER_ATTRS_H

#include <stdbool.h>
#include <stdint.h>

struct sgd_attrs {
    double lr, momentum, weight_decay;
    bool nesterov;
};

/* adam, adamw */
struct adam_attrs {
    double lr, beta1, beta2, eps, weight_decay;
};

struct rmsprop_attrs {
    double lr, alpha, eps, momentum;
};

struct adagrad_attrs {
    double lr, eps;
};

struct muon_attrs {
    double lr, momentum, weight_decay;
    int64_t steps;
    bool nesterov, stacked;
};

struct average_attrs {
    const char *of;
    double rate;
};

struct assign_attrs {
    const char *value;
    double rate;
};

#endif
