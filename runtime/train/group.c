/* SPDX-License-Identifier: Apache-2.0 */
#include "train/group.h"
#include "graph/extents.h"
#include "train/update.h"

#include <flow/random.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Names ---- */

int32_t groups_owner(const struct training *training, const char *parameter) {
    for (size_t g = 0; g < training->update_count; g++)
        if (text_matches(training->updates[g].params, parameter)) return (int32_t)g;
    return -1;
}

bool groups_with_gradient(const struct training_update *update) {
    return update->optimizer && !(update->optimizer->optimizer->flags & FLOW_OPTIMIZER_NO_GRADIENT);
}

struct piece {
    const char *at;
    size_t length;
};

/* Splits `name` at what the stars of `pattern` stand for, shortest first. */
static bool split(const char *pattern, const char *name, struct piece *pieces, size_t at, size_t most, size_t *count) {
    while (*pattern && *pattern != '*') {
        if (*pattern != *name) return false;
        pattern++, name++;
    }
    if (!*pattern) {
        *count = at;
        return !*name;
    }
    if (at == most) return false;
    for (size_t length = 0;; length++) {
        pieces[at] = (struct piece){name, length};
        if (split(pattern + 1, name + length, pieces, at + 1, most, count)) return true;
        if (!name[length]) return false;
    }
}

bool pattern_map(struct arena *arena, const char *from, const char *to, const char *name, const char **out) {
    enum { STARS = 4 }; /* more of them only try longer */
    struct piece pieces[STARS];
    size_t count = 0, length = 0, star = 0;
    *out = NULL;
    if (!split(from, name, pieces, 0, STARS, &count)) return false;
    for (const char *c = to; *c; c++) length += *c == '*' && star < count ? pieces[star++].length : 1;
    char *made = arena_new(arena, length + 1);
    if (!made) return true;
    char *end = made;
    star = 0;
    for (const char *c = to; *c; c++) {
        if (*c != '*' || star >= count) {
            *end++ = *c;
            continue;
        }
        memcpy(end, pieces[star].at, pieces[star].length);
        end += pieces[star++].length;
    }
    *out = made;
    return true;
}

/* ---- Making ---- */

static int fail(void *owner, int code, const char *format, ...) {
    struct groups *groups = owner;
    va_list arguments;
    va_start(arguments, format);
    if (!groups->failed) vsnprintf(groups->message, sizeof groups->message, format, arguments), groups->failed = code;
    va_end(arguments);
    return code;
}

static bool never(void *owner) {
    (void)owner;
    return false;
}

static void silent(void *owner, const char *format, ...) { (void)owner, (void)format; }

static int told(struct groups *groups, const struct group *group, int code, struct report *report) {
    code = report_add(report, groups->failed ? groups->failed : code, group->update->optimizer_at, "optimizer '%s': %s",
                      group->optimizer->name, groups->message[0] ? groups->message : status_text(code));
    groups->failed = 0, groups->message[0] = 0;
    return code;
}

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

static int64_t room_of(const struct flow_tensor *t) { return size_align(elements(t) * dtype_bytes(t->dtype), 64); }

