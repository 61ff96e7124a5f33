/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's own steps: copies, conversions between floating types, sums of gradients. All are bound by memory. */
#include "common/cuda.h"

#include "common/cuda_adjoint.h"
#include "common/cuda_half.h"
#include "common/cuda_map.h"

#include "device/cuda/steps.h"

/* ---- Copies ------------------------------------------------------------------------------------------------------ */

int cuda_step_copy(const struct flow_call *call) {
    const struct flow_tensor *to = &call->out[0], *from = &call->in[0];
    return cuda_status(call, cuda_copy(cuda_stream(call), from->rank, from->shape, cuda_type_bytes(from->dtype), from->data, from->strides,
                                       to->data, to->strides));
}

int cuda_step_pass(const struct flow_call *call) { return call->out[0].data == call->in[0].data ? FLOW_OK : cuda_step_copy(call); }

/* ---- Conversions ------------------------------------------------------------------------------------------------- */

/* sizeof(From) + sizeof(To) bytes an element; four at a time where both sides lie together. */
template <typename To, typename From, int V>
static __global__ void __launch_bounds__(256) convert_kernel(cuda_nest<2> nest, int64_t count, const From *from, To *to) {
    CUDA_EACH(i, nest.count) {
        int64_t at[2];
        nest.at(i, at);
        const cuda_few<From, V> x = cuda_load<V>(from, at[0]);
        cuda_few<To, V> y;
        for (int j = 0; j < V; j++) y.at[j] = cuda_float_cast<To, From>::of(x.at[j]);
        cuda_store<V>(to, at[1], y);
    }
    if constexpr (V > 1)
        if (nest.rank == 1)
            CUDA_EACH(i, count - nest.count * V) to[nest.count * V + i] = cuda_float_cast<To, From>::of(from[nest.count * V + i]);
}

template <typename To, typename From> static int convert_typed(cudaStream_t stream, cuda_nest<2> nest, const void *from, void *to) {
    const int V = 4;
    const void *const at[2] = {from, to};
    const int64_t bytes[2] = {sizeof(From), sizeof(To)}, count = nest.count;
    const bool grouped = nest.single == 0 && cuda_nest_group(nest, V, at, bytes);
    const unsigned blocks = cuda_blocks(nest.count, CUDA_BLOCK);
    if (grouped)
        return CUDA_LAUNCH((convert_kernel<To, From, V>), blocks, CUDA_BLOCK, 0, stream, nest, count, static_cast<const From *>(from),
                           static_cast<To *>(to));
    return CUDA_LAUNCH((convert_kernel<To, From, 1>), blocks, CUDA_BLOCK, 0, stream, nest, count, static_cast<const From *>(from),
                       static_cast<To *>(to));
}

template <typename From>
static int convert_from(cudaStream_t stream, const cuda_nest<2> &nest, const void *from, int32_t to_dtype, void *to) {
    switch (to_dtype) {
    case FLOW_F64: return convert_typed<double, From>(stream, nest, from, to);
    case FLOW_F16: return convert_typed<cuda_f16, From>(stream, nest, from, to);
    case FLOW_BF16: return convert_typed<cuda_bf16, From>(stream, nest, from, to);
    default: return convert_typed<float, From>(stream, nest, from, to);
    }
}

static int convert(cudaStream_t stream, const struct flow_tensor *from, const struct flow_tensor *to) {
    if (from->dtype == to->dtype)
        return cuda_copy(stream, from->rank, from->shape, cuda_type_bytes(from->dtype), from->data, from->strides, to->data, to->strides);
    const int64_t *const strides[2] = {from->strides, to->strides};
    const cuda_nest<2> nest = cuda_nest_of<2>(from->rank, from->shape, strides);
    if (nest.count == 0) return 0;
    switch (from->dtype) {
    case FLOW_F64: return convert_from<double>(stream, nest, from->data, to->dtype, to->data);
    case FLOW_F16: return convert_from<cuda_f16>(stream, nest, from->data, to->dtype, to->data);
    case FLOW_BF16: return convert_from<cuda_bf16>(stream, nest, from->data, to->dtype, to->data);
    default: return convert_from<float>(stream, nest, from->data, to->dtype, to->data);
    }
}

int cuda_step_widen(const struct flow_call *call) { return cuda_status(call, convert(cuda_stream(call), &call->in[0], &call->out[0])); }

int cuda_step_narrow(const struct flow_call *call) { return cuda_step_widen(call); }

/* ---- Parameters side by side ------------------------------------------------------------------------------------- */

/* Many small tensors by one launch. */
enum { PIECES = 64, PIECE_BLOCK = 4096 };
struct pieces {
    int32_t count;
    int64_t begin[PIECES + 1]; /* the first block of each */
    int64_t elements[PIECES];
    const void *from[PIECES];
    void *to[PIECES];
};

