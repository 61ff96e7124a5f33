/* SPDX-License-Identifier: Apache-2.0 */
/* What the speech operators' kernels share: states that are kept. */
#include "common/cuda.h"

#include "cuda_speech.h"

/* Twice the bytes kept; elements are as wide as a step allows. */
template <typename T>
static __global__ void keep_kernel(const T *state, const T *given, T *to, int64_t count, int64_t row, int64_t held, int64_t coming,
                                   int64_t kept) {
    CUDA_EACH(i, count) {
        const int64_t b = i / row, at = held + coming - kept + i % row; /* of [held | coming] */
        to[i] = at < held ? state[b * held + at] : given[b * coming + at - held];
    }
}

template <typename T> static int keep_typed(const struct flow_call *call, const struct cuda_keep *k) {
    const int64_t width = k->step / static_cast<int64_t>(sizeof(T)), row = k->after * width, count = k->batch * row;
    return cuda_status(call, CUDA_LAUNCH((keep_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(k->state), static_cast<const T *>(k->given), static_cast<T *>(k->to), count,
                                         row, k->held * width, k->count * width, row));
}

static bool whole(const struct cuda_keep *k, int64_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(k->state) | reinterpret_cast<uintptr_t>(k->given) | reinterpret_cast<uintptr_t>(k->to);
    return k->step % bytes == 0 && at % static_cast<uintptr_t>(bytes) == 0;
}

int cuda_speech_keep(const struct flow_call *call, const struct cuda_keep *k) {
    if (k->batch * k->after * k->step <= 0) return FLOW_OK;
    if (whole(k, 8)) return keep_typed<uint64_t>(call, k);
    if (whole(k, 4)) return keep_typed<uint32_t>(call, k);
    if (whole(k, 2)) return keep_typed<uint16_t>(call, k);
    return keep_typed<uint8_t>(call, k);
}

int cuda_speech_clear(const struct flow_call *call, void *at, int64_t bytes) {
    if (bytes <= 0) return FLOW_OK;
    return cuda_status(call, cudaMemsetAsync(at, 0, static_cast<size_t>(bytes), cuda_stream(call)));
}

int cuda_speech_zero(const struct flow_call *call, const struct flow_tensor *grad, bool add) {
    if (grad->rank < 0 || add) return FLOW_OK;
    return cuda_speech_clear(call, grad->data, cuda_speech_count(grad) * cuda_speech_bytes(grad->dtype));
}
