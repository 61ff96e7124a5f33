/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of everything with `axes` and `keep`: what a result has to say (a mean, the place of the first extreme, the product of the
 * others) is found by a reduction first, then one pass over x writes dx. */
#include "common/cuda.h"
#include "reduce/kernels_cuda.h"
#include "reduce/reduce_cuda.h"

/* The first element that is the result, or that is a NaN where it is one; of magnitudes. INT64_MAX: none. */
template <typename T, bool MAGNITUDE> struct reduce_find {
    using value = T;
    using part = int64_t;
    using state = int64_t;
    int64_t *to;
    const T *y;
    __device__ T centre(int64_t result) const { return y[result]; }
    __device__ int64_t start() const { return INT64_MAX; }
    __device__ int64_t begin() const { return INT64_MAX; }
    __device__ int64_t join(int64_t a, int64_t b) const { return a < b ? a : b; }
    __device__ void take(int64_t &first, T x, int64_t at, T c) const {
        const T v = MAGNITUDE ? cuda_magnitude(x) : x;
        if ((v == c || (cuda_odd(c) && cuda_odd(v))) && at < first) first = at;
    }
    __device__ int64_t merge(int64_t a, int64_t b) const { return join(a, b); }
    __device__ void write(int64_t result, int64_t first) const { to[result] = first; }
};

/* The product of what is not 0, and how many are. */
struct reduce_factors {
    double product;
    int64_t zeros;
};
static __device__ inline reduce_factors cuda_exchange(const reduce_factors &v, int step) {
    return {cuda_exchange(v.product, step), cuda_exchange(v.zeros, step)};
}
template <typename T> struct reduce_factor {
    using value = T;
    using part = reduce_factors;
    using state = reduce_factors;
    reduce_factors *to;
    __device__ T centre(int64_t) const { return 0; }
    __device__ state start() const { return {1, 0}; }
    __device__ state begin() const { return {1, 0}; }
    __device__ state join(const state &a, const state &b) const { return {a.product * b.product, a.zeros + b.zeros}; }
    __device__ void take(part &so_far, T x, int64_t, T) const {
        if (x == 0) so_far.zeros++;
        else so_far.product *= static_cast<double>(x);
    }
    __device__ state merge(const state &a, const part &b) const { return join(a, b); }
    __device__ void write(int64_t result, const state &v) const { to[result] = v; }
};

/* ---- From results to elements ---- */

enum spread_how { HOW_PLAIN, HOW_EXP, HOW_SIGN, HOW_SCALE, HOW_POWER, HOW_FIRST, HOW_FACTOR };

/* The axes of x but the last (`run` elements), with the strides that results have along them. */
template <typename T> struct reduce_spread_of {
    T *dx;
    const T *x, *dy, *y;
    const T *means;
    const int64_t *firsts;
    const reduce_factors *factors;
    reduce_steps outer;
    int64_t run, count;
    spread_how how;
    enum reduce_op op;
    T by;
    double p;
    bool adds;
};

/* Numbers of a result: its gradient times what all its elements share, and what they are taken around. */
template <typename T> static __device__ inline cuda_two<T> spread_numbers(const reduce_spread_of<T> &of, int64_t result) {
    const T g = of.dy[result];
    switch (of.op) {
    case REDUCE_MEAN: return {g * of.by, T(0)};
    case REDUCE_VAR: return {2 * g * of.by, of.means[result]};
    case REDUCE_LOG_SUM_EXP: {
        const T y = of.y[result];
        if (y == -static_cast<T>(INFINITY)) return {T(0), T(0)};
        return {g, y};
    }
    case REDUCE_NORM: {
        const T y = of.y[result];
        if (y == 0 || of.p == 0) return {T(0), T(0)};
        if (of.how == HOW_SCALE) return {g / y, T(0)};
        if (of.how == HOW_POWER) return {static_cast<T>(static_cast<double>(g) * pow(static_cast<double>(y), 1 - of.p)), T(0)};
        return {g, T(0)};
    }
    default: return {g, T(0)};
    }
}

