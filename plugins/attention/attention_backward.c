/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention's backward: through wo, then each head of keys with the queries that share it (attention_backward_simd.c), then turns back and
 * through wq, wk, wv. Between the projections nothing but the logarithm of each row's sum of exponentials was kept: weights are made again.
 */
#include "attention_node.h"

#include <math.h>
#include <string.h>

/* C = A B + beta C; A's element (i, j) at a[i*a_row + j*a_col]; B's rows are b_row apart, C is dense. */
static int multiply(const struct flow_call *call, int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col,
                    const void *b, int64_t b_row, int64_t b_col, void *c, bool add) {
    const struct attention_priv *p = call->priv;
    struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                .m = m,
                                .n = n,
                                .k = k,
                                .a = a,
                                .a_row = a_row,
                                .a_col = a_col,
                                .b = b,
                                .b_row = b_row,
                                .b_col = b_col,
                                .c = c,
                                .c_row = n,
                                .beta = add ? 1 : 0,
                                .dtype = p->size == 8 ? FLOW_F64 : FLOW_F32};
    return call->host->gemm(call, &product);
}

/* Gradients of y = x W^T + b of `rows` rows: of W and b, and into d_x (NULL: not wanted). */
static int project_back(const struct flow_call *call, const struct projection *projection, int64_t rows, const void *x, const void *d_y,
                        void *d_x, bool add) {
    const struct attention_priv *p = call->priv;
    const struct attention_backward_table *table = ISA_PICK(attention_backward_table, call->host->isa);
    const struct flow_tensor *w = &call->param[projection->weight], *d_w = &call->grad_param[projection->weight];
    int64_t in = projection->in, out = projection->out;
    int rc = 0;
    if (d_w->rank >= 0)
        rc = multiply(call, out, in, rows, d_y, 1, out, x, in, 1, d_w->data, FLOW_ACCUMULATES(call->accumulate_param, projection->weight));
    if (rc == 0 && projection->bias != UINT32_MAX && call->grad_param[projection->bias].rank >= 0) {
        void *sums = call->grad_param[projection->bias].data;
        if (!FLOW_ACCUMULATES(call->accumulate_param, projection->bias)) memset(sums, 0, (size_t)(out * p->size));
        if (p->size == 8) table->sums_f64(d_y, rows, out, sums);
        else table->sums_f32(d_y, rows, out, sums);
    }
    if (rc == 0 && d_x) rc = multiply(call, rows, in, out, d_y, out, 1, w->data, w->strides[0], w->strides[1], d_x, add);
    return rc;
}

static bool wants_param(const struct flow_call *call, const struct projection *projection) {
    return call->grad_param[projection->weight].rank >= 0 ||
           (projection->bias != UINT32_MAX && call->grad_param[projection->bias].rank >= 0);
}

static int64_t bytes_of(const struct flow_tensor *t, int64_t size) {
    for (int32_t i = 0; i < t->rank; i++) size *= t->shape[i];
    return size;
}

/* ---- Between the projections --------------------------------------------------------------------------------------- */

/* What is read, and where gradients go (data NULL: not wanted). */
struct heads {
    const struct flow_call *call;
    struct rows q, k, v, out, d_out, d_q, d_k, d_v;
    bool clear_q, clear_k, clear_v; /* gradients begin at 0 */
    int64_t batches, heads;         /* of which one task takes all: what shares an element of the bias is added in one order */
};

static char *at_row(const struct rows *rows, int64_t b, int64_t column, int64_t size) {
    return rows->data ? rows->data + (b * rows->batch + column) * size : NULL;
}

static const struct flow_tensor *given(const struct flow_call *call, uint32_t port) {
    return call->in_count > port && call->in[port].rank >= 0 ? &call->in[port] : NULL;
}

static void place(const struct flow_call *call, struct attention_gradient *g, int64_t b, int64_t h) {
    const struct attention_priv *p = call->priv;
    const struct flow_tensor *mask = given(call, MASK), *bias = given(call, BIAS);
    if (mask) {
        g->mask_head = attention_stride(mask, 1), g->mask_row = attention_stride(mask, 2), g->mask_column = attention_stride(mask, 3);
        g->mask = (const uint8_t *)mask->data + b * attention_stride(mask, 0) + h * g->mask_head;
    }
    if (!bias) return;
    g->bias_head = attention_stride(bias, 1), g->bias_row = attention_stride(bias, 2), g->bias_column = attention_stride(bias, 3);
    g->bias = (const char *)bias->data + (b * attention_stride(bias, 0) + h * g->bias_head) * p->size;
    const struct flow_tensor *to = &call->grad_in[BIAS];
    if (to->rank < 0) return;
    g->d_bias_head = attention_stride(to, 1), g->d_bias_row = attention_stride(to, 2), g->d_bias_column = attention_stride(to, 3);
    g->d_bias = (char *)to->data + (b * attention_stride(to, 0) + h * g->d_bias_head) * p->size;
}

