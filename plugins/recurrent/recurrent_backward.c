/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward of rnn, lstm and gru, through time from the last step: d_u and d_v, the gradients of the two products, from the gates' values
 * that forward kept, then d_h of the step before = W_hh^T d_v. After some steps, while their rows are near, the products that do not wait
 * for each other: dW_hh += d_v^T h, dW_ih += d_u^T x, biases, d_x = d_u W_ih. Rows are those of forward, in its order.
 */
#include "recurrent.h"

#include <flow/random.h>
#include <string.h>

static const struct recurrent_table *table_of(const struct flow_call *call) { return ISA_PICK(recurrent_table, call->host->isa); }

static void add(const struct flow_call *call, void *to, const void *from, int64_t count) {
    const struct recurrent_priv *p = call->priv;
    if (p->size == 8) table_of(call)->add_f64(to, from, count);
    else table_of(call)->add_f32(to, from, count);
}

/* sums[c] += sum_r x[r][c] y[r][c] */
static void sum_rows(const struct flow_call *call, const void *x, int64_t x_row, const void *y, int64_t y_row, int64_t rows,
                     int64_t columns, void *sums) {
    const struct recurrent_priv *p = call->priv;
    struct recurrent_sums job = {x, y, x_row, y_row, rows, columns, sums};
    if (p->size == 8) table_of(call)->sums_f64(&job);
    else table_of(call)->sums_f32(&job);
}

static void *grad_param(const struct flow_call *call, int32_t place) {
    return place >= 0 && call->grad_param[place].rank >= 0 ? call->grad_param[place].data : NULL;
}

/* C = A B + beta C; C dense or c_row apart. */
static int multiply(const struct flow_call *call, struct flow_gemm product) {
    const struct recurrent_priv *p = call->priv;
    product.dtype = p->size == 8 ? FLOW_F64 : FLOW_F32;
    return call->host->gemm(call, &product);
}

/* dW[gates*units, in/heads] += d^T x, block by block: row g*units + j of W with the columns of x that j's head sees. */
static int weight_back(const struct flow_call *call, const char *d, const char *x, int64_t x_row, int64_t rows, int64_t width,
                       int64_t heads, char *d_w) {
    const struct recurrent_priv *p = call->priv;
    int64_t gates = p->gates * p->units, units = heads == 1 ? gates : p->units / heads, blocks = heads == 1 ? 1 : p->gates * heads;
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < blocks; i++)
        rc = multiply(call, (struct flow_gemm){.size = sizeof(struct flow_gemm),
                                               .m = units,
                                               .n = width,
                                               .k = rows,
                                               .a = d + i * units * p->size,
                                               .a_row = 1,
                                               .a_col = gates,
                                               .b = x + i % heads * width * p->size,
                                               .b_row = x_row,
                                               .b_col = 1,
                                               .c = d_w + i * units * width * p->size,
                                               .c_row = width,
                                               .beta = 1});
    return rc;
}

/* C[rows, heads*width] = d blockdiag(W) + beta C; `packed`: W packed as [gates*units, width], where heads is 1. */
static int product_back(const struct flow_call *call, const char *d, int64_t rows, const struct flow_tensor *w, const char *packed,
                        int64_t heads, char *c, bool more) {
    const struct recurrent_priv *p = call->priv;
    int64_t gates = p->gates * p->units, width = w->shape[1], units = p->units / heads;
    if (heads == 1)
        return multiply(call, (struct flow_gemm){.size = sizeof(struct flow_gemm),
                                                 .m = rows,
                                                 .n = width,
                                                 .k = gates,
                                                 .a = d,
                                                 .a_row = gates,
                                                 .a_col = 1,
                                                 .packed_b = packed,
                                                 .c = c,
                                                 .c_row = width,
                                                 .beta = more ? 1 : 0});
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < p->gates * heads; i++)
        rc = multiply(call, (struct flow_gemm){.size = sizeof(struct flow_gemm),
                                               .m = rows,
                                               .n = width,
                                               .k = units,
                                               .a = d + i * units * p->size,
                                               .a_row = gates,
                                               .a_col = 1,
                                               .b = (const char *)w->data + i * units * w->strides[0] * p->size,
                                               .b_row = w->strides[0],
                                               .b_col = w->strides[1],
                                               .c = c + i % heads * width * p->size,
                                               .c_row = heads * width,
                                               .beta = more || i >= heads ? 1 : 0});
    return rc;
}

