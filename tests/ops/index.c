/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and ordering by index: errors name value and position, ties and NaN have their places, axes of every kind. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

/* x [.., f32] and index [.., i64] into one node. */
static int run(struct one *one, const char *line, float *x, int32_t rank, const int64_t *shape, int64_t *index, int32_t index_rank,
               const int64_t *index_shape) {
    char text[700], extents[2][120] = {"", ""};
    for (int32_t i = 0; i < rank; i++) sprintf(extents[0] + strlen(extents[0]), "%s%lld", i ? ", " : "", (long long)shape[i]);
    for (int32_t i = 0; i < index_rank; i++) sprintf(extents[1] + strlen(extents[1]), "%s%lld", i ? ", " : "", (long long)index_shape[i]);
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {x: {dtype: f32, shape: [%s]}, index: {dtype: i64, shape: [%s]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n",
             extents[0], extents[1], line);
    int status = one_open(one, text, one_best);
    if (status == 0) status = one_input(one, "x", x, FLOW_F32, rank, shape);
    if (status == 0) status = one_input(one, "index", index, FLOW_I64, index_rank, index_shape);
    return status == 0 ? one_run(one) : status;
}

static float x[400];
static void fill(void) {
    for (int i = 0; i < 400; i++) x[i] = (float)i;
}

Test(index, gather_along_every_axis, .init = fill) {
    int64_t index[] = {1, 0, 1, 1, 0, 1};
    for (int axis = 0; axis < 3; axis++) {
        struct one one;
        char line[100];
        snprintf(line, sizeof line, "gather, in: {x: x, index: index}, with: {axis: %d}", axis - 3);
        cr_assert(run(&one, line, x, 3, (int64_t[]){2, 2, 2}, index, 2, (int64_t[]){3, 2}) == 0, "%s", one.message);
        const struct flow_tensor *y = one_output(&one, "y");
        cr_assert(y->rank == 4 && y->shape[axis] == 3 && y->shape[axis + 1] == 2);
        for (int p = 0; p < (axis == 0 ? 1 : axis == 1 ? 2 : 4); p++)
            for (int k = 0; k < 6; k++)
                for (int q = 0; q < (axis == 0 ? 4 : axis == 1 ? 2 : 1); q++) {
                    int inner = axis == 0 ? 4 : axis == 1 ? 2 : 1;
                    cr_assert(((float *)y->data)[(p * 6 + k) * inner + q] == (float)((p * 2 + index[k]) * inner + q), "axis %d", axis);
                }
        one_close(&one);
    }
}

Test(index, gather_with_common_axes, .init = fill) {
    enum { B = 3, P = 2, N = 4, D = 5, M = 6 };
    int64_t index[B * M];
    struct one one;
    for (int i = 0; i < B * M; i++) index[i] = (i * 7) % N;
    cr_assert(run(&one, "gather, in: {x: x, index: index}, with: {axis: 2, batch: 1}", x, 4, (int64_t[]){B, P, N, D}, index, 2,
                  (int64_t[]){B, M}) == 0,
              "%s", one.message);
    const float *y = one_output(&one, "y")->data;
    for (int b = 0; b < B; b++)
        for (int p = 0; p < P; p++)
            for (int m = 0; m < M; m++)
                for (int d = 0; d < D; d++)
                    cr_assert(y[((b * P + p) * M + m) * D + d] == (float)(((b * P + p) * N + index[b * M + m]) * D + d), "%d %d %d %d", b,
                              p, m, d);
    one_close(&one);
}

Test(index, take_along_every_axis, .init = fill) {
    for (int axis = 0; axis < 3; axis++) {
        int64_t shape[] = {4, 3, 5}, wanted[] = {4, 3, 5}, index[140];
        struct one one;
        char line[100];
        wanted[axis] = 7;
        if (axis != 1) wanted[1] = 2; /* fewer rows than x has */
        for (int i = 0; i < 140; i++) index[i] = (i * 5 + i / 7) % shape[axis];
        snprintf(line, sizeof line, "take_along, in: {x: x, index: index}, with: {axis: %d}", axis);
        cr_assert(run(&one, line, x, 3, shape, index, 3, wanted) == 0, "%s", one.message);
        const float *y = one_output(&one, "y")->data;
        for (int64_t i = 0; i < wanted[0] * wanted[1] * wanted[2]; i++) {
            int64_t at[3] = {i / wanted[2] / wanted[1], i / wanted[2] % wanted[1], i % wanted[2]};
            at[axis] = index[i];
            cr_assert(y[i] == (float)((at[0] * 3 + at[1]) * 5 + at[2]), "axis %d, element %lld", axis, (long long)i);
        }
        one_close(&one);
    }
}

static void out_of_range(const char *line, int64_t value, const char *why) {
    int64_t index[] = {0, 1, 2, 0, 1, 2};
    struct one one;
    index[4] = value;
    int status = run(&one, line, x, 2, (int64_t[]){3, 3}, index, 2, (int64_t[]){2, 3});
    cr_assert(status == FLOW_ERROR_RANGE, "%s with %lld: %d", line, (long long)value, status);
    cr_assert(strstr(one.message, why), "%s: %s", line, one.message);
    one_close(&one);
}

Test(index, out_of_range, .init = fill) {
    static const char *const lines[] = {"gather, in: {x: x, index: index}", "gather, in: {x: x, index: index}, with: {axis: 1}",
                                        "take_along, in: {x: x, index: index}", "embedding, in: index, with: {count: 3, units: 2}",
                                        "one_hot, in: index, with: {count: 3}"};
    for (int i = 0; i < 5; i++) {
        out_of_range(lines[i], 3, "index[1, 1] is 3, outside [0, 3)");
        out_of_range(lines[i], -1, "index[1, 1] is -1, outside [0, 3)");
        out_of_range(lines[i], INT64_MIN, "index[1, 1] is -9223372036854775808");
        out_of_range(lines[i], INT64_MAX, "index[1, 1] is 9223372036854775807");
    }
    int64_t rows[] = {0, 9, 1};
    struct one one;
    cr_assert(run(&one, "scatter_add, in: {src: x, index: index}, with: {count: 9}", x, 2, (int64_t[]){3, 2}, rows, 1, (int64_t[]){3}) ==
              FLOW_ERROR_RANGE);
    cr_assert(strstr(one.message, "index[1] is 9, outside [0, 9)"), "%s", one.message);
    one_close(&one);
}

/* Large enough for two threads; sums in the order of the rows, whatever their number. */
Test(index, scatter_add_of_many) {
    enum { E = 4000, W = 200, N = 37 };
    float *src = malloc(sizeof *src * E * W), *sums = calloc(N * W, sizeof *sums);
    int64_t *index = malloc(sizeof *index * E);
    cr_assert(src && sums && index);
    uint64_t state = 5;
    for (int i = 0; i < E * W; i++) src[i] = (float)one_uniform(&state, -1, 1);
    for (int e = 0; e < E; e++) {
        index[e] = one_below(&state, N);
        for (int k = 0; k < W; k++) sums[index[e] * W + k] += src[e * W + k];
    }
    for (int threads = 1; threads <= 2; threads++) {
        struct one one;
        cr_assert(
            one_open(
                &one,
                "flow: 1\ninputs: {x: {dtype: f32, shape: [E, W]}, index: {dtype: i64, shape: [E]}, like: {dtype: f32, shape: [N, 2]}}\n"
                "nodes: {y: {op: scatter_add, in: {src: x, index: index, like: like}}}\noutputs: {y: y}\n",
                (struct one_options){.isa = -1, .threads = threads}) == 0);
        cr_assert(one_input(&one, "x", src, FLOW_F32, 2, (int64_t[]){E, W}) == 0 &&
                  one_input(&one, "index", index, FLOW_I64, 1, (int64_t[]){E}) == 0);
        cr_assert(one_input(&one, "like", src, FLOW_F32, 2, (int64_t[]){N, 2}) == 0);
        cr_assert(one_run(&one) == 0, "%s", one.message);
        cr_assert_arr_eq(one_output(&one, "y")->data, sums, N * W * sizeof *sums);
        one_close(&one);
    }
    free(src), free(sums), free(index);
}

/* ---- Order ------------------------------------------------------------------------------------------------------- */

/* Does i come before j, ascending: NaN last, equals by index. */
static bool before(const float *v, int64_t step, int i, int j) {
    float a = v[i * step], b = v[j * step];
    if (isnan(a) || isnan(b)) return !isnan(a) || (isnan(b) && i < j);
    return a < b || (a == b && i < j);
}

Test(order, sorting_all_axes) {
    static const int64_t shapes[][3] = {{3, 70, 4}, {1, 1, 300}, {40, 2, 3}, {2, 9, 1}, {5, 8, 16}};
    for (int s = 0; s < 5; s++)
        for (int axis = 0; axis < 3; axis++) {
            const int64_t *shape = shapes[s];
            int64_t n = shape[axis],
                    inner = axis == 2   ? 1
                            : axis == 1 ? shape[2]
                                        : shape[1] * shape[2],
                    count = shape[0] * shape[1] * shape[2];
            float *v = malloc(sizeof *v * (size_t)count);
            struct one one;
            char text[800];
            uint64_t state = 9;
            cr_assert(v);
            for (int64_t i = 0; i < count; i++) {
                int64_t kind = one_below(&state, 12);
                v[i] = kind == 0 ? NAN : kind == 1 ? -0.0f : kind == 2 ? 0.0f : kind == 3 ? -INFINITY : (float)one_below(&state, 9) - 4;
            }
            int64_t k = n < 5 ? n : n / 2;
            snprintf(
                text, sizeof text,
                "flow: 1\ninputs: {x: {dtype: f32, shape: [A, B, C]}}\nnodes:\n  sorted: {op: argsort, in: x, with: {axis: %d}}\n"
                "  top: {op: topk, in: x, with: {axis: %d, k: %lld}}\n  low: {op: topk, in: x, with: {axis: %d, k: %lld, largest: false}}\n"
                "  most: {op: argmax, in: x, with: {axis: %d}}\n  least: {op: argmin, in: x, with: {axis: %d}}\n"
                "outputs: {sorted: sorted, values: top.values, top: top.indices, low: low.indices, most: most, least: least}\n",
                axis, axis, (long long)k, axis, (long long)k, axis, axis);
            cr_assert(one_open(&one, text, one_best) == 0, "%s", one.message);
            cr_assert(one_input(&one, "x", v, FLOW_F32, 3, shape) == 0);
            cr_assert(one_run(&one) == 0, "%s", one.message);
            const int64_t *sorted = one_output(&one, "sorted")->data, *top = one_output(&one, "top")->data,
                          *low = one_output(&one, "low")->data;
            const int64_t *most = one_output(&one, "most")->data, *least = one_output(&one, "least")->data;
            const float *values = one_output(&one, "values")->data;
            for (int64_t row = 0; row < count / n; row++) {
                const float *r = v + row / inner * n * inner + row % inner;
                int expected[300];
                for (int i = 0; i < n; i++) {
                    int place = 0;
                    for (int j = 0; j < n; j++) place += before(r, inner, j, i);
                    expected[place] = i;
                }
                int64_t base = row / inner * n * inner + row % inner, short_base = row / inner * k * inner + row % inner;
                int first_nan = -1, greatest;
                for (int i = (int)n - 1; i >= 0; i--)
                    if (isnan(r[i * inner])) first_nan = i;
                for (int i = 0; i < n; i++)
                    cr_assert(sorted[base + i * inner] == expected[i], "shape %d, axis %d, row %lld", s, axis, (long long)row);
                /* The greatest first; of equals the lower index first. */
                for (int i = 0, left = (int)n; i < k; i++, left--) {
                    greatest = left - 1;
                    while (greatest > 0 && !isnan(r[expected[left - 1] * inner]) &&
                           r[expected[greatest - 1] * inner] == r[expected[left - 1] * inner])
                        greatest--;
                    while (greatest > 0 && isnan(r[expected[left - 1] * inner]) && isnan(r[expected[greatest - 1] * inner])) greatest--;
                    int chosen = expected[greatest];
                    for (int j = greatest; j < left - 1; j++) expected[j] = expected[j + 1];
                    cr_assert(top[short_base + i * inner] == chosen, "shape %d, axis %d, row %lld: topk %d", s, axis, (long long)row, i);
                    float value = values[short_base + i * inner];
                    cr_assert(value == r[chosen * inner] || (isnan(value) && isnan(r[chosen * inner])));
                    if (i == 0) cr_assert(most[row] == (first_nan >= 0 ? first_nan : chosen), "argmax");
                }
                for (int i = 0; i < k; i++) cr_assert(low[short_base + i * inner] == sorted[base + i * inner], "lowest");
                cr_assert(least[row] == (first_nan >= 0 ? first_nan : sorted[base]), "argmin");
            }
            one_close(&one);
            free(v);
        }
}

Test(order, refusals) {
    struct one one;
    int64_t index[1] = {0};
    cr_assert(run(&one, "topk, in: x, with: {k: 4}", x, 2, (int64_t[]){2, 3}, index, 1, (int64_t[]){1}) < 0);
    cr_assert(strstr(one.message, "k is 4, axis 1 has 3"), "%s", one.message);
    one_close(&one);
    cr_assert(run(&one, "argmax, in: x", x, 2, (int64_t[]){2, 0}, index, 1, (int64_t[]){1}) < 0);
    cr_assert(strstr(one.message, "axis 1 is empty"), "%s", one.message);
    one_close(&one);
}

Test(order, cumsum_of_all_kinds) {
    enum { A = 3, N = 41, C = 150 };
    float *v = malloc(sizeof *v * A * N * C);
    cr_assert(v);
    for (int i = 0; i < A * N * C; i++) v[i] = (float)(i * 37 % 101) - 50;
    for (int kind = 0; kind < 4; kind++)
        for (int axis = 0; axis < 3; axis++) {
            int64_t shape[] = {A, N, C}, n = shape[axis], inner = axis == 2 ? 1 : axis == 1 ? C : N * C;
            char text[300];
            struct one one;
            snprintf(text, sizeof text,
                     "flow: 1\ninputs: {x: {dtype: f32, shape: [A, N, C]}}\nnodes: {y: {op: cumsum, in: x, with: {axis: %d, exclusive: %s, "
                     "reverse: %s}}}\n"
                     "outputs: {y: y}\n",
                     axis, kind & 1 ? "true" : "false", kind & 2 ? "true" : "false");
            cr_assert(one_open(&one, text, (struct one_options){.isa = -1, .threads = 2}) == 0, "%s", one.message);
            cr_assert(one_input(&one, "x", v, FLOW_F32, 3, shape) == 0 && one_run(&one) == 0, "%s", one.message);
            const float *y = one_output(&one, "y")->data;
            for (int64_t row = 0; row < A * N * C / n; row++) {
                double sum = 0;
                for (int64_t t = 0; t < n; t++) {
                    int64_t at = row / inner * n * inner + row % inner + (kind & 2 ? n - 1 - t : t) * inner;
                    if (!(kind & 1)) sum += v[at];
                    cr_assert(y[at] == (float)sum, "axis %d, kind %d, row %lld, step %lld", axis, kind, (long long)row, (long long)t);
                    if (kind & 1) sum += v[at];
                }
            }
            one_close(&one);
        }
    free(v);
}
