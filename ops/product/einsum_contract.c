/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums of products over letters. Operands are taken from left to right, two at a time; a letter that nobody needs later is summed with
 * the pair that has it last. Every tensor is a view: for each letter a stride (a letter twice in one operand has the sum of both
 * strides: the diagonal). Of a pair, letters are
 *     in a, b and c: batch      in a and c: rows (M)      in b and c: columns (N)      in a and b: summed (K)
 * Letters of a kind whose strides continue each other become one axis of a blocked matrix product; what is left over is looped over.
 * Where no product of blocks comes out of it (no M, N or K worth the name, or neither M nor N innermost in c) strided loops do it.
 */
#include "product/product.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <string.h>

typedef uint64_t letters; /* a set */

struct view {
    char *data;
    letters set;
    int64_t stride[EINSUM_LETTERS]; /* elements; 0 where a letter is not in the set */
};

struct contraction {
    const struct flow_call *call; /* NULL: only the workspace and the work are counted */
    const struct einsum_plan *plan;
    int32_t dtype;
    int64_t extent[EINSUM_LETTERS];
    int64_t used; /* bytes of workspace */
    double flops;
};

static letters letter_bit(uint32_t letter) { return (letters)1 << letter; }
static bool letter_in(letters set, uint32_t letter) { return (set >> letter & 1) != 0; }

static void view_set(const struct einsum_term *term, const struct flow_tensor *t, struct view *view) {
    memset(view, 0, sizeof *view);
    view->data = t->data;
    for (int32_t i = 0; i < term->rank; ++i) {
        view->set |= letter_bit(term->letter[i]);
        view->stride[term->letter[i]] += t->strides[i];
    }
}

/* A contiguous tensor of the workspace with letters in the result's order, others before them. */
static int view_new(struct contraction *con, letters set, struct view *view) {
    memset(view, 0, sizeof *view);
    view->set = set;
    int64_t count = 1;
    letters left = set;
    for (int32_t i = con->plan->out.rank - 1; i >= 0; --i) {
        uint32_t letter = con->plan->out.letter[i];
        if (!letter_in(left, letter)) continue;
        left &= ~letter_bit(letter);
        view->stride[letter] = count;
        if (__builtin_mul_overflow(count, con->extent[letter], &count)) return FLOW_ERROR_SHAPE;
    }
    for (uint32_t letter = 0; letter < con->plan->letters; ++letter) {
        if (!letter_in(left, letter)) continue;
        view->stride[letter] = count;
        if (__builtin_mul_overflow(count, con->extent[letter], &count)) return FLOW_ERROR_SHAPE;
    }
    int64_t bytes;
    if (__builtin_mul_overflow(count, shape_type_bytes(con->dtype), &bytes) || bytes > INT64_MAX - 64) return FLOW_ERROR_SHAPE;
    if (con->call) view->data = (char *)con->call->workspace + con->used;
    if (__builtin_add_overflow(con->used, (bytes + 63) / 64 * 64, &con->used)) return FLOW_ERROR_SHAPE;
    return FLOW_OK;
}

/* Letters whose strides continue each other in two views: one axis of extent and strides. */
struct chain {
    letters set;
    int64_t extent, x, y;
};

static struct chain chain_from(const struct contraction *con, letters set, uint32_t start, const struct view *x, const struct view *y) {
    struct chain chain = {letter_bit(start), con->extent[start], x->stride[start], y->stride[start]};
    for (bool grows = true; grows;) {
        grows = false;
        for (uint32_t letter = 0; letter < con->plan->letters; ++letter) {
            if (!letter_in(set & ~chain.set, letter)) continue;
            if (x->stride[letter] != chain.x * chain.extent || y->stride[letter] != chain.y * chain.extent) continue;
            chain.set |= letter_bit(letter);
            chain.extent *= con->extent[letter];
            grows = true;
        }
    }
    return chain;
}

static struct chain chain_longest(const struct contraction *con, letters set, const struct view *x, const struct view *y) {
    struct chain best = {0, 1, 0, 0};
    for (uint32_t letter = 0; letter < con->plan->letters; ++letter) {
        if (!letter_in(set, letter)) continue;
        struct chain chain = chain_from(con, set, letter, x, y);
        if (chain.extent > best.extent) best = chain;
    }
    return best;
}

