/* SPDX-License-Identifier: Apache-2.0 */
/* Where the times of nodes and the names in a trace come from: the steps of bindings. */
#include "exec/profile.h"
#include "exec/context.h"

#include <stdio.h>
#include <string.h>

enum { CHOICE_MOST = 256 };

/* ---- Rows ---- */

void profile_init(struct profile *profile, const struct allocator *from) {
    *profile = (struct profile){0};
    arena_init(&profile->arena, from);
    map_init(&profile->places, &profile->arena);
}

void profile_free(struct profile *profile) {
    if (!profile->arena.from) return;
    memory_free(profile->arena.from, profile->rows, profile->capacity * sizeof *profile->rows);
    arena_free(&profile->arena);
    *profile = (struct profile){0};
}

struct profile_row *profile_at(struct profile *profile, const struct profile_row *like) {
    struct text key;
    int64_t place = -1;
    text_init(&key, profile->arena.from);
    text_format(&key, "%d %s\n%s", (int)like->pass, like->node, like->op);
    bool good = !key.failed;
    if (good && !map_get(&profile->places, key.at, &place)) {
        struct profile_row row = *like;
        row.seconds = row.least = row.flops = row.bytes = 0, row.calls = 0;
        row.node = arena_text(&profile->arena, like->node), row.op = arena_text(&profile->arena, like->op);
        row.choice = arena_text(&profile->arena, like->choice);
        const char *kept = arena_text(&profile->arena, key.at);
        good = row.node && row.op && row.choice && kept &&
               memory_grow(profile->arena.from, (void **)&profile->rows, &profile->capacity, profile->count + 1, sizeof row) == 0 &&
               map_set(&profile->places, kept, (int64_t)profile->count) == 0;
        if (good) place = (int64_t)profile->count, profile->rows[profile->count++] = row;
    }
    text_free(&key);
    if (!good) profile->incomplete = true;
    return good ? &profile->rows[place] : NULL;
}

static int add_row(struct profile *into, const struct profile_row *from) {
    struct profile_row *row = profile_at(into, from);
    if (!row) return FLOW_ERROR_MEMORY;
    if (from->seconds > row->seconds && strcmp(row->choice, from->choice) != 0) { /* what was chosen where it took longest */
        const char *choice = arena_text(&into->arena, from->choice);
        if (choice) row->choice = choice;
    }
    row->seconds += from->seconds, row->least += from->least, row->calls += from->calls, row->flops += from->flops,
        row->bytes += from->bytes;
    return 0;
}

int profile_merge(struct profile *into, const struct profile *from) {
    int code = 0;
    for (size_t i = 0; i < from->count && code == 0; i++) code = add_row(into, &from->rows[i]);
    into->run_seconds += from->run_seconds, into->plan_seconds += from->plan_seconds, into->runs += from->runs;
    into->incomplete |= from->incomplete;
    return code;
}

/* ---- What a step is ---- */

static double tensor_bytes(const struct plan_tensor *t, uint32_t count) {
    double sum = 0;
    int64_t bytes;
    for (uint32_t i = 0; t && i < count; i++)
        if (t[i].place != PLACE_NONE && t[i].type.rank >= 0 && plan_bytes(&t[i].type, &bytes)) sum += (double)bytes;
    return sum;
}

/* Rows of an appended state stay where they are: how many are read is known in the run alone (profile_grown). */
static bool appended(const struct plan *plan, const struct plan_step *step, uint32_t i) {
    const struct instance *instance = plan->instance;
    const struct flow_state *about = instance->states[instance->nodes[step->node].state + (int32_t)i].about;
    return about && (about->flags & FLOW_APPENDED);
}

double profile_grown(const struct record *record) {
    const struct plan_step *step = record->step;
    double sum = 0;
    for (uint32_t i = 0; i < step->state_count; i++) {
        const struct flow_tensor *t = &record->call.state_in[i];
        double bytes = (double)dtype_bytes(t->dtype);
        if (step->state_in[i].place == PLACE_NONE || !appended(record->binding->plan, step, i)) continue;
        for (int32_t a = 0; a < t->rank; a++) bytes *= (double)t->shape[a];
        sum += bytes;
    }
    return sum;
}

/* Each tensor of the step once. */
static double step_bytes(const struct plan *plan, const struct plan_step *step) {
    double states = 0;
    for (uint32_t i = 0; i < step->state_count; i++)
        if (step->state_in[i].place != PLACE_NONE && !appended(plan, step, i))
            states += tensor_bytes(&step->state_in[i], 1) + tensor_bytes(&step->state_out[i], 1);
    return states + tensor_bytes(step->in, step->in_count) + tensor_bytes(step->out, step->out_count) +
           tensor_bytes(step->param, step->param_count) + tensor_bytes(step->read, step->read_count) +
           tensor_bytes(step->grad_out, step->read_count);
}

/* Backward does the forward's work once for the gradients of inputs and once for those of parameters; of several inputs (a product's
 * factors), twice for theirs. */
