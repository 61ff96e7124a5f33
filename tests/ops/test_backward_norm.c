/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of normalisations against central differences: of rows, of groups, of batches in training and with running statistics. */
#include "harness/backward.h"

#include <criterion/criterion.h>

static void check(const char *node, int32_t rank, const int64_t *shape, int32_t phase) {
    struct trial t = {.inputs = 0};
    uint64_t state = 61;
    backward_input(&t, "x", &state, -1, 2, rank, shape);
    snprintf(t.node, sizeof t.node, "%s", node);
    if (strstr(node, "batch_norm")) backward_param_drawn(&t, "running_var", &state, 0.5, 2, 1, shape + 1);
    backward_check(&t, (struct backward_options){.phase = phase, .tolerance = 1e-6, .tolerance_f32 = 1e-4});
    trial_free(&t);
}

static const int64_t shapes[][4] = {{2, 6, 1, 5}, {3, 4, 2, 3}, {1, 6, 1, 37}, {2, 2, 1, 70}};
enum { SHAPES = 4 };

Test(backward_norm, layer) {
    static const char *const nodes[] = {"{op: layer_norm, in: x}", "{op: layer_norm, in: x, with: {affine: false, eps: 0.1}}",
                                        "{op: layer_norm, in: x, with: {axes: 2}}", "{op: layer_norm, in: x, with: {axes: 4}}"};
    for (int s = 0; s < SHAPES; s++)
        for (int k = 0; k < 4; k++) check(nodes[k], 4, shapes[s], FLOW_PHASE_TRAINING);
    check(nodes[0], 2, (int64_t[]){130, 3}, FLOW_PHASE_TRAINING); /* two blocks of rows */
    check(nodes[0], 2, (int64_t[]){1, 1100}, FLOW_PHASE_TRAINING);
    check(nodes[0], 2, (int64_t[]){0, 4}, FLOW_PHASE_TRAINING);
    check(nodes[0], 2, (int64_t[]){4, 0}, FLOW_PHASE_TRAINING);
    check(nodes[0], 2, (int64_t[]){4, 9}, FLOW_PHASE_INFERENCE);
}

Test(backward_norm, scales_of_rows) {
    static const char *const nodes[] = {"{op: rms_norm, in: x}",
                                        "{op: rms_norm, in: x, with: {affine: false, eps: 0.5}}",
                                        "{op: scale_norm, in: x}",
                                        "{op: scale_norm, in: x, with: {eps: 100}}",
                                        "{op: l2_normalize, in: x}",
                                        "{op: l2_normalize, in: x, with: {axis: 1}}",
                                        "{op: l2_normalize, in: x, with: {axis: 0, eps: 100}}"};
    for (int k = 0; k < 7; k++) {
        for (int s = 0; s < SHAPES; s++) check(nodes[k], 4, shapes[s], FLOW_PHASE_TRAINING);
        check(nodes[k], 2, (int64_t[]){130, 3}, FLOW_PHASE_TRAINING);
        check(nodes[k], 2, (int64_t[]){0, 4}, FLOW_PHASE_TRAINING);
    }
    check(nodes[5], 3, (int64_t[]){1, 3, 300}, FLOW_PHASE_TRAINING);
}

Test(backward_norm, groups) {
    static const char *const nodes[] = {"{op: group_norm, in: x, with: {groups: 1}}", "{op: group_norm, in: x, with: {groups: 2}}",
                                        "{op: group_norm, in: x, with: {groups: 2, affine: false}}", "{op: instance_norm, in: x}",
                                        "{op: instance_norm, in: x, with: {eps: 0.1, affine: false}}"};
    for (int k = 0; k < 5; k++) {
        for (int s = 0; s < SHAPES; s++) check(nodes[k], 4, shapes[s], FLOW_PHASE_TRAINING);
        check(nodes[k], 3, (int64_t[]){0, 4, 5}, FLOW_PHASE_TRAINING);
        if (k < 3) check(nodes[k], 2, (int64_t[]){3, 8}, FLOW_PHASE_TRAINING);
    }
}

Test(backward_norm, batches) {
    static const char *const nodes[] = {"{op: batch_norm, in: x}", "{op: batch_norm, in: x, with: {affine: false, eps: 0.1}}"};
    for (int k = 0; k < 2; k++)
        for (int32_t phase = FLOW_PHASE_INFERENCE; phase <= FLOW_PHASE_TRAINING; phase++) {
            for (int s = 0; s < SHAPES; s++) check(nodes[k], 4, shapes[s], phase);
            check(nodes[k], 2, (int64_t[]){130, 3}, phase);
            check(nodes[k], 2, (int64_t[]){4, 20}, phase);
            check(nodes[k], 3, (int64_t[]){0, 4, 5}, phase);
        }
}

/* A forward that is run once more for backward leaves the running statistics as they are; the first moves them. */
Test(backward_norm, statistics_move_once) {
    struct trial t = {.inputs = 0};
    struct backward_options options = {.phase = FLOW_PHASE_TRAINING};
    struct backward b;
    uint64_t state = 62;
    backward_input(&t, "x", &state, 1, 3, 3, (int64_t[]){3, 2, 4});
    backward_param_drawn(&t, "running_mean", &state, 0, 1, 1, (int64_t[]){2});
    backward_param_drawn(&t, "running_var", &state, 1, 2, 1, (int64_t[]){2});
    snprintf(t.node, sizeof t.node, "{op: batch_norm, in: x, with: {momentum: 0.25}}");
    backward_open(&b, &t, &options, FLOW_F64, -1, 1, false);
    for (int again = 1; again >= 0; again--) {
        struct flow_call call = backward_call(&b);
        call.workspace = b.workspace, call.again = again;
        cr_assert(b.kernel->forward(&call) == 0);
        for (int c = 0; c < 2; c++) {
            double sum = 0, squares = 0, mean = t.param[0].at[c], var = t.param[1].at[c];
            for (int i = 0; i < 12; i++) sum += t.input[0].at[(i / 4 * 2 + c) * 4 + i % 4];
            for (int i = 0; i < 12; i++) squares += pow(t.input[0].at[(i / 4 * 2 + c) * 4 + i % 4] - sum / 12, 2);
            if (!again) mean = 0.75 * mean + 0.25 * sum / 12, var = 0.75 * var + 0.25 * squares / 11;
            cr_assert(fabs(backward_get(&b.param[b.param_count - 2], c) - mean) < 1e-12, "running mean after %s",
                      again ? "a second forward" : "the first");
            cr_assert(fabs(backward_get(&b.param[b.param_count - 1], c) - var) < 1e-12, "running variance after %s",
                      again ? "a second forward" : "the first");
        }
    }
    backward_close(&b);
    trial_free(&t);
}
