/* SPDX-License-Identifier: Apache-2.0 */
/* Checked contexts: every piece of memory has guard bytes on both sides, which are looked at after each step, and starts as rubbish when it
 * comes to life, so that a kernel that writes beyond its tensors, or reads what nothing wrote, is found at the step that does it. With
 * several streams only the memory of the step itself is looked at: the others' is in motion. */
#include "exec/checked.h"

#include <stdio.h>
#include <string.h>

/* A guard's bytes are made of their own address and none is 0: what is copied from one guard over another shows, and so do zeros. */
static unsigned char guard_byte(const unsigned char *at) {
    return (unsigned char)((uint64_t)(uintptr_t)at * 0x9e3779b97f4a7c15u >> 56 | 1);
}

static void guard_bytes(unsigned char *at, int64_t count) {
    for (int64_t i = 0; i < count; i++) at[i] = guard_byte(at + i);
}

static bool guarded(const struct plan *plan, size_t b) {
    const struct plan_block *block = &plan->blocks[b];
    return block->place == PLACE_ARENA && block->into == (int32_t)b && block->first >= 0;
}

static unsigned char *block_at(const struct binding *binding, const struct plan_block *block) {
    char *base = block->lasting ? binding->once : NULL;
    for (size_t g = 0; !block->lasting && g < binding->group_count; g++)
        if (binding->groups[g].place == PLACE_ARENA) base = binding->groups[g].base;
    return base ? (unsigned char *)base + block->offset : NULL;
}

/* The block's room is a multiple of the alignment; what lies between its end and that belongs to the guard. */
static int64_t tail(const struct plan_block *block) { return size_align(block->bytes, 64) - block->bytes + CHECKED_GUARD; }

static int32_t root_of(const struct plan *plan, int32_t b) {
    while (plan->blocks[b].into != b) b = plan->blocks[b].into;
    return b;
}

/* ---- Guards ---- */

/* What was changed beside a piece of memory: the farthest byte in front of it and behind it, counted from its edge. */
struct damage {
    int64_t before, behind;
};

static bool damaged(const unsigned char *at, int64_t bytes, int64_t behind, struct damage *damage) {
    *damage = (struct damage){0};
    for (int64_t i = 1; i <= CHECKED_GUARD; i++)
        if (at[-i] != guard_byte(at - i)) damage->before = i;
    for (int64_t i = 0; i < behind; i++)
        if (at[bytes + i] != guard_byte(at + bytes + i)) damage->behind = i + 1;
    return damage->before || damage->behind;
}

static void guard(struct buffer *buffer, int64_t used) {
    unsigned char *at = buffer->data;
    if (!at || used > buffer->bytes) return;
    guard_bytes(at - CHECKED_GUARD, CHECKED_GUARD);
    guard_bytes(at + used, buffer->bytes - used + CHECKED_GUARD);
}

void checked_buffer(struct buffer *buffer) {
    memset(buffer->data, CHECKED_POISON, (size_t)buffer->bytes);
    guard(buffer, buffer->bytes);
}

/* Two damaged neighbours: the step's own buffer is the one that was written past. */
static int say(struct record *record, const char *name, int64_t bytes, const struct damage *damage) {
    if (damage->behind)
        return context_fail(record, FLOW_ERROR_PLUGIN, "it wrote behind the end of %s (%lld bytes): up to byte %lld", name,
                            (long long)bytes, (long long)(bytes + damage->behind - 1));
    return context_fail(record, FLOW_ERROR_PLUGIN, "it wrote in front of the start of %s (%lld bytes): from byte -%lld on", name,
                        (long long)bytes, (long long)damage->before);
}

/* ---- Blocks of the arena ---- */

static bool touches(const struct plan_tensor *tensors, uint32_t count, const struct plan *plan, int32_t b, uint32_t *which) {
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].place != PLACE_ARENA && tensors[i].place != PLACE_ONCE) continue;
        *which = i;
        if (root_of(plan, tensors[i].index) == b) return true;
    }
    return false;
}

/* What the step calls the block; false: it is none of the step's. */
static bool name_block(const struct record *record, int32_t b, char *name, size_t size) {
    const struct plan *plan = record->binding->plan;
    const struct plan_step *step = record->step;
    const struct plan_block *block = &plan->blocks[b];
    uint32_t i;
    if (touches(step->out, step->out_count, plan, b, &i)) checked_name(record, CHECKED_OUT, i, name, size);
    else if (touches(step->in, step->in_count, plan, b, &i)) checked_name(record, CHECKED_IN, i, name, size);
    else if (touches(step->param, step->param_count, plan, b, &i)) checked_name(record, CHECKED_PARAM, i, name, size);
    else if (touches(&step->saved, 1, plan, b, &i)) snprintf(name, size, "what it saves for backward");
    else if (touches(&step->prepared, 1, plan, b, &i)) snprintf(name, size, "what was prepared");
    else if (step->workspace >= 0 && !block->lasting && block->offset == step->workspace) snprintf(name, size, "its workspace");
    else if (touches(step->read, step->read_count, plan, b, &i) || touches(step->grad_out, step->read_count, plan, b, &i))
        checked_name(record, CHECKED_READ, i, name, size);
    else {
        snprintf(name, size, "%s%s%s", block->value >= 0 ? "the value '" : "a temporary of another step",
                 block->value >= 0 ? plan->instance->values[block->value].name : "", block->value >= 0 ? "'" : "");
        return false;
    }
    return true;
}