/* Offsets of one place of a loop over the letters of a set, the last letter innermost. */
static void place(const struct contraction *con, letters set, int64_t index, const struct view *const views[3], int64_t offset[3]) {
    for (uint32_t i = con->plan->letters; i-- > 0;) {
        if (!letter_in(set, i)) continue;
        int64_t at = index % con->extent[i];
        index /= con->extent[i];
        for (int v = 0; v < 3; ++v) offset[v] += at * views[v]->stride[i];
    }
}

static int64_t set_count(const struct contraction *con, letters set) {
    int64_t count = 1;
    for (uint32_t i = 0; i < con->plan->letters; ++i)
        if (letter_in(set, i)) count *= con->extent[i];
    return count;
}

/* ---- Blocked products ---- */

/* 1: done; 0: not a case for blocked products. `live`: the letters whose extent is not 1. */
static int contract_blocks(struct contraction *con, letters live, const struct view *a, const struct view *b, const struct view *c) {
    uint32_t inner = 0;
    while (inner < con->plan->letters && !(letter_in(live & c->set, inner) && c->stride[inner] == 1)) ++inner;
    if (inner == con->plan->letters || (letter_in(a->set, inner) && letter_in(b->set, inner))) return 0;
    if (letter_in(a->set, inner)) {
        const struct view *swap = a;
        a = b, b = swap;
    }
    struct chain n = chain_from(con, live & c->set & b->set & ~a->set, inner, c, b);
    struct chain m = chain_longest(con, live & c->set & a->set & ~b->set, c, a);
    struct chain k = chain_longest(con, live & ~c->set & a->set & b->set, a, b);
    if (m.extent < 2 || n.extent < 4 || k.extent < 2 || (double)m.extent * (double)n.extent * (double)k.extent < 1024) return 0;
    letters rest = live & ~(n.set | m.set | k.set), sums = rest & ~c->set, loops = rest & c->set;
    struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                .m = m.extent,
                                .n = n.extent,
                                .k = k.extent,
                                .a_row = m.y,
                                .a_col = k.x,
                                .b_row = k.y,
                                .b_col = n.y,
                                .c_row = m.x,
                                .dtype = con->dtype};
    uint32_t batch = EINSUM_LETTERS; /* the longest loop is the product's own */
    for (uint32_t i = 0; i < con->plan->letters; ++i)
        if (letter_in(loops, i) && (batch == EINSUM_LETTERS || con->extent[i] > con->extent[batch])) batch = i;
    if (batch < EINSUM_LETTERS) {
        loops &= ~letter_bit(batch);
        product.batch = con->extent[batch];
        product.a_batch = a->stride[batch], product.b_batch = b->stride[batch], product.c_batch = c->stride[batch];
    }
    const struct view *const views[3] = {a, b, c};
    int64_t size = shape_type_bytes(con->dtype), places = set_count(con, loops), terms = set_count(con, sums);
    for (int64_t i = 0; i < places; ++i)
        for (int64_t j = 0; j < terms; ++j) {
            int64_t offset[3] = {0};
            place(con, loops, i, views, offset);
            place(con, sums, j, views, offset);
            product.a = a->data + offset[0] * size;
            product.b = b->data + offset[1] * size;
            product.c = c->data + offset[2] * size;
            product.beta = j > 0;
            int status = con->call->host->gemm(con->call, &product);
            if (status < 0) return status;
        }
    return 1;
}

/* ---- Strided loops ---- */

struct loops {
    const struct contraction *con;
    const struct product_table *table;
    const struct view *views[3];
    letters outer, sums;
    struct product_loop loop;
};

/* The letter of a set with the largest extent; EINSUM_LETTERS: none. */
static uint32_t letter_longest(const struct contraction *con, letters set) {
    uint32_t best = EINSUM_LETTERS;
    for (uint32_t i = 0; i < con->plan->letters; ++i)
        if (letter_in(set, i) && (best == EINSUM_LETTERS || con->extent[i] > con->extent[best])) best = i;
    return best;
}

