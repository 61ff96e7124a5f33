/* SPDX-License-Identifier: Apache-2.0 */
/* Sums, extremes, products and norms over axes: each reads x once (var twice) and writes its results; the operations are few, so memory
 * bounds them all. */
#include "common/cuda.h"
#include "common/extent.h"
#include "reduce/kernels_cuda.h"
#include "reduce/reduce_cuda.h"

enum extreme_kind { LARGEST, SMALLEST, MAGNITUDE };

/* A NaN wins. */
template <typename T, extreme_kind KIND> struct reduce_extreme {
    using value = T;
    using part = T;
    using state = T;
    T *y;
    __device__ T centre(int64_t) const { return 0; }
    __device__ T start() const { return KIND == MAGNITUDE ? T(0) : KIND == LARGEST ? -static_cast<T>(INFINITY) : static_cast<T>(INFINITY); }
    __device__ T begin() const { return start(); }
    __device__ T join(T a, T b) const { return KIND == SMALLEST ? cuda_join_min()(a, b) : cuda_join_max()(a, b); }
    __device__ void take(T &so_far, T x, int64_t, T) const { so_far = join(so_far, KIND == MAGNITUDE ? cuda_magnitude(x) : x); }
    __device__ T merge(T a, T b) const { return join(a, b); }
    __device__ void write(int64_t result, T v) const { y[result] = v; }
};

template <typename T> struct reduce_product {
    using value = T;
    using part = double;
    using state = double;
    T *y;
    __device__ T centre(int64_t) const { return 0; }
    __device__ double start() const { return 1; }
    __device__ double begin() const { return 1; }
    __device__ double join(double a, double b) const { return a * b; }
    __device__ void take(double &product, T x, int64_t, T) const { product *= static_cast<double>(x); }
    __device__ double merge(double a, double b) const { return a * b; }
    __device__ void write(int64_t result, double v) const { y[result] = static_cast<T>(v); }
};

template <typename T> struct reduce_log_sum {
    using value = T;
    using part = cuda_log_sum<T>;
    using state = cuda_log_sum<T>;
    T *y;
    __device__ T centre(int64_t) const { return 0; }
    __device__ state start() const { return cuda_log_sum_start<T>(); }
    __device__ state begin() const { return start(); }
    __device__ state join(const state &a, const state &b) const { return cuda_join_log_sum()(a, b); }
    __device__ void take(part &so_far, T x, int64_t, T) const { so_far.add(x); }
    __device__ state merge(const state &a, const part &b) const { return join(a, b); }
    __device__ void write(int64_t result, const state &v) const {
        y[result] = v.largest - v.largest != 0 ? v.largest : v.largest + cuda_log(v.sum); /* infinite or NaN: so is the result */
    }
};

/* Squares of f32 in double neither over- nor underflow. */
struct reduce_squares {
    double sum;
    __device__ void add(float x) { sum += static_cast<double>(x) * static_cast<double>(x); }
    __device__ double root() const { return sqrt(sum); }
};
/* Those of double in three sums: of the tiny and the huge ones, scaled, and of the others (Anderson, Safe Scaling in the Level 1 BLAS,
 * 2017). Powers of two, so that scaling rounds nothing. */
struct reduce_squares_wide {
    double small, middle, big;
    __device__ void add(double x) {
        const double size = fabs(x);
        if (size > 0x1p486) big += (x * 0x1p-538) * (x * 0x1p-538);
        else if (size < 0x1p-511) small += (x * 0x1p537) * (x * 0x1p537);
        else middle += x * x;
    }
    __device__ double root() const {
        if (big > 0) return sqrt(big + middle * 0x1p-538 * 0x1p-538) * 0x1p538;
        if (middle == 0) return sqrt(small) * 0x1p-537;
        return sqrt(middle + small * 0x1p-537 * 0x1p-537);
    }
};
static __device__ inline reduce_squares operator+(const reduce_squares &a, const reduce_squares &b) { return {a.sum + b.sum}; }
static __device__ inline reduce_squares_wide operator+(const reduce_squares_wide &a, const reduce_squares_wide &b) {
    return {a.small + b.small, a.middle + b.middle, a.big + b.big};
}
static __device__ inline reduce_squares cuda_exchange(const reduce_squares &v, int step) { return {cuda_exchange(v.sum, step)}; }
static __device__ inline reduce_squares_wide cuda_exchange(const reduce_squares_wide &v, int step) {
    return {cuda_exchange(v.small, step), cuda_exchange(v.middle, step), cuda_exchange(v.big, step)};
}

template <typename T, typename Squares> struct reduce_euclidean {
    using value = T;
    using part = Squares;
    using state = Squares;
    T *y;
    __device__ T centre(int64_t) const { return 0; }
    __device__ state start() const { return {}; }
    __device__ state begin() const { return {}; }
    __device__ state join(const state &a, const state &b) const { return a + b; }
    __device__ void take(part &so_far, T x, int64_t, T) const { so_far.add(x); }
    __device__ state merge(const state &a, const part &b) const { return a + b; }
    __device__ void write(int64_t result, const state &v) const { y[result] = static_cast<T>(v.root()); }
};

