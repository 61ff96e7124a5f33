/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of products, minima and maxima of more than two inputs. */
#include "common/cuda.h"

#include "elementwise/back.h"
#include "elementwise/kernels_cuda.h"

/* y = ((x0 op x1) op x2) ..., backwards one pair after the other, in f64 as the CPU's chain.c. The inputs' gradients of one element come
 * out of one pass; a thread holds all its inputs. */
enum { CHAIN = 8 };
struct chain {
    const void *x[CHAIN];
    int32_t inputs, op;

    static __device__ inline double share(int o, double g, double p, double q) {
        if (o == BINARY_MUL) return g * q;
        if (p == q) return 0.5 * g;
        return (o == BINARY_MINIMUM ? p < q : p > q) ? g : 0;
    }
    static __device__ inline double both(int o, double p, double q) {
        if (o == BINARY_MUL) return p * q;
        return p != p || (o == BINARY_MINIMUM ? p < q : p > q) ? p : q;
    }
    /* grad[k]: of input k, whose element lies at at[k]. */
    template <typename T> __device__ void gradients(const int64_t (&at)[CHAIN], double g, double (&grad)[CHAIN]) const {
        double value[CHAIN], before[CHAIN];
#pragma unroll
        for (int k = 0; k < CHAIN; k++) {
            value[k] = k < inputs ? static_cast<double>(static_cast<const T *>(x[k])[at[k]]) : 0;
            before[k] = k == 0 ? value[k] : k < inputs ? both(op, before[k > 0 ? k - 1 : 0], value[k]) : 0;
        }
#pragma unroll
        for (int k = CHAIN - 1; k > 0; k--) {
            if (k >= inputs) continue;
            grad[k] = share(op, g, value[k], before[k - 1]);
            g = share(op, g, before[k - 1], value[k]);
        }
        grad[0] = g;
    }
};

template <typename T> struct chain_map {
    struct chain c;
    const T *g;
    T *to[CHAIN];
    uint32_t add; /* bit k */
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[CHAIN], uint32_t) const {
        double grad[CHAIN];
        c.gradients<T>(in, static_cast<double>(g[out]), grad);
#pragma unroll
        for (int k = 0; k < CHAIN; k++) {
            if (k >= c.inputs || to[k] == nullptr) continue;
            const T value = static_cast<T>(grad[k]);
            to[k][out] = add >> k & 1u ? to[k][out] + value : value;
        }
    }
};

template <typename T> struct chain_fold {
    struct chain c;
    const T *g;
    int32_t which;
    __device__ T value(const int64_t (&at)[CHAIN + 1]) const {
        double grad[CHAIN], wanted = 0;
        int64_t in[CHAIN];
#pragma unroll
        for (int k = 0; k < CHAIN; k++) in[k] = at[k];
        c.gradients<T>(in, static_cast<double>(g[at[CHAIN]]), grad);
#pragma unroll
        for (int k = 0; k < CHAIN; k++)
            if (k == which) wanted = grad[k];
        return static_cast<T>(wanted);
    }
};

template <typename T> static int chain_run(const struct flow_call *call, const struct elementwise *e) {
    const struct flow_tensor *g = &call->grad_out[0];
    const int32_t inputs = static_cast<int32_t>(e->inputs);
    struct chain c = {{}, inputs, e->op};
    const struct flow_tensor *in[CHAIN], *summed[CHAIN + 1];
    for (int32_t k = 0; k < CHAIN; k++) in[k] = summed[k] = &call->in[k < inputs ? k : 0], c.x[k] = in[k]->data;
    summed[CHAIN] = g;
    chain_map<T> map = {c, static_cast<const T *>(g->data), {}, 0};
    bool any = false;
    int error = 0;
    for (int32_t k = 0; k < inputs && error == 0; k++) {
        const struct flow_tensor *to = &call->grad_in[k];
        const bool add = FLOW_ACCUMULATES(call->accumulate_in, k) != 0;
        if (to->rank < 0) continue;
        if (cuda_count(to) == cuda_count(g)) map.to[k] = static_cast<T *>(to->data), map.add |= (add ? 1u : 0u) << k, any = true;
        else {
            const struct flow_tensor *const of[CHAIN + 1] = {summed[0], summed[1], summed[2], summed[3], summed[4],
                                                             summed[5], summed[6], summed[7], summed[8]};
            error = cuda_fold_run<T, CHAIN + 1>(cuda_stream(call), g, to, of, add, call->workspace,
                                                chain_fold<T>{c, static_cast<const T *>(g->data), k});
        }
    }
    if (error == 0 && any) {
        const struct flow_tensor *const of[CHAIN] = {in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7]};
        error = cuda_map_run<1, CHAIN>(cuda_stream(call), g, of, nullptr, 0, sizeof(T), map);
    }
    return cuda_status(call, error);
}

int cuda_chain_backward(const struct flow_call *call) {
    const struct elementwise *e = static_cast<const struct elementwise *>(call->priv);
    int error = 0;
    if (call->grad_out[0].rank < 0) {
        for (uint32_t k = 0; k < e->inputs && error == 0; k++)
            error = cuda_zero(cuda_stream(call), &call->grad_in[k], FLOW_ACCUMULATES(call->accumulate_in, k) != 0);
        return cuda_status(call, error);
    }
    return call->grad_out[0].dtype == FLOW_F64 ? chain_run<double>(call, e) : chain_run<float>(call, e);
}

bool cuda_chain_supports(const struct flow_infer *infer) {
    const struct elementwise *e = static_cast<const struct elementwise *>(infer->priv);
    return !infer->differentiated || e->inputs <= CHAIN;
}
