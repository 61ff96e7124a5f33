/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strided walks in kernels. On the host a loop nest is made of a shape and the strides of N tensors along it: axes of one element are
 * dropped, neighbours that all tensors cross in one stride are joined. In a kernel the nest turns the number of an element into N offsets,
 * by multiplications: an integer division costs a GPU some twenty instructions.
 * A map (cuda_map_run) is the common case: a row-major result, whose element i is a function of like elements of N inputs, broadcast or
 * not, of any strides. Where all that varies along the last axis lies side by side, elements are read and written 16 bytes at a time.
 */
#ifndef OPS_COMMON_CUDA_MAP_H
#define OPS_COMMON_CUDA_MAP_H

#include "common/cuda.h"

/* ---- Division by what is known at the launch --------------------------------------------------------------------- */

/* n / by for n < 2^31: (high half of n * times + n) >> shift. Granlund, Montgomery, "Division by invariant integers using multiplication"
 * (PLDI 1994), section 4. */
struct cuda_divisor {
    uint32_t by, times;
    int32_t shift;
};
static inline struct cuda_divisor cuda_divisor_of(int64_t by) {
    struct cuda_divisor d = {static_cast<uint32_t>(by), 0, 0};
    while ((UINT64_C(1) << d.shift) < d.by) d.shift++;
    if (d.by != 0) d.times = static_cast<uint32_t>(((UINT64_C(1) << 32) * ((UINT64_C(1) << d.shift) - d.by)) / d.by + 1);
    return d;
}
static __device__ inline uint32_t cuda_divide(const struct cuda_divisor &d, uint32_t n) {
    return (static_cast<uint32_t>((static_cast<uint64_t>(n) * d.times) >> 32) + n) >> d.shift;
}

/* ---- Nests ------------------------------------------------------------------------------------------------------- */

template <int N> struct cuda_nest {
    int64_t count;   /* of elements; 0: none */
    int32_t rank;    /* 1 or more */
    uint32_t single; /* bit k: tensor k does not move along the last axis */
    bool wide;       /* more elements than 31 bits count */
    int64_t extent[FLOW_RANK_MAX];
    struct cuda_divisor divisor[FLOW_RANK_MAX];
    int64_t stride[N][FLOW_RANK_MAX];

    /* The offsets of element `index` in row-major order. */
    __device__ void at(int64_t index, int64_t (&offset)[N]) const {
        if (rank == 1) {
            for (int k = 0; k < N; k++) offset[k] = index * stride[k][0];
            return;
        }
        for (int k = 0; k < N; k++) offset[k] = 0;
        if (wide) {
            for (int32_t axis = rank - 1; axis > 0; axis--) {
                const int64_t quotient = index / extent[axis], here = index - quotient * extent[axis];
                for (int k = 0; k < N; k++) offset[k] += here * stride[k][axis];
                index = quotient;
            }
        } else {
            uint32_t rest = static_cast<uint32_t>(index);
            for (int32_t axis = rank - 1; axis > 0; axis--) {
                const uint32_t quotient = cuda_divide(divisor[axis], rest), here = rest - quotient * divisor[axis].by;
                for (int k = 0; k < N; k++) offset[k] += static_cast<int64_t>(here) * stride[k][axis];
                rest = quotient;
            }
            index = rest;
        }
        for (int k = 0; k < N; k++) offset[k] += index * stride[k][0];
    }
};

/* After its extents or strides have been changed. */
template <int N> static inline void cuda_nest_close(cuda_nest<N> &nest) {
    const int32_t last = nest.rank - 1;
    nest.wide = nest.count > INT32_MAX, nest.single = 0;
    for (int32_t axis = 0; axis < nest.rank; axis++) nest.divisor[axis] = cuda_divisor_of(nest.wide ? 1 : nest.extent[axis]);
    for (int k = 0; k < N; k++)
        if (nest.stride[k][last] == 0) nest.single |= 1u << k;
}

/* Along one more axis, within those before it. */
template <int N> static inline void cuda_nest_axis(cuda_nest<N> &nest, int64_t extent, const int64_t (&stride)[N]) {
    nest.count *= extent;
    if (extent == 1) return;
    const int32_t last = nest.rank - 1;
    bool joins = nest.rank > 0;
    for (int k = 0; k < N && joins; k++) joins = nest.stride[k][last] == stride[k] * extent;
    const int32_t at = joins ? last : nest.rank++;
    nest.extent[at] = joins ? nest.extent[at] * extent : extent;
    for (int k = 0; k < N; k++) nest.stride[k][at] = stride[k];
}