static int make_group(struct groups *groups, const struct instance *instance, size_t g, struct report *report) {
    struct group *group = &groups->at[g];
    const struct training_update *update = &groups->training->updates[g];
    group->update = update, group->optimizer = update->optimizer ? update->optimizer->optimizer : NULL;
    group->params = arena_array(&groups->arena, instance->param_count, sizeof *group->params);
    group->names = arena_array(&groups->arena, instance->param_count, sizeof *group->names);
    group->keys = arena_array(&groups->arena, instance->param_count, sizeof *group->keys);
    group->param = arena_array(&groups->arena, instance->param_count, sizeof *group->param);
    group->grad = arena_array(&groups->arena, instance->param_count, sizeof *group->grad);
    group->value = arena_array(&groups->arena, instance->param_count, sizeof *group->value);
    if (!group->params || !group->names || !group->keys || !group->param || !group->grad || !group->value) return report_memory(report);
    if (!group->optimizer) return 0;
    group->step = group->optimizer->step, group->workspace = group->optimizer->workspace;
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct instance_value *value = &instance->values[instance->params[p]];
        if (groups_owner(groups->training, value->name) != (int32_t)g || value->flags & FLOW_RUNNING) continue;
        if (group->optimizer->flags & FLOW_OPTIMIZER_NO_GRADIENT && !(group->optimizer->flags & (FLOW_OPTIMIZER_VALUE | FLOW_OPTIMIZER_OF)))
            continue; /* none */
        const struct flow_tensor *param = model_get(groups->model, value->name);
        if (param->dtype != FLOW_F32 && param->dtype != FLOW_F64) {
            if (strchr(update->params, '*')) continue; /* vocabularies and the like are not trained */
            return report_add(report, FLOW_ERROR_TYPE, update->params_at, "parameter '%s' is %s: f32 and f64 can be trained", value->name,
                              dtype_name(param->dtype));
        }
        uint32_t i = group->count;
        group->names[i] = arena_text(&groups->arena, value->name);
        if (!group->names[i]) return report_memory(report);
        group->params[i] = p, group->param[i] = *param;
        group->keys[i] = update_noise_key(groups->seed, value->name);
        group->grad[i].rank = -1;
        if (group->optimizer->accepts && group->optimizer->accepts(&groups->host, groups, update->attrs, param) < 0) {
            char why[512];
            snprintf(why, sizeof why, "%s", groups->message);
            groups->failed = 0, groups->message[0] = 0;
            return report_add(report, FLOW_ERROR_SHAPE, update->optimizer_at, "optimizer '%s' cannot own parameter '%s': %s",
                              group->optimizer->name, value->name, why);
        }
        group->count++;
    }
    return 0;
}

static int find_others(struct groups *groups, struct group *group, struct report *report) {
    for (uint32_t i = 0; i < group->count; i++) {
        const char *other;
        if (!pattern_map(&groups->arena, group->update->params, group->update->of, group->names[i], &other)) continue;
        const struct flow_tensor *value = other ? model_get(groups->model, other) : NULL;
        if (!other) return report_memory(report);
        if (!value)
            return report_add(report, FLOW_ERROR_GRAPH, group->update->of_at, "'%s' would follow '%s', and there is no such parameter",
                              group->names[i], other);
        if (!extents_same(value, &group->param[i]))
            return report_add(report, FLOW_ERROR_SHAPE, group->update->of_at, "'%s' would follow '%s', which has another shape",
                              group->names[i], other);
        group->value[i] = *value;
    }
    return 0;
}

/* Types of the states; data come later. */
static int declare_states(struct groups *groups, struct group *group, int64_t *bytes, struct report *report) {
    const struct flow_optimizer *optimizer = group->optimizer;
    uint64_t used = optimizer->uses ? optimizer->uses(group->update->attrs) : UINT64_MAX;
    group->states = optimizer->states.count;
    group->state = arena_array(&groups->arena, (size_t)group->states * group->count, sizeof *group->state);
    if (!group->state) return report_memory(report);
    for (uint32_t s = 0; s < group->states; s++)
        for (uint32_t i = 0; i < group->count; i++) {
            struct flow_tensor *state = &group->state[s * group->count + i];
            *state = plan_packed_type(&group->param[i]);
            const struct flow_state *about = &optimizer->states.at[s];
            if (about->shape && !*about->shape) state->rank = 0;
            for (int32_t t = 0; t < FLOW_TYPE_COUNT; t++)
                if (about->types == (1u << t)) state->dtype = t;
            if (!(used >> (s < 63 ? s : 63) & 1u)) state->rank = -1;
            *bytes += room_of(state);
        }
    return 0;
}

