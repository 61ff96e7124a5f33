/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of rnn, lstm and gru against central differences: layers, directions, lengths, resets, states, blocks, dropout. */
#include "plugins/node.h"

#include <criterion/criterion.h>

#define RECURRENT_FILE BUILD_DIR "/plugins/recurrent.so"

struct trial {
    const char *attrs;
    int64_t batch, steps, input, units, many; /* many: layers times directions */
    bool states, lengths, resets;
    int32_t phase;
};

/* For all three; input 0: that of the gates themselves. */
static const struct trial trials[] = {
    {"units=5", 2, 7, 4, 5, 1, false, false, false, 0},
    {"units=20", 3, 40, 8, 20, 1, true, true, false, 0},
    {"units=6 reverse=true", 3, 9, 4, 6, 1, true, true, true, 0},
    {"units=6 bidirectional=true layers=2", 3, 9, 4, 6, 4, true, true, true, 0},
    {"units=6 layers=3 bias=none dropout=0.4", 3, 9, 4, 6, 3, true, false, false, FLOW_PHASE_TRAINING},
    {"units=6 heads=2 input_heads=2", 3, 9, 4, 6, 1, true, false, true, 0},
    {"units=6 heads=6", 3, 9, 4, 6, 1, true, true, false, 0},
    {"units=1", 3, 9, 4, 1, 1, true, false, false, 0},
    {"units=6 projection=false", 3, 9, 0, 6, 1, true, true, false, 0},
    {"units=6 projection=false bidirectional=true layers=2", 3, 9, 0, 6, 4, true, true, false, 0},
    {"units=16", 2, 0, 4, 16, 1, true, false, false, 0},
    {"units=16", 0, 3, 4, 16, 1, true, false, false, 0},
    {"units=16", 7, 300, 3, 16, 1, true, true, true, 0},
};
static const struct trial rnn_trials[] = {{"units=6 activation=relu bias=one", 3, 9, 4, 6, 1, true, false, false, 0}};
static const struct trial lstm_trials[] = {
    {"units=6 bias=one", 3, 9, 4, 6, 1, false, false, false, 0},
    {"units=6 peephole=true", 3, 9, 4, 6, 1, true, true, false, 0},
    {"units=6 peephole=true coupled=true", 3, 9, 4, 6, 1, true, false, true, 0},
    {"units=6 coupled=true heads=2", 3, 9, 4, 6, 1, true, false, true, 0},
    {"units=6 coupled=true heads=6 peephole=true bidirectional=true", 3, 9, 4, 6, 2, true, true, true, 0},
};

static void open_trial(struct node *node, const char *op, const struct trial *trial, int32_t dtype, int32_t isa) {
    bool lstm = strcmp(op, "lstm") == 0;
    int64_t gates = lstm ? 4 : strcmp(op, "gru") == 0 ? 3 : 1, batch = trial->batch, units = trial->units;
    int rc = node_open(node, RECURRENT_FILE, op, trial->attrs, isa, 1), lengths = lstm ? 3 : 2;
    cr_assert(rc == 0, "%s", node->message);
    node->phase = trial->phase, node->seed = 5, node->run = 2;
    node->in[0] = node_tensor(dtype, 3, (int64_t[]){batch, trial->steps, trial->input ? trial->input : gates * units});
    node_fill(node, &node->in[0], 1);
    for (int i = 1; trial->states && i < lengths; i++) {
        int64_t shape[] = {trial->many, batch, units};
        node->in[i] = trial->many > 1 ? node_tensor(dtype, 3, shape) : node_tensor(dtype, 2, shape + 1);
        node_fill(node, &node->in[i], 1);
    }
    if (trial->lengths) {
        node->in[lengths] = node_tensor(FLOW_I64, 1, &batch);
        for (int64_t b = 0; b < batch; b++) ((int64_t *)node->in[lengths].data)[b] = b == 0 ? 0 : (b * 7 + 3) % (trial->steps + 1);
    }
    if (trial->resets) {
        node->in[lengths + 1] = node_tensor(FLOW_BOOL, 2, (int64_t[]){batch, trial->steps});
        for (int64_t i = 0; i < batch * trial->steps; i++) ((uint8_t *)node->in[lengths + 1].data)[i] = node_draw(node) > 0.6;
    }
    rc = node_plan(node);
    cr_assert(rc == 0, "%s %s: %s", op, trial->attrs, node->message);
    node_gradients(node);
}

