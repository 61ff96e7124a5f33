/* SPDX-License-Identifier: Apache-2.0 */
/* LSTM, GRU, RNN. There: x [T, B, I], gates i o f c and z r h, all directions of a weight in one tensor; here: x [B, T, I], gates i f g o
 * and r z n, a weight for each direction. */
#include "onnx/internal.h"

#include <strings.h>

struct cell {
    int32_t gates;
    int32_t order[4]; /* our gate k is their gate order[k] */
    const char *const *activations;
};

/* Rows of gates of one direction, reordered. `v` is [directions, gates*U, width] or, for a bias, a part of [directions, 2*gates*U]. */
static struct flow_tensor gates_of(struct import *m, const struct value *v, const struct cell *cell, int64_t units, int64_t width,
                                   int64_t offset, bool matrix) {
    int64_t shape[2] = {cell->gates * units, width};
    struct flow_tensor made = tensor_zeros(m, v->dtype, matrix ? 2 : 1, shape);
    size_t row = (size_t)(units * width) * (size_t)flow_type_bytes(v->dtype), start = (size_t)offset * (size_t)flow_type_bytes(v->dtype);
    for (int32_t k = 0; k < cell->gates; k++)
        if (row) memcpy((char *)made.data + (size_t)k * row, (const char *)v->data + start + (size_t)cell->order[k] * row, row);
    return made;
}

static bool all_zero(const struct value *v) {
    for (int64_t i = 0; i < v->count; i++)
        if (value_real(v, i) != 0) return false;
    return true;
}

static bool cell_usual(struct import *m, const struct node *n, const struct cell *cell, int64_t directions) {
    const Onnx__Attribute *a = attr_find(n, "activations");
    size_t count = 0;
    while (cell->activations[count]) count++;
    if (a && a->n_strings != 0 && a->n_strings != count * (size_t)directions)
        return refuse(m, n, "its activations are not those of the usual cell");
    for (size_t i = 0; a && i < a->n_strings; i++) {
        const char *wanted = cell->activations[i % count];
        if (a->strings[i].len != strlen(wanted) || strncasecmp((const char *)a->strings[i].data, wanted, strlen(wanted)) != 0)
            return refuse(m, n, "its activations are not those of the usual cell");
    }
    if (attr_real(n, "clip", 0) != 0) return refuse(m, n, "it clips its gates, which is not covered");
    if (attr_int(n, "input_forget", 0)) return refuse(m, n, "its gates are coupled, which is not covered");
    return true;
}

/* [directions, B, U], or [B, directions, U] where the batch comes first: what ours reads as h or c. NULL: zeros. */
static struct value *state_in(struct import *m, const struct node *n, size_t index, int64_t directions, bool batch_first) {
    static const int64_t swap[3] = {1, 0, 2};
    struct value *v = n->in_count > index ? n->in[index] : NULL;
    if (!v || (v->data && all_zero(v))) return NULL;
    if (batch_first && directions > 1) return make_transpose(m, n, v, swap);
    return directions == 1 ? make_squeeze(m, n, v, batch_first ? 1 : 0) : v;
}

static struct value *state_out(struct import *m, const struct node *n, struct value *v, int64_t directions, bool batch_first) {
    static const int64_t swap[3] = {1, 0, 2};
    if (directions == 1) return make_unsqueeze(m, n, v, batch_first ? 1 : 0);
    return batch_first ? make_transpose(m, n, v, swap) : v;
}

/* [B, T, directions*U] as they want it. */
static struct value *steps_out(struct import *m, const struct node *n, struct value *y, int64_t directions, int64_t units,
                               bool batch_first) {
    static const int64_t time_first[3] = {1, 0, 2}, parts[4] = {1, 2, 0, 3};
    if (directions == 1) return batch_first ? make_unsqueeze(m, n, y, 2) : make_unsqueeze(m, n, make_transpose(m, n, y, time_first), 1);
    struct extent shape[4] = {y->shape[0], y->shape[1], extent_of(directions), extent_of(units)};
    struct made *made = make_node(m, n, "reshape");
    make_in(m, made, NULL, y);
    make_with(m, made, "shape: [0, 0, %lld, %lld]", (long long)directions, (long long)units);
    struct value *v = make_out(m, made, NULL, y->dtype, 4, shape);
    return batch_first ? v : make_transpose(m, n, v, parts);
}

static void give_weights(struct import *m, const struct node *n, struct made *made, const struct cell *cell, int64_t units, int64_t width,
                         int64_t directions, bool one_bias) {
    const struct value *w = n->in[1], *r = n->in[2], *b = n->in_count > 3 ? n->in[3] : NULL, *p = n->in_count > 7 ? n->in[7] : NULL;
    int64_t rows = cell->gates * units;
    static const int32_t peephole[3] = {0, 2, 1}; /* theirs i o f, ours i f o */
    for (int64_t d = 0; d < directions; d++) {
        const char *suffix = directions == 1 ? "" : d == 0 ? "_l0" : "_l0_reverse";
        make_weight(m, made, store_format(&m->store, "weight_ih%s", suffix), gates_of(m, w, cell, units, width, d * rows * width, true));
        make_weight(m, made, store_format(&m->store, "weight_hh%s", suffix), gates_of(m, r, cell, units, units, d * rows * units, true));
        if (b) {
            struct flow_tensor in = gates_of(m, b, cell, units, 1, d * 2 * rows, false),
                               hidden = gates_of(m, b, cell, units, 1, (d * 2 + 1) * rows, false);
            if (one_bias) {
                for (int64_t i = 0; i < rows; i++)
                    value_store(b->dtype, in.data, i, flow_tensor_real(&in, i) + flow_tensor_real(&hidden, i), 0);
                make_weight(m, made, store_format(&m->store, "bias%s", suffix), in);
            } else {
                make_weight(m, made, store_format(&m->store, "bias_ih%s", suffix), in);
                make_weight(m, made, store_format(&m->store, "bias_hh%s", suffix), hidden);
            }
        }
        if (p) {
            struct cell order = {3, {peephole[0], peephole[1], peephole[2], 0}, NULL};
            make_weight(m, made, store_format(&m->store, "weight_peephole%s", suffix),
                        gates_of(m, p, &order, units, 1, d * 3 * units, false));
        }
    }
}

