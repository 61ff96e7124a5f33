/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Axes are of four kinds: rows (in a and c), columns (in b and c), batch (in all), summed. Those of a kind whose steps continue each other
 * are joined; an index of a kind is then taken apart axis by axis. Products with rows, columns and a sum worth the name go by tiles; all
 * else by threads that have a result each, or, where results are few and sums long, by blocks.
 */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/cuda_tiles.h"
#include "product/strided_cuda.h"

static const int KIND_AXES = 6;

/* Axes of one kind, innermost first. */
struct strided_kind {
    int32_t rank;
    int64_t count; /* elements */
    int64_t extent[KIND_AXES], a[KIND_AXES], b[KIND_AXES], c[KIND_AXES];
    tiles_divider by[KIND_AXES];
};

struct strided_offset {
    int64_t a, b, c;
};
static __device__ inline strided_offset offset_of(const strided_kind &kind, int32_t index) {
    strided_offset at = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < KIND_AXES; i++) {
        if (i >= kind.rank) break;
        const int32_t rest = kind.by[i].quotient(index), here = index - rest * static_cast<int32_t>(kind.extent[i]);
        at.a += here * kind.a[i], at.b += here * kind.b[i], at.c += here * kind.c[i];
        index = rest;
    }
    return at;
}

template <typename T> struct strided_operands {
    const T *a, *b;
    T *c;
    bool adds;
};

/* Tiles: bytes: both operands once a tile; neighbouring threads load along the sum where that is where the operand's neighbours are. */
template <typename T, bool A_DEEP, bool B_DEEP> struct strided_product {
    typedef T real;
    static const bool a_deep = A_DEEP, b_deep = B_DEEP;
    strided_operands<T> of;
    strided_kind rows, columns, sums, batch;

    struct place {
        int32_t m, n, k;
        const T *a, *b;
        T *c;
    };
    typedef int64_t row, column, a_depth, b_depth;
    __device__ place open(int32_t problem) const {
        const strided_offset at = offset_of(batch, problem);
        return {static_cast<int32_t>(rows.count),
                static_cast<int32_t>(columns.count),
                static_cast<int32_t>(sums.count),
                of.a + at.a,
                of.b + at.b,
                of.c + at.c};
    }
    __device__ row row_of(const place &, int32_t m) const { return offset_of(rows, m).a; }
    __device__ column column_of(const place &, int32_t n) const { return offset_of(columns, n).b; }
    __device__ a_depth a_depth_of(const place &, int32_t k) const { return offset_of(sums, k).a; }
    __device__ b_depth b_depth_of(const place &, int32_t k) const { return offset_of(sums, k).b; }
    __device__ T a(const place &p, row r, a_depth d) const { return p.a[r + d]; }
    __device__ T b(const place &p, column c, b_depth d) const { return p.b[c + d]; }
    __device__ void put(const place &p, int32_t m, int32_t n, int32_t count, const T *value) const {
        T *line = p.c + offset_of(rows, m).c;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i >= count) return;
            T *to = line + offset_of(columns, n + i).c;
            *to = value[i] + (of.adds ? *to : T(0));
        }
    }
};

/* A thread a result: neighbours in c are neighbours of threads. */
template <typename T>
static __global__ void points_kernel(const strided_operands<T> of, const strided_kind results, const strided_kind sums) {
    CUDA_EACH(index, results.count) {
        const strided_offset at = offset_of(results, static_cast<int32_t>(index));
        const T *a = of.a + at.a, *b = of.b ? of.b + at.b : nullptr;
        T sum = 0;
        if (sums.rank <= 1) { /* one step at a time, without dividing */
            const int64_t step_a = sums.a[0], step_b = sums.b[0];
            for (int64_t k = 0; k < sums.count; k++, a += step_a) {
                sum += b ? *a * *b : *a;
                if (b) b += step_b;
            }
        } else {
            for (int32_t k = 0; k < sums.count; k++) {
                const strided_offset term = offset_of(sums, k);
                sum += b ? a[term.a] * b[term.b] : a[term.a];
            }
        }
        of.c[at.c] = sum + (of.adds ? of.c[at.c] : T(0));
    }
}