/* The letter of a set whose next element is nearest in memory. */
static uint32_t letter_nearest(const struct contraction *con, letters set, const struct view *const views[3]) {
    uint32_t best = EINSUM_LETTERS;
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < con->plan->letters; ++i) {
        int64_t step = 0;
        for (int v = 0; v < 3; ++v) step += views[v]->stride[i] < 0 ? -views[v]->stride[i] : views[v]->stride[i];
        if (letter_in(set, i) && step < least) best = i, least = step;
    }
    return best;
}

/* The letter to make vectors of: adjacent in memory wherever it is; one of the result's if that is long enough, to spare the sums
 * across a vector. */
static uint32_t letter_vector(const struct contraction *con, letters live, const struct view *const views[3]) {
    letters good = 0;
    for (uint32_t i = 0; i < con->plan->letters; ++i) {
        bool adjacent = letter_in(live, i);
        for (int v = 0; v < 3; ++v) adjacent = adjacent && (views[v]->stride[i] == 0 || views[v]->stride[i] == 1);
        if (adjacent) good |= letter_bit(i);
    }
    uint32_t kept = letter_longest(con, good & views[2]->set), summed = letter_longest(con, good & ~views[2]->set);
    if (kept < EINSUM_LETTERS && (summed == EINSUM_LETTERS || con->extent[kept] >= 16)) return kept;
    if (summed < EINSUM_LETTERS) return summed;
    uint32_t last = letter_longest(con, live & views[2]->set);
    return last < EINSUM_LETTERS ? last : letter_longest(con, live);
}

static void loops_body(void *context, int64_t begin, int64_t end) {
    const struct loops *work = context;
    const struct view *const *views = work->views;
    int64_t rows = work->loop.rows, terms = set_count(work->con, work->sums), size = shape_type_bytes(work->con->dtype);
    while (begin < end) {
        struct product_loop loop = work->loop;
        int64_t row = begin % rows;
        loop.rows = rows - row < end - begin ? rows - row : end - begin;
        int64_t start[3] = {row * loop.a_row, row * loop.b_row, row * loop.c_row};
        place(work->con, work->outer, begin / rows, views, start);
        for (int64_t j = 0; j < terms; ++j) {
            int64_t at[3] = {start[0], start[1], start[2]};
            place(work->con, work->sums, j, views, at);
            loop.adds = j > 0;
            void *c = views[2]->data + at[2] * size;
            const void *a = views[0]->data + at[0] * size, *b = views[1]->data + at[1] * size;
            if (work->con->dtype == FLOW_F64) work->table->loop_f64(c, a, b, &loop);
            else work->table->loop_f32(c, a, b, &loop);
        }
        begin += loop.rows;
    }
}

static void contract_loops(struct contraction *con, letters live, const struct view *a, const struct view *b, const struct view *c) {
    struct loops work = {.con = con, .table = ISA_PICK(product_table, con->call->host->isa), .views = {a, b, c}};
    struct product_loop *loop = &work.loop;
    uint32_t v = letter_vector(con, live, work.views);
    if (v < EINSUM_LETTERS) live &= ~letter_bit(v);
    uint32_t k = letter_nearest(con, live & ~c->set, work.views), o = letter_nearest(con, live & c->set, work.views);
    *loop = (struct product_loop){.rows = 1, .depth = 1, .width = 1};
    if (v < EINSUM_LETTERS) {
        loop->width = con->extent[v];
        loop->a_width = a->stride[v], loop->b_width = b->stride[v], loop->c_width = c->stride[v];
        loop->sums = !letter_in(c->set, v);
    }
    if (k < EINSUM_LETTERS) {
        loop->depth = con->extent[k];
        loop->a_depth = a->stride[k], loop->b_depth = b->stride[k];
        live &= ~letter_bit(k);
    }
    if (o < EINSUM_LETTERS) {
        loop->rows = con->extent[o];
        loop->a_row = a->stride[o], loop->b_row = b->stride[o], loop->c_row = c->stride[o];
        live &= ~letter_bit(o);
    }
    work.outer = live & c->set;
    work.sums = live & ~c->set;
    int64_t count = set_count(con, work.outer) * loop->rows;
    int64_t each = loop->depth * loop->width * set_count(con, work.sums);
    con->call->host->parallel_for(con->call, count, extent_grain(each, 1 << 16), loops_body, &work);
}

