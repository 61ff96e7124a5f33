/* SPDX-License-Identifier: Apache-2.0 */
/* The steps in order: first what is computed once, then the nodes of each run with the copies and conversions they need, at the end what
 * is kept for the next run. */
#include "plan/build.h"

#include <string.h>

bool plan_bytes(const struct flow_tensor *type, int64_t *bytes) {
    *bytes = dtype_bytes(type->dtype);
    bool empty = false, fits = true;
    for (int32_t a = 0; a < type->rank; a++) {
        if (type->shape[a] < 0) return false;
        if (type->shape[a] == 0) empty = true;
        else fits = size_multiply(*bytes, type->shape[a], bytes) && fits;
    }
    if (empty) *bytes = 0;
    /* Half of the range is left for rounding up and for sums. */
    return empty || (fits && *bytes <= INT64_MAX / 4);
}

bool plan_contiguous(const struct flow_tensor *type) {
    int64_t stride = 1;
    for (int32_t a = 0; a < type->rank; a++)
        if (type->shape[a] == 0) return true;
    for (int32_t a = type->rank - 1; a >= 0; a--) {
        if (type->shape[a] == 1) continue;
        if (type->strides[a] != stride) return false;
        if (!size_multiply(stride, type->shape[a], &stride)) return false;
    }
    return true;
}

struct flow_tensor plan_packed_type(const struct flow_tensor *type) {
    struct flow_tensor packed = *type;
    packed.data = NULL;
    int64_t stride = 1;
    for (int32_t a = type->rank - 1; a >= 0; a--) {
        packed.strides[a] = stride;
        int64_t extent = type->shape[a] > 0 ? type->shape[a] : 1;
        if (!size_multiply(stride, extent, &stride)) stride = INT64_MAX; /* such a size has been refused by plan_bytes */
    }
    return packed;
}

static int too_large(struct plan_build *build, int32_t value) {
    return report_add(build->report, FLOW_ERROR_RANGE, (struct position){build->instance->network->path, 0, 0},
                      "'%s' is larger than memory can be addressed", value < 0 ? "a temporary" : build->instance->values[value].name);
}

int plan_block_new(struct plan_build *build, enum plan_place place, int32_t index, int64_t bytes, int32_t value, int32_t *out) {
    if (build->block_count >= INT32_MAX / 2 ||
        memory_grow(build->from, (void **)&build->blocks, &build->block_capacity, build->block_count + 1, sizeof *build->blocks) < 0)
        return report_memory(build->report);
    *out = (int32_t)build->block_count++;
    build->blocks[*out] =
        (struct plan_block){.place = place, .index = index, .value = value, .first = -1, .last = -1, .into = *out, .bytes = bytes};
    return 0;
}

struct plan_tensor *plan_tensors(struct plan_build *build, size_t count) {
    struct plan_tensor *tensors = arena_array(&build->plan->arena, count, sizeof *tensors);
    for (size_t i = 0; tensors && i < count; i++)
        tensors[i] = (struct plan_tensor){.place = PLACE_NONE, .index = -1, .value = -1, .type = {.rank = -1}};
    return tensors;
}

struct plan_step *plan_step_add(struct plan_build *build, enum plan_step_kind kind, int32_t node) {
    if (build->step_count >= INT32_MAX / 2 ||
        memory_grow(build->from, (void **)&build->steps, &build->step_capacity, build->step_count + 1, sizeof *build->steps) < 0)
        return NULL;
    struct plan_step *step = &build->steps[build->step_count++];
    *step = (struct plan_step){.kind = kind, .node = node, .workspace = -1, .packed = -1, .event = -1, .takes = -1};
    step->prepared.type.rank = -1, step->prepared.index = -1, step->prepared.value = -1;
    step->saved = step->residual = step->prepared;
    step->fused = -1;
    return step;
}