template <typename T>
static __device__ inline T spread_one(const reduce_spread_of<T> &of, T x, int64_t at, int64_t result, const cuda_two<T> &n) {
    const T q = n.a, c = n.b;
    switch (of.how) {
    case HOW_EXP: return q * cuda_exp(x - c);
    case HOW_SIGN: return x > 0 ? q : x < 0 ? -q : x * 0;
    case HOW_SCALE: return q * (x - c);
    case HOW_POWER:
        if (x == 0) return 0;
        return (x > 0 ? q : -q) * static_cast<T>(pow(fabs(static_cast<double>(x)), of.p - 1));
    case HOW_FIRST: return of.firsts[result] != at ? T(0) : of.op == REDUCE_NORM && x < 0 ? -q : q;
    case HOW_FACTOR: {
        const reduce_factors f = of.factors[result];
        if (f.zeros == 0) return static_cast<T>(static_cast<double>(q) * f.product / static_cast<double>(x));
        return f.zeros == 1 && x == 0 ? static_cast<T>(static_cast<double>(q) * f.product) : T(0);
    }
    default: return q;
    }
}

/* A pack of dx a thread and step; PLAIN: x is not read. LAST: a pack belongs to one result, else to V of them side by side. Writes dx once
 * and reads x at most once; what results have to say comes from the cache. */
template <typename T, int V, bool LAST, bool PLAIN>
static __global__ void __launch_bounds__(REDUCE_THREADS, 2) reduce_spread(reduce_spread_of<T> of) {
    using pack = cuda_pack<T, V>;
    CUDA_EACH(k, of.count / V) {
        const int64_t at = k * V, row = cuda_quotient(at, of.run), base = reduce_offset(of.outer, row);
        const int64_t result = LAST ? base : base + (at - row * of.run);
        pack *to = reinterpret_cast<pack *>(of.dx + at);
        pack x = {}, v = {};
        if (!PLAIN) x = *reinterpret_cast<const pack *>(of.x + at);
        if (of.adds) v = *to;
        cuda_two<T> numbers = spread_numbers(of, result);
#pragma unroll
        for (int j = 0; j < V; j++) {
            if (!LAST && j > 0) numbers = spread_numbers(of, result + j);
            v.at[j] += PLAIN ? numbers.a : spread_one(of, x.at[j], at + j, LAST ? result : result + j, numbers);
        }
        *to = v;
    }
}

/* ---- Launchers ---- */

/* Axes of x but the last from the outermost, and the strides of results. */
static reduce_steps outer_of(const struct reduce_plan *plan) {
    reduce_steps of = {};
    int64_t step = plan->last ? 1 : plan->walk.run;
    int32_t kept = plan->kept_rank - 1, walked = plan->walk.rank - 1;
    of.rank = plan->kept_rank + plan->walk.rank;
    for (int32_t i = of.rank - 1; i >= 0; i--) { /* the innermost has the smallest stride */
        const bool keeps = kept >= 0 && (walked < 0 || plan->kept_stride[kept] < plan->walk.stride[walked]);
        of.extent[i] = keeps ? plan->kept_extent[kept] : plan->walk.extent[walked];
        of.stride[i] = keeps ? step : 0;
        if (keeps) step *= plan->kept_extent[kept--];
        else walked--;
    }
    return of;
}

static spread_how how_of(enum reduce_op op, double p) {
    switch (op) {
    case REDUCE_LOG_SUM_EXP: return HOW_EXP;
    case REDUCE_VAR: return HOW_SCALE;
    case REDUCE_MAX:
    case REDUCE_MIN: return HOW_FIRST;
    case REDUCE_PRODUCT: return HOW_FACTOR;
    case REDUCE_NORM:
        return p == 1 ? HOW_SIGN : p == 2 ? HOW_SCALE : p == 0 ? HOW_PLAIN : p == static_cast<double>(INFINITY) ? HOW_FIRST : HOW_POWER;
    default: return HOW_PLAIN;
    }
}

