/* SPDX-License-Identifier: Apache-2.0 */
/* Positions as sines and cosines: sinusoid, rope. Angles are formed in f64: their error does not grow with the position. */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "shape/kernels_cuda.h"
#include "shape/shape.h"

#include <math.h>

/* Where the counting begins; what has been counted is carried on. Of one thread alone. */
struct counting {
    const int64_t *before; /* NULL: none */
    int64_t *after;
    int64_t offset, steps;
    __device__ double first() const { return static_cast<double>((before != nullptr ? *before : 0) + offset); }
    __device__ void carry() const {
        if (before != nullptr && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *after = *before + steps;
    }
};

static struct counting counting_of(const struct flow_call *call, int64_t steps) {
    const struct position_attrs *a = static_cast<const struct position_attrs *>(call->attrs);
    struct counting c = {nullptr, nullptr, a->offset, steps};
    if (call->state_count > 0 && call->state_in[0].rank >= 0)
        c.before = static_cast<const int64_t *>(call->state_in[0].data), c.after = static_cast<int64_t *>(call->state_out[0].data);
    return c;
}

/* Sine and cosine of position t for wave i of `pairs`: w_i = base^(-i / pairs). */
static __device__ inline void angle_of(double t, double base, int64_t i, int64_t pairs, double *sine, double *cosine) {
    const double angle = t * pow(base, -static_cast<double>(i) / static_cast<double>(pairs));
    *sine = sin(angle), *cosine = cos(angle);
}

/* ---- sinusoid ------------------------------------------------------------------------------------------------------ */

/* Some 400 operations in f64 for two elements: done once for all sequences of a batch. */
template <typename T>
static __global__ void __launch_bounds__(256, 2) sinusoid_kernel(struct counting c, int64_t pairs, double base, bool interleaved, T *y) {
    const double first = c.first();
    CUDA_EACH(i, c.steps * pairs) {
        const int64_t t = i / pairs, k = i - t * pairs;
        double sine, cosine;
        angle_of(first + static_cast<double>(t), base, k, pairs, &sine, &cosine);
        T *row = y + 2 * t * pairs;
        row[interleaved ? 2 * k : k] = static_cast<T>(sine);
        row[interleaved ? 2 * k + 1 : k + pairs] = static_cast<T>(cosine);
    }
    c.carry();
}

int cuda_sinusoid_forward(const struct flow_call *call) {
    const struct position_attrs *a = static_cast<const struct position_attrs *>(call->attrs);
    const struct position *p = static_cast<const struct position *>(call->priv);
    const struct flow_tensor *y = &call->out[0];
    const struct counting c = counting_of(call, y->shape[0]);
    const unsigned grid = cuda_blocks(c.steps * p->pairs, CUDA_BLOCK);
    if (c.steps * p->pairs == 0 && c.before == nullptr) return FLOW_OK;
    if (y->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((sinusoid_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), c, p->pairs, a->base,
                                             a->style == 1, static_cast<double *>(y->data)));
    return cuda_status(call, CUDA_LAUNCH((sinusoid_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), c, p->pairs, a->base,
                                         a->style == 1, static_cast<float *>(y->data)));
}

/* ---- rope ---------------------------------------------------------------------------------------------------------- */

/* x [.., T, D] of any strides, y row-major; `rows`: the axes before T. */
struct rope {
    cuda_nest<1> rows; /* of x */
    int64_t steps, width, pairs, x_step, x_feature;
    double base;
    bool interleaved, back, add;
};

/* A thread forms one angle (t, i) and turns that pair of every gridDim.y-th row by it: some 400 operations in f64 shared by its rows, then
 * 4 * sizeof(T) bytes and 6 operations a pair. Features that are not turned are copied by threads of their own. y may be x. */
template <typename T> static __global__ void __launch_bounds__(256, 2) rope_kernel(struct rope r, struct counting c, const T *x, T *y) {
    const double first = c.first();
    const int64_t rest = r.width - 2 * r.pairs, each = r.pairs + rest;
    CUDA_EACH(unit, r.steps * each) {
        const int64_t t = unit / each, i = unit - t * each;
        const bool turned = i < r.pairs;
        const int64_t a = !turned ? i + r.pairs : r.interleaved ? 2 * i : i, b = r.interleaved ? 2 * i + 1 : i + r.pairs;
        T sine = 0, cosine = 1;
        if (turned) {
            double s, k;
            angle_of(first + static_cast<double>(t), r.base, i, r.pairs, &s, &k);
            sine = static_cast<T>(r.back ? -s : s), cosine = static_cast<T>(k);
        }
        for (int64_t row = blockIdx.y; row < r.rows.count; row += gridDim.y) {
            int64_t at[1];
            r.rows.at(row, at);
            const T *from = x + at[0] + t * r.x_step;
            T *to = y + (row * r.steps + t) * r.width;
            const T p = from[a * r.x_feature];
            if (!turned) {
                to[a] = r.add ? to[a] + p : p;
                continue;
            }
            const T q = from[b * r.x_feature], u = p * cosine - q * sine, v = q * cosine + p * sine;
            to[a] = r.add ? to[a] + u : u;
            to[b] = r.add ? to[b] + v : v;
        }
    }
    c.carry();
}

static int rope_run(const struct flow_call *call, const struct flow_tensor *x, const struct flow_tensor *y, const struct counting &c,
                    bool back, bool add) {
    const struct position_attrs *a = static_cast<const struct position_attrs *>(call->attrs);
    const struct position *p = static_cast<const struct position *>(call->priv);
    const int32_t last = y->rank - 1;
    const int64_t *const strides[1] = {x->strides};
    struct rope r = {cuda_nest_of<1>(last - 1, y->shape, strides),
                     y->shape[last - 1],
                     y->shape[last],
                     p->pairs,
                     x->strides[last - 1],
                     x->strides[last],
                     a->base,
                     a->style == 1,
                     back,
                     add};
    const int64_t units = r.steps * (r.width - r.pairs);
    if (cuda_count(y) == 0 && c.before == nullptr) return FLOW_OK;
    dim3 grid(cuda_blocks(units, CUDA_BLOCK), 1, 1);
    /* So many rows at a time that the device is full; each further one forms the angles anew. */
    while (grid.y < r.rows.count && grid.x * grid.y < 132 * 4) grid.y *= 2;
    if (y->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((rope_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, c,
                                             static_cast<const double *>(x->data), static_cast<double *>(y->data)));
    return cuda_status(call, CUDA_LAUNCH((rope_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, c,
                                         static_cast<const float *>(x->data), static_cast<float *>(y->data)));
}

int cuda_rope_forward(const struct flow_call *call) {
    const struct flow_tensor *y = &call->out[0];
    return rope_run(call, &call->in[0], y, counting_of(call, y->shape[y->rank - 2]), false, false);
}

/* The gradient turned back. */
int cuda_rope_backward(const struct flow_call *call) {
    const struct position_attrs *a = static_cast<const struct position_attrs *>(call->attrs);
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0) return FLOW_OK;
    return rope_run(call, g, to, {nullptr, nullptr, a->offset, 0}, true, add);
}

/* Angles are formed as they are needed. */
int cuda_position_plan(struct flow_infer *infer) {
    infer->packed = 0, infer->workspace_backward = 0;
    return FLOW_OK;
}
