/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of attention against central differences, for every attribute and each way through the tiles; f32 against f64; threads. */
#include "plugins/node.h"

#include <criterion/criterion.h>

#define ATTENTION_FILE BUILD_DIR "/plugins/attention.so"

enum extra { NONE, WITH_MASK, WITH_BIAS };
enum { PORT_MASK = 3, PORT_BIAS = 4 };

struct trial {
    const char *attrs;
    int64_t batch, queries, keys, q_width, k_width, v_width;
    enum extra extra;
    int64_t extra_shape[4];
    int32_t phase;
};

static const struct trial trials[] = {
    {"heads=2 projections=false", 2, 5, 7, 16, 16, 16, NONE, {0}, 0},
    {"heads=2", 2, 5, 5, 16, 16, 16, NONE, {0}, 0},
    {"heads=2 causal=true qkv_bias=true out_bias=true units=64", 2, 70, 70, 32, 32, 32, NONE, {0}, 0},
    {"heads=4 kv_heads=2 causal=true rope=true", 1, 90, 90, 64, 64, 64, NONE, {0}, 0},
    {"heads=4 kv_heads=2 causal=true rope=true rope_style=interleaved projections=false", 1, 66, 130, 32, 16, 24, NONE, {0}, 0},
    {"heads=2 rope=true rope_base=100", 2, 20, 20, 24, 24, 24, NONE, {0}, 0},
    {"heads=1 projections=false causal=true window=10", 1, 150, 150, 40, 40, 40, NONE, {0}, 0},
    {"heads=1 projections=false causal=true window=3 softcap=2 scale=1.5", 1, 150, 100, 20, 20, 9, NONE, {0}, 0},
    {"heads=1 projections=false window=80", 1, 100, 150, 20, 20, 20, NONE, {0}, 0},
    {"heads=1 projections=false scale=-0.7", 1, 20, 30, 20, 20, 20, NONE, {0}, 0},
    {"heads=2 projections=false chunk=20 chunk_overlap=true", 1, 150, 150, 20, 20, 18, NONE, {0}, 0},
    {"heads=2 projections=false chunk=20 causal=true", 1, 100, 150, 20, 20, 18, NONE, {0}, 0},
    {"heads=1 projections=false chunk=7", 1, 150, 90, 20, 20, 18, NONE, {0}, 0},
    {"heads=2 projections=false softcap=1.3", 2, 50, 70, 64, 64, 64, WITH_MASK, {2, 1, 50, 70}, 0},
    {"heads=2 projections=false causal=true", 2, 50, 70, 64, 64, 64, WITH_MASK, {1, 2, 1, 70}, 0},
    {"heads=2 projections=false softcap=1.3", 2, 50, 70, 64, 64, 64, WITH_BIAS, {2, 2, 50, 70}, 0},
    {"heads=2 projections=false", 2, 50, 70, 64, 64, 64, WITH_BIAS, {1, 2, 50, 1}, 0},
    {"heads=4 kv_heads=2 projections=false", 2, 50, 70, 64, 32, 32, WITH_BIAS, {2, 1, 1, 70}, 0},
    {"heads=4 kv_heads=2 causal=true", 2, 50, 70, 64, 32, 32, WITH_BIAS, {1, 1, 50, 70}, 0},
    {"heads=1 projections=false", 1, 50, 70, 300, 300, 270, NONE, {0}, 0},
    {"heads=1 projections=false causal=true", 1, 1, 70, 32, 32, 32, NONE, {0}, 0},
    {"heads=2 causal=true window=40 dropout=0.3 projections=false", 2, 70, 70, 32, 32, 32, NONE, {0}, FLOW_PHASE_TRAINING},
    {"heads=2 dropout=0.3", 2, 3, 70, 32, 32, 32, NONE, {0}, FLOW_PHASE_TRAINING},
    {"heads=2 dropout=0.3", 2, 0, 70, 32, 32, 32, NONE, {0}, FLOW_PHASE_TRAINING},
    {"heads=2 projections=false", 2, 3, 0, 32, 32, 32, NONE, {0}, 0},
};

static void open_trial(struct node *node, const struct trial *trial, int32_t dtype, int32_t isa, int threads) {
    int rc = node_open(node, ATTENTION_FILE, "attention", trial->attrs, isa, threads);
    cr_assert(rc == 0, "%s", node->message);
    node->phase = trial->phase, node->seed = 99, node->run = 3;
    int64_t rows[] = {trial->queries, trial->keys, trial->keys}, widths[] = {trial->q_width, trial->k_width, trial->v_width};
    for (int i = 0; i < 3; i++) {
        node->in[i] = node_tensor(dtype, 3, (int64_t[]){trial->batch, rows[i], widths[i]});
        node_fill(node, &node->in[i], 1);
    }
    if (trial->extra == WITH_MASK) {
        struct flow_tensor *mask = &node->in[PORT_MASK];
        *mask = node_tensor(FLOW_BOOL, 4, trial->extra_shape);
        /* The first query looks at nothing, where it can be told from the others. */
        for (int64_t i = 0; i < node_count(mask); i++)
            ((uint8_t *)mask->data)[i] = node_draw(node) > -0.3 && (mask->shape[2] == 1 || i >= mask->shape[3]);
    }
    if (trial->extra == WITH_BIAS) {
        node->in[PORT_BIAS] = node_tensor(dtype, 4, trial->extra_shape);
        node_fill(node, &node->in[PORT_BIAS], 1);
    }
    rc = node_plan(node);
    cr_assert(rc == 0, "%s: %s", trial->attrs, node->message);
    node_gradients(node);
}

