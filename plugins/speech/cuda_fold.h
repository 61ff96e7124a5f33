/* SPDX-License-Identifier: Apache-2.0 */
/* Frames' gradients added up and mirror images folded back: backward of what was cut from a sequence (speech_fold). */
#ifndef SPEECH_CUDA_FOLD_H
#define SPEECH_CUDA_FOLD_H

#include "common/cuda.h"

template <typename T> struct cuda_speech_frames {
    const T *frames; /* [batch, count, length], frame t at first + t*hop */
    T *dx;           /* [batch, samples] */
    int64_t batch, count, length, hop, samples, first;
    int64_t off; /* mirrored about the last sample: 0; beyond it: 1 */
    bool add;

    /* All frames at place r, counted from the first frame's start, in their order. */
    __device__ T at(int64_t b, int64_t r) const {
        T sum = 0;
        for (int64_t t = r < length ? 0 : (r - length) / hop + 1; t < count && t * hop <= r; t++)
            sum += frames[(b * count + t) * length + r - t * hop];
        return sum;
    }
};

/* Of a sample: first its own place, then its images, the even ones and the odd ones. */
template <typename T> static __global__ void cuda_speech_fold_kernel(const struct cuda_speech_frames<T> f) {
    const int64_t reach = (f.count - 1) * f.hop + f.length, period = 2 * f.samples - 2 + 2 * f.off;
    CUDA_EACH(n, f.batch * f.samples) {
        const int64_t b = n / f.samples, i = n - b * f.samples, own = i - f.first;
        T sum = f.add ? f.dx[n] : T(0);
        if (own >= 0 && own < reach) sum += f.at(b, own);
        if (period > 0 && (f.first < 0 || f.first + reach > f.samples)) {
            int64_t even = own % period; /* least places that are alike */
            if (even < 0) even += period;
            for (; even < reach; even += period)
                if (even != own) sum += f.at(b, even);
            int64_t odd = (period - f.off - i - f.first) % period;
            if (odd < 0) odd += period;
            if ((odd - own) % period != 0) /* the ends are their own images */
                for (; odd < reach; odd += period) sum += f.at(b, odd);
        }
        f.dx[n] = sum;
    }
}

template <typename T> static int cuda_speech_fold(const struct flow_call *call, const struct cuda_speech_frames<T> &f) {
    const int64_t count = f.batch * f.samples;
    if (count == 0) return FLOW_OK;
    return cuda_status(call,
                       CUDA_LAUNCH((cuda_speech_fold_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), f));
}

#endif
