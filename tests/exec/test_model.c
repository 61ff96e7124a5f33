/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters: where their values come from, and what initialisers give. */
#include "base/half.h"
#include "exec/chain.h"
#include "exec/context.h"

#include <math.h>

static struct flow_tensor made(void *data, int64_t rows, int64_t columns, const char *init, uint64_t seed) {
    struct flow_tensor t = chain_tensor(data, FLOW_F32, 2, rows, columns, 0);
    char why[256] = "";
    cr_assert_eq(tensor_initialise(&memory_default, &t, init, seed, why, sizeof why), 0, "%s", why);
    return t;
}

static void moments(const float *x, int64_t n, double *mean, double *deviation, double *most) {
    double sum = 0, square = 0;
    *most = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i], square += (double)x[i] * (double)x[i];
        if (fabs((double)x[i]) > *most) *most = fabs((double)x[i]);
    }
    *mean = sum / (double)n, *deviation = sqrt(square / (double)n - *mean * *mean);
}

Test(model, initialisers_have_their_moments) {
    enum { ROWS = 200, COLUMNS = 100 }; /* [out, in] */
    static float x[ROWS * COLUMNS];
    static const struct {
        const char *init;
        double mean, deviation, most;
    } cases[] = {{"zeros", 0, 0, 0},
                 {"ones", 1, 0, 1},
                 {"constant(0.5 - 2)", -1.5, 0, 1.5},
                 {"uniform(-1, 3)", 1, 1.154700538, 3},
                 {"normal(2, 0.5)", 2, 0.5, 5},
                 {"truncated_normal(0.02)", 0, 0.02 * 0.879626, 0.04},
                 {"xavier_uniform", 0, 0.0816496581, 0.1414213563},
                 {"xavier_normal", 0, 0.0816496581, 1},
                 {"kaiming_uniform(sqrt(5))", 0, 0.0577350269, 0.1},
                 {"kaiming_normal", 0, 0.1414213562, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double mean, deviation, most;
        made(x, ROWS, COLUMNS, cases[c].init, 42);
        moments(x, ROWS * COLUMNS, &mean, &deviation, &most);
        /* 20000 draws: the mean is off by deviation / 141, the deviation by about half of that */
        cr_assert_float_eq(mean, cases[c].mean, 4 * cases[c].deviation / 141 + 1e-6, "%s: mean %g", cases[c].init, mean);
        cr_assert_float_eq(deviation, cases[c].deviation, 4 * cases[c].deviation / 141 + 1e-3 * (cases[c].mean != 0), "%s: deviation %g",
                           cases[c].init, deviation);
        cr_assert_leq(most, cases[c].most * (1 + 1e-6), "%s: %g", cases[c].init, most);
    }
}

Test(model, orthogonal_rows_or_columns) {
    static float x[60 * 60];
    for (int wide = 0; wide < 2; wide++) {
        int rows = wide ? 20 : 50, columns = wide ? 50 : 20, vectors = 20;
        made(x, rows, columns, "orthogonal(2)", 7);
        for (int a = 0; a < vectors; a++)
            for (int b = 0; b < vectors; b++) {
                double dot = 0;
                for (int i = 0; i < 50; i++)
                    dot +=
                        (double)(wide ? x[a * columns + i] : x[i * columns + a]) * (double)(wide ? x[b * columns + i] : x[i * columns + b]);
                cr_assert_float_eq(dot, a == b ? 4 : 0, 1e-5);
            }
    }
    made(x, 3, 3, "identity", 0);
    chain_floats(&(struct flow_tensor){.data = x, .rank = 2, .shape = {3, 3}}, (float[]){1, 0, 0, 0, 1, 0, 0, 0, 1}, 9);
}

Test(model, initialisers_that_are_wrong_say_so) {
    float x[4];
    struct flow_tensor t = chain_tensor(x, FLOW_F32, 1, 4, 0, 0);
    char why[256];
    cr_assert_lt(tensor_initialise(&memory_default, &t, "unifrom(0, 1)", 0, why, sizeof why), 0);
    cr_assert_str_eq(why, "there is no initialiser 'unifrom'");
    cr_assert_lt(tensor_initialise(&memory_default, &t, "uniform(0)", 0, why, sizeof why), 0);
    cr_assert_lt(tensor_initialise(&memory_default, &t, "uniform(0, 1", 0, why, sizeof why), 0);
    cr_assert_lt(tensor_initialise(&memory_default, &t, "orthogonal", 0, why, sizeof why), 0);
    cr_assert_str_eq(why, "initialiser 'orthogonal' is for matrices, this has 1 axes");
    t.dtype = FLOW_I32;
    cr_assert_lt(tensor_initialise(&memory_default, &t, "normal(0, 1)", 0, why, sizeof why), 0);
}

static const char linear[] =
    "flow: 1\nseed: %d\ninputs: {x: {shape: [B, 2]}}\nnodes: {%s: {op: linear, in: x, with: {units: 2}}}\noutputs: {y: %s}\n";

static void first_weight(int seed, const char *node, float weight[4]) {
    char text[256], name[32];
    struct chain c;
    float x[2] = {1, 1};
    struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, 1, 2, 0);
    snprintf(text, sizeof text, linear, seed, node, node);
    snprintf(name, sizeof name, "%s.weight", node);
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, model_fill(c.model, c.instances[0], &c.report, NULL));
    memcpy(weight, model_get(c.model, name)->data, 4 * sizeof(float));
    chain_close(&c);
}

