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
};

/* One step of one row: u, v [gates*units] (input and recurrent products, biases in), weights of a diagonal recurrence, peepholes. h and c
 * are read and written in place. */
struct recurrent_step {
    const void *u, *v;
    const void *diagonal; /* weight_hh [gates*units, 1] where heads = units: v then holds the bias alone, or is NULL; else NULL */
    const void *peephole; /* [3 or 2, units]; NULL */
    void *h, *c;
    int64_t units;
    bool coupled, relu;
};

struct recurrent_table {
    void (*cell_f32[3])(const struct recurrent_step *step); /* by enum recurrent_cell */
    void (*cell_f64[3])(const struct recurrent_step *step);
};
ISA_DECLARE(struct recurrent_table, recurrent_table);

int recurrent_infer(struct flow_infer *infer, enum recurrent_cell cell);
int recurrent_prepare(const struct flow_call *call);
int recurrent_forward(const struct flow_call *call);
int recurrent_describe(const struct flow_infer *infer, char *text, size_t size);

#endif
