/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: the strided product of two operands, and einsum's parsed equation. */
#ifndef OPS_PRODUCT_PRODUCT_H
#define OPS_PRODUCT_PRODUCT_H

#include "common/simd.h"

/* Three nested loops of a product without blocks: o over an axis of the result, k over a summed one, v the vector loop.
 * Strides in elements; a stride of 0 repeats. */
struct product_loop {
    int64_t rows, depth, width;      /* extents of o, k, v */
    int64_t a_row, a_depth, a_width; /* strides of the first operand along o, k, v */
    int64_t b_row, b_depth, b_width;
    int64_t c_row, c_width; /* of the result; v is summed where `sums` says so */
    bool sums;              /* c[o] = sum over k, v; else c[o, v] = sum over k */
    bool adds;              /* adds to what c holds */
};

struct product_table {
    void (*loop_f32)(float *c, const float *a, const float *b, const struct product_loop *loop);
    void (*loop_f64)(double *c, const double *a, const double *b, const struct product_loop *loop);
};
ISA_DECLARE(struct product_table, product_table);

/* Letters of an equation are numbered in order of appearance; sets of them are masks. */
enum { EINSUM_OPERANDS = 16, EINSUM_LETTERS = 64 };

struct einsum_term {
    int32_t rank;
    uint8_t letter[FLOW_RANK_MAX]; /* of each axis */
};

struct einsum_plan {
    uint32_t operands;
    uint32_t letters;
    struct einsum_term in[EINSUM_OPERANDS];
    struct einsum_term out;
};

/* Reads the equation for operands of given ranks. Fails through the host. */
int einsum_parse(const struct flow_infer *infer, const char *equation, struct einsum_plan *plan);
/* Bytes that the sums and products on the way to the result take; negative when they overflow. */
int64_t einsum_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out, double *flops);
int einsum_run(const struct flow_call *call, const struct einsum_plan *plan);
/* The same for the gradients of all operands that want one, one after the other. */
int64_t einsum_gradient_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out);
int einsum_gradients(const struct flow_call *call, const struct einsum_plan *plan);

#endif
