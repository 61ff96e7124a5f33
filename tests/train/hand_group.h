/* SPDX-License-Identifier: Apache-2.0 */
/* A group of parameters in an optimiser's hands, without a graph: memory of its own for everything, attributes by name as a graph gives
 * them, a device with as many threads and such instructions as asked for. */
#ifndef FLOW_TESTS_TRAIN_HAND_GROUP_H
#define FLOW_TESTS_TRAIN_HAND_GROUP_H

#include "device/device.h"

#include <flow/plugin.h>

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_MOST = 400, GROUP_STATES = 2 };

struct group {
    const struct flow_optimizer *rule;
    struct device *device;
    struct flow_host host; /* the device's, with functions to fail by */
    struct flow_call call;
    uint32_t count;
    struct flow_tensor param[GROUP_MOST], grad[GROUP_MOST], value[GROUP_MOST], state[GROUP_STATES * GROUP_MOST];
    uint64_t attrs[16];
    char message[256];
};

static inline uint64_t group_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
/* [-1, 1) */
static inline double group_real(uint64_t *state) { return (double)(group_random(state) >> 11) * 0x1p-52 - 1; }

static inline int64_t group_elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}
static inline double group_get(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((double *)t->data)[i] : (double)((float *)t->data)[i];
}
static inline void group_put(const struct flow_tensor *t, int64_t i, double x) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = x;
    else ((float *)t->data)[i] = (float)x;
}

static inline int group_fail(void *owner, int code, const char *format, ...) {
    struct group *group = owner;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(group->message, sizeof group->message, format, arguments);
    va_end(arguments);
    return code;
}

/* All attributes as by default, but those in "lr=0.1 nesterov=true". */
static inline void group_attrs(struct group *group, const char *given) {
    for (uint32_t k = 0; k < group->rule->attrs.count; k++) {
        const struct flow_attr *row = &group->rule->attrs.at[k];
        char name[64], text[64] = "";
        snprintf(name, sizeof name, "%s=", row->name);
        const char *found = given;
        while ((found = strstr(found, name)) && found != given && found[-1] != ' ') found++;
        if (found) sscanf(found + strlen(name), "%63[^ ]", text);
        else if (row->fallback) snprintf(text, sizeof text, "%s", row->fallback);
        void *at = (char *)group->attrs + row->offset;
        if (row->type == FLOW_ATTR_REAL) {
            cr_assert(*text, "%s needs %s", group->rule->name, row->name);
            double value = strtod(text, NULL);
            cr_assert(value >= row->min && value <= row->max);
            memcpy(at, &value, sizeof value);
        } else if (row->type == FLOW_ATTR_INT) {
            int64_t value = strtoll(text, NULL, 10);
            memcpy(at, &value, sizeof value);
        } else if (row->type == FLOW_ATTR_BOOL) {
            *(bool *)at = strcmp(text, "true") == 0;
        }
    }
}

static inline struct flow_tensor group_tensor(int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor t = {.dtype = dtype, .rank = rank};
    int64_t step = 1;
    for (int32_t a = rank - 1; a >= 0; a--) t.shape[a] = shape[a], t.strides[a] = step, step *= shape[a];
    t.data = calloc((size_t)step + 1, 8); /* never fewer bytes than the sanitizers should see: the excess is one element */
    cr_assert(t.data);
    return t;
}

static inline void group_init(struct group *group, const struct flow_optimizer *rule, const char *attrs, int threads, int isa) {
    memset(group, 0, sizeof *group);
    group->rule = rule;
    struct device_cpu_options options = {.threads = threads, .isa = isa};
    cr_assert(device_cpu_new(&memory_default, &options, &group->device) == 0);
    group->host = *group->device->host;
    group->host.fail = group_fail;
    group->call = (struct flow_call){.size = sizeof group->call, .host = &group->host, .owner = group};
    if (rule) group_attrs(group, attrs);
}

/* A parameter with random values, and a random gradient (and value), by `seed`. */
static inline void group_add(struct group *group, int32_t dtype, int32_t rank, const int64_t *shape, uint64_t seed) {
    const uint32_t i = group->count++;
    cr_assert(i < GROUP_MOST);
    group->param[i] = group_tensor(dtype, rank, shape);
    group->grad[i] = group_tensor(dtype, rank, shape);
    group->value[i] = group_tensor(dtype, rank, shape);
    for (int64_t k = 0; k < group_elements(&group->param[i]); k++) {
        group_put(&group->param[i], k, group_real(&seed));
        group_put(&group->grad[i], k, group_real(&seed));
        group_put(&group->value[i], k, group_real(&seed));
    }
}

/* Makes the states, when all parameters are there. */
static inline void group_ready(struct group *group) {
    const uint64_t uses = group->rule->uses ? group->rule->uses(group->attrs) : UINT64_MAX;
    for (uint32_t s = 0; s < group->rule->states.count; s++)
        for (uint32_t i = 0; i < group->count; i++)
            group->state[s * group->count + i] = uses >> s & 1
                                                     ? group_tensor(group->param[i].dtype, group->param[i].rank, group->param[i].shape)
                                                     : (struct flow_tensor){.rank = -1};
}

static inline int group_step(struct group *group, int64_t step, double rate, double scale) {
    struct flow_update update = {.size = sizeof update,
                                 .count = group->count,
                                 .call = &group->call,
                                 .attrs = group->attrs,
                                 .param = group->param,
                                 .grad = group->grad,
                                 .value = group->value,
                                 .state = group->state,
                                 .step = step,
                                 .rate = rate,
                                 .scale = scale};
    int64_t bytes = group->rule->workspace ? group->rule->workspace(&update) : 0;
    update.workspace = aligned_alloc(64, ((size_t)bytes + 64) / 64 * 64);
    int status = group->rule->step(&update);
    free(update.workspace);
    return status;
}

static inline void group_end(struct group *group) {
    for (uint32_t i = 0; i < group->count; i++) free(group->param[i].data), free(group->grad[i].data), free(group->value[i].data);
    for (uint32_t i = 0; i < GROUP_STATES * GROUP_MOST; i++)
        if (group->state[i].data) free(group->state[i].data);
    group->device->api->free(group->device);
}

#endif
