/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums of products over letters, on every device. Operands are taken from left to right, two at a time; a letter that nobody needs later is
 * summed with the pair that has it last. Every tensor is a view: for each letter a stride (a letter twice in one operand has the sum of
 * both strides: the diagonal). Of a pair, letters are
 *     in a, b and c: batch      in a and c: rows (M)      in b and c: columns (N)      in a and b: summed (K)
 * Letters of a kind whose strides continue each other become one axis of a blocked matrix product; what is left over is looped over.
 * Where no product of blocks comes out of it (no M, N or K worth the name, or neither M nor N innermost in c) the device's strided loops
 * do it.
 */
#ifndef OPS_PRODUCT_EINSUM_WALK_H
#define OPS_PRODUCT_EINSUM_WALK_H

#include "product/product.h"
#include "common/gemm.h"
#include "common/shape.h"

typedef uint64_t letters; /* a set */

struct view {
    char *data;
    letters set;
    int64_t stride[EINSUM_LETTERS]; /* elements; 0 where a letter is not in the set */
};

/* A walk to a result, and what the device does on the way. */
struct contraction {
    const struct flow_call *call; /* NULL: only the workspace and the work are counted */
    const struct einsum_plan *plan;
    int32_t dtype;
    int64_t extent[EINSUM_LETTERS];
    int64_t used; /* bytes of workspace */
    double flops;
    int64_t products; /* calls of the host's product, at most, that a pair may take */
    /* c = sum over the letters that it lacks of a b; `live`: the letters whose extent is not 1. b without letters and data: 1. */
    int (*loops)(const struct contraction *con, letters live, const struct view *a, const struct view *b, const struct view *c);
    /* count elements of 0 */
    int (*zero)(const struct contraction *con, void *data, int64_t count);
    /* to (set to 0 first unless it adds) += from, letter by letter; `from` repeats along letters that it lacks, and letters that are
     * twice in the operand have the stride of its diagonal. */
    int (*add)(const struct contraction *con, const struct flow_tensor *tensor, bool adds, const struct view *to, const struct view *from);
};

static inline letters letter_bit(uint32_t letter) { return (letters)1 << letter; }
static inline bool letter_in(letters set, uint32_t letter) { return (set >> letter & 1) != 0; }

static inline void view_set(const struct einsum_term *term, const struct flow_tensor *t, struct view *view) {
    memset(view, 0, sizeof *view);
    view->data = (char *)t->data;
    for (int32_t i = 0; i < term->rank; ++i) {
        view->set |= letter_bit(term->letter[i]);
        view->stride[term->letter[i]] += t->strides[i];
    }
}