/* The block of an owner; those of inputs, parameters and feeds are made when first asked for. */
static int home(struct plan_build *build, int32_t owner, int32_t *block) {
    const struct instance_value *value = &build->instance->values[owner];
    *block = build->home[owner];
    if (*block >= 0) return 0;
    int64_t bytes;
    if (!plan_bytes(&value->type, &bytes)) return too_large(build, owner);
    enum plan_place place = value->kind == VALUE_INPUT ? PLACE_INPUT : value->kind == VALUE_PARAM ? PLACE_PARAM : PLACE_FEED;
    int32_t index = value->kind == VALUE_INPUT ? value->index : value->kind == VALUE_PARAM ? build->param[owner] : build->feed[owner];
    if (value->kind == VALUE_GRAD) index = build->claim[owner], place = index >= 0 ? PLACE_OUTPUT : PLACE_ARENA;
    if (value->kind == VALUE_NODE)
        return report_add(build->report, FLOW_ERROR_INTERNAL, (struct position){0}, "'%s' is read before it is computed", value->name);
    int code = plan_block_new(build, place, index, bytes, owner, block);
    build->home[owner] = *block;
    return code;
}

int plan_locate(struct plan_build *build, int32_t value, struct plan_tensor *out) {
    const struct instance_value *v = &build->instance->values[value];
    int32_t block;
    int code = home(build, plan_owner_index(build->instance, value), &block);
    if (code < 0) return code;
    *out = (struct plan_tensor){.place = PLACE_ARENA, .index = block, .value = value, .type = v->type};
    out->type.data = NULL;
    if (v->view_of >= 0 && !size_multiply(v->view_offset, dtype_bytes(v->type.dtype), &out->offset)) return too_large(build, value);
    return 0;
}

static int temporary(struct plan_build *build, const struct flow_tensor *type, int32_t dtype, struct plan_tensor *out) {
    *out = (struct plan_tensor){.place = PLACE_ARENA, .value = -1, .type = plan_packed_type(type)};
    out->type.dtype = dtype;
    int64_t bytes;
    if (!plan_bytes(&out->type, &bytes)) return too_large(build, -1);
    return plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &out->index);
}

static int add_move(struct plan_build *build, enum plan_step_kind kind, int32_t node, const struct plan_tensor *from,
                    const struct plan_tensor *to) {
    struct plan_tensor *pair = plan_tensors(build, 2);
    struct plan_step *step = pair ? plan_step_add(build, kind, node) : NULL;
    if (!step) return report_memory(build->report);
    pair[0] = *from, pair[1] = *to;
    step->in = pair, step->out = pair + 1, step->in_count = step->out_count = 1;
    return 0;
}

/* The value in another form, made once and shared by all that need it: `cache` holds its block. */
static int converted(struct plan_build *build, enum plan_step_kind kind, int32_t value, int32_t node, int32_t dtype, int32_t *cache,
                     struct plan_tensor *out) {
    struct plan_tensor from;
    int code = plan_locate(build, value, &from);
    if (code < 0) return code;
    if (cache[value] >= 0) {
        *out = (struct plan_tensor){.place = PLACE_ARENA, .index = cache[value], .value = value, .type = plan_packed_type(&from.type)};
        out->type.dtype = dtype;
        return 0;
    }
    code = temporary(build, &from.type, dtype, out);
    if (code < 0) return code;
    cache[value] = out->index, out->value = value;
    const struct instance_value *v = &build->instance->values[value];
    if (kind == PLAN_WIDEN && v->kind == VALUE_PARAM && !plan_changing(build)) {
        struct plan_block *block = &build->blocks[out->index];
        block->place = PLACE_WIDE, block->index = build->param[value];
        return 0;
    }
    return add_move(build, kind, node, &from, out);
}

int plan_dense(struct plan_build *build, int32_t value, int32_t node, struct plan_tensor *out) {
    if (plan_contiguous(&build->instance->values[value].type)) return plan_locate(build, value, out);
    return converted(build, PLAN_COPY, value, node, build->instance->values[value].type.dtype, build->dense, out);
}

/* What the kernel of `node` reads for `value`: as it lies, or widened, or made contiguous. */
int plan_operand(struct plan_build *build, int32_t value, int32_t node, bool strided, struct plan_tensor *out) {
    if (value < 0 || build->instance->values[value].type.rank < 0) return 0;
    int32_t dtype = build->instance->values[value].type.dtype;
    if (build->wide[node] && plan_half(dtype)) return converted(build, PLAN_WIDEN, value, node, FLOW_F32, build->wider, out);
    return strided ? plan_locate(build, value, out) : plan_dense(build, value, node, out);
}

