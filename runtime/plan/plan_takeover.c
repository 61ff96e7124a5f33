/* SPDX-License-Identifier: Apache-2.0 */
/* In place: an output that its operator allows to be written over an input takes over that input's memory, when nothing reads it later.
 * Each refusal has a reason, which plan_describe prints. */
#include "plan/build.h"

/* Is all that uses the block, but for this step, done when the step starts? */
static bool done_before(const struct plan_build *build, int32_t block, int32_t s) {
    for (int32_t k = 0; k < build->streams; k++) {
        int32_t use = build->uses[block * build->streams + k];
        if (use > s) return false;
        if (build->streams > 1 && use >= 0 && use != s && use > build->clock[s * build->streams + k]) return false;
    }
    return true;
}

static int tensors_in(const struct plan_build *build, struct plan_step *step, int32_t root) {
    int count = 0;
    for (uint32_t i = 0; i < plan_step_tensor_count(step); i++) {
        bool written;
        const struct plan_tensor *t = plan_step_tensor(step, i, &written);
        if (t->place != PLACE_NONE) count += plan_root(build, t->index) == root;
    }
    return count;
}

/* NULL: yes. */
static const char *refuse(const struct plan_build *build, int32_t s, const struct plan_tensor *out, const struct plan_tensor *in) {
    struct plan_step *step = &build->steps[s];
    if (!in || in->place == PLACE_NONE) return "that input is not connected";
    int32_t root = plan_root(build, in->index);
    const struct plan_block *block = &build->blocks[root], *own = &build->blocks[out->index];
    int64_t bytes, out_bytes;
    if (own->place == PLACE_OUTPUT) return "it is an output of the graph";
    if (!plan_bytes(&in->type, &bytes) || !plan_bytes(&out->type, &out_bytes) || bytes != out_bytes) return "sizes differ";
    if (!plan_contiguous(&in->type)) return "the input is not contiguous";
    if (in->offset != 0 || bytes != build->blocks[root].bytes) return "the input is a part of larger memory";
    if (block->place == PLACE_INPUT) return "the input is the caller's";
    if (block->place == PLACE_PARAM || block->place == PLACE_WIDE) return "the input is a parameter";
    if (block->place == PLACE_OUTPUT) return "the input is an output of the graph";
    bool replaces = block->place == PLACE_FEED && own->value >= 0 && build->instance->values[block->value].feed == own->value;
    if (block->place == PLACE_FEED && !replaces) return "the input is what the run before left";
    bool once = s < (int32_t)build->plan->once_count;
    if (!once && block->first < (int32_t)build->plan->once_count && block->place == PLACE_ARENA) return "the input is computed once";
    if (tensors_in(build, step, root) != 1) return "the input is read twice";
    if (!done_before(build, root, s)) return "the input is read later, or at the same time on another stream";
    for (int32_t k = 0; once && k < build->streams; k++)
        if (build->uses[root * build->streams + k] >= (int32_t)build->plan->once_count) return "the input is read by every run";
    return NULL;
}

static void take(struct plan_build *build, struct plan_tensor *out, int32_t root) {
    int32_t own = out->index;
    build->blocks[own].into = root;
    for (int32_t k = 0; k < build->streams; k++) {
        int32_t *use = &build->uses[root * build->streams + k], more = build->uses[own * build->streams + k];
        if (more > *use) *use = more;
    }
}

/* A gradient may be written over the one that it is made from: where it is that one unchanged, or the operator works element by element
 * and has no other to write. */
static void take_gradient(struct plan_build *build, int32_t s) {
    struct plan_step *step = &build->steps[s];
    bool pass = step->kind == PLAN_PASS;
    struct plan_tensor *out = NULL, *in = pass ? &step->in[0] : &step->grad_out[0];
    uint32_t count = 0;
    for (uint32_t k = 0; k < step->out_count; k++)
        if (step->out[k].place != PLACE_NONE) out = &step->out[k], count++;
    if (count != 1 || build->blocks[out->index].first != s || out->offset != 0) return;
    if (!pass && !(build->instance->nodes[step->node].entry->op->flags & FLOW_OP_POINTWISE)) return;
    int64_t bytes;
    if (!plan_bytes(&out->type, &bytes) || bytes != build->blocks[out->index].bytes || !plan_contiguous(&out->type)) return;
    step->apart = refuse(build, s, out, in);
    if (!step->apart) take(build, out, plan_root(build, in->index)), step->takes = 0;
}

void plan_takeover(struct plan_build *build) {
    for (size_t s = 0; s < build->step_count; s++) {
        struct plan_step *step = &build->steps[s];
        if (step->kind == PLAN_PASS || (step->kind == PLAN_BACKWARD && step->read_count)) take_gradient(build, (int32_t)s);
        if (step->kind != PLAN_KERNEL) continue;
        const struct flow_ports *ports = &build->instance->nodes[step->node].entry->op->outputs;
        for (uint32_t k = 0; k < step->out_count && ports->count; k++) {
            struct plan_tensor *out = &step->out[k];
            uint32_t input = ports->at[k < ports->count ? k : ports->count - 1].flags >> 16;
            if (!input || out->place == PLACE_NONE || build->blocks[out->index].first != (int32_t)s) continue;
            const char *reason = refuse(build, (int32_t)s, out, input - 1 < step->in_count ? &step->in[input - 1] : NULL);
            if (reason) {
                if (!step->apart) step->apart = reason;
                continue;
            }
            take(build, out, plan_root(build, step->in[input - 1].index));
            if (k == 0) step->takes = (int32_t)input - 1;
        }
    }
}
