/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of rnn, lstm and gru. */
#include "recurrent.h"

#include <stddef.h>

#define INPUT_X \
    { "x", "inputs; with projection: false the gates' inputs [B, T, gates*units]", "B T I", FLOW_TYPES_FLOAT, 0 }
#define INPUT_H                                                                                                                 \
    {                                                                                                                           \
        "h", "state before the first step [B, units]; [layers*directions, B, units] where there are several (default 0)", NULL, \
            FLOW_TYPES_FLOAT, FLOW_OPTIONAL                                                                                     \
    }
#define INPUT_C \
    { "c", "cell state before the first step, as h", NULL, FLOW_TYPES_FLOAT, FLOW_OPTIONAL }
#define INPUT_LENGTHS \
    { "lengths", "steps that each row has (default: all)", "B", FLOW_TYPE(I64), FLOW_OPTIONAL | FLOW_NO_GRAD }
#define INPUT_RESET \
    { "reset", "true: a new sequence begins at this step", "B T", FLOW_TYPE(BOOL), FLOW_OPTIONAL | FLOW_NO_GRAD }
#define OUTPUT_Y                                                                                                               \
    {                                                                                                                          \
        "y", "hidden states of the last layer [B, T, units*directions], forward then reversed; 0 beyond a row's length", NULL, \
            FLOW_TYPES_FLOAT, 0                                                                                                \
    }
#define OUTPUT_H \
    { "h", "state after each row's last step, as the input h", NULL, FLOW_TYPES_FLOAT, FLOW_WHOLE }
#define OUTPUT_C \
    { "c", "cell state after each row's last step", NULL, FLOW_TYPES_FLOAT, FLOW_WHOLE }
#define OUTPUT_ITERATIONS \
    { "iterations", "of Newton's method; 0 for steps in order", "", FLOW_TYPE(I64), FLOW_NO_GRAD | FLOW_WHOLE }

static const struct flow_port plain_inputs[] = {INPUT_X, INPUT_H, INPUT_LENGTHS, INPUT_RESET};
static const struct flow_port lstm_inputs[] = {INPUT_X, INPUT_H, INPUT_C, INPUT_LENGTHS, INPUT_RESET};
static const struct flow_port plain_outputs[] = {OUTPUT_Y, OUTPUT_H, OUTPUT_ITERATIONS};
static const struct flow_port lstm_outputs[] = {OUTPUT_Y, OUTPUT_H, OUTPUT_C, OUTPUT_ITERATIONS};

#define INIT "uniform(-1/sqrt(units), 1/sqrt(units))"
#define PARAM_ROWS                                                                                                                  \
    {"weight_ih",  "[gates*units, I/input_heads]; row g*units + j is gate g of unit j", NULL, "projection", INIT, FLOW_TYPES_FLOAT, \
     FLOW_DECLARED},                                                                                                                \
        {"weight_hh", "[gates*units, units/heads]", NULL, NULL, INIT, FLOW_TYPES_FLOAT, FLOW_DECLARED},                             \
        {"bias_ih", "[gates*units], bias: both", NULL, NULL, INIT, FLOW_TYPES_FLOAT, FLOW_DECLARED},                                \
        {"bias_hh", "[gates*units], bias: both", NULL, NULL, INIT, FLOW_TYPES_FLOAT, FLOW_DECLARED}, {                              \
        "bias", "[gates*units], bias: one", NULL, NULL, INIT, FLOW_TYPES_FLOAT, FLOW_DECLARED                                       \
    }
static const struct flow_param plain_params[] = {PARAM_ROWS};
static const struct flow_param lstm_params[] = {
    PARAM_ROWS,
    {"weight_peephole", "[3*units]: p_i, p_f, p_o; coupled [2*units]: p_f, p_o", NULL, "peephole", INIT, FLOW_TYPES_FLOAT, FLOW_DECLARED}};

static const struct flow_state plain_states[] = {
    {"h", "hidden state [layers, B, units]", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_IN_PLACE, 0, 0}};
static const struct flow_state lstm_states[] = {
    {"h", "hidden state [layers, B, units]", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_IN_PLACE, 0, 0},
    {"c", "cell state [layers, B, units]", NULL, "zeros", FLOW_TYPES_FLOAT, FLOW_IN_PLACE, 0, 0}};

#define SHARED_ATTRS                                                                                                                   \
    FLOW_ATTR(struct recurrent_attrs, units, "hidden units of each direction", FLOW_REQUIRED, 1, 1048576),                             \
        FLOW_ATTR(struct recurrent_attrs, layers, "layers, each reading the one before", "1", 1, 64),                                  \
        FLOW_ATTR_PLAIN(struct recurrent_attrs, bidirectional, "both directions, their outputs side by side", "false"),                \
        FLOW_ATTR_PLAIN(struct recurrent_attrs, reverse, "one direction, from the end", "false"),                                      \
        FLOW_ATTR(struct recurrent_attrs, heads, "block-diagonal recurrence: so many blocks; units: a diagonal one", "1", 1, 1048576), \
        FLOW_ATTR(struct recurrent_attrs, input_heads, "block-diagonal input product", "1", 1, 1048576),                               \
        FLOW_ATTR_CHOICES(struct recurrent_attrs, bias, "two biases, one, or none", "both", "both|one|none|true|false"),               \
        FLOW_ATTR(struct recurrent_attrs, dropout, "in training, on the output of every layer but the last", "0", 0, 0.999999),        \
        FLOW_ATTR_PLAIN(struct recurrent_attrs, projection, "multiply x by weight_ih; false: x holds the gates' inputs", "true"),      \
        FLOW_ATTR_CHOICES(struct recurrent_attrs, algorithm, "steps in order, or Newton's method over all steps", "auto",              \
                          "auto|sequential|newton")