static int place(struct groups *groups, const struct instance *instance, struct report *report) {
    int64_t bytes = 0, at = 0;
    for (size_t g = 0; g < groups->count; g++) {
        if (!groups->at[g].optimizer) continue;
        int code = declare_states(groups, &groups->at[g], &bytes, report);
        if (code < 0) return code;
    }
    groups->sums = arena_array(&groups->arena, instance->param_count, sizeof *groups->sums);
    if (!groups->sums) return report_memory(report);
    for (size_t p = 0; p < instance->param_count; p++) groups->sums[p].rank = -1;
    for (size_t g = 0; g < groups->count && groups->training->micro_batches > 1; g++)
        for (uint32_t i = 0; i < groups->at[g].count && groups_with_gradient(groups->at[g].update); i++) {
            groups->sums[groups->at[g].params[i]] = plan_packed_type(&groups->at[g].param[i]);
            bytes += room_of(&groups->at[g].param[i]);
        }
    if (bytes && groups->device->api->memory_new(groups->device, bytes, &groups->memory) < 0) return report_memory(report);
    groups->memory_bytes = bytes;
    for (size_t g = 0; g < groups->count; g++) {
        struct group *group = &groups->at[g];
        for (uint32_t k = 0; k < group->states * group->count; k++) {
            if (group->state[k].rank < 0) continue;
            group->state[k].data = (char *)groups->memory + at, at += room_of(&group->state[k]);
        }
    }
    for (size_t p = 0; p < instance->param_count; p++)
        if (groups->sums[p].rank >= 0) groups->sums[p].data = (char *)groups->memory + at, at += room_of(&groups->sums[p]);
    return 0;
}

static int initialise(struct groups *groups, struct report *report) {
    for (size_t g = 0; g < groups->count; g++) {
        struct group *group = &groups->at[g];
        for (uint32_t k = 0; k < group->states * group->count; k++) {
            const char *init = group->optimizer->states.at[k / group->count].init;
            if (group->state[k].rank < 0) continue;
            char why[256];
            int code = model_initialise(groups->device, groups->from, &group->state[k], init ? init : "zeros", why, sizeof why);
            if (code < 0)
                return report_add(report, code, group->update->optimizer_at, "optimizer '%s': state '%s': %s", group->optimizer->name,
                                  group->optimizer->states.at[k / group->count].name, why);
        }
    }
    return 0;
}

static struct flow_update update_of(struct groups *groups, const struct group *group) {
    return (struct flow_update){.size = sizeof(struct flow_update),
                                .count = group->count,
                                .call = &groups->call,
                                .attrs = group->update->attrs,
                                .param = group->param,
                                .grad = group->grad,
                                .value = group->value,
                                .state = group->state,
                                .step = group->steps,
                                .rate = 1,
                                .scale = 1,
                                .seed = group->seed,
                                .workspace = groups->workspace};
}

/* What the workspace of a pass begins with on a device apart: its result, brought to the host. */
enum { SUM_ROOM = 64 };

static int64_t pass_workspace(const struct groups *groups, const struct group *group) {
    if (!groups->device->api->apart) return update_workspace(group->count, group->param);
    return SUM_ROOM + groups->device->training->workspace(group->count, group->param);
}

/* Scaling, noise and norm where the gradients are. */
static int pass_over(struct groups *groups, struct update_pass *pass, struct update_sum *sum) {
    struct device *device = groups->device;
    if (!device->api->apart) {
        update_prepare(pass, sum);
        return 0;
    }
    pass->workspace = (char *)groups->workspace + SUM_ROOM;
    struct update_sum *there = groups->workspace;
    int code = device->training->prepare(groups->call.stream, pass, there);
    if (code == 0) code = device->api->copy(groups->stream, sum, there, sizeof *sum, DEVICE_OUT);
    int waited = device->api->synchronize(groups->stream);
    return code != 0 ? FLOW_ERROR_INTERNAL : waited;
}