static double backward_share(const struct plan_step *step) {
    uint32_t in = 0, param = 0;
    for (uint32_t i = 0; i < step->out_count; i++)
        if (step->out[i].place != PLACE_NONE) *(i < step->in_count ? &in : &param) += 1;
    uint32_t share = (in > 2 ? 2 : in) + (param ? 1 : 0);
    return share < 1 ? 1 : share > 2 ? 2 : (double)share;
}

static const char *kind_name(enum plan_step_kind kind) {
    switch (kind) {
    case PLAN_COPY: return "(copy)";
    case PLAN_WIDEN: return "(to f32)";
    case PLAN_NARROW: return "(from f32)";
    case PLAN_PREPARE: return "(prepare)";
    case PLAN_GATHER: return "parameters";
    case PLAN_LOOP:
    case PLAN_LOOP_BACKWARD: return "loop";
    default: return "sum";
    }
}

static int32_t pass_of(const struct instance_node *node, const struct plan_step *step, bool backward) {
    if (step->kind == PLAN_BACKWARD || step->kind == PLAN_LOOP_BACKWARD || (node && node->role >= NODE_BACKWARD)) return PROFILE_BACKWARD;
    return backward || (node && node->role == NODE_AGAIN) ? PROFILE_AGAIN : PROFILE_FORWARD;
}

/* One call of a step. `backward`: it stands in the body of a loop's gradient. `choice`: room for what the operator says. */
static struct profile_row row_of(const struct plan *plan, size_t s, bool backward, char choice[CHOICE_MOST]) {
    const struct plan_step *step = &plan->steps[s];
    const struct instance_node *node = step->node >= 0 ? &plan->instance->nodes[step->node] : NULL;
    bool kernel = step->kind == PLAN_KERNEL || step->kind == PLAN_BACKWARD;
    bool between = node && node->role >= NODE_FILL;
    int32_t value = step->out_count ? step->out[0].value : -1;
    struct profile_row row = {.pass = pass_of(node, step, backward), .calls = 1, .bytes = step_bytes(plan, step), .choice = choice};
    row.kind = between ? PROFILE_GRADIENT : kernel || step->loop || step->kind == PLAN_GATHER ? PROFILE_NODE : PROFILE_COPY;
    row.node = between ? "(gradients)" : node ? node->source->path : value >= 0 ? plan->instance->values[value].name : "";
    row.op = between ? "sum" : kernel ? node->entry->op->name : kind_name(step->kind);
    row.dtype = node ? node->dtype : FLOW_F32;
    choice[0] = 0;
    if (step->loop) row.bytes = 0;
    if (!kernel) return row;
    /* What the operator says where that is less (rows of a large table); what is broadcast counts once, whatever it says. */
    if (step->kind == PLAN_KERNEL && node->infer.bytes > 0 && node->infer.bytes < row.bytes) row.bytes = node->infer.bytes;
    row.flops = node->infer.flops * (step->kind == PLAN_BACKWARD ? backward_share(step) : 1);
    if (step->kind == PLAN_KERNEL && node->entry->op->describe && node->entry->op->describe(&node->infer, choice, CHOICE_MOST) < 0)
        choice[0] = 0;
    choice[CHOICE_MOST - 1] = 0;
    if (step->kind != PLAN_KERNEL) return row;
    /* What other nodes would have done to the result is done on its way out, and has no row of its own. */
    const bool sum = step->residual.place != PLACE_NONE, activation = step->activation != FLOW_ACTIVATION_NONE;
    size_t used = strlen(choice);
    if (sum) row.bytes += tensor_bytes(&step->residual, 1);
    if (sum || activation)
        snprintf(choice + used, CHOICE_MOST - used, "%swith the next nodes' %s", used ? ", " : "",
                 sum && activation ? "activation and sum"
                 : sum             ? "sum"
                                   : "activation");
    return row;
}

/* ---- Taking the times ---- */

/* Brings what a binding has counted into the profile, and starts it anew. */
static void gather(struct profile *into, struct binding *binding, bool backward) {
    char choice[CHOICE_MOST];
    for (size_t s = 0; s < binding->count; s++) {
        bool inside = backward || binding->plan->steps[s].kind == PLAN_LOOP_BACKWARD;
        if (binding->loops[s]) gather(into, binding->loops[s]->body, inside);
        if (!binding->calls[s]) continue;
        struct profile_row row = row_of(binding->plan, s, backward, choice);
        double calls = (double)binding->calls[s];
        row.seconds = binding->seconds[s], row.least = binding->least[s] * calls, row.calls = binding->calls[s], row.flops *= calls,
        row.bytes = row.bytes * calls + binding->grown[s];
        if (add_row(into, &row) < 0) into->incomplete = true;
        binding->seconds[s] = binding->grown[s] = 0, binding->calls[s] = 0;
    }
    binding->within = 0;
}

void profile_take(struct binding *binding) {
    struct context *context = binding->context;
    if (context->profiling && binding->count && binding->loops && binding->calls) gather(&context->profile, binding, false);
}