/* A block copies 4096 elements of one tensor: 8 or 16 KiB. */
template <typename U> static __global__ void __launch_bounds__(256) gather_kernel(struct pieces p) {
    int32_t low = 0, high = p.count;
    const int64_t block = blockIdx.x;
    while (high - low > 1) {
        const int32_t middle = (low + high) / 2;
        if (p.begin[middle] <= block) low = middle;
        else high = middle;
    }
    const U *from = static_cast<const U *>(p.from[low]);
    U *to = static_cast<U *>(p.to[low]);
    const int64_t begin = (block - p.begin[low]) * PIECE_BLOCK, left = p.elements[low] - begin;
    const int64_t end = begin + (left < PIECE_BLOCK ? left : PIECE_BLOCK);
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) to[i] = from[i];
}

static int gather_flush(cudaStream_t stream, struct pieces *p, int64_t size) {
    if (p->count == 0) return 0;
    const unsigned blocks = static_cast<unsigned>(p->begin[p->count]);
    int error = 0;
    switch (size) {
    case 2: error = CUDA_LAUNCH((gather_kernel<uint16_t>), blocks, CUDA_BLOCK, 0, stream, *p); break;
    case 8: error = CUDA_LAUNCH((gather_kernel<uint64_t>), blocks, CUDA_BLOCK, 0, stream, *p); break;
    default: error = CUDA_LAUNCH((gather_kernel<uint32_t>), blocks, CUDA_BLOCK, 0, stream, *p); break;
    }
    p->count = 0;
    return error;
}

int cuda_step_gather(const struct flow_call *call) {
    const int64_t size = cuda_type_bytes(call->out[0].dtype), most = 1 << 20; /* elements; larger ones are copied by themselves */
    char *to = static_cast<char *>(call->out[0].data);
    struct pieces p;
    int error = 0;
    p.count = 0, p.begin[0] = 0;
    for (uint32_t i = 0; i < call->in_count && error == 0; i++) {
        const struct flow_tensor *from = &call->in[i];
        const int64_t count = cuda_count(from);
        if (count == 0) continue;
        if (from->dtype == call->out[0].dtype && count < most && size > 1) {
            p.from[p.count] = from->data, p.to[p.count] = to, p.elements[p.count] = count;
            p.begin[p.count + 1] = p.begin[p.count] + (count + PIECE_BLOCK - 1) / PIECE_BLOCK;
            if (++p.count == PIECES) error = gather_flush(cuda_stream(call), &p, size);
        } else {
            struct flow_tensor flat = *from, target = call->out[0];
            flat.rank = target.rank = 1, flat.shape[0] = target.shape[0] = count, flat.strides[0] = target.strides[0] = 1;
            target.data = to;
            error = convert(cuda_stream(call), &flat, &target);
        }
        to += count * size;
    }
    return cuda_status(call, error != 0 ? error : gather_flush(cuda_stream(call), &p, size));
}

/* ---- Gradients --------------------------------------------------------------------------------------------------- */

template <typename T> static __global__ void __launch_bounds__(256) fill_kernel(T *to, int64_t count, T value) {
    CUDA_EACH(i, count) to[i] = value;
}

int cuda_step_fill(const struct flow_call *call) {
    const struct flow_tensor *to = &call->out[0];
    const double value = *static_cast<const double *>(call->attrs);
    const int64_t count = cuda_count(to);
    if (count == 0) return FLOW_OK;
    if (value == 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, false));
    const unsigned blocks = cuda_blocks(count, CUDA_BLOCK);
    if (to->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((fill_kernel<double>), blocks, CUDA_BLOCK, 0, cuda_stream(call),
                                             static_cast<double *>(to->data), count, value));
    return cuda_status(call, CUDA_LAUNCH((fill_kernel<float>), blocks, CUDA_BLOCK, 0, cuda_stream(call), static_cast<float *>(to->data),
                                         count, static_cast<float>(value)));
}

/* A target whose elements lie upon each other. Axes by falling stride, strides positive; reach[a]: how far axes a, a+1, ... lead. */
struct overlap {
    int32_t rank;
    int64_t span; /* places: 0 .. span - 1 */
    int64_t extent[FLOW_RANK_MAX], stride[FLOW_RANK_MAX], from[FLOW_RANK_MAX], reach[FLOW_RANK_MAX + 1];
};

/* A thread owns a place and adds up, in order, whatever element lies there: for each axis the indices from which the rest can still be
 * reached. One read of every element, one read and write of every place; where windows overlap r-fold, r steps a place. */
