/* SPDX-License-Identifier: Apache-2.0 */
/* Rows read by index, and added where an index says: gather, embedding, scatter_add, and their gradients. */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "index/index.h"
#include "index/kernels_cuda.h"

static int64_t span(const struct flow_tensor *t, int32_t begin, int32_t end) {
    int64_t n = 1;
    for (int32_t i = begin; i < end; i++) n *= t->shape[i];
    return n;
}

/* `blocks` tables of `extent` rows of `width` elements; block b uses `count` indices, those of index block b / shared. */
struct row_map {
    const int64_t *index;
    int64_t blocks, shared, extent, count, width;
    int64_t left_out; /* a row that gets nothing; -1: none */
};

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

struct alignas(16) row_sixteen {
    uint64_t at[2];
};

/* 2 * sizeof(U) bytes a unit, U as wide as rows allow; the indices of a warp's units are one or two, read from the cache. An index out of
 * range is told and reads as zeros. */
template <typename U, bool ONE>
static __global__ void __launch_bounds__(256) take_kernel(struct row_map r, struct cuda_divisor width, struct cuda_divisor count, bool wide,
                                                          const U *from, U *to, struct cuda_fault_place fault) {
    CUDA_EACH(i, r.blocks * r.count * r.width) {
        int64_t row, block = 0, e;
        if (wide) row = i / r.width;
        else row = cuda_divide(width, static_cast<uint32_t>(i));
        e = row;
        if (!ONE) {
            block = wide ? row / r.count : cuda_divide(count, static_cast<uint32_t>(row));
            e = block / r.shared * r.count + row - block * r.count;
        }
        const int64_t at = r.index[e], unit = i - row * r.width;
        U value = {};
        if (static_cast<uint64_t>(at) < static_cast<uint64_t>(r.extent)) value = from[(block * r.extent + at) * r.width + unit];
        else if (unit == 0) cuda_tell(fault, FLOW_FAULT_INDEX, at, r.extent);
        to[i] = value;
    }
}