static int make_workspace(struct groups *groups, struct report *report) {
    int64_t most = 0;
    for (size_t g = 0; g < groups->count; g++) {
        struct group *group = &groups->at[g];
        if (!group->count) continue;
        struct flow_update update = update_of(groups, group);
        int64_t bytes = group->workspace ? group->workspace(&update) : 0;
        int64_t pass = groups_with_gradient(group->update) ? pass_workspace(groups, group) : 0;
        if (bytes > most) most = bytes;
        if (pass > most) most = pass;
    }
    if (most && groups->device->api->memory_new(groups->device, most, &groups->workspace) < 0) return report_memory(report);
    groups->workspace_bytes = most;
    return 0;
}

/* The optimiser's step on the device. */
static int device_step(const struct device *device, struct group *group, struct report *report) {
    const char *name = group->optimizer->name;
    for (uint32_t k = 0; k < device->optimizer_count; k++) {
        if (strcmp(device->optimizers[k].optimizer, name) != 0) continue;
        group->step = device->optimizers[k].step, group->workspace = device->optimizers[k].workspace;
        return 0;
    }
    return report_add(report, FLOW_ERROR_UNSUPPORTED, group->update->optimizer_at, "optimizer '%s' has no step on %s: train on the CPU",
                      name, device->api->name);
}

static int begin_stream(struct groups *groups, struct report *report) {
    struct device *device = groups->device;
    if (device->api->stream_new(device, &groups->stream) < 0) return report_memory(report);
    groups->call.stream = device->api->native(groups->stream);
    int code = 0;
    for (size_t g = 0; g < groups->count && code == 0; g++)
        if (groups->at[g].optimizer && groups->at[g].count) code = device_step(device, &groups->at[g], report);
    return code;
}

int groups_new(const struct allocator *from, struct device *device, struct model *model, const struct training *training,
               const struct program *program, const size_t *passes, const size_t *refs, uint64_t seed, struct report *report,
               struct groups **out) {
    const struct instance *instance = program_instance(program);
    *out = NULL;
    struct groups *groups = memory_new(from, sizeof *groups);
    if (!groups) return report_memory(report);
    groups->from = from, groups->device = device, groups->model = model, groups->training = training, groups->seed = seed;
    arena_init(&groups->arena, from);
    groups->host = *device->host;
    groups->host.size = (uint32_t)sizeof groups->host;
    groups->host.fail = fail, groups->host.cancelled = never, groups->host.log = silent;
    groups->call = (struct flow_call){.size = sizeof groups->call, .host = &groups->host, .owner = groups, .phase = FLOW_PHASE_TRAINING};
    groups->at = arena_array(&groups->arena, training->update_count, sizeof *groups->at);
    int code = groups->at ? 0 : report_memory(report);
    for (size_t g = 0; g < training->update_count && code == 0; g++) {
        groups->count = g + 1;
        code = make_group(groups, instance, g, report);
        groups->at[g].pass = passes[g], groups->at[g].ref = refs[g];
        groups->at[g].seed = flow_key(seed, training->updates[g].params);
        if (code == 0 && groups->at[g].optimizer && groups->at[g].optimizer->flags & FLOW_OPTIMIZER_OF)
            code = find_others(groups, &groups->at[g], report);
    }
    if (code == 0 && device->api->apart) code = begin_stream(groups, report);
    if (code == 0) code = place(groups, instance, report);
    if (code == 0) code = initialise(groups, report);
    if (code == 0) code = make_workspace(groups, report);
    if (code < 0) groups_free(groups);
    else *out = groups;
    return code;
}

void groups_free(struct groups *groups) {
    if (!groups) return;
    if (groups->stream) groups->device->api->stream_free(groups->stream);
    if (groups->memory) groups->device->api->memory_free(groups->device, groups->memory, groups->memory_bytes);
    if (groups->workspace) groups->device->api->memory_free(groups->device, groups->workspace, groups->workspace_bytes);
    const struct allocator *from = groups->from;
    arena_free(&groups->arena);
    memory_free(from, groups, sizeof *groups);
}

