/* SPDX-License-Identifier: Apache-2.0 */
/* Views and moves along axes: every start, stop and step of a slice, every way to write a shape, against plain indexing. */
#include "harness/one.h"

#include <criterion/criterion.h>

enum { B = 2, N = 5, D = 3 };

/* Runs `line` (what stands in {op: ...}) on x [2, 5, 3], filled with 0 1 2 ...; y is contiguous, as graph outputs are. */
static int run(struct one *one, const char *line) {
    static float x[B * N * D];
    char text[500];
    for (int i = 0; i < B * N * D; i++) x[i] = (float)i;
    snprintf(text, sizeof text, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, N, D]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n", line);
    int status = one_open(one, text, one_best);
    if (status == 0) status = one_input(one, "x", x, FLOW_F32, 3, (int64_t[]){B, N, D});
    return status == 0 ? one_run(one) : status;
}

/* y [2, count, 3] holds row index[i] of x at row i; -1: zeros. */
static void expect_rows(const char *line, int64_t count, const int64_t *index) {
    struct one one;
    cr_assert(run(&one, line) == 0, "%s: %s", line, one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    cr_assert(y->rank == 3 && y->shape[0] == B && y->shape[1] == count && y->shape[2] == D, "%s: extent %lld, expected %lld", line,
              (long long)y->shape[1], (long long)count);
    for (int64_t i = 0; i < B * count * D; i++) {
        int64_t row = index[i / D % count];
        float expected = row < 0 ? 0 : (float)(i / D / count * N * D + row * D + i % D);
        cr_assert(((float *)y->data)[i] == expected, "%s: element %lld is %g, expected %g", line, (long long)i, ((float *)y->data)[i],
                  expected);
    }
    one_close(&one);
}

/* Python's own definition of slice.indices. */
static int64_t clip(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

Test(views, slices) {
    static const int64_t ends[] = {INT64_MIN, -7, -6, -5, -3, -1, 0, 1, 2, 4, 5, 6, 9}, steps[] = {1, 2, 3, 7, -1, -2, -5, -9};
    for (size_t a = 0; a < 13; a++)
        for (size_t b = 0; b < 13; b++)
            for (size_t s = 0; s < 8; s++) {
                int64_t step = steps[s], low = step > 0 ? 0 : -1, high = step > 0 ? N : N - 1, rows[N], count = 0;
                int64_t start = ends[a] == INT64_MIN ? (step > 0 ? 0 : N - 1) : clip(ends[a] < 0 ? ends[a] + N : ends[a], low, high);
                int64_t stop = ends[b] == INT64_MIN ? (step > 0 ? N : -1) : clip(ends[b] < 0 ? ends[b] + N : ends[b], low, high);
                for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) rows[count++] = i;
                char line[200], first[40] = "", last[40] = "";
                if (ends[a] != INT64_MIN) snprintf(first, sizeof first, ", start: %lld", (long long)ends[a]);
                if (ends[b] != INT64_MIN) snprintf(last, sizeof last, ", stop: %lld", (long long)ends[b]);
                snprintf(line, sizeof line, "slice, in: x, with: {axis: 1%s%s, step: %lld}", first, last, (long long)step);
                expect_rows(line, count, rows);
            }
}

Test(views, moves) {
    expect_rows("flip, in: x, with: {axis: -2}", 5, (int64_t[]){4, 3, 2, 1, 0});
    expect_rows("roll, in: x, with: {axis: 1, shift: 2}", 5, (int64_t[]){3, 4, 0, 1, 2});
    expect_rows("roll, in: x, with: {axis: 1, shift: -6}", 5, (int64_t[]){1, 2, 3, 4, 0});
    expect_rows("shift, in: x, with: {by: 2}", 5, (int64_t[]){-1, -1, 0, 1, 2});
    expect_rows("shift, in: x, with: {by: 0}", 5, (int64_t[]){0, 1, 2, 3, 4});
    expect_rows("shift, in: x, with: {by: 9}", 5, (int64_t[]){-1, -1, -1, -1, -1});
    expect_rows("repeat_interleave, in: x, with: {axis: 1, count: 2}", 10, (int64_t[]){0, 0, 1, 1, 2, 2, 3, 3, 4, 4});
    expect_rows("repeat_interleave, in: x, with: {axis: 1, count: 0}", 0, NULL);
    expect_rows("pad, in: x, with: {axis: 1, before: 1, after: 2}", 8, (int64_t[]){-1, 0, 1, 2, 3, 4, -1, -1});
    expect_rows("pad, in: x, with: {axis: 1, before: 4, after: 4, mode: reflect}", 13, (int64_t[]){4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0});
    expect_rows("pad, in: x, with: {axis: 1, before: 2, after: 1, mode: replicate}", 8, (int64_t[]){0, 0, 0, 1, 2, 3, 4, 4});
    expect_rows("pad, in: x, with: {axis: 1, before: 5, after: 2, mode: circular}", 12, (int64_t[]){0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1});
}

static void refused(const char *line, const char *why) {
    struct one one;
    cr_assert(run(&one, line) < 0, "%s", line);
    cr_assert(strstr(one.message, why), "%s: %s", line, one.message);
    one_close(&one);
}

Test(views, refusals_say_why) {
    refused("pad, in: x, with: {axis: 1, before: 5, mode: reflect}", "this padding needs 6");
    refused("pad, in: x, with: {axis: 1, before: 6, mode: circular}", "this padding needs 6");
    refused("slice, in: x, with: {axis: 3}", "axis 3");
    refused("slice, in: x, with: {axis: 1, step: 0}", "step is 0");
    refused("split, in: x, with: {axis: 1, parts: 2}", "2 equal parts");
    refused("split, in: x, with: {axis: 1, sizes: [2, 2]}", "add up to 4");
    refused("transpose, in: x, with: {perm: [0, 1]}", "x has 3");
    refused("transpose, in: x, with: {perm: [0, 1, 1]}", "named twice");
    refused("squeeze, in: x, with: {axis: 1}", "5 elements");
    refused("expand, in: x, with: {shape: [2, 10, 3]}", "an axis of 1 can become longer");
    refused("expand, in: x, with: {shape: [5, 3]}", "keeps or adds axes");
    refused("reshape, in: x, with: {shape: [4, -1]}", "no multiple of the 4");
    refused("reshape, in: x, with: {shape: [-1, -1]}", "stands twice");
    refused("reshape, in: x, with: {shape: [2, 5, 3, 0]}", "does not have");
    refused("reshape, in: x, with: {shape: [7]}", "not as many elements");
    refused("concat, in: [x, x], with: {axis: 4}", "axis 4");
    refused("repeat_interleave, in: x, with: {axis: 1, count: 4611686018427387904}", "too large");
    refused("glu, in: x, with: {axis: 1}", "halves need an even number");
}

static void expect_shape(const char *line, int32_t rank, const int64_t *shape) {
    struct one one;
    cr_assert(run(&one, line) == 0, "%s: %s", line, one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    cr_assert(y->rank == rank, "%s: %d axes", line, y->rank);
    for (int32_t i = 0; i < rank; i++) cr_assert(y->shape[i] == shape[i], "%s: axis %d has %lld", line, i, (long long)y->shape[i]);
    for (int64_t i = 0; i < flow_tensor_count(y); i++) cr_assert(((float *)y->data)[i] == (float)i, "%s: element %lld", line, (long long)i);
    one_close(&one);
}

Test(views, shapes) {
    expect_shape("reshape, in: x, with: {shape: [0, -1]}", 2, (int64_t[]){2, 15});
    expect_shape("reshape, in: x, with: {shape: [-1]}", 1, (int64_t[]){30});
    expect_shape("reshape, in: x, with: {shape: [3, 0, -1]}", 3, (int64_t[]){3, 5, 2});
    expect_shape("reshape, in: x, with: {shape: [\"B*N\", D]}", 2, (int64_t[]){10, 3});
    expect_shape("reshape, in: x, with: {shape: [1, B, 1, \"N*D\"]}", 4, (int64_t[]){1, 2, 1, 15});
    expect_shape("unsqueeze, in: x, with: {axis: -1}", 4, (int64_t[]){2, 5, 3, 1});
    expect_shape("unsqueeze, in: x, with: {axis: 0}", 4, (int64_t[]){1, 2, 5, 3});
    expect_shape("expand, in: x, with: {shape: [1, -1, N, -1]}", 4, (int64_t[]){1, 2, 5, 3});
}

/* Empty tensors: -1 takes what the axes that are not kept leave. */
Test(views, empty) {
    static const struct {
        const char *line;
        int32_t rank;
        int64_t shape[4];
    } cases[] = {
        {"reshape, in: x, with: {shape: [0, -1]}", 2, {0, 12}},
        {"reshape, in: x, with: {shape: [\"B*4\", 3]}", 2, {0, 3}},
        {"reshape, in: x, with: {shape: [-1, 3]}", 2, {0, 3}},
        {"transpose, in: x", 3, {0, 3, 4}},
        {"flip, in: x, with: {axis: 0}", 3, {0, 4, 3}},
        {"pad, in: x, with: {axis: 0, before: 2}", 3, {2, 4, 3}},
        {"concat, in: [x, x], with: {axis: 1}", 3, {0, 8, 3}},
        {"cumsum, in: x, with: {axis: 0}", 3, {0, 4, 3}},
        {"argmax, in: x", 2, {0, 4}},
        {"softplus, in: x", 3, {0, 4, 3}},
        {"glu, in: x, with: {axis: 1}", 3, {0, 2, 3}},
        {"rope, in: x, with: {dims: 2}", 3, {0, 4, 3}},
        {"argsort, in: x, with: {axis: 0}", 3, {0, 4, 3}},
        {"tril_mask, in: x", 3, {0, 4, 3}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct one one;
        char text[400];
        snprintf(text, sizeof text, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4, 3]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n",
                 cases[i].line);
        cr_assert(one_open(&one, text, one_best) == 0, "%s: %s", cases[i].line, one.message);
        cr_assert(one_input(&one, "x", NULL, FLOW_F32, 3, (int64_t[]){0, 4, 3}) == 0, "%s: %s", cases[i].line, one.message);
        cr_assert(one_run(&one) == 0, "%s: %s", cases[i].line, one.message);
        const struct flow_tensor *y = one_output(&one, "y");
        cr_assert(y->rank == cases[i].rank, "%s: %d axes", cases[i].line, y->rank);
        for (int32_t k = 0; k < y->rank; k++)
            cr_assert(y->shape[k] == cases[i].shape[k], "%s: axis %d has %lld", cases[i].line, k, (long long)y->shape[k]);
        for (int64_t k = 0; k < flow_tensor_count(y); k++) cr_assert(((float *)y->data)[k] == 0, "%s", cases[i].line);
        one_close(&one);
    }
}

/* Chains of views, read by operators that need rows and by others that do not. */
Test(views, chains) {
    struct one one;
    static float x[B * N * D];
    for (int i = 0; i < B * N * D; i++) x[i] = (float)i;
    cr_assert(one_open(&one,
                       "flow: 1\ninputs: {x: {dtype: f32, shape: [B, N, D]}}\nnodes:\n"
                       "  t: {op: transpose, in: x, with: {perm: [2, 0, 1]}}\n"
                       "  s: {op: slice, in: t, with: {axis: 2, start: -1, step: -2}}\n"
                       "  parts: {op: split, in: s, with: {axis: 0, sizes: [1, 2]}}\n"
                       "  joined: {op: concat, in: [parts.y1, parts.y0], with: {axis: 0}}\n"
                       "  flat: {op: reshape, in: s, with: {shape: [-1]}}\n"
                       "  padded: {op: pad, in: s, with: {axis: 0, before: 1, mode: replicate}}\n"
                       "  turned: {op: roll, in: s, with: {axis: 0, shift: 1}}\n"
                       "outputs: {joined: joined, flat: flat, padded: padded, turned: turned, s: s}\n",
                       one_best) == 0,
              "%s", one.message);
    cr_assert(one_input(&one, "x", x, FLOW_F32, 3, (int64_t[]){B, N, D}) == 0);
    cr_assert(one_run(&one) == 0, "%s", one.message);
    const float *joined = one_output(&one, "joined")->data, *flat = one_output(&one, "flat")->data, *s = one_output(&one, "s")->data;
    const float *padded = one_output(&one, "padded")->data, *turned = one_output(&one, "turned")->data;
    for (int d = 0; d < D; d++)
        for (int b = 0; b < B; b++)
            for (int k = 0; k < 3; k++) {
                float expected = (float)(b * N * D + (N - 1 - 2 * k) * D + d);
                int at = (d * B + b) * 3 + k, row = B * 3;
                cr_assert(s[at] == expected && flat[at] == expected, "%d %d %d", d, b, k);
                cr_assert(joined[((d + 2) % 3 * B + b) * 3 + k] == expected, "%d %d %d", d, b, k);
                cr_assert(padded[at + row] == expected && (d > 0 || padded[at] == expected), "%d %d %d", d, b, k);
                cr_assert(turned[((d + 1) % 3 * B + b) * 3 + k] == expected, "%d %d %d", d, b, k);
            }
    one_close(&one);
}