template <int N> static inline cuda_nest<N> cuda_nest_begin(void) {
    cuda_nest<N> nest = {};
    nest.count = 1;
    return nest;
}
template <int N> static inline void cuda_nest_end(cuda_nest<N> &nest) {
    if (nest.rank == 0) {
        nest.rank = 1, nest.extent[0] = 1;
        for (int k = 0; k < N; k++) nest.stride[k][0] = 1;
    }
    cuda_nest_close(nest);
}

template <int N> static inline cuda_nest<N> cuda_nest_of(int32_t rank, const int64_t *shape, const int64_t *const (&strides)[N]) {
    cuda_nest<N> nest = cuda_nest_begin<N>();
    for (int32_t axis = 0; axis < rank; axis++) {
        int64_t stride[N];
        for (int k = 0; k < N; k++) stride[k] = strides[k][axis];
        cuda_nest_axis(nest, shape[axis], stride);
    }
    cuda_nest_end(nest);
    return nest;
}

/* t broadcast to `like` (NumPy's rule): its stride along an axis of that. */
static inline int64_t cuda_stride_of(const struct flow_tensor *t, const struct flow_tensor *like, int32_t axis) {
    const int32_t own = axis - (like->rank - t->rank);
    return own >= 0 && t->shape[own] != 1 ? t->strides[own] : 0;
}

/* Tensors broadcast to the shape of `like`. */
template <int N> static inline cuda_nest<N> cuda_nest_broadcast(const struct flow_tensor *like, const struct flow_tensor *const (&in)[N]) {
    cuda_nest<N> nest = cuda_nest_begin<N>();
    for (int32_t axis = 0; axis < like->rank; axis++) {
        int64_t stride[N];
        for (int k = 0; k < N; k++) stride[k] = cuda_stride_of(in[k], like, axis);
        cuda_nest_axis(nest, like->shape[axis], stride);
    }
    cuda_nest_end(nest);
    return nest;
}

static inline int64_t cuda_count(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t axis = 0; axis < t->rank; axis++) count *= t->shape[axis];
    return count;
}
static inline int64_t cuda_type_bytes(int32_t dtype) {
    switch (dtype) {
    case FLOW_F64:
    case FLOW_I64: return 8;
    case FLOW_F16:
    case FLOW_BF16: return 2;
    case FLOW_U8:
    case FLOW_BOOL: return 1;
    default: return 4;
    }
}
static inline bool cuda_dense(const struct flow_tensor *t) {
    int64_t step = 1;
    for (int32_t axis = t->rank - 1; axis >= 0; axis--) {
        if (t->shape[axis] == 0) return true;
        if (t->shape[axis] != 1 && t->strides[axis] != step) return false;
        step *= t->shape[axis];
    }
    return true;
}
static inline bool cuda_same_shape(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int32_t axis = 0; axis < a->rank; axis++)
        if (a->shape[axis] != b->shape[axis]) return false;
    return true;
}
static inline bool cuda_aligned(const void *at, int64_t bytes) {
    return reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(bytes) == 0;
}

/* Can `width` adjacent elements be taken at once, tensor k at `at[k]` with `bytes[k]` an element? If so the nest counts such groups from
 * now on: offsets stay in elements. A nest of one axis may leave up to width - 1 elements over. */
template <int N>
static inline bool cuda_nest_group(cuda_nest<N> &nest, int64_t width, const void *const (&at)[N], const int64_t (&bytes)[N]) {
    const int32_t last = nest.rank - 1;
    const int64_t extent = nest.extent[last];
    if (width < 2 || extent < width || (nest.rank > 1 && extent % width != 0)) return false;
    for (int k = 0; k < N; k++) {
        const int64_t stride = nest.stride[k][last];
        if (stride == 0) continue;
        if (stride != 1 || !cuda_aligned(at[k], width * bytes[k])) return false;
        for (int32_t axis = 0; axis < last; axis++)
            if (nest.stride[k][axis] % width != 0) return false;
    }
    nest.extent[last] = extent / width;
    nest.count = nest.rank > 1 ? nest.count / width : nest.extent[last];
    for (int k = 0; k < N; k++) nest.stride[k][last] *= width;
    cuda_nest_close(nest);
    return true;
}

/* ---- Adjacent elements that are read and written at once --------------------------------------------------------- */

