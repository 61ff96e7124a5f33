/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which way a product goes.
 *   cuBLASLt   whenever it has an algorithm for the strides, alignments and workspace at hand. Its full single precision alone: TF32 would
 *              leave the tolerances that results are held to. The bias by its epilogue when nothing else is left to do; activations by a
 *              pass of our own: cuBLAS's gelu is the tanh form, and its relu is max(x, 0), which turns a NaN into 0.
 *   gemm.cu    the rest: strides of which none is 1, overlapping rows, a vector times a matrix (bound by reading the matrix once, which
 *              a general product's tiles do no better), and machines without cuBLAS.
 * Asking cuBLASLt for an algorithm takes microseconds to milliseconds: answers are kept by shape, the oldest in its set makes room.
 */
#include "device/cuda/blas.h"
#include "device/cuda/blas_lt.h"
#include "device/cuda/gemm.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { SETS = 64, WAYS = 8 };
enum way { WAY_OWN, WAY_PLAIN, WAY_BIAS }; /* plain: without an epilogue */

/* All that the choice depends on; compared and hashed as bytes, so every byte is set. */
struct key {
    int64_t m, n, k, batch;
    int64_t a_ld, b_ld, c_ld, a_batch, b_batch, c_batch;
    int64_t workspace;
    int32_t dtype;
    int32_t transposed_a, transposed_b, beta, bias;
    int32_t aligned_a, aligned_b, aligned_c; /* bytes */
};

struct choice {
    struct key key;
    uint64_t used; /* when; 0: free */
    enum way way;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_blas {
    const struct allocator *from;
    pthread_mutex_t lock;
    bool tried;
    struct blas_lt lt;
    uint64_t time;
    char name[64];
    struct choice kept[SETS][WAYS];
};

int cuda_blas_new(const struct allocator *from, struct cuda_blas **out) {
    struct cuda_blas *blas = from->resize(from->context, NULL, 0, sizeof *blas);
    *out = NULL;
    if (!blas) return FLOW_ERROR_MEMORY;
    memset(blas, 0, sizeof *blas);
    blas->from = from;
    if (pthread_mutex_init(&blas->lock, NULL) != 0) {
        from->resize(from->context, blas, sizeof *blas, 0);
        return FLOW_ERROR_MEMORY;
    }
    *out = blas;
    return FLOW_OK;
}

void cuda_blas_free(struct cuda_blas *blas) {
    if (!blas) return;
    blas_lt_close(&blas->lt);
    pthread_mutex_destroy(&blas->lock);
    blas->from->resize(blas->from->context, blas, sizeof *blas, 0);
}

/* Under the lock. The calls it makes may allocate, which a capture under way in this thread would not bear. */
static bool library(struct cuda_blas *blas) {
    if (!blas->tried) {
        blas->tried = true;
        snprintf(blas->name, sizeof blas->name, "own kernels");
        if (blas_lt_open(&blas->lt)) {
            const unsigned long version = (unsigned long)blas->lt.cublasLtGetVersion();
            const unsigned long unit = version >= 100000 ? 10000 : 1000; /* 130100; 11.x and before counted differently */
            snprintf(blas->name, sizeof blas->name, "cuBLASLt %lu.%lu.%lu", version / unit, version % unit / 100, version % 100);
        }
    }
    return blas->lt.library != NULL;
}

const char *cuda_blas_name(struct cuda_blas *blas) {
    pthread_mutex_lock(&blas->lock);
    (void)library(blas);
    pthread_mutex_unlock(&blas->lock);
    return blas->name;
}

/* ---- What cuBLASLt takes ---- */

/* Our rows x columns as a matrix of cuBLAS, whose columns are contiguous: the transpose of ours as it lies (rows contiguous here), or ours
 * (columns contiguous), which is then to be transposed. */
static bool layout(int64_t rows, int64_t columns, int64_t row, int64_t column, int64_t *ld, int32_t *transposed) {
    *transposed = 0, *ld = rows == 1 ? columns : row;
    if ((column == 1 || columns == 1) && *ld >= columns) return true;
    *transposed = 1, *ld = columns == 1 ? rows : column;
    return (row == 1 || rows == 1) && *ld >= rows;
}

/* The largest power of two, at most 256, that divides the address and the distance of two matrices of the batch. */
static int32_t alignment(const void *at, int64_t batch_bytes) {
    const uint64_t bits = (uint64_t)(uintptr_t)at | (uint64_t)batch_bytes | 256;
    return (int32_t)(bits & (~bits + 1));
}

static bool key_of(const struct flow_gemm *g, void *workspace, int64_t workspace_bytes, bool bias, struct key *key) {
    const int64_t element = g->dtype == FLOW_F64 ? 8 : 4;
    memset(key, 0, sizeof *key);
    key->m = g->m, key->n = g->n, key->k = g->k, key->batch = g->batch, key->dtype = g->dtype;
    key->a_batch = g->a_batch, key->b_batch = g->b_batch, key->c_batch = g->c_batch;
    key->beta = g->beta != 0, key->bias = bias, key->workspace = workspace ? workspace_bytes : 0;
    key->c_ld = g->m == 1 ? g->n : g->c_row;
    key->aligned_a = alignment(g->a, g->a_batch * element), key->aligned_b = alignment(g->b, g->b_batch * element);
    key->aligned_c = alignment(g->c, g->c_batch * element);
    if (g->m == 1 || g->n == 1 || g->k == 0 || g->c_row < g->n || g->batch > INT32_MAX) return false;
    if (g->batch > 1 && (g->a_batch < 0 || g->b_batch < 0 || g->c_batch < key->c_ld * (g->m - 1) + g->n)) return false;
    return layout(g->m, g->k, g->a_row, g->a_col, &key->a_ld, &key->transposed_a) &&
           layout(g->k, g->n, g->b_row, g->b_col, &key->b_ld, &key->transposed_b);
}

/* cuBLAS's descriptions of the product C' = B' A': its A is our B. */
struct described {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

static bool matrix(const struct blas_lt *lt, cublasLtMatrixLayoutOpaque_t *made, const struct key *key, int64_t rows, int64_t columns,
                   int64_t ld, int64_t batch_stride) {
    const int32_t batch = (int32_t)key->batch;
    const cudaDataType_t type = key->dtype == FLOW_F64 ? CUDA_R_64F : CUDA_R_32F;
    if (lt->cublasLtMatrixLayoutInit_internal(made, sizeof *made, type, (uint64_t)rows, (uint64_t)columns, ld) != CUBLAS_STATUS_SUCCESS)
        return false;
    if (batch == 1) return true;
    return lt->cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch) == CUBLAS_STATUS_SUCCESS &&
           lt->cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride) ==
               CUBLAS_STATUS_SUCCESS;
}

static bool describe(const struct blas_lt *lt, const struct key *key, const void *bias, struct described *d) {
    const bool wide = key->dtype == FLOW_F64;
    const cublasOperation_t on_a = key->transposed_b ? CUBLAS_OP_T : CUBLAS_OP_N, on_b = key->transposed_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    bool ok = lt->cublasLtMatmulDescInit_internal(&d->product, sizeof d->product, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                                  wide ? CUDA_R_64F : CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
#define SET(attribute, value) \
    ok = ok && lt->cublasLtMatmulDescSetAttribute(&d->product, attribute, &(value), sizeof(value)) == CUBLAS_STATUS_SUCCESS
    SET(CUBLASLT_MATMUL_DESC_TRANSA, on_a);
    SET(CUBLASLT_MATMUL_DESC_TRANSB, on_b);
    if (bias) {
        SET(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        SET(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
#undef SET
    const int64_t m = key->m, n = key->n, k = key->k;
    ok = ok && matrix(lt, &d->a, key, key->transposed_b ? k : n, key->transposed_b ? n : k, key->b_ld, key->b_batch);
    ok = ok && matrix(lt, &d->b, key, key->transposed_a ? m : k, key->transposed_a ? k : m, key->a_ld, key->a_batch);
    return ok && matrix(lt, &d->c, key, n, m, key->c_ld, key->c_batch);
}

/* Asks for an algorithm. Those that add the parts of K in place, in the order of their coming, are left out: results would vary. */
static bool ask(const struct blas_lt *lt, const struct key *key, struct described *d, cublasLtMatmulAlgo_t *out) {
    cublasLtMatmulPreferenceOpaque_t want;
    const uint64_t most = (uint64_t)key->workspace;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    const uint32_t a = (uint32_t)key->aligned_b, b = (uint32_t)key->aligned_a, c = (uint32_t)key->aligned_c;
    bool ok = lt->cublasLtMatmulPreferenceInit_internal(&want, sizeof want) == CUBLAS_STATUS_SUCCESS;
#define SET(attribute, value) \
    ok = ok && lt->cublasLtMatmulPreferenceSetAttribute(&want, attribute, &(value), sizeof(value)) == CUBLAS_STATUS_SUCCESS
    SET(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most);
    SET(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
    SET(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a);
    SET(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b);
    SET(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c);
    SET(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
#undef SET
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    memset(&result, 0, sizeof result);
    ok = ok && lt->cublasLtMatmulAlgoGetHeuristic(lt->handle, &d->product, &d->a, &d->b, &d->c, &d->c, &want, 1, &result, &count) ==
                   CUBLAS_STATUS_SUCCESS;
    *out = result.algo;
    return ok && count > 0 && result.state == CUBLAS_STATUS_SUCCESS;
}

static uint64_t hash(const struct key *key) {
    const unsigned char *at = (const unsigned char *)key;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < sizeof *key; i++) h = (h ^ at[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

/* The way for this key, as kept or asked now. Under the lock. */
static struct choice choose(struct cuda_blas *blas, const struct key *key, const void *bias) {
    struct choice *set = blas->kept[hash(key) % SETS], *oldest = set;
    blas->time++;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(&set[i].key, key, sizeof *key) == 0) {
            set[i].used = blas->time;
            return set[i];
        }
        if (set[i].used < oldest->used) oldest = &set[i];
    }
    struct described d;
    struct choice made = {.key = *key, .used = blas->time, .way = WAY_OWN};
    if (bias && describe(&blas->lt, key, bias, &d) && ask(&blas->lt, key, &d, &made.algorithm)) made.way = WAY_BIAS;
    else if (describe(&blas->lt, key, NULL, &d) && ask(&blas->lt, key, &d, &made.algorithm)) made.way = WAY_PLAIN;
    *oldest = made;
    return made;
}

/* ---- A product ---- */

/* What a plugin of an older header left out is zero; what does not matter has one form. */
static struct flow_gemm as_known(const struct flow_gemm *product) {
    struct flow_gemm g = {0};
    const size_t least = offsetof(struct flow_gemm, residual), size = product->size < least ? least : product->size;
    memcpy(&g, product, size < sizeof g ? size : sizeof g);
    g.size = sizeof g;
    if (g.batch <= 1) g.batch = 1, g.a_batch = g.b_batch = g.c_batch = 0;
    return g;
}

/* cublasStatus_t as the runtime's error: launches that fail leave theirs to cudaGetLastError. */
static int error_of(cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS) return 0;
    const cudaError_t error = cudaGetLastError();
    return error != cudaSuccess                   ? (int)error
           : status == CUBLAS_STATUS_ALLOC_FAILED ? (int)cudaErrorMemoryAllocation
                                                  : (int)cudaErrorUnknown;
}

static int multiply(const struct blas_lt *lt, const struct choice *choice, const struct flow_gemm *g, cudaStream_t stream, void *workspace,
                    int64_t bytes) {
    struct described d;
    const bool wide = g->dtype == FLOW_F64;
    const double one = 1, beta = g->beta;
    const float one_single = 1, beta_single = (float)g->beta;
    if (!describe(lt, &choice->key, choice->way == WAY_BIAS ? g->bias : NULL, &d)) return (int)cudaErrorUnknown;
    return error_of(lt->cublasLtMatmul(lt->handle, &d.product, wide ? (const void *)&one : &one_single, g->b, &d.a, g->a, &d.b,
                                       wide ? (const void *)&beta : &beta_single, g->c, &d.c, g->c, &d.c, &choice->algorithm, workspace,
                                       workspace ? (size_t)bytes : 0, stream));
}

static int run(struct cuda_blas *blas, struct flow_gemm *g, cudaStream_t stream, void *workspace, int64_t bytes) {
    const bool bias_last = g->bias && g->activation == FLOW_ACTIVATION_NONE && !g->residual;
    struct key key;
    struct choice choice = {.way = WAY_OWN};
    if (key_of(g, workspace, bytes, bias_last, &key)) {
        enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
        (void)cudaThreadExchangeStreamCaptureMode(&mode);
        pthread_mutex_lock(&blas->lock);
        if (library(blas)) choice = choose(blas, &key, bias_last ? g->bias : NULL);
        pthread_mutex_unlock(&blas->lock);
        (void)cudaThreadExchangeStreamCaptureMode(&mode);
    }
    if (choice.way == WAY_OWN) return cuda_gemm_own(g, stream, workspace, bytes);
    int error = multiply(&blas->lt, &choice, g, stream, workspace, bytes);
    if (choice.way == WAY_BIAS) g->bias = NULL;
    if (error == 0 && (g->bias || g->activation != FLOW_ACTIVATION_NONE || g->residual)) error = cuda_gemm_finish(g, stream);
    return error;
}

int cuda_gemm(struct cuda_blas *blas, const struct flow_gemm *product, cudaStream_t stream, void *workspace, int64_t workspace_bytes,
              int *cuda_error) {
    struct flow_gemm g = as_known(product);
    *cuda_error = 0;
    if (g.packed_b || (g.dtype != FLOW_F32 && g.dtype != FLOW_F64)) return FLOW_ERROR_UNSUPPORTED;
    if (g.m <= 0 || g.n <= 0) return FLOW_OK;
    *cuda_error = run(blas, &g, stream, workspace, workspace_bytes);
    if (*cuda_error == 0) return FLOW_OK;
    return *cuda_error == cudaErrorMemoryAllocation ? FLOW_ERROR_MEMORY : FLOW_ERROR_INTERNAL;
}
