/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rnn, lstm and gru share: layers, directions, lengths, resets, states, streaming. For each layer and direction one product gives
 * the inputs of all gates (u) at as many steps as the nearer caches hold, then those steps run in order: v = W_hh h for all rows at once,
 * then the cell (cells_simd.c). Rows are taken in order of falling length, so that a step's product has just the rows that still run.
 */
#include "recurrent.h"

#include "common/shape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int32_t compute_type(int32_t dtype) { return dtype == FLOW_F64 ? FLOW_F64 : FLOW_F32; }

/* ---- Planning ------------------------------------------------------------------------------------------------------ */

static int declare_one(struct flow_infer *infer, const char *stem, const char *suffix, int32_t rank, int64_t rows, int64_t columns,
                       const char *init, int32_t *place) {
    char name[64];
    uint32_t index;
    snprintf(name, sizeof name, "%s%s", stem, suffix);
    int rc = infer->host->param(infer, name, infer->in[0].dtype, rank, (int64_t[]){rows, columns}, init, 0, &index);
    *place = rc == 0 ? (int32_t)index : NO_PARAM;
    return rc;
}

static int64_t take_packed(struct flow_infer *infer, int64_t k, int64_t n) {
    int64_t at = infer->packed;
    infer->packed += (infer->host->gemm_packed_bytes(infer->host, compute_type(infer->in[0].dtype), k, n) + 63) / 64 * 64;
    return at;
}

static int declare_direction(struct flow_infer *infer, const struct recurrent_attrs *a, struct recurrent_priv *p, int64_t layer,
                             int64_t direction) {
    char suffix[32] = "", init[96], bias_init[192];
    if (p->layers * p->directions > 1) snprintf(suffix, sizeof suffix, "_l%lld%s", (long long)layer, direction ? "_reverse" : "");
    int64_t rows = p->gates * p->units, input = layer ? p->units * p->directions : p->input;
    struct direction *d = &p->at[layer * p->directions + direction];
    *d = (struct direction){NO_PARAM, NO_PARAM, NO_PARAM, NO_PARAM, NO_PARAM, -1, -1};
    double bound = 1 / sqrt((double)p->units);
    snprintf(init, sizeof init, "uniform(%.17g, %.17g)", -bound, bound);
    snprintf(bias_init, sizeof bias_init, "%s", init);
    if (p->cell == CELL_LSTM && !isnan(a->forget_bias)) {
        int64_t first = a->coupled ? 0 : p->units;
        snprintf(bias_init, sizeof bias_init, "uniform_except(%.17g, %.17g, %lld, %lld, %.17g)", -bound, bound, (long long)first,
                 (long long)(first + p->units), a->forget_bias);
    }
    bool both = a->bias == BIAS_BOTH || a->bias == BIAS_TRUE, one = a->bias == BIAS_ONE, projected = layer > 0 || a->projection;
    int rc = 0;
    if (projected) rc = declare_one(infer, "weight_ih", suffix, 2, rows, input / a->input_heads, init, &d->weight_ih);
    if (rc == 0) rc = declare_one(infer, "weight_hh", suffix, 2, rows, p->units / a->heads, init, &d->weight_hh);
    if (rc == 0 && both && projected) rc = declare_one(infer, "bias_ih", suffix, 1, rows, 0, bias_init, &d->bias_u);
    if (rc == 0 && both) rc = declare_one(infer, "bias_hh", suffix, 1, rows, 0, init, &d->bias_v);
    if (rc == 0 && one) rc = declare_one(infer, "bias", suffix, 1, rows, 0, bias_init, projected ? &d->bias_u : &d->bias_v);
    if (rc == 0 && a->peephole)
        rc = declare_one(infer, "weight_peephole", suffix, 1, (a->coupled ? 2 : 3) * p->units, 0, init, &d->peephole);
    if (projected && a->input_heads == 1) d->packed_ih = take_packed(infer, input, rows);
    if (a->heads == 1) d->packed_hh = take_packed(infer, p->units, rows);
    return rc;
}