static bool map_cell(struct import *m, struct node *n) {
    static const char *const of_lstm[] = {"Sigmoid", "Tanh", "Tanh", NULL}, *const of_gru[] = {"Sigmoid", "Tanh", NULL},
                             *const of_rnn[] = {"Tanh", NULL};
    static const struct cell cells[] = {{4, {0, 2, 3, 1}, of_lstm}, {3, {1, 0, 2, 0}, of_gru}, {1, {0, 0, 0, 0}, of_rnn}};
    const struct cell *cell = &cells[n->op[0] == 'L' ? 0 : n->op[0] == 'G' ? 1 : 2];
    const char *direction = attr_text(m, n, "direction", "forward");
    int64_t units, directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1, rows;
    bool batch_first = attr_int(n, "layout", 0) != 0, lstm = cell->gates == 4, gru = cell->gates == 3;
    struct value *x = n->in[0];
    const struct value *w = n->in[1], *r = n->in[2], *b = n->in_count > 3 ? n->in[3] : NULL, *p = lstm && n->in_count > 7 ? n->in[7] : NULL;
    if (!w->data || !r->data || (b && !b->data) || (p && !p->data)) return refuse(m, n, "its weights are computed when the model runs");
    if (x->rank != 3 || w->rank != 3 || r->rank != 3) return refuse(m, n, "its input or weights do not have 3 axes");
    units = attr_int(n, "hidden_size", r->shape[2].plus);
    int64_t width = w->shape[2].plus;
    if (units < 1 || units != r->shape[2].plus || __builtin_mul_overflow(units, cell->gates, &rows) ||
        !extent_is(&w->shape[0], directions) || !extent_is(&r->shape[0], directions) || w->shape[1].plus != rows ||
        r->shape[1].plus != rows || (b && b->count != 2 * directions * rows) || (p && p->count != 3 * directions * units))
        return refuse(m, n, "its weights do not have the shapes that hidden_size and direction ask for");
    if (!cell_usual(m, n, cell, directions)) return false;
    if (gru && !attr_int(n, "linear_before_reset", 0))
        return refuse(m, n, "linear_before_reset: 0 (the reset gate before the product) is not covered");
    static const int64_t swap[3] = {1, 0, 2};
    if (!batch_first) x = make_transpose(m, n, x, swap);
    struct value *h = state_in(m, n, 5, directions, batch_first), *c = lstm ? state_in(m, n, 6, directions, batch_first) : NULL;
    struct value *lengths = n->in_count > 4 ? n->in[4] : NULL;
    if (lengths && lengths->dtype != FLOW_I64) lengths = make_cast(m, n, lengths, FLOW_I64);
    struct made *made = make_node(m, n, n->word);
    make_in(m, made, "x", x);
    if (h) make_in(m, made, "h", h);
    if (c) make_in(m, made, "c", c);
    if (lengths) make_in(m, made, "lengths", lengths);
    make_with(m, made, "units: %lld", (long long)units);
    if (directions == 2) make_with(m, made, "bidirectional: true");
    if (strcmp(direction, "reverse") == 0) make_with(m, made, "reverse: true");
    make_with(m, made, "bias: %s", !b ? "none" : gru ? "both" : "one");
    if (p) make_with(m, made, "peephole: true");
    give_weights(m, n, made, cell, units, width, directions, !gru);
    struct extent steps[3] = {x->shape[0], x->shape[1], extent_of(directions * units)};
    struct extent last[3] = {extent_of(directions), x->shape[0], extent_of(units)};
    const struct extent *state = directions == 1 ? last + 1 : last;
    int32_t state_rank = directions == 1 ? 2 : 3;
    struct value *y = make_out(m, made, NULL, x->dtype, 3, steps);
    give(n, 0, steps_out(m, n, y, directions, units, batch_first));
    if (n->out_count > 1) give(n, 1, state_out(m, n, make_out(m, made, "h", x->dtype, state_rank, state), directions, batch_first));
    if (n->out_count > 2 && lstm) give(n, 2, state_out(m, n, make_out(m, made, "c", x->dtype, state_rank, state), directions, batch_first));
    return true;
}

const struct map map_recurrent[] = {
    {"LSTM", map_cell, "lstm", 3},
    {"GRU", map_cell, "gru", 3},
    {"RNN", map_cell, "rnn", 3},
    {NULL, NULL, NULL, 0},
};
