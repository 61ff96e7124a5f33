/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two operators that no graph names; the runtime puts them where they are
 * needed.
 *
 * align: y_i = the next m steps of x_i, m = min_j (held_j + extent of x_j).
 * Streams that reach a node over paths of unequal delay arrive in pieces of
 * unequal extent; what one is ahead of the others is held until they have
 * caught up. copy:  y = x, row-major. An operator that gives a view of a
 * row-major input, where the input is itself a view that is not.
 */
#include "graph/instance_build.h"

#include <string.h>

/* ---- align ---- */

static int64_t product(const struct flow_tensor *tensor, int32_t from, int32_t to) {
    int64_t count = 1;
    for (int32_t i = from; i < to; i++) count *= tensor->shape[i];
    return count;
}

static int align_infer(struct flow_infer *infer) {
    int64_t steps = INT64_MAX, most = 0;
    if (infer->in_count > ALIGN_MOST)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "%u streams of unequal delay meet in one node, at most %d can",
                                 infer->in_count, ALIGN_MOST);
    for (uint32_t i = 0; i < infer->in_count; i++) {
        int32_t axis = infer->in_axis[i];
        struct flow_tensor *held = &infer->state[i];
        int64_t total;
        if (infer->first) {
            *held = infer->in[i];
            held->shape[axis] = 0;
        }
        if (!size_add(held->shape[axis], infer->in[i].shape[axis], &total))
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "more steps are held than can be counted");
        if (total < steps) steps = total;
        if (total > most) most = total;
    }
    if (infer->flush && most != steps)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "streams end after unequal numbers of steps: one %lld ahead of another",
                                 (long long)(most - steps));
    for (uint32_t i = 0; i < infer->in_count; i++) {
        int32_t axis = infer->in_axis[i];
        infer->out[i] = infer->in[i];
        infer->out[i].shape[axis] = steps;
        infer->out_axis[i] = axis;
        infer->state_out[i] = infer->in[i];
        infer->state_out[i].shape[axis] = infer->state[i].shape[axis] + infer->in[i].shape[axis] - steps;
        infer->bytes += 2.0 * (double)product(&infer->in[i], 0, infer->in[i].rank) * (double)dtype_bytes(infer->in[i].dtype);
    }
    int32_t *axes = infer->priv;
    for (uint32_t i = 0; i < infer->in_count; i++) axes[i] = infer->in_axis[i];
    return 0;
}

/* dst[o, to .. to + steps) = src[o, from .. from + steps) for every o; rows of
 * `bytes`. */
static void move_steps(struct flow_tensor *dst, int64_t to, const struct flow_tensor *src, int64_t from, int64_t steps, int64_t outer,
                       int64_t bytes, int32_t axis) {
    if (steps <= 0 || bytes <= 0) return;
    for (int64_t o = 0; o < outer; o++)
        memcpy((char *)dst->data + (o * dst->shape[axis] + to) * bytes, (const char *)src->data + (o * src->shape[axis] + from) * bytes,
               (size_t)(steps * bytes));
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int align_forward(const struct flow_call *call) {
    const int32_t *axes = call->priv;
    for (uint32_t i = 0; i < call->in_count; i++) {
        const struct flow_tensor *in = &call->in[i], *held = &call->state_in[i];
        struct flow_tensor *out = &call->out[i], *rest = &call->state_out[i];
        int32_t axis = axes[i];
        int64_t outer = product(in, 0, axis), bytes = product(in, axis + 1, in->rank) * dtype_bytes(in->dtype);
        int64_t had = held->shape[axis], came = in->shape[axis], steps = out->shape[axis];
        int64_t old = smaller(had, steps), fresh = steps - old; /* rows of y from what was held, from what came */
        move_steps(out, 0, held, 0, old, outer, bytes, axis);
        move_steps(out, old, in, 0, fresh, outer, bytes, axis);
        move_steps(rest, 0, held, old, had - old, outer, bytes, axis);
        move_steps(rest, had - old, in, fresh, came - fresh, outer, bytes, axis);
    }
    return FLOW_OK;
}

static const struct flow_port align_in[] = {{"x", "streams", NULL, FLOW_TYPES_ANY, FLOW_VARIADIC | FLOW_OWN_TYPE}};
static const struct flow_port align_out[] = {{"y", "the same, in step", NULL, FLOW_TYPES_ANY, FLOW_VARIADIC}};
#define HELD(number) \
    { "held" #number, "what input " #number " is ahead", NULL, "zeros", FLOW_TYPES_ANY, 0, 0, 0 }
static const struct flow_state align_states[ALIGN_MOST] = {HELD(0), HELD(1), HELD(2),  HELD(3),  HELD(4),  HELD(5),  HELD(6),  HELD(7),
                                                           HELD(8), HELD(9), HELD(10), HELD(11), HELD(12), HELD(13), HELD(14), HELD(15)};
#undef HELD
static const struct flow_kernel align_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = align_forward}};

