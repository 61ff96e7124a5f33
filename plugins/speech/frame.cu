/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame, frame_stack, overlap_add on the device. Cutting is copying: whole rows, 16 bytes at a time where a step's bytes allow, whatever
 * the type; the read is from the second-level cache where segments overlap. Adding up makes every sum by one thread, its terms in their
 * order.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"

#include "common/cuda_many.h"
#include "cuda_fft.h"
#include "cuda_speech.h"
#include "frame.h"
#include "overlap_add.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Threads (along a row, rows) and blocks for `rows` rows of `length`. */
static dim3 block_of(int64_t length) {
    unsigned across = 1;
    while (across < static_cast<unsigned>(CUDA_BLOCK) && across < length) across *= 2;
    return dim3(across, static_cast<unsigned>(CUDA_BLOCK) / across);
}

/* The widest unit that steps of `bytes` at these addresses are whole numbers of. */
static int64_t unit_of(int64_t bytes, const void *a, const void *b, const void *c) {
    const uintptr_t all =
        reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(c) | static_cast<uintptr_t>(bytes);
    int64_t unit = 16;
    while (unit > 1 && all % static_cast<uintptr_t>(unit) != 0) unit /= 2;
    return unit;
}
typedef cuda_sixteen<uint32_t> sixteen;

/* ---- frame ---- */

/* Lengths in units. Row (b, t): [held | x] from origin + t*hop on, zeros outside. */
struct frames {
    const void *held_at, *x;
    void *y;
    int64_t rows, count; /* of all sequences, of one */
    int64_t length, hop, origin, held, steps;
};

template <typename U> static __global__ void frame_kernel(const struct frames f) {
    for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < f.rows;
         r += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        const int64_t b = r / f.count, first = f.origin + (r - b * f.count) * f.hop;
        const U *const held = static_cast<const U *>(f.held_at) + b * f.held, *const x = static_cast<const U *>(f.x) + b * f.steps;
        U *const y = static_cast<U *>(f.y) + r * f.length;
        for (int64_t e = threadIdx.x; e < f.length; e += blockDim.x) {
            const int64_t i = first + e;
            U value = {};
            if (i >= 0 && i < f.held) value = held[i];
            else if (i >= f.held && i - f.held < f.steps) value = x[i - f.held];
            y[e] = value;
        }
    }
}

template <typename U> static int run_frames(const struct flow_call *call, struct frames f, int64_t step) {
    const int64_t units = step / static_cast<int64_t>(sizeof(U));
    f.length *= units, f.hop *= units, f.origin *= units, f.held *= units, f.steps *= units;
    const dim3 block = block_of(f.length);
    return cuda_status(call, CUDA_LAUNCH((frame_kernel<U>), cuda_blocks(f.rows, block.y), block, 0, cuda_stream(call), f));
}

int cuda_frame_forward(const struct flow_call *call) {
    const struct frame_attrs *a = static_cast<const struct frame_attrs *>(call->attrs);
    const struct frame_priv *priv = static_cast<const struct frame_priv *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    const void *held = priv->held ? call->state_in[0].data : NULL;
    const int64_t step = priv->inner * cuda_speech_bytes(x->dtype);
    const struct frames f = {held,         x->data,    call->out[0].data, x->shape[0] * priv->frames, priv->frames, a->size, a->hop,
                             priv->origin, priv->held, x->shape[1]};
    int status = FLOW_OK;
    if (f.rows * step > 0) switch (unit_of(step, f.held_at, f.x, f.y)) {
        case 16: status = run_frames<sixteen>(call, f, step); break;
        case 8: status = run_frames<uint64_t>(call, f, step); break;
        case 4: status = run_frames<uint32_t>(call, f, step); break;
        case 2: status = run_frames<uint16_t>(call, f, step); break;
        default: status = run_frames<uint8_t>(call, f, step); break;
        }
    if (status < 0 || !priv->streams) return status;
    const struct cuda_keep keep = {held, x->data, call->state_out[0].data, x->shape[0], priv->held, x->shape[1], priv->after, step};
    status = cuda_speech_keep(call, &keep);
    return status < 0 || !priv->fresh ? status : cuda_speech_clear(call, call->state_out[1].data, 1);
}

