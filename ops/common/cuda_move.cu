/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and sums of strided tensors. All are bound by memory: every byte is read and written once. */
#include "common/cuda.h"

#include "common/cuda_adjoint.h"
#include "common/cuda_map.h"

/* Elements one after the other in the target's order; U is as wide as both sides allow, up to 16 bytes. 2 * sizeof(U) bytes an element. */
template <typename U> static __global__ void __launch_bounds__(256) copy_kernel(cuda_nest<2> nest, const U *from, U *to) {
    CUDA_EACH(i, nest.count) {
        int64_t at[2];
        nest.at(i, at);
        to[at[1]] = from[at[0]];
    }
}

struct alignas(16) cuda_sixteen {
    uint64_t at[2];
};

/* A transposition: the source runs along axis `rows`, the target along `columns`. Squares of 32 by 32 elements pass through shared memory,
 * so that warps read 32 neighbours and write 32 neighbours; a padding column keeps the lanes of a column in different banks. Axis 0 is the
 * source's, axis 1 the target's; the others are in `outer`. */
enum { TILE = 32, TILE_ROWS = 8 };
struct plane {
    int64_t rows, columns, row_tiles, column_tiles; /* rows: along the source's neighbours */
    int64_t from_column, to_row;                    /* strides of the other axis of each */
};
template <typename U>
static __global__ void __launch_bounds__(256) transpose_kernel(cuda_nest<2> outer, struct plane p, const U *from, U *to) {
    CUDA_SHARED(U, tile, TILE * (TILE + 1));
    const int64_t tiles = p.row_tiles * p.column_tiles, all = outer.count * tiles;
    const int x = static_cast<int>(threadIdx.x) % TILE, y = static_cast<int>(threadIdx.x) / TILE;
    for (int64_t t = blockIdx.x; t < all; t += gridDim.x) {
        const int64_t number = t / tiles, rest = t - number * tiles, row = rest / p.column_tiles * TILE,
                      column = rest % p.column_tiles * TILE;
        int64_t at[2];
        outer.at(number, at);
        for (int k = y; k < TILE; k += TILE_ROWS)
            if (row + x < p.rows && column + k < p.columns) tile[k * (TILE + 1) + x] = from[at[0] + row + x + (column + k) * p.from_column];
        __syncthreads();
        for (int k = y; k < TILE; k += TILE_ROWS)
            if (row + k < p.rows && column + x < p.columns) to[at[1] + (row + k) * p.to_row + column + x] = tile[x * (TILE + 1) + k];
        __syncthreads();
    }
}

