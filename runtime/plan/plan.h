/* SPDX-License-Identifier: Apache-2.0 */
/* An instance made ready to run: order, kernels, streams and events, one arena with an offset for every value. Immutable; run by many
 * threads at once, each with a context of its own (exec/). */
#ifndef FLOW_PLAN_PLAN_H
#define FLOW_PLAN_PLAN_H

#include "graph/instance.h"

enum plan_step_kind {
    PLAN_KERNEL,   /* calls the operator's kernel */
    PLAN_COPY,     /* makes a strided value contiguous, or brings a value to an output or a feed */
    PLAN_WIDEN,    /* f16/bf16 -> f32, and */
    PLAN_NARROW,   /* back */
    PLAN_LOOP,     /* runs `body` */
    PLAN_GATHER,   /* {op: parameters}: parameters side by side */
    PLAN_PREPARE,  /* the operator's prepare, where its parameters are computed: out[0] is what it fills */
    PLAN_BACKWARD, /* calls the kernel's backward: out[] are the gradients by input, then by parameter */
    PLAN_LOOP_BACKWARD,
    PLAN_FILL, /* out[0] = a number */
    PLAN_PASS, /* out[0] = in[0], which it may lie upon */
    PLAN_ADD   /* out[0] += in[0] */
};

/* Where a tensor lives. */
enum plan_place {
    PLACE_NONE,   /* does not exist */
    PLACE_ARENA,  /* offset into the context's arena */
    PLACE_ONCE,   /* offset into what is computed once for a plan and a context, and kept */
    PLACE_INPUT,  /* the caller's buffer `index` */
    PLACE_OUTPUT, /* the context's buffer for output `index` (in a loop's body: the loop's) */
    PLACE_PARAM,  /* the model's parameter: index into instance.params */
    PLACE_WIDE,   /* the same, a 16-bit one as f32: made once and shared like what is packed */
    PLACE_STATE_IN,
    PLACE_STATE_OUT, /* the context's state `index`; 16-bit states of kernels that work in f32 are kept so */
    PLACE_FEED       /* what the context kept from the run before: index counts the instance's values of kind VALUE_FEED */
};

struct plan_tensor {
    enum plan_place place;
    int32_t index;  /* arena, once: the block */
    int32_t value;  /* of the instance; -1: a temporary */
    int64_t offset; /* bytes from the place's start */
    struct flow_tensor type;
};

/* What a loop needs beside its body's arena. Offsets count from the step's workspace; -1: none. */
struct plan_loop {
    struct plan *body;
    int64_t iterations;
    int64_t *stage;   /* by body input: where a slice is made contiguous */
    int64_t *spare;   /* by body output: the second buffer of a carried one, the slice of a collected one that is not contiguous */
    int64_t index;    /* i64: the iteration's number */
    int32_t *carry;   /* by body input: the body output it takes its next value from; -1 */
    int32_t *over;    /* by body input: the axis whose slices it gets; -1 */
    int32_t *collect; /* by body output: the axis along which it is stacked; -1 */
    int32_t until, index_input; /* body output, body input; -1 */
    /* What the forward loop keeps for backward, in the step's `saved`: the number of iterations made, then, in each, the carried inputs. By
     * body input, offset within an iteration's part; -1. */
    int64_t *kept, kept_bytes;
    /* LOOP_BACKWARD: offsets from the step's workspace; -1: none. By body input and, after those, parameter: where its gradient in the
     * iteration in hand goes; by body output: the cotangent it is given. */
    int64_t *gradient, *cotangent;
};