/* dx[b, s] (+)= sum_t dy[b, t, s + before - t*hop]: size/hop values read, mostly along lines. */
template <typename T>
static __global__ void frame_back_kernel(const T *dy, T *dx, int64_t batch, int64_t steps, int64_t inner, int64_t count, int64_t size,
                                         int64_t hop, int64_t before, bool add) {
    const int64_t sequence = steps * inner;
    CUDA_EACH(n, batch * sequence) {
        const int64_t b = n / sequence, e = n - b * sequence, s = inner == 1 ? e : e / inner, p = s + before, d = e - s * inner;
        T sum = add ? dx[n] : T(0);
        for (int64_t t = p < size ? 0 : (p - size) / hop + 1; t < count && t * hop <= p; t++)
            sum += dy[((b * count + t) * size + p - t * hop) * inner + d];
        dx[n] = sum;
    }
}

template <typename T> static int frame_backward(const struct flow_call *call) {
    const struct frame_attrs *a = static_cast<const struct frame_attrs *>(call->attrs);
    const struct frame_priv *priv = static_cast<const struct frame_priv *>(call->priv);
    const struct flow_tensor *dx = &call->grad_in[0];
    const int64_t count = cuda_speech_count(dx);
    return cuda_status(call, CUDA_LAUNCH((frame_back_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->grad_out[0].data), static_cast<T *>(dx->data), dx->shape[0],
                                         dx->shape[1], priv->inner, priv->frames, a->size, a->hop, a->before,
                                         static_cast<bool>(FLOW_ACCUMULATES(call->accumulate_in, 0))));
}

int cuda_frame_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    if (dx->rank < 0 || cuda_speech_count(dx) == 0) return FLOW_OK;
    if (call->grad_out[0].rank < 0) return cuda_speech_zero(call, dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    return dx->dtype == FLOW_F64 ? frame_backward<double>(call) : frame_backward<float>(call);
}

/* ---- frame_stack ---- */

/* Row q = t*count + i of a sequence is row first + t*stride + i of [before copies of the first][held][x], the last one repeated. */
struct stack {
    const void *held_at, *x;
    void *y;
    int64_t rows, each; /* rows of all sequences, of one */
    int64_t count, stride, first, before, held, steps;
    int64_t width; /* of a row, in units */
};

template <typename U> static __global__ void stack_kernel(const struct stack s) {
    for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < s.rows;
         r += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        const int64_t b = r / s.each, q = r - b * s.each, t = q / s.count;
        int64_t i = s.first + t * s.stride + q - t * s.count;
        i = i < s.before ? 0 : i - s.before;
        if (i >= s.held + s.steps) i = s.held + s.steps - 1;
        const U *const from = i < s.held ? static_cast<const U *>(s.held_at) + (b * s.held + i) * s.width
                                         : static_cast<const U *>(s.x) + (b * s.steps + i - s.held) * s.width;
        U *const to = static_cast<U *>(s.y) + r * s.width;
        for (int64_t e = threadIdx.x; e < s.width; e += blockDim.x) to[e] = from[e];
    }
}

template <typename U> static int run_stack_typed(const struct flow_call *call, struct stack s, int64_t bytes) {
    s.width = bytes / static_cast<int64_t>(sizeof(U));
    const dim3 block = block_of(s.width);
    return cuda_status(call, CUDA_LAUNCH((stack_kernel<U>), cuda_blocks(s.rows, block.y), block, 0, cuda_stream(call), s));
}

