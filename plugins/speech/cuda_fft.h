/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The discrete Fourier transform of real sequences in a block, as common/fft.h has it on the CPU: an even size is one complex transform
 * of half the size; Stockham's stages of radices 4, 2, 3, 5 and any prime up to CUDA_FFT_PRIME. A block of 256 threads makes `group`
 * transforms side by side, `lanes` threads each; a stage reads one buffer and writes the other. Up to 32 lanes a transform is a warp's
 * own, and nothing waits for the rest of the block. Buffers lie in shared memory; where a single transform does not fit there, in the
 * device's (P is then a plain pointer).
 *
 * Reads of a stage lie side by side; writes lie `radix` apart, and so that they do not meet in a bank one place in each row of 128 bytes
 * is left out (cuda_fft_place).
 */
#ifndef SPEECH_CUDA_FFT_H
#define SPEECH_CUDA_FFT_H

#include "common/cuda.h"

#include "common/cuda_map.h"

enum { CUDA_FFT_THREADS = 256, CUDA_FFT_STAGES = 24, CUDA_FFT_PRIME = 8191, CUDA_FFT_GROUP = 32 };
static const int64_t CUDA_FFT_SHARED = 46 << 10, CUDA_FFT_MEMORY = INT64_C(256) << 20;

template <typename T> struct alignas(2 * sizeof(T)) cuda_complex { T re, im; };

struct cuda_fft {
    int size, points; /* n, real; of the complex transform: n/2 where n is even, else n */
    int lanes, group; /* threads a transform; transforms a block: a power of two */
    int length;       /* places of one transform's buffer */
    bool big;         /* buffers in the device's memory */
    int stages;
    int radix[CUDA_FFT_STAGES];
    struct cuda_divisor before[CUDA_FFT_STAGES]; /* product of the radices of the stages before */
};

template <typename T> static __device__ inline int cuda_fft_place(int i) {
    const int row = 128 / static_cast<int>(sizeof(cuda_complex<T>));
    return i + i / row;
}

/* A transform of `size`, in buffers of room for `least` values or more; `most`: transforms side by side that are of use. False: the size
 * has a prime that is too large, or too many. */
template <typename T> static inline bool cuda_fft_of(int64_t size, int64_t least, int64_t most, struct cuda_fft *f) {
    const int64_t points = size % 2 ? size : size / 2, room = points > least ? points : least, element = sizeof(cuda_complex<T>);
    const int64_t row = 128 / element;
    int64_t left = points, before = 1;
    *f = {};
    if (room > INT32_MAX / 4) return false;
    f->size = static_cast<int>(size), f->points = static_cast<int>(points);
    for (int64_t p = 4; left > 1; p = p == 4 ? 2 : p == 2 ? 3 : p + 2)
        while (left % p == 0) {
            if (f->stages == CUDA_FFT_STAGES || p > CUDA_FFT_PRIME) return false;
            f->radix[f->stages] = static_cast<int>(p), f->before[f->stages++] = cuda_divisor_of(before);
            left /= p, before *= p;
        }
    /* transforms begin so far apart that neighbours at one place lie in other banks */
    for (f->group = CUDA_FFT_GROUP; f->group > 1; f->group /= 2) {
        const int64_t apart = f->group >= row ? 1 : row / f->group;
        f->length = static_cast<int>((room + room / row + 1 + row - 1) / row * row + apart);
        if (f->group / 2 < most && 2 * element * f->length * f->group <= CUDA_FFT_SHARED) break;
    }
    if (f->group == 1) f->length = static_cast<int>(room + room / row + 1);
    f->big = 2 * element * f->length * f->group > CUDA_FFT_SHARED;
    f->lanes = CUDA_FFT_THREADS / f->group;
    return true;
}

template <typename T> static inline size_t cuda_fft_shared(const struct cuda_fft &f) {
    return f.big ? 0 : 2 * static_cast<size_t>(f.length) * static_cast<size_t>(f.group) * sizeof(cuda_complex<T>);
}
/* Blocks for `groups` groups of transforms, and the bytes of their buffers where these are big. */
template <typename T> static inline unsigned cuda_fft_blocks(const struct cuda_fft &f, int64_t groups) {
    if (!f.big) return static_cast<unsigned>(groups < INT32_MAX ? groups : INT32_MAX);
    const int64_t fit = CUDA_FFT_MEMORY / (2 * f.length * static_cast<int64_t>(sizeof(cuda_complex<T>)));
    int64_t blocks = fit < 1 ? 1 : fit > 528 ? 528 : fit;
    return static_cast<unsigned>(blocks < groups ? blocks : groups);
}
template <typename T> static inline int64_t cuda_fft_memory(const struct cuda_fft &f, int64_t groups) {
    if (!f.big) return 0;
    const int64_t bytes = cuda_fft_blocks<T>(f, groups) * 2 * f.length * static_cast<int64_t>(sizeof(cuda_complex<T>));
    return (bytes + 63) / 64 * 64;
}

/* ---- In kernels: threads (lanes, group) ---- */

static __device__ inline void cuda_fft_sync(const struct cuda_fft &f) {
    if (f.lanes <= CUDA_WARP) __syncwarp();
    else __syncthreads();
}