template <typename U> static int take_units(const struct flow_call *call, struct row_map r, int64_t bytes, const void *from, void *to) {
    r.width = r.width * bytes / static_cast<int64_t>(sizeof(U));
    const int64_t total = r.blocks * r.count * r.width;
    const bool wide = total > INT32_MAX;
    const struct cuda_divisor width = cuda_divisor_of(wide ? 1 : r.width), count = cuda_divisor_of(wide ? 1 : r.count);
    const unsigned grid = cuda_blocks(total, CUDA_BLOCK);
    if (r.blocks == 1)
        return CUDA_LAUNCH((take_kernel<U, true>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, width, count, wide,
                           static_cast<const U *>(from), static_cast<U *>(to), cuda_fault(call));
    return CUDA_LAUNCH((take_kernel<U, false>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, width, count, wide, static_cast<const U *>(from),
                       static_cast<U *>(to), cuda_fault(call));
}

/* Elements of `bytes`. */
static int take_run(const struct flow_call *call, const struct row_map &r, int64_t bytes, const void *from, void *to) {
    const int64_t row = r.width * bytes;
    if (r.blocks * r.count * r.width == 0) return FLOW_OK;
    int64_t unit = 16;
    while (unit > bytes && !(row % unit == 0 && cuda_aligned(from, unit) && cuda_aligned(to, unit))) unit /= 2;
    int error = 0;
    switch (unit) {
    case 16: error = take_units<row_sixteen>(call, r, bytes, from, to); break;
    case 8: error = take_units<uint64_t>(call, r, bytes, from, to); break;
    case 4: error = take_units<uint32_t>(call, r, bytes, from, to); break;
    case 2: error = take_units<uint16_t>(call, r, bytes, from, to); break;
    default: error = take_units<uint8_t>(call, r, bytes, from, to); break;
    }
    return cuda_status(call, error);
}

int cuda_gather_forward(const struct flow_call *call) {
    const struct gather_attrs *a = static_cast<const struct gather_attrs *>(call->attrs);
    const struct gather *g = static_cast<const struct gather *>(call->priv);
    const struct flow_tensor *x = &call->in[0], *index = &call->in[1];
    const int32_t batch = static_cast<int32_t>(a->batch);
    const struct row_map r = {static_cast<const int64_t *>(index->data),
                              span(x, 0, g->axis),
                              span(x, batch, g->axis),
                              x->shape[g->axis],
                              span(index, batch, index->rank),
                              span(x, g->axis + 1, x->rank),
                              -1};
    return take_run(call, r, cuda_type_bytes(x->dtype), x->data, call->out[0].data);
}

int cuda_embedding_forward(const struct flow_call *call) {
    const struct embedding_attrs *a = static_cast<const struct embedding_attrs *>(call->attrs);
    const struct flow_tensor *index = &call->in[0], *weight = &call->param[0];
    const struct row_map r = {static_cast<const int64_t *>(index->data), 1, 1, a->count, cuda_count(index), a->units, -1};
    return take_run(call, r, cuda_type_bytes(weight->dtype), weight->data, call->out[0].data);
}

/* ---- Adding -------------------------------------------------------------------------------------------------------- */

/*
 * Sums are the same in every run: a warp owns a row of the target (or 128 columns of it) and adds what belongs to it in the order of the
 * indices, in registers. Up to FEW indices a table the first index that names a row is its owner, found by looking through the indices
 * themselves (they lie in the cache): one launch, no memory. Beyond, indices are first sorted into lists, one a row: counted and placed by
 * integer atomics, and each list of up to 32 is put into order by its warp; longer ones are found by looking through all indices once more.
 */
enum { FEW = 2048, CHUNK = 128 };

/* Lane `lane` has columns column, column + 32, ... */
template <typename T> struct row_sum {
    T at[4];
    __device__ void clear() {
        for (int j = 0; j < 4; j++) at[j] = T(0);
    }
    __device__ void add(const T *row, int64_t column, int64_t width) {
        for (int j = 0; j < 4; j++)
            if (column + 32 * j < width) at[j] = static_cast<T>(at[j] + row[column + 32 * j]);
    }
    __device__ void put(T *row, int64_t column, int64_t width) const {
        for (int j = 0; j < 4; j++)
            if (column + 32 * j < width) row[column + 32 * j] = static_cast<T>(row[column + 32 * j] + at[j]);
    }
};

/* Adds the rows of all e in [begin, count) whose index is `row`, in order. */
template <typename T>
static __device__ inline void add_all(row_sum<T> &sum, const struct row_map &r, const int64_t *index, int64_t row, int64_t begin,
                                      const T *from, int64_t column, int lane) {
    for (int64_t at = begin; at < r.count; at += CUDA_WARP) {
        unsigned found = __ballot_sync(CUDA_WHOLE_WARP, at + lane < r.count && index[at + lane] == row);
        while (found != 0) {
            const int next = __ffs(static_cast<int>(found)) - 1;
            found &= found - 1;
            sum.add(from + (at + next) * r.width, column, r.width);
        }
    }
}

/* A warp for each (table, chunk of columns, index). */
template <typename T>
static __global__ void __launch_bounds__(256)
    add_few_kernel(struct row_map r, int64_t chunks, const T *from, T *to, struct cuda_fault_place fault) {
    const int lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / CUDA_WARP), all = r.blocks * chunks * r.count;
    for (int64_t unit = static_cast<int64_t>(blockIdx.x) * (blockDim.x / CUDA_WARP) + threadIdx.x / CUDA_WARP; unit < all; unit += warps) {
        const int64_t part = unit / r.count, e = unit - part * r.count, block = part / chunks, chunk = part - block * chunks;
        const int64_t *index = r.index + block / r.shared * r.count, row = index[e];
        if (static_cast<uint64_t>(row) >= static_cast<uint64_t>(r.extent)) {
            if (lane == 0) cuda_tell(fault, FLOW_FAULT_INDEX, row, r.extent);
            continue;
        }
        bool owner = row != r.left_out;
        for (int64_t at = 0; owner && at < e; at += CUDA_WARP)
            owner = !__any_sync(CUDA_WHOLE_WARP, at + lane < e && index[at + lane] == row);
        if (!owner) continue;
        const int64_t column = chunk * CHUNK + lane;
        row_sum<T> sum;
        sum.clear();
        add_all(sum, r, index, row, e, from + block * r.count * r.width, column, lane);
        sum.put(to + (block * r.extent + row) * r.width, column, r.width);
    }
}

/* Of each row of each index block: how many indices name it, and where its list begins and ends. */
struct row_lists {
    int32_t *room;  /* of all: where the next list begins */
    int32_t *count; /* [index blocks * extent] */
    int32_t *begin;
    int32_t *place; /* [index blocks * count]: lists, one after the other as it came */
};

static __global__ void __launch_bounds__(256)
    count_kernel(struct row_map r, int64_t total, struct row_lists l, struct cuda_fault_place fault) {
    CUDA_EACH(i, total) {
        const int64_t row = r.index[i];
        if (static_cast<uint64_t>(row) >= static_cast<uint64_t>(r.extent)) cuda_tell(fault, FLOW_FAULT_INDEX, row, r.extent);
        else if (row != r.left_out) atomicAdd(&l.count[i / r.count * r.extent + row], 1);
    }
}

/* A list's place does not matter for the sums: lists are laid out as their threads come. */
static __global__ void __launch_bounds__(256) begin_kernel(int64_t rows, struct row_lists l) {
    CUDA_EACH(i, rows) if (l.count[i] > 0) l.begin[i] = atomicAdd(l.room, l.count[i]);
}

static __global__ void __launch_bounds__(256) place_kernel(struct row_map r, int64_t total, struct row_lists l) {
    CUDA_EACH(i, total) {
        const int64_t row = r.index[i], block = i / r.count, list = block * r.extent + row;
        if (static_cast<uint64_t>(row) < static_cast<uint64_t>(r.extent) && row != r.left_out)
            l.place[atomicAdd(&l.begin[list], 1)] = static_cast<int32_t>(i - block * r.count);
    }
}

/* A warp for each (table, row, chunk of columns). After place_kernel `begin` is a list's end. */
template <typename T>
static __global__ void __launch_bounds__(256) add_many_kernel(struct row_map r, int64_t chunks, struct row_lists l, const T *from, T *to) {
    const int lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / CUDA_WARP), all = r.blocks * r.extent * chunks;
    for (int64_t unit = static_cast<int64_t>(blockIdx.x) * (blockDim.x / CUDA_WARP) + threadIdx.x / CUDA_WARP; unit < all; unit += warps) {
        const int64_t part = unit / chunks, chunk = unit - part * chunks, block = part / r.extent, row = part - block * r.extent;
        const int64_t list = block / r.shared * r.extent + row;
        const int count = l.count[list];
        if (count == 0) continue;
        const T *base = from + block * r.count * r.width;
        const int64_t column = chunk * CHUNK + lane;
        row_sum<T> sum;
        sum.clear();
        if (count <= CUDA_WARP) {
            const int mine = lane < count ? l.place[l.begin[list] - count + lane] : INT32_MAX;
            int rank = 0;
            for (int j = 0; j < count; j++) rank += __shfl_sync(CUDA_WHOLE_WARP, mine, j) < mine;
            for (int j = 0; j < count; j++) {
                const int holder = __ffs(static_cast<int>(__ballot_sync(CUDA_WHOLE_WARP, lane < count && rank == j))) - 1;
                sum.add(base + static_cast<int64_t>(__shfl_sync(CUDA_WHOLE_WARP, mine, holder)) * r.width, column, r.width);
            }
        } else add_all(sum, r, r.index + block / r.shared * r.count, row, 0, base, column, lane);
        sum.put(to + part * r.width, column, r.width);
    }
}