static int check_attrs(struct flow_infer *infer, const struct recurrent_attrs *a, const struct recurrent_priv *p) {
    const struct flow_host *host = infer->host;
    int64_t input = infer->in[0].shape[2];
    if (p->units % a->heads)
        return host->fail_at(infer->owner, "heads", FLOW_ERROR_SHAPE, "heads is %lld, which does not divide units, %lld",
                             (long long)a->heads, (long long)p->units);
    if (p->units % a->input_heads || (a->projection && input % a->input_heads))
        return host->fail_at(infer->owner, "input_heads", FLOW_ERROR_SHAPE,
                             "input_heads is %lld, which must divide units, %lld, and the input's width, %lld", (long long)a->input_heads,
                             (long long)p->units, (long long)input);
    if (a->bias == BIAS_ONE && p->cell == CELL_GRU)
        return host->fail_at(infer->owner, "bias", FLOW_ERROR_USAGE,
                             "bias is 'one': gru needs both, since its reset gate multiplies one of them");
    if (!a->projection && input != p->gates * p->units)
        return host->fail_at(infer->owner, "projection", FLOW_ERROR_SHAPE,
                             "without projection x holds the gates' inputs: its width is %lld, expected %lld", (long long)input,
                             (long long)(p->gates * p->units));
    if (p->layers > LAYERS_MOST)
        return host->fail_at(infer->owner, "layers", FLOW_ERROR_RANGE, "layers is %lld, expected at most %d", (long long)p->layers,
                             LAYERS_MOST);
    if (a->bidirectional && a->reverse)
        return host->fail_at(infer->owner, "reverse", FLOW_ERROR_USAGE,
                             "reverse and bidirectional are both true: bidirectional has both directions");
    return 0;
}

/* [B, H], or with several layers or directions [layers*directions, B, H]. */
static void state_shape(const struct recurrent_priv *p, struct flow_tensor *t) {
    int64_t many = p->layers * p->directions;
    t->rank = many > 1 ? 3 : 2;
    int64_t *shape = t->shape;
    if (many > 1) *shape++ = many;
    shape[0] = p->batch, shape[1] = p->units;
    shape_dense(t);
}

static int check_given_state(struct flow_infer *infer, const struct recurrent_priv *p, int32_t port, const char *name) {
    struct flow_tensor want = {0};
    if (port < 0 || infer->in[port].rank < 0) return 0;
    const struct flow_tensor *t = &infer->in[port];
    state_shape(p, &want);
    bool same = t->rank == want.rank;
    for (int32_t i = 0; same && i < want.rank; i++) same = t->shape[i] == want.shape[i];
    if (same) return 0;
    if (want.rank == 2)
        return infer->host->fail_at(infer->owner, name, FLOW_ERROR_SHAPE, "%s must be [%lld, %lld] (rows, units)", name,
                                    (long long)p->batch, (long long)p->units);
    return infer->host->fail_at(infer->owner, name, FLOW_ERROR_SHAPE, "%s must be [%lld, %lld, %lld] (layers and directions, rows, units)",
                                name, (long long)(p->layers * p->directions), (long long)p->batch, (long long)p->units);
}

static void plan_states(struct flow_infer *infer, const struct recurrent_priv *p, bool kept) {
    for (uint32_t i = 0; i < infer->state_count; i++) {
        struct flow_tensor *in = &infer->state[i];
        in->rank = 3;
        in->shape[0] = kept ? p->layers : 0, in->shape[1] = kept ? p->batch : 0, in->shape[2] = kept ? p->units : 0;
        shape_dense(in);
        infer->state_out[i] = *in;
    }
}

static int plan_stream(struct flow_infer *infer, const struct recurrent_attrs *a, struct recurrent_priv *p) {
    const struct flow_host *host = infer->host;
    if (infer->in_axis[0] == 0) {
        /* Rows come in pieces: each is whole in itself. */
        infer->out_axis[0] = 0;
        infer->out_axis[p->out_h] = p->layers * p->directions > 1;
        if (p->out_c >= 0) infer->out_axis[p->out_c] = p->layers * p->directions > 1;
        plan_states(infer, p, false);
        return 0;
    }
    if (infer->in_axis[0] != 1) return host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "a recurrence streams along its time axis, 1");
    if (a->bidirectional || a->reverse)
        return host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the reversed direction needs the whole sequence");
    if (infer->in[p->port_lengths].rank >= 0)
        return host->fail_at(infer->owner, "lengths", FLOW_ERROR_UNSUPPORTED, "lengths are of whole sequences: they do not stream");
    if (infer->in[p->port_reset].rank >= 0 && infer->in_axis[p->port_reset] != 1)
        return host->fail_at(infer->owner, "reset", FLOW_ERROR_UNSUPPORTED, "reset must stream along with x");
    p->keeps = true;
    plan_states(infer, p, true);
    infer->out_axis[0] = 1;
    return 0;
}