/* ---- One layer and direction ---------------------------------------------------------------------------------------- */

struct back {
    struct pass pass; /* order, lengths, x and places; the rest is forward's */
    int64_t index;
    const char *d_y;                    /* [B, T, y_row], this direction's columns; NULL */
    char *d_x;                          /* [B, T, input]; NULL */
    bool add_x;                         /* add to what is there */
    const char *keep, *keep_h, *keep_c; /* of row 0 */
    char *d_h, *d_c, *d_u, *d_v;
    const char *packed_ih, *packed_hh;
    bool wants_h; /* somebody needs what is before the first step: else the first step's d_h is not made */
};

/* The gradient of step s, rows 0 .. active, whose kept values begin at `row`; d_u and d_v go to `at` of the chunk. */
static int step_back(const struct back *back, int64_t s, int64_t active, int64_t row, int64_t at) {
    const struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    const struct recurrent_table *table = table_of(call);
    int64_t bytes = p->units * p->size;
    bool diagonal = a->heads == p->units && p->units > 1, gru = p->cell == CELL_GRU;
    const struct flow_tensor *w = &call->param[pass->at->weight_hh];
    if (back->d_y)
        for (int64_t i = 0; i < active; i++) {
            int64_t b = pass->order[i], t = recurrent_time(pass, b, s);
            add(call, back->d_h + i * bytes, back->d_y + (b * p->steps + t) * pass->y_row * p->size, p->units);
        }
    struct recurrent_back step = {
        .keep = back->keep + row * p->kept * bytes,
        .h = back->keep_h + row * bytes,
        .c = back->keep_c ? back->keep_c + row * bytes : NULL,
        .d_h = back->d_h,
        .d_c = back->d_c,
        .d_u = back->d_u + at * p->gates * bytes,
        .d_v = back->d_v + at * p->gates * bytes,
        .diagonal = diagonal ? w->data : NULL,
        .peephole = pass->at->peephole >= 0 ? call->param[pass->at->peephole].data : NULL,
        .d_peephole = grad_param(call, pass->at->peephole) ? (char *)call->workspace + p->at_d_peephole : NULL,
        .rows = active,
        .units = p->units,
        .coupled = a->coupled,
        .relu = a->activation == 1,
    };
    if (p->size == 8) table->back_f64[p->cell](&step);
    else table->back_f32[p->cell](&step);
    int rc =
        diagonal || (s == 0 && !back->wants_h) ? 0 : product_back(call, step.d_v, active, w, back->packed_hh, a->heads, back->d_h, gru);
    for (int64_t i = 0; rc == 0 && i < active; i++) {
        int64_t b = pass->order[i];
        if (!recurrent_starts_anew(pass, b, recurrent_time(pass, b, s))) continue;
        memset(back->d_h + i * bytes, 0, (size_t)bytes);
        memset(back->d_c + i * bytes, 0, (size_t)bytes);
    }
    return rc;
}

