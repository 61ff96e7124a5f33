/* SPDX-License-Identifier: Apache-2.0 */
/* One caller's runs. A session keeps the plans it made, by the extents they are for: pieces of a stream alternate between a few. */
#include "base/element.h"
#include "embed/gradients.h"
#include "grad/grad.h"

#include <stdlib.h>
#include <string.h>

/* A plan for certain extents. `follower` is the entry that came next the last time: streams repeat themselves. */
struct session_plan {
    struct instance *instance;
    struct plan *plan;
    struct session_plan *follower;
    uint64_t used;
};

enum { SESSION_PLANS = 64 };

/* Memory that an input was copied to: converted, or fed back from an output. */
struct session_copy {
    void *data;
    size_t bytes;
};

struct flow_session {
    flow_graph *graph;
    struct context *context;
    struct flow_session_options options;
    char *stream;
    struct flow_tensor *inputs; /* as bound; rank -1: not yet */
    struct flow_tensor *fed;    /* as run: of the declared type */
    struct session_copy *copies;
    int32_t *feedback;              /* by input: the output it repeats; -1 */
    struct flow_tensor *cotangents; /* by output, as bound; rank -1: none */
    bool *given;                    /* by output: has a cotangent */
    char *gradient_name;            /* of the gradient asked for last */
    size_t gradient_room;
    struct session_plan *plans[SESSION_PLANS];
    size_t plan_count;
    struct session_plan *current;
    const struct flow_tensor *outputs;
    uint64_t runs;
    bool started; /* streaming: inside a sequence */
    size_t initialised;
    const struct trace_label *run_label, *plan_label; /* NULL: no trace */
};

static const struct allocator *from_of(const flow_session *session) { return &session->graph->runtime->from; }

static struct position file_position(const flow_session *session) { return (struct position){session->graph->network->path, 0, 0}; }

static void make_labels(flow_session *session) {
    struct trace *trace = session->graph->runtime->trace;
    if (!trace) return;
    const char *run = session->stream ? "piece" : session->options.gradients ? "run with gradients" : "run";
    session->run_label = trace_label(trace, &(struct trace_about){TRACE_SPAN, run, "session", NULL, "number"});
    session->plan_label = trace_label(trace, &(struct trace_about){TRACE_SPAN, "plan", "session", NULL, "number"});
}

int flow_session_new(flow_graph *graph, const struct flow_session_options *options, flow_errors **errors, flow_session **out) {
    const struct allocator *from = &graph->runtime->from;
    struct report report;
    errors_begin(&report, from);
    *out = NULL;
    flow_session *session = memory_new(from, sizeof *session);
    if (!session) return errors_end(&report, errors, report_memory(&report));
    session->graph = graph;
    if (options) memcpy(&session->options, options, options->size < sizeof *options ? options->size : sizeof *options);
    size_t count = graph->network->input_count;
    size_t outputs = graph->network->output_count;
    session->inputs = memory_array(from, count, sizeof *session->inputs);
    session->fed = memory_array(from, count + outputs, sizeof *session->fed); /* cotangents follow the inputs */
    session->cotangents = memory_array(from, outputs, sizeof *session->cotangents);
    session->given = memory_array(from, outputs, sizeof *session->given);
    session->copies = memory_array(from, count + outputs, sizeof *session->copies);
    session->feedback = memory_array(from, count, sizeof *session->feedback);
    bool all = session->inputs && session->fed && session->copies && session->feedback && session->cotangents && session->given;
    int rc = all ? 0 : report_memory(&report);
    for (size_t i = 0; rc == 0 && i < count; i++) session->inputs[i].rank = -1, session->feedback[i] = -1;
    const char *stream = options ? options->stream : NULL;
    if (rc == 0 && stream) {
        session->stream = memory_new(from, strlen(stream) + 1);
        if (session->stream) memcpy(session->stream, stream, strlen(stream));
        else rc = report_memory(&report);
    }
    const char *streams = flow_graph_run_option(graph, "streams");
    if (!session->options.streams && streams) session->options.streams = (int32_t)strtol(streams, NULL, 10);
    if (session->options.streams < 1) session->options.streams = 1;
    if (rc == 0 && context_new(from, graph->model, &session->context) < 0) rc = report_memory(&report);
    if (rc == 0 && session->options.checked && graph_device(graph) != FLOW_DEVICE_CPU)
        rc = report_add(&report, FLOW_ERROR_UNSUPPORTED, file_position(session), "checked runs look at each call on the CPU: --device cpu");
    if (rc == 0) context_capture(session->context, !session->options.uncaptured);
    if (rc == 0 && session->options.checked) context_check(session->context, (session->options.checked & FLOW_CHECK_FINITE) != 0);
    if (rc == 0 && session->options.profile) rc = context_profile_start(session->context);
    if (rc == 0) make_labels(session);
    if (rc == 0) context_log_to(session->context, &graph->runtime->log);
    if (rc < 0) flow_session_free(session);
    else *out = session;
    return errors_end(&report, errors, rc);
}