static int run_stack(const struct flow_call *call, const struct stack &s, int64_t bytes) {
    if (s.rows * bytes == 0) return FLOW_OK;
    switch (unit_of(bytes, s.held_at, s.x, s.y)) {
    case 16: return run_stack_typed<sixteen>(call, s, bytes);
    case 8: return run_stack_typed<uint64_t>(call, s, bytes);
    case 4: return run_stack_typed<uint32_t>(call, s, bytes);
    case 2: return run_stack_typed<uint16_t>(call, s, bytes);
    default: return run_stack_typed<uint8_t>(call, s, bytes);
    }
}

int cuda_frame_stack_forward(const struct flow_call *call) {
    const struct stack_attrs *a = static_cast<const struct stack_attrs *>(call->attrs);
    const struct stack_priv *priv = static_cast<const struct stack_priv *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    const int64_t bytes = x->shape[2] * cuda_speech_bytes(x->dtype), before = priv->held > 0 ? 0 : priv->lead + priv->front;
    struct stack s = {};
    s.held_at = priv->held ? call->state_in[0].data : NULL, s.x = x->data, s.y = call->out[0].data;
    s.count = a->count, s.stride = a->stride, s.first = priv->lead, s.before = before, s.held = priv->held, s.steps = x->shape[1];
    s.each = priv->steps * a->count, s.rows = x->shape[0] * s.each;
    const int status = run_stack(call, s, bytes);
    if (status < 0 || priv->after == 0) return status;
    s.y = call->state_out[0].data, s.first = before + priv->held + s.steps - priv->after;
    s.count = s.each = priv->after, s.rows = x->shape[0] * priv->after;
    return run_stack(call, s, bytes);
}

/* A row's gradient: the sum over all its places (t, i), those before the first row and behind the last one among them. */
template <typename T>
static __global__ void stack_back_kernel(const T *dy, T *dx, int64_t batch, int64_t rows, int64_t units, int64_t steps, int64_t count,
                                         int64_t stride, int64_t front, bool add) {
    const int64_t sequence = rows * units;
    CUDA_EACH(n, batch * sequence) {
        const int64_t b = n / sequence, row = (n - b * sequence) / units, d = n - (b * rows + row) * units, reach = row + front;
        const bool head = row == 0, tail = row == rows - 1;
        T sum = add ? dx[n] : T(0);
        const int64_t from = reach - count + 1 > 0 ? (reach - count + stride) / stride : 0;
        for (int64_t t = from; t < steps && (tail || t * stride <= reach); t++) {
            int64_t low = head ? 0 : reach - t * stride, high = tail ? count - 1 : reach - t * stride;
            low = low < 0 ? 0 : low, high = high > count - 1 ? count - 1 : high;
            for (int64_t i = low; i <= high; i++) sum += dy[((b * steps + t) * count + i) * units + d];
        }
        dx[n] = sum;
    }
}

template <typename T> static int stack_backward(const struct flow_call *call) {
    const struct stack_attrs *a = static_cast<const struct stack_attrs *>(call->attrs);
    const struct stack_priv *priv = static_cast<const struct stack_priv *>(call->priv);
    const struct flow_tensor *dx = &call->grad_in[0];
    const int64_t count = cuda_speech_count(dx);
    return cuda_status(call, CUDA_LAUNCH((stack_back_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->grad_out[0].data), static_cast<T *>(dx->data), dx->shape[0],
                                         dx->shape[1], dx->shape[2], priv->steps, a->count, a->stride, priv->front,
                                         static_cast<bool>(FLOW_ACCUMULATES(call->accumulate_in, 0))));
}

int cuda_frame_stack_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    if (dx->rank < 0 || cuda_speech_count(dx) == 0) return FLOW_OK;
    if (call->grad_out[0].rank < 0) return cuda_speech_zero(call, dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    return dx->dtype == FLOW_F64 ? stack_backward<double>(call) : stack_backward<float>(call);
}

/* ---- overlap_add ---- */