static void differences(int32_t isa) {
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct node node;
        open_trial(&node, &trials[i], FLOW_F64, isa, 1);
        double error = node_check(&node), apart = node_check_masks(&node);
        cr_expect(error < 1e-6, "case %d, isa %d, %s: error %g", (int)i, isa, trials[i].attrs, error);
        cr_expect(apart < 1e-12, "case %d, isa %d, %s: alone and added, %g apart", (int)i, isa, trials[i].attrs, apart);
        node_free(&node);
    }
}

Test(backward_attention, differences_base) { differences(FLOW_ISA_BASE); }
Test(backward_attention, differences_avx2) { differences(FLOW_ISA_AVX2); }
Test(backward_attention, differences_best) { differences(-1); }

static double farthest(const struct flow_tensor *a, const struct flow_tensor *b) {
    double worst = 0;
    for (int64_t i = 0; i < node_count(a); i++) {
        double error = fabs(node_get(a, i) - node_get(b, i)) / (1 + fabs(node_get(b, i)));
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

static void singles(int32_t isa) {
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct node single, twice;
        open_trial(&single, &trials[i], FLOW_F32, isa, 1);
        open_trial(&twice, &trials[i], FLOW_F64, -1, 1);
        cr_assert(node_forward(&single) == 0 && node_backward(&single) == 0);
        cr_assert(node_forward(&twice) == 0 && node_backward(&twice) == 0);
        for (int k = 0; k < NODE_PORTS; k++) {
            double error = farthest(&single.grad_in[k], &twice.grad_in[k]);
            cr_expect(error < 2e-5, "case %d, isa %d, %s: input %d, %g", (int)i, isa, trials[i].attrs, k, error);
        }
        for (int k = 0; k < NODE_PARAMS; k++) {
            double error = farthest(&single.grad_param[k], &twice.grad_param[k]);
            cr_expect(error < 2e-5, "case %d, isa %d, %s: parameter %d, %g", (int)i, isa, trials[i].attrs, k, error);
        }
        node_free(&single), node_free(&twice);
    }
}

Test(backward_attention, singles_base) { singles(FLOW_ISA_BASE); }
Test(backward_attention, singles_best) { singles(-1); }

/* The same bytes for any number of threads. */
Test(backward_attention, threads) {
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct node one, four;
        open_trial(&one, &trials[i], FLOW_F32, -1, 1);
        open_trial(&four, &trials[i], FLOW_F32, -1, 4);
        cr_assert(node_forward(&one) == 0 && node_backward(&one) == 0);
        cr_assert(node_forward(&four) == 0 && node_backward(&four) == 0);
        for (int k = 0; k < NODE_PORTS; k++)
            cr_expect(node_count(&one.grad_in[k]) == 0 ||
                          memcmp(one.grad_in[k].data, four.grad_in[k].data, (size_t)(node_count(&one.grad_in[k]) * 4)) == 0,
                      "case %d, %s: input %d", (int)i, trials[i].attrs, k);
        for (int k = 0; k < NODE_PARAMS; k++)
            cr_expect(node_count(&one.grad_param[k]) == 0 ||
                          memcmp(one.grad_param[k].data, four.grad_param[k].data, (size_t)(node_count(&one.grad_param[k]) * 4)) == 0,
                      "case %d, %s: parameter %d", (int)i, trials[i].attrs, k);
        node_free(&one), node_free(&four);
    }
}

/* Weights are dropped as often as they should be, others grow: the mean of many equal values stays, and two runs differ. */
Test(backward_attention, dropout) {
    struct trial trial = {"heads=1 dropout=0.25 projections=false", 1, 400, 400, 8, 8, 8, NONE, {0}, FLOW_PHASE_TRAINING};
    struct node node;
    open_trial(&node, &trial, FLOW_F32, -1, 1);
    double mean = 0, square = 0;
    for (int64_t i = 0; i < node_count(&node.in[0]); i++) node_put(&node.in[0], i, 0);
    for (int64_t i = 0; i < node_count(&node.in[2]); i++) node_put(&node.in[2], i, 1);
    cr_assert(node_forward(&node) == 0);
    for (int64_t i = 0; i < 400; i++) {
        double y = node_get(&node.out[0], i * 8);
        mean += y / 400, square += (y - 1) * (y - 1) / 400;
    }
    double first = node_get(&node.out[0], 0), variance = 0.25 / 0.75 / 400;
    cr_expect(fabs(mean - 1) < 5 * sqrt(variance / 400), "mean %g", mean);
    cr_expect(fabs(square / variance - 1) < 0.4, "variance %g, expected %g", square, variance);
    node.run++;
    cr_assert(node_forward(&node) == 0);
    cr_expect(node_get(&node.out[0], 0) != first, "two runs are alike");
    node_free(&node);
}

/* No gradient arrives: what is there stays or becomes 0. Nothing wanted: nothing is written. */
Test(backward_attention, missing) {
    struct node node;
    open_trial(&node, &trials[2], FLOW_F64, -1, 1);
    cr_assert(node_forward(&node) == 0);
    node_fill(&node, &node.grad_in[0], 1), node_fill(&node, &node.grad_param[0], 1);
    double kept = node_get(&node.grad_in[0], 5);
    node.grad_out[0].rank = -1, node.accumulate_in = 1;
    cr_assert(node_backward(&node) == 0);
    cr_expect(node_get(&node.grad_in[0], 5) == kept && node_get(&node.grad_param[0], 5) == 0);
    node.grad_out[0].rank = 3;
    for (int i = 0; i < NODE_PORTS; i++) node.grad_in[i].rank = -1;
    for (int i = 0; i < NODE_PARAMS; i++) node.grad_param[i].rank = -1;
    cr_assert(node_backward(&node) == 0);
    cr_expect(node_get(&node.grad_in[0], 5) == kept);
    node_free(&node);
}