static void plan_drop(flow_session *session, struct session_plan *entry) {
    if (!entry) return;
    if (session->context && entry->plan) context_forget(session->context, entry->plan);
    plan_free(entry->plan);
    instance_free(entry->instance);
    memory_free(from_of(session), entry, sizeof *entry);
}

void flow_session_free(flow_session *session) {
    if (!session) return;
    const struct allocator *from = from_of(session);
    size_t count = session->graph->network->input_count;
    for (size_t i = 0; i < session->plan_count; i++) plan_drop(session, session->plans[i]);
    context_free(session->context);
    size_t outputs = session->graph->network->output_count;
    for (size_t i = 0; session->copies && i < count + outputs; i++) memory_free(from, session->copies[i].data, session->copies[i].bytes);
    memory_free(from, session->inputs, count * sizeof *session->inputs);
    memory_free(from, session->fed, (count + outputs) * sizeof *session->fed);
    memory_free(from, session->cotangents, outputs * sizeof *session->cotangents);
    memory_free(from, session->given, outputs * sizeof *session->given);
    memory_free(from, session->gradient_name, session->gradient_room);
    memory_free(from, session->copies, (count + outputs) * sizeof *session->copies);
    memory_free(from, session->feedback, count * sizeof *session->feedback);
    if (session->stream) memory_free(from, session->stream, strlen(session->stream) + 1);
    memory_free(from, session, sizeof *session);
}

/* Index of an input, or an error that names the nearest. */
static int find_input(const flow_session *session, const char *name, struct report *report) {
    const struct network *network = session->graph->network;
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < network->input_count; i++) {
        if (strcmp(network->inputs[i].name, name) == 0) return (int)i;
        nearest_offer(&nearest, network->inputs[i].name);
    }
    const char *meant = nearest_name(&nearest);
    return report_add(report, FLOW_ERROR_USAGE, file_position(session), "the graph has no input '%s'%s%s%s", name,
                      meant ? " (did you mean '" : "", meant ? meant : "", meant ? "'?)" : "");
}

static int find_output(const flow_session *session, const char *name, struct report *report) {
    const struct network *network = session->graph->network;
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < network->output_count; i++) {
        if (strcmp(network->outputs[i].name, name) == 0) return (int)i;
        nearest_offer(&nearest, network->outputs[i].name);
    }
    const char *meant = nearest_name(&nearest);
    return report_add(report, FLOW_ERROR_USAGE, file_position(session), "the graph has no output '%s'%s%s%s", name,
                      meant ? " (did you mean '" : "", meant ? meant : "", meant ? "'?)" : "");
}

int flow_session_input(flow_session *session, const char *name, const struct flow_tensor *value, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    int index = find_input(session, name, &report);
    if (index < 0) return errors_end(&report, errors, index);
    const struct network_input *input = &session->graph->network->inputs[index];
    if (value->rank != input->rank)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_SHAPE, input->at, "input '%s' has %d axes in the graph, the tensor given has %d",
                                     name, input->rank, value->rank));
    session->inputs[index] = *value;
    return errors_end(&report, errors, 0);
}

int flow_session_bind_output(flow_session *session, const char *output, void *data, size_t bytes, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    int index = find_output(session, output, &report);
    if (index < 0) return errors_end(&report, errors, index);
    int64_t room = bytes < INT64_MAX ? (int64_t)bytes : INT64_MAX;
    int rc = context_output(session->context, (size_t)index, data, room);
    return errors_end(&report, errors, rc < 0 ? report_memory(&report) : 0);
}

