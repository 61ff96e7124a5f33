/* SPDX-License-Identifier: Apache-2.0 */
/* take_along, one_hot, tril_mask: bound by memory. */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "index/index.h"
#include "index/kernels_cuda.h"

/* ---- take_along ---------------------------------------------------------------------------------------------------- */

/* What an index runs along is left out of the nest. 8 + 2 * sizeof(U) bytes an element. */
template <typename U>
static __global__ void __launch_bounds__(256) along_kernel(cuda_nest<1> nest, const int64_t *index, int64_t extent, int64_t stride,
                                                           const U *from, U *to, struct cuda_fault_place fault) {
    CUDA_EACH(i, nest.count) {
        int64_t at[1];
        const int64_t here = index[i];
        nest.at(i, at);
        U value = 0;
        if (static_cast<uint64_t>(here) < static_cast<uint64_t>(extent)) value = from[at[0] + here * stride];
        else cuda_tell(fault, FLOW_FAULT_INDEX, here, extent);
        to[i] = value;
    }
}

static cuda_nest<1> along_nest(const struct flow_tensor *index, const struct flow_tensor *x, int32_t axis) {
    int64_t strides[FLOW_RANK_MAX];
    for (int32_t a = 0; a < index->rank; a++) strides[a] = a == axis ? 0 : x->strides[a];
    const int64_t *const all[1] = {strides};
    return cuda_nest_of<1>(index->rank, index->shape, all);
}

template <typename U> static int along_run(const struct flow_call *call) {
    const struct gather *g = static_cast<const struct gather *>(call->priv);
    const struct flow_tensor *x = &call->in[0], *index = &call->in[1];
    const cuda_nest<1> nest = along_nest(index, x, g->axis);
    if (nest.count == 0) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((along_kernel<U>), cuda_blocks(nest.count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), nest,
                                         static_cast<const int64_t *>(index->data), x->shape[g->axis], x->strides[g->axis],
                                         static_cast<const U *>(x->data), static_cast<U *>(call->out[0].data), cuda_fault(call)));
}

int cuda_take_along_forward(const struct flow_call *call) {
    switch (cuda_type_bytes(call->in[0].dtype)) {
    case 1: return along_run<uint8_t>(call);
    case 2: return along_run<uint16_t>(call);
    case 8: return along_run<uint64_t>(call);
    default: return along_run<uint32_t>(call);
    }
}

/* Of a line's indices the first that names a place owns it and adds up all that name it, in order: no two threads write one place. `length`
 * steps a thread: lines are short, or the row says that it is not supported. */
enum { ALONG_MOST = 8192 };
template <typename T>
static __global__ void __launch_bounds__(256) along_back_kernel(cuda_nest<1> nest, const int64_t *index, int64_t extent, int64_t length,
                                                                int64_t inner, int64_t stride, const T *from, T *to) {
    CUDA_EACH(i, nest.count) {
        int64_t at[1];
        const int64_t here = index[i], place = i / inner % length, first = i - place * inner;
        bool owner = static_cast<uint64_t>(here) < static_cast<uint64_t>(extent);
        for (int64_t j = 0; owner && j < place; j++) owner = index[first + j * inner] != here;
        if (!owner) continue;
        T sum = from[i];
        for (int64_t j = place + 1; j < length; j++)
            if (index[first + j * inner] == here) sum += from[first + j * inner];
        nest.at(i, at);
        to[at[0] + here * stride] += sum;
    }
}

int cuda_take_along_backward(const struct flow_call *call) {
    const struct gather *t = static_cast<const struct gather *>(call->priv);
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0], *index = &call->in[1];
    int error = cuda_zero(cuda_stream(call), to, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
    if (error != 0 || to->rank < 0 || g->rank < 0 || cuda_count(g) == 0) return cuda_status(call, error);
    const cuda_nest<1> nest = along_nest(index, to, t->axis);
    const unsigned grid = cuda_blocks(nest.count, CUDA_BLOCK);
    int64_t inner = 1;
    for (int32_t a = t->axis + 1; a < index->rank; a++) inner *= index->shape[a];
    const int64_t *indices = static_cast<const int64_t *>(index->data), extent = to->shape[t->axis], length = index->shape[t->axis];
    if (to->dtype == FLOW_F64)
        error = CUDA_LAUNCH((along_back_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), nest, indices, extent, length, inner,
                            to->strides[t->axis], static_cast<const double *>(g->data), static_cast<double *>(to->data));
    else
        error = CUDA_LAUNCH((along_back_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), nest, indices, extent, length, inner,
                            to->strides[t->axis], static_cast<const float *>(g->data), static_cast<float *>(to->data));
    return cuda_status(call, error);
}

