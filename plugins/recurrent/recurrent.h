/* SPDX-License-Identifier: Apache-2.0 */
/* rnn, lstm, gru: one family, apart in their cells alone. */
#ifndef PLUGINS_RECURRENT_H
#define PLUGINS_RECURRENT_H

#include "common/simd.h"

enum recurrent_cell { CELL_RNN, CELL_LSTM, CELL_GRU };
enum { BIAS_BOTH, BIAS_ONE, BIAS_NONE, BIAS_TRUE, BIAS_FALSE };

struct recurrent_attrs {
    int64_t units, layers, heads, input_heads;
    double dropout, forget_bias;
    bool bidirectional, reverse, projection, peephole, coupled;
    int32_t bias, algorithm, activation;
};

enum { NO_PARAM = -1, LAYERS_MOST = 64 };

/* Places of one layer and direction's parameters (NO_PARAM: none) and of its packed weights (-1: read as they lie). */
struct direction {
    int32_t weight_ih, weight_hh, bias_u, bias_v, peephole;
    int64_t packed_ih, packed_hh;
};

struct recurrent_priv {
    enum recurrent_cell cell;
    int64_t gates, units, layers, directions, batch, steps, input;
    int32_t port_lengths, port_reset, port_h, port_c;
    int32_t out_h, out_c, out_iterations;
    bool keeps; /* streaming along T: states go on */
    int64_t size;
    int64_t chunk; /* steps whose input products are made together */
    int64_t at_x, at_u, at_v, at_h, at_c, at_y[2], at_order, at_lengths;
    struct direction at[2 * LAYERS_MOST];
    /* What forward leaves for backward, offsets by layer and direction: gates' values [rows, kept*units], h and c before each step
     * [rows, units], where rows are those of all steps in the order in which they ran; by layer but the last: y [B, T, units*directions].
     */
    int64_t kept;
    int64_t keep_gates, keep_h, keep_c, keep_y; /* of the first; the others follow at these distances: */
    int64_t keep_gates_each, keep_h_each, keep_y_each;
    int64_t at_pack; /* weight_hh packed by forward itself where nobody prepared it; -1 */
    bool drops;      /* between layers, in training */
    /* Offsets in backward's workspace. */
    int64_t back_chunk; /* steps whose products are made together */
    int64_t at_d_u, at_d_v, at_d_h, at_d_c, at_rows, at_pack_ih, at_pack_hh, at_d_peephole, at_d_y[2], at_back_order, at_back_lengths;
};

/* One step of one row: u, v [gates*units] (input and recurrent products, biases in), weights of a diagonal recurrence, peepholes. h and c
 * are read and written in place. */
struct recurrent_step {
    const void *u, *v;
    const void *diagonal; /* weight_hh [gates*units, 1] where heads = units: v then holds the bias alone, or is NULL; else NULL */
    const void *peephole; /* [3 or 2, units]; NULL */
    void *h, *c;
    void *keep; /* for backward, the values of the gates: rnn h'; lstm [i] f g o; gru r z n and v_n; NULL */
    int64_t units;
    bool coupled, relu;
};

/* One step of `rows` rows backward, rows side by side. d_h and d_c are read and written in place; d_v is gru's alone, elsewhere d_u. */
struct recurrent_back {
    const void *keep, *h, *c; /* the gates' values; h and c before the step */
    void *d_h, *d_c, *d_u, *d_v;
    const void *diagonal, *peephole;
    void *d_peephole; /* added to; NULL */
    int64_t rows, units;
    bool coupled, relu;
};

/* sums[c] += sum_r x[r][c] y[r][c]; y NULL: of x alone. */
struct recurrent_sums {
    const void *x, *y;
    int64_t x_row, y_row, rows, columns;
    void *sums;
};

struct recurrent_table {
    void (*cell_f32[3])(const struct recurrent_step *step); /* by enum recurrent_cell */
    void (*cell_f64[3])(const struct recurrent_step *step);
    void (*back_f32[3])(const struct recurrent_back *back);
    void (*back_f64[3])(const struct recurrent_back *back);
    void (*sums_f32)(const struct recurrent_sums *sums);
    void (*sums_f64)(const struct recurrent_sums *sums);
    void (*add_f32)(void *to, const void *from, int64_t count);
    void (*add_f64)(void *to, const void *from, int64_t count);
};
ISA_DECLARE(struct recurrent_table, recurrent_table);

/* One layer and direction under way. */
struct pass {
    const struct flow_call *call;
    const struct direction *at;
    const char *x; /* [B, T, I] */
    int64_t input;
    char *y; /* [B, T, y_row], this direction's columns */
    int64_t y_row;
    /* Input products of the steps from `from` on, [rows, gates*units]: rows in `order`, those that still run, step by step. */
    const char *u;
    char *h, *c;                  /* [B, units], rows in `order` */
    char *keep, *keep_h, *keep_c; /* where this step's values for backward go; NULL */
    const char *packed_hh;
    const int64_t *order, *lengths;
    bool reversed;
};

/* Where row b of the batch is at step s. */
static inline int64_t recurrent_time(const struct pass *pass, int64_t b, int64_t s) {
    return pass->reversed ? pass->lengths[b] - 1 - s : s;
}
/* A border of sequences lies between this step and the one before it in the direction of the pass: the state starts again at zero. */
bool recurrent_starts_anew(const struct pass *pass, int64_t b, int64_t t);
/* Rows in order of falling length so that those that still run are the first ones. */
int recurrent_order(const struct flow_call *call, int64_t *order, int64_t *lengths);
/* Multiplies y [B, T, units*directions] of a layer by the mask and 1 / (1 - dropout): the same forward and backward. */
void recurrent_drop(const struct flow_call *call, int64_t layer, void *y);

int recurrent_infer(struct flow_infer *infer, enum recurrent_cell cell);
int recurrent_prepare(const struct flow_call *call);
int recurrent_forward(const struct flow_call *call);
int recurrent_backward(const struct flow_call *call);
int recurrent_describe(const struct flow_infer *infer, char *text, size_t size);

#endif