static void set_out(struct flow_infer *infer, int32_t out, int32_t rank, const int64_t *shape, int32_t dtype) {
    struct flow_tensor *t = &infer->out[out];
    t->rank = rank, t->dtype = dtype;
    for (int32_t i = 0; i < rank; i++) t->shape[i] = shape[i];
    shape_dense(t);
}

/* Room for count elements in `total`, which becomes -1, and is refused, once it is more than can be counted. */
static int64_t take(int64_t *total, int64_t count, int64_t size) {
    int64_t at = *total, bytes;
    if (at < 0 || count < 0 || __builtin_mul_overflow(count, size, &bytes) || bytes > INT64_MAX - 63 ||
        __builtin_add_overflow(at, (bytes + 63) / 64 * 64, total))
        *total = -1;
    return at;
}

/* Rows enough for a product to pay, and not many more than what stays in the cache until its steps are run. */
static int64_t chunk_steps(const struct recurrent_priv *p, int64_t least, int64_t bytes) {
    if (p->batch == 0 || p->steps == 0) return p->steps;
    int64_t rows = bytes / (p->gates * p->units * p->size), steps = ((rows > least ? rows : least) + p->batch - 1) / p->batch;
    return steps < p->steps ? steps : p->steps;
}

/* Backward reads x for the gradient of weight_ih, and what forward kept of each step. */
static void plan_backward(struct flow_infer *infer, const struct recurrent_attrs *a, struct recurrent_priv *p) {
    const struct flow_host *host = infer->host;
    int64_t *saved = &infer->saved, *back = &infer->workspace_backward, many = p->layers * p->directions, positions = p->batch * p->steps;
    int64_t gates = p->gates * p->units, wide = p->units * p->directions, widest = p->layers > 1 && wide > p->input ? wide : p->input;
    int32_t dtype = compute_type(infer->in[0].dtype);
    p->kept = p->cell == CELL_GRU ? 4 : p->gates;
    p->keep_gates_each = positions * p->kept * p->units * p->size;
    p->keep_h_each = positions * p->units * p->size, p->keep_y_each = positions * wide * p->size;
    p->keep_gates = take(saved, many, p->keep_gates_each);
    p->keep_h = take(saved, many, p->keep_h_each);
    p->keep_c = take(saved, p->cell == CELL_LSTM ? many : 0, p->keep_h_each);
    p->keep_y = take(saved, p->layers - 1, p->keep_y_each);
    if (a->heads == 1) p->at_pack = take(&infer->workspace, host->gemm_packed_bytes(host, dtype, p->units, gates), 1);
    p->back_chunk = chunk_steps(p, 256, 512 << 10);
    p->at_d_u = take(back, p->back_chunk * p->batch * gates, p->size);
    p->at_d_v = take(back, p->cell == CELL_GRU ? p->back_chunk * p->batch * gates : 0, p->size);
    p->at_d_h = take(back, p->batch * p->units, p->size), p->at_d_c = take(back, p->batch * p->units, p->size);
    p->at_rows = take(back, a->projection || p->layers > 1 ? p->back_chunk * p->batch * widest : 0, p->size);
    p->at_pack_hh = take(back, host->gemm_packed_bytes(host, dtype, gates, p->units), 1);
    p->at_pack_ih = take(back, host->gemm_packed_bytes(host, dtype, gates, widest), 1);
    p->at_d_peephole = take(back, a->peephole ? 3 * p->units : 0, p->size);
    for (int i = 0; i < 2; i++) p->at_d_y[i] = take(back, p->layers > 1 ? positions * wide : 0, p->size);
    p->at_back_order = take(back, p->batch, 8), p->at_back_lengths = take(back, p->batch, 8);
    infer->backward_reads_in = 1u | 1u << p->port_lengths | 1u << p->port_reset;
    infer->backward_reads_out = 0;
}