template <typename T> static __global__ void __launch_bounds__(256) overlap_kernel(struct overlap o, const T *from, T *to) {
    CUDA_EACH(place, o.span) {
        int64_t index[FLOW_RANK_MAX], end[FLOW_RANK_MAX], rest = place, at = 0;
        T sum = 0;
        bool any = false;
        int32_t axis = 0;
        bool enter = true;
        while (axis >= 0) {
            if (axis == o.rank) {
                if (rest == 0) sum += from[at], any = true;
                axis--, enter = false;
                continue;
            }
            if (enter) {
                const int64_t stride = o.stride[axis], reach = o.reach[axis + 1];
                int64_t begin = 0, stop = o.extent[axis];
                if (stride > 0) {
                    if (rest > reach) begin = (rest - reach + stride - 1) / stride;
                    if (rest / stride + 1 < stop) stop = rest / stride + 1;
                }
                if (begin >= stop) {
                    axis--, enter = false;
                    continue;
                }
                index[axis] = begin, end[axis] = stop;
                rest -= begin * stride, at += begin * o.from[axis];
            } else {
                rest += index[axis] * o.stride[axis], at -= index[axis] * o.from[axis];
                if (++index[axis] == end[axis]) {
                    axis--;
                    continue;
                }
                rest -= index[axis] * o.stride[axis], at += index[axis] * o.from[axis];
            }
            axis++, enter = true;
        }
        if (any) to[place] += sum;
    }
}

/* to's axes without those of one element, sorted by falling stride; all strides positive: *base, *from_base are what turning costs. */
static struct overlap overlap_of(const struct flow_tensor *to, int64_t *base, int64_t *from_base) {
    struct overlap o = {};
    int64_t step = 1;
    *base = *from_base = 0;
    for (int32_t axis = to->rank - 1; axis >= 0; axis--) {
        int64_t stride = to->strides[axis], from = step;
        const int64_t extent = to->shape[axis];
        step *= extent;
        if (extent == 1) continue;
        if (stride < 0) *base += stride * (extent - 1), *from_base += from * (extent - 1), stride = -stride, from = -from;
        int32_t at = o.rank++;
        for (; at > 0 && o.stride[at - 1] <= stride; at--)
            o.extent[at] = o.extent[at - 1], o.stride[at] = o.stride[at - 1], o.from[at] = o.from[at - 1];
        o.extent[at] = extent, o.stride[at] = stride, o.from[at] = from;
    }
    for (int32_t axis = o.rank - 1; axis >= 0; axis--) o.reach[axis] = o.reach[axis + 1] + (o.extent[axis] - 1) * o.stride[axis];
    o.span = o.reach[0] + 1;
    return o;
}

int cuda_tensor_add(const struct flow_call *call, const struct flow_tensor *to, const void *from) {
    struct flow_tensor source = *to;
    int64_t base, from_base, step = 1;
    if (cuda_count(to) == 0) return FLOW_OK;
    source.data = const_cast<void *>(from);
    for (int32_t axis = to->rank - 1; axis >= 0; axis--) source.strides[axis] = step, step *= to->shape[axis];
    const struct overlap o = overlap_of(to, &base, &from_base);
    bool apart = true, zeros = false;
    for (int32_t axis = 0; axis < o.rank; axis++) {
        if (o.stride[axis] == 0) zeros = true;
        else if (o.stride[axis] <= o.reach[axis + 1]) apart = false;
    }
    if (apart && !zeros)
        return cuda_status(call,
                           cuda_move(cuda_stream(call), to->rank, to->shape, to->dtype, from, source.strides, to->data, to->strides, true));
    /* Broadcast, and else row-major: a sum of its own. */
    struct flow_tensor kept = *to;
    for (int32_t axis = 0; axis < to->rank; axis++)
        if (to->strides[axis] == 0) kept.shape[axis] = 1;
    if (apart && cuda_dense(&kept)) return cuda_status(call, cuda_fold_sum(cuda_stream(call), &source, &kept, true, nullptr));
    const unsigned blocks = cuda_blocks(o.span, CUDA_BLOCK);
    if (to->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((overlap_kernel<double>), blocks, CUDA_BLOCK, 0, cuda_stream(call), o,
                                             static_cast<const double *>(from) + from_base, static_cast<double *>(to->data) + base));
    return cuda_status(call, CUDA_LAUNCH((overlap_kernel<float>), blocks, CUDA_BLOCK, 0, cuda_stream(call), o,
                                         static_cast<const float *>(from) + from_base, static_cast<float *>(to->data) + base));
}

int cuda_step_add(const struct flow_call *call) { return cuda_tensor_add(call, &call->out[0], call->in[0].data); }
