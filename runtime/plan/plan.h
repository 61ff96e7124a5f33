/* SPDX-License-Identifier: Apache-2.0 */
/* An instance made ready to run: order, kernels, streams and events, one arena with an offset for every value. Immutable; run by many
 * threads at once, each with a context of its own (exec/). */
#ifndef FLOW_PLAN_PLAN_H
#define FLOW_PLAN_PLAN_H

#include "graph/instance.h"

enum plan_step_kind {
    PLAN_KERNEL,  /* calls the operator's kernel */
    PLAN_COPY,    /* makes a strided value contiguous */
    PLAN_WIDEN,   /* f16/bf16 -> f32, and */
    PLAN_NARROW,  /* back */
    PLAN_LOOP,    /* runs `body` */
    PLAN_GATHER   /* {op: parameters}: parameters side by side */
};

/* Where a tensor lives. */
enum plan_place {
    PLACE_NONE,    /* does not exist */
    PLACE_ARENA,   /* offset into the context's arena */
    PLACE_INPUT,   /* the caller's buffer `index` */
    PLACE_OUTPUT,  /* the caller's (or context's) buffer for output `index` */
    PLACE_PARAM,   /* the model's parameter `index` */
    PLACE_STATE_IN, PLACE_STATE_OUT, /* the context's state `index` */
    PLACE_FEED     /* what the context kept from the run before */
};

struct plan_tensor {
    enum plan_place place;
    int32_t index;
    int32_t value;   /* of the instance; -1: a temporary */
    int64_t offset;  /* bytes from the place's start */
    struct flow_tensor type;
};

struct plan_step {
    enum plan_step_kind kind;
    int32_t node; /* of the instance */
    int32_t stream;
    const struct flow_kernel *kernel;
    struct plan_tensor *in, *out, *param, *state_in, *state_out;
    uint32_t in_count, out_count, param_count, state_count;
    int64_t workspace; /* offset in the arena, -1: none */
    int32_t packed;    /* index among the plan's prepared blocks; -1 */
    int32_t *waits;    /* events to wait for before it */
    uint32_t wait_count;
    int32_t event;     /* recorded after it; -1 */
    struct plan *body; /* LOOP: planned with its own arena, which lies in `workspace` */
};

struct plan_packed {
    const char *param; /* path of the node whose parameters it is made from, and key: what it is shared by */
    uint64_t key;
    int64_t bytes;
    int32_t step;
};

struct plan {
    struct arena arena;
    const struct instance *instance;
    const struct flow_host *host;
    struct plan_step *steps;
    size_t step_count;
    struct plan_packed *packed;
    size_t packed_count;
    int64_t bytes;     /* of the device arena: the peak */
    int64_t unshared;  /* what it would be without reuse */
    int32_t stream_count, event_count;
};

struct plan_options {
    int32_t streams; /* most that may be used */
    int32_t device;
    const struct flow_host *host;
};

int must_use plan_new(const struct allocator *from, const struct instance *instance, const struct plan_options *options,
                      struct report *report, struct plan **out);
void plan_free(struct plan *plan);
/* What `flowrun check` prints: steps with shapes, kernels, streams, offsets, and the peak; JSON when asked. */
void plan_describe(const struct plan *plan, bool json, struct text *out);

#endif