static void differences(const char *op, const struct trial *at, size_t count, int32_t isa) {
    for (size_t i = 0; i < count; i++) {
        struct node node;
        open_trial(&node, op, &at[i], FLOW_F64, isa);
        double error = node_check(&node), apart = node_check_masks(&node);
        cr_expect(error < 1e-6, "%s %s, isa %d: error %g", op, at[i].attrs, isa, error);
        cr_expect(apart < 1e-12, "%s %s, isa %d: alone and added, %g apart", op, at[i].attrs, isa, apart);
        node_free(&node);
    }
}

static void all(int32_t isa) {
    static const char *const ops[] = {"rnn", "lstm", "gru"};
    for (int k = 0; k < 3; k++) differences(ops[k], trials, sizeof trials / sizeof *trials, isa);
    differences("rnn", rnn_trials, sizeof rnn_trials / sizeof *rnn_trials, isa);
    differences("lstm", lstm_trials, sizeof lstm_trials / sizeof *lstm_trials, isa);
}

Test(backward_recurrent, differences_base) { all(FLOW_ISA_BASE); }
Test(backward_recurrent, differences_avx2) { all(FLOW_ISA_AVX2); }
Test(backward_recurrent, differences_best) { all(-1); }

/* f32 against f64, over enough steps for several chunks. */
Test(backward_recurrent, singles) {
    static const char *const ops[] = {"rnn", "lstm", "gru"};
    static const struct trial trial = {"units=48", 16, 200, 40, 48, 1, true, true, false, 0};
    for (int k = 0; k < 3; k++) {
        struct node single, twice;
        open_trial(&single, ops[k], &trial, FLOW_F32, -1);
        open_trial(&twice, ops[k], &trial, FLOW_F64, -1);
        cr_assert(node_forward(&single) == 0 && node_backward(&single) == 0);
        cr_assert(node_forward(&twice) == 0 && node_backward(&twice) == 0);
        for (int i = 0; i < NODE_PARAMS; i++)
            for (int64_t e = 0; e < node_count(&single.grad_param[i]); e++) {
                double x = node_get(&single.grad_param[i], e), y = node_get(&twice.grad_param[i], e);
                cr_assert(fabs(x - y) < 1e-4 * (1 + fabs(y)), "%s: parameter %d, %g and %g", ops[k], i, x, y);
            }
        for (int64_t e = 0; e < node_count(&single.grad_in[0]); e++) {
            double x = node_get(&single.grad_in[0], e), y = node_get(&twice.grad_in[0], e);
            cr_assert(fabs(x - y) < 2e-5 * (1 + fabs(y)), "%s: x, %g and %g", ops[k], x, y);
        }
        node_free(&single), node_free(&twice);
    }
}

/* Gradients that do not arrive count as zero: y alone, then the states alone, add up to both. */
Test(backward_recurrent, missing) {
    static const struct trial trial = {"units=6 layers=2", 3, 9, 4, 6, 2, true, true, false, 0};
    struct node node;
    double sum[3 * 9 * 4] = {0};
    open_trial(&node, "lstm", &trial, FLOW_F64, -1);
    cr_assert(node_forward(&node) == 0);
    for (int part = 0; part < 3; part++) {
        for (int i = 0; i < 3; i++) node.grad_out[i].rank = (part == 0) == (i == 0) || part == 2 ? 3 : -1;
        cr_assert(node_backward(&node) == 0);
        for (int64_t i = 0; i < 3 * 9 * 4; i++) {
            double x = node_get(&node.grad_in[0], i);
            if (part < 2) sum[i] += x;
            else cr_assert(fabs(x - sum[i]) < 1e-12, "element %d: %g, expected %g", (int)i, x, sum[i]);
        }
    }
    node_free(&node);
}