static bool port_strided(const struct instance_node *node, uint32_t i) {
    const struct flow_ports *ports = &node->entry->op->inputs;
    if (!ports->count) return false;
    return ports->at[i < ports->count ? i : ports->count - 1].flags & FLOW_STRIDED;
}

static bool constant_owner(const struct plan_build *build, int32_t value) {
    const struct instance_value *owner = plan_owner(build->instance, value);
    return owner->kind == VALUE_PARAM || (owner->kind == VALUE_NODE && build->constant[owner->node]);
}

/* Brings constant operands into the form that nodes of each run need, while the steps computed once are written. */
static int convert_constants(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    if (plan_changing(build)) return 0;
    struct plan_tensor unused;
    int code = 0;
    for (uint32_t i = 0; i < node->in_count && code == 0; i++) {
        if (node->in[i] < 0 || !constant_owner(build, node->in[i])) continue;
        if (node->source->kind == NETWORK_OPERATOR) code = plan_operand(build, node->in[i], n, port_strided(node, i), &unused);
        else code = plan_dense(build, node->in[i], n, &unused);
    }
    for (uint32_t i = 0; i < node->param_count && code == 0; i++)
        if (node->param[i] >= 0 && constant_owner(build, node->param[i])) code = plan_operand(build, node->param[i], n, false, &unused);
    return code;
}

int plan_produce(struct plan_build *build, const struct instance_node *node, struct plan_tensor *out) {
    for (uint32_t k = 0; k < node->out_count; k++) {
        int32_t v = node->out[k];
        if (v < 0 || build->instance->values[v].type.rank < 0) continue;
        const struct instance_value *value = &build->instance->values[v];
        if (value->view_of < 0) {
            int64_t bytes;
            if (!plan_bytes(&value->type, &bytes)) return too_large(build, v);
            enum plan_place place = build->claim[v] >= 0 ? PLACE_OUTPUT : PLACE_ARENA;
            int code = plan_block_new(build, place, build->claim[v], bytes, v, &build->home[v]);
            if (code < 0) return code;
        }
        int code = plan_locate(build, v, &out[k]);
        if (code < 0) return code;
    }
    return 0;
}

/* Replaces half outputs by f32 temporaries; the narrowing steps follow the kernel's. `narrow` receives where they go. */
static int widen_outputs(struct plan_build *build, struct plan_tensor *out, uint32_t count, struct plan_tensor *narrow) {
    for (uint32_t k = 0; k < count; k++) {
        if (out[k].type.rank < 0 || !plan_half(out[k].type.dtype)) continue;
        narrow[k] = out[k];
        int code = temporary(build, &narrow[k].type, FLOW_F32, &out[k]);
        if (code < 0) return code;
    }
    return 0;
}

/* The states of a streaming node. Where its kernel works in f32, 16-bit states are kept as f32: nobody else reads them. */
static int add_states(struct plan_build *build, int32_t n, struct plan_tensor *in, struct plan_tensor *out) {
    const struct instance_node *node = &build->instance->nodes[n];
    for (int32_t s = 0; s < node->state_count; s++) {
        const struct instance_state *state = &build->instance->states[node->state + s];
        if (state->in.rank < 0) continue;
        const struct flow_tensor *types[2] = {&state->in, &state->out};
        struct plan_tensor *ends[2] = {&in[s], &out[s]};
        for (int e = 0; e < 2; e++) {
            int64_t bytes;
            *ends[e] = (struct plan_tensor){.place = PLACE_ARENA, .value = -1, .type = plan_packed_type(types[e])};
            if (build->wide[n] && plan_half(types[e]->dtype)) ends[e]->type.dtype = FLOW_F32;
            if (!plan_bytes(&ends[e]->type, &bytes)) return too_large(build, -1);
            int code = plan_block_new(build, e ? PLACE_STATE_OUT : PLACE_STATE_IN, node->state + s, bytes, -1, &ends[e]->index);
            if (code < 0) return code;
        }
    }
    return 0;
}

static int add_narrow(struct plan_build *build, int32_t n, const struct plan_tensor *from, const struct plan_tensor *to, uint32_t count) {
    int code = 0;
    for (uint32_t k = 0; k < count && code == 0; k++)
        if (to[k].type.rank >= 0) code = add_move(build, PLAN_NARROW, n, &from[k], &to[k]);
    return code;
}