int recurrent_infer(struct flow_infer *infer, enum recurrent_cell cell) {
    const struct recurrent_attrs *a = infer->attrs;
    struct recurrent_priv *p = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    bool lstm = cell == CELL_LSTM;
    *p = (struct recurrent_priv){.cell = cell,
                                 .gates = lstm               ? (a->coupled ? 3 : 4)
                                          : cell == CELL_GRU ? 3
                                                             : 1,
                                 .units = a->units,
                                 .layers = a->layers,
                                 .directions = a->bidirectional ? 2 : 1,
                                 .batch = x->shape[0],
                                 .steps = x->shape[1],
                                 .input = x->shape[2],
                                 .port_h = 1,
                                 .port_c = lstm ? 2 : -1,
                                 .port_lengths = lstm ? 3 : 2,
                                 .port_reset = lstm ? 4 : 3,
                                 .out_h = 1,
                                 .out_c = lstm ? 2 : -1,
                                 .out_iterations = lstm ? 3 : 2};
    p->size = compute_type(x->dtype) == FLOW_F64 ? 8 : 4;
    int rc = check_attrs(infer, a, p);
    for (int64_t layer = 0; rc == 0 && layer < p->layers; layer++)
        for (int64_t direction = 0; rc == 0 && direction < p->directions; direction++)
            rc = declare_direction(infer, a, p, layer, direction);
    if (rc == 0) rc = check_given_state(infer, p, p->port_h, "h");
    if (rc == 0) rc = check_given_state(infer, p, p->port_c, "c");
    if (rc == 0 && lstm && (infer->in[1].rank < 0) != (infer->in[2].rank < 0))
        rc = infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "h and c are one state: give both, or neither");
    if (rc == 0 && infer->streaming) rc = plan_stream(infer, a, p);
    if (rc < 0) return rc;
    set_out(infer, 0, 3, (int64_t[]){p->batch, p->steps, p->units * p->directions}, x->dtype);
    infer->out[p->out_h].dtype = x->dtype;
    state_shape(p, &infer->out[p->out_h]);
    if (lstm) infer->out[p->out_c].dtype = x->dtype, state_shape(p, &infer->out[p->out_c]);
    set_out(infer, p->out_iterations, 0, NULL, FLOW_I64);
    int64_t gates = p->gates * p->units, positions = p->batch * p->steps;
    p->chunk = chunk_steps(p, 96, 256 << 10);
    int64_t widest = p->layers > 1 && p->units * p->directions > p->input ? p->units * p->directions : p->input;
    p->at_x = take(&infer->workspace, a->projection || p->layers > 1 ? p->chunk * p->batch * widest : 0, p->size);
    p->at_u = take(&infer->workspace, p->chunk * p->batch * gates, p->size);
    p->at_v = take(&infer->workspace, p->batch * gates, p->size);
    p->at_h = take(&infer->workspace, p->batch * p->units, p->size);
    p->at_c = take(&infer->workspace, p->batch * p->units, p->size);
    for (int i = 0; i < 2; i++) p->at_y[i] = take(&infer->workspace, p->layers > 1 ? positions * p->units * p->directions : 0, p->size);
    p->at_order = take(&infer->workspace, p->batch, 8), p->at_lengths = take(&infer->workspace, p->batch, 8);
    infer->packed_key = (uint64_t)(gates * 131 + p->input);
    p->drops = infer->phase == FLOW_PHASE_TRAINING && a->dropout > 0 && p->layers > 1;
    p->at_pack = -1;
    if (infer->differentiated) plan_backward(infer, a, p);
    infer->flops =
        2.0 * (double)positions * (double)gates * (double)p->directions *
        ((double)p->input + (double)p->units / (double)a->heads + (double)(p->layers - 1) * (double)(p->units * p->directions + p->units));
    return 0;
}

int recurrent_prepare(const struct flow_call *call) {
    const struct recurrent_priv *p = call->priv;
    for (int64_t i = 0; i < p->layers * p->directions; i++) {
        const struct direction *d = &p->at[i];
        for (int which = 0; which < 2; which++) {
            int64_t packed = which ? d->packed_hh : d->packed_ih;
            if (packed < 0) continue;
            const struct flow_tensor *w = &call->param[which ? d->weight_hh : d->weight_ih];
            call->host->gemm_pack(call->host, compute_type(w->dtype), w->shape[1], w->shape[0], w->data, w->dtype, w->strides[1],
                                  w->strides[0], (char *)call->packed + packed);
        }
    }
    return 0;
}

/* ---- Running ------------------------------------------------------------------------------------------------------- */