int flow_session_feedback(flow_session *session, const char *input, const char *output, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    int to = find_input(session, input, &report), what = find_output(session, output, &report);
    if (to >= 0 && what >= 0) session->feedback[to] = what;
    return errors_end(&report, errors, to < 0 ? to : what < 0 ? what : 0);
}

static int copy_room(flow_session *session, size_t index, int64_t bytes, struct report *report) {
    struct session_copy *copy = &session->copies[index];
    if ((int64_t)copy->bytes >= bytes) return 0;
    memory_free(from_of(session), copy->data, copy->bytes);
    copy->data = memory_new(from_of(session), (size_t)bytes);
    copy->bytes = copy->data ? (size_t)bytes : 0;
    return copy->data ? 0 : report_memory(report);
}

static int32_t declared_type(const flow_session *session, size_t index) {
    int32_t dtype = session->graph->network->inputs[index].dtype;
    return dtype == FLOW_F32 && session->graph->precision == FLOW_F64 ? FLOW_F64 : dtype;
}

/* A given tensor of another type is converted where nothing is lost but rounding: float to float, integer to wider integer or float. */
static int convert_input(flow_session *session, size_t index, struct report *report) {
    const struct flow_tensor *given = &session->inputs[index];
    const struct network_input *input = &session->graph->network->inputs[index];
    int32_t dtype = declared_type(session, index);
    struct flow_tensor *fed = &session->fed[index];
    *fed = *given;
    if (given->dtype == dtype) return 0;
    bool fits = dtype_float(dtype) ? given->dtype != FLOW_BOOL
                                   : !dtype_float(given->dtype) && dtype != FLOW_BOOL && dtype_bytes(given->dtype) < dtype_bytes(dtype);
    if (!fits)
        return report_add(report, FLOW_ERROR_TYPE, input->dtype_at, "input '%s' is %s in the graph, the tensor given is %s", input->name,
                          dtype_name(dtype), dtype_name(given->dtype));
    int64_t count = flow_tensor_count(given), bytes;
    if (!session->copies[index].data)
        log_line(&session->graph->runtime->log, LOG_INFO, "input '%s' is %s in the graph: the %s given are converted in every run",
                 input->name, dtype_name(dtype), dtype_name(given->dtype));
    if (!size_multiply(count, dtype_bytes(dtype), &bytes) || copy_room(session, index, bytes, report) < 0) return report_memory(report);
    *fed = flow_tensor_of(session->copies[index].data, dtype, given->rank, given->shape);
    for (int64_t i = 0; i < count; i++) element_write(fed->data, dtype, i, flow_tensor_real(given, i));
    return 0;
}

/* The last run's output becomes this run's input. Copied, since the run overwrites its outputs. */
static int feed_back(flow_session *session, size_t index, struct report *report) {
    const struct flow_tensor *last = &session->outputs[session->feedback[index]];
    int64_t count = flow_tensor_count(last), size = dtype_bytes(last->dtype);
    if (copy_room(session, index, count * size, report) < 0) return FLOW_ERROR_MEMORY;
    struct flow_tensor made = flow_tensor_of(session->copies[index].data, last->dtype, last->rank, last->shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t offset = 0, rest = i;
        for (int32_t axis = last->rank - 1; axis >= 0; axis--) {
            offset += rest % last->shape[axis] * last->strides[axis];
            rest /= last->shape[axis];
        }
        memcpy((char *)made.data + i * size, (const char *)last->data + offset * size, (size_t)size);
    }
    session->fed[index] = made;
    return 0;
}

static int gather_inputs(flow_session *session, struct report *report) {
    const struct network *network = session->graph->network;
    int rc = 0;
    for (size_t i = 0; i < network->input_count; i++) {
        int code;
        if (session->feedback[i] >= 0 && session->outputs && session->started) code = feed_back(session, i, report);
        else if (session->inputs[i].rank < 0)
            code = report_add(report, FLOW_ERROR_USAGE, network->inputs[i].at, "input '%s' is not given", network->inputs[i].name);
        else code = convert_input(session, i, report);
        if (code < 0) rc = code;
    }
    return rc;
}

