/* SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt on the CPU: the plain product, one operation of the stream. It checks what the real one demands: leading dimensions, alignments
 * that were promised, a workspace as large as was said. */
#include "cublas.h"

#include <cstring>

#include "device_state.h"

namespace cuda_emulation {

struct matrix {
    int32_t type, batch;
    uint64_t rows, columns;
    int64_t ld, batch_stride;
};
struct product {
    int32_t compute, transpose_a, transpose_b;
    uint32_t epilogue;
    const void *bias;
};
struct preference {
    uint64_t workspace;
    uint32_t reductions, align_a, align_b, align_c, align_d;
};
struct algorithm {
    uint64_t workspace;
    uint32_t align_a, align_b, align_c, known;
};
static_assert(sizeof(matrix) <= sizeof(cublasLtMatrixLayoutOpaque_t) && sizeof(product) <= sizeof(cublasLtMatmulDescOpaque_t) &&
                  sizeof(preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t) && sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t),
              "what is kept fits into cuBLAS's structures");

template <typename T, typename O> static T get(const O *opaque) {
    T made;
    memcpy(&made, opaque, sizeof made);
    return made;
}
template <typename T, typename O> static void put(O *opaque, const T &value) { memcpy(opaque, &value, sizeof value); }

template <typename T> static bool set(T *at, const void *from, size_t bytes) {
    if (bytes != sizeof *at) return false;
    memcpy(at, from, bytes);
    return true;
}

static bool fits(const product &p, const matrix &a, const matrix &b, const matrix &c) {
    const uint64_t m = c.rows, n = c.columns, k = p.transpose_a ? a.rows : a.columns;
    return (p.transpose_a ? a.columns : a.rows) == m && (p.transpose_b ? b.columns : b.rows) == k &&
           (p.transpose_b ? b.rows : b.columns) == n && a.type == b.type && a.type == c.type && a.batch == b.batch && a.batch == c.batch &&
           p.compute == (a.type == CUDA_R_64F ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F);
}

/* D = op(A) op(B) + beta C (+ bias along rows), columns contiguous; alpha is 1. Sums in the order of k. */
template <typename T> struct multiplication {
    product p;
    matrix a, b, c;
    const T *at_a, *at_b, *at_c;
    T *at_d;
    T alpha, beta;
    void one(int64_t batch) const {
        const int64_t m = static_cast<int64_t>(c.rows), n = static_cast<int64_t>(c.columns);
        const int64_t k = static_cast<int64_t>(p.transpose_a ? a.rows : a.columns);
        const T *from_a = at_a + batch * a.batch_stride, *from_b = at_b + batch * b.batch_stride, *from_c = at_c + batch * c.batch_stride;
        T *to = at_d + batch * c.batch_stride;
        std::vector<T> column(static_cast<size_t>(m));
        for (int64_t j = 0; j < n; j++) {
            std::fill(column.begin(), column.end(), T(0));
            for (int64_t i = 0; i < k; i++) {
                const T x = p.transpose_b ? from_b[j + i * b.ld] : from_b[i + j * b.ld];
                if (p.transpose_a)
                    for (int64_t r = 0; r < m; r++) column[static_cast<size_t>(r)] += from_a[i + r * a.ld] * x;
                else
                    for (int64_t r = 0; r < m; r++) column[static_cast<size_t>(r)] += from_a[r + i * a.ld] * x;
            }
            for (int64_t r = 0; r < m; r++) {
                T sum = alpha * column[static_cast<size_t>(r)];
                if (beta != T(0)) sum += beta * from_c[r + j * c.ld];
                if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += static_cast<const T *>(p.bias)[r];
                to[r + j * c.ld] = sum;
            }
        }
    }
    void operator()() const {
        for (int32_t i = 0; i < c.batch; i++) one(i);
    }
};

template <typename T>
static cublasStatus_t multiply(const product &p, const matrix &a, const matrix &b, const matrix &c, const void *alpha, const void *at_a,
                               const void *at_b, const void *beta, const void *at_c, void *at_d, cudaStream_t stream) {
    multiplication<T> run = {
        p,    a,   b, c, static_cast<const T *>(at_a), static_cast<const T *>(at_b), static_cast<const T *>(at_c), static_cast<T *>(at_d),
        T(0), T(0)};
    memcpy(&run.alpha, alpha, sizeof run.alpha);
    memcpy(&run.beta, beta, sizeof run.beta);
    return queue_call(stream, run) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

static bool aligned(const void *at, uint32_t to) { return to != 0 && reinterpret_cast<uintptr_t>(at) % to == 0; }

} // namespace cuda_emulation

using namespace cuda_emulation;

static int cublas_mode = 1;

