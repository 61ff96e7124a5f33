/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of the host table: which of the paths of gemm.h, which tiles, which threads.
 *
 * Why no library does this: beside oneDNN 2.6 (dnnl_sgemm), one thread of a Zen 4 with AVX-512, interleaved, GFLOP/s, ours with B packed:
 *   64 cubed 108 to 99, 256 116 to 114, 512 111 to 113, 1024 104 to 107, 2048 104 to 109; 4096x384x384 109 to 111, 128x1536x384 115 to 116,
 *   16x1024x256 115 to 111, 4x1024x256 115 to 87, 1x1024x256 50 to 46, 1x64x64 68 to 40.
 * Nowhere more than 5% behind, ahead where networks spend their time, and only here do bias, activation, any strides, f64, one order of
 * summation for any number of rows and threads, and threads of the device's own pool come with it.
 */
#include "device/cpu/gemm.h"
#include "device/cpu/cpu.h"

#include <stddef.h>
#include <string.h>

#ifdef FLOW_ISA_ALL
extern const struct gemm_kernels gemm_f32_base, gemm_f32_avx2, gemm_f32_avx512, gemm_f64_base, gemm_f64_avx2, gemm_f64_avx512;
static const struct gemm_kernels *kernels_of(int32_t isa, int32_t dtype) {
    static const struct gemm_kernels *const table[3][2] = {
        {&gemm_f32_base, &gemm_f64_base}, {&gemm_f32_avx2, &gemm_f64_avx2}, {&gemm_f32_avx512, &gemm_f64_avx512}};
    return table[isa < FLOW_ISA_AVX2 ? 0 : isa < FLOW_ISA_AVX512 ? 1 : 2][dtype == FLOW_F64];
}
#else
extern const struct gemm_kernels gemm_f32_base, gemm_f64_base;
static const struct gemm_kernels *kernels_of(int32_t isa, int32_t dtype) {
    (void)isa;
    return dtype == FLOW_F64 ? &gemm_f64_base : &gemm_f32_base;
}
#endif

/* Products of bf16 numbers (gemm_bf16_simd.c). */
#ifdef FLOW_ISA_ALL
extern const struct gemm_kernels gemm_bf16_base, gemm_bf16_avx2, gemm_bf16_avx512, gemm_bf16_native;
static const struct gemm_kernels *kernels_bf16(const struct flow_host *host) {
    const struct cpu *cpu = host->device;
    if (host->isa >= FLOW_ISA_AVX512) return cpu->bf16 ? &gemm_bf16_native : &gemm_bf16_avx512;
    return host->isa >= FLOW_ISA_AVX2 ? &gemm_bf16_avx2 : &gemm_bf16_base;
}
#else
extern const struct gemm_kernels gemm_bf16_base;
static const struct gemm_kernels *kernels_bf16(const struct flow_host *host) { return (void)host, &gemm_bf16_base; }
#endif

/* Narrow products wait for memory: they stay f32. */
static bool in_bf16(const struct flow_host *host, int32_t dtype, int64_t n) {
    return host->products == FLOW_BF16 && dtype == FLOW_F32 && n > GEMM_DOT_COLUMNS;
}

enum path { PATH_TILE, PATH_FEW_ROWS, PATH_DOTS };

/* Work is counted in nanoseconds of one core at about 100 Gflop/s and 50 GB/s; both are rough, and only decide what is worth a wake. */
static const double SPREAD_FROM = 60e3; /* 6 MFLOP */
static const double PIECE = 20e3;