/* Bound as they are, or converted to the type that the plan gives them: that of the output, f32 where it has 16 bits. */
static int feed_cotangents(flow_session *session, const struct instance *instance, struct report *report) {
    size_t inputs = session->graph->network->input_count, at = inputs;
    for (size_t o = 0; o < session->graph->network->output_count; o++) {
        if (!session->given[o]) continue;
        const struct flow_tensor *value = &session->cotangents[o];
        struct flow_tensor *fed = &session->fed[at++];
        int32_t dtype = at <= instance->input_count ? instance->values[instance->inputs[at - 1]].type.dtype : value->dtype;
        int64_t count = flow_tensor_count(value), bytes;
        *fed = *value;
        if (value->dtype == dtype) continue;
        if (!size_multiply(count, dtype_bytes(dtype), &bytes) || copy_room(session, inputs + o, bytes ? bytes : 1, report) < 0)
            return report_memory(report);
        *fed = flow_tensor_of(session->copies[inputs + o].data, dtype, value->rank, value->shape);
        for (int64_t i = 0; i < count; i++) element_write(fed->data, dtype, i, flow_tensor_real(value, i));
    }
    return 0;
}

static struct session_plan *find_plan(flow_session *session, const struct instance_options *options) {
    struct session_plan *guess = session->current ? session->current->follower : NULL;
    if (guess && instance_fits(guess->instance, options)) return guess;
    for (size_t i = 0; i < session->plan_count; i++)
        if (session->plans[i] != guess && instance_fits(session->plans[i]->instance, options)) return session->plans[i];
    return NULL;
}

/* The plan least recently used makes room; never the current one, whose states go on. */
static void evict_plan(flow_session *session) {
    size_t oldest = session->plan_count;
    for (size_t i = 0; i < session->plan_count; i++) {
        if (session->plans[i] == session->current) continue;
        if (oldest == session->plan_count || session->plans[i]->used < session->plans[oldest]->used) oldest = i;
    }
    struct session_plan *gone = session->plans[oldest];
    for (size_t i = 0; i < session->plan_count; i++)
        if (session->plans[i]->follower == gone) session->plans[i]->follower = NULL;
    session->plans[oldest] = session->plans[--session->plan_count];
    plan_drop(session, gone);
}

/* What of the parameters may not be as meant. */
static void tell_parameters(const flow_session *session, size_t initialised) {
    const struct logger *log = &session->graph->runtime->log;
    struct model_told told;
    if (!log->write || session->plan_count) return;
    model_told(session->graph->model, &told);
    const char *path = session->graph->network->path;
    if (initialised && told.given + told.shared)
        log_line(log, LOG_WARNING, "%s: %zu of %zu parameters are in no weights and have their initial values: '%s'%s", path,
                 told.initialised, told.values, told.first_initialised, told.initialised > 1 ? ", ..." : "");
    else if (initialised)
        log_line(log, LOG_INFO, "%s: no weights were given: %zu parameters have their initial values", path, told.initialised);
    if (told.unused)
        log_line(log, LOG_INFO, "%s: the weights hold %zu tensors that are no parameters of the graph: '%s'%s", path, told.unused,
                 told.first_unused, told.unused > 1 ? ", ..." : "");
}

/* Room for the longest name of a gradient, "param.NODE.PARAM". */
static int gradient_names(flow_session *session, const struct instance *instance, struct report *report) {
    size_t need = 1;
    int32_t value;
    for (size_t g = 0; (value = gradients_value(instance, g)) >= 0; g++) {
        size_t length = strlen(instance->values[value].name) + sizeof "param.";
        if (length > need) need = length;
    }
    if (session->gradient_room >= need) return 0;
    memory_free(from_of(session), session->gradient_name, session->gradient_room);
    session->gradient_name = memory_new(from_of(session), need);
    session->gradient_room = session->gradient_name ? need : 0;
    return session->gradient_name ? 0 : report_memory(report);
}