/* A block a result and a part of its sum; several parts go to the scratch [splits, results]. */
template <typename T>
static __global__ void sums_kernel(const strided_operands<T> of, const strided_kind results, const strided_kind sums, int32_t depth,
                                   T *parts) {
    CUDA_SHARED(T, kept, 32);
    const int32_t count = static_cast<int32_t>(results.count), result = static_cast<int32_t>(blockIdx.x) % count,
                  part = static_cast<int32_t>(blockIdx.x) / count;
    const strided_offset at = offset_of(results, result);
    const int32_t all = static_cast<int32_t>(sums.count), begin = part * depth, end = all - begin < depth ? all : begin + depth;
    T sum = 0;
    for (int32_t k = begin + static_cast<int32_t>(threadIdx.x); k < end; k += static_cast<int32_t>(blockDim.x)) {
        const strided_offset term = offset_of(sums, k);
        const T value = of.a[at.a + term.a];
        sum += of.b ? value * of.b[at.b + term.b] : value;
    }
    sum = cuda_block(sum, 0, cuda_join_sum(), kept);
    if (threadIdx.x != 0) return;
    if (parts) parts[blockIdx.x] = sum;
    else of.c[at.c] = sum + (of.adds ? of.c[at.c] : T(0));
}
template <typename T>
static __global__ void parts_kernel(const strided_operands<T> of, const strided_kind results, int32_t splits, const T *parts) {
    CUDA_EACH(i, results.count) {
        T sum = 0;
        for (int32_t s = 0; s < splits; s++) sum += parts[s * results.count + i];
        T *to = of.c + offset_of(results, static_cast<int32_t>(i)).c;
        *to = sum + (of.adds ? *to : T(0));
    }
}

/* ---- Kinds ---- */

enum { ROWS, COLUMNS, BATCH, SUMS, KINDS };

static int kind_of(const strided_axis &axis) { return !axis.in_c ? SUMS : axis.in_a && axis.in_b ? BATCH : axis.in_b ? COLUMNS : ROWS; }

static int64_t magnitude(int64_t n) { return n < 0 ? -n : n; }

/* Of c's axes the one with the smallest step is innermost, of summed ones that of a and b. */
static int64_t nearness(const strided_axis &axis) { return axis.in_c ? magnitude(axis.c) : magnitude(axis.a) + magnitude(axis.b); }

/* Axes without those of extent 1, innermost first, those joined that continue each other and are of one kind. */
static int32_t axes_join(const strided_axis *from, int32_t count, strided_axis *to) {
    int32_t made = 0;
    for (int32_t i = 0; i < count; i++) {
        if (from[i].extent == 1) continue;
        int32_t at = made++;
        for (; at > 0 && nearness(to[at - 1]) > nearness(from[i]); at--) to[at] = to[at - 1];
        to[at] = from[i];
    }
    for (int32_t i = 0; i < made; i++)
        for (int32_t j = 0; j < made; j++) {
            strided_axis &inner = to[i];
            const strided_axis outer = to[j];
            if (i == j || kind_of(inner) != kind_of(outer) || outer.a != inner.a * inner.extent || outer.b != inner.b * inner.extent ||
                outer.c != inner.c * inner.extent)
                continue;
            inner.extent *= outer.extent;
            for (int32_t l = j + 1; l < made; l++) to[l - 1] = to[l];
            made--;
            i = -1; /* from the start */
            break;
        }
    return made;
}

static strided_kind kind_made(const strided_axis *axes, int32_t count, unsigned kinds) {
    strided_kind kind = {};
    kind.count = 1;
    for (int32_t i = 0; i < count; i++) {
        if (!(kinds >> kind_of(axes[i]) & 1)) continue;
        kind.count *= axes[i].extent;
        if (kind.rank == KIND_AXES) continue; /* refused by its rank */
        const int32_t at = kind.rank++;
        kind.extent[at] = axes[i].extent, kind.by[at] = tiles_divider::of(static_cast<int32_t>(axes[i].extent));
        kind.a[at] = axes[i].a, kind.b[at] = axes[i].b, kind.c[at] = axes[i].c;
    }
    return kind;
}

/* The axis to loop over where there are too many of them or too many elements for the kernels: the outermost of a kind at fault; -1: none.
 */
static int32_t axis_extra(const strided_axis *axes, int32_t count) {
    const double most = 2147483647.0;
    for (int pass = 0; pass < 2; pass++) {
        double elements = 1;
        int32_t number = 0, last = -1;
        for (int32_t i = 0; i < count; i++)
            if ((kind_of(axes[i]) == SUMS) == (pass == 1)) elements *= static_cast<double>(axes[i].extent), number++, last = i;
        if (last >= 0 && (number > KIND_AXES || elements >= most)) return last;
    }
    return -1;
}

/* ---- Launches ---- */