/* Room for prepared bytes: shared through the model where all parameters are stored; computed once where they are constant; else filled
 * before each run of the kernel. */
static int add_prepare(struct plan_build *build, int32_t n, const struct plan_tensor *param, uint32_t rows, int32_t *packed,
                       struct plan_tensor *prepared) {
    const struct instance_node *node = &build->instance->nodes[n];
    if (node->infer.packed <= 0 || !node->entry->op->prepare || node->hosted) return 0; /* hosted: exec/hosted.c packs for itself */
    bool stored = !plan_changing(build);
    for (uint32_t i = 0; i < node->param_count && stored; i++)
        stored = node->param[i] < 0 || plan_owner(build->instance, node->param[i])->kind == VALUE_PARAM;
    if (stored) {
        if (memory_grow(build->from, (void **)&build->packed, &build->packed_capacity, build->packed_count + 1, sizeof *build->packed) < 0)
            return report_memory(build->report);
        *packed = (int32_t)build->packed_count++;
        build->packed[*packed] = (struct plan_packed){node->infer.packed_key, node->infer.packed, -1};
        return 0;
    }
    *prepared = (struct plan_tensor){.place = PLACE_ARENA, .value = -1, .type = {.dtype = FLOW_U8, .rank = 1}};
    prepared->type.shape[0] = node->infer.packed, prepared->type.strides[0] = 1;
    int64_t bytes;
    if (!plan_bytes(&prepared->type, &bytes)) return too_large(build, -1);
    int code = plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &prepared->index);
    if (code < 0) return code;
    struct plan_tensor *out = plan_tensors(build, 1);
    struct plan_tensor *same = arena_copy(&build->plan->arena, param, rows * sizeof *param);
    struct plan_step *step = out && same ? plan_step_add(build, PLAN_PREPARE, n) : NULL;
    if (!step) return report_memory(build->report);
    *out = *prepared;
    step->param = same, step->param_count = node->param_count, step->out = out, step->out_count = 1;
    return 0;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

int plan_workspace(struct plan_build *build, struct plan_step *step, int64_t bytes) {
    if (bytes <= 0) return 0;
    if (bytes > INT64_MAX / 4) return too_large(build, -1);
    step->workspace_bytes = bytes;
    if (step->node >= 0 && build->instance->nodes[step->node].hosted) return 0; /* memory of the host */
    int32_t block;
    int code = plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &block);
    step->workspace = block;
    return code;
}

/* Tensor lists are as long as the operator's tables, whatever is connected: rows without a tensor have rank -1. */
static int add_kernel(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct flow_operator *op = node->entry->op;
    uint32_t states = (uint32_t)node->state_count;
    const struct plan_fusion *fusion = &build->fusion[n];
    if (fusion->done) return 0;
    struct plan_tensor *in = plan_tensors(build, larger(node->in_count, op->inputs.count));
    struct plan_tensor *out = plan_tensors(build, larger(node->out_count, op->outputs.count));
    struct plan_tensor *param = plan_tensors(build, larger(node->param_count, op->params.count));
    struct plan_tensor *state_in = plan_tensors(build, larger(states, op->states.count));
    struct plan_tensor *state_out = plan_tensors(build, larger(states, op->states.count));
    struct plan_tensor *narrow = plan_tensors(build, node->out_count);
    if (!in || !out || !param || !state_in || !state_out || !narrow) return report_memory(build->report);
    int code = 0;
    for (uint32_t i = 0; i < node->in_count && code == 0; i++) code = plan_operand(build, node->in[i], n, port_strided(node, i), &in[i]);
    for (uint32_t i = 0; i < node->param_count && code == 0; i++) code = plan_operand(build, node->param[i], n, false, &param[i]);
    int32_t packed = -1;
    struct plan_tensor prepared = {.index = -1, .value = -1, .type = {.rank = -1}};
    if (code == 0) code = add_prepare(build, n, param, larger(node->param_count, op->params.count), &packed, &prepared);
    if (code == 0) code = plan_produce(build, fusion->last < 0 ? node : &build->instance->nodes[fusion->last], out);
    struct plan_tensor residual =
        prepared.place == PLACE_NONE ? prepared : (struct plan_tensor){.index = -1, .value = -1, .type = {.rank = -1}};
    if (code == 0 && fusion->residual >= 0) code = plan_operand(build, fusion->residual, n, false, &residual);
    if (code == 0 && build->wide[n]) code = widen_outputs(build, out, node->out_count, narrow);
    if (code == 0) code = add_states(build, n, state_in, state_out);
    struct plan_tensor saved = {.index = -1, .value = -1, .type = {.rank = -1}};
    if (code == 0 && build->differentiated[n]) code = plan_saved(build, n, node->infer.saved, &saved);
    if (code < 0) return code;
    struct plan_step *step = plan_step_add(build, PLAN_KERNEL, n);
    if (!step) return report_memory(build->report);
    step->saved = saved;
    step->residual = residual, step->activation = fusion->activation, step->fused = fusion->last;
    step->kernel = build->kernels[n], step->packed = packed, step->prepared = prepared;
    step->in = in, step->out = out, step->param = param, step->state_in = state_in, step->state_out = state_out;
    step->in_count = node->in_count, step->out_count = node->out_count, step->param_count = node->param_count, step->state_count = states;
    if (packed >= 0) build->packed[packed].step = (int32_t)build->step_count - 1;
    code = plan_workspace(build, step, node->infer.workspace);
    return code == 0 ? add_narrow(build, n, out, narrow, node->out_count) : code;
}