static bool looked_at(const struct binding *binding, const struct record *record, int32_t b) {
    const struct plan_block *block = &binding->plan->blocks[b];
    int32_t s = (int32_t)(record - binding->records);
    char name[128];
    if (!guarded(binding->plan, (size_t)b) || block->first > s || (block->last < s && !block->lasting)) return false;
    return !binding->segment_count || (!block->lasting && block->first == s && block->last == s) ||
           name_block(record, b, name, sizeof name);
}

/* Blocks that come to life with this step. */
static void blocks_before(struct binding *binding, const struct record *record) {
    int32_t s = (int32_t)(record - binding->records);
    for (size_t b = 0; b < binding->plan->block_count; b++) {
        const struct plan_block *block = &binding->plan->blocks[b];
        unsigned char *at = block->first == s && guarded(binding->plan, b) ? block_at(binding, block) : NULL;
        if (!at) continue;
        guard_bytes(at - CHECKED_GUARD, CHECKED_GUARD);
        memset(at, checked_poison(record), (size_t)block->bytes);
        guard_bytes(at + block->bytes, tail(block));
    }
}

static int blocks_after(struct binding *binding, struct record *record) {
    const struct plan *plan = binding->plan;
    struct damage damage, first = {0};
    char name[128], told[128];
    int64_t bytes = -1;
    for (size_t b = 0; b < plan->block_count; b++) {
        const struct plan_block *block = &plan->blocks[b];
        const unsigned char *at = looked_at(binding, record, (int32_t)b) ? block_at(binding, block) : NULL;
        if (!at || !damaged(at, block->bytes, tail(block), &damage)) continue;
        bool own = name_block(record, (int32_t)b, name, sizeof name);
        if (own) return say(record, name, block->bytes, &damage);
        if (bytes < 0) first = damage, bytes = block->bytes, memcpy(told, name, sizeof told);
    }
    return bytes < 0 ? 0 : say(record, told, bytes, &first);
}

/* ---- Buffers of the context ---- */

static int check_buffer(struct record *record, const struct buffer *buffer, int64_t used, enum checked_list list, size_t index,
                        const char *other) {
    struct damage damage;
    char name[128];
    const unsigned char *at = buffer->data;
    if (!at || used > buffer->bytes || !damaged(at, used, buffer->bytes - used + CHECKED_GUARD, &damage)) return 0;
    if (!other || !checked_find(record, list, at, name, sizeof name)) snprintf(name, sizeof name, "%s %zu", other, index);
    return say(record, name, used, &damage);
}

/* Bytes of the buffer that the plan uses. */
static int64_t output_bytes(const struct plan *plan, size_t o) {
    int64_t bytes;
    return plan->outputs[o].place != PLACE_NONE && plan_bytes(&plan->outputs[o].type, &bytes) ? bytes : 0;
}

static int64_t input_bytes(const struct plan *plan, size_t i) {
    int64_t bytes;
    return plan_bytes(&plan->instance->values[plan->instance->inputs[i]].type, &bytes) ? bytes : 0;
}

void checked_run(struct binding *binding) {
    struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    context->guarded = true;
    for (size_t o = 0; o < instance->output_count; o++) guard(&context->outputs[o], output_bytes(binding->plan, o));
    for (size_t i = 0; i < instance->input_count; i++) guard(&context->stages[i], input_bytes(binding->plan, i));
}

static int buffers_after(const struct binding *binding, struct record *record) {
    const struct context *context = binding->context;
    const struct plan *plan = context->current ? context->current->plan : NULL;
    int code = 0;
    if (!context->guarded) return 0; /* what is computed once writes none of them */
    for (size_t o = 0; o < plan->instance->output_count && code == 0; o++)
        code = check_buffer(record, &context->outputs[o], output_bytes(plan, o), CHECKED_OUT, o, "the graph's output");
    for (size_t i = 0; i < plan->instance->input_count && code == 0; i++)
        code = check_buffer(record, &context->stages[i], input_bytes(plan, i), CHECKED_IN, i, "the graph's input");
    for (size_t f = 0; f < context->feed_count && code == 0; f++)
        code = check_buffer(record, &context->feeds[f].buffer, context->feeds[f].buffer.bytes, CHECKED_OUT, f, "the kept value");
    for (size_t s = 0; s < context->state_count && code == 0; s++)
        for (int i = 0; i < 2 && code == 0; i++) {
            const struct buffer *buffer = &context->states[s].buffers[i];
            code = check_buffer(record, buffer, buffer->bytes, CHECKED_STATE, s, "the state");
        }
    return code;
}

/* ---- Round one call ---- */

static int run_checked(const struct flow_call *call) {
    struct record *record = call->owner;
    blocks_before(record->binding, record);
    checked_tensors_before(record);
    int code = record->kernel(call);
    if (code == 0) code = blocks_after(record->binding, record);
    if (code == 0) code = buffers_after(record->binding, record);
    return code < 0 ? code : checked_tensors_after(record);
}

int checked_bind(struct binding *binding, struct record *record) {
    record->checked = checked_new(&binding->arena, record);
    record->kernel = record->run, record->run = run_checked;
    return record->checked ? 0 : FLOW_ERROR_MEMORY;
}