Test(model, a_value_depends_on_seed_and_name_alone) {
    float a[4], again[4], other[4], seeded[4];
    first_weight(1, "a", a), first_weight(1, "a", again), first_weight(1, "b", other), first_weight(2, "a", seeded);
    cr_assert_eq(memcmp(a, again, sizeof a), 0);
    cr_assert_neq(memcmp(a, other, sizeof a), 0);
    cr_assert_neq(memcmp(a, seeded, sizeof a), 0);
}

Test(model, given_values_are_converted_found_by_other_names_and_final) {
    char text[256];
    struct chain c;
    snprintf(text, sizeof text, linear, 1, "y", "y");
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    uint16_t halves[4] = {half_f32_to_bf16(1), half_f32_to_bf16(2), half_f32_to_bf16(3), half_f32_to_bf16(4)};
    double bias[2] = {0.5, -0.5};
    float x[2] = {1, 10};
    struct flow_tensor weight = chain_tensor(halves, FLOW_BF16, 2, 2, 2, 0), b = chain_tensor(bias, FLOW_F64, 1, 2, 0, 0);
    struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, 1, 2, 0);
    const struct flow_tensor *out;
    cr_assert_eq(model_set(c.model, "y.weight_l0", &weight, true), 0);
    cr_assert_eq(model_set(c.model, "y.bias", &b, false), 0);
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, chain_run(&c, &in, &out));
    chain_floats(&out[0], (float[]){21.5f, 42.5f}, 2);
    cr_assert_eq(model_set(c.model, "y.bias", &b, false), FLOW_ERROR_USAGE, "it is in use");
    chain_close(&c);
}

/* A transposed tensor, and one that does not lie where its type could be read. */
Test(model, given_values_may_lie_anywhere) {
    char text[256], raw[4 * sizeof(float) + 1];
    struct chain c;
    snprintf(text, sizeof text, linear, 1, "y", "y");
    for (int strided = 0; strided < 2; strided++) {
        CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
        float w[4] = {1, 2, 3, 4}, bias[2] = {0}, x[2] = {1, 10};
        memcpy(raw + 1, w, sizeof w);
        struct flow_tensor weight = chain_tensor(strided ? (void *)w : raw + 1, FLOW_F32, 2, 2, 2, 0),
                           b = chain_tensor(bias, FLOW_F32, 1, 2, 0, 0);
        if (strided) weight.strides[0] = 1, weight.strides[1] = 2;
        struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, 1, 2, 0);
        const struct flow_tensor *out;
        cr_assert_eq(model_set(c.model, "y.weight", &weight, true), 0);
        cr_assert_eq(model_set(c.model, "y.bias", &b, true), 0);
        CHAIN_OK(&c, chain_plan(&c, &in, false));
        CHAIN_OK(&c, chain_run(&c, &in, &out));
        chain_floats(&out[0], strided ? (float[]){31, 42} : (float[]){21, 43}, 2);
        chain_close(&c);
    }
}