static int64_t room_of(int64_t index_blocks, int64_t extent, int64_t count) {
    if (count <= FEW) return 0;
    return ((2 * index_blocks * extent + index_blocks * count + 16) * static_cast<int64_t>(sizeof(int32_t)) + 63) / 64 * 64;
}

/* to[b, index[b / shared, e], :] += from[b, e, :], in the order of e. 0 or a cudaError_t. */
template <typename T> static int add_rows(const struct flow_call *call, const struct row_map &r, const void *from, void *to) {
    cudaStream_t stream = cuda_stream(call);
    const int64_t chunks = (r.width + CHUNK - 1) / CHUNK, index_blocks = r.shared > 0 ? r.blocks / r.shared : 0;
    if (r.blocks * r.count * r.width == 0) return 0;
    if (r.count <= FEW)
        return CUDA_LAUNCH((add_few_kernel<T>), cuda_blocks(r.blocks * chunks * r.count, CUDA_BLOCK / CUDA_WARP), CUDA_BLOCK, 0, stream, r,
                           chunks, static_cast<const T *>(from), static_cast<T *>(to), cuda_fault(call));
    const int64_t rows = index_blocks * r.extent, total = index_blocks * r.count;
    int32_t *at = static_cast<int32_t *>(call->workspace);
    const struct row_lists l = {at, at + 16, at + 16 + rows, at + 16 + 2 * rows};
    int error = static_cast<int>(cudaMemsetAsync(at, 0, static_cast<size_t>(16 + rows) * sizeof(int32_t), stream));
    if (error == 0)
        error = CUDA_LAUNCH((count_kernel), cuda_blocks(total, CUDA_BLOCK), CUDA_BLOCK, 0, stream, r, total, l, cuda_fault(call));
    if (error == 0) error = CUDA_LAUNCH((begin_kernel), cuda_blocks(rows, CUDA_BLOCK), CUDA_BLOCK, 0, stream, rows, l);
    if (error == 0) error = CUDA_LAUNCH((place_kernel), cuda_blocks(total, CUDA_BLOCK), CUDA_BLOCK, 0, stream, r, total, l);
    if (error == 0)
        error = CUDA_LAUNCH((add_many_kernel<T>), cuda_blocks(r.blocks * r.extent * chunks, CUDA_BLOCK / CUDA_WARP), CUDA_BLOCK, 0, stream,
                            r, chunks, l, static_cast<const T *>(from), static_cast<T *>(to));
    return error;
}

