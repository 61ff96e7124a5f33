/* SPDX-License-Identifier: Apache-2.0 */
/* A plan under construction. Tensors point at blocks (`index`) with an offset inside them until plan_memory has placed the blocks. */
#ifndef FLOW_PLAN_BUILD_H
#define FLOW_PLAN_BUILD_H

#include "plan/plan.h"

enum { PLAN_ALIGN = 64, PLAN_STREAMS_MOST = 16 };

/* What a node's kernel does besides, and for which node: it writes that node's output. */
struct plan_fusion {
    int32_t last;       /* the node whose output is written; -1: its own */
    int32_t activation; /* FLOW_ACTIVATION_* */
    int32_t residual;   /* a value; -1 */
    bool done;          /* this node is done by another's kernel */
};

struct plan_build {
    const struct allocator *from;
    const struct instance *instance;
    const struct plan_options *options;
    struct report *report;
    struct plan *plan;
    struct arena scratch;
    bool body; /* of a loop */

    bool *needed;                       /* by node */
    bool *constant;                     /* by node: the same in every run */
    bool *wide;                         /* by node: half tensors are widened around its kernel */
    bool *differentiated;               /* by node: a needed node is its backward, or reads what it saves */
    int32_t *saved;                     /* by node: block of what it saves; -1 */
    struct plan_fusion *fusion;         /* by node */
    const struct flow_kernel **kernels; /* by node */
    struct plan **bodies;               /* by node: of loops */
    int32_t *home;                      /* by value (owners): block; -1 */
    int32_t *dense;                     /* by value: block of its contiguous copy; -1 */
    int32_t *wider;                     /* by value: block of its f32 copy; -1 */
    int32_t *claim;                     /* by value (owners): graph output whose buffer it is computed in; -1 */
    int32_t *param;                     /* by value: index into instance.params */
    int32_t *feed;                      /* by value: number of the feed */

    struct plan_step *steps;
    size_t step_count, step_capacity;
    struct plan_block *blocks;
    size_t block_count, block_capacity;
    struct plan_packed *packed;
    size_t packed_count, packed_capacity;

    /* Streams: clock[step * streams + s] is the last step of stream s that is done when `step` starts (-1: none). */
    int32_t streams;
    int32_t *clock;
    int32_t *uses; /* [block * streams + s]: last step of stream s that uses the block; -1 */
};

/* plan_select.c: what is needed, what is constant, which kernels. */
int must_use plan_select(struct plan_build *build);

/* plan_fuse.c: which nodes another's kernel does on its way out. */
int must_use plan_fuse(struct plan_build *build);

/* plan_steps.c */
int must_use plan_steps(struct plan_build *build);
int must_use plan_block_new(struct plan_build *build, enum plan_place place, int32_t index, int64_t bytes, int32_t value, int32_t *out);
/* Where the value lies, through views. */
int must_use plan_locate(struct plan_build *build, int32_t value, struct plan_tensor *out);
/* The value in row-major order: where it lies, or a copy. */
int must_use plan_dense(struct plan_build *build, int32_t value, int32_t node, struct plan_tensor *out);
struct plan_step *plan_step_add(struct plan_build *build, enum plan_step_kind kind, int32_t node);
struct plan_tensor *plan_tensors(struct plan_build *build, size_t count); /* all PLACE_NONE, rank -1 */
/* Memory for the outputs of a node's step. */
int must_use plan_produce(struct plan_build *build, const struct instance_node *node, struct plan_tensor *out);

/* May parameters be other ones in the next run? */
static inline bool plan_changing(const struct plan_build *build) {
    return build->options->changing || build->instance->phase == FLOW_PHASE_TRAINING;
}

/* plan_loop.c */
int must_use plan_loop_body(struct plan_build *build, int32_t node);
int must_use plan_loop_step(struct plan_build *build, int32_t node);
int must_use plan_loop_backward(struct plan_build *build, int32_t node);

/* plan_grad.c: steps of the nodes that differentiation put in. */
int must_use plan_grad_step(struct plan_build *build, int32_t node);
int must_use plan_locate_all(struct plan_build *build, const int32_t *values, uint32_t count,
                             struct plan_tensor *out); /* -1: passed over */
/* Room for what the step's node saves, when a backward reads it. */
int must_use plan_saved(struct plan_build *build, int32_t node, int64_t bytes, struct plan_tensor *out);
int must_use plan_operand(struct plan_build *build, int32_t value, int32_t node, bool strided, struct plan_tensor *out);
int must_use plan_workspace(struct plan_build *build, struct plan_step *step, int64_t bytes);
int must_use plan_gather(struct plan_build *build, int32_t node);

/* plan_stream.c: streams, events, clocks. */
int must_use plan_stream(struct plan_build *build);
/* plan_takeover.c: which outputs take over an input's memory. */
void plan_takeover(struct plan_build *build);
/* plan_memory.c: lifetimes and offsets. */
int must_use plan_memory(struct plan_build *build);

/* Guard bytes on both sides of every block of a checked plan. */
static inline int64_t plan_guard(const struct plan_build *build) { return build->options->checked ? 64 : 0; }

static inline const struct instance_value *plan_owner(const struct instance *instance, int32_t value) {
    const struct instance_value *v = &instance->values[value];
    return v->view_of < 0 ? v : &instance->values[v->view_of];
}
static inline int32_t plan_owner_index(const struct instance *instance, int32_t value) {
    return instance->values[value].view_of < 0 ? value : instance->values[value].view_of;
}
static inline bool plan_half(int32_t dtype) { return dtype == FLOW_F16 || dtype == FLOW_BF16; }
/* The block whose memory `block` lies in. */
static inline int32_t plan_root(const struct plan_build *build, int32_t block) {
    while (build->blocks[block].into != block) block = build->blocks[block].into;
    return block;
}

/* All tensors of a step, one after another: inputs, outputs, parameters, states in, states out, outputs that backward reads and their
 * gradients, what was prepared, what is added, what is saved. */
static inline uint32_t plan_step_tensor_count(const struct plan_step *step) {
    return step->in_count + step->out_count + step->param_count + 2 * step->state_count + 2 * step->read_count + 3;
}
static inline struct plan_tensor *plan_step_tensor(struct plan_step *step, uint32_t i, bool *written) {
    *written = false;
    if (i < step->in_count) return &step->in[i];
    if ((i -= step->in_count) < step->out_count) return *written = true, &step->out[i];
    if ((i -= step->out_count) < step->param_count) return &step->param[i];
    if ((i -= step->param_count) < step->state_count) return &step->state_in[i];
    if ((i -= step->state_count) < step->state_count) return *written = true, &step->state_out[i];
    if ((i -= step->state_count) < step->read_count) return &step->read[i];
    if ((i -= step->read_count) < step->read_count) return &step->grad_out[i];
    if ((i -= step->read_count) == 0) return &step->prepared;
    if (i == 1) return &step->residual;
    *written = step->kind == PLAN_KERNEL || step->kind == PLAN_LOOP;
    return &step->saved;
}
/* The copy that keeps a value for the next run. */
static inline bool plan_keeps_feed(const struct plan_build *build, const struct plan_step *step) {
    return step->kind == PLAN_COPY && build->blocks[step->out[0].index].place == PLACE_FEED;
}

int must_use plan_new_body(const struct allocator *from, const struct instance *instance, const struct plan_options *options,
                           struct report *report, bool body, struct plan **out);

#endif
