/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of the host table: which of the paths of gemm.h, which tiles, which threads. */
#include "device/cpu/gemm.h"
#include "device/cpu/cpu.h"

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

enum path { PATH_TILE, PATH_FEW_ROWS, PATH_DOTS };

/* Work is counted in nanoseconds of one core at about 100 Gflop/s and 50 GB/s; both are rough, and only decide what is worth a wake. */
static const double SPREAD_FROM = 60e3; /* 6 MFLOP */
static const double PIECE = 20e3;

struct task {
    const struct flow_gemm *g;
    struct cpu *cpu;
    const struct gemm_kernels *kernels;
    enum path path;
    int64_t element;
    int64_t rows, columns; /* of a tile */
    int64_t across, tiles; /* tiles side by side; tiles in one product of the batch */
    atomic_bool failed;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static enum path path_of(const struct flow_gemm *g) {
    const bool a_rows = g->a_col == 1 || g->k <= 1, narrow = g->n <= GEMM_DOT_COLUMNS;
    const bool b_columns = g->packed_b ? narrow : g->b_row == 1;
    if (narrow && a_rows && b_columns) return PATH_DOTS;
    if (g->m > GEMM_FEW_ROWS) return PATH_TILE;
    if (g->packed_b ? !narrow : g->b_col == 1 || g->n == 1) return PATH_FEW_ROWS;
    return a_rows && b_columns ? PATH_DOTS : PATH_TILE;
}

/* The product number `batch`, with its own pointers. */
static struct flow_gemm product_of(const struct task *task, int64_t batch) {
    struct flow_gemm g = *task->g;
    g.a = (const char *)g.a + batch * g.a_batch * task->element;
    if (g.b) g.b = (const char *)g.b + batch * g.b_batch * task->element;
    g.c = (char *)g.c + batch * g.c_batch * task->element;
    return g;
}

static void run_part(const struct task *task, const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    if (task->path == PATH_DOTS) task->kernels->dots(g, m0, m1, n0, n1);
    else if (task->path == PATH_FEW_ROWS) task->kernels->few_rows(g, n0, n1);
    else task->kernels->tile(g, m0, m1, n0, n1, scratch);
}

static void run_tiles(void *context, int64_t begin, int64_t end) {
    struct task *task = context;
    struct cpu_scratch *scratch = NULL;
    if (task->path == PATH_TILE && !(scratch = cpu_scratch_take(task->cpu))) {
        atomic_store_explicit(&task->failed, true, memory_order_relaxed);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        const struct flow_gemm g = product_of(task, i / task->tiles);
        const int64_t tile = i % task->tiles, m0 = tile / task->across * task->rows, n0 = tile % task->across * task->columns;
        run_part(task, &g, m0, least(m0 + task->rows, g.m), n0, least(n0 + task->columns, g.n), scratch ? scratch->at : NULL);
    }
    cpu_scratch_give(task->cpu, scratch);
}

/* Time of rows x columns of the product, in ns: arithmetic, or reading B. */
static double cost(const struct task *task, double rows, double columns) {
    const double k = (double)task->g->k + 8, arithmetic = rows * columns * k * (task->element == 8 ? 0.04 : 0.02);
    const double reading = columns * k * (double)task->element * 0.02;
    return arithmetic > reading ? arithmetic : reading;
}

/* Tiles of at least PIECE, about 32 in all if they can be larger, whole panels wide, and not so low that packing B for each costs much. */
static void cut(struct task *task, double total) {
    const struct flow_gemm *g = task->g;
    const int64_t panel = task->kernels->panel, unit = task->kernels->rows;
    const double piece = total / 32 > PIECE ? total / 32 : PIECE;
    task->rows = g->m, task->columns = g->n;
    if (cost(task, (double)g->m, (double)g->n) <= piece) return;
    if (task->path == PATH_TILE) {
        const int64_t parts = (g->m + 511) / 512;
        task->rows = ((g->m + parts - 1) / parts + unit - 1) / unit * unit;
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

int cpu_gemm(const struct flow_call *call, const struct flow_gemm *product) {
    const struct flow_host *host = call->host;
    const int64_t batch = most(product->batch, 1);
    if (product->m <= 0 || product->n <= 0) return FLOW_OK;
    struct flow_gemm empty;
    if (product->k <= 0) { /* the factors may have no memory: nothing of them is read */
        empty = *product;
        empty.k = 0, empty.a = empty.b = empty.c, empty.packed_b = NULL;
        empty.a_row = empty.a_batch = empty.b_row = empty.b_batch = 0, empty.a_col = empty.b_col = 1;
        product = &empty;
    }
    struct task task = {.g = product,
                        .cpu = host->device,
                        .kernels = kernels_of(host->isa, product->dtype),
                        .path = path_of(product),
                        .element = product->dtype == FLOW_F64 ? 8 : 4};
    if (pool_spreads(&task.cpu->pool)) {
        const double total = cost(&task, (double)product->m, (double)product->n) * (double)batch;
        if (total > SPREAD_FROM) return spread(&task, total);
    }
    struct cpu_scratch *scratch = NULL;
    if (task.path == PATH_TILE && !(scratch = cpu_scratch_take(task.cpu))) return FLOW_ERROR_MEMORY;
    if (batch == 1) run_part(&task, product, 0, product->m, 0, product->n, scratch ? scratch->at : NULL);
    else
        for (int64_t i = 0; i < batch; i++) {
            const struct flow_gemm g = product_of(&task, i);
            run_part(&task, &g, 0, g.m, 0, g.n, scratch ? scratch->at : NULL);
        }
    cpu_scratch_give(task.cpu, scratch);
    return FLOW_OK;
}

int64_t cpu_gemm_packed_bytes(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n) {
    const int64_t panel = kernels_of(host->isa, dtype)->panel, element = dtype == FLOW_F64 ? 8 : 4;
    if (k <= 0 || n <= 0) return 0;
    const int64_t rest = n % panel, columns = n <= GEMM_DOT_COLUMNS ? n
                                                                    : n - rest +
                                                                          (rest == 0           ? 0
                                                                           : rest <= panel / 2 ? panel / 2
                                                                                               : panel);
    int64_t bytes;
    if (!size_multiply(columns, k, &bytes) || !size_multiply(bytes, element, &bytes) || !size_add(bytes, 63, &bytes)) return INT64_MAX;
    return bytes / 64 * 64;
}

void cpu_gemm_pack(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row,
                   int64_t b_col, void *packed) {
    if (k > 0 && n > 0) kernels_of(host->isa, dtype)->pack(k, n, b, b_dtype, b_row, b_col, packed);
}
