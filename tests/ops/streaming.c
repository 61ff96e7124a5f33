/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of any sizes give what the whole gives, bit for bit; what cannot stream says why. */
#include "harness/one.h"

#include <criterion/criterion.h>

enum { B = 2, T = 23, D = 6 };
static float x[B * T * D];
static float z[B * T * D];

static void feed(struct one *one, const char *name, const float *from, int64_t begin, int64_t n, float *piece) {
    for (int b = 0; b < B; b++)
        if (n > 0) memcpy(piece + b * n * D, from + (b * T + begin) * D, sizeof(float) * (size_t)(n * D));
    cr_assert(one_input(one, name, piece, FLOW_F32, 3, (int64_t[]){B, n, D}) == 0, "%s", one->message);
}

static void graph(char text[1200], const char *nodes) {
    snprintf(
        text, 1200,
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 6]}, z: {dtype: f32, shape: [B, T, 6]}}\nnodes:\n%s\noutputs: {y: y, unused: u}\n",
        nodes);
}

/* Appends the piece's output to `all` along `axis`: [outer, steps, inner]. */
static int64_t gather_piece(const char *nodes, const struct flow_tensor *y, int32_t axis, double *all, int64_t at, int64_t room) {
    int64_t inner = 1, outer = 1, n = y->shape[axis];
    for (int32_t i = 0; i < axis; i++) outer *= y->shape[i];
    for (int32_t i = axis + 1; i < y->rank; i++) inner *= y->shape[i];
    for (int64_t i = 0; i < outer * n * inner; i++) {
        int64_t o = i / inner / n, t = i / inner % n;
        cr_assert(at + t < room, "%s: more steps than the whole gives", nodes);
        all[(o * room + at + t) * inner + i % inner] = flow_tensor_real(y, i);
    }
    return at + n;
}

static void same_in_pieces(const char *nodes) {
    static const int64_t sizes[][12] = {{1, 1, 1, 5, 15}, {23}, {0, 7, 0, 0, 16}, {2, 3, 18}, {22, 1}};
    static double all[B * T * D * 8], whole[B * T * D * 8];
    static float piece[2][B * T * D];
    char text[1200];
    struct one one;
    for (int i = 0; i < B * T * D; i++) x[i] = (float)(i * 29 % 83) / 7 - 5, z[i] = (float)(i * 31 % 89) / 9 - 4;
    graph(text, nodes);
    cr_assert(one_open(&one, text, one_best) == 0, "%s%s", nodes, one.message);
    feed(&one, "x", x, 0, T, piece[0]), feed(&one, "z", z, 0, T, piece[1]);
    cr_assert(one_run(&one) == 0, "%s%s", nodes, one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    int64_t count = flow_tensor_count(y), extents[FLOW_RANK_MAX];
    int32_t rank = y->rank;
    memcpy(extents, y->shape, sizeof extents);
    for (int64_t i = 0; i < count; i++) whole[i] = flow_tensor_real(y, i);
    one_close(&one);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int64_t at = 0, made = 0;
        int32_t axis = -1;
        cr_assert(one_open(&one, text, (struct one_options){.isa = -1, .stream = "T"}) == 0, "%s%s", nodes, one.message);
        for (int p = 0; p < 12 && (at < T || p == 0); p++) {
            int64_t n = sizes[k][p];
            feed(&one, "x", x, at, n, piece[0]), feed(&one, "z", z, at, n, piece[1]);
            cr_assert((at + n == T ? one_finish(&one) : one_run(&one)) == 0, "%s%s", nodes, one.message);
            axis = flow_session_output_axis(one.session, 0), y = one_output(&one, "y");
            cr_assert(axis >= 0 && y->rank == rank, "%s", nodes);
            made = gather_piece(nodes, y, axis, all, made, extents[axis]);
            at += n;
        }
        cr_assert(made == extents[axis], "%s: %lld steps, the whole gives %lld", nodes, (long long)made, (long long)extents[axis]);
        for (int64_t i = 0; i < count; i++)
            cr_assert(all[i] == whole[i], "%s: sizes %zu, element %lld: %g, the whole gives %g", nodes, k, (long long)i, all[i], whole[i]);
        one_close(&one);
    }
}

