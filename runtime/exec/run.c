/* SPDX-License-Identifier: Apache-2.0 */
/* One run: check the inputs, set the pointers that changed, make the calls one after another. Between two calls there is a load of the
 * cancel flag and nothing else. */
#include "exec/context.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- What kernels call ---- */

/* The first error wins; its text goes to a buffer of the context, since a run may not allocate. */
static int fail_with(struct record *record, int code, const char *format, va_list arguments) {
    struct context *context = record->context;
    int none = 0;
    if (!atomic_compare_exchange_strong(&context->failed, &none, code ? code : FLOW_ERROR_INTERNAL)) return code;
    vsnprintf(context->message, sizeof context->message, format, arguments);
    context->culprit = record;
    return code;
}

int context_fail(void *owner, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_with(owner, code, format, arguments);
    va_end(arguments);
    return code;
}

int context_fail_at(void *owner, const char *name, int code, const char *format, ...) {
    (void)name;
    va_list arguments;
    va_start(arguments, format);
    fail_with(owner, code, format, arguments);
    va_end(arguments);
    return code;
}

bool context_cancelled(void *owner) {
    struct context *context = ((struct record *)owner)->context;
    return atomic_load_explicit(&context->cancel, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&context->failed, memory_order_relaxed) != 0;
}

/* "node 'a.mix': operator 'attention': ..." */
void context_log(void *owner, const char *format, ...) {
    const struct record *record = owner;
    const struct logger *log = record->context->log;
    if (!log || !log->write) return;
    const struct instance *instance = record->binding->plan->instance;
    const struct instance_node *node = record->step->node >= 0 ? &instance->nodes[record->step->node] : NULL;
    char before[256] = "";
    if (node && node->entry) snprintf(before, sizeof before, "node '%s': operator '%s': ", node->source->path, node->entry->op->name);
    va_list arguments;
    va_start(arguments, format);
    log_vline(log, LOG_INFO, before, format, arguments);
    va_end(arguments);
}

int context_report(struct context *context, int code, struct report *report) {
    int said = atomic_load(&context->failed);
    const struct record *record = context->culprit;
    const struct instance *instance = record ? record->binding->plan->instance : NULL;
    const struct instance_node *node = record && record->step->node >= 0 ? &instance->nodes[record->step->node] : NULL;
    struct position at = node ? node->source->op_at : (struct position){0};
    if (said) code = said;
    if (code == FLOW_ERROR_CANCELLED && !context->message[0]) report_add(report, code, (struct position){0}, "the run was cancelled");
    else if (!node) report_add(report, code, at, "%s", context->message[0] ? context->message : status_text(code));
    else if (node->entry)
        report_add(report, code, at, "node '%s': operator '%s': %s", node->source->path, node->entry->op->name,
                   context->message[0] ? context->message : status_text(code));
    else report_add(report, code, at, "node '%s': %s", node->source->path, context->message[0] ? context->message : status_text(code));
    atomic_store(&context->failed, 0);
    context->culprit = NULL, context->message[0] = 0;
    return code;
}

/* ---- The calls ---- */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Names the record whose kernel failed without a word. */
static int failed(struct record *record, int code) {
    struct context *context = record->context;
    int none = 0;
    if (atomic_compare_exchange_strong(&context->failed, &none, code)) context->culprit = record;
    return code;
}

static int timed(struct binding *binding, size_t i) {
    struct record *record = &binding->records[i];
    struct loop_binding *loop = binding->loops[i];
    double inside = loop ? loop->body->within : 0, before = seconds(), took = 0;
    int code = binding->apart ? apart_timed(binding, record, &took) : record_run(record);
    if (!binding->apart) took = seconds() - before;
    if (!binding->segment_count) binding->within += took; /* a loop's body, always on one thread */
    if (record->step->state_count && code == 0) binding->grown[i] += profile_grown(record);
    if (loop) took -= loop->body->within - inside;
    if (!binding->calls[i] || took < binding->least[i]) binding->least[i] = took;
    binding->seconds[i] += took, binding->calls[i]++;
    return code;
}

