/* SPDX-License-Identifier: Apache-2.0 */
/*
 * muon: momentum whose singular values are all brought near 1 by Newton and Schulz's iteration.
 *
 * X [rows, columns] is iterated on its smaller side r, without turning it: for rows <= columns A = X X^T and X' = B X, else A = X^T X and
 * X' = X B, with B = 3.4445 I - 4.7750 A + 2.0315 A A. A and A A are symmetric: of large ones only the lower triangle is multiplied
 * out, strip by strip, and then mirrored.
 *
 * Small matrices are taken SLOTS at a time, each by one thread, in memory of its own; a large one by all threads, its products and
 * passes cut into pieces. Neither changes what any one matrix comes to.
 */
#include "optimizer/attrs.h"
#include "optimizer/optimizer.h"

#include "common/shape.h"

#include <math.h>

enum {
    SLOTS = 16,
    SMALL = 1 << 20, /* bytes of workspace */
    GRAIN = 32768,   /* elements a piece of a pass */
    STRIPS_FROM = 256
};

/* One matrix and its memory: X and the next X [rows, columns], A and B [r, r], sums of a pass's pieces. */
struct muon {
    const struct flow_update *update;
    const struct optimizer_steps *steps;
    int32_t dtype;
    int64_t rows, columns, r, size;
    char *w, *m;   /* m: NULL without momentum */
    const char *g; /* NULL: zero */
    char *x, *next;
    char *a, *b;
    double *sums;
    double norm, keep, step;
    int status;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows and columns of the parameter's matrices; their number (0: empty). */
static int64_t matrices(const struct muon_attrs *a, const struct flow_tensor *t, int64_t *rows, int64_t *columns) {
    const int32_t axis = a->stacked && t->rank > 2 ? t->rank - 2 : 0;
    *rows = t->shape[axis], *columns = shape_span(t, axis + 1, t->rank);
    return *rows && *columns ? shape_span(t, 0, axis) : 0;
}

/* Bytes of the parts of a workspace; false: more than can be. */
struct muon_room {
    int64_t x, a, sums, all;
};
static bool room(int64_t rows, int64_t columns, int64_t element, struct muon_room *room) {
    const int64_t r = least(rows, columns);
    int64_t x, a, both;
    if (__builtin_mul_overflow(rows, columns, &x) || __builtin_mul_overflow(x, element, &x)) return false;
    if (__builtin_mul_overflow(r, r, &a) || __builtin_mul_overflow(a, element, &a)) return false;
    if (x > INT64_MAX / 8 || a > INT64_MAX / 8) return false;
    room->x = (x + 63) / 64 * 64, room->a = (a + 63) / 64 * 64;
    room->sums = ((rows * columns / GRAIN + 1) * (int64_t)sizeof(double) + 63) / 64 * 64;
    both = room->x + room->a;
    room->all = 2 * both + room->sums;
    return true;
}

static int64_t muon_workspace(const struct flow_update *u) {
    int64_t small = 0, large = 0, count = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        int64_t rows, columns;
        struct muon_room bytes;
        const int64_t n = matrices(u->attrs, &u->param[i], &rows, &columns);
        if (!n) continue;
        if (!room(rows, columns, shape_type_bytes(u->param[i].dtype), &bytes)) return INT64_MAX;
        if (bytes.all > SMALL) large = bytes.all > large ? bytes.all : large;
        else small = bytes.all > small ? bytes.all : small, count += least(n, SLOTS);
    }
    small *= least(count, SLOTS);
    return small > large ? small : large;
}

/* ---- Passes over elements ---- */

static char *element(const struct muon *p, const void *at, int64_t i) { return (char *)(uintptr_t)at + i * p->size; }

static void direction_piece(void *context, int64_t begin, int64_t end) {
    const struct muon *p = context;
    const struct muon_attrs *a = p->update->attrs;
    static const double zeros[256];
    double sum = 0;
    for (int64_t i = begin, some; i < end; i += some) {
        some = p->g ? end - i : least(end - i, 256);
        sum += p->steps->direction(some, p->g ? element(p, p->g, i) : (const void *)zeros, p->m ? element(p, p->m, i) : NULL,
                                   element(p, p->x, i), p->update->scale, a->momentum, a->nesterov);
    }
    p->sums[begin / GRAIN] = sum;
}

static void normalize_piece(void *context, int64_t begin, int64_t end) {
    const struct muon *p = context;
    p->steps->multiply(end - begin, element(p, p->x, begin), 1 / (p->norm + 1e-7));
}

static void apply_piece(void *context, int64_t begin, int64_t end) {
    const struct muon *p = context;
    p->steps->apply(end - begin, element(p, p->w, begin), element(p, p->x, begin), p->keep, p->step);
}

static void mirror_piece(void *context, int64_t begin, int64_t end) {
    const struct muon *p = context;
    p->steps->mirror(p->r, begin, end, p->a);
}

