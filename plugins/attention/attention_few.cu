/* SPDX-License-Identifier: Apache-2.0 */
/* Attention forward of a few queries on many keys (one token after the other, its keys in a cache): keys are dealt out to blocks, and a
 * second launch puts their parts together. */
#include "common/cuda.h"

#include "attention_cuda.h"
#include "kernels_cuda.h"

static const int FEW_THREADS = 128, FEW_CHUNK = 128, FEW_SPLITS = 64, FEW_LANES = 8;

/* Places in `part` of one row and split: results, largest score, sum. */
static __host__ __device__ inline int64_t part_size(int32_t value_width) { return (value_width + 2 + 3) / 4 * 4; }

/*
 * A block: R pairs of head and query that share a head of keys, one stretch of keys, 128 at a time. Scores: eight lanes a key, 16 bytes
 * each, so that a row of keys is read whole; then the softmax by a warp a pair; then values: a thread four columns of every so many keys.
 * Keys and values are read once for all R pairs: memory is the limit (f32, 8 heads of keys of width 64: 4 KiB a position; 32768
 * positions are 128 MiB, 45 us at 3 TB/s where there are blocks enough, see cuda_attention_split_of).
 */
template <typename T, int R>
static __global__ void __launch_bounds__(FEW_THREADS, 2) few_parts(attention_job<T> a, attention_split split, T *part) {
    constexpr int WIDEST = ATTENTION_CUDA_WIDEST, LINE = FEW_CHUNK + 4;
    CUDA_SHARED(T, q, R * WIDEST);
    CUDA_SHARED(T, p, R * LINE);
    CUDA_SHARED(T, whole, R * FEW_THREADS * 4);
    CUDA_SHARED(T, top, R);
    CUDA_SHARED(T, total, R);
    CUDA_SHARED(T, shrink, R);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % FEW_LANES, warp = thread / CUDA_WARP;
    const int32_t kv_heads = a.heads / a.shared;
    int64_t rest = blockIdx.x;
    const int32_t kv = static_cast<int32_t>(rest % kv_heads);
    rest /= kv_heads;
    const int64_t share = rest % split.splits, group = rest / split.splits % split.groups, b = rest / split.splits / split.groups;
    const int64_t pairs = a.shared * a.queries, first_pair = group * R;
    const attention_place place = attention_place_of(a);
    const uint64_t run = a.below ? a.run.number() : 0;

    int64_t begin, end, unused;
    attention_sees(a.reach, place.position, &begin, &unused);
    attention_sees(a.reach, place.position + a.queries - 1, &unused, &end);
    begin = begin > place.begin ? begin : place.begin, end = end < place.end ? end : place.end;
    const int64_t each = end > begin ? ((end - begin + split.splits - 1) / split.splits + FEW_CHUNK - 1) / FEW_CHUNK * FEW_CHUNK : 0;
    begin += share * each, end = begin + each < end ? begin + each : end;

    for (int i = thread; i < R * WIDEST; i += FEW_THREADS) {
        const int64_t pair = first_pair + i / WIDEST;
        const int d = i % WIDEST;
        T x = 0;
        if (pair < pairs && d < a.width)
            x = a.q.data[b * a.q.batch + pair % a.queries * a.q.row + (kv * a.shared + pair / a.queries) * a.width + d];
        q[i] = x;
    }
    if (thread < R) top[thread] = -attention_infinity<T>(), total[thread] = 0;
    __syncthreads();

    int columns = 1; /* of four, a power of two, so that threads divide into keys and columns */
    while (4 * columns < a.value_width) columns *= 2;
    const int column = thread % columns * 4, beside = FEW_THREADS / columns, turn = thread / columns;
    T acc[R][4];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int e = 0; e < 4; e++) acc[r][e] = 0;
    for (int64_t first = begin; first < end; first += FEW_CHUNK) {
        const int count = static_cast<int>(end - first < FEW_CHUNK ? end - first : FEW_CHUNK);
        for (int i = thread / FEW_LANES; i < FEW_CHUNK; i += FEW_THREADS / FEW_LANES) {
            T dot[R];
#pragma unroll
            for (int r = 0; r < R; r++) dot[r] = 0;
            if (i < count) {
                const T *k = attention_key(a.k, a.k_ring, a.ring, place.first, b, first + i) + static_cast<int64_t>(kv) * a.width;
                for (int d = 4 * lane; d < a.width; d += 4 * FEW_LANES) {
                    attention_quad<T> x = {{T(0), T(0), T(0), T(0)}};
                    if (a.aligned) x = *reinterpret_cast<const attention_quad<T> *>(k + d);
                    else
                        for (int e = 0; e < 4; e++)
                            if (d + e < a.width) x.x[e] = k[d + e];
#pragma unroll
                    for (int r = 0; r < R; r++)
#pragma unroll
                        for (int e = 0; e < 4; e++) dot[r] += x.x[e] * q[4 * (r * (WIDEST / 4) + d / 4) + e];
                }
            }
            T mine = 0; /* the sum of pair `lane` */
#pragma unroll
            for (int r = 0; r < R; r++) {
#pragma unroll
                for (int m = FEW_LANES / 2; m > 0; m /= 2) dot[r] += __shfl_xor_sync(CUDA_WHOLE_WARP, dot[r], m);
                if (r == lane) mine = dot[r];
            }
            const int64_t pair = first_pair + lane;
            if (lane >= R) continue;
            T s[1] = {mine};
            if (i < count && pair < pairs) {
                const int64_t query = pair % a.queries;
                int32_t low, high;
                attention_sees_of(a.reach, place.position + query, first, first + count, &low, &high);
                attention_shape<T, 1, false>(a, b, kv * a.shared + static_cast<int32_t>(pair / a.queries), query, first + i, i, low, high,
                                             s, nullptr);
            } else s[0] = -attention_infinity<T>();
            p[lane * LINE + i] = s[0];
        }
        __syncthreads();
        for (int r = warp; r < R; r += FEW_THREADS / CUDA_WARP) {
            const int at = r * LINE + thread % CUDA_WARP;
            const T before = top[r];
            T most = before, sum = 0;
#pragma unroll
            for (int i = 0; i < FEW_CHUNK; i += CUDA_WARP) {
                const T x = p[at + i];
                most = x > most ? x : most;
            }
#pragma unroll
            for (int m = CUDA_WARP / 2; m > 0; m /= 2) {
                const T other = __shfl_xor_sync(CUDA_WHOLE_WARP, most, m);
                most = other > most ? other : most;
            }
            const T from = most == -attention_infinity<T>() ? T(0) : most * T(ATTENTION_LOG2_E);
            const int64_t pair = first_pair + r;
#pragma unroll
            for (int i = 0; i < FEW_CHUNK; i += CUDA_WARP) {
                const T s = p[at + i];
                T x = attention_exp2(s * T(ATTENTION_LOG2_E) - from), keep[1];
                sum += x;
                if (a.below && pair < pairs) {
                    attention_drop<T, 1>(a, run, b, kv * a.shared + static_cast<int32_t>(pair / a.queries), pair % a.queries,
                                         first + thread % CUDA_WARP + i, keep);
                    x *= keep[0];
                }
                p[at + i] = x;
            }
#pragma unroll
            for (int m = CUDA_WARP / 2; m > 0; m /= 2) sum += __shfl_xor_sync(CUDA_WHOLE_WARP, sum, m);
            if (thread % CUDA_WARP == 0) {
                const T by = attention_exp2(before * T(ATTENTION_LOG2_E) - from);
                shrink[r] = by, top[r] = most, total[r] = total[r] * by + sum;
            }
        }
        __syncthreads();
#pragma unroll
        for (int r = 0; r < R; r++) {
            const T by = shrink[r];
#pragma unroll
            for (int e = 0; e < 4; e++) acc[r][e] *= by;
        }
        for (int i = turn; i < count && column < a.value_width; i += beside) {
            const T *v =
                attention_key(a.v, a.v_ring, a.ring, place.first, b, first + i) + static_cast<int64_t>(kv) * a.value_width + column;
            attention_quad<T> x = {{T(0), T(0), T(0), T(0)}};
            if (a.aligned) x = *reinterpret_cast<const attention_quad<T> *>(v);
            else
                for (int e = 0; e < 4; e++)
                    if (column + e < a.value_width) x.x[e] = v[e];
#pragma unroll
            for (int r = 0; r < R; r++) {
                const T w = p[r * LINE + i];
#pragma unroll
                for (int e = 0; e < 4; e++) acc[r][e] += w * x.x[e];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int e = 0; e < 4; e++) whole[4 * (r * FEW_THREADS + thread) + e] = acc[r][e];
    __syncthreads();
    for (int i = thread; i < R * a.value_width; i += FEW_THREADS) {
        const int r = i / a.value_width, c = i % a.value_width;
        const int64_t pair = first_pair + r;
        if (pair >= pairs) continue;
        const int64_t row = (b * a.heads + kv * a.shared + pair / a.queries) * a.queries + pair % a.queries;
        T *to = part + (row * split.splits + share) * part_size(a.value_width), sum = 0;
        for (int k = 0; k < beside; k++) sum += whole[4 * (r * FEW_THREADS + k * columns + c / 4) + c % 4];
        to[c] = sum;
        if (c == 0) to[a.value_width] = top[r], to[a.value_width + 1] = total[r];
    }
}

/* A block a row: the parts of its splits, each shrunk to the largest score of all. */
template <typename T> static __global__ void __launch_bounds__(64) few_whole(attention_job<T> a, int32_t splits, const T *part) {
    const int64_t row = blockIdx.x, query = row % a.queries, h = row / a.queries % a.heads, b = row / a.queries / a.heads;
    const int64_t size = part_size(a.value_width);
    const T *from = part + row * splits * size;
    T most = -attention_infinity<T>(), all = 0;
    for (int32_t s = 0; s < splits; s++) most = from[s * size + a.value_width] > most ? from[s * size + a.value_width] : most;
    const T top = most == -attention_infinity<T>() ? T(0) : most * T(ATTENTION_LOG2_E);
    for (int32_t s = 0; s < splits; s++)
        all += from[s * size + a.value_width + 1] * attention_exp2(from[s * size + a.value_width] * T(ATTENTION_LOG2_E) - top);
    const T by = all > 0 ? T(1) / all : T(0);
    for (int32_t c = static_cast<int32_t>(threadIdx.x); c < a.value_width; c += static_cast<int32_t>(blockDim.x)) {
        T sum = 0;
        for (int32_t s = 0; s < splits; s++)
            sum += from[s * size + c] * attention_exp2(from[s * size + a.value_width] * T(ATTENTION_LOG2_E) - top);
        a.out.data[b * a.out.batch + query * a.out.row + h * a.value_width + c] = sum * by;
    }
    if (a.log_sum && threadIdx.x == 0) a.log_sum[row] = all > 0 ? most + attention_log(all) : attention_infinity<T>();
}

/* Two blocks for each of an H100's multiprocessors, if the keys are cut so. */
attention_split cuda_attention_split_of(const attention_priv *p) {
    const int64_t pairs = p->heads / p->kv_heads * p->queries;
    attention_split split = {};
    split.rows = p->size == 8 || pairs == 1 ? 1 : 4;
    split.groups = static_cast<int32_t>((pairs + split.rows - 1) / split.rows);
    const int64_t blocks = p->batch * p->kv_heads * split.groups, wanted = blocks > 0 ? 264 / blocks : 1;
    split.splits = static_cast<int32_t>(wanted < 1 ? 1 : wanted > FEW_SPLITS ? FEW_SPLITS : wanted);
    return split;
}
int64_t cuda_attention_split_bytes(const attention_priv *p) {
    return p->batch * p->heads * p->queries * cuda_attention_split_of(p).splits * part_size(static_cast<int32_t>(p->value_width)) * p->size;
}

template <typename T> int cuda_attention_few(const attention_job<T> &job, const attention_split &split, void *part, cudaStream_t stream) {
    const int64_t blocks = job.batch * (job.heads / job.shared) * split.groups * split.splits;
    T *parts = static_cast<T *>(part);
    int rc = split.rows == 1 ? CUDA_LAUNCH((few_parts<T, 1>), static_cast<unsigned>(blocks), FEW_THREADS, 0, stream, job, split, parts)
                             : CUDA_LAUNCH((few_parts<T, 4>), static_cast<unsigned>(blocks), FEW_THREADS, 0, stream, job, split, parts);
    if (rc != 0) return rc;
    return CUDA_LAUNCH((few_whole<T>), static_cast<unsigned>(job.batch * job.heads * job.queries), 64, 0, stream, job, split.splits,
                       static_cast<const T *>(parts));
}
template int cuda_attention_few<float>(const attention_job<float> &, const attention_split &, void *, cudaStream_t);
template int cuda_attention_few<double>(const attention_job<double> &, const attention_split &, void *, cudaStream_t);
