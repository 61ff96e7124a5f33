/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/dlpack.h: tensors to and from other libraries without copying, by DLPack (version 1.x of the format: https://dmlc.github.io/dlpack,
 * dlpack.h of github.com/dmlc/dlpack). The structs here have the layout of those in dlpack/dlpack.h and names of their own, so that both
 * headers can be included: cast a `DLManagedTensorVersioned *` to `struct flow_dlpack_versioned *`.
 *
 *     struct flow_tensor x;                                             in: from a capsule "dltensor_versioned"
 *     flow_tensor_from_dlpack_versioned(managed, &errors, &x);
 *     flow_session_input(session, "x", &x, &errors);
 *     flow_session_run(session, &errors);
 *     managed->deleter(managed);                                        once no run reads x any more
 *
 *     struct flow_dlpack_versioned *y;                                  out
 *     flow_tensor_to_dlpack_versioned(flow_session_output(session, "y"), FLOW_DLPACK_COPY, NULL, NULL, &errors, &y);
 *
 * The functions need no runtime and may be called from any thread. What they make comes from the C library's malloc, since it may outlive
 * every runtime.
 */
#ifndef FLOW_DLPACK_H
#define FLOW_DLPACK_H

#include <flow/flow.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FLOW_DLPACK_MAJOR = 1, FLOW_DLPACK_MINOR = 0 };

/* Device kinds whose memory a CPU reads: its own, and host memory pinned for CUDA or ROCm. */
enum { FLOW_DLPACK_CPU = 1, FLOW_DLPACK_CUDA_HOST = 3, FLOW_DLPACK_ROCM_HOST = 11 };

/* Kinds of elements; with `bits` they make the type. */
enum { FLOW_DLPACK_INT = 0, FLOW_DLPACK_UINT = 1, FLOW_DLPACK_FLOAT = 2, FLOW_DLPACK_BFLOAT = 4, FLOW_DLPACK_BOOL = 6 };

/* Flags of a versioned tensor. */
#define FLOW_DLPACK_READ_ONLY UINT64_C(1) /* nobody may write to it */
#define FLOW_DLPACK_COPY UINT64_C(2)      /* it was copied for the receiver */

struct flow_dlpack_device {
    int32_t kind; /* an int32 enumeration in the format */
    int32_t number;
};
struct flow_dlpack_type {
    uint8_t kind, bits;
    uint16_t lanes;
};
struct flow_dlpack_tensor { /* DLTensor */
    void *data;
    struct flow_dlpack_device device;
    int32_t rank;
    struct flow_dlpack_type type;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL: row-major */
    uint64_t byte_offset;
};
struct flow_dlpack_managed { /* DLManagedTensor: capsule "dltensor" */
    struct flow_dlpack_tensor tensor;
    void *context;
    void (*deleter)(struct flow_dlpack_managed *self); /* may be NULL */
};
struct flow_dlpack_versioned { /* DLManagedTensorVersioned: capsule "dltensor_versioned" */
    struct {
        uint32_t major, minor;
    } version;
    void *context;
    void (*deleter)(struct flow_dlpack_versioned *self); /* may be NULL */
    uint64_t flags;
    struct flow_dlpack_tensor tensor;
};

/* In: *out points at the other's memory, so it lives as long as the DLPack object does: call its deleter when no run reads it any more. Any
 * strides, also negative ones and 0. Types: f64 f32 f16 bf16 i64 i32 u8 bool; FLOW_ERROR_TYPE names any other. Memory of another device
 * is FLOW_ERROR_UNSUPPORTED. Inputs are only read, so READ_ONLY is no obstacle; do not bind an output to such memory. */
FLOW_EXPORT int flow_tensor_from_dlpack(const struct flow_dlpack_managed *managed, flow_errors **errors, struct flow_tensor *out);
FLOW_EXPORT int flow_tensor_from_dlpack_versioned(const struct flow_dlpack_versioned *managed, flow_errors **errors,
                                                  struct flow_tensor *out);

/* Out. Without FLOW_DLPACK_COPY it points at the tensor's memory, which must stay until the receiver calls the deleter; that then calls
 * release(owner) (NULL: nothing), once, from whichever thread. With it, it is a row-major copy on a 64-byte border that the deleter frees:
 * outputs of a session, which the next run overwrites, are handed on so; release(owner) then is called before the function returns. On
 * an error nothing is released. FLOW_DLPACK_READ_ONLY is for the receiver to see: only the versioned form can say so, the other refuses. */
FLOW_EXPORT int flow_tensor_to_dlpack(const struct flow_tensor *tensor, uint64_t flags, void *owner, void (*release)(void *owner),
                                      flow_errors **errors, struct flow_dlpack_managed **out);
FLOW_EXPORT int flow_tensor_to_dlpack_versioned(const struct flow_tensor *tensor, uint64_t flags, void *owner, void (*release)(void *owner),
                                                flow_errors **errors, struct flow_dlpack_versioned **out);

#ifdef __cplusplus
}
#endif

#endif
