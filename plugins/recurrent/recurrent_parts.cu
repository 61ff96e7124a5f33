/* SPDX-License-Identifier: Apache-2.0 */
/* Around the recurrences: weights in the order in which a scan reads them, sums over rows, dropout, padding. All of them read and write
 * once what they are given. */
#include "common/cuda.h"

#include <flow/random.h>

#include "kernels_cuda.h"
#include "recurrent_cuda.h"

/* ---- Weights -------------------------------------------------------------------------------------------------------- */

/* to[head][gate][quad][unit][slice][4]; quad q of slice l has inputs 4*(q*slices + l) on. Forward `unit` is W's row and the input its
 * column, backward the other way round. */
template <typename T>
static __global__ void turn(const T *w, int64_t row, int64_t column, int64_t gates, int64_t heads, int64_t width, int64_t quads,
                            int64_t slices, bool back, T *to) {
    CUDA_EACH(i, heads * gates * quads * width * slices * 4) {
        const int64_t slice = i / 4 % slices, unit = i / 4 / slices % width, rest = i / 4 / slices / width;
        const int64_t input = 4 * (rest % quads * slices + slice) + i % 4, gate = rest / quads % gates, head = rest / quads / gates;
        const int64_t first = gate * heads * width + head * width,
                      at = back ? (first + input) * row + unit * column : (first + unit) * row + input * column;
        to[i] = input < width ? w[at] : T(0);
    }
}

template <typename T>
int cuda_recurrent_turn(const T *w, int64_t row, int64_t column, const recurrent_priv *p, const recurrent_shape &shape, int64_t heads,
                        bool back, T *to, cudaStream_t stream) {
    const int64_t count = cuda_recurrent_turned(p, shape);
    return CUDA_LAUNCH((turn<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, w, row, column, p->gates, heads, p->units / heads,
                       static_cast<int64_t>(shape.quads), static_cast<int64_t>(shape.slices), back, to);
}

/* ---- Sums over rows ------------------------------------------------------------------------------------------------- */

static const int SUM_COLUMNS = 32, SUM_ROWS = 8, SUM_PARTS = 64;

/* Block (c, k): 32 columns of the k-th share of the rows, eight rows at a time; then part[k][columns]. Sums of sums, so rounding does not
 * grow with the rows. */
template <typename T>
static __global__ void sum_parts(const T *x, int64_t x_row, const T *y, int64_t y_row, int64_t rows, int64_t columns, T *part) {
    CUDA_SHARED(T, sums, SUM_COLUMNS * SUM_ROWS);
    const int lane = static_cast<int>(threadIdx.x) % SUM_COLUMNS, wave = static_cast<int>(threadIdx.x) / SUM_COLUMNS;
    const int64_t column = static_cast<int64_t>(blockIdx.x) * SUM_COLUMNS + lane, share = (rows + gridDim.y - 1) / gridDim.y;
    const int64_t from = share * blockIdx.y, to = from + share < rows ? from + share : rows;
    T sum = 0;
    if (column < columns)
        for (int64_t r = from + wave; r < to; r += SUM_ROWS)
            sum += y ? x[r * x_row + column] * y[r * y_row + column] : x[r * x_row + column];
    sums[wave * SUM_COLUMNS + lane] = sum;
    __syncthreads();
    if (wave != 0 || column >= columns) return;
    for (int w = 1; w < SUM_ROWS; w++) sum += sums[w * SUM_COLUMNS + lane];
    part[static_cast<int64_t>(blockIdx.y) * columns + column] = sum;
}

template <typename T> static __global__ void sum_whole(const T *part, int64_t parts, int64_t columns, T *sums, bool add) {
    CUDA_EACH(c, columns) {
        T sum = 0;
        for (int64_t k = 0; k < parts; k++) sum += part[k * columns + c];
        sums[c] = add ? sums[c] + sum : sum;
    }
}

template <typename T>
int cuda_recurrent_sum_rows(const T *x, int64_t x_row, const T *y, int64_t y_row, int64_t rows, int64_t columns, T *part, T *sums, bool add,
                            cudaStream_t stream) {
    int64_t parts = (rows + 4 * SUM_ROWS - 1) / (4 * SUM_ROWS);
    parts = parts < 1 ? 1 : parts > SUM_PARTS ? SUM_PARTS : parts;
    const dim3 grid(static_cast<unsigned>((columns + SUM_COLUMNS - 1) / SUM_COLUMNS), static_cast<unsigned>(parts));
    int rc = CUDA_LAUNCH((sum_parts<T>), grid, SUM_COLUMNS * SUM_ROWS, 0, stream, x, x_row, y, y_row, rows, columns, part);
    if (rc != 0) return rc;
    return CUDA_LAUNCH((sum_whole<T>), cuda_blocks(columns, CUDA_BLOCK), CUDA_BLOCK, 0, stream, part, parts, columns, sums, add);
}

/* ---- Dropout, padding, what is left ---------------------------------------------------------------------------------- */

/* Four elements of [layers, B, T, units*directions] take the words of one block, as on the CPU. */
template <typename T>
static __global__ void mask(uint64_t key, cuda_run_number run, int64_t first, int64_t count, uint64_t least, T scale, T *y) {
    CUDA_EACH(block, (count + 3) / 4) {
        uint32_t words[4];
        flow_philox(key, run.number(), static_cast<uint64_t>(first + block), words);
        for (int64_t i = 4 * block, k = 0; k < 4 && i < count; i++, k++) y[i] *= words[k] < least ? T(0) : scale;
    }
}
template <typename T> int cuda_recurrent_mask(const struct flow_call *call, int64_t layer, T *y, cudaStream_t stream) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const int64_t count = p->batch * p->steps * p->units * p->directions, blocks = (count + 3) / 4;
    if (count == 0) return 0;
    return CUDA_LAUNCH((mask<T>), cuda_blocks(blocks, CUDA_BLOCK), CUDA_BLOCK, 0, stream, call->seed, cuda_run(call), layer * blocks, count,
                       static_cast<uint64_t>(a->dropout * 4294967296.0), static_cast<T>(1 / (1 - a->dropout)), y);
}

