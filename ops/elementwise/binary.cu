/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of two inputs that broadcast, and sums, products, minima and maxima of any number. Bound by memory: each input is read once and
 * the result written once, 16 bytes at a time where the last axis allows it. */
#include "common/cuda.h"

#include "common/cuda_map.h"
#include "common/cuda_math.h"

#include "elementwise/back.h"
#include "elementwise/elementwise.h"
#include "elementwise/gate.h"
#include "elementwise/kernels_cuda.h"

/* ---- One element ------------------------------------------------------------------------------------------------- */

/* The remainder with the divisor's sign; NaN for a divisor of 0. */
template <typename T> static __device__ inline T real_modulo(T p, T q) {
    const T r = math_fmod(p, q);
    return r == 0 ? math_copysign(T(0), q) : (r < 0) != (q < 0) ? r + q : r;
}

template <typename T> static __device__ inline T real_pair(int op, T p, T q) {
    switch (op) {
    case BINARY_ADD: return p + q;
    case BINARY_SUB: return p - q;
    case BINARY_MUL: return p * q;
    case BINARY_DIV: return p / q;
    case BINARY_MINIMUM: return math_min(p, q);
    case BINARY_MAXIMUM: return math_max(p, q);
    case BINARY_MOD: return real_modulo(p, q);
    case BINARY_POW: return math_pow(p, q);
    case BINARY_SQUARE: return p * p;
    case BINARY_CUBE: return p * p * p;
    case BINARY_ROOT: return p == -T(INFINITY) ? -p : math_sqrt(p) + T(0);
    case BINARY_RECIPROCAL: return 1 / p;
    case BINARY_PRELU: return p > 0 ? p : q * p;
    case BINARY_GLU_SIGMOID: return p * math_sigmoid(q);
    case BINARY_GLU_SILU: return p * math_silu(q);
    case BINARY_GLU_GELU: return p * math_gelu(q);
    case BINARY_GLU_RELU: return p * math_relu(q);
    case BINARY_GLU_TANH: return p * math_tanh(q);
    default: return p;
    }
}

static __device__ inline bool negative(int32_t x) { return x < 0; }
static __device__ inline bool negative(int64_t x) { return x < 0; }
static __device__ inline bool negative(uint8_t) { return false; }

/* Integers: arithmetic modulo 2^bits, division rounds down. U: the unsigned type of T's width. `wrong` where there is no result. */
template <typename T, typename U> static __device__ inline T whole_pair(int op, T p, T q, bool &wrong) {
    switch (op) {
    case BINARY_ADD: return static_cast<T>(static_cast<U>(p) + static_cast<U>(q));
    case BINARY_SUB: return static_cast<T>(static_cast<U>(p) - static_cast<U>(q));
    case BINARY_MUL: return static_cast<T>(static_cast<U>(p) * static_cast<U>(q));
    case BINARY_MINIMUM: return p < q ? p : q;
    case BINARY_MAXIMUM: return p > q ? p : q;
    case BINARY_POW: {
        if (negative(q)) {
            wrong = true;
            return T(0);
        }
        uint64_t y = 1, base = static_cast<uint64_t>(p);
        for (uint64_t power = static_cast<uint64_t>(q); power != 0; power >>= 1, base *= base)
            if (power & 1u) y *= base;
        return static_cast<T>(y);
    }
    case BINARY_DIV:
    case BINARY_MOD: {
        if (q == 0) {
            wrong = true;
            return T(0);
        }
        if (negative(T(-1)) && q == T(-1)) return op == BINARY_DIV ? static_cast<T>(U(0) - static_cast<U>(p)) : T(0);
        const T quotient = static_cast<T>(p / q), rest = static_cast<T>(p - quotient * q);
        const bool down = rest != 0 && negative(rest) != negative(q);
        if (op == BINARY_DIV) return static_cast<T>(quotient - (down ? 1 : 0));
        return static_cast<T>(down ? rest + q : rest);
    }
    default: return p;
    }
}

/* ---- Pairs ------------------------------------------------------------------------------------------------------- */

/* OP -1: as `op` says. */
template <typename T, int OP> struct pair_map {
    const T *a, *b; /* b NULL: b_value */
    T *y;
    T b_value;
    int op;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[2], uint32_t single) const {
        const cuda_few<T, V> p = cuda_load<V>(a, in[0], single & 1u);
        cuda_few<T, V> q, to;
        if (b != nullptr) q = cuda_load<V>(b, in[1], single >> 1 & 1u);
        else
            for (int j = 0; j < V; j++) q.at[j] = b_value;
        for (int j = 0; j < V; j++) to.at[j] = real_pair(OP < 0 ? op : OP, p.at[j], q.at[j]);
        cuda_store<V>(y, out, to);
    }
};

