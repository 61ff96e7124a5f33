/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and fills. Pinned host memory is read and written when the operation runs; pageable memory is read at the call and written before
 * it returns, as CUDA does. */
#include <cstring>

#include "device_state.h"

namespace cuda_emulation {

struct rectangle {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
    void copy() const {
        for (size_t i = 0; i < height; i++) memmove(to + i * to_pitch, from + i * from_pitch, width);
    }
    size_t to_bytes() const { return to_pitch * (height - 1) + width; }
    size_t from_bytes() const { return from_pitch * (height - 1) + width; }
};

/* What the kind says must be so. */
static bool placed(device &d, const rectangle &r, cudaMemcpyKind *kind) {
    block_of_memory b;
    uintptr_t first;
    const bool to = memory_find(d, r.to, &b, &first) && b.where == place::device;
    const bool from = memory_find(d, r.from, &b, &first) && b.where == place::device;
    if (*kind == cudaMemcpyDefault)
        *kind = to ? from ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice : from ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
    if (to != (*kind == cudaMemcpyHostToDevice || *kind == cudaMemcpyDeviceToDevice)) return false;
    if (from != (*kind == cudaMemcpyDeviceToHost || *kind == cudaMemcpyDeviceToDevice)) return false;
    return (!to || memory_within(d, r.to, r.to_bytes(), true)) && (!from || memory_within(d, r.from, r.from_bytes(), true));
}

static cudaError_t copy(rectangle r, cudaMemcpyKind kind, cudaStream_t handle, bool wait) {
    device &d = the_device();
    holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    d.counts.copies++;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return tell(d, cudaErrorInvalidMemcpyDirection);
    if (r.width == 0 || r.height == 0) return tell(d, cudaSuccess);
    if (r.width > r.to_pitch || r.width > r.from_pitch) return tell(d, cudaErrorInvalidPitchValue);
    if (!placed(d, r, &kind)) return tell(d, cudaErrorInvalidValue);
    const bool host_from = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyHostToHost;
    const bool host_to = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyHostToHost;
    const bool pageable_from = host_from && !memory_within(d, r.from, r.from_bytes(), false);
    const bool pageable_to = host_to && !memory_within(d, r.to, r.to_bytes(), false);
    if ((wait || pageable_from || pageable_to) && capture_breaks(s)) return tell(d, cudaErrorStreamCaptureUnsupported);
    cudaError_t error;
    if (pageable_from && !wait) {
        const auto kept = std::make_shared<std::vector<char>>(r.width * r.height);
        rectangle staged = r;
        staged.to = kept->data(), staged.to_pitch = r.width;
        staged.copy();
        error = queue(d, s, [r, kept](uint64_t) {
            rectangle from = r;
            from.from = kept->data(), from.from_pitch = r.width;
            from.copy();
        });
    } else error = queue(d, s, [r](uint64_t) { r.copy(); });
    if (error == cudaSuccess && (wait || pageable_to)) wait_stream(d, hold, s);
    return tell(d, error);
}

static cudaError_t fill(void *at, size_t pitch, int value, size_t width, size_t height, cudaStream_t handle) {
    device &d = the_device();
    const holding hold(d.lock);
    d.counts.sets++;
    if (width == 0 || height == 0) return tell(d, cudaSuccess);
    if (width > pitch || !memory_within(d, at, pitch * (height - 1) + width, true)) return tell(d, cudaErrorInvalidValue);
    return tell(d, queue(d, stream_of(d, handle), [at, pitch, value, width, height](uint64_t) {
                    for (size_t i = 0; i < height; i++) memset(static_cast<char *>(at) + i * pitch, value, width);
                }));
}

} // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    return copy({static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1}, kind, nullptr, true);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
    return copy({static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1}, kind, s, false);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t s) {
    return copy({static_cast<char *>(to), static_cast<const char *>(from), to_pitch, from_pitch, width, height}, kind, s, false);
}
cudaError_t cudaMemset(void *at, int value, size_t bytes) { return fill(at, bytes, value, bytes, 1, nullptr); }
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t s) { return fill(at, bytes, value, bytes, 1, s); }
cudaError_t cudaMemset2DAsync(void *at, size_t pitch, int value, size_t width, size_t height, cudaStream_t s) {
    return fill(at, pitch, value, width, height, s);
}

} // extern "C"
