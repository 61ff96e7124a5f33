/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions of integers and truth values. */
#include "common/cuda.h"
#include "reduce/kernels_cuda.h"
#include "reduce/reduce_cuda.h"

/* Sums and products wrap. STATE: what lanes can exchange. */
template <typename T, typename STATE, enum reduce_op OP>
struct reduce_whole {
    using value = T; using part = STATE; using state = STATE; T * y; STATE most, least; __device__ T centre(int64_t) const {return 0;}
__device__ STATE start() const {
    return OP == REDUCE_MAX ? least : OP == REDUCE_MIN ? most : OP == REDUCE_PRODUCT || OP == REDUCE_ALL ? STATE(1) : STATE(0);
}
__device__ STATE begin() const { return start(); }
__device__ STATE join(STATE a, STATE b) const {
    switch (OP) {
    case REDUCE_SUM: return static_cast<STATE>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    case REDUCE_PRODUCT: return static_cast<STATE>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    case REDUCE_MAX: return a > b ? a : b;
    case REDUCE_MIN: return a < b ? a : b;
    case REDUCE_ANY: return static_cast<STATE>(a != 0 || b != 0);
    default: return static_cast<STATE>(a != 0 && b != 0);
    }
}
__device__ void take(STATE &so_far, T x, int64_t, T) const { so_far = join(so_far, static_cast<STATE>(x)); }
__device__ STATE merge(STATE a, STATE b) const { return join(a, b); }
__device__ void write(int64_t result, STATE v) const { y[result] = static_cast<T>(v); }
}
;

template <typename T> static int whole_run(const struct flow_call *call, T least, T most) {
    const struct reduce_plan *plan = static_cast<const struct reduce_plan *>(call->priv);
    const reduce_shape of = reduce_shape_of(plan);
    T *y = static_cast<T *>(call->out[0].data);
    switch (plan->op) {
    case REDUCE_MAX: return reduce_launch(call, reduce_whole<T, T, REDUCE_MAX>{y, most, least}, of, call->workspace);
    case REDUCE_MIN: return reduce_launch(call, reduce_whole<T, T, REDUCE_MIN>{y, most, least}, of, call->workspace);
    case REDUCE_PRODUCT: return reduce_launch(call, reduce_whole<T, T, REDUCE_PRODUCT>{y, most, least}, of, call->workspace);
    default: return reduce_launch(call, reduce_whole<T, T, REDUCE_SUM>{y, most, least}, of, call->workspace);
    }
}
static int truth_run(const struct flow_call *call) {
    const struct reduce_plan *plan = static_cast<const struct reduce_plan *>(call->priv);
    const reduce_shape of = reduce_shape_of(plan);
    uint8_t *y = static_cast<uint8_t *>(call->out[0].data);
    if (plan->op == REDUCE_ANY) return reduce_launch(call, reduce_whole<uint8_t, int32_t, REDUCE_ANY>{y, 1, 0}, of, call->workspace);
    return reduce_launch(call, reduce_whole<uint8_t, int32_t, REDUCE_ALL>{y, 1, 0}, of, call->workspace);
}

extern "C" int cuda_reduce_whole(const struct flow_call *call) {
    switch (call->in[0].dtype) {
    case FLOW_I32: return whole_run<int32_t>(call, INT32_MIN, INT32_MAX);
    case FLOW_I64: return whole_run<int64_t>(call, INT64_MIN, INT64_MAX);
    default: return truth_run(call);
    }
}
