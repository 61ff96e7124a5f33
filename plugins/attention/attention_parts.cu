/* SPDX-License-Identifier: Apache-2.0 */
/* Around attention: turns of queries and keys by their positions, the ring of a stream. */
#include "common/cuda.h"

#include "attention_cuda.h"
#include "kernels_cuda.h"

static __device__ inline void cos_sin(double angle, float *c, float *s) {
    *c = static_cast<float>(cos(angle)), *s = static_cast<float>(sin(angle));
}
static __device__ inline void cos_sin(double angle, double *c, double *s) { *c = cos(angle), *s = sin(angle); }

/* A thread has one pair of one position of one row of the batch, for all heads: the angle is made once, in f64 as on the CPU. Reads and
 * writes each number once; a head's pairs are adjacent in memory and in threads. */
template <typename T> static __global__ void turn(attention_turn_job<T> a) {
    const int64_t half = a.width / 2, start = a.first + (a.position_at ? *a.position_at : 0);
    CUDA_EACH(i, a.batch * a.count * half) {
        const int64_t pair = i % half, r = i / half % a.count, b = i / half / a.count;
        const double speed = pow(a.base, -2.0 * static_cast<double>(pair) / static_cast<double>(a.width));
        T c, s;
        cos_sin(static_cast<double>(start + r) * speed, &c, &s);
        s = a.back ? -s : s;
        const int64_t one = a.interleaved ? 2 * pair : pair, other = a.interleaved ? one + 1 : pair + half;
        const T *x = a.x.data + b * a.x.batch + r * a.x.row;
        T *y = a.y.data + b * a.y.batch + r * a.y.row;
        for (int32_t h = 0; h < a.heads; h++, x += a.width, y += a.width) {
            const T p = x[one], q = x[other], first = p * c - q * s, second = q * c + p * s;
            y[one] = a.add ? y[one] + first : first;
            y[other] = a.add ? y[other] + second : second;
        }
    }
}
template <typename T> int cuda_attention_turn(const attention_turn_job<T> &job, cudaStream_t stream) {
    const int64_t count = job.batch * job.count * (job.width / 2);
    return count == 0 ? 0 : CUDA_LAUNCH((turn<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, job);
}

template <typename T>
static __global__ void fill_ring(attention_rows<const T> x, attention_rows<T> ring, int64_t ring_rows, const int64_t *position,
                                 int64_t batch, int64_t count, int64_t width) {
    const int64_t from = count > ring_rows ? count - ring_rows : 0, rows = count - from, at = *position;
    CUDA_EACH(i, batch * rows * width) {
        const int64_t c = i % width, r = from + i / width % rows, b = i / width / rows;
        ring.data[b * ring.batch + (at + r) % ring_rows * ring.row + c] = x.data[b * x.batch + r * x.row + c];
    }
}
template <typename T>
int cuda_attention_fill_ring(attention_rows<const T> x, attention_rows<T> ring, int64_t ring_rows, const int64_t *position, int64_t batch,
                             int64_t count, int64_t width, cudaStream_t stream) {
    const int64_t elements = batch * (count < ring_rows ? count : ring_rows) * width;
    if (elements == 0) return 0;
    return CUDA_LAUNCH((fill_ring<T>), cuda_blocks(elements, CUDA_BLOCK), CUDA_BLOCK, 0, stream, x, ring, ring_rows, position, batch, count,
                       width);
}

static __global__ void advance(const int64_t *from, int64_t *to, int64_t by) { *to = *from + by; }
int cuda_attention_advance(const int64_t *from, int64_t *to, int64_t by, cudaStream_t stream) {
    return CUDA_LAUNCH(advance, 1, 1, 0, stream, from, to, by);
}

#define INSTANCES(T)                                                                                                                 \
    template int cuda_attention_turn<T>(const attention_turn_job<T> &, cudaStream_t);                                                \
    template int cuda_attention_fill_ring<T>(attention_rows<const T>, attention_rows<T>, int64_t, const int64_t *, int64_t, int64_t, \
                                             int64_t, cudaStream_t);
INSTANCES(float)
INSTANCES(double)
