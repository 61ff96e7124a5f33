/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a table for people, and as JSON. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

static const char *const PLACES[] = {"none", "arena", "once", "input", "output", "param", "param f32", "state in", "state out", "feed"};
static const char *const ISAS[] = {"base", "avx2", "avx512"};
enum { TEXT_MOST = 512 };

static const char *kind_name(const struct plan_step *step, const struct plan *plan) {
    const struct instance_node *node = step->node >= 0 ? &plan->instance->nodes[step->node] : NULL;
    switch (step->kind) {
    case PLAN_KERNEL: return node->entry->op->name;
    case PLAN_COPY: return "(copy)";
    case PLAN_WIDEN: return "(to f32)";
    case PLAN_NARROW: return "(from f32)";
    case PLAN_LOOP: return "loop";
    case PLAN_GATHER: return "parameters";
    case PLAN_PREPARE: return "(prepare)";
    case PLAN_BACKWARD: return "(backward)";
    case PLAN_LOOP_BACKWARD: return "loop backward";
    case PLAN_FILL: return "(fill)";
    case PLAN_PASS: return "(pass on)";
    case PLAN_ADD: return "(add)";
    }
    return "?";
}

static const char *step_name(const struct plan_step *step, const struct plan *plan) {
    if (step->node >= 0) return plan->instance->nodes[step->node].source->path;
    const struct plan_tensor *out = &step->out[0];
    return out->value >= 0 ? plan->instance->values[out->value].name : "";
}

static bool is_hosted(const struct plan *plan, const struct plan_step *step) {
    return step->node >= 0 && step->kernel && plan->instance->nodes[step->node].hosted;
}

/* Of vector instructions; on another device than the CPU, where the kernel runs. */
static const char *isa_name(const struct plan *plan, const struct plan_step *step) {
    if (!step->kernel) return "";
    if (plan->device != FLOW_DEVICE_CPU) return is_hosted(plan, step) ? "on cpu" : "cuda";
    return step->kernel->isa >= 0 && step->kernel->isa < 3 ? ISAS[step->kernel->isa] : "?";
}

static const struct plan_tensor *first_out(const struct plan_step *step) {
    for (uint32_t k = 0; k < step->out_count; k++)
        if (step->out[k].place != PLACE_NONE) return &step->out[k];
    return NULL;
}

static void format_shape(const struct flow_tensor *type, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "%s [", dtype_name(type->dtype));
    for (int32_t a = 0; a < type->rank && at < size; a++)
        at += (size_t)snprintf(text + at, size - at, a ? ", %lld" : "%lld", (long long)type->shape[a]);
    if (at < size) snprintf(text + at, size - at, "]");
}