template <typename T, int V> static int spread_launch(const struct flow_call *call, const reduce_spread_of<T> &of, bool last) {
    const unsigned blocks = cuda_blocks(of.count / V, REDUCE_THREADS);
    const bool plain = of.how == HOW_PLAIN;
    cudaStream_t stream = cuda_stream(call);
    if (last && plain) return CUDA_LAUNCH((reduce_spread<T, V, true, true>), blocks, REDUCE_THREADS, 0, stream, of);
    if (last) return CUDA_LAUNCH((reduce_spread<T, V, true, false>), blocks, REDUCE_THREADS, 0, stream, of);
    if (plain) return CUDA_LAUNCH((reduce_spread<T, V, false, true>), blocks, REDUCE_THREADS, 0, stream, of);
    return CUDA_LAUNCH((reduce_spread<T, V, false, false>), blocks, REDUCE_THREADS, 0, stream, of);
}

template <typename T> static int back_run(const struct flow_call *call, int64_t count, int64_t results) {
    const struct reduce_attrs *attrs = static_cast<const struct reduce_attrs *>(call->attrs);
    const struct reduce_plan *plan = static_cast<const struct reduce_plan *>(call->priv);
    const reduce_shape shape = reduce_shape_of(plan);
    const double each = static_cast<double>(count) / static_cast<double>(results);
    reduce_spread_of<T> of = {};
    void *numbers = call->workspace, *partial = static_cast<char *>(numbers) + reduce_align(results * 16);
    of.dx = static_cast<T *>(call->grad_in[0].data);
    of.x = static_cast<const T *>(call->in[0].data);
    of.dy = static_cast<const T *>(call->grad_out[0].data);
    of.y = static_cast<const T *>(call->out[0].data);
    of.outer = outer_of(plan);
    of.run = plan->walk.run, of.count = count, of.op = plan->op;
    of.p = plan->op == REDUCE_NORM ? attrs->p : 0;
    of.how = how_of(plan->op, of.p);
    of.by = static_cast<T>(1 / (each - (plan->op == REDUCE_VAR && attrs->unbiased ? 1 : 0)));
    of.adds = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    int error = 0;
    if (plan->op == REDUCE_VAR) {
        of.means = static_cast<const T *>(numbers);
        error = reduce_mean_launch(call, shape, static_cast<T *>(numbers), partial);
    } else if (of.how == HOW_FIRST) {
        int64_t *firsts = static_cast<int64_t *>(numbers);
        of.firsts = firsts;
        if (plan->op == REDUCE_NORM) error = reduce_launch(call, reduce_find<T, true>{firsts, of.y}, shape, partial);
        else error = reduce_launch(call, reduce_find<T, false>{firsts, of.y}, shape, partial);
    } else if (of.how == HOW_FACTOR) {
        reduce_factors *factors = static_cast<reduce_factors *>(numbers);
        of.factors = factors;
        error = reduce_launch(call, reduce_factor<T>{factors}, shape, partial);
    }
    if (error != 0) return error;
    if (cuda_whole<T>(of.run, of.dx, of.x)) return spread_launch<T, cuda_pack_size<T>>(call, of, plan->last);
    return spread_launch<T, 1>(call, of, plan->last);
}

static int64_t count_of(const struct flow_tensor *t) {
    int64_t n = 1;
    for (int32_t a = 0; a < t->rank; a++) n *= t->shape[a];
    return n;
}

extern "C" int cuda_reduce_backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    if (dy->rank < 0 || count_of(dy) == 0) return cuda_zero_all(call);
    if (dx->rank < 0 || count_of(dx) == 0) return FLOW_OK;
    if (dy->dtype == FLOW_F64) return cuda_status(call, back_run<double>(call, count_of(dx), count_of(dy)));
    return cuda_status(call, back_run<float>(call, count_of(dx), count_of(dy)));
}