static const void *param_data(const struct flow_call *call, int32_t place) { return place < 0 ? NULL : call->param[place].data; }

static const char *packed_of(const struct flow_call *call, int64_t at) {
    return call->packed && at >= 0 ? (const char *)call->packed + at : NULL;
}

/* weight_hh as the steps read it: packed for all of them if it can be. */
static const char *packed_hh(const struct flow_call *call, const struct direction *at) {
    const struct recurrent_priv *p = call->priv;
    const struct flow_tensor *w = &call->param[at->weight_hh];
    if (call->packed || at->packed_hh < 0 || p->at_pack < 0) return packed_of(call, at->packed_hh);
    char *to = (char *)call->workspace + p->at_pack;
    call->host->gemm_pack(call->host, compute_type(w->dtype), w->shape[1], w->shape[0], w->data, w->dtype, w->strides[1], w->strides[0],
                          to);
    return to;
}

/* C[rows, gates*units] = A[rows, in] blockdiag(W)^T + bias: one product, or one for each gate and head. */
static int block_product(const struct flow_call *call, const char *a, int64_t rows, int64_t a_row, int32_t weight, const char *packed,
                         int64_t heads, const char *bias, char *c) {
    const struct recurrent_priv *p = call->priv;
    const struct flow_tensor *w = &call->param[weight];
    int64_t units = p->units / heads, width = w->shape[1], total = p->gates * p->units;
    struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                .m = rows,
                                .k = width,
                                .a_row = a_row,
                                .a_col = 1,
                                .c_row = total,
                                .dtype = p->size == 8 ? FLOW_F64 : FLOW_F32};
    if (heads == 1) {
        product.n = total, product.a = a, product.c = c, product.bias = bias;
        if (packed) product.packed_b = packed;
        else product.b = w->data, product.b_row = w->strides[1], product.b_col = w->strides[0];
        return call->host->gemm(call, &product);
    }
    product.n = units, product.b_row = w->strides[1], product.b_col = w->strides[0];
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < p->gates * heads; i++) {
        int64_t gate = i / heads, head = i % heads, row = gate * p->units + head * units;
        product.a = a + head * width * p->size, product.c = c + row * p->size;
        product.b = (const char *)w->data + row * w->strides[0] * p->size;
        product.bias = bias ? bias + row * p->size : NULL;
        rc = call->host->gemm(call, &product);
    }
    return rc;
}

/* The input products of steps from .. to, of which the first has `active` rows. */
static int input_products(struct pass *pass, int64_t from, int64_t to, int64_t active) {
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int64_t width = pass->input * p->size, rows = 0;
    const char *x = pass->x + from * width;
    /* One row in order lies as it is needed; else the rows of a step are brought together. */
    if (p->batch == 1 && !pass->reversed) rows = (to < pass->lengths[0] ? to : pass->lengths[0]) - from;
    else {
        char *gathered = (char *)call->workspace + p->at_x;
        x = gathered;
        for (int64_t s = from; s < to; s++) {
            while (active > 0 && pass->lengths[pass->order[active - 1]] <= s) active--;
            for (int64_t i = 0; i < active; i++) {
                int64_t b = pass->order[i];
                memcpy(gathered + rows++ * width, pass->x + (b * p->steps + recurrent_time(pass, b, s)) * width, (size_t)width);
            }
        }
    }
    char *u = (char *)call->workspace + p->at_u;
    pass->u = u;
    return block_product(call, x, rows, pass->input, pass->at->weight_ih, packed_of(call, pass->at->packed_ih), a->input_heads,
                         param_data(call, pass->at->bias_u), u);
}