struct task {
    const struct flow_gemm *g;
    struct cpu *cpu;
    const struct gemm_kernels *kernels;
    enum path path;
    bool gather; /* DOTS: B's few columns are made contiguous first */
    int64_t element;
    int64_t rows, columns; /* of a tile */
    int64_t across, tiles; /* tiles side by side; tiles in one product of the batch */
    atomic_bool failed;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static enum path path_of(const struct flow_gemm *g, bool *gather) {
    const bool a_rows = g->a_col == 1 || g->k <= 1, narrow = g->n <= GEMM_DOT_COLUMNS;
    const bool b_columns = g->packed_b ? narrow : g->b_row == 1;
    *gather = false;
    if (narrow && a_rows && b_columns) return PATH_DOTS;
    if (g->m > GEMM_FEW_ROWS) {
        *gather = narrow && a_rows && !g->packed_b && g->k <= CPU_SCRATCH / (GEMM_DOT_COLUMNS * 8);
        return *gather ? PATH_DOTS : PATH_TILE;
    }
    if (g->packed_b ? !narrow : g->b_col == 1 || g->n == 1) return PATH_FEW_ROWS;
    return a_rows && b_columns ? PATH_DOTS : PATH_TILE;
}

/* The product number `batch`, with its own pointers. */
static struct flow_gemm product_of(const struct task *task, int64_t batch) {
    struct flow_gemm g = *task->g;
    g.a = (const char *)g.a + batch * g.a_batch * task->element;
    if (g.b) g.b = (const char *)g.b + batch * g.b_batch * task->element;
    g.c = (char *)g.c + batch * g.c_batch * task->element;
    if (g.residual) g.residual = (const char *)g.residual + batch * g.c_batch * task->element;
    return g;
}

static bool needs_scratch(const struct task *task) { return task->path == PATH_TILE || task->gather; }

static void run_part(const struct task *task, const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                     struct cpu_scratch *scratch) {
    const struct gemm_kernels *kernels = task->kernels;
    if (task->gather) {
        struct flow_gemm gathered = *g;
        kernels->pack(g->k, g->n, g->b, g->dtype, g->b_row, g->b_col, scratch->at);
        gathered.b = NULL, gathered.packed_b = scratch->at;
        kernels->dots(&gathered, m0, m1, n0, n1);
    } else if (task->path == PATH_DOTS) kernels->dots(g, m0, m1, n0, n1);
    else if (task->path == PATH_FEW_ROWS) kernels->few_rows(g, n0, n1);
    else kernels->tile(g, m0, m1, n0, n1, scratch->at);
}

static void run_tiles(void *context, int64_t begin, int64_t end) {
    struct task *task = context;
    struct cpu_scratch *scratch = NULL;
    if (needs_scratch(task) && !(scratch = cpu_scratch_take(task->cpu))) {
        atomic_store_explicit(&task->failed, true, memory_order_relaxed);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        const struct flow_gemm g = product_of(task, i / task->tiles);
        const int64_t tile = i % task->tiles, m0 = tile / task->across * task->rows, n0 = tile % task->across * task->columns;
        run_part(task, &g, m0, least(m0 + task->rows, g.m), n0, least(n0 + task->columns, g.n), scratch);
    }
    cpu_scratch_give(task->cpu, scratch);
}

/* Time of rows x columns of the product, in ns: arithmetic, or reading B. */
static double cost(const struct task *task, double rows, double columns) {
    const double k = (double)task->g->k + 8, arithmetic = rows * columns * k * (task->element == 8 ? 0.04 : 0.02);
    const double reading = columns * k * (double)task->element * 0.02;
    return arithmetic > reading ? arithmetic : reading;
}

/* A's columns contiguous: the product of two tall matrices, as a weight's gradient is. Each tile copies what it reads of both, so there
 * are no more than two a thread, and these are nearly square. */
static void cut_columns(struct task *task) {
    const struct flow_gemm *g = task->g;
    const int64_t panel = task->kernels->panel, wanted = 2 * (int64_t)task->cpu->pool.threads;
    task->columns = least((g->n + panel - 1) / panel * panel, 128);
    const int64_t across = (g->n - 1) / task->columns + 1, tiles = across * most(g->batch, 1);
    const int64_t down = most((wanted + tiles - 1) / tiles, (g->m + 511) / 512);
    task->rows = most((g->m + down - 1) / down, least(g->m, 2 * task->kernels->rows));
}

/* Tiles of at least PIECE, about 32 in all if they can be larger, whole panels wide, and not so low that packing B for each costs much. */
static void cut(struct task *task, double total) {
    const struct flow_gemm *g = task->g;
    const int64_t panel = task->kernels->panel, unit = task->kernels->rows;
    const double piece = total / 32 > PIECE ? total / 32 : PIECE;
    task->rows = g->m, task->columns = g->n;
    if (cost(task, (double)g->m, (double)g->n) <= piece) return;
    if (task->path == PATH_TILE && g->a_row == 1 && g->a_col != 1) {
        cut_columns(task);
        return;
    }
    if (task->path == PATH_TILE) {
        const int64_t parts = (g->m + 511) / 512;
        task->rows = least(((g->m + parts - 1) / parts + unit - 1) / unit * unit, g->m);
    }
    const double column = cost(task, (double)task->rows, 1);
    task->columns = least(((int64_t)(piece / column) / panel + 1) * panel, (g->n + panel - 1) / panel * panel);
    if (task->path == PATH_TILE) task->columns = least(task->columns, 512);
    const double row = cost(task, 1, (double)task->columns);
    if (task->path != PATH_FEW_ROWS && task->columns >= g->n) task->rows = least(((int64_t)(piece / row) / unit + 1) * unit, g->m);
}

static int spread(struct task *task, double total) {
    const struct flow_gemm *g = task->g;
    const int64_t batch = most(g->batch, 1);
    cut(task, total);
    task->across = (g->n - 1) / task->columns + 1;
    task->tiles = task->across * ((g->m - 1) / task->rows + 1);
    const double tile = cost(task, (double)task->rows, (double)task->columns);
    const int64_t grain = tile >= PIECE ? 1 : (int64_t)(PIECE / tile) + 1;
    pool_for(&task->cpu->pool, batch * task->tiles, grain, run_tiles, task);
    return atomic_load_explicit(&task->failed, memory_order_relaxed) ? FLOW_ERROR_MEMORY : FLOW_OK;
}

/* What a plugin of an older header left out is zero. */
static struct flow_gemm as_known(const struct flow_gemm *product) {
    struct flow_gemm g = {0};
    const size_t least_size = offsetof(struct flow_gemm, residual);
    memcpy(&g, product, product->size < least_size ? least_size : product->size);
    return g;
}

/* The factors of an empty sum may have no memory: nothing of them is read. */
static struct flow_gemm without_factors(const struct flow_gemm *product) {
    struct flow_gemm g = *product;
    g.k = 0, g.a = g.b = g.c, g.packed_b = NULL;
    g.a_row = g.a_batch = g.b_row = g.b_batch = 0, g.a_col = g.b_col = 1;
    return g;
}

static int run_batch(struct task *task) {
    struct cpu_scratch *scratch = NULL;
    if (needs_scratch(task) && !(scratch = cpu_scratch_take(task->cpu))) return FLOW_ERROR_MEMORY;
    if (task->g->batch <= 1) run_part(task, task->g, 0, task->g->m, 0, task->g->n, scratch);
    else
        for (int64_t i = 0; i < task->g->batch; i++) {
            const struct flow_gemm g = product_of(task, i);
            run_part(task, &g, 0, g.m, 0, g.n, scratch);
        }
    cpu_scratch_give(task->cpu, scratch);
    return FLOW_OK;
}

int cpu_gemm(const struct flow_call *call, const struct flow_gemm *product) {
    const struct flow_host *host = call->host;
    struct flow_gemm known, empty;
    if (product->m <= 0 || product->n <= 0) return FLOW_OK;
    if (product->size < sizeof known) known = as_known(product), product = &known;
    if (product->k <= 0) empty = without_factors(product), product = &empty;
    const bool bf16 = in_bf16(host, product->dtype, product->n);
    const struct gemm_kernels *kernels = bf16 ? kernels_bf16(host) : kernels_of(host->isa, product->dtype);
    struct task task = {.g = product, .cpu = host->device, .kernels = kernels, .element = product->dtype == FLOW_F64 ? 8 : 4};
    task.path = bf16 ? PATH_TILE : path_of(product, &task.gather);
    if (pool_spreads(&task.cpu->pool)) {
        const double total = cost(&task, (double)product->m, (double)product->n) * (double)most(product->batch, 1);
        if (total > SPREAD_FROM) return spread(&task, total);
    }
    return run_batch(&task);
}

int64_t cpu_gemm_packed_bytes(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n) {
    const bool bf16 = in_bf16(host, dtype, n);
    const int64_t panel = (bf16 ? kernels_bf16(host) : kernels_of(host->isa, dtype))->panel, element = dtype == FLOW_F64 ? 8 : 4;
    if (k <= 0 || n <= 0) return 0;
    const int64_t rest = n % panel, columns = n <= GEMM_DOT_COLUMNS ? n
                                                                    : n - rest +
                                                                          (rest == 0           ? 0
                                                                           : rest <= panel / 2 ? panel / 2
                                                                                               : panel);
    int64_t bytes;
    if (bf16) k = k / 2 + k % 2; /* pairs */
    if (!size_multiply(columns, k, &bytes) || !size_multiply(bytes, element, &bytes) || !size_add(bytes, 63, &bytes)) return INT64_MAX;
    return bytes / 64 * 64;
}

void cpu_gemm_pack(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row,
                   int64_t b_col, void *packed) {
    const struct gemm_kernels *kernels = in_bf16(host, dtype, n) ? kernels_bf16(host) : kernels_of(host->isa, dtype);
    if (k > 0 && n > 0) kernels->pack(k, n, b, b_dtype, b_row, b_col, packed);
}