namespace {
/* Weight of step n of a segment. */
template <typename T> struct weights {
    int32_t kind;
    int64_t size;
    const T *hann; /* in the workspace */
    __device__ T at(int64_t n) const {
        if (kind == OVERLAP_HANN) return hann[n];
        return kind == OVERLAP_RECT ? T(1) : static_cast<T>(n + 1 < size - n ? n + 1 : size - n);
    }
};

/* Sequences of segments x [count, size, inner], what is held of earlier ones. Of `total` sums [drop, drop + emitted) go to y, those from
 * `last` on to the state; y is filled up with zeros. */
template <typename T> struct sum {
    struct weights<T> window;
    const T *x, *tail, *shares;
    T *y, *tail_out, *shares_out;
    int64_t batch, count, hop, inner, held, offset, total, last, drop, emitted, samples, kept;
    int64_t extent;
    bool normalize;
};
} // namespace

template <typename T> static __global__ void hann_kernel(int64_t size, T *window) {
    CUDA_EACH(n, size) window[n] = static_cast<T>(cuda_window(CUDA_HANN, n, size, true));
}

template <typename T> static __global__ void overlap_kernel(const struct sum<T> s) {
    const int64_t sequence = s.extent * s.inner, size = s.window.size;
    CUDA_EACH(i, s.batch * sequence) {
        const int64_t b = i / sequence, e = i - b * sequence, p = s.inner == 1 ? e : e / s.inner, d = e - p * s.inner;
        T value = 0, share = 0;
        if (p < s.held) value = s.tail[(b * s.held + p) * s.inner + d], share = s.shares[p];
        if (p < s.total)
            for (int64_t t = p - size < s.offset ? 0 : (p - size - s.offset) / s.hop + 1; t < s.count; t++) {
                const int64_t n = p - s.offset - t * s.hop;
                if (n < 0) break;
                const T w = s.window.at(n);
                value += w * s.x[((b * s.count + t) * size + n) * s.inner + d], share += w;
            }
        const int64_t q = p - s.drop;
        const T divisor = !s.normalize ? T(1) : share > static_cast<T>(1e-8) ? share : static_cast<T>(1e-8);
        if (q >= 0 && q < s.samples) s.y[(b * s.samples + q) * s.inner + d] = q < s.emitted ? value / divisor : T(0);
        if (p >= s.last && p < s.total && s.tail_out) {
            s.tail_out[(b * s.kept + p - s.last) * s.inner + d] = value;
            if (d == 0) s.shares_out[p - s.last] = share; /* the same for every sequence */
        }
    }
}

template <typename T> static int fill_window(const struct flow_call *call, int64_t size, struct weights<T> *window) {
    T *const at = static_cast<T *>(call->workspace);
    *window = {static_cast<const struct overlap_attrs *>(call->attrs)->window, size, at};
    if (window->kind != OVERLAP_HANN) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((hann_kernel<T>), cuda_blocks(size, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), size, at));
}

template <typename T> static int overlap_forward(const struct flow_call *call) {
    const struct overlap_attrs *a = static_cast<const struct overlap_attrs *>(call->attrs);
    const struct overlap_priv *priv = static_cast<const struct overlap_priv *>(call->priv);
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    struct sum<T> s = {};
    int status = fill_window<T>(call, x->shape[2], &s.window);
    s.x = static_cast<const T *>(x->data), s.y = static_cast<T *>(y->data);
    s.batch = x->shape[0], s.count = x->shape[1], s.hop = a->hop, s.inner = priv->inner, s.held = priv->held, s.offset = o->offset;
    s.total = o->total, s.last = o->final, s.drop = o->drop, s.samples = y->shape[1], s.kept = o->held, s.normalize = a->normalize;
    s.emitted = least(s.samples, o->final - o->drop), s.extent = most(s.total, s.drop + s.samples);
    if (priv->held) s.tail = static_cast<const T *>(call->state_in[0].data), s.shares = static_cast<const T *>(call->state_in[1].data);
    if (priv->streams && o->held)
        s.tail_out = static_cast<T *>(call->state_out[0].data), s.shares_out = static_cast<T *>(call->state_out[1].data);
    const int64_t count = s.batch * s.extent * s.inner;
    if (status == FLOW_OK && count > 0)
        status = cuda_status(call, CUDA_LAUNCH((overlap_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), s));
    return status < 0 || !priv->streams ? status : cuda_speech_clear(call, call->state_out[2].data, o->phase);
}