Test(streaming, pieces_give_the_whole) {
    static const char *const graphs[] = {
        "  y: {op: shift, in: x, with: {axis: 1, by: 1}}\n  u: {op: neg, in: z}",
        "  y: {op: shift, in: x, with: {axis: 1, by: 4}}\n  u: {op: neg, in: z}",
        "  y: {op: shift, in: x, with: {axis: 2, by: 2}}\n  u: {op: neg, in: z}",
        "  y: {op: sinusoid, in: x, with: {style: interleaved, offset: 3}}\n  u: {op: neg, in: z}",
        "  y: {op: rope, in: x, with: {dims: 4}}\n  u: {op: neg, in: z}",
        "  y: {op: arange, in: x, with: {axis: 1}}\n  u: {op: neg, in: z}",
        "  y: {op: cumsum, in: x, with: {axis: 1}}\n  u: {op: neg, in: z}",
        "  y: {op: cumsum, in: x, with: {axis: 1, exclusive: true}}\n  u: {op: neg, in: z}",
        "  y: {op: cumsum, in: x, with: {axis: 2, reverse: true}}\n  u: {op: neg, in: z}",
        "  y: {op: add, in: [x, z]}\n  u: {op: neg, in: z}",
        "  w: {op: constant, with: {value: [1, 2, 3, 4, 5, 6]}}\n  y: {op: mul, in: [w, x]}\n  u: {op: neg, in: z}",
        "  y: {op: concat, in: [x, z], with: {axis: -1}}\n  u: {op: neg, in: z}",
        "  y: {op: glu, in: x}\n  u: {op: neg, in: z}",
        "  y: {op: slice, in: x, with: {axis: 2, start: -1, step: -2}}\n  u: {op: neg, in: z}",
        "  y: {op: transpose, in: x}\n  u: {op: neg, in: z}",
        "  t: {op: transpose, in: x}\n  y: {op: shift, in: t, with: {axis: 2, by: 2}}\n  u: {op: neg, in: z}",
        "  y: {op: reshape, in: x, with: {shape: [0, -1, 2, 3]}}\n  u: {op: neg, in: z}",
        "  y: {op: reshape, in: x, with: {shape: [0, 0, 3, 2]}}\n  u: {op: neg, in: z}",
        "  y: {op: reshape, in: x, with: {shape: [B, -1]}}\n  u: {op: neg, in: z}",
        "  y: {op: repeat_interleave, in: x, with: {axis: 1, count: 2}}\n  u: {op: neg, in: z}",
        "  y: {op: unsqueeze, in: x, with: {axis: 1}}\n  u: {op: neg, in: z}",
        "  a: {op: unsqueeze, in: x, with: {axis: 0}}\n  y: {op: squeeze, in: a, with: {axis: 0}}\n  u: {op: neg, in: z}",
        "  a: {op: unsqueeze, in: x, with: {axis: 2}}\n  y: {op: expand, in: a, with: {shape: [B, -1, 4, 6]}}\n  u: {op: neg, in: z}",
        "  y: {op: argmax, in: x}\n  u: {op: neg, in: z}",
        "  a: {op: topk, in: x, with: {k: 2}}\n  y: {op: embedding, in: a.indices, with: {count: 6, units: 3}}\n  u: {op: neg, in: z}",
        "  a: {op: argmax, in: x}\n  y: {op: one_hot, in: a, with: {count: 6}}\n  u: {op: neg, in: z}",
        "  a: {op: argmax, in: x}\n  c: {op: constant, with: {value: [1, 2, 3, 4, 5, 6]}}\n  y: {op: gather, in: {x: c, index: a}}\n  u: "
        "{op: neg, in: z}",
        "  a: {op: argsort, in: x}\n  y: {op: take_along, in: {x: z, index: a}}\n  u: {op: neg, in: z}",
        "  y: {op: pad, in: x, with: {axis: 2, before: 1, mode: reflect}}\n  u: {op: neg, in: z}",
        "  c: {op: lt, in: [x, z]}\n  y: {op: where, in: {cond: c, a: x, b: z}}\n  u: {op: neg, in: z}",
        "  y: {op: prelu, in: x, with: {axis: 2, count: 6}}\n  u: {op: neg, in: z}",
    };
    for (size_t i = 0; i < sizeof graphs / sizeof *graphs; i++) same_in_pieces(graphs[i]);
}

Test(streaming, refusals_say_why) {
    static const char *const cases[][2] = {
        {"flip, in: x, with: {axis: 1}", "needs the whole sequence"},
        {"roll, in: x, with: {axis: 1}", "needs the whole sequence"},
        {"slice, in: x, with: {axis: 1, start: 1}", "needs the whole sequence"},
        {"pad, in: x, with: {axis: 1, before: 1}", "needs the whole sequence"},
        {"split, in: x, with: {axis: 1, sizes: [1, 2]}", "whole sequence"},
        {"concat, in: [x, z], with: {axis: 1}", "whole sequence"},
        {"cumsum, in: x, with: {axis: 1, reverse: true}", "from the end needs the whole sequence"},
        {"argmax, in: x, with: {axis: 1}", "whole sequence"},
        {"topk, in: x, with: {axis: 1, k: 1}", "whole sequence"},
        {"argsort, in: x, with: {axis: 1}", "whole sequence"},
        {"tril_mask, in: x", "side of the triangle"},
        {"shape_of, in: x", "known at its end only"},
        {"reshape, in: x, with: {shape: [4, -1]}", "no axis grows with it"},
        {"reshape, in: x, with: {shape: [-1, 6]}", "the axes before it being as they were"},
        {"glu, in: x, with: {axis: 1}", "whole sequence"},
    };
    static float piece[2][B * 6 * D];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char nodes[300], text[1200];
        struct one one;
        snprintf(nodes, sizeof nodes, "  y: {op: %s}\n  u: {op: neg, in: z}", cases[i][0]);
        graph(text, nodes);
        int status = one_open(&one, text, (struct one_options){.isa = -1, .stream = "T"});
        if (status == 0) {
            feed(&one, "x", x, 0, 6, piece[0]), feed(&one, "z", z, 0, 6, piece[1]);
            status = one_run(&one);
        }
        cr_assert(status < 0, "%s is accepted", cases[i][0]);
        cr_assert(strstr(one.message, cases[i][1]), "%s: %s", cases[i][0], one.message);
        one_close(&one);
    }
}