template <typename U> static int copy_units(cudaStream_t stream, const cuda_nest<2> &nest, const void *from, void *to) {
    return CUDA_LAUNCH((copy_kernel<U>), cuda_blocks(nest.count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, nest, static_cast<const U *>(from),
                       static_cast<U *>(to));
}

template <typename U> static int transpose_units(cudaStream_t stream, const cuda_nest<2> &nest, int32_t along, const void *from, void *to) {
    const int32_t last = nest.rank - 1;
    const struct plane p = {
        nest.extent[along],   nest.extent[last],    (nest.extent[along] + TILE - 1) / TILE, (nest.extent[last] + TILE - 1) / TILE,
        nest.stride[0][last], nest.stride[1][along]};
    cuda_nest<2> outer = cuda_nest_begin<2>();
    for (int32_t axis = 0; axis < last; axis++) {
        const int64_t stride[2] = {nest.stride[0][axis], nest.stride[1][axis]};
        if (axis != along) cuda_nest_axis(outer, nest.extent[axis], stride);
    }
    cuda_nest_end(outer);
    return CUDA_LAUNCH((transpose_kernel<U>), cuda_blocks(outer.count * p.row_tiles * p.column_tiles, 1), CUDA_BLOCK, 0, stream, outer, p,
                       static_cast<const U *>(from), static_cast<U *>(to));
}

#define BY_BYTES(bytes, call) \
    switch (bytes) {          \
    case 1: {                 \
        typedef uint8_t U;    \
        return call;          \
    }                         \
    case 2: {                 \
        typedef uint16_t U;   \
        return call;          \
    }                         \
    case 4: {                 \
        typedef uint32_t U;   \
        return call;          \
    }                         \
    default: {                \
        typedef uint64_t U;   \
        return call;          \
    }                         \
    }

int cuda_copy(cudaStream_t stream, int32_t rank, const int64_t *shape, int64_t bytes, const void *from, const int64_t *from_strides,
              void *to, const int64_t *to_strides) {
    const int64_t *const strides[2] = {from_strides, to_strides};
    cuda_nest<2> nest = cuda_nest_of<2>(rank, shape, strides);
    const int32_t last = nest.rank - 1;
    if (nest.count == 0) return 0;
    const bool together = nest.stride[0][last] == 1 && nest.stride[1][last] == 1;
    if (nest.rank == 1 && together)
        return static_cast<int>(cudaMemcpyAsync(to, from, static_cast<size_t>(nest.count * bytes), cudaMemcpyDeviceToDevice, stream));
    if (together) {
        /* Units of 16 bytes, or of 8, 4, 2, as rows and places allow. */
        int64_t unit = 16;
        while (unit > bytes) {
            bool fits = nest.extent[last] * bytes % unit == 0 && cuda_aligned(from, unit) && cuda_aligned(to, unit);
            for (int32_t axis = 0; axis < last && fits; axis++)
                fits = nest.stride[0][axis] * bytes % unit == 0 && nest.stride[1][axis] * bytes % unit == 0;
            if (fits) break;
            unit /= 2;
        }
        if (unit > bytes) {
            const int64_t width = unit / bytes;
            nest.extent[last] /= width, nest.count /= width;
            for (int32_t axis = 0; axis < last; axis++) nest.stride[0][axis] /= width, nest.stride[1][axis] /= width;
            cuda_nest_close(nest);
            if (unit == 16) return copy_units<cuda_sixteen>(stream, nest, from, to);
            BY_BYTES(unit, copy_units<U>(stream, nest, from, to))
        }
    }
    int32_t along = -1;
    for (int32_t axis = 0; axis < last; axis++)
        if (nest.stride[0][axis] == 1 && nest.stride[0][last] != 1 && nest.stride[1][last] == 1) along = axis;
    /* Worth it where both sides of the squares are long. */
    if (along >= 0 && nest.extent[along] >= 8 && nest.extent[last] >= 8) BY_BYTES(bytes, transpose_units<U>(stream, nest, along, from, to))
    BY_BYTES(bytes, copy_units<U>(stream, nest, from, to))
}

/* to += from, 3 * sizeof(T) bytes an element; flat ones 16 bytes at a time. */
template <typename T, int V>
static __global__ void __launch_bounds__(256) add_kernel(cuda_nest<2> nest, int64_t count, const T *from, T *to) {
    CUDA_EACH(i, nest.count) {
        int64_t at[2];
        nest.at(i, at);
        const cuda_few<T, V> a = cuda_load<V>(from, at[0], nest.single & 1u);
        cuda_few<T, V> b = cuda_load<V>(to, at[1]);
        for (int j = 0; j < V; j++) b.at[j] += a.at[j];
        cuda_store<V>(to, at[1], b);
    }
    if constexpr (V > 1)
        if (nest.rank == 1) CUDA_EACH(i, count - nest.count * V) to[nest.count * V + i] += from[nest.single & 1u ? 0 : nest.count * V + i];
}

template <typename T, int V> static int add_units(cudaStream_t stream, cuda_nest<2> nest, const void *from, void *to) {
    const void *const at[2] = {from, to};
    const int64_t bytes[2] = {sizeof(T), sizeof(T)}, count = nest.count;
    const int32_t last = nest.rank - 1;
    const bool grouped = nest.stride[1][last] == 1 && cuda_nest_group(nest, V, at, bytes);
    const unsigned blocks = cuda_blocks(nest.count, CUDA_BLOCK);
    if (grouped)
        return CUDA_LAUNCH((add_kernel<T, V>), blocks, CUDA_BLOCK, 0, stream, nest, count, static_cast<const T *>(from),
                           static_cast<T *>(to));
    return CUDA_LAUNCH((add_kernel<T, 1>), blocks, CUDA_BLOCK, 0, stream, nest, count, static_cast<const T *>(from), static_cast<T *>(to));
}

int cuda_move(cudaStream_t stream, int32_t rank, const int64_t *shape, int32_t dtype, const void *from, const int64_t *from_strides,
              void *to, const int64_t *to_strides, bool add) {
    if (!add) return cuda_copy(stream, rank, shape, cuda_type_bytes(dtype), from, from_strides, to, to_strides);
    const int64_t *const strides[2] = {from_strides, to_strides};
    const cuda_nest<2> nest = cuda_nest_of<2>(rank, shape, strides);
    if (nest.count == 0) return 0;
    if (dtype == FLOW_F64) return add_units<double, 2>(stream, nest, from, to);
    return add_units<float, 4>(stream, nest, from, to);
}

int cuda_zero(cudaStream_t stream, const struct flow_tensor *to, bool add) {
    const int64_t bytes = cuda_count(to) * cuda_type_bytes(to->dtype);
    if (add || bytes == 0) return 0;
    return static_cast<int>(cudaMemsetAsync(to->data, 0, static_cast<size_t>(bytes), stream));
}

int cuda_pass(cudaStream_t stream, const struct flow_tensor *from, const struct flow_tensor *to, bool add) {
    if (to->rank < 0 || (from->data == to->data && !add)) return 0;
    return cuda_move(stream, to->rank, to->shape, to->dtype, from->data, from->strides, to->data, to->strides, add);
}

/* 2^shift sums side by side, the other threads of the block on chunks; 8 bytes a chunk and sum. */
template <typename T>
static __global__ void __launch_bounds__(256, 2) join_kernel(struct cuda_fold fold, int shift, const double *partial, T *to, bool add) {
    CUDA_SHARED(double, tile, 256);
    const int me = static_cast<int>(threadIdx.x), side = 1 << shift, x = me & (side - 1), y = me >> shift, groups = 256 >> shift;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) << shift; first < fold.sums; first += static_cast<int64_t>(gridDim.x) << shift) {
        double sum = 0;
        if (first + x < fold.sums)
            for (int64_t chunk = y; chunk < fold.chunks; chunk += groups) sum += partial[chunk * fold.sums + first + x];
        tile[me] = sum;
        for (int step = groups / 2; step > 0; step /= 2) {
            __syncthreads();
            if (y < step) tile[me] += tile[me + step * side];
        }
        if (y == 0 && first + x < fold.sums) cuda_fold_put(to, first + x, tile[me], add);
        __syncthreads();
    }
}

int cuda_fold_join(cudaStream_t stream, const struct cuda_fold *fold, const double *partial, void *to, bool wide, bool add) {
    int shift = 0;
    while (shift < 5 && (INT64_C(1) << shift) < fold->sums) shift++;
    const unsigned blocks = cuda_blocks(fold->sums, INT64_C(1) << shift);
    if (wide) return CUDA_LAUNCH((join_kernel<double>), blocks, 256, 0, stream, *fold, shift, partial, static_cast<double *>(to), add);
    return CUDA_LAUNCH((join_kernel<float>), blocks, 256, 0, stream, *fold, shift, partial, static_cast<float *>(to), add);
}

int cuda_fold_sum(cudaStream_t stream, const struct flow_tensor *from, const struct flow_tensor *to, bool add, void *workspace) {
    const struct flow_tensor *const in[1] = {from};
    if (to->dtype == FLOW_F64)
        return cuda_fold_run<double, 1>(stream, from, to, in, add, workspace,
                                        cuda_fold_same<double>{static_cast<const double *>(from->data)});
    return cuda_fold_run<float, 1>(stream, from, to, in, add, workspace, cuda_fold_same<float>{static_cast<const float *>(from->data)});
}