/* Timed, or recorded in the trace, or both. */
static int watched(struct binding *binding, size_t i) {
    struct context *context = binding->context;
    struct trace_span span = {0};
    if (binding->labels) span = trace_begin(context->device->trace, binding->labels[i]);
    int code = context->profiling ? timed(binding, i) : record_run(&binding->records[i]);
    /* A span is as long as the work, not as its launch. */
    if (code == 0 && binding->apart && !context->profiling) code = context->apart->synchronize(call_stream(&binding->records[i].call));
    if (binding->labels) trace_end(&span, (int64_t)binding->records[i].call.run);
    return code;
}

int binding_run(struct binding *binding, uint64_t run, uint64_t scale, uint64_t offset) {
    struct context *context = binding->context;
    struct record *record = binding->records + binding->once_count, *end = binding->records + binding->count;
    bool watching = context->profiling || binding->labels;
    for (; record < end; record++) {
        record->call.run = run;
        if (context->apart) record->call.run_scale = scale, record->call.run_offset = offset;
        int code = watching ? watched(binding, (size_t)(record - binding->records)) : record_run(record);
        if (code < 0) return failed(record, code);
        if (atomic_load_explicit(&context->cancel, memory_order_relaxed)) return FLOW_ERROR_CANCELLED;
    }
    return 0;
}

/* [run] on a stream's thread: the steps of that stream between two events. */
static int run_steps(const struct segment *segment) {
    struct binding *binding = segment->binding;
    struct context *context = binding->context;
    bool watching = context->profiling || binding->labels;
    for (size_t i = segment->first; i < segment->last; i++) {
        struct record *record = &binding->records[i];
        if (record->step->stream != segment->stream) continue;
        if (atomic_load_explicit(&context->cancel, memory_order_relaxed)) return FLOW_ERROR_CANCELLED;
        if (atomic_load_explicit(&context->failed, memory_order_relaxed)) return FLOW_ERROR_CANCELLED;
        record->call.run = context->run;
        int code = watching ? watched(binding, i) : record_run(record);
        if (code < 0) return failed(record, code);
    }
    return 0;
}

int run_segment(void *argument) {
    const struct segment *segment = argument;
    if (!segment->label) return run_steps(segment);
    const struct trace_span span = trace_begin(segment->binding->context->device->trace, segment->label);
    int code = run_steps(segment);
    trace_end(&span, 0);
    return code;
}

static int run_queues(struct binding *binding) {
    struct context *context = binding->context;
    const struct device_api *api = context->device->api;
    int code = 0;
    for (size_t i = 0; i < binding->segment_count && code == 0; i++) {
        struct segment *segment = &binding->segments[i];
        struct stream *stream = context->streams[segment->stream];
        if (segment->kind == QUEUE_LAUNCH) code = api->launch(stream, run_segment, segment);
        else if (segment->kind == QUEUE_RECORD) code = api->record(stream, context->events[segment->event]);
        else code = api->wait(stream, context->events[segment->event]);
    }
    if (code < 0) failed(&binding->records[binding->once_count], code); /* what is queued shall not go on for nothing */
    for (int32_t k = 0; k < binding->plan->stream_count; k++) {
        int stopped = api->synchronize(context->streams[k]);
        if (stopped < 0 && (code == 0 || code == FLOW_ERROR_CANCELLED)) code = stopped;
    }
    return code;
}

/* ---- Inputs and outputs ---- */

static int refuse_input(const struct binding *binding, int32_t i, const struct flow_tensor *given, struct report *report) {
    const struct instance *instance = binding->plan->instance;
    const struct flow_tensor *want = &instance->values[instance->inputs[i]].type;
    struct text text;
    text_init(&text, binding->context->from);
    for (int side = 0; side < 2; side++) {
        const struct flow_tensor *t = side ? want : given;
        text_format(&text, "%s%s [", side ? "; planned is " : "given is ", dtype_name(t->dtype));
        for (int32_t a = 0; a < t->rank; a++) text_format(&text, a ? ", %lld" : "%lld", (long long)t->shape[a]);
        text_put(&text, "]");
    }
    struct position at = (size_t)i < instance->network->input_count ? instance->network->inputs[i].at : (struct position){0};
    int code = report_add(report, given->dtype == want->dtype ? FLOW_ERROR_SHAPE : FLOW_ERROR_TYPE, at, "input '%s': %s",
                          instance->values[instance->inputs[i]].name, text.failed ? "another tensor than planned" : text.at);
    text_free(&text);
    return code;
}

