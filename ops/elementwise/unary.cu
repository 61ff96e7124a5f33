/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one input. All are bound by memory: 2 * sizeof(T) bytes an element and at most some forty operations. */
#include "common/cuda.h"

#include "common/cuda_map.h"
#include "common/cuda_math.h"

#include "elementwise/elementwise.h"
#include "elementwise/kernels_cuda.h"

/* clang-format off */
#define UNARY_LIST(XX) \
    XX(NEG) XX(ABS) XX(SIGN) XX(SQUARE) XX(RELU) XX(CLAMP) XX(EXP) XX(LOG) XX(SQRT) XX(RSQRT) XX(RECIPROCAL) \
    XX(SIN) XX(COS) XX(ERF) XX(FLOOR) \
    XX(ROUND) XX(LEAKY_RELU) XX(ELU) XX(GELU) XX(GELU_TANH) XX(SILU) XX(SIGMOID) XX(TANH) XX(SOFTPLUS) XX(MISH) XX(RELU_SQUARED)
/* clang-format on */

template <typename T> static __device__ inline T real_value(int op, T x, T k0, T k1) {
    switch (op) {
    case UNARY_NEG: return -x;
    case UNARY_ABS: return math_abs(x);
    case UNARY_SIGN: return x > 0 ? T(1) : x < 0 ? T(-1) : x;
    case UNARY_SQUARE: return x * x;
    case UNARY_RELU: return math_relu(x);
    case UNARY_CLAMP: {
        const T low = x < k0 ? k0 : x;
        return low > k1 ? k1 : low;
    }
    case UNARY_EXP: return math_exp(x);
    case UNARY_LOG: return math_log(x);
    case UNARY_SQRT: return math_sqrt(x);
    case UNARY_RSQRT: return 1 / math_sqrt(x);
    case UNARY_RECIPROCAL: return 1 / x;
    case UNARY_SIN: return math_sin(x);
    case UNARY_COS: return math_cos(x);
    case UNARY_ERF: return math_erf(x);
    case UNARY_FLOOR: return math_floor(x);
    case UNARY_ROUND: return math_rint(x);
    case UNARY_LEAKY_RELU: return x > 0 ? x : k0 * x;
    case UNARY_ELU: return x > 0 ? x : k0 * math_expm1(x);
    case UNARY_GELU: return math_gelu(x);
    case UNARY_GELU_TANH: return math_gelu_tanh(x);
    case UNARY_SILU: return math_silu(x);
    case UNARY_SIGMOID: return math_sigmoid(x);
    case UNARY_TANH: return math_tanh(x);
    case UNARY_SOFTPLUS: return math_softplus(x);
    case UNARY_MISH: return math_mish(x);
    case UNARY_RELU_SQUARED: {
        const T p = math_relu(x);
        return p * p;
    }
    default: return x;
    }
}

/* Integers: arithmetic modulo 2^bits. U: the unsigned type of T's width. */
template <typename T, typename U> static __device__ inline T whole_value(int op, T x, T k0, T k1) {
    switch (op) {
    case UNARY_NEG: return static_cast<T>(U(0) - static_cast<U>(x));
    case UNARY_ABS: return x < 0 ? static_cast<T>(U(0) - static_cast<U>(x)) : x;
    case UNARY_SIGN: return static_cast<T>((x > 0) - (x < 0));
    case UNARY_SQUARE: return static_cast<T>(static_cast<U>(x) * static_cast<U>(x));
    case UNARY_RELU: return x < 0 ? T(0) : x;
    case UNARY_CLAMP: {
        const T low = x < k0 ? k0 : x;
        return low > k1 ? k1 : low;
    }
    default: return x;
    }
}

static __device__ inline float value_of(int op, float x, float k0, float k1) { return real_value(op, x, k0, k1); }
static __device__ inline double value_of(int op, double x, double k0, double k1) { return real_value(op, x, k0, k1); }
static __device__ inline int32_t value_of(int op, int32_t x, int32_t k0, int32_t k1) {
    return whole_value<int32_t, uint32_t>(op, x, k0, k1);
}
static __device__ inline int64_t value_of(int op, int64_t x, int64_t k0, int64_t k1) {
    return whole_value<int64_t, uint64_t>(op, x, k0, k1);
}
static __device__ inline uint8_t value_of(int op, uint8_t x, uint8_t k0, uint8_t k1) {
    /* Unsigned: there is nothing below 0. */
    switch (op) {
    case UNARY_NEG: return static_cast<uint8_t>(0u - x);
    case UNARY_SIGN: return x != 0;
    case UNARY_SQUARE: return static_cast<uint8_t>(static_cast<uint32_t>(x) * x);
    case UNARY_CLAMP: {
        const uint8_t low = x < k0 ? k0 : x;
        return low > k1 ? k1 : low;
    }
    default: return x;
    }
}

/* OP -1: as `op` says, the same for all threads. */
template <typename T, int OP> struct unary_map {
    const T *x;
    T *y;
    int op;
    T k0, k1;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[1], uint32_t single) const {
        const cuda_few<T, V> from = cuda_load<V>(x, in[0], single & 1u);
        cuda_few<T, V> to;
        for (int j = 0; j < V; j++) to.at[j] = value_of(OP < 0 ? op : OP, from.at[j], k0, k1);
        cuda_store<V>(y, out, to);
    }
};

template <int V, typename T, int OP> static int unary_run(const struct flow_call *call, int op, T k0, T k1) {
    const struct flow_tensor *const in[1] = {&call->in[0]};
    const void *const to[1] = {call->out[0].data};
    const unary_map<T, OP> map = {static_cast<const T *>(call->in[0].data), static_cast<T *>(call->out[0].data), op, k0, k1};
    return cuda_status(call, (cuda_map_run<V, 1>(cuda_stream(call), &call->out[0], in, to, 1, sizeof(T), map)));
}

int cuda_unary_forward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const double k0 = e->k[0], k1 = e->k[1];
    switch (call->out[0].dtype) {
    case FLOW_F64: return unary_run<2, double, -1>(call, e->op, k0, k1);
    case FLOW_I32: return unary_run<4, int32_t, -1>(call, e->op, static_cast<int32_t>(k0), static_cast<int32_t>(k1));
    case FLOW_I64:
        /* The largest double below 2^63 is far from it: a bound beyond means none. */
        return unary_run<2, int64_t, -1>(call, e->op, k0 <= -0x1p63 ? INT64_MIN : static_cast<int64_t>(k0),
                                         k1 >= 0x1p63 ? INT64_MAX : static_cast<int64_t>(k1));
    case FLOW_U8: return unary_run<16, uint8_t, -1>(call, e->op, static_cast<uint8_t>(k0), static_cast<uint8_t>(k1));
    default: break;
    }
    const float f0 = static_cast<float>(k0), f1 = static_cast<float>(k1);
    switch (e->op) {
#define CASE(name) \
    case UNARY_##name: return unary_run<4, float, UNARY_##name>(call, e->op, f0, f1);
        UNARY_LIST(CASE)
#undef CASE
    default: return FLOW_ERROR_INTERNAL;
    }
}