/* Rows of the chunk's steps of x [B, T, width], to `rows` or (into) from it, in forward's order. */
static void move_rows(const struct back *back, int64_t from, int64_t to, int64_t active, char *rows, int64_t width, bool into) {
    const struct pass *pass = &back->pass;
    const struct recurrent_priv *p = pass->call->priv;
    int64_t bytes = width * p->size;
    for (int64_t s = from; s < to; s++) {
        while (active > 0 && pass->lengths[pass->order[active - 1]] <= s) active--;
        for (int64_t i = 0; i < active; i++, rows += bytes) {
            int64_t b = pass->order[i], at = (b * p->steps + recurrent_time(pass, b, s)) * bytes;
            if (!into) memcpy(rows, pass->x + at, (size_t)bytes);
            else if (back->add_x) add(pass->call, back->d_x + at, rows, width);
            else memcpy(back->d_x + at, rows, (size_t)bytes);
        }
    }
}

static int chunk_recurrent(const struct back *back, int64_t row, int64_t rows) {
    const struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int64_t units = p->units, gates = p->gates * units;
    const char *h = back->keep_h + row * units * p->size;
    char *d_w = grad_param(call, pass->at->weight_hh), *d_bias = grad_param(call, pass->at->bias_v);
    char *d_peephole = grad_param(call, pass->at->peephole);
    if (d_bias) sum_rows(call, back->d_v, gates, NULL, 0, rows, gates, d_bias);
    if (d_peephole) {
        char *part = (char *)call->workspace + p->at_d_peephole;
        int64_t count = (a->coupled ? 2 : 3) * units;
        add(call, d_peephole, part, count);
        memset(part, 0, (size_t)(count * p->size));
    }
    if (!d_w) return 0;
    if (a->heads < units || units == 1) return weight_back(call, back->d_v, h, units, rows, units / a->heads, a->heads, d_w);
    for (int64_t g = 0; g < p->gates; g++)
        sum_rows(call, back->d_v + g * units * p->size, gates, h, units, rows, units, d_w + g * units * p->size);
    return 0;
}

static int chunk_input(const struct back *back, int64_t from, int64_t to, int64_t active, int64_t rows) {
    const struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int64_t gates = p->gates * p->units;
    char *gathered = (char *)call->workspace + p->at_rows;
    int rc = 0;
    if (pass->at->weight_ih < 0) {
        if (back->d_x) move_rows(back, from, to, active, back->d_u, gates, true);
        return 0;
    }
    char *d_w = grad_param(call, pass->at->weight_ih), *d_bias = grad_param(call, pass->at->bias_u);
    if (d_bias) sum_rows(call, back->d_u, gates, NULL, 0, rows, gates, d_bias);
    if (d_w) {
        move_rows(back, from, to, active, gathered, pass->input, false);
        rc = weight_back(call, back->d_u, gathered, pass->input, rows, pass->input / a->input_heads, a->input_heads, d_w);
    }
    if (rc < 0 || !back->d_x) return rc;
    rc = product_back(call, back->d_u, rows, &call->param[pass->at->weight_ih], back->packed_ih, a->input_heads, gathered, false);
    if (rc == 0) move_rows(back, from, to, active, gathered, pass->input, true);
    return rc;
}

/* All steps, from the last on. */
static int steps_back(const struct back *back) {
    const struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    int64_t row = 0, active = 0;
    for (int64_t b = 0; b < p->batch; b++) row += pass->lengths[b];
    for (int64_t to = p->steps; to > 0;) {
        int64_t from = (to - 1) / p->back_chunk * p->back_chunk, end = row, rows = 0, s = to;
        /* Where the chunk's rows begin: they are put down as forward had them. */
        for (int64_t b = 0; b < p->batch; b++) {
            int64_t length = pass->lengths[b] < to ? pass->lengths[b] : to;
            rows += length > from ? length - from : 0;
        }
        for (; s > from; s--) {
            while (active < p->batch && pass->lengths[pass->order[active]] >= s) active++;
            row -= active;
            int rc = active == 0 ? 0 : step_back(back, s - 1, active, row, row - (end - rows));
            if (rc < 0) return rc;
        }
        if (call->host->cancelled && call->host->cancelled(call->owner)) return FLOW_ERROR_CANCELLED;
        int rc = rows == 0 ? 0 : chunk_recurrent(back, row, rows);
        if (rc == 0 && rows > 0) rc = chunk_input(back, from, to, active, rows);
        if (rc < 0) return rc;
        to = from;
    }
    return 0;
}