/* 1536 -> "1.5 KiB" */
static void format_bytes(int64_t bytes, char *text, size_t size) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) value /= 1024, unit++;
    snprintf(text, size, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static int64_t step_bytes(const struct plan_step *step) {
    int64_t sum = step->workspace_bytes, bytes;
    for (uint32_t k = 0; k < step->out_count; k++)
        if (step->out[k].place != PLACE_NONE && plan_bytes(&step->out[k].type, &bytes)) sum += bytes;
    return sum;
}

/* What the operator says about its choice; "" where it says nothing. */
static void operator_text(const struct plan *plan, const struct plan_step *step, char text[TEXT_MOST]) {
    text[0] = 0;
    if (step->kind != PLAN_KERNEL || (plan->device != FLOW_DEVICE_CPU && !is_hosted(plan, step)))
        return; /* it speaks of kernels of the CPU */
    const struct instance_node *node = &plan->instance->nodes[step->node];
    if (!node->entry->op->describe) return;
    if (node->entry->op->describe(&node->infer, text, TEXT_MOST) < 0) text[0] = 0;
    text[TEXT_MOST - 1] = 0;
}

static int64_t parameter_bytes(const struct plan *plan) {
    int64_t sum = 0, bytes;
    for (size_t p = 0; p < plan->instance->param_count; p++)
        if (plan_bytes(&plan->instance->values[plan->instance->params[p]].type, &bytes)) sum += bytes;
    return sum;
}

static int64_t packed_bytes(const struct plan *plan) {
    int64_t sum = 0;
    for (size_t p = 0; p < plan->packed_count; p++) sum += plan->packed[p].bytes;
    return sum;
}

static int64_t output_bytes(const struct plan *plan) {
    int64_t sum = 0, bytes;
    for (size_t o = 0; o < plan->instance->output_count; o++)
        if (plan->outputs[o].place != PLACE_NONE && plan_bytes(&plan->outputs[o].type, &bytes)) sum += bytes;
    return sum;
}

/* ---- Text ---- */

static int widest(const struct plan *plan, int depth) {
    int width = 4;
    for (size_t s = 0; s < plan->step_count; s++) {
        const struct plan_step *step = &plan->steps[s];
        int length = (int)strlen(step_name(step, plan)) + 2 * depth;
        if (length > width) width = length;
        if (step->loop && (length = widest(step->loop->body, depth + 1)) > width) width = length;
    }
    return width > 48 ? 48 : width;
}

static void text_place(const struct plan_tensor *t, struct text *out) {
    if (!t) text_format(out, "  %-16s", "");
    else if (t->place == PLACE_ARENA || t->place == PLACE_ONCE) text_format(out, "  %-5s %10lld", PLACES[t->place], (long long)t->offset);
    else text_format(out, "  %-9s %6d", PLACES[t->place], (int)t->index);
}

static void text_steps(const struct plan *plan, int how, int depth, int width, struct text *out) {
    for (size_t s = 0; s < plan->step_count; s++) {
        const struct plan_step *step = &plan->steps[s];
        const struct plan_tensor *first = first_out(step);
        char shape[160] = "", bytes[32], told[TEXT_MOST];
        if (first) format_shape(&first->type, shape, sizeof shape);
        format_bytes(step_bytes(step), bytes, sizeof bytes);
        text_format(out, "%5zu  %*s%-*s  %-18s %-26s %-7s", s, 2 * depth, "", width - 2 * depth, step_name(step, plan),
                    kind_name(step, plan), shape, isa_name(plan, step));
        if (plan->stream_count > 1) text_format(out, " %4d", (int)step->stream);
        text_place(first, out);
        text_format(out, "  %10s", bytes);
        if (s < plan->once_count) text_put(out, "  once");
        if (step->takes >= 0) text_put(out, "  in place");
        for (uint32_t w = 0; w < step->wait_count; w++) text_format(out, "%s%d", w ? "," : "  waits for ", (int)step->waits[w]);
        if (step->event >= 0) text_format(out, "  event %d", (int)step->event);
        text_put(out, "\n");
        operator_text(plan, step, told);
        if (told[0]) text_format(out, "%7s%s\n", "", told);
        if (step->fused >= 0)
            text_format(out, "%7son its way out%s%s: '%s'\n", "", step->activation ? " an activation" : "",
                        step->residual.place == PLACE_NONE ? ""
                        : step->activation                 ? " and a sum"
                                                           : " a sum",
                        plan->instance->nodes[step->fused].source->path);
        if ((how & PLAN_VERBOSE) && step->apart) text_format(out, "%7snot in place: %s\n", "", step->apart);
        if (step->loop) {
            text_format(out, "%7s%s%lld iterations of:\n", "", step->loop->until >= 0 ? "at most " : "", (long long)step->loop->iterations);
            text_steps(step->loop->body, how, depth + 1, width, out);
        }
    }
}

static void text_total(const char *name, int64_t bytes, const char *note, struct text *out) {
    char size[32];
    format_bytes(bytes, size, sizeof size);
    text_format(out, "%-24s %12s  %s\n", name, size, note);
}

static void describe_text(const struct plan *plan, int how, struct text *out) {
    int width = widest(plan, 0);
    text_format(out, "%5s  %-*s  %-18s %-26s %-7s%s  %-16s  %10s\n", "step", width, "node", "operator", "shape", "isa",
                plan->stream_count > 1 ? " strm" : "", "place", "bytes");
    text_steps(plan, how, 0, width, out);
    char note[96];
    snprintf(note, sizeof note, "%lld without reuse, %lld at least", (long long)plan->unshared, (long long)plan->bound);
    text_put(out, "\n");
    text_total("arena", plan->bytes, note, out);
    text_total("outputs", output_bytes(plan), "", out);
    text_total("parameters", parameter_bytes(plan), "", out);
    text_total("packed parameters", packed_bytes(plan), "", out);
    if (plan->once_bytes) text_total("computed once", plan->once_bytes, "", out);
    if (plan->stream_count > 1) text_format(out, "%-24s %12d  %d events\n", "streams", (int)plan->stream_count, (int)plan->event_count);
}

/* ---- JSON ---- */

static void json_tensor(const struct plan_tensor *t, struct text *out) {
    text_format(out, "{\"dtype\": \"%s\", \"shape\": [", dtype_name(t->type.dtype));
    for (int32_t a = 0; a < t->type.rank; a++) text_format(out, a ? ", %lld" : "%lld", (long long)t->type.shape[a]);
    text_format(out, "], \"place\": \"%s\", \"index\": %d, \"offset\": %lld}", PLACES[t->place], (int)t->index, (long long)t->offset);
}

static void json_plan(const struct plan *plan, struct text *out);

static void json_step(const struct plan *plan, size_t s, struct text *out) {
    const struct plan_step *step = &plan->steps[s];
    char told[TEXT_MOST];
    text_put(out, "{\"node\": ");
    text_json(out, step_name(step, plan));
    text_put(out, ", \"operator\": ");
    text_json(out, kind_name(step, plan));
    text_format(out, ", \"isa\": \"%s\", \"stream\": %d, \"once\": %s, \"in_place\": %s, \"workspace\": %lld, \"seconds\": %.3g",
                isa_name(plan, step), (int)step->stream, s < plan->once_count ? "true" : "false", step->takes >= 0 ? "true" : "false",
                (long long)step->workspace_bytes, step->cost);
    if (step->apart) text_put(out, ", \"apart\": "), text_json(out, step->apart);
    operator_text(plan, step, told);
    if (told[0]) text_put(out, ", \"about\": "), text_json(out, told);
    text_put(out, ", \"waits\": [");
    for (uint32_t w = 0; w < step->wait_count; w++) text_format(out, w ? ", %d" : "%d", (int)step->waits[w]);
    text_format(out, "], \"event\": %d, \"outputs\": [", (int)step->event);
    bool some = false;
    for (uint32_t k = 0; k < step->out_count; k++) {
        if (step->out[k].place == PLACE_NONE) continue;
        if (some) text_put(out, ", ");
        json_tensor(&step->out[k], out);
        some = true;
    }
    text_put(out, "]");
    if (step->loop) {
        text_format(out, ", \"iterations\": %lld, \"body\": ", (long long)step->loop->iterations);
        json_plan(step->loop->body, out);
    }
    text_put(out, "}");
}

static void json_plan(const struct plan *plan, struct text *out) {
    text_put(out, "{\"steps\": [");
    for (size_t s = 0; s < plan->step_count; s++) {
        text_put(out, s ? ",\n" : "\n");
        json_step(plan, s, out);
    }
    text_format(out,
                "],\n\"arena\": %lld, \"unshared\": %lld, \"bound\": %lld, \"outputs\": %lld, \"parameters\": %lld, \"packed\": %lld, ",
                (long long)plan->bytes, (long long)plan->unshared, (long long)plan->bound, (long long)output_bytes(plan),
                (long long)parameter_bytes(plan), (long long)packed_bytes(plan));
    text_format(out, "\"once\": %lld, \"streams\": %d, \"events\": %d}", (long long)plan->once_bytes, (int)plan->stream_count,
                (int)plan->event_count);
}

void plan_describe(const struct plan *plan, int how, struct text *out) {
    if (how & PLAN_JSON) json_plan(plan, out), text_put(out, "\n");
    else describe_text(plan, how, out);
}