static void polynomial_piece(void *context, int64_t begin, int64_t end) {
    const struct muon *p = context;
    p->steps->polynomial(p->r, begin, end, p->a, p->b, 3.4445, -4.7750, 2.0315);
}

/* ---- Products ---- */

static int product(struct muon *p, struct flow_gemm g) {
    g.dtype = p->dtype;
    return p->update->call->host->gemm(p->update->call, &g);
}

/* c [r, r] = a b, known to be symmetric: its lower triangle (and some more). */
static int symmetric(struct muon *p, struct flow_gemm g) {
    const int64_t r = p->r, strip = r < STRIPS_FROM ? r : r < 1024 ? 128 : 256;
    const char *a = g.a;
    char *c = g.c;
    g.c_row = r;
    for (int64_t i = 0; i < r; i += strip) {
        g.m = least(strip, r - i), g.n = i + g.m;
        g.a = a + i * g.a_row * p->size, g.c = c + i * r * p->size;
        int status = product(p, g);
        if (status < 0) return status;
    }
    return FLOW_OK;
}

/* X = 3.4445 X + (-4.7750 A + 2.0315 A A) X */
static int iterate(struct muon *p) {
    const struct flow_call *call = p->update->call;
    const bool wide = p->rows <= p->columns;
    const int64_t r = p->r, c = p->columns, grain = GRAIN / r + 1;
    int status = symmetric(p, wide ? (struct flow_gemm){.size = sizeof(struct flow_gemm),
                                                        .k = c,
                                                        .a = p->x,
                                                        .a_row = c,
                                                        .a_col = 1,
                                                        .b = p->x,
                                                        .b_row = 1,
                                                        .b_col = c,
                                                        .c = p->a}
                                   : (struct flow_gemm){.size = sizeof(struct flow_gemm),
                                                        .k = p->rows,
                                                        .a = p->x,
                                                        .a_row = 1,
                                                        .a_col = c,
                                                        .b = p->x,
                                                        .b_row = c,
                                                        .b_col = 1,
                                                        .c = p->a});
    if (status < 0) return status;
    call->host->parallel_for(call, r, grain, mirror_piece, p);
    status = symmetric(
        p, (struct flow_gemm){
               .size = sizeof(struct flow_gemm), .k = r, .a = p->a, .a_row = r, .a_col = 1, .b = p->a, .b_row = r, .b_col = 1, .c = p->b});
    if (status < 0) return status;
    call->host->parallel_for(call, r, grain, polynomial_piece, p);
    struct flow_gemm last = {.size = sizeof(struct flow_gemm),
                             .m = p->rows,
                             .n = c,
                             .k = r,
                             .a = p->b,
                             .a_row = r,
                             .a_col = 1,
                             .b = p->x,
                             .b_row = c,
                             .b_col = 1,
                             .c = p->next,
                             .c_row = c};
    if (!wide) last.a = p->x, last.b = p->b;
    status = product(p, last);
    char *x = p->x;
    p->x = p->next, p->next = x;
    return status;
}

static int one_matrix(struct muon *p) {
    const struct flow_call *call = p->update->call;
    const struct muon_attrs *a = p->update->attrs;
    const int64_t count = p->rows * p->columns;
    call->host->parallel_for(call, count, GRAIN, direction_piece, p);
    double square = 0;
    for (int64_t i = 0; i * GRAIN < count; i++) square += p->sums[i];
    p->norm = sqrt(square);
    call->host->parallel_for(call, count, GRAIN, normalize_piece, p);
    for (int64_t i = 0; i < a->steps; i++) {
        int status = iterate(p);
        if (status < 0) return status;
    }
    const double lr = a->lr * p->update->rate, ratio = (double)p->rows / (double)p->columns;
    p->keep = 1 - lr * a->weight_decay, p->step = lr * sqrt(ratio > 1 ? ratio : 1);
    call->host->parallel_for(call, count, GRAIN, apply_piece, p);
    return FLOW_OK;
}

/* ---- The group ---- */

static void slots_piece(void *context, int64_t begin, int64_t end) {
    struct muon *slots = context;
    for (int64_t i = begin; i < end; i++) slots[i].status = one_matrix(&slots[i]);
}

static int run_slots(const struct flow_update *u, struct muon *slots, int64_t *count) {
    if (*count) u->call->host->parallel_for(u->call, *count, 1, slots_piece, slots);
    int status = FLOW_OK;
    for (int64_t i = 0; i < *count && status == FLOW_OK; i++) status = slots[i].status;
    *count = 0;
    return status;
}