/* {op: parameters}: its parameters, in order of name, as one vector. */
int plan_gather(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    uint32_t count = node->in_count + node->param_count;
    struct plan_tensor *in = plan_tensors(build, count), *out = plan_tensors(build, node->out_count);
    if (!in || !out) return report_memory(build->report);
    int code = 0;
    for (uint32_t i = 0; i < count && code == 0; i++) {
        int32_t value = i < node->in_count ? node->in[i] : node->param[i - node->in_count];
        if (value >= 0) code = plan_dense(build, value, n, &in[i]);
    }
    if (code == 0) code = plan_produce(build, node, out);
    if (code < 0) return code;
    struct plan_step *step = plan_step_add(build, PLAN_GATHER, n);
    if (!step) return report_memory(build->report);
    step->in = in, step->out = out, step->in_count = count, step->out_count = node->out_count;
    return 0;
}

static int add_node(struct plan_build *build, int32_t n) {
    if (build->instance->nodes[n].role > NODE_AGAIN) return plan_grad_step(build, n);
    switch (build->instance->nodes[n].source->kind) {
    case NETWORK_LOOP: return plan_loop_step(build, n);
    case NETWORK_PARAMETERS: return plan_gather(build, n);
    default: return add_kernel(build, n);
    }
}

/* ---- Outputs and feeds ---- */

/* A value that a kernel of each run computes is computed in the output's own buffer; so is the owner of a view that is all of it. */
static void claim_outputs(struct plan_build *build) {
    const struct instance *instance = build->instance;
    for (size_t o = 0; o < instance->output_count; o++) {
        int32_t v = instance->outputs[o];
        if (v < 0) continue;
        int32_t owner = plan_owner_index(instance, v);
        const struct instance_value *value = &instance->values[v], *base = &instance->values[owner];
        int64_t bytes, base_bytes;
        bool whole = v == owner || (value->view_offset == 0 && plan_bytes(&value->type, &bytes) && plan_bytes(&base->type, &base_bytes) &&
                                    bytes == base_bytes && value->type.dtype == base->type.dtype);
        if ((base->kind != VALUE_NODE && base->kind != VALUE_GRAD) || !whole) continue;
        if (base->kind == VALUE_NODE && build->constant[base->node]) continue;
        if (build->claim[owner] < 0 && plan_contiguous(&value->type) && plan_contiguous(&base->type)) build->claim[owner] = (int32_t)o;
    }
}

static int output_tensor(struct plan_build *build, size_t o, struct plan_tensor *out) {
    const struct instance_value *value = &build->instance->values[build->instance->outputs[o]];
    *out = (struct plan_tensor){.place = PLACE_OUTPUT, .index = (int32_t)o, .value = build->instance->outputs[o]};
    out->type = plan_packed_type(&value->type);
    int64_t bytes;
    return plan_bytes(&value->type, &bytes) ? 0 : too_large(build, out->value);
}