int recurrent_order(const struct flow_call *call, int64_t *order, int64_t *lengths) {
    const struct recurrent_priv *p = call->priv;
    const struct flow_tensor *given = &call->in[p->port_lengths];
    for (int64_t b = 0; b < p->batch; b++) {
        lengths[b] = given->rank < 0 ? p->steps : ((const int64_t *)given->data)[b];
        order[b] = b;
        if (lengths[b] < 0 || lengths[b] > p->steps)
            return call->host->fail(call->owner, FLOW_ERROR_RANGE, "lengths[%lld] is %lld: expected 0 to the %lld steps there are",
                                    (long long)b, (long long)lengths[b], (long long)p->steps);
    }
    /* A shell sort: no memory of its own, and quick for the batches there are. */
    for (int64_t gap = p->batch / 2; given->rank >= 0 && gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (int64_t i = gap; i < p->batch; i++) {
            int64_t row = order[i], k = i;
            for (;
                 k >= gap && (lengths[order[k - gap]] < lengths[row] || (lengths[order[k - gap]] == lengths[row] && order[k - gap] > row));
                 k -= gap)
                order[k] = order[k - gap];
            order[k] = row;
        }
    return 0;
}

bool recurrent_starts_anew(const struct pass *pass, int64_t b, int64_t t) {
    const struct recurrent_priv *p = pass->call->priv;
    const struct flow_tensor *reset = &pass->call->in[p->port_reset];
    if (reset->rank < 0) return false;
    const uint8_t *flag = (const uint8_t *)reset->data + b * reset->strides[0];
    if (!pass->reversed) return flag[t * reset->strides[1]];
    return t + 1 < pass->lengths[b] && flag[(t + 1) * reset->strides[1]];
}

static int run_steps(struct pass *pass) {
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    const struct recurrent_table *table = ISA_PICK(recurrent_table, call->host->isa);
    void (*cell)(const struct recurrent_step *) = p->size == 8 ? table->cell_f64[p->cell] : table->cell_f32[p->cell];
    bool diagonal = a->heads == p->units && p->units > 1, projected = pass->at->weight_ih >= 0;
    int64_t row = p->units * p->size, gates = p->gates * row, active = p->batch;
    char *v = (char *)call->workspace + p->at_v;
    const char *bias = param_data(call, pass->at->bias_v);
    struct recurrent_step step = {.units = p->units, .coupled = a->coupled, .relu = a->activation == 1};
    step.peephole = param_data(call, pass->at->peephole);
    step.diagonal = diagonal ? param_data(call, pass->at->weight_hh) : NULL;
    for (int64_t s = 0; s < p->steps; s++) {
        while (active > 0 && pass->lengths[pass->order[active - 1]] <= s) active--;
        if (active == 0) break;
        if (projected && s % p->chunk == 0) {
            int rc = input_products(pass, s, s + p->chunk < p->steps ? s + p->chunk : p->steps, active);
            if (rc < 0) return rc;
        }
        if ((s & 1023) == 1023 && call->host->cancelled && call->host->cancelled(call->owner)) return FLOW_ERROR_CANCELLED;
        for (int64_t i = 0; i < active; i++) {
            int64_t b = pass->order[i], t = recurrent_time(pass, b, s);
            if (!recurrent_starts_anew(pass, b, t)) continue;
            memset(pass->h + i * row, 0, (size_t)row);
            memset(pass->c + i * row, 0, (size_t)row);
        }
        if (pass->keep_h) memcpy(pass->keep_h, pass->h, (size_t)(active * row)), pass->keep_h += active * row;
        if (pass->keep_c) memcpy(pass->keep_c, pass->c, (size_t)(active * row)), pass->keep_c += active * row;
        int rc = diagonal ? 0 : block_product(call, pass->h, active, p->units, pass->at->weight_hh, pass->packed_hh, a->heads, bias, v);
        if (rc < 0) return rc;
        for (int64_t i = 0; i < active; i++) {
            int64_t b = pass->order[i], t = recurrent_time(pass, b, s);
            step.u = projected ? pass->u + i * gates : pass->x + (b * p->steps + t) * gates;
            step.v = diagonal ? bias : v + i * gates;
            step.h = pass->h + i * row, step.c = pass->c + i * row;
            step.keep = pass->keep;
            cell(&step);
            if (pass->keep) pass->keep += p->kept * row;
            memcpy(pass->y + (b * p->steps + t) * pass->y_row * p->size, pass->h + i * row, (size_t)row);
        }
        if (projected) pass->u += active * gates;
    }
    return 0;
}

/* The state before the first step of direction `index`: given by a port, carried by the stream, or zero; rows in order. */
static void load_state(const struct pass *pass, int64_t index, int32_t port, int32_t state, char *to) {
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    int64_t row = p->units * p->size, at = index * p->batch * row;
    const char *from = NULL;
    if (port >= 0 && call->in[port].rank >= 0) from = (const char *)call->in[port].data + at;
    if (p->keeps && !call->first) from = (const char *)call->state_in[state].data + at;
    for (int64_t i = 0; i < p->batch; i++) {
        if (from) memcpy(to + i * row, from + pass->order[i] * row, (size_t)row);
        else memset(to + i * row, 0, (size_t)row);
    }
}

static void store_state(const struct pass *pass, int64_t index, int32_t out, int32_t state, const char *from) {
    const struct flow_call *call = pass->call;
    const struct recurrent_priv *p = call->priv;
    int64_t row = p->units * p->size, at = index * p->batch * row;
    for (int64_t i = 0; i < p->batch; i++) {
        if (out >= 0 && call->out[out].rank >= 0 && call->out[out].data)
            memcpy((char *)call->out[out].data + at + pass->order[i] * row, from + i * row, (size_t)row);
        if (p->keeps) memcpy((char *)call->state_out[state].data + at + pass->order[i] * row, from + i * row, (size_t)row);
    }
}

static void clear_padding(const struct pass *pass) {
    const struct recurrent_priv *p = pass->call->priv;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t t = pass->lengths[b]; t < p->steps; t++)
            memset(pass->y + (b * p->steps + t) * pass->y_row * p->size, 0, (size_t)(p->units * p->size));
}