static int keep_group(struct model *model, struct group *group, const struct group *before) {
    bool any = false;
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t k = 0; k < before->count; k++) {
            if (strcmp(group->names[i], before->names[k]) != 0) continue;
            for (uint32_t s = 0; s < group->states && s < before->states; s++) {
                struct flow_tensor *to = &group->state[s * group->count + i];
                const struct flow_tensor *from = &before->state[s * before->count + k];
                if (!extents_same(to, from) || to->rank < 0) continue;
                if (model_copy(model, to, from) < 0) return FLOW_ERROR_MEMORY;
            }
            any = true;
        }
    if (any) group->steps = before->steps;
    return 0;
}

int groups_keep(struct groups *groups, const struct groups *before) {
    int code = 0;
    for (size_t g = 0; g < groups->count; g++)
        for (size_t b = 0; b < before->count && code == 0; b++)
            if (groups->at[g].optimizer && before->at[b].optimizer &&
                strcmp(groups->at[g].optimizer->name, before->at[b].optimizer->name) == 0)
                code = keep_group(groups->model, &groups->at[g], &before->at[b]);
    return code;
}

/* ---- A step ---- */

static int add_apart(struct groups *groups, const struct flow_tensor *sum, const struct flow_tensor *gradient, bool first) {
    const struct device *device = groups->device;
    int64_t bytes = elements(sum) * dtype_bytes(sum->dtype);
    if (first) return device->api->copy(groups->stream, sum->data, gradient->data, bytes, DEVICE_WITHIN);
    return device->training->add(groups->call.stream, 1, sum, gradient);
}

int groups_add(struct groups *groups, const struct program *program, bool first) {
    const struct instance *instance = program_instance(program);
    int code = 0;
    for (size_t p = 0; p < instance->param_count && code == 0; p++) {
        const struct flow_tensor *gradient = program_gradient(program, p);
        if (groups->sums[p].rank < 0 || !gradient) continue;
        if (groups->stream) code = add_apart(groups, &groups->sums[p], gradient, first);
        else if (first) tensor_copy(groups->sums[p].data, gradient);
        else tensor_add(&groups->call, &groups->sums[p], gradient->data);
    }
    int waited = groups->stream ? groups->device->api->synchronize(groups->stream) : 0; /* the next run writes the gradients */
    return code != 0 ? FLOW_ERROR_INTERNAL : waited;
}

/* `every: n`: a group with a gradient at steps 0, n, 2n ..; one that follows the others once they have made n steps, 2n ... */
static bool acts(const struct group *group, int64_t step) {
    int64_t every = group->update->every > 0 ? group->update->every : 1;
    return group->count > 0 && (groups_with_gradient(group->update) ? step : step + 1) % every == 0;
}

static void take_gradients(struct groups *groups, const struct program *program, struct group *group) {
    for (uint32_t i = 0; i < group->count; i++) {
        const struct flow_tensor *gradient = program_gradient(program, group->params[i]);
        const struct flow_tensor *sum = &groups->sums[group->params[i]];
        group->grad[i].rank = -1;
        if (sum->rank >= 0) group->grad[i] = *sum;
        else if (gradient) group->grad[i] = *gradient;
    }
}

static int on_device(const struct groups *groups, const struct group *group, struct report *report) {
    return report_add(report, FLOW_ERROR_INTERNAL, group->update->at, "the step failed on the device: %s",
                      groups->device->api->why(groups->device));
}