/* ---- States and layers ---------------------------------------------------------------------------------------------- */

/* d_h or d_c behind the last step: what arrives at the state that forward returned. */
static void load_final(const struct back *back, int32_t out, char *to) {
    const struct pass *pass = &back->pass;
    const struct recurrent_priv *p = pass->call->priv;
    int64_t bytes = p->units * p->size;
    const struct flow_tensor *from = out >= 0 ? &pass->call->grad_out[out] : NULL;
    for (int64_t i = 0; i < p->batch; i++) {
        if (from && from->rank >= 0)
            memcpy(to + i * bytes, (const char *)from->data + (back->index * p->batch + pass->order[i]) * bytes, (size_t)bytes);
        else memset(to + i * bytes, 0, (size_t)bytes);
    }
}

static void store_initial(const struct back *back, int32_t port, const char *from) {
    const struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    int64_t bytes = p->units * p->size;
    if (port < 0 || call->grad_in[port].rank < 0) return;
    for (int64_t i = 0; i < p->batch; i++) {
        char *to = (char *)call->grad_in[port].data + (back->index * p->batch + pass->order[i]) * bytes;
        if (FLOW_ACCUMULATES(call->accumulate_in, port)) add(call, to, from + i * bytes, p->units);
        else memcpy(to, from + i * bytes, (size_t)bytes);
    }
}

static void pack(const struct flow_call *call, int32_t place, char *to) {
    const struct recurrent_priv *p = call->priv;
    const struct flow_tensor *w = &call->param[place];
    call->host->gemm_pack(call->host, p->size == 8 ? FLOW_F64 : FLOW_F32, w->shape[0], w->shape[1], w->data, w->dtype, w->strides[0],
                          w->strides[1], to);
}

static int direction_back(struct back *back) {
    struct pass *pass = &back->pass;
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    char *workspace = call->workspace, *saved = call->saved;
    back->keep = saved + p->keep_gates + back->index * p->keep_gates_each;
    back->keep_h = saved + p->keep_h + back->index * p->keep_h_each;
    back->keep_c = p->cell == CELL_LSTM ? saved + p->keep_c + back->index * p->keep_h_each : NULL;
    back->d_h = workspace + p->at_d_h, back->d_c = workspace + p->at_d_c;
    back->d_u = workspace + p->at_d_u, back->d_v = p->cell == CELL_GRU ? workspace + p->at_d_v : back->d_u;
    if (a->heads == 1) pack(call, pass->at->weight_hh, workspace + p->at_pack_hh);
    if (pass->at->weight_ih >= 0 && a->input_heads == 1 && back->d_x) pack(call, pass->at->weight_ih, workspace + p->at_pack_ih);
    back->packed_hh = workspace + p->at_pack_hh, back->packed_ih = workspace + p->at_pack_ih;
    back->wants_h = call->grad_in[p->port_h].rank >= 0;
    if (a->peephole) memset(workspace + p->at_d_peephole, 0, (size_t)(3 * p->units * p->size));
    load_final(back, p->out_h, back->d_h);
    load_final(back, p->out_c, back->d_c);
    int rc = steps_back(back);
    if (rc < 0) return rc;
    store_initial(back, p->port_h, back->d_h);
    store_initial(back, p->port_c, back->d_c);
    return 0;
}

static void clear(const struct flow_tensor *t, int64_t size) {
    if (t->rank < 0) return;
    for (int32_t i = 0; i < t->rank; i++) size *= t->shape[i];
    if (size > 0) memset(t->data, 0, (size_t)size);
}

