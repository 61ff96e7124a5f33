/* SPDX-License-Identifier: Apache-2.0 */
/* One attention node: what its planning (attention.c), forward (attention_run.c) and backward (attention_backward.c) share. */
#ifndef PLUGINS_ATTENTION_NODE_H
#define PLUGINS_ATTENTION_NODE_H

#include "attention.h"

struct attention_attrs {
    int64_t heads, kv_heads, window, chunk, units;
    double rope_base, scale, softcap, dropout;
    bool causal, chunk_overlap, rope, projections, qkv_bias, out_bias;
    int32_t rope_style;
};

enum { Q, K, V, MASK, BIAS };
enum { K_CACHE, V_CACHE, K_RING, V_RING, POSITION };

/* A weight and its bias: places among the parameters (UINT32_MAX: none) and in the packed block. */
struct projection {
    uint32_t weight, bias;
    int64_t in, out, packed;
};

struct attention_priv {
    int64_t batch, queries, keys, heads, kv_heads, width, value_width;
    int64_t ring; /* rows of the ring; 0: none */
    struct projection q, k, v, o;
    int64_t at_q, at_k, at_v, at_mixed, at_turn; /* offsets in the workspace; -1: the input itself */
    int64_t at_tiles;                            /* of all keys transposed (attention_block.tiles); -1: each block does its own */
    int64_t size;                                /* of an element */
    /* Offsets in what forward leaves for backward: turned and projected q, k, v, their mix before wo (-1: those of the inputs and the
     * output), and the logarithm of the sum of exponentials [B, heads, Tq]. */
    int64_t keep_q, keep_k, keep_v, keep_mixed, keep_log_sum;
    /* Offsets in backward's workspace; -1: the gradient is made where it is wanted. */
    int64_t at_d_q, at_d_k, at_d_v, at_d_mixed, at_delta, at_back_turn;
    bool drops; /* weights, in training */
    bool rows;  /* streaming along T */
};

/* Rows somewhere: [batch][row] with given distances, in elements. */
struct rows {
    char *data;
    int64_t batch, row;
};

static inline struct rows attention_rows_of(const struct flow_tensor *t) {
    struct rows rows = {(char *)t->data, t->strides[0], t->strides[1]};
    return rows;
}
/* Rows [batch, rows, width] side by side. */
static inline struct rows attention_rows_at(void *block, int64_t offset, int64_t rows, int64_t width) {
    struct rows made = {(char *)block + offset, rows * width, width};
    return made;
}

int attention_forward(const struct flow_call *call);
int attention_backward(const struct flow_call *call);

/* cos and sin of position * base^(-2 i / width), [rows, width/2] each, into `turns` (back: of the opposite turn); turning by them. */
void attention_fill_turns(const struct flow_call *call, void *turns, int64_t first, int64_t count, bool back);
void attention_turn(const struct flow_call *call, const void *turns, struct rows x, int64_t count, int64_t heads);

/* Element distance along axis `axis` of [B, H, Tq, Tk] in a tensor that broadcasts to it. */
int64_t attention_stride(const struct flow_tensor *t, int32_t axis);
/* Of row `row` of the scores [B, heads, Tq] on; none outside training. */
struct attention_dropout attention_dropout_of(const struct flow_call *call, int64_t row);

#endif
