/* SPDX-License-Identifier: Apache-2.0 */
/* What stays between runs: the states of streaming nodes, and feeds. */
#include "exec/context.h"

#include <stdio.h>
#include <string.h>

static bool stays(const struct instance_state *state) { return state->about && (state->about->flags & (FLOW_IN_PLACE | FLOW_APPENDED)); }

static bool grows(const struct instance_state *state) { return state->about && (state->about->flags & FLOW_APPENDED); }

static bool same_extents(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (a->rank != b->rank || a->dtype != b->dtype) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

/* What a state is in this run. An appended one may hold any number of rows by now, whatever the plan was made for: it grows by as many as
 * planned. Its type is the plan's, which may differ from the instance's. */
static struct flow_tensor extents(const struct instance *instance, const struct state_use *use, const struct exec_state *state, bool out) {
    const struct instance_state *about = &instance->states[use->state];
    struct flow_tensor t = out ? about->out : about->in;
    t.dtype = use->tensor->dtype;
    if (!grows(about) || instance->first || !state->filled) return t;
    int32_t axis = about->about->axis;
    int64_t more = out ? about->out.shape[axis] - about->in.shape[axis] : 0;
    if (!size_add(state->now.shape[axis], more, &t.shape[axis])) t.shape[axis] = INT64_MAX;
    return t;
}

/* ---- Room ---- */

/* The tensor as it lies in a buffer with room for `capacity` along the axis. */
static struct flow_tensor laid_out(const struct flow_tensor *type, int32_t axis, int64_t capacity, void *data) {
    struct flow_tensor roomy = *type;
    roomy.shape[axis] = capacity;
    struct flow_tensor packed = plan_packed_type(&roomy);
    packed.shape[axis] = type->shape[axis];
    packed.data = data;
    return packed;
}

static int room(struct context *context, struct buffer *buffer, int64_t bytes, bool keep) {
    if (buffer->bytes >= bytes && buffer->data) return 0;
    struct buffer grown = {0};
    int code = context_room(context, &grown, bytes);
    if (code < 0) return code;
    if (keep && buffer->bytes) code = context_move(context, grown.data, buffer->data, buffer->bytes);
    context_room_free(context, buffer);
    *buffer = grown;
    return code;
}

/* Rows are appended many times and copied seldom: room doubles. */
static int room_appended(struct context *context, struct exec_state *state, const struct flow_tensor *in, const struct flow_tensor *out,
                         int32_t axis) {
    int64_t need = out->shape[axis] > in->shape[axis] ? out->shape[axis] : in->shape[axis], bytes;
    bool goes_on = state->filled && same_extents(&state->now, in);
    if (goes_on && need <= state->capacity) return 0;
    struct flow_tensor before = *out;
    before.shape[axis] = state->capacity;
    if (!goes_on && state->capacity > 0 && need <= state->capacity && plan_bytes(&before, &bytes) && bytes <= state->buffers[0].bytes)
        return 0; /* a new sequence in the room of the last */
    int64_t capacity = goes_on ? state->capacity : 0;
    if (capacity < 16) capacity = 16;
    while (capacity < need)
        if (!size_multiply(capacity, 2, &capacity)) return FLOW_ERROR_MEMORY;
    struct flow_tensor roomy = *out;
    roomy.shape[axis] = capacity;
    if (!plan_bytes(&roomy, &bytes)) return FLOW_ERROR_MEMORY;
    struct buffer grown = {0};
    int code = context_room(context, &grown, bytes > 0 ? bytes : 1);
    if (code < 0) return code;
    if (goes_on) {
        struct flow_tensor from = laid_out(&state->now, axis, state->capacity, state->buffers[0].data);
        struct flow_tensor to = laid_out(&state->now, axis, capacity, grown.data);
        code = context_spread(context, &to, &from);
    }
    context_room_free(context, &state->buffers[0]);
    state->buffers[0] = grown, state->capacity = capacity;
    return code;
}

static int bind_state(struct context *context, const struct instance *instance, const struct state_use *use) {
    const struct instance_state *about = &instance->states[use->state];
    struct exec_state *state = &context->states[use->state];
    struct flow_tensor in = extents(instance, use, state, false), out = extents(instance, use, state, true);
    int64_t in_bytes, out_bytes;
    if (!plan_bytes(&in, &in_bytes) || !plan_bytes(&out, &out_bytes)) return FLOW_ERROR_MEMORY;
    if (grows(about)) return room_appended(context, state, &in, &out, about->about->axis);
    int64_t most = in_bytes > out_bytes ? in_bytes : out_bytes;
    int code = room(context, &state->buffers[state->current], most > 0 ? most : 1, state->filled);
    if (code == 0 && !stays(about)) code = room(context, &state->buffers[1 - state->current], most > 0 ? most : 1, false);
    return code;
}

static int bind_feed(struct context *context, const struct instance_value *value, size_t f, struct report *report) {
    struct exec_feed *feed = &context->feeds[f];
    int64_t bytes;
    if (feed->filled && !same_extents(&feed->type, &value->type))
        return report_add(report, FLOW_ERROR_SHAPE, (struct position){0},
                          "'%s' keeps a value from the run before, and this run's has other extents: reset first", value->name);
    if (!plan_bytes(&value->type, &bytes) || room(context, &feed->buffer, bytes > 0 ? bytes : 1, feed->filled) < 0)
        return report_memory(report);
    feed->type = plan_packed_type(&value->type);
    feed->type.data = feed->buffer.data, feed->type.device = context->device->api->kind;
    return 0;
}

int states_bind(struct binding *binding, struct report *report) {
    struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    for (size_t u = 0; u < binding->state_count; u++)
        if (bind_state(context, instance, &binding->states[u]) < 0) return report_memory(report);
    for (size_t f = 0; f < binding->plan->feed_count; f++) {
        if (binding->plan->feeds[f] < 0) continue;
        int code = bind_feed(context, &instance->values[binding->plan->feeds[f]], f, report);
        if (code < 0) return code;
    }
    return 0;
}

/* ---- Before and after a run ---- */

static int fill_state(struct context *context, const struct instance_state *about, int32_t dtype, struct exec_state *state,
                      struct report *report) {
    struct flow_tensor made = plan_packed_type(&about->in);
    made.dtype = dtype;
    made.data = state->buffers[state->current].data;
    char why[256];
    int64_t bytes = 0;
    int code = 0;
    if (grows(about) && plan_bytes(&made, &bytes) && bytes > 0) {
        /* Row-major first, then spread to where its rows have room to grow. */
        struct flow_tensor spread = laid_out(&made, about->about->axis, state->capacity, made.data);
        struct buffer aside = {0};
        if (context_room(context, &aside, bytes) < 0) return report_memory(report);
        made.data = aside.data;
        code = context_initialise(context, &made, about->init, 0, why, sizeof why);
        if (code == 0) code = context_spread(context, &spread, &made);
        context_room_free(context, &aside);
    } else if (plan_bytes(&made, &bytes) && bytes > 0) code = context_initialise(context, &made, about->init, 0, why, sizeof why);
    if (code < 0) return report_add(report, code, (struct position){0}, "state '%s': %s", about->name, why);
    state->now = about->in, state->now.dtype = dtype, state->filled = true;
    return 0;
}

/* An error before anything was computed: the states are as they were. */
static int check_state(const struct flow_tensor *in, const char *name, const struct exec_state *state, struct report *report) {
    if (state->filled && same_extents(&state->now, in)) return 0;
    return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "state '%s': this piece does not follow the one before", name);
}