/* ---- Pairs ---- */

/* c = sum over the letters that c lacks of a b. */
static int contract(struct contraction *con, const struct view *a, const struct view *b, const struct view *c) {
    letters live = 0, all = a->set | b->set;
    double work = 2;
    for (uint32_t i = 0; i < con->plan->letters; ++i) {
        if (!letter_in(all, i)) continue;
        work *= (double)con->extent[i];
        if (con->extent[i] != 1) live |= letter_bit(i);
    }
    con->flops += work;
    if (!con->call) return FLOW_OK;
    int64_t count = set_count(con, c->set);
    if (count == 0) return FLOW_OK;
    if (set_count(con, all & ~c->set) == 0) {
        memset(c->data, 0, (size_t)(count * shape_type_bytes(con->dtype)));
        return FLOW_OK;
    }
    int status = contract_blocks(con, live, a, b, c);
    if (status != 0) return status < 0 ? status : FLOW_OK;
    contract_loops(con, live, a, b, c);
    return FLOW_OK;
}

static const float one_f32 = 1;
static const double one_f64 = 1;

/* A factor of 1: a view that has no letters and is only read. */
static void view_one(int32_t dtype, struct view *view) {
    memset(view, 0, sizeof *view);
    const void *one = dtype == FLOW_F64 ? (const void *)&one_f64 : (const void *)&one_f32;
    memcpy(&view->data, &one, sizeof one);
}

/* Sums the letters of a view that are not among `needed`. */
static int view_reduce(struct contraction *con, letters needed, struct view *view) {
    if ((view->set & ~needed) == 0) return FLOW_OK;
    struct view one, sum;
    view_one(con->dtype, &one);
    int status = view_new(con, view->set & needed, &sum);
    if (status >= 0) status = contract(con, view, &one, &sum);
    *view = sum;
    return status;
}

/* result = the sum over letters that it lacks of the product of operands, from left to right. */
static int walk(struct contraction *con, const struct view *operand, uint32_t count, const struct view *result) {
    struct view a = operand[0], b, c;
    letters later[EINSUM_OPERANDS]; /* letters that the result or operands after the i-th have */
    letters needed = result->set;
    for (uint32_t i = count; i-- > 0;) {
        later[i] = needed;
        needed |= operand[i].set;
    }
    if (count == 1) {
        view_one(con->dtype, &b);
        return contract(con, &a, &b, result);
    }
    for (uint32_t i = 1; i < count; ++i) {
        b = operand[i];
        int status = view_reduce(con, b.set | later[i], &a);
        if (status >= 0) status = view_reduce(con, a.set | later[i], &b);
        if (status < 0) return status;
        if (i + 1 == count) return contract(con, &a, &b, result);
        status = view_new(con, (a.set | b.set) & later[i], &c);
        if (status >= 0) status = contract(con, &a, &b, &c);
        if (status < 0) return status;
        a = c;
    }
    return FLOW_OK;
}

static void extents_set(struct contraction *con, const struct flow_tensor *in) {
    for (uint32_t i = 0; i < con->plan->operands; ++i)
        for (int32_t j = 0; j < con->plan->in[i].rank; ++j) con->extent[con->plan->in[i].letter[j]] = in[i].shape[j];
}

static int walk_forward(struct contraction *con, const struct flow_tensor *in, const struct flow_tensor *out) {
    struct view operand[EINSUM_OPERANDS], result;
    extents_set(con, in);
    for (uint32_t i = 0; i < con->plan->operands; ++i) view_set(&con->plan->in[i], &in[i], &operand[i]);
    view_set(&con->plan->out, out, &result);
    return walk(con, operand, con->plan->operands, &result);
}

int64_t einsum_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out, double *flops) {
    struct contraction con = {.plan = plan, .dtype = extent_wide(out->dtype)};
    int status = walk_forward(&con, in, out);
    *flops = con.flops;
    return status < 0 ? status : con.used;
}