template <typename T, int V> struct alignas(sizeof(T) * V) cuda_few { T at[V]; };
template <int V, typename T> static __device__ inline cuda_few<T, V> cuda_load(const T *from, int64_t offset) {
    return *reinterpret_cast<const cuda_few<T, V> *>(from + offset);
}
/* ... or one value for all of them */
template <int V, typename T> static __device__ inline cuda_few<T, V> cuda_load(const T *from, int64_t offset, bool single) {
    if (V == 1 || !single) return cuda_load<V>(from, offset);
    cuda_few<T, V> values;
    const T value = from[offset];
    for (int j = 0; j < V; j++) values.at[j] = value;
    return values;
}
template <int V, typename T> static __device__ inline void cuda_store(T *to, int64_t offset, const cuda_few<T, V> &values) {
    *reinterpret_cast<cuda_few<T, V> *>(to + offset) = values;
}

/* ---- Maps --------------------------------------------------------------------------------------------------------- */

/* F: a struct of plain values with
 *   template <int V> __device__ void run(int64_t out, const int64_t (&in)[N], uint32_t single) const
 * which makes elements out .. out + V - 1 of the (row-major) result from those at in[k] of input k, one value for all where bit k of
 * `single` is set. Results may lie upon inputs that are laid out like them. */
template <int V, int N, typename F>
static __global__ void __launch_bounds__(256, 2) cuda_map_kernel(cuda_nest<N> nest, int64_t count, F f) {
    CUDA_EACH(i, nest.count) {
        int64_t in[N];
        nest.at(i, in);
        f.template run<V>(i * V, in, nest.single);
    }
    if constexpr (V > 1) {
        if (nest.rank > 1) return;
        CUDA_EACH(i, count - nest.count * V) {
            int64_t in[N];
            for (int k = 0; k < N; k++) in[k] = nest.single >> k & 1u ? 0 : nest.count * V + i;
            f.template run<1>(nest.count * V + i, in, nest.single);
        }
    }
}

/* in[k] broadcast to the shape of `like`; V elements at a time where `to` (as large as `largest` bytes an element) and all inputs allow it.
 * Returns 0 or a cudaError_t. */
template <int V, int N, typename F>
static inline int cuda_map_run(cudaStream_t stream, const struct flow_tensor *like, const struct flow_tensor *const (&in)[N],
                               const void *const *to, int outputs, int64_t to_bytes, const F &f) {
    cuda_nest<N> nest = cuda_nest_broadcast<N>(like, in);
    const int64_t count = nest.count;
    if (count == 0) return 0;
    const void *at[N];
    int64_t bytes[N];
    bool aligned = true;
    for (int k = 0; k < N; k++) at[k] = in[k]->data, bytes[k] = cuda_type_bytes(in[k]->dtype);
    for (int k = 0; k < outputs; k++) aligned = aligned && cuda_aligned(to[k], V * to_bytes);
    if (V > 1 && aligned && cuda_nest_group(nest, V, at, bytes))
        return CUDA_LAUNCH((cuda_map_kernel<V, N, F>), cuda_blocks(nest.count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, nest, count, f);
    return CUDA_LAUNCH((cuda_map_kernel<1, N, F>), cuda_blocks(nest.count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, nest, count, f);
}

/* ---- Moves (cuda_move.cu) ------------------------------------------------------------------------------------------ */

/* Elements of `bytes` (1, 2, 4, 8) from one place to another, both of any strides; as shape_copy. 0 or a cudaError_t. */
int cuda_copy(cudaStream_t stream, int32_t rank, const int64_t *shape, int64_t bytes, const void *from, const int64_t *from_strides,
              void *to, const int64_t *to_strides);
/* The same with f32 or f64, or added to what is there; as adjoint_move: no two elements of `to` may share a place. */
int cuda_move(cudaStream_t stream, int32_t rank, const int64_t *shape, int32_t dtype, const void *from, const int64_t *from_strides,
              void *to, const int64_t *to_strides, bool add);
/* A gradient of zero: nothing where it is added, or not wanted (rank -1); as adjoint_zero. */
int cuda_zero(cudaStream_t stream, const struct flow_tensor *to, bool add);
/* One whole tensor onto another of its shape; nothing where they are the same memory and nothing is added. */
int cuda_pass(cudaStream_t stream, const struct flow_tensor *from, const struct flow_tensor *to, bool add);

#endif
