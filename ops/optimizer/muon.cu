/* SPDX-License-Identifier: Apache-2.0 */
/*
 * muon, as muon.c has it: momentum, then Newton and Schulz's iteration on the smaller side of each matrix.
 *
 * Matrices of one shape, whatever parameters they belong to, go together, up to BATCH of them as far as ROOM bytes reach: an iteration is
 * then three batched products and one pass over [r, r], and a model of a hundred layers costs no more launches than one of ten. What an
 * element costs: 4 r products of its X and 2 r^2/columns of A A an iteration; the passes are little beside them. Of large A and A A only
 * the lower triangle is multiplied out, in four strips.
 */
#include "common/cuda.h"

#include "optimizer/kernels_cuda.h"

#include "common/cuda_many.h"
#include "optimizer/attrs.h"

#include <math.h>

static const int64_t BATCH = 64, ROOM = INT64_C(256) << 20, STRIPS_FROM = 2048;
static const int64_t PARTS = 256, PART = 4096; /* sums of squares: at most so many a matrix, each of so many elements or more */

/* Matrices of one shape: parameter w, gradient g (NULL: zero), momentum m (NULL: none). */
struct matrices {
    uint32_t count;
    void *w[BATCH], *m[BATCH];
    const void *g[BATCH];
};

struct room {
    int64_t x, a, sums, all; /* bytes a matrix: X, twice; A and B; sums */
};