bool cuda_take_along_supports(const struct flow_infer *infer) {
    const struct gather *g = static_cast<const struct gather *>(infer->priv);
    return !infer->differentiated || infer->in[1].shape[g->axis] <= ALONG_MOST;
}

/* ---- one_hot ------------------------------------------------------------------------------------------------------- */

/* Every element is written once: sizeof(T) bytes. */
template <typename T>
static __global__ void __launch_bounds__(256)
    one_hot_kernel(const int64_t *index, int64_t rows, int64_t classes, T *y, struct cuda_fault_place fault) {
    CUDA_EACH(i, rows * classes) {
        const int64_t row = i / classes, column = i - row * classes, at = index[row];
        if (column == 0 && static_cast<uint64_t>(at) >= static_cast<uint64_t>(classes)) cuda_tell(fault, FLOW_FAULT_INDEX, at, classes);
        y[i] = column == at ? T(1) : T(0);
    }
}

int cuda_one_hot_forward(const struct flow_call *call) {
    const struct one_hot_attrs *a = static_cast<const struct one_hot_attrs *>(call->attrs);
    const struct flow_tensor *index = &call->in[0], *y = &call->out[0];
    const int64_t rows = cuda_count(index), *at = static_cast<const int64_t *>(index->data);
    const unsigned grid = cuda_blocks(rows * a->count, CUDA_BLOCK);
    if (rows == 0) return FLOW_OK;
    if (y->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((one_hot_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), at, rows, a->count,
                                             static_cast<double *>(y->data), cuda_fault(call)));
    return cuda_status(call, CUDA_LAUNCH((one_hot_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), at, rows, a->count,
                                         static_cast<float *>(y->data), cuda_fault(call)));
}

/* ---- tril_mask ----------------------------------------------------------------------------------------------------- */

/* Elements above the diagonal are not read. */
template <typename U, bool ADD>
static __global__ void __launch_bounds__(256) tril_kernel(int64_t count, int64_t rows, int64_t columns, const U *from, U *to) {
    CUDA_EACH(i, count) {
        const int64_t row = i / columns, column = i - row * columns;
        const bool kept = column <= row % rows;
        if (!ADD) to[i] = kept ? from[i] : U(0);
        else if (kept) to[i] = static_cast<U>(to[i] + from[i]);
    }
}

template <typename U, bool ADD> static int tril_run(const struct flow_call *call, const struct flow_tensor *x, const void *from, void *to) {
    const int64_t count = cuda_count(x);
    if (count == 0) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((tril_kernel<U, ADD>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), count,
                                         x->shape[x->rank - 2], x->shape[x->rank - 1], static_cast<const U *>(from), static_cast<U *>(to)));
}

static int tril_copy(const struct flow_call *call, const struct flow_tensor *x, const void *from, void *to) {
    switch (cuda_type_bytes(x->dtype)) {
    case 1: return tril_run<uint8_t, false>(call, x, from, to);
    case 2: return tril_run<uint16_t, false>(call, x, from, to);
    case 8: return tril_run<uint64_t, false>(call, x, from, to);
    default: return tril_run<uint32_t, false>(call, x, from, to);
    }
}

int cuda_tril_mask_forward(const struct flow_call *call) { return tril_copy(call, &call->in[0], call->in[0].data, call->out[0].data); }

int cuda_tril_mask_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0) return FLOW_OK;
    if (!add) return tril_copy(call, g, g->data, to->data);
    if (g->dtype == FLOW_F64) return tril_run<double, true>(call, g, g->data, to->data);
    return tril_run<float, true>(call, g, g->data, to->data);
}