static bool wants_params(const struct flow_call *call, int64_t layer) {
    const struct recurrent_priv *p = call->priv;
    for (int64_t i = 0; i < p->directions * (layer + 1); i++) {
        const struct direction *d = &p->at[i];
        const int32_t places[] = {d->weight_ih, d->weight_hh, d->bias_u, d->bias_v, d->peephole};
        for (int k = 0; k < 5; k++)
            if (grad_param(call, places[k])) return true;
    }
    return false;
}

static int layer_back(const struct flow_call *call, int64_t layer, const char *d_y, char *d_x, bool add_x, const int64_t *order,
                      const int64_t *lengths) {
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int64_t wide = p->units * p->directions;
    int rc = 0;
    for (int64_t direction = 0; rc == 0 && direction < p->directions; direction++) {
        int64_t index = layer * p->directions + direction;
        struct back back = {
            .pass = {.call = call,
                     .at = &p->at[index],
                     .x = layer ? (const char *)call->saved + p->keep_y + (layer - 1) * p->keep_y_each : call->in[0].data,
                     .input = layer ? wide : p->input,
                     .y_row = wide,
                     .order = order,
                     .lengths = lengths,
                     .reversed = a->reverse || direction == 1},
            .index = index,
            .d_y = d_y ? d_y + direction * p->units * p->size : NULL,
            .d_x = d_x,
            .add_x = add_x || direction > 0,
        };
        rc = direction_back(&back);
    }
    return rc;
}

int recurrent_backward(const struct flow_call *call) {
    const struct recurrent_priv *p = call->priv;
    char *workspace = call->workspace;
    int64_t *order = (int64_t *)(void *)(workspace + p->at_back_order), *lengths = (int64_t *)(void *)(workspace + p->at_back_lengths);
    int rc = recurrent_order(call, order, lengths);
    for (uint32_t i = 0; i < call->param_count; i++)
        if (!FLOW_ACCUMULATES(call->accumulate_param, i)) clear(&call->grad_param[i], p->size);
    /* Steps beyond a row's length get nothing; elsewhere the first direction writes. */
    bool padded = call->in[p->port_lengths].rank >= 0, add_x = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (padded && !add_x) clear(&call->grad_in[0], p->size);
    const char *d_y = call->grad_out[0].rank >= 0 ? call->grad_out[0].data : NULL;
    for (int64_t layer = p->layers; rc == 0 && layer-- > 0;) {
        char *d_x = layer ? workspace + p->at_d_y[layer % 2] : call->grad_in[0].rank >= 0 ? call->grad_in[0].data : NULL;
        bool states = call->grad_in[p->port_h].rank >= 0 || (p->port_c >= 0 && call->grad_in[p->port_c].rank >= 0);
        if (layer && call->grad_in[0].rank < 0 && !states && !wants_params(call, layer - 1)) d_x = NULL;
        rc = layer_back(call, layer, d_y, d_x, layer == 0 && add_x, order, lengths);
        if (layer && d_x && p->drops) recurrent_drop(call, layer - 1, d_x);
        d_y = d_x;
        if (layer && !d_x) break;
    }
    return rc;
}

/* ---- Dropout -------------------------------------------------------------------------------------------------------- */

/* Four elements of [layers, B, T, units*directions] take the words of one block. */
void recurrent_drop(const struct flow_call *call, int64_t layer, void *y) {
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int64_t count = p->batch * p->steps * p->units * p->directions, blocks = (count + 3) / 4;
    uint64_t least = (uint64_t)(a->dropout * 0x1p32);
    double scale = 1 / (1 - a->dropout);
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t words[4];
        flow_philox(call->seed, call->run, (uint64_t)(layer * blocks + block), words);
        for (int64_t i = 4 * block, k = 0; k < 4 && i < count; i++, k++) {
            if (p->size == 8) ((double *)y)[i] *= words[k] < least ? 0 : scale;
            else ((float *)y)[i] *= words[k] < least ? 0 : (float)scale;
        }
    }
}