template <typename T> static __global__ void without_padding(recurrent_order_of_steps order, const T *x, int64_t width, T *to) {
    CUDA_EACH(i, order.batch * order.steps * width) {
        const int64_t at = i / width, b = at / order.steps;
        to[i] = at % order.steps < order.length(b) ? x[i] : T(0);
    }
}
template <typename T>
int cuda_recurrent_without_padding(const recurrent_order_of_steps &order, const T *x, int64_t width, T *to, cudaStream_t stream) {
    const int64_t count = order.batch * order.steps * width;
    if (count == 0) return 0;
    return CUDA_LAUNCH((without_padding<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, order, x, width, to);
}

template <typename T> static __global__ void next_c(const T *keep, const T *c, int64_t rows, int64_t units, bool coupled, T *to) {
    CUDA_EACH(i, rows * units) {
        const int64_t gates = coupled ? 3 : 4;
        const T *k = keep + i / units * gates * units + i % units + (coupled ? 0 : units);
        const T f = *k, in = coupled ? T(1) - f : k[-units];
        to[i] = f * c[i] + in * k[units];
    }
}
template <typename T>
int cuda_recurrent_next_c(const T *keep, const T *c, int64_t rows, int64_t units, bool coupled, T *to, cudaStream_t stream) {
    return CUDA_LAUNCH((next_c<T>), cuda_blocks(rows * units, CUDA_BLOCK), CUDA_BLOCK, 0, stream, keep, c, rows, units, coupled, to);
}

template <typename T> static __global__ void add(const T *from, T *to, int64_t count) { CUDA_EACH(i, count) to[i] += from[i]; }
template <typename T> int cuda_recurrent_add(const T *from, T *to, int64_t count, cudaStream_t stream) {
    return CUDA_LAUNCH((add<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, from, to, count);
}

static __global__ void check_lengths(const int64_t *lengths, int64_t batch, int64_t steps, cuda_fault_place fault) {
    CUDA_EACH(b, batch)
    if (lengths[b] < 0 || lengths[b] > steps) cuda_tell(fault, FLOW_FAULT_VALUE, lengths[b], steps);
}
int cuda_recurrent_check_lengths(const struct flow_call *call, const int64_t *lengths, int64_t batch, int64_t steps) {
    return CUDA_LAUNCH(check_lengths, cuda_blocks(batch, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), lengths, batch, steps,
                       cuda_fault(call));
}

#define INSTANCES(T)                                                                                                                      \
    template int cuda_recurrent_turn<T>(const T *, int64_t, int64_t, const recurrent_priv *, const recurrent_shape &, int64_t, bool, T *, \
                                        cudaStream_t);                                                                                    \
    template int cuda_recurrent_sum_rows<T>(const T *, int64_t, const T *, int64_t, int64_t, int64_t, T *, T *, bool, cudaStream_t);      \
    template int cuda_recurrent_mask<T>(const struct flow_call *, int64_t, T *, cudaStream_t);                                            \
    template int cuda_recurrent_without_padding<T>(const recurrent_order_of_steps &, const T *, int64_t, T *, cudaStream_t);              \
    template int cuda_recurrent_next_c<T>(const T *, const T *, int64_t, int64_t, bool, T *, cudaStream_t);                               \
    template int cuda_recurrent_add<T>(const T *, T *, int64_t, cudaStream_t);
INSTANCES(float)
INSTANCES(double)
