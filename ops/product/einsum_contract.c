/* SPDX-License-Identifier: Apache-2.0 */
/* einsum on the CPU: the walk of einsum_walk.h, and strided loops where no product of blocks comes out of a pair. */
#include "product/einsum_walk.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <string.h>

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

static const float one_f32 = 1;
static const double one_f64 = 1;

static int contract_loops(const struct contraction *con, letters live, const struct view *a, const struct view *b, const struct view *c) {
    struct view factor = *b;
    if (!b->data) { /* it is only read */
        const void *one = con->dtype == FLOW_F64 ? (const void *)&one_f64 : (const void *)&one_f32;
        memcpy(&factor.data, &one, sizeof one);
        b = &factor;
    }
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
    return FLOW_OK;
}

/* The letter whose next element is nearest runs innermost. */
static int view_add(const struct contraction *con, const struct flow_tensor *tensor, bool adds, const struct view *to,
                    const struct view *from) {
    const struct view *const views[3] = {to, from, from};
    adjoint_zero(con->call, tensor, adds);
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
    return FLOW_OK;
}

static int zero(const struct contraction *con, void *data, int64_t count) {
    memset(data, 0, (size_t)(count * shape_type_bytes(con->dtype)));
    return FLOW_OK;
}

static struct contraction contraction_of(const struct flow_call *call, const struct einsum_plan *plan, int32_t dtype) {
    return (struct contraction){
        .call = call, .plan = plan, .dtype = dtype, .products = INT64_MAX, .loops = contract_loops, .zero = zero, .add = view_add};
}

int64_t einsum_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out, double *flops) {
    struct contraction con = contraction_of(NULL, plan, extent_wide(out->dtype));
    int status = walk_forward(&con, in, out);
    *flops = con.flops;
    return status < 0 ? status : con.used;
}

int einsum_run(const struct flow_call *call, const struct einsum_plan *plan) {
    struct contraction con = contraction_of(call, plan, call->out[0].dtype);
    return walk_forward(&con, call->in, call->out);
}

int64_t einsum_gradient_workspace(const struct einsum_plan *plan, const struct flow_tensor *in, const struct flow_tensor *out) {
    int64_t most = 0;
    for (uint32_t i = 0; i < plan->operands; ++i) {
        struct contraction con = contraction_of(NULL, plan, extent_wide(out->dtype));
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
        struct contraction con = contraction_of(call, plan, dy->dtype);
        status = walk_gradient(&con, i, call->in, dy, &call->grad_in[i], gradient_adds_in(call, i));
    }
    return status;
}