/* Mean over micro-batches, noise, norm. */
static int prepare(struct groups *groups, struct group *group, int64_t step, struct report *report) {
    const struct training_noise *noise = &groups->training->noise;
    struct update_noise draw = {noise->given ? update_noise_variance(noise->eta, noise->gamma, step) : 0, step, group->keys};
    struct update_pass pass = {.call = &groups->call,
                               .count = group->count,
                               .centralize = group->update->centralize,
                               .grad = group->grad,
                               .scale = 1.0 / (double)(groups->training->micro_batches > 1 ? groups->training->micro_batches : 1),
                               .noise = noise->given && !noise->after_clip ? &draw : NULL,
                               .workspace = groups->workspace};
    struct update_sum sum;
    if (pass_over(groups, &pass, &sum) < 0) return on_device(groups, group, report);
    group->square = sum.square;
    if (sum.broken >= 0)
        return report_add(report, FLOW_ERROR_RANGE, group->update->at, "the gradient of parameter '%s' is not finite at step %lld",
                          group->names[sum.broken], (long long)step);
    return 0;
}

static double clip_of(const struct groups *groups, const struct group *group, double all) {
    if (group->update->clip_norm > 0) return update_clip(group->update->clip_norm, group->square);
    return update_clip(groups->training->clip_norm, all);
}

static int apply(struct groups *groups, struct group *group, const struct groups_step *step, double clip, struct report *report) {
    const struct training_noise *noise = &groups->training->noise;
    bool gradient = groups_with_gradient(group->update);
    struct flow_update update = update_of(groups, group);
    update.rate = step->rate, update.scale = clip, update.loss = gradient ? step->loss[group->pass] : NAN;
    if (gradient && noise->given && noise->after_clip) {
        struct update_noise draw = {update_noise_variance(noise->eta, noise->gamma, step->step), step->step, group->keys};
        struct update_pass pass = {.call = &groups->call,
                                   .count = group->count,
                                   .grad = group->grad,
                                   .scale = clip,
                                   .noise = &draw,
                                   .workspace = groups->workspace};
        struct update_sum sum;
        if (pass_over(groups, &pass, &sum) < 0) return on_device(groups, group, report);
        update.scale = 1;
    }
    int code = group->step(&update);
    if (groups->stream) {
        int waited = groups->device->api->synchronize(groups->stream);
        if (code == 0 && waited < 0 && !groups->failed) return on_device(groups, group, report);
    }
    if (code == 0) code = groups->failed;
    if (code < 0) return told(groups, group, code, report);
    group->steps++;
    return 0;
}

static int take_value(struct group *group, const struct program *program, struct report *report) {
    const struct flow_tensor *value = program_value_there(program, group->ref);
    for (uint32_t i = 0; i < group->count; i++) {
        if (!value || !extents_same(value, &group->param[i]))
            return report_add(report, FLOW_ERROR_SHAPE, group->update->at,
                              "the value that parameter '%s' is to take has another shape or type", group->names[i]);
        group->value[i] = *value;
    }
    return 0;
}

int groups_update(struct groups *groups, const struct program *program, struct groups_step *step, struct report *report) {
    double all = 0, square = 0;
    bool any = false;
    for (size_t g = 0; g < groups->count; g++) {
        struct group *group = &groups->at[g];
        if (!acts(group, step->step)) continue;
        int code = 0;
        if (group->optimizer->flags & FLOW_OPTIMIZER_VALUE) code = take_value(group, program, report);
        if (groups_with_gradient(group->update)) {
            take_gradients(groups, program, group);
            if (code == 0) code = prepare(groups, group, step->step, report);
            if (group->update->clip_norm <= 0) all += group->square;
            square += group->square, any = true;
        }
        if (code < 0) return code;
    }
    step->norm = any ? sqrt(square) : NAN;
    for (int after = 0; after < 2; after++)
        for (size_t g = 0; g < groups->count; g++) {
            struct group *group = &groups->at[g];
            if (!acts(group, step->step) || groups_with_gradient(group->update) == (after == 1)) continue;
            int code = apply(groups, group, step, after ? 1 : clip_of(groups, group, all), report);
            if (code < 0) return code;
        }
    return 0;
}