struct plan_step {
    enum plan_step_kind kind;
    int32_t node; /* of the instance; -1: none (copies of inputs and feeds to outputs) */
    int32_t stream;
    const struct flow_kernel *kernel;
    struct plan_tensor *in, *out, *param, *state_in, *state_out;
    uint32_t in_count, out_count, param_count, state_count;
    struct plan_tensor *read, *grad_out; /* BACKWARD: outputs of the forward node, and their gradients; read_count of each */
    uint32_t read_count;
    struct plan_tensor saved; /* what the forward kernel leaves for its backward */
    /* KERNEL: output 0 = activation(result) + residual; it is that of another node, `fused`, and there may be one between them. */
    struct plan_tensor residual;
    int32_t activation; /* FLOW_ACTIVATION_* */
    int32_t fused;      /* -1: none */
    int64_t workspace;  /* offset in the arena, -1: none */
    int64_t workspace_bytes;
    int32_t packed;              /* index among the plan's prepared blocks; -1 */
    struct plan_tensor prepared; /* filled by a PLAN_PREPARE step; PLACE_NONE where there is none */
    int32_t *waits;              /* events to wait for before it */
    uint32_t wait_count;
    int32_t event;          /* recorded after it; -1 */
    double cost;            /* modelled seconds */
    int32_t takes;          /* input whose memory output 0 takes over; -1 */
    const char *apart;      /* why no output that could took over an input's memory; NULL where none could, or did */
    struct plan_loop *loop; /* LOOP: its body is planned with its own arena, which lies at the start of `workspace` */
};

struct plan_packed {
    uint64_t key; /* what it is shared by, beside the parameters it is made from and the function that makes it */
    int64_t bytes;
    int32_t step;
};

/* A piece of memory: what stands in one place from its first use to its last. */
struct plan_block {
    enum plan_place place;
    int32_t index;       /* input, output, param, state, feed */
    int32_t value;       /* its first owner; -1: a temporary */
    int32_t first, last; /* steps; first -1: never used */
    int32_t into;        /* the block whose memory it takes over; itself: none */
    bool lasting;        /* computed once, read by every run */
    int64_t bytes, offset;
};

struct plan {
    struct arena arena;
    const struct instance *instance;
    const struct flow_host *host;
    struct plan_step *steps; /* the first `once_count` are run when the plan is bound, the others in each run */
    size_t step_count, once_count;
    struct plan_packed *packed;
    size_t packed_count;
    struct plan_block *blocks;
    size_t block_count;
    struct plan_tensor *outputs; /* by graph output: type, and its place in the context's buffer */
    int32_t *dynamic;            /* by graph output: 1 + the step whose kernel writes shape[0]; 0 where it is known */
    int32_t *dynamic_row;        /* which output of that step it is */
    int32_t *feeds;              /* by number: the value of kind VALUE_FEED */
    size_t feed_count;
    int64_t bytes;    /* of the device arena: the peak */
    int64_t unshared; /* what it would be without reuse */
    int64_t once_bytes;
    int64_t bound; /* no order of these steps can do with less: the most that lives at one time */
    int32_t stream_count, event_count;
    int32_t device;
};

struct plan_options {
    int32_t streams; /* most that may be used; 0 counts as 1 */
    int32_t device;
    const struct flow_host *host;
    bool changing; /* parameters may change from run to run, as they always do in training: nothing is computed from them once */
    bool spread;   /* steps go round the streams, whatever that costs: for tests of the events */
    bool checked;  /* for a checked context: room for guard bytes round every block */
};

int must_use plan_new(const struct allocator *from, const struct instance *instance, const struct plan_options *options,
                      struct report *report, struct plan **out);
void plan_free(struct plan *plan);

/* What `flowrun check` prints: steps with shapes, kernels, streams, offsets, and the peak. PLAN_VERBOSE adds why memory was not taken over.
 */
enum { PLAN_TEXT = 0, PLAN_JSON = 1, PLAN_VERBOSE = 2 };
void plan_describe(const struct plan *plan, int how, struct text *out);

/* Bytes of the tensor when its elements lie without gaps; false on overflow or a negative extent. */
bool plan_bytes(const struct flow_tensor *type, int64_t *bytes);
/* Row-major without gaps (axes of one element, and tensors without elements, may have any strides). */
bool plan_contiguous(const struct flow_tensor *type);
/* The same tensor in row-major order. */
struct flow_tensor plan_packed_type(const struct flow_tensor *type);

#endif