static const struct flow_attr rnn_attrs[] = {SHARED_ATTRS,
                                             FLOW_ATTR_CHOICES(struct recurrent_attrs, activation, "of the cell", "tanh", "tanh|relu")};
static const struct flow_attr lstm_attrs[] = {
    SHARED_ATTRS,
    FLOW_ATTR_PLAIN(struct recurrent_attrs, forget_bias, "initial value of the forget gate's bias (default: random)", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct recurrent_attrs, peephole, "gates also see the cell state", "false"),
    FLOW_ATTR_PLAIN(struct recurrent_attrs, coupled, "input gate = 1 - forget gate", "false")};
static const struct flow_attr gru_attrs[] = {SHARED_ATTRS};

static int rnn_infer(struct flow_infer *infer) { return recurrent_infer(infer, CELL_RNN); }
static int lstm_infer(struct flow_infer *infer) { return recurrent_infer(infer, CELL_LSTM); }
static int gru_infer(struct flow_infer *infer) { return recurrent_infer(infer, CELL_GRU); }

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = recurrent_forward, .backward = recurrent_backward}};

static const struct flow_operator rnn = {
    .size = sizeof rnn,
    .flags = FLOW_OP_RANDOM,
    .name = "rnn",
    .summary = "plain recurrent network (Elman)",
    .equation = "h' = tanh(u + v), u = W_ih x + b_ih, v = W_hh h + b_hh",
    .reference = "Elman, Finding structure in time, 1990; a critical review: Lipton et al., 2015",
    .example = "y: {op: rnn, in: x, with: {units: 8}}",
    .inputs = FLOW_TABLE(plain_inputs),
    .outputs = FLOW_TABLE(plain_outputs),
    .params = FLOW_TABLE(plain_params),
    .states = FLOW_TABLE(plain_states),
    .attrs = FLOW_TABLE(rnn_attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct recurrent_attrs),
    .priv_size = sizeof(struct recurrent_priv),
    .infer = rnn_infer,
    .prepare = recurrent_prepare,
    .describe = recurrent_describe,
};

static const struct flow_operator lstm = {
    .size = sizeof lstm,
    .flags = FLOW_OP_RANDOM,
    .name = "lstm",
    .summary = "long short-term memory: gates i f g o",
    .equation = "a = u + v; i = s(a_i + p_i c)  f = s(a_f + p_f c)  g = tanh(a_g)  c' = f c + i g  o = s(a_o + p_o c')  h' = o tanh(c')\n"
                "coupled: gates f g o, i = 1 - f",
    .reference = "Hochreiter, Schmidhuber, Long short-term memory, 1997; peepholes: Gers, Schmidhuber, 2000",
    .example = "y: {op: lstm, in: x, with: {units: 8}}",
    .inputs = FLOW_TABLE(lstm_inputs),
    .outputs = FLOW_TABLE(lstm_outputs),
    .params = FLOW_TABLE(lstm_params),
    .states = FLOW_TABLE(lstm_states),
    .attrs = FLOW_TABLE(lstm_attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct recurrent_attrs),
    .priv_size = sizeof(struct recurrent_priv),
    .infer = lstm_infer,
    .prepare = recurrent_prepare,
    .describe = recurrent_describe,
};

static const struct flow_operator gru = {
    .size = sizeof gru,
    .flags = FLOW_OP_RANDOM,
    .name = "gru",
    .summary = "gated recurrent unit: gates r z n",
    .equation = "r = s(u_r + v_r)  z = s(u_z + v_z)  n = tanh(u_n + r v_n)  h' = (1 - z) n + z h",
    .reference = "Cho et al., Learning phrase representations using RNN encoder-decoder, 2014; reset after the product, as in cuDNN",
    .example = "y: {op: gru, in: x, with: {units: 8}}",
    .inputs = FLOW_TABLE(plain_inputs),
    .outputs = FLOW_TABLE(plain_outputs),
    .params = FLOW_TABLE(plain_params),
    .states = FLOW_TABLE(plain_states),
    .attrs = FLOW_TABLE(gru_attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct recurrent_attrs),
    .priv_size = sizeof(struct recurrent_priv),
    .infer = gru_infer,
    .prepare = recurrent_prepare,
    .describe = recurrent_describe,
};

static const struct flow_operator *const operators[] = {&rnn, &lstm, &gru};
static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "recurrent",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "recurrent networks: layers, directions, lengths, resets, streaming",
    .reference = "Lipton et al., A critical review of recurrent neural networks for sequence learning, 2015",
    .operators = {3, sizeof operators[0], operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