/* Memory of the device receives it; on its way there it is made row-major. */
static int take_apart(struct binding *binding, struct group *group, const struct flow_tensor *given, const struct flow_tensor *want,
                      struct report *report) {
    struct context *context = binding->context;
    struct buffer *stage = &context->stages[group->index];
    const char *name = binding->plan->instance->values[binding->plan->instance->inputs[group->index]].name;
    int64_t bytes;
    if (!plan_bytes(want, &bytes) || context_room(context, stage, bytes) < 0) return report_memory(report);
    void *packed = NULL;
    if (given->device == FLOW_DEVICE_CPU && !plan_contiguous(given)) {
        if ((uintptr_t)given->data % (uintptr_t)dtype_bytes(want->dtype))
            return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "input '%s' is neither contiguous nor aligned", name);
        packed = memory_array(context->from, 1, (size_t)bytes + 1);
        if (!packed) return report_memory(report);
        tensor_copy(packed, given);
    }
    int code = 0;
    if (given->device != FLOW_DEVICE_CPU) { /* of another run there */
        struct flow_tensor to = plan_packed_type(want);
        to.data = stage->data;
        code = context_spread(context, &to, given);
    } else if (bytes) {
        code = context->apart->copy(context->streams[0], stage->data, packed ? packed : given->data, bytes, DEVICE_IN);
        if (packed && code == 0) code = context->apart->synchronize(context->streams[0]);
    }
    if (packed) memory_free(context->from, packed, (size_t)bytes + 1);
    if (code < 0) return report_add(report, code, (struct position){0}, "input '%s': %s", name, context->apart->why(context->device));
    binding_point(binding, group, stage->data);
    return 0;
}

/* Used where it lies when it is contiguous and aligned; else brought to a staging buffer, which is made the first time. */
static int take_input(struct binding *binding, struct group *group, const struct flow_tensor *given, struct report *report) {
    struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    const struct flow_tensor *want = &instance->values[instance->inputs[group->index]].type;
    bool same = given->dtype == want->dtype && given->rank == want->rank;
    for (int32_t a = 0; same && a < want->rank; a++) same = given->shape[a] == want->shape[a];
    if (!same) return refuse_input(binding, group->index, given, report);
    if (binding->apart) return take_apart(binding, group, given, want, report);
    int64_t size = dtype_bytes(want->dtype), bytes;
    bool aligned = (uintptr_t)given->data % (uintptr_t)size == 0;
    if (aligned && plan_contiguous(given) && !context->checked) {
        binding_point(binding, group, given->data);
        return 0;
    }
    struct buffer *stage = &context->stages[group->index];
    if (!stage->data && !context->checked)
        log_line(context->log, LOG_INFO, "input '%s' is not given row-major: it is copied in every run",
                 instance->values[instance->inputs[group->index]].name);
    if (!plan_bytes(want, &bytes) || context_room(context, stage, bytes) < 0) return report_memory(report);
    if (aligned) tensor_copy(stage->data, given);
    else if (plan_contiguous(given)) memcpy(stage->data, given->data, (size_t)bytes);
    else
        return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "input '%s' is neither contiguous nor aligned",
                          instance->values[instance->inputs[group->index]].name);
    binding_point(binding, group, stage->data);
    return 0;
}

static int point_all(struct binding *binding, const struct flow_tensor *inputs, struct report *report) {
    struct context *context = binding->context;
    for (size_t g = 0; g < binding->group_count; g++) {
        struct group *group = &binding->groups[g];
        int code = 0;
        switch (group->place) {
        case PLACE_INPUT: code = take_input(binding, group, &inputs[group->index], report); break;
        case PLACE_OUTPUT: binding_point(binding, group, outputs_data(context, group->index)); break;
        case PLACE_FEED: binding_point(binding, group, context->feeds[group->index].buffer.data); break;
        default: binding_point(binding, group, context->arena.data); break;
        }
        if (code < 0) return code;
    }
    if (context->checked) checked_run(binding);
    return 0;
}