/* exp(-2 pi i k / n) */
template <typename T> static __device__ inline cuda_complex<T> cuda_fft_root(int64_t k, int64_t n) {
    double s, c;
    sincospi(2 * static_cast<double>(k) / static_cast<double>(n), &s, &c);
    return {static_cast<T>(c), static_cast<T>(-s)};
}

template <typename T> static __device__ inline cuda_complex<T> cuda_times(const cuda_complex<T> &a, const cuda_complex<T> &b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <typename T> static __device__ inline cuda_complex<T> operator+(const cuda_complex<T> &a, const cuda_complex<T> &b) {
    return {a.re + b.re, a.im + b.im};
}
template <typename T> static __device__ inline cuda_complex<T> operator-(const cuda_complex<T> &a, const cuda_complex<T> &b) {
    return {a.re - b.re, a.im - b.im};
}

/* One stage. With a_k = x[i + total k], i = q + before p, q < before, total = points / radix:
 *   y[i + before ((radix - 1) p + j)] = w^(j before p) sum_k a_k exp(-2 pi i j k / radix),  w = exp(-2 pi i / points)
 * `roots`: exp(-2 pi i k / size), k < size. */
template <typename T, typename P>
static __device__ __forceinline__ void cuda_fft_stage(const struct cuda_fft &f, int stage, const cuda_complex<T> *roots, P x, P y,
                                                      int lane) {
    typedef cuda_complex<T> complex;
    const int r = f.radix[stage], before = static_cast<int>(f.before[stage].by), total = f.points / r, step = f.size / f.points;
    if (r > 5) {
        for (int e = lane; e < f.points; e += f.lanes) {
            const int j = e / total, i = e - j * total, p = static_cast<int>(cuda_divide(f.before[stage], static_cast<uint32_t>(i)));
            complex sum = x[cuda_fft_place<T>(i)];
            for (int k = 1, jk = j; k < r; k++) {
                const complex a = x[cuda_fft_place<T>(i + total * k)];
                sum = sum + cuda_times(a, roots[jk * total * step]);
                jk += j, jk -= jk >= r ? r : 0;
            }
            y[cuda_fft_place<T>(i + before * ((r - 1) * p + j))] = cuda_times(sum, roots[j * before * p * step]);
        }
        return;
    }
    for (int i = lane; i < total; i += f.lanes) {
        const int p = static_cast<int>(cuda_divide(f.before[stage], static_cast<uint32_t>(i)));
        const int turn = before * p * step, out = i + before * p * (r - 1);
        const complex a = x[cuda_fft_place<T>(i)], b = x[cuda_fft_place<T>(i + total)];
        if (r == 2) {
            y[cuda_fft_place<T>(out)] = a + b;
            y[cuda_fft_place<T>(out + before)] = cuda_times(a - b, roots[turn]);
        } else if (r == 3) {
            const T s = static_cast<T>(0.86602540378443864676); /* sin(2 pi / 3) */
            const complex c = x[cuda_fft_place<T>(i + 2 * total)], sum = b + c, d = {s * (b.re - c.re), s * (b.im - c.im)};
            const complex m = {a.re - static_cast<T>(0.5) * sum.re, a.im - static_cast<T>(0.5) * sum.im};
            const complex b1 = {m.re + d.im, m.im - d.re}, b2 = {m.re - d.im, m.im + d.re};
            y[cuda_fft_place<T>(out)] = a + sum;
            y[cuda_fft_place<T>(out + before)] = cuda_times(b1, roots[turn]);
            y[cuda_fft_place<T>(out + 2 * before)] = cuda_times(b2, roots[2 * turn]);
        } else if (r == 4) {
            const complex c = x[cuda_fft_place<T>(i + 2 * total)], d = x[cuda_fft_place<T>(i + 3 * total)];
            const complex s02 = a + c, d02 = a - c, s13 = b + d, d13 = b - d;
            const complex b1 = {d02.re + d13.im, d02.im - d13.re}, b3 = {d02.re - d13.im, d02.im + d13.re};
            y[cuda_fft_place<T>(out)] = s02 + s13;
            y[cuda_fft_place<T>(out + before)] = cuda_times(b1, roots[turn]);
            y[cuda_fft_place<T>(out + 2 * before)] = cuda_times(s02 - s13, roots[2 * turn]);
            y[cuda_fft_place<T>(out + 3 * before)] = cuda_times(b3, roots[3 * turn]);
        } else {
            const T c1 = static_cast<T>(0.30901699437494742410),
                    c2 = static_cast<T>(-0.80901699437494742410);                                             /* cos(2 pi/5), cos(4 pi/5) */
            const T s1 = static_cast<T>(0.95105651629515357212), s2 = static_cast<T>(0.58778525229247312917); /* sin */
            const complex c = x[cuda_fft_place<T>(i + 2 * total)], d = x[cuda_fft_place<T>(i + 3 * total)];
            const complex e = x[cuda_fft_place<T>(i + 4 * total)];
            const complex s14 = b + e, d14 = b - e, s23 = c + d, d23 = c - d;
            const complex m1 = {a.re + c1 * s14.re + c2 * s23.re, a.im + c1 * s14.im + c2 * s23.im};
            const complex m2 = {a.re + c2 * s14.re + c1 * s23.re, a.im + c2 * s14.im + c1 * s23.im};
            const complex n1 = {s1 * d14.re + s2 * d23.re, s1 * d14.im + s2 * d23.im};
            const complex n2 = {s2 * d14.re - s1 * d23.re, s2 * d14.im - s1 * d23.im};
            const complex b1 = {m1.re + n1.im, m1.im - n1.re}, b4 = {m1.re - n1.im, m1.im + n1.re};
            const complex b2 = {m2.re + n2.im, m2.im - n2.re}, b3 = {m2.re - n2.im, m2.im + n2.re};
            y[cuda_fft_place<T>(out)] = a + s14 + s23;
            y[cuda_fft_place<T>(out + before)] = cuda_times(b1, roots[turn]);
            y[cuda_fft_place<T>(out + 2 * before)] = cuda_times(b2, roots[2 * turn]);
            y[cuda_fft_place<T>(out + 3 * before)] = cuda_times(b3, roots[3 * turn]);
            y[cuda_fft_place<T>(out + 4 * before)] = cuda_times(b4, roots[4 * turn]);
        }
    }
}

/* The complex transform of what a transform's threads have put into x (and awaited). Says whether the result is in y, not in x; awaited. */
template <typename T, typename P>
static __device__ __forceinline__ bool cuda_fft_run(const struct cuda_fft &f, const cuda_complex<T> *roots, P x, P y, int lane) {
    for (int stage = 0; stage < f.stages; stage++) {
        cuda_fft_stage<T, P>(f, stage, roots, x, y, lane);
        cuda_fft_sync(f);
        P other = x;
        x = y, y = other;
    }
    return f.stages % 2 == 1;
}

/* Bin k <= size/2 of the real transform from the complex one: z = even + i odd, X[k] = E[k] + w^k O[k]. */
template <typename T, typename P>
static __device__ inline cuda_complex<T> cuda_fft_bin(const struct cuda_fft &f, const cuda_complex<T> *roots, P z, int k) {
    const int m = f.points;
    const T half = static_cast<T>(0.5);
    if (f.size % 2) return z[cuda_fft_place<T>(k)];
    if (k == 0 || k == m) {
        const cuda_complex<T> a = z[0];
        return {k ? a.re - a.im : a.re + a.im, T(0)};
    }
    const cuda_complex<T> a = z[cuda_fft_place<T>(k)], b = z[cuda_fft_place<T>(m - k)], w = roots[k];
    const cuda_complex<T> e = {half * (a.re + b.re), half * (a.im - b.im)}, d = {half * (a.im + b.im), half * (b.re - a.re)};
    return e + cuda_times(w, d);
}

/* Even sizes: point k < size/2 of what the complex transform makes the inverse of, from bins a = X[k] and b = X[size/2 - k] (k = 0: the
 * last bin; imaginary parts of the ends are not read). The parts are exchanged, so that the transform is the inverse but for 1/points. */
template <typename T>
static __device__ inline cuda_complex<T> cuda_fft_fold(const cuda_complex<T> *roots, int k, const cuda_complex<T> &a,
                                                       const cuda_complex<T> &b) {
    const T half = static_cast<T>(0.5);
    if (k == 0) return {half * (a.re - b.re), half * (a.re + b.re)};
    const cuda_complex<T> w = roots[k];
    const T er = half * (a.re + b.re), ei = half * (a.im - b.im), dr = half * (a.re - b.re), di = half * (a.im + b.im);
    return {ei + (dr * w.re + di * w.im), er - (di * w.re - dr * w.im)};
}

/* Sample n of the inverse from the transform's result, times 1/points. */
template <typename T, typename P> static __device__ inline T cuda_fft_sample(const struct cuda_fft &f, P z, int n) {
    if (f.size % 2) {
        const cuda_complex<T> a = z[cuda_fft_place<T>(n)];
        return a.im / static_cast<T>(f.points);
    }
    const cuda_complex<T> a = z[cuda_fft_place<T>(n / 2)];
    return (n % 2 ? a.re : a.im) * (T(1) / static_cast<T>(f.points));
}

/* ---- Windows ---- */

/* As window_value (speech.h): WINDOW_* over n < length. */
enum { CUDA_HANN, CUDA_SQRT_HANN, CUDA_HAMMING, CUDA_RECT, CUDA_POVEY };
static __device__ inline double cuda_window(int kind, int64_t n, int64_t length, bool periodic) {
    const int64_t period = periodic ? length : length - 1;
    if (period < 1) return 1;
    const double c = cospi(2 * static_cast<double>(n) / static_cast<double>(period)), hann = 0.5 - 0.5 * c;
    if (kind == CUDA_HANN) return hann;
    if (kind == CUDA_SQRT_HANN) return sqrt(hann);
    if (kind == CUDA_HAMMING) return 0.54 - 0.46 * c;
    return kind == CUDA_POVEY ? pow(hann, 0.85) : 1;
}

#endif
