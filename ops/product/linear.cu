/* SPDX-License-Identifier: Apache-2.0 */
/* linear on CUDA: the host's products, and the sum of dy's rows. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "product/kernels_cuda.h"
#include "product/linear.h"

static const int LINEAR_COLUMNS = 32, LINEAR_ROWS = 8; /* of a block's threads */

/* A block sums up 32 columns of a part of the rows: x once, in lines of a warp, eight rows at a time. to: [splits, width], or the result.
 */
template <typename T>
static __global__ void columns_kernel(const T *x, T *to, int64_t rows, int64_t width, int32_t tiles, int64_t depth, bool add) {
    CUDA_SHARED(T, kept, LINEAR_COLUMNS * LINEAR_ROWS);
    const int32_t tile = static_cast<int32_t>(blockIdx.x) % tiles, part = static_cast<int32_t>(blockIdx.x) / tiles;
    const int lane = static_cast<int>(threadIdx.x) % LINEAR_COLUMNS, row = static_cast<int>(threadIdx.x) / LINEAR_COLUMNS;
    const int64_t column = static_cast<int64_t>(tile) * LINEAR_COLUMNS + lane;
    const int64_t begin = part * depth, end = rows - begin < depth ? rows : begin + depth;
    T sum = 0;
    if (column < width)
        for (int64_t i = begin + row; i < end; i += LINEAR_ROWS) sum += x[i * width + column];
    kept[row * LINEAR_COLUMNS + lane] = sum;
    __syncthreads();
    if (row != 0 || column >= width) return;
    for (int i = 1; i < LINEAR_ROWS; i++) sum += kept[i * LINEAR_COLUMNS + lane];
    to += part * width + column;
    *to = sum + (add ? *to : T(0));
}

template <typename T> static __global__ void parts_kernel(const T *parts, T *to, int32_t splits, int64_t width, bool add) {
    CUDA_EACH(i, width) {
        T sum = 0;
        for (int32_t s = 0; s < splits; s++) sum += parts[s * width + i];
        to[i] = sum + (add ? to[i] : T(0));
    }
}

/* Parts of the rows: enough blocks for the device, and 64 rows or more for each. */
struct columns_cut {
    int32_t tiles, splits;
    int64_t depth;
};
static columns_cut cut_of(int64_t rows, int64_t width) {
    const int64_t tiles = (width + LINEAR_COLUMNS - 1) / LINEAR_COLUMNS, most = rows / 64;
    int64_t splits = tiles > 0 && tiles < 4 * 132 ? 4 * 132 / tiles : 1;
    splits = splits > most ? most : splits;
    splits = splits < 1 ? 1 : splits;
    columns_cut cut = {static_cast<int32_t>(tiles), 1, (rows + splits - 1) / splits};
    if (cut.depth > 0) cut.splits = static_cast<int32_t>((rows + cut.depth - 1) / cut.depth);
    return cut;
}

template <typename T> static int columns_run(const struct flow_call *call, const void *x, void *to, int64_t rows, int64_t width, bool add) {
    const columns_cut cut = cut_of(rows, width);
    T *parts = static_cast<T *>(call->workspace);
    int error = CUDA_LAUNCH((columns_kernel<T>), static_cast<unsigned>(cut.tiles) * static_cast<unsigned>(cut.splits),
                            LINEAR_COLUMNS * LINEAR_ROWS, 0, cuda_stream(call), static_cast<const T *>(x),
                            cut.splits == 1 ? static_cast<T *>(to) : parts, rows, width, cut.tiles, cut.depth, add && cut.splits == 1);
    if (error == 0 && cut.splits > 1)
        error = CUDA_LAUNCH((parts_kernel<T>), cuda_blocks(width, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), parts,
                            static_cast<T *>(to), cut.splits, width, add);
    return cuda_status(call, error);
}

int cuda_linear_plan(struct flow_infer *infer) {
    const struct linear_attrs *attrs = static_cast<const struct linear_attrs *>(infer->attrs);
    const columns_cut cut = cut_of(linear_rows(&infer->in[0]), attrs->units);
    infer->packed = 0, infer->workspace_backward = 0;
    if (infer->differentiated && attrs->bias && cut.splits > 1)
        infer->workspace_backward = (cut.splits * attrs->units * shape_type_bytes(extent_wide(infer->in[0].dtype)) + 63) / 64 * 64;
    return FLOW_OK;
}

int cuda_linear_forward(const struct flow_call *call) {
    const struct flow_gemm product = linear_product(call);
    return product.m == 0 ? FLOW_OK : call->host->gemm(call, &product);
}

int cuda_linear_backward(const struct flow_call *call) {
    const struct linear_attrs *attrs = static_cast<const struct linear_attrs *>(call->attrs);
    const struct flow_tensor *dy = &call->grad_out[0];
    if (!shape_exists(dy)) return cuda_zero_all(call);
    const int status = linear_gradients(call);
    if (status < 0 || !attrs->bias || !shape_exists(&call->grad_param[1])) return status;
    const int64_t rows = linear_rows(&call->in[0]);
    const bool add = FLOW_ACCUMULATES(call->accumulate_param, 1) != 0;
    return dy->dtype == FLOW_F64 ? columns_run<double>(call, dy->data, call->grad_param[1].data, rows, attrs->units, add)
                                 : columns_run<float>(call, dy->data, call->grad_param[1].data, rows, attrs->units, add);
}