/* One head of keys and the heads of queries that share it, of row b of the batch. */
static void one_head(const struct heads *heads, int64_t b, int64_t kv) {
    const struct flow_call *call = heads->call;
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    const struct attention_backward_table *table = ISA_PICK(attention_backward_table, call->host->isa);
    int64_t shared = p->heads / p->kv_heads, h = kv * shared, size = p->size, row = (b * p->heads + h) * p->queries;
    int64_t q_at = h * p->width, k_at = kv * p->width, v_at = kv * p->value_width, out_at = h * p->value_width;
    struct attention_gradient g = {
        .q = at_row(&heads->q, b, q_at, size),
        .k = at_row(&heads->k, b, k_at, size),
        .v = at_row(&heads->v, b, v_at, size),
        .out = at_row(&heads->out, b, out_at, size),
        .d_out = at_row(&heads->d_out, b, out_at, size),
        .d_q = at_row(&heads->d_q, b, q_at, size),
        .d_k = at_row(&heads->d_k, b, k_at, size),
        .d_v = at_row(&heads->d_v, b, v_at, size),
        .clear_q = heads->clear_q,
        .clear_k = heads->clear_k,
        .clear_v = heads->clear_v,
        .q_row = heads->q.row,
        .k_row = heads->k.row,
        .v_row = heads->v.row,
        .out_row = heads->out.row,
        .d_out_row = heads->d_out.row,
        .d_q_row = heads->d_q.row,
        .d_k_row = heads->d_k.row,
        .d_v_row = heads->d_v.row,
        .shared = shared,
        .queries = p->queries,
        .keys = p->keys,
        .position = p->keys - p->queries,
        .width = p->width,
        .value_width = p->value_width,
        .reach = {a->causal, a->window, a->chunk, a->chunk_overlap},
        .scale = isnan(a->scale) ? 1 / sqrt((double)p->width) : a->scale,
        .softcap = a->softcap,
        .log_sum = (const char *)call->saved + p->keep_log_sum + row * size,
        .delta = (char *)call->workspace + p->at_delta + row * size,
        .dropout = attention_dropout_of(call, row),
    };
    place(call, &g, b, h);
    if (size == 8) table->gradient_f64(&g);
    else table->gradient_f32(&g);
}

static void some_heads(void *context, int64_t begin, int64_t end) {
    const struct heads *heads = context;
    const struct attention_priv *p = heads->call->priv;
    int64_t across = p->kv_heads / heads->heads;
    for (int64_t task = begin; task < end; task++)
        for (int64_t b = 0; b < heads->batches; b++)
            for (int64_t h = 0; h < heads->heads; h++)
                one_head(heads, task / across * heads->batches + b, task % across * heads->heads + h);
}

static void mix_back(struct heads *heads) {
    const struct flow_call *call = heads->call;
    const struct attention_priv *p = call->priv;
    heads->batches = heads->heads = 1;
    if (given(call, BIAS) && call->grad_in[BIAS].rank >= 0) {
        struct flow_tensor *bias = &call->grad_in[BIAS];
        if (!FLOW_ACCUMULATES(call->accumulate_in, BIAS)) memset(bias->data, 0, (size_t)bytes_of(bias, p->size));
        /* The whole of what is shared, heads within a row of the batch. */
        if (attention_stride(bias, 1) == 0) heads->heads = p->kv_heads;
        if (attention_stride(bias, 0) == 0) heads->batches = p->batch;
    }
    if (p->batch == 0) return;
    int64_t tasks = p->batch / heads->batches * (p->kv_heads / heads->heads);
    int64_t pairs = p->queries * p->keys * (p->heads / p->kv_heads) * (p->width + p->value_width);
    call->host->parallel_for(call, tasks, pairs > 0 ? 1 + 1000000 / pairs : tasks, some_heads, heads);
}

/* ---- The whole ------------------------------------------------------------------------------------------------------ */

/* No gradient arrives, or nothing is there to have one: all are 0. */
static int nothing_back(const struct flow_call *call) {
    const struct attention_priv *p = call->priv;
    for (uint32_t i = 0; i < call->in_count; i++)
        if (call->grad_in[i].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_in, i))
            memset(call->grad_in[i].data, 0, (size_t)bytes_of(&call->grad_in[i], p->size));
    for (uint32_t i = 0; i < call->param_count; i++)
        if (call->grad_param[i].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_param, i))
            memset(call->grad_param[i].data, 0, (size_t)bytes_of(&call->grad_param[i], p->size));
    return 0;
}

/* Where the gradient of what the heads read goes: the workspace where it is turned or projected yet, else the input's own. */
static struct rows gradient_rows(const struct flow_call *call, uint32_t port, int64_t at, int64_t rows, int64_t width, bool wanted,
                                 bool *clear) {
    const struct flow_tensor *to = &call->grad_in[port];
    *clear = at >= 0 || !FLOW_ACCUMULATES(call->accumulate_in, port);
    if (!wanted) return (struct rows){NULL, rows * width, width};
    return attention_rows_at(at >= 0 ? call->workspace : to->data, at >= 0 ? at : 0, rows, width);
}