static int run_layer(const struct flow_call *call, int64_t layer, const char *x, char *y, const int64_t *order, const int64_t *lengths) {
    const struct recurrent_priv *p = call->priv;
    const struct recurrent_attrs *a = call->attrs;
    int rc = 0;
    for (int64_t direction = 0; rc == 0 && direction < p->directions; direction++) {
        int64_t index = layer * p->directions + direction;
        struct pass pass = {.call = call,
                            .at = &p->at[index],
                            .x = x,
                            .input = layer ? p->units * p->directions : p->input,
                            .y = y + direction * p->units * p->size,
                            .y_row = p->units * p->directions,
                            .h = (char *)call->workspace + p->at_h,
                            .c = (char *)call->workspace + p->at_c,
                            .order = order,
                            .lengths = lengths,
                            .reversed = a->reverse || direction == 1};
        if (call->saved) {
            pass.keep = (char *)call->saved + p->keep_gates + index * p->keep_gates_each;
            pass.keep_h = (char *)call->saved + p->keep_h + index * p->keep_h_each;
            if (p->cell == CELL_LSTM) pass.keep_c = (char *)call->saved + p->keep_c + index * p->keep_h_each;
        }
        pass.packed_hh = packed_hh(call, pass.at);
        load_state(&pass, index, p->port_h, 0, pass.h);
        load_state(&pass, index, p->port_c, 1, pass.c);
        rc = run_steps(&pass);
        if (rc < 0) return rc;
        clear_padding(&pass);
        store_state(&pass, index, p->out_h, 0, pass.h);
        if (p->cell == CELL_LSTM) store_state(&pass, index, p->out_c, 1, pass.c);
    }
    return rc;
}

int recurrent_forward(const struct flow_call *call) {
    const struct recurrent_priv *p = call->priv;
    char *workspace = call->workspace;
    int64_t *order = (int64_t *)(void *)(workspace + p->at_order), *lengths = (int64_t *)(void *)(workspace + p->at_lengths);
    int rc = recurrent_order(call, order, lengths);
    const char *x = call->in[0].data;
    for (int64_t layer = 0; rc == 0 && layer < p->layers; layer++) {
        bool last = layer + 1 == p->layers;
        char *kept = call->saved ? (char *)call->saved + p->keep_y + layer * p->keep_y_each : workspace + p->at_y[layer % 2];
        char *y = last ? call->out[0].data : kept;
        rc = run_layer(call, layer, x, y, order, lengths);
        if (rc == 0 && !last && p->drops) recurrent_drop(call, layer, y);
        x = y;
    }
    struct flow_tensor *iterations = &call->out[p->out_iterations];
    if (rc == 0 && iterations->rank >= 0 && iterations->data) *(int64_t *)iterations->data = 0;
    return rc;
}

int recurrent_describe(const struct flow_infer *infer, char *text, size_t size) {
    const struct recurrent_priv *p = infer->priv;
    const struct recurrent_attrs *a = infer->attrs;
    return snprintf(text, size, "steps in order; input products of %lld steps at once%s", (long long)p->chunk,
                    a->heads == p->units && p->units > 1 ? "; diagonal recurrence in the cell" : "");
}