static int begin_states(struct binding *binding, struct report *report) {
    struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    for (size_t u = 0; u < binding->state_count; u++) {
        struct state_use *use = &binding->states[u];
        const struct instance_state *about = &instance->states[use->state];
        struct exec_state *state = &context->states[use->state];
        struct flow_tensor *t = use->tensor, in = extents(instance, use, state, false);
        if (!use->out) {
            int code = instance->first ? fill_state(context, about, t->dtype, state, report) : check_state(&in, about->name, state, report);
            if (code < 0) return code;
        }
        bool other = use->out && !stays(about);
        t->data = state->buffers[other ? 1 - state->current : state->current].data;
        if (!grows(about)) continue;
        struct flow_tensor now = extents(instance, use, state, use->out),
                           spread = laid_out(&now, about->about->axis, state->capacity, t->data);
        memcpy(t->shape, now.shape, sizeof t->shape), memcpy(t->strides, spread.strides, sizeof t->strides);
        if (now.shape[about->about->axis] > state->capacity) return report_memory(report); /* bound, and then run twice */
    }
    return 0;
}

static int begin_feeds(struct binding *binding, struct report *report) {
    struct context *context = binding->context;
    for (size_t f = 0; f < binding->plan->feed_count; f++) {
        if (binding->plan->feeds[f] < 0) continue;
        const struct instance_value *value = &binding->plan->instance->values[binding->plan->feeds[f]];
        struct exec_feed *feed = &context->feeds[f];
        if (feed->filled && !value->run_reset) continue;
        char why[256];
        int code = context_initialise(context, &feed->type, value->init, value->seed, why, sizeof why);
        if (code < 0) return report_add(report, code, (struct position){0}, "'%s': %s", value->name, why);
        feed->filled = true;
    }
    return 0;
}

int states_begin(struct binding *binding, struct report *report) {
    struct context *context = binding->context;
    bool keeps = binding->state_count > 0 || binding->plan->feed_count > 0;
    if (!keeps) return 0;
    if (context->broken && binding->state_count > 0 && binding->plan->instance->first) context->broken = false;
    if (context->broken)
        return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "the run before failed, so what it kept is lost: reset first");
    int code = begin_states(binding, report);
    return code == 0 ? begin_feeds(binding, report) : code;
}

void states_end(struct binding *binding) {
    struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    for (size_t u = 0; u < binding->state_count; u++) {
        if (!binding->states[u].out) continue;
        int32_t s = binding->states[u].state;
        struct exec_state *state = &context->states[s];
        state->now = extents(instance, &binding->states[u], state, true);
        if (!stays(&instance->states[s])) state->current = 1 - state->current;
    }
}