static int make_plan(flow_session *session, const struct instance_options *options, struct report *report, struct session_plan **out) {
    const flow_graph *graph = session->graph;
    struct session_plan *entry = memory_new(from_of(session), sizeof *entry);
    if (!entry) return report_memory(report);
    struct plan_options plan = {.streams = session->options.streams,
                                .device = graph_device(graph),
                                .host = &graph->host,
                                .spread = session->options.spread,
                                .checked = session->options.checked != 0};
    int rc = instance_new(from_of(session), graph->network, options, report, &entry->instance);
    if (rc == 0 && session->options.gradients) rc = gradients_add(entry->instance, session->given, report);
    else if (rc == 0) rc = grad_differentiate(entry->instance, NULL, 0, report);
    if (rc == 0 && session->options.gradients) rc = gradient_names(session, entry->instance, report);
    if (rc == 0) rc = plan_new(from_of(session), entry->instance, &plan, report, &entry->plan);
    size_t initialised = 0;
    if (rc == 0) rc = model_fill(graph->model, entry->instance, report, &initialised);
    session->initialised += initialised;
    if (rc == 0) tell_parameters(session, initialised);
    if (rc < 0) {
        plan_drop(session, entry);
        return rc;
    }
    if (session->plan_count == SESSION_PLANS) evict_plan(session);
    session->plans[session->plan_count++] = entry;
    *out = entry;
    return 0;
}

/* A new plan, bound, its time told to the profile and the trace. */
static int plan_watched(flow_session *session, const struct instance_options *options, struct report *report, struct session_plan **out) {
    struct trace_span span = {0};
    int64_t before = trace_now();
    if (session->plan_label) span = trace_begin(session->graph->runtime->trace, session->plan_label);
    int rc = make_plan(session, options, report, out);
    if (rc == 0) rc = context_bind(session->context, (*out)->plan, report);
    if (session->plan_label) trace_end(&span, (int64_t)session->runs);
    context_planned(session->context, 1e-9 * (double)(trace_now() - before));
    return rc;
}

static int session_step(flow_session *session, bool flush, struct report *report) {
    int rc = gather_inputs(session, report);
    if (rc < 0) return rc;
    struct instance_options options = graph_instance_options(session->graph);
    options.inputs = session->fed, options.differentiate = session->options.gradients;
    options.stream = session->stream;
    if (session->stream) {
        options.first = !session->started, options.flush = flush;
        options.before = session->started ? session->current->instance : NULL;
        if (!session->started && session->runs) context_reset(session->context);
    }
    struct session_plan *entry = find_plan(session, &options);
    if (!entry) rc = plan_watched(session, &options, report, &entry);
    if (rc == 0) rc = feed_cotangents(session, entry->instance, report);
    if (rc < 0) return rc;
    if (session->current) session->current->follower = entry;
    session->current = entry;
    entry->used = ++session->runs;
    session->started = session->stream ? !flush : true;
    rc = context_bind(session->context, entry->plan, report);
    if (rc == 0) rc = context_run(session->context, session->fed, report, &session->outputs);
    if (rc < 0) session->outputs = NULL;
    return rc;
}

static int step_watched(flow_session *session, bool flush, struct report *report) {
    if (!session->run_label) return session_step(session, flush, report);
    const int64_t number = (int64_t)session->runs;
    const struct trace_span span = trace_begin(session->graph->runtime->trace, session->run_label);
    int rc = session_step(session, flush, report);
    trace_end(&span, number);
    return rc;
}

int flow_session_run(flow_session *session, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    return errors_end(&report, errors, step_watched(session, false, &report));
}

int flow_session_finish(flow_session *session, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    int rc = session->stream ? step_watched(session, true, &report)
                             : report_add(&report, FLOW_ERROR_USAGE, file_position(session), "the session does not stream");
    return errors_end(&report, errors, rc);
}

const struct flow_tensor *flow_session_output_at(const flow_session *session, size_t index) {
    return session->outputs && index < session->graph->network->output_count ? &session->outputs[index] : NULL;
}

const struct flow_tensor *flow_session_output(const flow_session *session, const char *name) {
    const struct network *network = session->graph->network;
    for (size_t i = 0; i < network->output_count; i++)
        if (strcmp(network->outputs[i].name, name) == 0) return flow_session_output_at(session, i);
    return NULL;
}

int32_t flow_session_output_axis(const flow_session *session, size_t index) {
    if (!session->outputs || index >= session->graph->network->output_count) return -1;
    const struct instance *instance = session->current->instance;
    return instance->values[instance->outputs[index]].stream_axis;
}