static const struct flow_operator align_operator = {
    .size = sizeof(struct flow_operator),
    .name = "align",
    .summary = "lets streams of unequal delay go in step; put in by the runtime",
    .equation = "y_i = the next m steps of x_i, m = min_j (held_j + steps of x_j)",
    .reference = "streaming of graphs with branches of unequal delay",
    .inputs = FLOW_TABLE(align_in),
    .outputs = FLOW_TABLE(align_out),
    .states = FLOW_TABLE(align_states),
    .kernels = FLOW_TABLE(align_kernels),
    .priv_size = ALIGN_MOST * sizeof(int32_t),
    .infer = align_infer,
};

const struct registry_entry align_entry = {.op = &align_operator, .plugin = "flow", .kernels = align_kernels, .kernel_count = 1};

/* ---- copy ---- */

static int copy_infer(struct flow_infer *infer) {
    infer->out[0] = infer->in[0];
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0];
    infer->backward_passes_in = 1;
    infer->bytes = 2.0 * (double)product(&infer->in[0], 0, infer->in[0].rank) * (double)dtype_bytes(infer->in[0].dtype);
    return 0;
}

static void copy_row(char *dst, const char *src, int64_t count, int64_t stride, int64_t bytes) {
    if (stride == 1) {
        memcpy(dst, src, (size_t)(count * bytes));
        return;
    }
    switch (bytes) {
    case 8:
        for (int64_t i = 0; i < count; i++) memcpy(dst + i * 8, src + i * stride * 8, 8);
        break;
    case 4:
        for (int64_t i = 0; i < count; i++) memcpy(dst + i * 4, src + i * stride * 4, 4);
        break;
    case 2:
        for (int64_t i = 0; i < count; i++) memcpy(dst + i * 2, src + i * stride * 2, 2);
        break;
    default:
        for (int64_t i = 0; i < count; i++) dst[i] = src[i * stride];
        break;
    }
}

static int copy_forward(const struct flow_call *call) {
    const struct flow_tensor *in = &call->in[0];
    const int64_t bytes = dtype_bytes(in->dtype);
    char *dst = call->out[0].data;
    int64_t at[FLOW_RANK_MAX] = {0};
    int32_t last = in->rank - 1;
    if (product(in, 0, in->rank) == 0) return FLOW_OK;
    if (in->rank == 0) {
        memcpy(dst, in->data, (size_t)bytes);
        return FLOW_OK;
    }
    for (;;) {
        int64_t offset = 0;
        for (int32_t i = 0; i < last; i++) offset += at[i] * in->strides[i];
        copy_row(dst, (const char *)in->data + offset * bytes, in->shape[last], in->strides[last], bytes);
        dst += in->shape[last] * bytes;
        int32_t axis = last - 1;
        while (axis >= 0 && ++at[axis] == in->shape[axis]) at[axis--] = 0;
        if (axis < 0) return FLOW_OK;
    }
}

static const struct flow_port copy_in[] = {{"x", "any strides", NULL, FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port copy_out[] = {{"y", "row-major", NULL, FLOW_TYPES_ANY, 0}};
static const struct flow_kernel copy_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = copy_forward}};

static const struct flow_operator copy_operator = {
    .size = sizeof(struct flow_operator),
    .name = "copy",
    .summary = "makes a view row-major; put in by the runtime",
    .equation = "y = x",
    .reference = "views",
    .inputs = FLOW_TABLE(copy_in),
    .outputs = FLOW_TABLE(copy_out),
    .kernels = FLOW_TABLE(copy_kernels),
    .infer = copy_infer,
};

const struct registry_entry copy_entry = {.op = &copy_operator, .plugin = "flow", .kernels = copy_kernels, .kernel_count = 1};