int context_profile_start(struct context *context) {
    for (struct binding *b = context->bindings; b; b = b->next) profile_take(b);
    profile_free(&context->profile);
    profile_init(&context->profile, context->from);
    context->profiling = true;
    return 0;
}

const struct profile *context_profiled(struct context *context) {
    if (!context->profiling) return NULL;
    for (struct binding *b = context->bindings; b; b = b->next) profile_take(b);
    return &context->profile;
}

void context_planned(struct context *context, double seconds) {
    if (context->profiling) context->profile.plan_seconds += seconds;
}

/* By node alone: both directions, and the node's copies. */
int context_profile(struct context *context, const struct context_times **times, size_t *count) {
    const struct profile *profile = context_profiled(context);
    *times = NULL, *count = 0;
    if (!profile) return 0;
    if (profile->incomplete) return FLOW_ERROR_MEMORY;
    memory_free(context->from, context->times, context->times_count * sizeof *context->times);
    context->times_count = 0;
    if (!(context->times = memory_array(context->from, profile->count + 1, sizeof *context->times))) return FLOW_ERROR_MEMORY;
    context->times_count = profile->count + 1;
    for (size_t i = 0; i < profile->count; i++) {
        const struct profile_row *row = &profile->rows[i];
        size_t place = 0;
        while (place < *count && strcmp(context->times[place].node, row->node) != 0) place++;
        struct context_times *one = &context->times[place];
        if (place == *count) *one = (struct context_times){.node = row->node, .op = row->op}, (*count)++;
        if (row->kind == PROFILE_NODE) one->op = row->op;
        one->seconds += row->seconds;
        if (row->kind != PROFILE_NODE || row->pass == PROFILE_BACKWARD) continue;
        one->calls += row->calls, one->flops += row->flops, one->bytes += row->bytes;
    }
    *times = context->times;
    return 0;
}

/* ---- Names in a trace ---- */

static void put_types(struct text *out, const char *key, const struct plan_tensor *tensors, uint32_t count) {
    bool any = false;
    text_format(out, ", \"%s\": \"", key);
    for (uint32_t i = 0; i < count; i++) {
        const struct flow_tensor *type = &tensors[i].type;
        if (tensors[i].place == PLACE_NONE || type->rank < 0) continue;
        text_format(out, "%s%s [", any ? ", " : "", dtype_name(type->dtype));
        for (int32_t a = 0; a < type->rank; a++) text_format(out, "%s%lld", a ? ", " : "", (long long)type->shape[a]);
        text_put(out, "]");
        any = true;
    }
    text_put(out, "\"");
}

static const struct trace_label *label_of(const struct binding *binding, size_t s) {
    const struct plan_step *step = &binding->plan->steps[s];
    char choice[CHOICE_MOST], name[256];
    struct profile_row row = row_of(binding->plan, s, false, choice);
    struct text about;
    text_init(&about, binding->context->from);
    text_put(&about, "\"op\": ");
    text_json(&about, row.op);
    if (choice[0]) text_put(&about, ", \"choice\": "), text_json(&about, choice);
    put_types(&about, "in", step->in, step->in_count);
    put_types(&about, "out", step->out, step->out_count);
    text_format(&about, ", \"flops\": %.0f, \"bytes\": %.0f", row.flops, row.bytes);
    if (binding->plan->stream_count > 1) text_format(&about, ", \"stream\": %d", (int)step->stream);
    bool plain = row.pass == PROFILE_FORWARD && row.kind == PROFILE_NODE;
    snprintf(name, sizeof name, "%s%s%s", row.node, plain || row.kind == PROFILE_GRADIENT ? "" : " ",
             plain || row.kind == PROFILE_GRADIENT ? ""
             : row.kind == PROFILE_COPY            ? row.op
             : row.pass == PROFILE_AGAIN           ? "(again)"
                                                   : "(backward)");
    static const char *const kinds[] = {"node", "copy", "gradient"};
    const struct trace_label *label = trace_label(
        binding->context->device->trace, &(struct trace_about){TRACE_SPAN, name, kinds[row.kind], about.failed ? NULL : about.at, "run"});
    text_free(&about);
    return label;
}

int binding_label(struct binding *binding) {
    struct trace *trace = binding->context->device->trace;
    if (!trace) return 0;
    if (!(binding->labels = arena_array(&binding->arena, binding->count + 1, sizeof *binding->labels))) return FLOW_ERROR_MEMORY;
    for (size_t s = 0; s < binding->count; s++) binding->labels[s] = label_of(binding, s);
    for (size_t i = 0; i < binding->segment_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "stream %d", (int)binding->segments[i].stream);
        binding->segments[i].label = trace_label(trace, &(struct trace_about){TRACE_SPAN, name, "stream", NULL, NULL});
    }
    const struct trace_label *memory = trace_label(trace, &(struct trace_about){TRACE_COUNTER, "planned memory", "memory", NULL, "bytes"});
    trace_record(trace, memory, 0, binding->context->arena.bytes);
    return 0;
}