template <typename T, typename U> struct pair_map_whole {
    const T *a, *b;
    T *y;
    T b_value;
    int op;
    struct cuda_fault_place fault;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[2], uint32_t single) const {
        const cuda_few<T, V> p = cuda_load<V>(a, in[0], single & 1u);
        cuda_few<T, V> q, to;
        if (b != nullptr) q = cuda_load<V>(b, in[1], single >> 1 & 1u);
        else
            for (int j = 0; j < V; j++) q.at[j] = b_value;
        bool wrong = false;
        for (int j = 0; j < V; j++) {
            bool here = false;
            to.at[j] = whole_pair<T, U>(op, p.at[j], q.at[j], here);
            if (here && !wrong) cuda_tell(fault, FLOW_FAULT_VALUE, static_cast<int64_t>(q.at[j]), 0);
            wrong = wrong || here;
        }
        cuda_store<V>(y, out, to);
    }
};

/* in[0] and in[1] (NULL: b_value) onto y. */
struct pair_call {
    const struct flow_call *call;
    const struct flow_tensor *in[2], *y;
    int op;
};

template <int V, typename F> static int pair_run(const struct pair_call &p, const F &f, int64_t bytes) {
    const struct flow_tensor *const in[2] = {p.in[0], p.in[1] != nullptr ? p.in[1] : p.in[0]};
    const void *const to[1] = {p.y->data};
    return cuda_status(p.call, (cuda_map_run<V, 2>(cuda_stream(p.call), p.y, in, to, 1, bytes, f)));
}

template <typename T> static const T *data_of(const struct flow_tensor *t) {
    return t != nullptr ? static_cast<const T *>(t->data) : nullptr;
}

template <typename T, int OP> static int pair_real(const struct pair_call &p, T value) {
    return pair_run<16 / sizeof(T)>(p, pair_map<T, OP>{data_of<T>(p.in[0]), data_of<T>(p.in[1]), static_cast<T *>(p.y->data), value, p.op},
                                    sizeof(T));
}
template <typename T, typename U, int V> static int pair_whole(const struct pair_call &p, T value) {
    const pair_map_whole<T, U> f = {data_of<T>(p.in[0]), data_of<T>(p.in[1]), static_cast<T *>(p.y->data), value, p.op, cuda_fault(p.call)};
    return pair_run<V>(p, f, sizeof(T));
}

static int pair_any(const struct pair_call &p, const struct elementwise *e) {
    switch (p.y->dtype) {
    case FLOW_F64: return pair_real<double, -1>(p, e->value.f64);
    case FLOW_I32: return pair_whole<int32_t, uint32_t, 4>(p, e->value.i32);
    case FLOW_I64: return pair_whole<int64_t, uint64_t, 2>(p, e->value.i64);
    case FLOW_U8: return pair_whole<uint8_t, uint8_t, 4>(p, e->value.u8);
    default: break;
    }
    switch (p.op) {
#define CASE(name) \
    case BINARY_##name: return pair_real<float, BINARY_##name>(p, e->value.f32);
        CASE(ADD)
        CASE(SUB)
        CASE(MUL)
        CASE(DIV)
        CASE(MINIMUM)
        CASE(MAXIMUM)
        CASE(SQUARE)
        CASE(PRELU)
        CASE(GLU_SIGMOID)
        CASE(GLU_SILU)
        CASE(GLU_GELU)
        CASE(GLU_RELU)
        CASE(GLU_TANH)
#undef CASE
    default: return pair_real<float, -1>(p, e->value.f32);
    }
}

/* ---- More than two inputs ---------------------------------------------------------------------------------------- */