/* Matrix k of parameter i, with the workspace at `at`. */
static struct muon matrix(const struct flow_update *u, uint32_t i, int64_t k, int64_t rows, int64_t columns, const struct muon_room *bytes,
                          char *at) {
    const struct flow_tensor *w = &u->param[i];
    const bool moves = ((const struct muon_attrs *)u->attrs)->momentum != 0;
    const int64_t size = shape_type_bytes(w->dtype), first = k * rows * columns * size;
    return (struct muon){.update = u,
                         .steps = optimizer_steps(u, w->dtype),
                         .dtype = w->dtype,
                         .rows = rows,
                         .columns = columns,
                         .r = least(rows, columns),
                         .size = size,
                         .w = (char *)w->data + first,
                         .m = moves ? (char *)u->state[i].data + first : NULL,
                         .g = u->grad[i].rank >= 0 ? (const char *)u->grad[i].data + first : NULL,
                         .x = at,
                         .next = at + bytes->x,
                         .a = at + 2 * bytes->x,
                         .b = at + 2 * bytes->x + bytes->a,
                         .sums = (double *)(void *)(at + 2 * (bytes->x + bytes->a))};
}

static int muon_step(const struct flow_update *u) {
    struct muon slots[SLOTS];
    int64_t used = 0, largest = 0;
    char *at = u->workspace;
    int status = FLOW_OK;
    for (uint32_t pass = 0; pass < 2; pass++) /* the small ones' memory is measured, then used */
        for (uint32_t i = 0; i < u->count; i++) {
            int64_t rows, columns;
            struct muon_room bytes;
            const int64_t count = matrices(u->attrs, &u->param[i], &rows, &columns);
            if (!count) continue;
            if (!room(rows, columns, shape_type_bytes(u->param[i].dtype), &bytes)) return FLOW_ERROR_MEMORY;
            const bool small = bytes.all <= SMALL;
            if (pass == 0) {
                if (small && bytes.all > largest) largest = bytes.all;
                continue;
            }
            for (int64_t k = 0; k < count && status == FLOW_OK; k++) {
                if (small) {
                    slots[used] = matrix(u, i, k, rows, columns, &bytes, at + used * largest);
                    if (++used == SLOTS) status = run_slots(u, slots, &used);
                    continue;
                }
                status = run_slots(u, slots, &used);
                if (status < 0) return status;
                struct muon large = matrix(u, i, k, rows, columns, &bytes, at);
                status = one_matrix(&large);
            }
            if (status < 0) return status;
        }
    return run_slots(u, slots, &used);
}

/* ---- The table ---- */

static int muon_accepts(const struct flow_host *host, void *owner, const void *attrs, const struct flow_tensor *param) {
    if (param->rank < 2)
        return host->fail(owner, FLOW_ERROR_SHAPE, "muon is for matrices, this parameter has %d ax%s; give it to another optimiser",
                          (int)param->rank, param->rank == 1 ? "is" : "es");
    return optimizer_accepts(host, owner, attrs, param);
}

static uint64_t muon_uses(const void *attrs) { return ((const struct muon_attrs *)attrs)->momentum != 0; }

static const struct flow_attr muon_attrs[] = {
    FLOW_ATTR(struct muon_attrs, lr, "step length: about the spectral norm of a step", "0.02", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct muon_attrs, momentum, "share of the sum of gradients that is kept at a step; 0: no state", "0.95", 0, 1),
    FLOW_ATTR_PLAIN(struct muon_attrs, nesterov, "look ahead by the momentum", "true"),
    FLOW_ATTR(struct muon_attrs, steps, "iterations of Newton and Schulz", "5", 0, 100),
    FLOW_ATTR(struct muon_attrs, weight_decay, "times lr: share of w that each step takes away", "0", 0, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct muon_attrs, stacked, "[.., out, in] are many matrices; else rank > 2 is seen as [out, rest]", "false"),
};
static const struct flow_state muon_states[] = {
    {"m", "momentum; only where `momentum` is not 0", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};

const struct flow_optimizer muon_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "muon",
    .summary = "for matrices: momentum with all singular values brought near 1",
    .equation = "m = momentum*m + g;  u = nesterov ? g + momentum*m : m;  X = u/(norm_F(u) + 1e-7), transposed if rows > columns;\n"
                "`steps` times A = X X^T, X = 3.4445 X + (-4.7750 A + 2.0315 A A) X; transposed back;\n"
                "w *= 1 - lr*weight_decay;  w -= lr * sqrt(max(1, rows/columns)) * X",
    .reference = "Jordan et al. 2024, \"Muon: an optimizer for hidden layers in neural networks\"",
    .example = "{params: \"body.*\", optimizer: muon, with: {lr: 0.02}}",
    .states = FLOW_TABLE(muon_states),
    .attrs = FLOW_TABLE(muon_attrs),
    .attrs_size = sizeof(struct muon_attrs),
    .accepts = muon_accepts,
    .workspace = muon_workspace,
    .step = muon_step,
    .uses = muon_uses,
};
