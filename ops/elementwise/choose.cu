/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons, logic, where: moved by memory alone. */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "elementwise/elementwise.h"
#include "elementwise/kernels_cuda.h"

/* ---- Comparisons, which give bool -------------------------------------------------------------------------------- */

/* bool: any byte but 0 is true. */
struct truth {
    uint8_t byte;
};

template <typename T> static __device__ inline bool holds(int op, T p, T q) {
    switch (op) {
    case COMPARE_EQ: return p == q;
    case COMPARE_NE: return p != q;
    case COMPARE_LT: return p < q;
    case COMPARE_LE: return p <= q;
    case COMPARE_GT: return p > q;
    default: return p >= q;
    }
}
static __device__ inline bool holds(int op, truth a, truth b) {
    const bool p = a.byte != 0, q = b.byte != 0;
    switch (op) {
    case LOGIC_NOT: return !p;
    case LOGIC_AND: return p && q;
    case LOGIC_OR: return p || q;
    case COMPARE_EQ: return p == q;
    default: return p != q;
    }
}

template <typename T> struct compare_map {
    const T *a, *b; /* b NULL: b_value */
    uint8_t *y;
    T b_value;
    int op;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[2], uint32_t single) const {
        const cuda_few<T, V> p = cuda_load<V>(a, in[0], single & 1u);
        cuda_few<T, V> q;
        if (b != nullptr) q = cuda_load<V>(b, in[1], single >> 1 & 1u);
        else
            for (int j = 0; j < V; j++) q.at[j] = b_value;
        cuda_few<uint8_t, V> to;
        for (int j = 0; j < V; j++) to.at[j] = holds(op, p.at[j], q.at[j]);
        cuda_store<V>(y, out, to);
    }
};

template <int V, typename T> static int compare_run(const struct flow_call *call, int op, bool pair, T value) {
    const struct flow_tensor *const in[2] = {&call->in[0], pair ? &call->in[1] : &call->in[0]};
    const void *const to[1] = {call->out[0].data};
    const compare_map<T> map = {static_cast<const T *>(in[0]->data), pair ? static_cast<const T *>(in[1]->data) : nullptr,
                                static_cast<uint8_t *>(call->out[0].data), value, op};
    return cuda_status(call, (cuda_map_run<V, 2>(cuda_stream(call), &call->out[0], in, to, 1, 1, map)));
}

int cuda_compare_forward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    const bool pair = !e->constant;
    switch (call->in[0].dtype) {
    case FLOW_F64: return compare_run<2>(call, e->op, pair, e->value.f64);
    case FLOW_I32: return compare_run<4>(call, e->op, pair, e->value.i32);
    case FLOW_I64: return compare_run<2>(call, e->op, pair, e->value.i64);
    case FLOW_U8: return compare_run<16>(call, e->op, pair, e->value.u8);
    case FLOW_BOOL: return compare_run<16>(call, e->op, pair, truth{e->value.u8});
    default: return compare_run<4>(call, e->op, pair, e->value.f32);
    }
}

int cuda_not_forward(const struct flow_call *call) { return compare_run<16>(call, LOGIC_NOT, false, truth{0}); }

/* ---- where ------------------------------------------------------------------------------------------------------- */

template <typename U> struct where_map {
    const uint8_t *condition;
    const U *a, *b;
    U *y;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[3], uint32_t single) const {
        const cuda_few<uint8_t, V> c = cuda_load<V>(condition, in[0], single & 1u);
        const cuda_few<U, V> p = cuda_load<V>(a, in[1], single >> 1 & 1u), q = cuda_load<V>(b, in[2], single >> 2 & 1u);
        cuda_few<U, V> to;
        for (int j = 0; j < V; j++) to.at[j] = c.at[j] != 0 ? p.at[j] : q.at[j];
        cuda_store<V>(y, out, to);
    }
};

template <int V, typename U> static int where_run(const struct flow_call *call) {
    const struct flow_tensor *const in[3] = {&call->in[0], &call->in[1], &call->in[2]};
    const void *const to[1] = {call->out[0].data};
    const where_map<U> map = {static_cast<const uint8_t *>(in[0]->data), static_cast<const U *>(in[1]->data),
                              static_cast<const U *>(in[2]->data), static_cast<U *>(call->out[0].data)};
    return cuda_status(call, (cuda_map_run<V, 3>(cuda_stream(call), &call->out[0], in, to, 1, sizeof(U), map)));
}

int cuda_where_forward(const struct flow_call *call) {
    switch (cuda_type_bytes(call->out[0].dtype)) {
    case 1: return where_run<16, uint8_t>(call);
    case 2: return where_run<8, uint16_t>(call);
    case 8: return where_run<2, uint64_t>(call);
    default: return where_run<4, uint32_t>(call);
    }
}
