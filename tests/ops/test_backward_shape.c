/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of the operators that move values, and of those that steer gradients. */
#include "harness/backward.h"

#include <criterion/criterion.h>

static void check_shape(const char *node, int64_t first) {
    struct trial t = {.inputs = 0};
    uint64_t state = 3;
    snprintf(t.node, sizeof t.node, "%s", node);
    backward_input(&t, "x", &state, -2, 2, 3, (int64_t[]){first, 5, 6});
    backward_check(&t, (struct backward_options){.tolerance = 1e-8});
    trial_free(&t);
}

Test(backward_shape, moves) {
    static const char *const nodes[] = {
        "{op: pad, in: x, with: {axis: %d, before: 2, after: 1, value: 3}}",
        "{op: pad, in: x, with: {axis: %d, before: 2, after: 2, mode: reflect}}",
        "{op: pad, in: x, with: {axis: %d, before: 3, after: 2, mode: replicate}}",
        "{op: pad, in: x, with: {axis: %d, before: 3, after: 2, mode: circular}}",
        "{op: pad, in: x, with: {axis: %d}}",
        "{op: repeat_interleave, in: x, with: {axis: %d, count: 3}}",
        "{op: repeat_interleave, in: x, with: {axis: %d, count: 1}}",
        "{op: repeat_interleave, in: x, with: {axis: %d, count: 0}}",
        "{op: roll, in: x, with: {axis: %d, shift: 2}}",
        "{op: roll, in: x, with: {axis: %d, shift: -7}}",
        "{op: shift, in: x, with: {axis: %d, by: 1}}",
        "{op: shift, in: x, with: {axis: %d, by: 9}}",
        "{op: shift, in: x, with: {axis: %d, by: 0}}",
        "{op: cumsum, in: x, with: {axis: %d}}",
        "{op: cumsum, in: x, with: {axis: %d, exclusive: true}}",
        "{op: cumsum, in: x, with: {axis: %d, reverse: true}}",
        "{op: cumsum, in: x, with: {axis: %d, reverse: true, exclusive: true}}",
        "{op: topk, in: x, with: {axis: %d, k: 2}}",
        "{op: topk, in: x, with: {axis: %d, k: 3, largest: false}}",
        "{op: tril_mask, in: x}",
    };
    for (size_t k = 0; k < sizeof nodes / sizeof *nodes; k++)
        for (int axis = 0; axis < 3; axis++) {
            char node[200];
            snprintf(node, sizeof node, nodes[k], axis);
            check_shape(node, 4);
            if (!strstr(node, "axis: 0")) check_shape(node, 0); /* nothing at all */
        }
}

/* Rows enough for several pieces, and columns for the eight that are summed side by side. */
Test(backward_shape, many_rows) {
    struct trial t = {.node = "{op: cumsum, in: x}"}, r = {.node = "{op: repeat_interleave, in: x, with: {axis: 1, count: 4}}"};
    uint64_t state = 3;
    backward_input(&t, "x", &state, -2, 2, 2, (int64_t[]){19, 5});
    backward_check(&t, (struct backward_options){.tolerance = 1e-8});
    trial_free(&t);
    backward_input(&r, "x", &state, -2, 2, 3, (int64_t[]){3, 2, 40});
    backward_check(&r, (struct backward_options){.tolerance = 1e-8});
    trial_free(&r);
}

Test(backward_shape, rope) {
    static const char *const nodes[] = {
        "{op: rope, in: x}",
        "{op: rope, in: x, with: {style: interleaved, offset: 5}}",
        "{op: rope, in: x, with: {dims: 4, base: 100}}",
        "{op: rope, in: x, with: {dims: 2, style: interleaved}}",
        "{op: rope, in: x, with: {dims: 0}}",
    };
    for (size_t k = 0; k < sizeof nodes / sizeof *nodes; k++) check_shape(nodes[k], 3);
}

Test(backward_shape, concat) {
    for (int axis = 0; axis < 3; axis++) {
        struct trial t = {.inputs = 0};
        uint64_t state = 3;
        int64_t shape[3][3] = {{3, 4, 5}, {3, 4, 5}, {3, 4, 5}};
        shape[0][axis] = 2, shape[1][axis] = 0, shape[2][axis] = 3;
        snprintf(t.node, sizeof t.node, "{op: concat, in: [a, b, c], with: {axis: %d}}", axis);
        backward_input(&t, "a", &state, -2, 2, 3, shape[0]);
        backward_input(&t, "b", &state, -2, 2, 3, shape[1]);
        backward_input(&t, "c", &state, -2, 2, 3, shape[2]);
        backward_check(&t, (struct backward_options){.tolerance = 1e-8});
        trial_free(&t);
    }
}

static void expect(struct backward *b, double factor, const struct flow_tensor *from) {
    for (int added = 0; added < 2; added++)
        for (int in_place = 0; in_place < 2 - added; in_place++) {
            double *expected = backward_copy(from), *kept = backward_copy(&b->grad_out[0]);
            void *own = b->grad_in[0].data;
            for (int64_t i = 0; i < backward_count(from); i++) expected[i] *= factor;
            if (in_place) b->grad_in[0].data = b->grad_out[0].data;
            else backward_fill(&b->grad_in[0], added ? 3 : NAN);
            backward_run(b, 1, 0, added ? 1 : 0, 0);
            backward_near(b, &b->grad_in[0], expected, added ? 3 : 0, 1e-6, "input", 0);
            b->grad_in[0].data = own;
            for (int64_t i = 0; i < backward_count(&b->grad_out[0]); i++) backward_put(&b->grad_out[0], i, kept[i]);
            free(expected), free(kept);
        }
}

/* Forward they are the identity; backward they are not. */
Test(backward_shape, control) {
    for (int wide = 0; wide < 2; wide++)
        for (int columns = 0; columns < 2; columns++) {
            struct trial s = {.node = "{op: scale_gradient, in: x, with: {factor: -0.5}}"},
                         g = {.node = "{op: inject_gradient, in: {x: x, g: g}}"};
            struct backward b;
            uint64_t state = 3;
            backward_input(&s, "x", &state, -2, 2, 2, (int64_t[]){4, 5});
            backward_open(&b, &s, &(struct backward_options){0}, wide ? FLOW_F64 : FLOW_F32, -1, 1, columns);
            backward_forward(&b);
            for (int64_t i = 0; i < 20; i++) cr_assert(backward_get(&b.out[0], i) == backward_get(&b.in[0], i));
            expect(&b, -0.5, &b.grad_out[0]);
            backward_close(&b);
            backward_input(&g, "x", &state, -2, 2, 2, (int64_t[]){4, 5});
            backward_input(&g, "g", &state, -2, 2, 2, (int64_t[]){4, 5});
            backward_open(&b, &g, &(struct backward_options){0}, wide ? FLOW_F64 : FLOW_F32, -1, 1, columns);
            cr_assert(!backward_wants(&b, 1), "g gets no gradient");
            backward_forward(&b);
            for (int64_t i = 0; i < 20; i++) cr_assert(backward_get(&b.out[0], i) == backward_get(&b.in[0], i));
            expect(&b, 1, &b.in[1]);
            backward_close(&b);
            trial_free(&s), trial_free(&g);
        }
    struct trial p = {.node = "{op: parameter, with: {shape: [3, 4]}}"};
    backward_check(&p, (struct backward_options){.tolerance = 1e-8});
}
