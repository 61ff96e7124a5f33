/* SPDX-License-Identifier: Apache-2.0 */
/* The checked build (FLOW_CHECKED): every piece of memory has guard bytes on both sides, which are looked at after each step, and starts
 * as 0xFF (NaN, -1) when it comes to life, so that a kernel that writes beyond its tensors, or reads what nothing wrote, is found at the
 * step that does it. With several streams only the memory of the step itself is looked at: the others' is in motion. */
#include "exec/context.h"

#ifdef FLOW_CHECKED

#include <string.h>

enum { GUARD_BYTE = 0xA5, POISON_BYTE = 0xFF };

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
static size_t tail(const struct plan_block *block) { return (size_t)(size_align(block->bytes, 64) - block->bytes) + CHECKED_GUARD; }

static bool whole(const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != GUARD_BYTE) return false;
    return true;
}

void checked_before(struct binding *binding, const struct record *record) {
    int32_t s = (int32_t)(record - binding->records);
    for (size_t b = 0; b < binding->plan->block_count; b++) {
        const struct plan_block *block = &binding->plan->blocks[b];
        unsigned char *at = block->first == s && guarded(binding->plan, b) ? block_at(binding, block) : NULL;
        if (!at) continue;
        memset(at - CHECKED_GUARD, GUARD_BYTE, CHECKED_GUARD);
        memset(at, POISON_BYTE, (size_t)block->bytes);
        memset(at + block->bytes, GUARD_BYTE, tail(block));
    }
}

static bool touches(const struct plan_tensor *tensors, uint32_t count, const struct plan *plan, size_t b) {
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].place != PLACE_ARENA && tensors[i].place != PLACE_ONCE) continue;
        int32_t root = tensors[i].index;
        while (plan->blocks[root].into != root) root = plan->blocks[root].into;
        if (root == (int32_t)b) return true;
    }
    return false;
}

static bool looked_at(const struct binding *binding, const struct record *record, size_t b) {
    const struct plan_block *block = &binding->plan->blocks[b];
    const struct plan_step *step = record->step;
    int32_t s = (int32_t)(record - binding->records);
    if (!guarded(binding->plan, b) || block->first > s || (block->last < s && !block->lasting)) return false;
    if (!binding->segment_count) return true;
    return touches(step->in, step->in_count, binding->plan, b) || touches(step->out, step->out_count, binding->plan, b) ||
           (block->first == s && block->last == s);
}

static int damaged(struct record *record, const char *what, long long bytes) {
    return context_fail(record, FLOW_ERROR_INTERNAL, "a step wrote outside its memory, beside %s of %lld bytes", what, bytes);
}

static int check_buffer(struct record *record, const struct buffer *buffer, const char *what) {
    const unsigned char *at = buffer->data;
    if (!at || (whole(at - CHECKED_GUARD, CHECKED_GUARD) && whole(at + buffer->bytes, CHECKED_GUARD))) return 0;
    return damaged(record, what, (long long)buffer->bytes);
}

int checked_after(struct binding *binding, struct record *record) {
    const struct context *context = binding->context;
    const struct plan *plan = binding->plan;
    int code = 0;
    for (size_t b = 0; b < plan->block_count && code == 0; b++) {
        const struct plan_block *block = &plan->blocks[b];
        const unsigned char *at = looked_at(binding, record, b) ? block_at(binding, block) : NULL;
        if (!at || (whole(at - CHECKED_GUARD, CHECKED_GUARD) && whole(at + block->bytes, tail(block)))) continue;
        const char *name = block->value >= 0 ? plan->instance->values[block->value].name : "a temporary";
        code = damaged(record, name, (long long)block->bytes);
    }
    for (size_t o = 0; o < context->output_count && code == 0; o++) code = check_buffer(record, &context->outputs[o], "an output");
    for (size_t f = 0; f < context->feed_count && code == 0; f++) code = check_buffer(record, &context->feeds[f].buffer, "a kept value");
    for (size_t s = 0; s < context->state_count && code == 0; s++)
        for (int i = 0; i < 2 && code == 0; i++) code = check_buffer(record, &context->states[s].buffers[i], "a state");
    return code;
}

void checked_buffer(void *data, int64_t bytes) {
    unsigned char *at = data;
    memset(at - CHECKED_GUARD, GUARD_BYTE, CHECKED_GUARD);
    memset(at, POISON_BYTE, (size_t)bytes);
    memset(at + bytes, GUARD_BYTE, CHECKED_GUARD);
}

#else
typedef int exec_is_not_checked; /* a file may not be empty */
#endif
