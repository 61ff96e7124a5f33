/* SPDX-License-Identifier: Apache-2.0 */
/* cast, dropout. */
#include "common/cuda.h"

#include "common/cuda_half.h"
#include "common/cuda_map.h"

#include "elementwise/cast.h"
#include "elementwise/dropout.h"
#include "elementwise/kernels_cuda.h"

#include <flow/random.h>

/* ---- One value to another type ------------------------------------------------------------------------------------- */

struct truth {
    uint8_t byte;
};

/* To f32 as a step on the way to f16 or bf16: rounded to odd, so that nothing is rounded twice. */
static __device__ inline float odd_of(float x) { return x; }
static __device__ inline float odd_of(double x) { return cuda_to_odd(x); }
static __device__ inline float odd_of(int32_t x) { return cuda_to_odd(static_cast<double>(x)); }
static __device__ inline float odd_of(int64_t x) {
    /* Beyond 2^53 the low bits are gathered in one, which is again rounding to odd. */
    const int64_t coarse = x & ~INT64_C(0x7FF);
    const bool far = x > INT64_C(0x1FFFFFFFFFFFFF) || x < -INT64_C(0x1FFFFFFFFFFFFF);
    return cuda_to_odd(static_cast<double>(far && coarse != x ? (coarse | 0x800) : x));
}
static __device__ inline float odd_of(uint8_t x) { return static_cast<float>(x); }

/* A float outside an integer type's range gives the nearest end of it, NaN gives 0; integers are cut to their low bits. */
template <typename To, typename From> struct cast_one {
    static __device__ inline To of(From x) { return static_cast<To>(x); }
};
template <typename From> struct cast_one<truth, From> {
    static __device__ inline truth of(From x) { return truth{static_cast<uint8_t>(x != 0)}; }
};
template <typename From> struct cast_one<cuda_f16, From> {
    static __device__ inline cuda_f16 of(From x) { return cuda_float_cast<cuda_f16, float>::of(odd_of(x)); }
};
template <typename From> struct cast_one<cuda_bf16, From> {
    static __device__ inline cuda_bf16 of(From x) { return cuda_float_cast<cuda_bf16, float>::of(odd_of(x)); }
};
template <> struct cast_one<int32_t, double> {
    static __device__ inline int32_t of(double x) {
        if (x != x) return 0;
        return x >= 0x1p31 ? INT32_MAX : x <= -0x1p31 ? INT32_MIN : static_cast<int32_t>(x);
    }
};
template <> struct cast_one<int64_t, double> {
    static __device__ inline int64_t of(double x) {
        if (x != x) return 0;
        return x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : static_cast<int64_t>(x);
    }
};
template <> struct cast_one<uint8_t, double> {
    static __device__ inline uint8_t of(double x) { return static_cast<uint8_t>(x > 0 ? static_cast<int32_t>(x > 255 ? 255.0 : x) : 0); }
};
template <> struct cast_one<int32_t, float> {
    static __device__ inline int32_t of(float x) {
        if (x != x) return 0;
        return x >= 0x1p31f ? INT32_MAX : x <= -0x1p31f ? INT32_MIN : static_cast<int32_t>(x);
    }
};
template <> struct cast_one<int64_t, float> {
    static __device__ inline int64_t of(float x) {
        if (x != x) return 0;
        return x >= 0x1p63f ? INT64_MAX : x <= -0x1p63f ? INT64_MIN : static_cast<int64_t>(x);
    }
};
template <> struct cast_one<uint8_t, float> {
    static __device__ inline uint8_t of(float x) { return static_cast<uint8_t>(x > 0 ? static_cast<int32_t>(x > 255 ? 255.0f : x) : 0); }
};

/* Sources whose values are those of a simpler type. */
static __device__ inline float source_of(float x) { return x; }
static __device__ inline double source_of(double x) { return x; }
static __device__ inline int32_t source_of(int32_t x) { return x; }
static __device__ inline int64_t source_of(int64_t x) { return x; }
static __device__ inline uint8_t source_of(uint8_t x) { return x; }
static __device__ inline uint8_t source_of(truth x) { return x.byte != 0; }
static __device__ inline float source_of(cuda_f16 x) { return cuda_widen(x); }
static __device__ inline float source_of(cuda_bf16 x) { return cuda_widen(x); }

/* sizeof(From) + sizeof(To) bytes an element; the target's type is a branch that all threads take alike. */
template <typename From> struct cast_map {
    const From *x;
    void *y;
    int32_t target;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[1], uint32_t single) const {
        const cuda_few<From, V> from = cuda_load<V>(x, in[0], single & 1u);
        switch (target) {
        case FLOW_F32: put<V, float>(out, from); break;
        case FLOW_F64: put<V, double>(out, from); break;
        case FLOW_F16: put<V, cuda_f16>(out, from); break;
        case FLOW_BF16: put<V, cuda_bf16>(out, from); break;
        case FLOW_I32: put<V, int32_t>(out, from); break;
        case FLOW_I64: put<V, int64_t>(out, from); break;
        case FLOW_U8: put<V, uint8_t>(out, from); break;
        default: put<V, truth>(out, from); break;
        }
    }
    template <int V, typename To> __device__ void put(int64_t out, const cuda_few<From, V> &from) const {
        cuda_few<To, V> to;
        for (int j = 0; j < V; j++) {
            const auto value = source_of(from.at[j]);
            to.at[j] = cast_one<To, decltype(source_of(from.at[j]))>::of(value);
        }
        cuda_store<V>(static_cast<To *>(y), out, to);
    }
};