/* Laid out alike: up to 16 by one launch. Integers, too: of sums, products, minima and maxima alone. */
enum { MANY = 16 };
template <typename T> struct many_map {
    const T *x[MANY];
    T *y;
    int32_t inputs;
    int op;
    static __device__ inline float of(int o, float p, float q) { return real_pair(o, p, q); }
    static __device__ inline double of(int o, double p, double q) { return real_pair(o, p, q); }
    static __device__ inline int32_t of(int o, int32_t p, int32_t q) {
        bool wrong = false;
        return whole_pair<int32_t, uint32_t>(o, p, q, wrong);
    }
    static __device__ inline int64_t of(int o, int64_t p, int64_t q) {
        bool wrong = false;
        return whole_pair<int64_t, uint64_t>(o, p, q, wrong);
    }
    static __device__ inline uint8_t of(int o, uint8_t p, uint8_t q) {
        bool wrong = false;
        return whole_pair<uint8_t, uint8_t>(o, p, q, wrong);
    }
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[1], uint32_t) const {
        cuda_few<T, V> to = cuda_load<V>(x[0], in[0]);
        for (int32_t k = 1; k < inputs; k++) {
            const cuda_few<T, V> next = cuda_load<V>(x[k], in[0]);
            /* The four functions alone, so that no other's code is carried along. */
            for (int j = 0; j < V; j++)
                to.at[j] = op == BINARY_ADD       ? of(BINARY_ADD, to.at[j], next.at[j])
                           : op == BINARY_MUL     ? of(BINARY_MUL, to.at[j], next.at[j])
                           : op == BINARY_MINIMUM ? of(BINARY_MINIMUM, to.at[j], next.at[j])
                                                  : of(BINARY_MAXIMUM, to.at[j], next.at[j]);
        }
        cuda_store<V>(y, out, to);
    }
};

template <typename T> static int many_run(const struct flow_call *call, const struct elementwise *e) {
    const int V = sizeof(T) == 1 ? 4 : static_cast<int>(16 / sizeof(T));
    const struct flow_tensor *const like[1] = {&call->out[0]};
    for (uint32_t k = 0; k < e->inputs;) {
        const void *to[MANY + 1] = {call->out[0].data};
        many_map<T> map = {{}, static_cast<T *>(call->out[0].data), 0, e->op};
        if (k > 0) map.x[map.inputs++] = map.y;
        while (k < e->inputs && map.inputs < MANY) {
            map.x[map.inputs++] = static_cast<const T *>(call->in[k].data);
            to[map.inputs] = call->in[k++].data;
        }
        if (to[1] == nullptr) to[1] = to[0];
        const int error = cuda_map_run<V, 1>(cuda_stream(call), &call->out[0], like, to, map.inputs + 1, sizeof(T), map);
        if (error != 0) return cuda_status(call, error);
    }
    return FLOW_OK;
}

static int many_forward(const struct flow_call *call, const struct elementwise *e) {
    bool alike = true;
    for (uint32_t k = 0; k < e->inputs; k++) alike = alike && cuda_same_shape(&call->in[k], &call->out[0]) && cuda_dense(&call->in[k]);
    if (alike) {
        switch (call->out[0].dtype) {
        case FLOW_F64: return many_run<double>(call, e);
        case FLOW_I32: return many_run<int32_t>(call, e);
        case FLOW_I64: return many_run<int64_t>(call, e);
        case FLOW_U8: return many_run<uint8_t>(call, e);
        default: return many_run<float>(call, e);
        }
    }
    /* The first pair gives the whole result, then each further one joins. */
    int status = pair_any({call, {&call->in[0], &call->in[1]}, &call->out[0], e->op}, e);
    for (uint32_t k = 2; k < e->inputs && status == FLOW_OK; k++)
        status = pair_any({call, {&call->out[0], &call->in[k]}, &call->out[0], e->op}, e);
    return status;
}

int cuda_pair_forward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    if (e->inputs > 2) return many_forward(call, e);
    return pair_any({call, {&call->in[0], e->constant ? nullptr : &call->in[1]}, &call->out[0], e->op}, e);
}

/* ---- prelu, glu -------------------------------------------------------------------------------------------------- */

int cuda_prelu_forward(const struct flow_call *call) {
    const struct prelu_attrs *a = static_cast<const struct prelu_attrs *>(call->attrs);
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    struct flow_tensor weight =
        prelu_weight(x, call->out[0].dtype, a->count, static_cast<int32_t>(a->axis < 0 ? a->axis + x->rank : a->axis));
    weight.data = call->param[0].data;
    return pair_any({call, {x, &weight}, &call->out[0], e->op}, e);
}

/* Both halves as inputs of their own: the second begins half an axis later. */
int cuda_glu_forward(const struct flow_call *call) {
    const struct glu_attrs *a = static_cast<const struct glu_attrs *>(call->attrs);
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    const int64_t axis = a->axis < 0 ? a->axis + x->rank : a->axis;
    struct flow_tensor first = *x, second;
    if (cuda_count(&call->out[0]) == 0) return FLOW_OK;
    first.shape[axis] /= 2, second = first;
    second.data = static_cast<char *>(x->data) + first.shape[axis] * x->strides[axis] * cuda_type_bytes(x->dtype);
    return pair_any({call, {&first, &second}, &call->out[0], e->op}, e);
}