struct muon {
    const struct flow_update *update;
    int32_t dtype;
    int64_t rows, columns, r, batch; /* batch: that the workspace has room for */
    struct room room;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows and columns of the parameter's matrices; their number (0: empty). */
static int64_t matrices_of(const struct muon_attrs *a, const struct flow_tensor *t, int64_t *rows, int64_t *columns) {
    const int32_t axis = a->stacked && t->rank > 2 ? t->rank - 2 : 0;
    int64_t count = 1;
    *rows = t->shape[axis], *columns = 1;
    for (int32_t i = axis + 1; i < t->rank; i++) *columns *= t->shape[i];
    for (int32_t i = 0; i < axis; i++) count *= t->shape[i];
    return *rows && *columns ? count : 0;
}

static bool room_of(int64_t rows, int64_t columns, int64_t element, struct room *room) {
    const int64_t r = least(rows, columns);
    int64_t x, a;
    if (__builtin_mul_overflow(rows, columns, &x) || __builtin_mul_overflow(x, element, &x)) return false;
    if (__builtin_mul_overflow(r, r, &a) || __builtin_mul_overflow(a, element, &a)) return false;
    if (x > INT64_MAX / 8 || a > INT64_MAX / 8) return false;
    room->x = (x + 63) / 64 * 64, room->a = (a + 63) / 64 * 64, room->sums = PARTS * static_cast<int64_t>(sizeof(double));
    room->all = 2 * (room->x + room->a) + room->sums;
    return true;
}

/* Parameter i opens the shape it has, unless one before it had that shape: then false. `all`: matrices of the shape in the group. */
static bool opens(const struct flow_update *u, uint32_t i, int64_t *rows, int64_t *columns, int64_t *all) {
    const struct muon_attrs *a = static_cast<const struct muon_attrs *>(u->attrs);
    *all = matrices_of(a, &u->param[i], rows, columns);
    if (*all == 0) return false;
    for (uint32_t j = 0; j < u->count; j++) {
        int64_t other_rows, other_columns, count;
        if (j == i || u->param[j].dtype != u->param[i].dtype) continue;
        count = matrices_of(a, &u->param[j], &other_rows, &other_columns);
        if (count == 0 || other_rows != *rows || other_columns != *columns) continue;
        if (j < i) return false;
        *all += count;
    }
    return true;
}

static int64_t batch_of(const struct room *room, int64_t all) {
    int64_t fit = ROOM / room->all;
    fit = fit < 1 ? 1 : fit;
    return least(least(fit, all), BATCH);
}

int64_t cuda_muon_workspace(const struct flow_update *u) {
    int64_t most = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        int64_t rows, columns, all;
        struct room room;
        if (!opens(u, i, &rows, &columns, &all)) continue;
        if (!room_of(rows, columns, u->param[i].dtype == FLOW_F64 ? 8 : 4, &room)) return INT64_MAX;
        const int64_t bytes = room.all * batch_of(&room, all);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- Passes. Grid: (parts of a matrix, matrices); a part is what one block strides over ---- */

static __device__ double block_sum(double value) {
    CUDA_SHARED(double, sums, CUDA_BLOCK / CUDA_WARP);
    for (int step = CUDA_WARP / 2; step; step /= 2) value += __shfl_xor_sync(CUDA_WHOLE_WARP, value, step);
    if (threadIdx.x % CUDA_WARP == 0) sums[threadIdx.x / CUDA_WARP] = value;
    __syncthreads();
    value = 0;
    for (int i = 0; i < CUDA_BLOCK / CUDA_WARP; i++) value += sums[i];
    __syncthreads();
    return value;
}

/* m = mu m + scale g; u = nesterov ? scale g + mu m : m, to x [count, elements]; sums of u^2. Reads 8 bytes an element, writes 8 in f32. */
template <typename T>
static __global__ void direction_kernel(const struct matrices of, int64_t elements, T scale, T mu, T of_g, T of_m, T *x, int64_t x_step,
                                        double *sums) {
    const T *const g = static_cast<const T *>(of.g[blockIdx.y]);
    T *const m = static_cast<T *>(of.m[blockIdx.y]);
    T *const to = x + blockIdx.y * x_step;
    double sum = 0;
    CUDA_EACH(i, elements) {
        const T d = g ? scale * g[i] : T(0);
        T u = d;
        if (m) {
            const T next = mu * m[i] + d;
            m[i] = next;
            u = of_g * d + of_m * next;
        }
        to[i] = u;
        sum += static_cast<double>(u) * static_cast<double>(u);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.y * PARTS + blockIdx.x] = sum;
}

/* x /= norm + 1e-7: every block adds up its matrix's sums anew, in the same order. */
template <typename T> static __global__ void normalize_kernel(int64_t elements, T *x, int64_t x_step, const double *sums, int parts) {
    const double square = block_sum(static_cast<int>(threadIdx.x) < parts ? sums[blockIdx.y * PARTS + threadIdx.x] : 0);
    const T by = static_cast<T>(1 / (sqrt(square) + 1e-7));
    T *const to = x + blockIdx.y * x_step;
    CUDA_EACH(i, elements) to[i] *= by;
}

static const int SIDE = 32, LINES = 8; /* squares of a symmetric matrix; threads (SIDE, LINES) */

/* The upper triangle of A from the lower one (b NULL), or B = identity I + linear A + square B, both triangles, from the lower one of B. In
 * squares through shared memory, so that both are written along rows. Grid: (squares across, squares down, matrices); above the
 * diagonal nothing is done. */
template <typename T> static __global__ void symmetric_kernel(int64_t r, T *a, T *b, int64_t step, T identity, T linear, T square) {
    CUDA_SHARED(T, tile, SIDE * (SIDE + 1));
    const int64_t column0 = static_cast<int64_t>(blockIdx.x) * SIDE, row0 = static_cast<int64_t>(blockIdx.y) * SIDE;
    if (column0 > row0) return;
    const T *const from = a + blockIdx.z * step;
    T *const to = b ? b + blockIdx.z * step : a + blockIdx.z * step;
    const int x = static_cast<int>(threadIdx.x);
    for (int y = static_cast<int>(threadIdx.y); y < SIDE; y += LINES) {
        const int64_t i = row0 + y, j = column0 + x;
        if (i >= r || j > i) continue;
        T value = from[i * r + j];
        if (b) {
            value = linear * value + square * to[i * r + j] + (i == j ? identity : T(0));
            to[i * r + j] = value;
        }
        tile[y * (SIDE + 1) + x] = value;
    }
    __syncthreads();
    for (int y = static_cast<int>(threadIdx.y); y < SIDE; y += LINES) {
        const int64_t i = column0 + y, j = row0 + x; /* of the upper triangle */
        if (j < r && j > i) to[i * r + j] = tile[x * (SIDE + 1) + y];
    }
}

/* w = keep w - step x */
template <typename T>
static __global__ void apply_kernel(const struct matrices of, int64_t elements, const T *x, int64_t x_step, T keep, T by) {
    T *const w = static_cast<T *>(of.w[blockIdx.y]);
    const T *const from = x + blockIdx.y * x_step;
    CUDA_EACH(i, elements) w[i] = keep * w[i] - by * from[i];
}

/* ---- One batch ---- */

struct buffers {
    char *x, *next, *a, *b;
    double *sums;
};

static int product(const struct muon *p, struct flow_gemm *g, uint32_t count) {
    g->size = sizeof *g, g->dtype = p->dtype, g->batch = count;
    return p->update->call->host->gemm(p->update->call, g);
}

/* c [r, r] = a b, known to be symmetric: its lower triangle (and some more). */
static int symmetric(const struct muon *p, const struct flow_gemm *of, uint32_t count) {
    const int64_t r = p->r, strip = r < STRIPS_FROM ? r : (r / 4 + 63) / 64 * 64, element = p->dtype == FLOW_F64 ? 8 : 4;
    for (int64_t i = 0; i < r; i += strip) {
        struct flow_gemm g = *of;
        g.m = least(strip, r - i), g.n = i + g.m, g.c_row = r, g.c_batch = p->room.a / element;
        g.a = static_cast<const char *>(of->a) + i * of->a_row * element, g.c = static_cast<char *>(of->c) + i * r * element;
        const int status = product(p, &g, count);
        if (status < 0) return status;
    }
    return FLOW_OK;
}

static struct flow_gemm gemm_of(int64_t k, const void *a, int64_t a_row, int64_t a_col, int64_t a_batch, const void *b, int64_t b_row,
                                int64_t b_col, int64_t b_batch, void *c) {
    struct flow_gemm g = {};
    g.k = k, g.a = a, g.a_row = a_row, g.a_col = a_col, g.a_batch = a_batch;
    g.b = b, g.b_row = b_row, g.b_col = b_col, g.b_batch = b_batch, g.c = c;
    return g;
}

/* X = 3.4445 X + (-4.7750 A + 2.0315 A A) X */
template <typename T> static int iterate(const struct muon *p, struct buffers *at, uint32_t count) {
    const struct flow_call *call = p->update->call;
    const bool wide = p->rows <= p->columns;
    const int64_t r = p->r, c = p->columns, element = sizeof(T), x_step = p->room.x / element, a_step = p->room.a / element;
    const int64_t squares = (r + SIDE - 1) / SIDE;
    const dim3 grid(static_cast<unsigned>(squares), static_cast<unsigned>(squares), count), block(SIDE, LINES);
    T *const a = reinterpret_cast<T *>(at->a), *const b = reinterpret_cast<T *>(at->b);
    const struct flow_gemm gram =
        wide ? gemm_of(c, at->x, c, 1, x_step, at->x, 1, c, x_step, a) : gemm_of(p->rows, at->x, 1, c, x_step, at->x, c, 1, x_step, a);
    int status = symmetric(p, &gram, count);
    if (status == FLOW_OK &&
        r >= STRIPS_FROM) /* smaller ones are whole: in exact arithmetic symmetric, and B's lower triangle is what counts */
        status = cuda_status(call, CUDA_LAUNCH((symmetric_kernel<T>), grid, block, 0, cuda_stream(call), r, a, static_cast<T *>(NULL),
                                               a_step, T(0), T(0), T(0)));
    const struct flow_gemm squared = gemm_of(r, a, r, 1, a_step, a, r, 1, a_step, b);
    if (status == FLOW_OK) status = symmetric(p, &squared, count);
    if (status == FLOW_OK)
        status = cuda_status(call, CUDA_LAUNCH((symmetric_kernel<T>), grid, block, 0, cuda_stream(call), r, a, b, a_step,
                                               static_cast<T>(3.4445), static_cast<T>(-4.7750), static_cast<T>(2.0315)));
    if (status < 0) return status;
    struct flow_gemm last =
        wide ? gemm_of(r, b, r, 1, a_step, at->x, c, 1, x_step, at->next) : gemm_of(r, at->x, c, 1, x_step, b, r, 1, a_step, at->next);
    last.m = p->rows, last.n = c, last.c_row = c, last.c_batch = x_step;
    char *const x = at->x;
    at->x = at->next, at->next = x;
    return product(p, &last, count);
}

template <typename T> static int run_batch(const struct muon *p, const struct matrices *of) {
    const struct flow_update *u = p->update;
    const struct muon_attrs *a = static_cast<const struct muon_attrs *>(u->attrs);
    const int64_t elements = p->rows * p->columns, x_step = p->room.x / static_cast<int64_t>(sizeof(T));
    const int64_t wanted = (elements + PART - 1) / PART, parts = least(wanted, PARTS);
    const dim3 grid(static_cast<unsigned>(parts), of->count);
    char *const memory = static_cast<char *>(u->workspace);
    struct buffers at = {memory, memory + p->batch * p->room.x, memory + 2 * p->batch * p->room.x,
                         memory + p->batch * (2 * p->room.x + p->room.a),
                         reinterpret_cast<double *>(memory + 2 * p->batch * (p->room.x + p->room.a))};
    const T mu = static_cast<T>(a->momentum);
    cudaStream_t stream = cuda_stream(u->call);
    int error = CUDA_LAUNCH((direction_kernel<T>), grid, CUDA_BLOCK, 0, stream, *of, elements, static_cast<T>(u->scale), mu,
                            a->nesterov ? T(1) : T(0), a->nesterov ? mu : T(1), reinterpret_cast<T *>(at.x), x_step, at.sums);
    if (error == 0)
        error = CUDA_LAUNCH((normalize_kernel<T>), grid, CUDA_BLOCK, 0, stream, elements, reinterpret_cast<T *>(at.x), x_step, at.sums,
                            static_cast<int>(parts));
    int status = cuda_status(u->call, error);
    for (int64_t i = 0; i < a->steps && status == FLOW_OK; i++) status = iterate<T>(p, &at, of->count);
    if (status < 0) return status;
    const double lr = a->lr * u->rate, ratio = static_cast<double>(p->rows) / static_cast<double>(p->columns);
    return cuda_status(u->call,
                       CUDA_LAUNCH((apply_kernel<T>), grid, CUDA_BLOCK, 0, stream, *of, elements, reinterpret_cast<const T *>(at.x), x_step,
                                   static_cast<T>(1 - lr * a->weight_decay), static_cast<T>(lr * sqrt(ratio > 1 ? ratio : 1))));
}

/* ---- The group ---- */

/* All matrices of the shape that parameter `first` opens. */
static int run_shape(const struct muon *p, uint32_t first) {
    const struct flow_update *u = p->update;
    const struct muon_attrs *a = static_cast<const struct muon_attrs *>(u->attrs);
    const int64_t bytes = p->rows * p->columns * (p->dtype == FLOW_F64 ? 8 : 4);
    struct matrices some;
    int status = FLOW_OK;
    some.count = 0;
    for (uint32_t i = first; i < u->count && status == FLOW_OK; i++) {
        int64_t rows, columns;
        const int64_t count = u->param[i].dtype == p->dtype ? matrices_of(a, &u->param[i], &rows, &columns) : 0;
        if (count == 0 || rows != p->rows || columns != p->columns) continue;
        for (int64_t k = 0; k < count && status == FLOW_OK; k++) {
            some.w[some.count] = static_cast<char *>(u->param[i].data) + k * bytes;
            some.m[some.count] = a->momentum != 0 ? static_cast<char *>(u->state[i].data) + k * bytes : NULL;
            some.g[some.count] = u->grad[i].rank >= 0 ? static_cast<const char *>(u->grad[i].data) + k * bytes : NULL;
            if (++some.count < p->batch) continue;
            status = p->dtype == FLOW_F64 ? run_batch<double>(p, &some) : run_batch<float>(p, &some);
            some.count = 0;
        }
    }
    if (status < 0 || some.count == 0) return status;
    return p->dtype == FLOW_F64 ? run_batch<double>(p, &some) : run_batch<float>(p, &some);
}

int cuda_muon_step(const struct flow_update *u) {
    for (uint32_t i = 0; i < u->count; i++) {
        struct muon p = {};
        int64_t all;
        p.update = u, p.dtype = u->param[i].dtype;
        if (!opens(u, i, &p.rows, &p.columns, &all)) continue;
        if (!room_of(p.rows, p.columns, p.dtype == FLOW_F64 ? 8 : 4, &p.room)) return FLOW_ERROR_MEMORY;
        p.r = least(p.rows, p.columns), p.batch = batch_of(&p.room, all);
        const int status = run_shape(&p, i);
        if (status < 0) return status;
    }
    return FLOW_OK;
}