int context_run(struct context *context, const struct flow_tensor *inputs, struct report *report, const struct flow_tensor **outputs) {
    struct binding *binding = context->current;
    *outputs = NULL;
    if (!binding) return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "no plan is bound");
    int code = outputs_begin(binding, inputs, report);
    if (code == 0) code = point_all(binding, inputs, report);
    if (code == 0) code = states_begin(binding, report);
    if (code < 0) return code;
    for (size_t d = 0; d < binding->dynamic_count; d++) binding->dynamics[d].tensor->shape[0] = binding->dynamics[d].most;
    double before = context->profiling ? seconds() : 0;
    if (atomic_load_explicit(&context->cancel, memory_order_relaxed)) code = FLOW_ERROR_CANCELLED;
    else if (binding->apart) code = apart_run(binding);
    else code = binding->segment_count ? run_queues(binding) : binding_run(binding, context->run, 1, 0);
    if (code == 0) code = atomic_load_explicit(&context->failed, memory_order_relaxed); /* a kernel that failed and returned 0 */
    if (context->profiling) context->profile.run_seconds += seconds() - before, context->profile.runs++;
    context->run++;
    if (code < 0) {
        context->broken = true;
        code = context_report(context, code, report);
        if (code == FLOW_ERROR_CANCELLED) atomic_store(&context->cancel, 0);
        return code;
    }
    states_end(binding);
    outputs_end(binding);
    *outputs = binding->outputs;
    return 0;
}

/* ---- Looking for what is not finite ---- */

static bool all_finite(const struct flow_tensor *t) {
    int64_t bytes;
    if (t->rank < 0 || !t->data || !plan_contiguous(t) || !plan_bytes(t, &bytes)) return true;
    for (int64_t i = 0; t->dtype == FLOW_F32 && i < bytes / 4; i++)
        if (!isfinite(((const float *)t->data)[i])) return false;
    for (int64_t i = 0; t->dtype == FLOW_F64 && i < bytes / 8; i++)
        if (!isfinite(((const double *)t->data)[i])) return false;
    return true;
}

/* The last record may have computed what is not finite: from what was? */
static int look(const struct record *record, struct report *report) {
    const struct plan_step *step = record->step;
    bool backward = step->kind == PLAN_BACKWARD;
    if (step->node < 0 || (step->kind != PLAN_KERNEL && !backward)) return 0;
    const struct instance_node *node = &record->binding->plan->instance->nodes[step->node];
    const struct flow_tensor *out = backward ? record->call.grad_in : record->call.out;
    for (uint32_t k = 0; k < step->out_count; k++) {
        if (all_finite(&out[k])) continue;
        const char *from = "inputs that are";
        for (uint32_t i = 0; i < record->call.in_count; i++)
            if (!all_finite(&record->call.in[i])) from = "inputs that are not, either";
        for (uint32_t p = 0; p < record->call.param_count; p++)
            if (!all_finite(&record->call.param[p])) from = "parameters that are not, either";
        return report_add(report, FLOW_ERROR_RANGE, node->source->op_at,
                          "node '%s': operator '%s': its %s is the first that is not finite, from %s", node->source->path,
                          node->entry->op->name, backward ? "gradient" : "result", from);
    }
    return 0;
}

int context_trace(struct context *context, const struct flow_tensor *inputs, struct report *report) {
    struct binding *binding = context->current;
    if (!binding) return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "no plan is bound");
    if (binding->apart)
        return report_add(report, FLOW_ERROR_UNSUPPORTED, (struct position){0}, "which node it was can be told on the CPU (--device cpu)");
    int code = point_all(binding, inputs, report);
    if (code == 0) code = states_begin(binding, report);
    struct record *record = binding->records + binding->once_count, *end = binding->records + binding->count;
    for (; record < end && code == 0; record++) {
        record->call.run = context->run;
        code = record_run(record);
        if (code < 0) return context_report(context, failed(record, code), report);
        code = look(record, report);
    }
    context->broken = true;
    return code;
}