template <typename T, bool A_DEEP, bool B_DEEP>
static int tiles(const struct flow_call *call, const strided_operands<T> &of, const strided_kind kinds[KINDS], void *scratch) {
    strided_product<T, A_DEEP, B_DEEP> product;
    product.of = of;
    product.rows = kinds[ROWS], product.columns = kinds[COLUMNS], product.sums = kinds[SUMS], product.batch = kinds[BATCH];
    return tiles_run(call, product, product.rows.count, product.columns.count, product.sums.count, product.batch.count, scratch,
                     STRIDED_SCRATCH);
}

/* Are neighbours along the sum nearer than those along the result? */
static bool is_deep(int64_t sum, int64_t result) { return magnitude(sum) < magnitude(result); }

template <typename T>
static int launch(const struct flow_call *call, const strided_axis *axes, int32_t count, const strided_operands<T> &of, void *scratch) {
    strided_kind kinds[KINDS];
    for (int i = 0; i < KINDS; i++) kinds[i] = kind_made(axes, count, 1u << i);
    const strided_kind &rows = kinds[ROWS], &columns = kinds[COLUMNS], &sums = kinds[SUMS];
    if (of.b && rows.count >= 8 && columns.count >= 8 && sums.count >= 8) {
        const bool a_deep = is_deep(sums.a[0], rows.a[0]), b_deep = is_deep(sums.b[0], columns.b[0]);
        if (a_deep) return b_deep ? tiles<T, true, true>(call, of, kinds, scratch) : tiles<T, true, false>(call, of, kinds, scratch);
        return b_deep ? tiles<T, false, true>(call, of, kinds, scratch) : tiles<T, false, false>(call, of, kinds, scratch);
    }
    const strided_kind results = kind_made(axes, count, 1u << ROWS | 1u << COLUMNS | 1u << BATCH);
    if (results.count >= 1 << 15 || sums.count < 64)
        return cuda_status(call, CUDA_LAUNCH((points_kernel<T>), cuda_blocks(results.count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                             of, results, sums));
    const int block = sums.count < 1024 ? 64 : CUDA_BLOCK;
    int64_t splits = results.count < 8 * 132 ? 8 * 132 / results.count : 1, most = sums.count / (4 * CUDA_BLOCK);
    splits = splits > most ? most : splits;
    splits = splits < 1 ? 1 : splits; /* splits * results <= 8 * 132 of them fit into the scratch */
    const int64_t depth = (sums.count + splits - 1) / splits;
    splits = (sums.count + depth - 1) / depth;
    T *parts = splits > 1 ? static_cast<T *>(scratch) : nullptr;
    int error = CUDA_LAUNCH((sums_kernel<T>), static_cast<unsigned>(results.count * splits), block, 0, cuda_stream(call), of, results, sums,
                            static_cast<int32_t>(depth), parts);
    if (error == 0 && parts)
        error = CUDA_LAUNCH((parts_kernel<T>), cuda_blocks(results.count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), of, results,
                            static_cast<int32_t>(splits), parts);
    return cuda_status(call, error);
}

template <typename T>
static int run(const struct flow_call *call, const strided_axis *axes, int32_t count, strided_operands<T> of, void *scratch) {
    const int32_t extra = axis_extra(axes, count);
    if (extra < 0) return launch<T>(call, axes, count, of, scratch);
    const strided_axis axis = axes[extra];
    strided_axis rest[STRIDED_AXES];
    int32_t left = 0;
    for (int32_t i = 0; i < count; i++)
        if (i != extra) rest[left++] = axes[i];
    int status = FLOW_OK;
    for (int64_t i = 0; i < axis.extent && status >= 0; i++) {
        status = run<T>(call, rest, left, of, scratch);
        of.a += axis.a, of.c += axis.c;
        if (of.b) of.b += axis.b;
        if (!axis.in_c) of.adds = true;
    }
    return status;
}

int cuda_strided_sum(const struct flow_call *call, int32_t dtype, const struct strided_axis *axes, int32_t count, const void *a,
                     const void *b, void *c, bool adds, void *scratch) {
    strided_axis joined[STRIDED_AXES];
    int32_t made = axes_join(axes, count, joined);
    if (dtype == FLOW_F64)
        return run<double>(call, joined, made,
                           {static_cast<const double *>(a), static_cast<const double *>(b), static_cast<double *>(c), adds}, scratch);
    return run<float>(call, joined, made, {static_cast<const float *>(a), static_cast<const float *>(b), static_cast<float *>(c), adds},
                      scratch);
}