/* A contiguous tensor of the workspace with letters in the result's order, others before them. */
static inline int view_new(struct contraction *con, letters set, struct view *view) {
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

static inline struct chain chain_from(const struct contraction *con, letters set, uint32_t start, const struct view *x,
                                      const struct view *y) {
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

static inline struct chain chain_longest(const struct contraction *con, letters set, const struct view *x, const struct view *y) {
    struct chain best = {0, 1, 0, 0};
    for (uint32_t letter = 0; letter < con->plan->letters; ++letter) {
        if (!letter_in(set, letter)) continue;
        struct chain chain = chain_from(con, set, letter, x, y);
        if (chain.extent > best.extent) best = chain;
    }
    return best;
}

/* Offsets of one place of a loop over the letters of a set, the last letter innermost. */
static inline void place(const struct contraction *con, letters set, int64_t index, const struct view *const views[3], int64_t offset[3]) {
    for (uint32_t i = con->plan->letters; i-- > 0;) {
        if (!letter_in(set, i)) continue;
        int64_t at = index % con->extent[i];
        index /= con->extent[i];
        for (int v = 0; v < 3; ++v) offset[v] += at * views[v]->stride[i];
    }
}

static inline int64_t set_count(const struct contraction *con, letters set) {
    int64_t count = 1;
    for (uint32_t i = 0; i < con->plan->letters; ++i)
        if (letter_in(set, i)) count *= con->extent[i];
    return count;
}

/* ---- Blocked products ---- */

/* 1: done; 0: not a case for blocked products. `live`: the letters whose extent is not 1. */
static inline int contract_blocks(const struct contraction *con, letters live, const struct view *a, const struct view *b,
                                  const struct view *c) {
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
    struct flow_gemm product = gemm_of(con->dtype, m.extent, n.extent, k.extent);
    gemm_a(&product, NULL, m.y, k.x);
    gemm_b(&product, NULL, k.y, n.y);
    gemm_c(&product, NULL, m.x, false);
    uint32_t batch = EINSUM_LETTERS; /* the longest loop is the product's own */
    for (uint32_t i = 0; i < con->plan->letters; ++i)
        if (letter_in(loops, i) && (batch == EINSUM_LETTERS || con->extent[i] > con->extent[batch])) batch = i;
    if (batch < EINSUM_LETTERS) {
        loops &= ~letter_bit(batch);
        gemm_batch(&product, con->extent[batch], a->stride[batch], b->stride[batch], c->stride[batch]);
    }
    const struct view *const views[3] = {a, b, c};
    int64_t size = shape_type_bytes(con->dtype), places = set_count(con, loops), terms = set_count(con, sums);
    if (places > con->products / (terms > 0 ? terms : 1)) return 0;
    for (int64_t i = 0; i < places; ++i)
        for (int64_t j = 0; j < terms; ++j) {
            int64_t offset[3] = {0, 0, 0};
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

/* ---- Pairs ---- */

/* c = sum over the letters that c lacks of a b. */
static inline int contract(struct contraction *con, const struct view *a, const struct view *b, const struct view *c) {
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
    if (set_count(con, all & ~c->set) == 0) return con->zero(con, c->data, count);
    int status = contract_blocks(con, live, a, b, c);
    if (status != 0) return status < 0 ? status : FLOW_OK;
    return con->loops(con, live, a, b, c);
}

/* A factor of 1: a view that has no letters. */
static inline void view_one(struct view *view) { memset(view, 0, sizeof *view); }

/* Sums the letters of a view that are not among `needed`. */
static inline int view_reduce(struct contraction *con, letters needed, struct view *view) {
    if ((view->set & ~needed) == 0) return FLOW_OK;
    struct view one, sum;
    view_one(&one);
    int status = view_new(con, view->set & needed, &sum);
    if (status >= 0) status = contract(con, view, &one, &sum);
    *view = sum;
    return status;
}

/* result = the sum over letters that it lacks of the product of operands, from left to right. */
static inline int walk(struct contraction *con, const struct view *operand, uint32_t count, const struct view *result) {
    struct view a = operand[0], b, c;
    letters later[EINSUM_OPERANDS]; /* letters that the result or operands after the i-th have */
    letters needed = result->set;
    for (uint32_t i = count; i-- > 0;) {
        later[i] = needed;
        needed |= operand[i].set;
    }
    if (count == 1) {
        view_one(&b);
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

static inline void extents_set(struct contraction *con, const struct flow_tensor *in) {
    for (uint32_t i = 0; i < con->plan->operands; ++i)
        for (int32_t j = 0; j < con->plan->in[i].rank; ++j) con->extent[con->plan->in[i].letter[j]] = in[i].shape[j];
}

static inline int walk_forward(struct contraction *con, const struct flow_tensor *in, const struct flow_tensor *out) {
    struct view operand[EINSUM_OPERANDS], result;
    extents_set(con, in);
    for (uint32_t i = 0; i < con->plan->operands; ++i) view_set(&con->plan->in[i], &in[i], &operand[i]);
    view_set(&con->plan->out, out, &result);
    return walk(con, operand, con->plan->operands, &result);
}

/* The gradient of operand `which`: the product of dy with the other operands, summed over the letters that the operand lacks. Where it
 * has letters that nobody else has, or one twice, or is added to, the sum is made apart first. */
static inline int walk_gradient(struct contraction *con, uint32_t which, const struct flow_tensor *in, const struct flow_tensor *dy,
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
    return con->add(con, gradient, adds, &to, &sum);
}

#endif