int einsum_run(const struct flow_call *call, const struct einsum_plan *plan) {
    struct contraction con = {.call = call, .plan = plan, .dtype = call->out[0].dtype};
    return walk_forward(&con, call->in, call->out);
}

/* ---- Gradients ---- */

/* to += from, letter by letter; `from` repeats along letters that it lacks, and letters that are twice in the operand have the stride of
 * its diagonal. The letter whose next element is nearest runs innermost. */
static void view_add(const struct contraction *con, const struct view *to, const struct view *from) {
    const struct view *const views[3] = {to, from, from};
    uint32_t inner = letter_nearest(con, to->set, views);
    letters outer = inner < EINSUM_LETTERS ? to->set & ~letter_bit(inner) : to->set;
    int64_t n = inner < EINSUM_LETTERS ? con->extent[inner] : 1, count = set_count(con, outer);
    int64_t step = inner < EINSUM_LETTERS ? to->stride[inner] : 0, from_step = inner < EINSUM_LETTERS ? from->stride[inner] : 0;
    for (int64_t i = 0; i < count; ++i) {
        int64_t offset[3] = {0};
        place(con, outer, i, views, offset);
        if (con->dtype == FLOW_F64) {
            double *y = (double *)(void *)to->data + offset[0];
            const double *x = (const double *)(const void *)from->data + offset[1];
            for (int64_t j = 0; j < n; ++j) y[j * step] += x[j * from_step];
        } else {
            float *y = (float *)(void *)to->data + offset[0];
            const float *x = (const float *)(const void *)from->data + offset[1];
            for (int64_t j = 0; j < n; ++j) y[j * step] += x[j * from_step];
        }
    }
}

/* The gradient of operand `which`: the product of dy with the other operands, summed over the letters that the operand lacks. Where it
 * has letters that nobody else has, or one twice, or is added to, the sum is made apart first. */
static int walk_gradient(struct contraction *con, uint32_t which, const struct flow_tensor *in, const struct flow_tensor *dy,
                         const struct flow_tensor *gradient, bool adds) {
    const struct einsum_plan *plan = con->plan;
    struct view operand[EINSUM_OPERANDS], to, sum;
    uint32_t count = 0;
    extents_set(con, in);
    view_set(&plan->out, dy, &operand[count++]);
    letters found = operand[0].set;
    for (uint32_t i = 0; i < plan->operands; ++i) {
        if (i == which) continue;
        view_set(&plan->in[i], &in[i], &operand[count]);
        found |= operand[count++].set;
    }
    view_set(&plan->in[which], gradient, &to);
    int32_t distinct = 0;
    for (uint32_t i = 0; i < plan->letters; ++i) distinct += letter_in(to.set, i);
    if (!adds && distinct == plan->in[which].rank && (to.set & ~found) == 0) return walk(con, operand, count, &to);
    int status = view_new(con, to.set & found, &sum);
    if (status >= 0) status = walk(con, operand, count, &sum);
    if (status < 0 || !con->call) return status;
    adjoint_zero(con->call, gradient, adds);
    view_add(con, &to, &sum);
    return FLOW_OK;
}

int64_t einsum_gradient_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out) {
    int64_t most = 0;
    for (uint32_t i = 0; i < plan->operands; ++i) {
        struct contraction con = {.plan = plan, .dtype = extent_wide(out->dtype)};
        int status = walk_gradient(&con, i, in, out, &in[i], true);
        if (status < 0) return status;
        if (con.used > most) most = con.used;
    }
    return most;
}

int einsum_gradients(const struct flow_call *call, const struct einsum_plan *plan) {
    const struct flow_tensor *dy = &call->grad_out[0];
    int status = FLOW_OK;
    if (!shape_exists(dy)) return gradient_none(call);
    for (uint32_t i = 0; i < plan->operands && status >= 0; ++i) {
        if (!shape_exists(&call->grad_in[i])) continue;
        struct contraction con = {.call = call, .plan = plan, .dtype = dy->dtype};
        status = walk_gradient(&con, i, call->in, dy, &call->grad_in[i], gradient_adds_in(call, i));
    }
    return status;
}
