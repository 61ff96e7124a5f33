/* SPDX-License-Identifier: Apache-2.0 */
#include "train/program.h"
#include "grad/grad.h"
#include "train/group.h"

#include <string.h>

enum { PLANS_MOST = 8 };

struct entry {
    struct instance *instance;
    struct plan *plan;
    int32_t *gradient; /* by param of the instance: the output that holds it; -1 */
    size_t first_ref;  /* output that holds the first of refs */
    uint64_t used;
};

struct program {
    struct program_options options;
    struct context *context;
    struct entry entries[PLANS_MOST];
    size_t count;
    struct entry *current;
    uint64_t clock;
    const struct flow_tensor *outputs;
};

static void drop(struct program *program, struct entry *entry) {
    if (program->context && entry->plan) context_forget(program->context, entry->plan);
    plan_free(entry->plan);
    instance_free(entry->instance);
    *entry = (struct entry){0};
}

int program_new(const struct program_options *options, struct report *report, struct program **out) {
    *out = NULL;
    struct program *program = memory_new(options->from, sizeof *program);
    if (!program) return report_memory(report);
    program->options = *options;
    if (context_new(options->from, options->model, &program->context) < 0) {
        memory_free(options->from, program, sizeof *program);
        return report_memory(report);
    }
    *out = program;
    return options->profile ? context_profile_start(program->context) : 0;
}

void program_forget(struct program *program) {
    if (!program) return;
    for (size_t e = 0; e < program->count; e++) drop(program, &program->entries[e]);
    program->count = 0, program->current = NULL, program->outputs = NULL;
    context_reset(program->context);
}

void program_free(struct program *program) {
    if (!program) return;
    program_forget(program);
    context_free(program->context);
    memory_free(program->options.from, program, sizeof *program);
}

static bool trained(const struct instance_value *value) {
    return (value->type.dtype == FLOW_F32 || value->type.dtype == FLOW_F64) && !(value->flags & FLOW_RUNNING);
}

/* ---- Making a plan ---- */

static const int32_t *ref_value(const struct program *program, const struct instance *instance, struct network_ref ref) {
    for (size_t r = 0; r < program->options.ref_count; r++) {
        const struct network_ref *known = &program->options.refs[r];
        if (known->node == ref.node && known->output == ref.output) return &instance->refs[r];
    }
    return NULL;
}

static int fill_pass(const struct program *program, struct entry *entry, size_t number, struct grad_pass *pass, struct report *report) {
    struct instance *instance = entry->instance;
    const struct program_pass *about = &program->options.passes[number];
    struct grad_root *roots = arena_array(&instance->arena, about->count, sizeof *roots);
    int32_t *wants = arena_array(&instance->arena, instance->param_count, sizeof *wants);
    int32_t *found = arena_array(&instance->arena, instance->param_count, sizeof *found);
    if (!roots || !wants || !found) return report_memory(report);
    for (size_t l = 0; l < about->count; l++) {
        const int32_t *value = ref_value(program, instance, about->losses[l].ref);
        if (!value || *value < 0)
            return report_add(report, FLOW_ERROR_INTERNAL, about->losses[l].at, "loss '%s' has no value", about->losses[l].name);
        if (!dtype_float(instance->values[*value].type.dtype))
            return report_add(report, FLOW_ERROR_TYPE, about->losses[l].at, "loss '%s' is %s, expected a floating value",
                              about->losses[l].name, dtype_name(instance->values[*value].type.dtype));
        roots[l] = (struct grad_root){*value, about->losses[l].weight, -1};
    }
    *pass = (struct grad_pass){roots, about->count, wants, 0, found};
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct instance_value *value = &instance->values[instance->params[p]];
        if (!trained(value) || program->options.pass_of(program->options.context, value->name) != (int32_t)number) continue;
        wants[pass->want_count++] = instance->params[p];
    }
    return 0;
}

/* Outputs: the gradients, pass by pass in order of the parameters, then the values that are wanted. The network's own are left out. */
static int list_outputs(const struct program *program, struct entry *entry, const struct grad_pass *passes, struct report *report) {
    struct instance *instance = entry->instance;
    for (size_t o = 0; o < instance->output_count; o++) instance->outputs[o] = -1;
    entry->gradient = arena_array(&instance->arena, instance->param_count, sizeof *entry->gradient);
    if (!entry->gradient) return report_memory(report);
    for (size_t p = 0; p < instance->param_count; p++) entry->gradient[p] = -1;
    for (size_t n = 0; n < program->options.pass_count; n++) {
        for (size_t w = 0; w < passes[n].want_count; w++)
            for (size_t p = w; p < instance->param_count; p++)
                if (instance->params[p] == passes[n].wants[w]) {
                    entry->gradient[p] = (int32_t)(instance->output_count + w);
                    break;
                }
        if (grad_outputs(instance, passes[n].gradients, passes[n].want_count) < 0) return report_memory(report);
    }
    entry->first_ref = instance->output_count;
    return grad_outputs(instance, instance->refs, program->options.ref_count) < 0 ? report_memory(report) : 0;
}

