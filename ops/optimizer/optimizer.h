/* SPDX-License-Identifier: Apache-2.0 */
/* What the optimisers share: one pass of a kernel over all parameters of a group. */
#ifndef OPS_OPTIMIZER_OPTIMIZER_H
#define OPS_OPTIMIZER_OPTIMIZER_H

#include "common/simd.h"

/* One pass over `count` elements: at[0] parameter, at[1] gradient (or other value), at[2..] states; constants as the kernel's comment
 * says. The arrays do not overlap. */
typedef void (*optimizer_kernel)(int64_t count, void *const *at, const double *constant);

/* One element type's loops. */
struct optimizer_steps {
    optimizer_kernel sgd, sgd_momentum, adam, rmsprop, rmsprop_momentum, adagrad; /* steps_tmpl.h */
    optimizer_kernel follow, copy, add;
    /* Muon. direction: m = mu m + scale g (m NULL: as if 0); u = nesterov ? scale g + mu m : m, written to x; gives sum u^2. */
    double (*direction)(int64_t count, const void *g, void *m, void *x, double scale, double mu, bool nesterov);
    void (*multiply)(int64_t count, void *x, double by);
    void (*apply)(int64_t count, void *w, const void *x, double keep, double step); /* w = keep w - step x */
    /* Rows [begin, end) of symmetric matrices [r, r] of which the lower triangle is known: the upper one of a is filled in, or of
     * b = identity I + linear a + square b. */
    void (*mirror)(int64_t r, int64_t begin, int64_t end, void *a);
    void (*polynomial)(int64_t r, int64_t begin, int64_t end, const void *a, void *b, double identity, double linear, double square);
};
/* f32, f64 */
struct optimizer_table {
    struct optimizer_steps of[2];
};
ISA_DECLARE(struct optimizer_table, optimizer_table);

/* The loops for a parameter of this type. */
static inline const struct optimizer_steps *optimizer_steps(const struct flow_update *update, int32_t dtype) {
    return &ISA_PICK(optimizer_table, update->call->host->isa)->of[dtype == FLOW_F64];
}

int64_t optimizer_count(const struct flow_tensor *t); /* elements; 0 where rank is -1 */

/* `accepts` of all optimisers with a gradient: f32 and f64. */
int optimizer_accepts(const struct flow_host *host, void *owner, const void *attrs, const struct flow_tensor *param);

/* Runs one kernel, the member at `offset` of struct optimizer_steps, over the whole group with `states` states a parameter. `second` is
 * at[1]: the gradients (rank -1: zero) or other values of the parameters' shapes and types. */
struct optimizer_pass {
    size_t offset;
    uint32_t states;
    const struct flow_tensor *second;
    const double *constant;
};
int optimizer_spread(const struct flow_update *update, const struct optimizer_pass *pass);
int64_t optimizer_spread_workspace(const struct flow_update *update);

#endif