/* The gradient's zeros, then the rows. */
static int add_gradient(const struct flow_call *call, const struct row_map &r, const struct flow_tensor *to, bool add) {
    const struct flow_tensor *g = &call->grad_out[0];
    int error = cuda_zero(cuda_stream(call), to, add);
    if (error == 0 && to->rank >= 0 && g->rank >= 0)
        error = to->dtype == FLOW_F64 ? add_rows<double>(call, r, g->data, to->data) : add_rows<float>(call, r, g->data, to->data);
    return cuda_status(call, error);
}

int cuda_gather_backward(const struct flow_call *call) {
    const struct gather_attrs *a = static_cast<const struct gather_attrs *>(call->attrs);
    const struct gather *g = static_cast<const struct gather *>(call->priv);
    const struct flow_tensor *to = &call->grad_in[0], *index = &call->in[1];
    const int32_t batch = static_cast<int32_t>(a->batch);
    struct row_map r = {};
    if (to->rank >= 0)
        r = {static_cast<const int64_t *>(index->data),
             span(to, 0, g->axis),
             span(to, batch, g->axis),
             to->shape[g->axis],
             span(index, batch, index->rank),
             span(to, g->axis + 1, to->rank),
             -1};
    return add_gradient(call, r, to, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
}

int cuda_gather_plan(struct flow_infer *infer) {
    const struct gather_attrs *a = static_cast<const struct gather_attrs *>(infer->attrs);
    const struct gather *g = static_cast<const struct gather *>(infer->priv);
    const struct flow_tensor *x = &infer->in[0], *index = &infer->in[1];
    const int32_t batch = static_cast<int32_t>(a->batch);
    infer->workspace_backward = infer->differentiated ? room_of(span(x, 0, batch), x->shape[g->axis], span(index, batch, index->rank)) : 0;
    return FLOW_OK;
}

int cuda_embedding_backward(const struct flow_call *call) {
    const struct embedding_attrs *a = static_cast<const struct embedding_attrs *>(call->attrs);
    const struct flow_tensor *index = &call->in[0];
    const int64_t left_out = a->padding == FLOW_INT_ABSENT ? -1 : a->padding;
    const struct row_map r = {static_cast<const int64_t *>(index->data), 1, 1, a->count, cuda_count(index), a->units, left_out};
    return add_gradient(call, r, &call->grad_param[0], FLOW_ACCUMULATES(call->accumulate_param, 0) != 0);
}

int cuda_embedding_plan(struct flow_infer *infer) {
    const struct embedding_attrs *a = static_cast<const struct embedding_attrs *>(infer->attrs);
    infer->workspace_backward = infer->differentiated ? room_of(1, a->count, cuda_count(&infer->in[0])) : 0;
    return FLOW_OK;
}

/* ---- scatter_add --------------------------------------------------------------------------------------------------- */

int cuda_scatter_add_forward(const struct flow_call *call) {
    const struct flow_tensor *src = &call->in[0], *y = &call->out[0];
    const struct row_map r = {
        static_cast<const int64_t *>(call->in[1].data), 1, 1, y->shape[0], src->shape[0], span(src, 1, src->rank), -1};
    int error = cuda_zero(cuda_stream(call), y, false);
    if (error != 0) return cuda_status(call, error);
    switch (y->dtype) {
    case FLOW_F64: error = add_rows<double>(call, r, src->data, y->data); break;
    case FLOW_I32: error = add_rows<int32_t>(call, r, src->data, y->data); break;
    case FLOW_I64: error = add_rows<int64_t>(call, r, src->data, y->data); break;
    case FLOW_U8: error = add_rows<uint8_t>(call, r, src->data, y->data); break;
    default: error = add_rows<float>(call, r, src->data, y->data); break;
    }
    return cuda_status(call, error);
}

int cuda_scatter_add_plan(struct flow_infer *infer) {
    infer->workspace = room_of(1, infer->out[0].shape[0], infer->in[0].shape[0]);
    infer->workspace_backward = 0;
    return FLOW_OK;
}

/* Each row reads the gradient of the row that it was added to. Three times sizeof(T) bytes an element where it is added. */
template <typename T> static __global__ void __launch_bounds__(256) take_add_kernel(struct row_map r, const T *from, T *to) {
    CUDA_EACH(i, r.count * r.width) {
        const int64_t e = i / r.width, at = r.index[e];
        if (static_cast<uint64_t>(at) < static_cast<uint64_t>(r.extent)) to[i] += from[at * r.width + i - e * r.width];
    }
}

int cuda_scatter_add_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0 || cuda_count(to) == 0) return FLOW_OK;
    const struct row_map r = {static_cast<const int64_t *>(call->in[1].data), 1, 1, g->shape[0], to->shape[0], span(to, 1, to->rank), -1};
    if (!add) return take_run(call, r, cuda_type_bytes(to->dtype), g->data, to->data);
    const unsigned grid = cuda_blocks(r.count * r.width, CUDA_BLOCK);
    if (to->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((take_add_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), r,
                                             static_cast<const double *>(g->data), static_cast<double *>(to->data)));
    return cuda_status(call, CUDA_LAUNCH((take_add_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), r,
                                         static_cast<const float *>(g->data), static_cast<float *>(to->data)));
}