/* Parameters get the model's names, those of loops' bodies too. */
static int rename_parameters(const struct program_options *options, struct instance *instance) {
    for (size_t p = 0; p < instance->param_count; p++) {
        struct instance_value *value = &instance->values[instance->params[p]];
        for (size_t r = 0; r < options->rename_count; r++) {
            const char *name;
            if (!pattern_map(&instance->arena, options->renames[r].from, options->renames[r].to, value->name, &name)) continue;
            if (!name) return FLOW_ERROR_MEMORY;
            value->name = name;
            break;
        }
    }
    for (size_t n = 0; n < instance->node_count; n++)
        if (instance->nodes[n].body && !instance->nodes[n].borrowed && rename_parameters(options, instance->nodes[n].body) < 0)
            return FLOW_ERROR_MEMORY;
    return 0;
}

static int make(struct program *program, const struct flow_tensor *inputs, struct entry *entry, struct report *report) {
    const struct program_options *options = &program->options;
    const struct device *device = model_device(options->model);
    const int32_t kind = device->api->kind;
    struct instance_options about = {.host = options->host,
                                     .device = kind,
                                     .cpu = kind == FLOW_DEVICE_CPU ? NULL : device->cpu->host,
                                     .phase = options->phase,
                                     .precision = options->precision,
                                     .inputs = inputs,
                                     .seed = options->seed,
                                     .seeded = options->seeded,
                                     .differentiate = options->pass_count > 0,
                                     .refs = options->refs,
                                     .ref_count = options->ref_count};
    int code = instance_new(options->from, options->network, &about, report, &entry->instance);
    if (code < 0) return code;
    if (rename_parameters(options, entry->instance) < 0) return report_memory(report);
    struct grad_pass *passes = arena_array(&entry->instance->arena, options->pass_count, sizeof *passes);
    if (!passes) return report_memory(report);
    for (size_t n = 0; n < options->pass_count && code == 0; n++) code = fill_pass(program, entry, n, &passes[n], report);
    if (code == 0) code = grad_differentiate(entry->instance, passes, options->pass_count, report);
    if (code == 0) code = list_outputs(program, entry, passes, report);
    struct plan_options plan = {.streams = options->streams, .device = kind, .host = options->host, .changing = options->changing};
    return code == 0 ? plan_new(options->from, entry->instance, &plan, report, &entry->plan) : code;
}

static struct entry *find(struct program *program, const struct flow_tensor *inputs) {
    struct instance_options about = {.inputs = inputs};
    for (size_t e = 0; e < program->count; e++)
        if (instance_fits(program->entries[e].instance, &about)) return &program->entries[e];
    return NULL;
}

static struct entry *make_place(struct program *program) {
    if (program->count < PLANS_MOST) return &program->entries[program->count++];
    struct entry *oldest = NULL;
    for (size_t e = 0; e < PLANS_MOST; e++)
        if (!oldest || program->entries[e].used < oldest->used) oldest = &program->entries[e];
    drop(program, oldest);
    return oldest;
}

int program_shape(struct program *program, const struct flow_tensor *inputs, struct report *report) {
    struct entry *entry = program->current;
    struct instance_options about = {.inputs = inputs};
    if (!entry || !instance_fits(entry->instance, &about)) entry = find(program, inputs);
    if (!entry) {
        struct entry made = {0};
        int code = make(program, inputs, &made, report);
        if (code < 0) {
            drop(program, &made);
            return code;
        }
        entry = make_place(program);
        *entry = made;
    }
    program->current = entry;
    entry->used = ++program->clock;
    return 0;
}

int program_plan(struct program *program, const struct flow_tensor *inputs, struct report *report) {
    int code = program_shape(program, inputs, report);
    return code == 0 ? context_bind(program->context, program->current->plan, report) : code;
}

int program_run(struct program *program, const struct flow_tensor *inputs, uint64_t number, struct report *report) {
    int code = program_plan(program, inputs, report);
    program->outputs = NULL;
    if (code < 0) return code;
    context_number(program->context, number);
    return context_run(program->context, inputs, report, &program->outputs);
}

const struct flow_tensor *program_value(const struct program *program, size_t ref) {
    return program->outputs ? context_host(program->context, program->current->first_ref + ref) : NULL;
}

const struct flow_tensor *program_value_there(const struct program *program, size_t ref) {
    return program->outputs ? &program->outputs[program->current->first_ref + ref] : NULL;
}

const struct flow_tensor *program_gradient(const struct program *program, size_t param) {
    if (!program->outputs || program->current->gradient[param] < 0) return NULL;
    return &program->outputs[program->current->gradient[param]];
}

const struct instance *program_instance(const struct program *program) { return program->current ? program->current->instance : NULL; }
const struct plan *program_planned(const struct program *program) { return program->current ? program->current->plan : NULL; }
struct context *program_context(const struct program *program) {
    return program->context;
}