template <typename From> static int cast_run(const struct flow_call *call) {
    const struct flow_tensor *const in[1] = {&call->in[0]};
    const void *const to[1] = {call->out[0].data};
    const cast_map<From> map = {static_cast<const From *>(in[0]->data), call->out[0].data, call->out[0].dtype};
    return cuda_status(call, (cuda_map_run<4, 1>(cuda_stream(call), &call->out[0], in, to, 1, cuda_type_bytes(call->out[0].dtype), map)));
}

int cuda_cast_forward(const struct flow_call *call) {
    switch (call->in[0].dtype) {
    case FLOW_F64: return cast_run<double>(call);
    case FLOW_F16: return cast_run<cuda_f16>(call);
    case FLOW_BF16: return cast_run<cuda_bf16>(call);
    case FLOW_I32: return cast_run<int32_t>(call);
    case FLOW_I64: return cast_run<int64_t>(call);
    case FLOW_U8: return cast_run<uint8_t>(call);
    case FLOW_BOOL: return cast_run<truth>(call);
    default: return cast_run<float>(call);
    }
}

/* Between the two types that gradients have. */
template <typename From, typename To> struct cast_back_map {
    const From *x;
    To *y;
    bool add;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[1], uint32_t) const {
        const cuda_few<From, V> from = cuda_load<V>(x, in[0]);
        cuda_few<To, V> to;
        if (add) to = cuda_load<V>(y, out);
        for (int j = 0; j < V; j++) to.at[j] = add ? to.at[j] + static_cast<To>(from.at[j]) : static_cast<To>(from.at[j]);
        cuda_store<V>(y, out, to);
    }
};

template <typename From, typename To> static int cast_back_run(const struct flow_call *call, bool add) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0], *const in[1] = {g};
    const void *const places[1] = {to->data};
    const cast_back_map<From, To> map = {static_cast<const From *>(g->data), static_cast<To *>(to->data), add};
    return cuda_map_run<2, 1>(cuda_stream(call), g, in, places, 1, sizeof(To), map);
}

int cuda_cast_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (to->rank < 0) return FLOW_OK;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (g->dtype == to->dtype) return cuda_status(call, cuda_pass(cuda_stream(call), g, to, add));
    return cuda_status(call, g->dtype == FLOW_F64 ? cast_back_run<double, float>(call, add) : cast_back_run<float, double>(call, add));
}

/* ---- dropout ------------------------------------------------------------------------------------------------------- */

/* A thread draws one block of Philox (some 100 operations), whose four words are for elements 4c to 4c + 3: 2 * sizeof(T) bytes an element;
 * no mask is stored, backward draws it again. */
template <typename T>
static __global__ void __launch_bounds__(256) dropout_kernel(const T *x, T *y, int64_t count, bool aligned, uint64_t key,
                                                             struct cuda_run_number run, uint64_t least, T scale, bool add) {
    const uint64_t number = run.number();
    CUDA_EACH(c, (count + 3) / 4) {
        uint32_t word[4];
        flow_philox(key, number, static_cast<uint64_t>(c), word);
        const int64_t first = 4 * c;
        if (aligned && first + 4 <= count) {
            cuda_few<T, 4> from = cuda_load<4>(x, first);
            cuda_few<T, 4> to = {};
            if (add) to = cuda_load<4>(y, first);
            for (int j = 0; j < 4; j++) to.at[j] += word[j] < least ? T(0) : from.at[j] * scale;
            cuda_store<4>(y, first, to);
        } else {
            for (int j = 0; j < 4 && first + j < count; j++) {
                const T value = word[j] < least ? T(0) : x[first + j] * scale;
                y[first + j] = add ? y[first + j] + value : value;
            }
        }
    }
}

template <typename T> static int dropout_run(const struct flow_call *call, const void *x, const struct flow_tensor *y, bool add) {
    const struct dropout_attrs *a = static_cast<const struct dropout_attrs *>(call->attrs);
    const int64_t count = cuda_count(y), width = 4 * static_cast<int64_t>(sizeof(T));
    const uint64_t least = static_cast<uint64_t>(a->p * 0x1p32);
    const double scale = a->p < 1 ? 1 / (1 - a->p) : 0;
    if (count == 0) return 0;
    return CUDA_LAUNCH((dropout_kernel<T>), cuda_blocks((count + 3) / 4, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                       static_cast<const T *>(x), static_cast<T *>(y->data), count, cuda_aligned(x, width) && cuda_aligned(y->data, width),
                       call->seed, cuda_run(call), least, static_cast<T>(scale), add);
}

static int dropout_apply(const struct flow_call *call, const void *x, const struct flow_tensor *y, bool add) {
    return y->dtype == FLOW_F64 ? dropout_run<double>(call, x, y, add) : dropout_run<float>(call, x, y, add);
}

int cuda_dropout_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    const void *from = x->data;
    if (!cuda_dense(x)) {
        const int error =
            cuda_copy(cuda_stream(call), x->rank, x->shape, cuda_type_bytes(x->dtype), x->data, x->strides, y->data, y->strides);
        if (error != 0) return cuda_status(call, error);
        from = y->data;
    }
    return cuda_status(call, dropout_apply(call, from, y, false));
}

/* The mask is drawn again: seed, run and places are those of forward. */
int cuda_dropout_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    return to->rank < 0 ? FLOW_OK : cuda_status(call, dropout_apply(call, g->data, to, add));
}