static struct rows kept_rows(const struct flow_call *call, int64_t keep, int64_t rows, int64_t width, const struct flow_tensor *t) {
    return keep >= 0 ? attention_rows_at(call->saved, keep, rows, width) : attention_rows_of(t);
}

static void turn_back(const struct flow_call *call, const struct heads *heads) {
    const struct attention_priv *p = call->priv;
    void *turns = (char *)call->workspace + p->at_back_turn;
    int64_t q_first = p->keys > p->queries ? p->keys - p->queries : 0;
    attention_fill_turns(call, turns, q_first, p->queries, true);
    if (heads->d_q.data) attention_turn(call, turns, heads->d_q, p->queries, p->heads);
    if (q_first != 0 || p->keys != p->queries) attention_fill_turns(call, turns, 0, p->keys, true);
    if (heads->d_k.data) attention_turn(call, turns, heads->d_k, p->keys, p->kv_heads);
}

/* From the workspace to the input's gradient where nothing but a turn lay between them. */
static void give(const struct flow_call *call, uint32_t port, const void *from) {
    const struct attention_priv *p = call->priv;
    const struct flow_tensor *to = &call->grad_in[port];
    if (to->rank < 0) return;
    int64_t bytes = bytes_of(to, p->size), count = bytes / p->size;
    if (!FLOW_ACCUMULATES(call->accumulate_in, port)) memcpy(to->data, from, (size_t)bytes);
    else if (p->size == 8)
        for (int64_t i = 0; i < count; i++) ((double *)to->data)[i] += ((const double *)from)[i];
    else
        for (int64_t i = 0; i < count; i++) ((float *)to->data)[i] += ((const float *)from)[i];
}

static int inputs_back(const struct flow_call *call, const struct heads *heads) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    const struct projection *all[] = {&p->q, &p->k, &p->v};
    const struct rows *from[] = {&heads->d_q, &heads->d_k, &heads->d_v};
    int rc = 0;
    if (a->rope) turn_back(call, heads);
    for (uint32_t port = Q; rc == 0 && port <= V; port++) {
        const struct flow_tensor *to = &call->grad_in[port];
        if (a->projections) {
            if (from[port]->data)
                rc = project_back(call, all[port], p->batch * (port == Q ? p->queries : p->keys), call->in[port].data, from[port]->data,
                                  to->rank >= 0 ? to->data : NULL, FLOW_ACCUMULATES(call->accumulate_in, port));
        } else if (a->rope && port != V) {
            if (from[port]->data) give(call, port, from[port]->data);
        }
    }
    return rc;
}

int attention_backward(const struct flow_call *call) {
    const struct attention_attrs *a = call->attrs;
    const struct attention_priv *p = call->priv;
    if (call->grad_out[0].rank < 0 || p->batch == 0 || (p->queries == 0 && p->keys == 0)) return nothing_back(call);
    int64_t q_width = p->heads * p->width, k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width;
    int64_t mixed = p->heads * p->value_width;
    bool wants[3];
    for (uint32_t port = Q; port <= V; port++) wants[port] = call->grad_in[port].rank >= 0;
    if (a->projections) {
        wants[Q] |= wants_param(call, &p->q), wants[K] |= wants_param(call, &p->k), wants[V] |= wants_param(call, &p->v);
    }
    struct heads heads = {.call = call};
    heads.q = kept_rows(call, p->keep_q, p->queries, q_width, &call->in[Q]);
    heads.k = kept_rows(call, p->keep_k, p->keys, k_width, &call->in[K]);
    heads.v = kept_rows(call, p->keep_v, p->keys, v_width, &call->in[V]);
    heads.out = kept_rows(call, p->keep_mixed, p->queries, mixed, &call->out[0]);
    heads.d_q = gradient_rows(call, Q, p->at_d_q, p->queries, q_width, wants[Q], &heads.clear_q);
    heads.d_k = gradient_rows(call, K, p->at_d_k, p->keys, k_width, wants[K], &heads.clear_k);
    heads.d_v = gradient_rows(call, V, p->at_d_v, p->keys, v_width, wants[V], &heads.clear_v);
    heads.d_out = attention_rows_of(&call->grad_out[0]);
    bool biased = given(call, BIAS) && call->grad_in[BIAS].rank >= 0, between = wants[Q] || wants[K] || wants[V] || biased;
    int rc = 0;
    if (a->projections) {
        char *d_mixed = (char *)call->workspace + p->at_d_mixed;
        rc = project_back(call, &p->o, p->batch * p->queries, heads.out.data, call->grad_out[0].data, between ? d_mixed : NULL, false);
        heads.d_out = attention_rows_at(call->workspace, p->at_d_mixed, p->queries, mixed);
    }
    if (rc < 0 || !between) return rc;
    mix_back(&heads);
    return inputs_back(call, &heads);
}