/* (sum |x|^p)^(1/p) in double. */
template <typename T> struct reduce_power {
    using value = T;
    using part = double;
    using state = double;
    T *y;
    double p;
    __device__ T centre(int64_t) const { return 0; }
    __device__ double start() const { return 0; }
    __device__ double begin() const { return 0; }
    __device__ double join(double a, double b) const { return a + b; }
    __device__ void take(double &sum, T x, int64_t, T) const { sum += pow(fabs(static_cast<double>(x)), p); }
    __device__ double merge(double a, double b) const { return a + b; }
    __device__ void write(int64_t result, double sum) const { y[result] = static_cast<T>(pow(sum, 1 / p)); }
};

/* ---- Launchers ---- */

template <typename T> struct squares_of { using type = reduce_squares; };
template <> struct squares_of<double> { using type = reduce_squares_wide; };

template <typename T> static int norm_run(const struct flow_call *call, const reduce_shape &of, T *y, double p) {
    void *space = call->workspace;
    if (p == 1) return reduce_launch(call, reduce_total<T, TERM_ABS>{y, NULL, 1}, of, space);
    if (p == 2) return reduce_launch(call, reduce_euclidean<T, typename squares_of<T>::type>{y}, of, space);
    if (p == 0) return reduce_launch(call, reduce_total<T, TERM_NONZERO>{y, NULL, 1}, of, space);
    if (p == static_cast<double>(INFINITY)) return reduce_launch(call, reduce_extreme<T, MAGNITUDE>{y}, of, space);
    return reduce_launch(call, reduce_power<T>{y, p}, of, space);
}

template <typename T> static int real_run(const struct flow_call *call) {
    const struct reduce_attrs *attrs = static_cast<const struct reduce_attrs *>(call->attrs);
    const struct reduce_plan *plan = static_cast<const struct reduce_plan *>(call->priv);
    const reduce_shape of = reduce_shape_of(plan);
    T *y = static_cast<T *>(call->out[0].data);
    void *space = call->workspace;
    switch (plan->op) {
    case REDUCE_SUM: return reduce_launch(call, reduce_total<T, TERM_SELF>{y, NULL, 1}, of, space);
    case REDUCE_MEAN: return reduce_mean_launch(call, of, y, space);
    case REDUCE_MAX: return reduce_launch(call, reduce_extreme<T, LARGEST>{y}, of, space);
    case REDUCE_MIN: return reduce_launch(call, reduce_extreme<T, SMALLEST>{y}, of, space);
    case REDUCE_PRODUCT: return reduce_launch(call, reduce_product<T>{y}, of, space);
    case REDUCE_LOG_SUM_EXP: return reduce_launch(call, reduce_log_sum<T>{y}, of, space);
    case REDUCE_NORM: return norm_run(call, of, y, attrs->p);
    default: break;
    }
    /* REDUCE_VAR: the means, then squares around them */
    T *means = static_cast<T *>(space);
    const double count = static_cast<double>(of.segments) * (of.last ? static_cast<double>(of.run) : 1);
    space = static_cast<char *>(space) + reduce_align(of.results * static_cast<int64_t>(sizeof(T)));
    const int error = reduce_mean_launch(call, of, means, space);
    if (error != 0) return error;
    return reduce_launch(call, reduce_total<T, TERM_DEVIATION>{y, means, count - (attrs->unbiased ? 1 : 0)}, of, space);
}

extern "C" int cuda_reduce_forward(const struct flow_call *call) {
    switch (call->in[0].dtype) {
    case FLOW_F64: return cuda_status(call, real_run<double>(call));
    case FLOW_F32: return cuda_status(call, real_run<float>(call));
    default: return cuda_status(call, cuda_reduce_whole(call));
    }
}

/* Workspace: of var its means; of backward numbers of each result (see reduce_back.cu); then states of parts. */
extern "C" int cuda_reduce_plan(struct flow_infer *infer) {
    const struct reduce_plan *plan = static_cast<const struct reduce_plan *>(infer->priv);
    const reduce_shape of = reduce_shape_of(plan);
    const int64_t partial = reduce_align(reduce_partial_bytes(of)), size = shape_type_bytes(extent_wide(infer->in[0].dtype));
    const bool numbers = plan->op != REDUCE_SUM && plan->op != REDUCE_MEAN;
    infer->workspace = partial + (plan->op == REDUCE_VAR ? reduce_align(of.results * size) : 0);
    if (infer->differentiated) infer->workspace_backward = numbers ? reduce_align(of.results * 16) + partial : 0;
    return FLOW_OK;
}