extern "C" {

size_t cublasLtGetVersion() { return 130000; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = reinterpret_cast<cublasLtHandle_t>(&cublas_mode);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t made, size_t size, cudaDataType_t type, uint64_t rows,
                                                 uint64_t columns, int64_t ld) {
    if (size < sizeof *made || ld < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
    put(made, matrix{type, 1, rows, columns, ld, 0});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t made, cublasLtMatrixLayoutAttribute_t attribute, const void *from,
                                                size_t bytes) {
    matrix m = get<matrix>(made);
    const bool ok = attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? set(&m.batch, from, bytes) : set(&m.batch_stride, from, bytes);
    put(made, m);
    return ok ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t made, size_t size, cublasComputeType_t compute, cudaDataType_t) {
    if (size < sizeof *made) return CUBLAS_STATUS_INVALID_VALUE;
    put(made, product{compute, 0, 0, CUBLASLT_EPILOGUE_DEFAULT, nullptr});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t made, cublasLtMatmulDescAttributes_t attribute, const void *from,
                                              size_t bytes) {
    product p = get<product>(made);
    bool ok = false;
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) ok = set(&p.transpose_a, from, bytes);
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) ok = set(&p.transpose_b, from, bytes);
    if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE) ok = set(&p.epilogue, from, bytes);
    if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER) ok = set(&p.bias, from, bytes);
    put(made, p);
    return ok ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t made, size_t size) {
    if (size < sizeof *made) return CUBLAS_STATUS_INVALID_VALUE;
    put(made, preference{0, 7, 256, 256, 256, 256});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t made, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *from, size_t bytes) {
    preference p = get<preference>(made);
    bool ok = false;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) ok = set(&p.workspace, from, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) ok = set(&p.reductions, from, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) ok = set(&p.align_a, from, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) ok = set(&p.align_b, from, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) ok = set(&p.align_c, from, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES) ok = set(&p.align_d, from, bytes);
    put(made, p);
    return ok ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t want, int, cublasLtMatmulHeuristicResult_t results[], int *count) {
    const product p = get<product>(operation);
    const preference w = get<preference>(want);
    *count = 0;
    if (!fits(p, get<matrix>(a), get<matrix>(b), get<matrix>(c))) return CUBLAS_STATUS_INVALID_VALUE;
    /* 2: as a library that has no algorithm with an epilogue, nor for f64. */
    if (cublas_mode == 2 && (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT || p.compute == CUBLAS_COMPUTE_64F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0] = {};
    put(&results[0].algo, algorithm{w.workspace / 2, w.align_a, w.align_b, w.align_c, 1});
    results[0].workspaceSize = w.workspace / 2;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void *alpha, const void *at_a,
                              cublasLtMatrixLayout_t a, const void *at_b, cublasLtMatrixLayout_t b, const void *beta, const void *at_c,
                              cublasLtMatrixLayout_t c, void *at_d, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t *chosen,
                              void *workspace, size_t bytes, cudaStream_t stream) {
    const product p = get<product>(operation);
    const matrix ma = get<matrix>(a), mb = get<matrix>(b), mc = get<matrix>(c);
    const algorithm by = get<algorithm>(chosen);
    if (!fits(p, ma, mb, mc) || !by.known || by.workspace > bytes || (by.workspace && !workspace)) return CUBLAS_STATUS_INVALID_VALUE;
    if (!aligned(at_a, by.align_a) || !aligned(at_b, by.align_b) || !aligned(at_c, by.align_c)) return CUBLAS_STATUS_INVALID_VALUE;
    if (p.epilogue == CUBLASLT_EPILOGUE_BIAS && !p.bias) return CUBLAS_STATUS_INVALID_VALUE;
    if (ma.type == CUDA_R_64F) return multiply<double>(p, ma, mb, mc, alpha, at_a, at_b, beta, at_c, at_d, stream);
    return multiply<float>(p, ma, mb, mc, alpha, at_a, at_b, beta, at_c, at_d, stream);
}

void cuda_emulation_cublas_mode(int mode) { cublas_mode = mode; }

void *cuda_emulation_cublas(const char *name) {
    if (cublas_mode == 0) return nullptr;
    if (*name == 0) return &cublas_mode;
#define ENTRY(function) \
    if (strcmp(name, #function) == 0) return reinterpret_cast<void *>(function);
    ENTRY(cublasLtGetVersion)
    ENTRY(cublasLtCreate)
    ENTRY(cublasLtDestroy)
    ENTRY(cublasLtMatrixLayoutInit_internal)
    ENTRY(cublasLtMatrixLayoutSetAttribute)
    ENTRY(cublasLtMatmulDescInit_internal)
    ENTRY(cublasLtMatmulDescSetAttribute)
    ENTRY(cublasLtMatmulPreferenceInit_internal)
    ENTRY(cublasLtMatmulPreferenceSetAttribute)
    ENTRY(cublasLtMatmulAlgoGetHeuristic)
    ENTRY(cublasLtMatmul)
#undef ENTRY
    return nullptr;
}

} // extern "C"