/* Copies the outputs that node `n` gave (-1: those that are inputs, parameters, feeds or constant) and that are not computed in place. */
static int copy_outputs(struct plan_build *build, int32_t n, const int32_t *first, const int32_t *next) {
    const struct instance *instance = build->instance;
    for (int32_t o = first[n + 1]; o >= 0; o = next[o]) {
        int32_t v = instance->outputs[o];
        if (build->claim[plan_owner_index(instance, v)] == o) continue;
        struct plan_tensor from, to;
        int code = output_tensor(build, (size_t)o, &to);
        if (code == 0) code = plan_locate(build, v, &from);
        int64_t bytes;
        if (code == 0 && plan_bytes(&to.type, &bytes)) code = plan_block_new(build, PLACE_OUTPUT, o, bytes, v, &to.index);
        bool end = n == (int32_t)instance->node_count;
        if (code == 0) code = add_move(build, PLAN_COPY, end ? -1 : n, &from, &to);
        if (code < 0) return code;
    }
    return 0;
}

/* Outputs by the node after which they can be copied (node_count: at the end): lists, first[node + 1], in order of output. */
static int list_outputs(struct plan_build *build, int32_t **first, int32_t **next) {
    const struct instance *instance = build->instance;
    size_t count = instance->output_count;
    *first = arena_array(&build->scratch, instance->node_count + 2, sizeof **first);
    *next = arena_array(&build->scratch, count, sizeof **next);
    if (!*first || !*next) return report_memory(build->report);
    for (size_t n = 0; n <= instance->node_count + 1; n++) (*first)[n] = -1;
    for (size_t o = count; o-- > 0;) {
        if (instance->outputs[o] < 0) continue;
        const struct instance_value *base = plan_owner(instance, instance->outputs[o]);
        int32_t n = base->kind == VALUE_NODE && !build->constant[base->node] ? base->node : -1;
        if (base->kind == VALUE_GRAD) n = (int32_t)instance->node_count; /* whole when all has been added */
        (*next)[o] = (*first)[n + 1], (*first)[n + 1] = (int32_t)o;
    }
    return 0;
}

/* What the next run finds. A source that is itself a feed is set aside first: another copy may overwrite it. */
static int keep_feeds(struct plan_build *build) {
    const struct instance *instance = build->instance;
    struct plan_tensor *aside = plan_tensors(build, instance->value_count);
    if (!aside) return report_memory(build->report);
    int code = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t v = 0; v < instance->value_count && code == 0; v++) {
            const struct instance_value *value = &instance->values[v];
            if (value->kind != VALUE_FEED || build->feed[v] < 0) continue;
            struct plan_tensor from, to;
            bool again = plan_owner(instance, value->feed)->kind == VALUE_FEED;
            if ((code = plan_locate(build, value->feed, &from)) < 0 || (code = plan_locate(build, (int32_t)v, &to)) < 0) break;
            /* A feed that repeats itself stays as it is. */
            if (from.index == to.index && from.offset == 0 && plan_contiguous(&from.type)) continue;
            if (pass == 0 && again) {
                code = temporary(build, &from.type, from.type.dtype, &aside[v]);
                if (code == 0) code = add_move(build, PLAN_COPY, -1, &from, &aside[v]);
            } else if (pass == 1) code = add_move(build, PLAN_COPY, -1, again ? &aside[v] : &from, &to);
        }
    return code;
}

int plan_steps(struct plan_build *build) {
    const struct instance *instance = build->instance;
    int32_t *first, *next;
    int code = list_outputs(build, &first, &next);
    if (code < 0) return code;
    claim_outputs(build);
    for (size_t n = 0; n < instance->node_count && code == 0; n++)
        if (build->needed[n] && build->constant[n]) code = add_node(build, (int32_t)n);
    for (size_t n = 0; n < instance->node_count && code == 0; n++)
        if (build->needed[n] && !build->constant[n]) code = convert_constants(build, (int32_t)n);
    build->plan->once_count = build->step_count;
    if (code == 0) code = copy_outputs(build, -1, first, next);
    for (size_t n = 0; n < instance->node_count && code == 0; n++) {
        if (!build->needed[n] || build->constant[n]) continue;
        code = add_node(build, (int32_t)n);
        if (code == 0) code = copy_outputs(build, (int32_t)n, first, next);
    }
    if (code == 0) code = copy_outputs(build, (int32_t)instance->node_count, first, next);
    return code == 0 ? keep_feeds(build) : code;
}