int cuda_overlap_add_forward(const struct flow_call *call) {
    return call->in[0].dtype == FLOW_F64 ? overlap_forward<double>(call) : overlap_forward<float>(call);
}

/* 1 / max(summed windows, 1e-8) of every step. */
template <typename T>
static __global__ void divisor_kernel(const struct weights<T> window, int64_t hop, int64_t count, int64_t total, T *divisor) {
    CUDA_EACH(p, total) {
        T sum = 0;
        for (int64_t t = p < window.size ? 0 : (p - window.size) / hop + 1; t < count && t * hop <= p; t++) sum += window.at(p - t * hop);
        divisor[p] = 1 / (sum > static_cast<T>(1e-8) ? sum : static_cast<T>(1e-8));
    }
}

/* dx[b, t, i] (+)= w[i] divisor[p] dy[b, p], p = t*hop + i, 0 from `emitted` on. Row (b, t), its steps along lines. */
template <typename T>
static __global__ void overlap_back_kernel(const struct weights<T> window, const T *divisor, const T *dy, T *dx, int64_t rows,
                                           int64_t count, int64_t hop, int64_t inner, int64_t samples, int64_t emitted, bool add) {
    const int64_t length = window.size * inner;
    for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < rows;
         r += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        const int64_t b = r / count, start = (r - b * count) * hop;
        for (int64_t e = threadIdx.x; e < length; e += blockDim.x) {
            const int64_t i = inner == 1 ? e : e / inner, p = start + i;
            T g = add ? dx[r * length + e] : T(0);
            if (p < emitted) {
                const T share = divisor ? window.at(i) * divisor[p] : window.at(i);
                g += share * dy[(b * samples + start) * inner + e];
            }
            dx[r * length + e] = g;
        }
    }
}

template <typename T> static int overlap_backward(const struct flow_call *call) {
    const struct overlap_attrs *a = static_cast<const struct overlap_attrs *>(call->attrs);
    const struct overlap_priv *priv = static_cast<const struct overlap_priv *>(call->priv);
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    const int64_t count = dx->shape[1], size = dx->shape[2], total = priv->overlap.total, rows = dx->shape[0] * count;
    const int64_t bytes = (size * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    T *const divisor = a->normalize ? reinterpret_cast<T *>(static_cast<char *>(call->workspace) + bytes) : NULL;
    struct weights<T> window;
    int status = fill_window<T>(call, size, &window);
    if (status == FLOW_OK && divisor)
        status = cuda_status(call, CUDA_LAUNCH((divisor_kernel<T>), cuda_blocks(total, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                               window, a->hop, count, total, divisor));
    if (status < 0) return status;
    const dim3 block = block_of(size * priv->inner);
    return cuda_status(call, CUDA_LAUNCH((overlap_back_kernel<T>), cuda_blocks(rows, block.y), block, 0, cuda_stream(call), window, divisor,
                                         static_cast<const T *>(dy->data), static_cast<T *>(dx->data), rows, count, a->hop, priv->inner,
                                         dy->shape[1], least(dy->shape[1], priv->overlap.final),
                                         static_cast<bool>(FLOW_ACCUMULATES(call->accumulate_in, 0))));
}

int cuda_overlap_add_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    if (dx->rank < 0 || cuda_speech_count(dx) == 0) return FLOW_OK;
    if (cuda_speech_count(&call->grad_out[0]) == 0) return cuda_speech_zero(call, dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    return dx->dtype == FLOW_F64 ? overlap_backward<double>(call) : overlap_backward<float>(call);
}