static int take_cotangent(flow_session *session, size_t index, const struct flow_tensor *value, struct report *report) {
    session->cotangents[index] = *value, session->given[index] = true;
    if (dtype_float(value->dtype)) return 0;
    return report_add(report, FLOW_ERROR_TYPE, file_position(session), "a cotangent is floating, this one is %s", dtype_name(value->dtype));
}

int flow_session_cotangent(flow_session *session, const char *output, const struct flow_tensor *value, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    int index = find_output(session, output, &report);
    if (index < 0) return errors_end(&report, errors, index);
    if (!session->options.gradients || session->plan_count)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, file_position(session),
                                     "cotangents belong to a session with gradients, before its first run"));
    int rc = take_cotangent(session, (size_t)index, value, &report);
    if (rc < 0) return errors_end(&report, errors, rc);
    return errors_end(&report, errors, 0);
}

bool flow_session_gradient(const flow_session *session, size_t index, const char **name, const struct flow_tensor **value) {
    if (!session->outputs || !session->options.gradients) return false;
    const struct instance *instance = session->current->instance;
    int32_t by = gradients_value(instance, index);
    if (by < 0) return false;
    const char *plain = instance->values[by].name, *kind = instance->values[by].kind == VALUE_INPUT ? "in." : "param.";
    strcpy(session->gradient_name, kind);
    strcat(session->gradient_name, plain);
    *name = session->gradient_name, *value = context_host(session->context, instance->network->output_count + index);
    return true;
}

void flow_session_reset(flow_session *session) {
    context_reset(session->context);
    session->started = false, session->outputs = NULL;
}

void flow_session_cancel(flow_session *session) { context_cancel(session->context); }

void flow_session_launches(const flow_session *session, struct flow_launches *out) {
    struct flow_launches made = {.size = out->size, .device = graph_device(session->graph)};
    const struct instance *instance = session->current ? session->current->instance : NULL;
    for (size_t n = 0; instance && n < instance->node_count; n++) {
        if (!instance->nodes[n].hosted || instance->nodes[n].role != NODE_FORWARD) continue;
        if (made.hosted++ == 0) made.first_hosted = instance->nodes[n].source->path;
    }
    made.uncaptured = context_captured(session->context, &made.captures, &made.replays);
    memcpy(out, &made, out->size < sizeof made ? out->size : sizeof made);
}

struct flow_memory flow_session_memory(const flow_session *session) {
    struct flow_memory memory = {.initialised = (int64_t)session->initialised};
    if (!session->current) return memory;
    const struct instance *instance = session->current->instance;
    const struct plan *plan = session->current->plan;
    memory.arena = plan->bytes, memory.unshared = plan->unshared;
    for (size_t i = 0; i < instance->param_count; i++) {
        const struct flow_tensor *type = &instance->values[instance->params[i]].type;
        memory.params += flow_tensor_count(type) * dtype_bytes(type->dtype);
    }
    for (size_t i = 0; i < instance->state_count; i++) {
        const struct flow_tensor *type = &instance->states[i].out;
        memory.states += flow_tensor_count(type) * dtype_bytes(type->dtype);
    }
    for (size_t i = 0; i < plan->packed_count; i++) memory.packed += plan->packed[i].bytes;
    return memory;
}

int flow_session_profile(flow_session *session, struct flow_profile *out, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(session));
    const struct profile *profile = context_profiled(session->context);
    if (!profile)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, file_position(session), "the session was made without `profile`"));
    struct flow_profile made = profile_public(session->graph, profile);
    made.streams = session->current ? session->current->plan->stream_count : 1;
    profile_give(&made, out);
    return errors_end(&report, errors, profile->incomplete ? report_memory(&report) : 0);
}

void flow_session_profile_reset(flow_session *session) {
    if (session->options.profile) (void)!context_profile_start(session->context);
}

int flow_session_times(flow_session *session, const struct flow_times **out, size_t *count) {
    /* The two structs are one: exec's is declared in the same order. */
    _Static_assert(sizeof(struct flow_times) == sizeof(struct context_times), "times are passed on as they are");
    const struct context_times *times;
    int rc = context_profile(session->context, &times, count);
    *out = (const struct flow_times *)(const void *)times;
    return rc;
}
