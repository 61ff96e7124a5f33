/* SPDX-License-Identifier: Apache-2.0 */
/* One node of a plugin by itself, on the true device: forward and backward called by hand, any phase, set of instructions and number of
 * threads; its gradients held against central differences. */
#ifndef FLOW_TESTS_NODE_H
#define FLOW_TESTS_NODE_H

#include "base/memory.h"
#include "device/device.h"

#include <dlfcn.h>
#include <flow/plugin.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODE_PORTS = 8, NODE_PARAMS = 48, NODE_ATTRS = 512, NODE_MESSAGE = 512 };

struct node {
    const struct flow_operator *op;
    struct device *device;
    struct flow_host host;
    char attrs[NODE_ATTRS], message[NODE_MESSAGE];
    void *priv, *workspace, *workspace_backward, *saved, *packed;
    struct flow_infer infer;
    struct flow_tensor in[NODE_PORTS], out[NODE_PORTS], param[NODE_PARAMS];
    struct flow_tensor grad_in[NODE_PORTS], grad_out[NODE_PORTS], grad_param[NODE_PARAMS];
    struct flow_tensor state[NODE_PORTS], state_out[NODE_PORTS];
    char names[NODE_PARAMS][48];
    int32_t view_of[NODE_PORTS], in_axis[NODE_PORTS], out_axis[NODE_PORTS];
    int64_t view_offset[NODE_PORTS];
    uint32_t param_count;
    int32_t phase;
    uint64_t seed, run, draw;
    uint64_t accumulate_in, accumulate_param;
    bool undifferentiated; /* planned without a backward */
};

static inline double node_draw(struct node *node) { /* in [-1, 1) */
    uint64_t z = node->draw += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u, z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

static int node_fail(void *owner, int code, const char *format, ...) {
    struct node *node = owner;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(node->message, sizeof node->message, format, arguments);
    va_end(arguments);
    return code;
}
static int node_fail_at(void *owner, const char *name, int code, const char *format, ...) {
    struct node *node = owner;
    int n = snprintf(node->message, sizeof node->message, "%s: ", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(node->message + n, sizeof node->message - (size_t)n, format, arguments);
    va_end(arguments);
    return code;
}
static bool node_goes_on(void *owner) { return (void)owner, false; }

static inline int64_t node_bytes(int32_t dtype) { return dtype == FLOW_F64 || dtype == FLOW_I64 ? 8 : dtype == FLOW_F32 ? 4 : 1; }
static inline int64_t node_count(const struct flow_tensor *t) {
    int64_t n = t->rank < 0 ? 0 : 1;
    for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}
static inline struct flow_tensor node_tensor(int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor t = {.dtype = dtype, .rank = rank};
    int64_t step = 1;
    for (int32_t i = rank - 1; i >= 0; i--) t.shape[i] = shape[i], t.strides[i] = step, step *= shape[i];
    t.data = calloc((size_t)node_count(&t) + 1, (size_t)node_bytes(dtype));
    return t;
}
static inline double node_get(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((double *)t->data)[i] : t->dtype == FLOW_F32 ? ((float *)t->data)[i] : 0;
}
static inline void node_put(const struct flow_tensor *t, int64_t i, double x) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = x;
    else if (t->dtype == FLOW_F32) ((float *)t->data)[i] = (float)x;
}
static inline void node_fill(struct node *node, struct flow_tensor *t, double most) {
    for (int64_t i = 0; i < node_count(t); i++) node_put(t, i, most * node_draw(node));
}

static int node_param(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, const char *init,
                      uint32_t flags, uint32_t *index) {
    struct node *node = infer->owner;
    (void)init, (void)flags;
    if (node->param_count >= NODE_PARAMS) return FLOW_ERROR_MEMORY;
    *index = node->param_count++;
    snprintf(node->names[*index], sizeof node->names[*index], "%s", name);
    if (node->param[*index].data) return 0; /* planned before: the values stay */
    node->param[*index] = node_tensor(dtype, rank, shape);
    int64_t columns = rank > 1 ? shape[1] : 4;
    node_fill(node, &node->param[*index], 1.5 / sqrt((double)(columns > 0 ? columns : 1)));
    return 0;
}

/* One attribute from text: "heads=4", "causal=true", "rope_style=half". */
static inline void node_attr(struct node *node, const struct flow_attr *attr, const char *text) {
    char *at = node->attrs + attr->offset;
    switch (attr->type) {
    case FLOW_ATTR_INT: *(int64_t *)(void *)at = *text ? atoll(text) : FLOW_INT_ABSENT; break;
    case FLOW_ATTR_REAL: *(double *)(void *)at = *text ? atof(text) : NAN; break;
    case FLOW_ATTR_BOOL: *(bool *)(void *)at = strcmp(text, "true") == 0; break;
    default: {
        int32_t choice = 0;
        size_t length = strlen(text);
        for (const char *c = attr->choices; c && strncmp(c, text, length) != 0; choice++) c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL;
        *(int32_t *)(void *)at = choice;
    }
    }
}

/* An operator of a plugin's file, on a device of its own; attributes as text, separated by spaces. 0, or an error. */
static inline int node_open(struct node *node, const char *file, const char *name, const char *attrs, int32_t isa, int threads) {
    struct device_cpu_options options = {.threads = threads, .isa = isa};
    memset(node, 0, sizeof *node);
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    flow_entry_function entry = NULL;
    if (library) *(void **)&entry = dlsym(library, "flow_plugin_entry");
    if (!entry) return snprintf(node->message, sizeof node->message, "%s", dlerror()), FLOW_ERROR_USAGE;
    const struct flow_plugin *plugin = entry();
    for (uint32_t i = 0; i < plugin->operators.count; i++)
        if (strcmp(plugin->operators.at[i]->name, name) == 0) node->op = plugin->operators.at[i];
    if (!node->op || device_cpu_new(&memory_default, &options, &node->device) < 0) return FLOW_ERROR_USAGE;
    node->host = *node->device->host;
    node->host.fail = node_fail, node->host.fail_at = node_fail_at, node->host.param = node_param, node->host.cancelled = node_goes_on;
    for (uint32_t i = 0; i < node->op->attrs.count; i++) {
        const struct flow_attr *attr = &node->op->attrs.at[i];
        const char *given = attrs;
        size_t length = strlen(attr->name);
        while (given && !(strncmp(given, attr->name, length) == 0 && given[length] == '='))
            given = strchr(given, ' ') ? strchr(given, ' ') + 1 : NULL;
        char value[64] = "";
        if (given) snprintf(value, sizeof value, "%.*s", (int)strcspn(given + length + 1, " "), given + length + 1);
        else snprintf(value, sizeof value, "%s", attr->fallback ? attr->fallback : "");
        node_attr(node, attr, value);
    }
    for (int i = 0; i < NODE_PORTS; i++) node->in[i].rank = node->out[i].rank = node->grad_in[i].rank = node->grad_out[i].rank = -1;
    for (int i = 0; i < NODE_PARAMS; i++) node->grad_param[i].rank = -1;
    node->draw = 1;
    return 0;
}

static inline void *node_block(void *old, int64_t bytes) {
    free(old);
    void *block = bytes > 0 ? aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64) : NULL;
    if (block) memset(block, 0x7F, (size_t)bytes); /* what is not written before it is read shows */
    return block;
}

/* Infers for the inputs that are there and makes what a call needs. */
static inline int node_plan(struct node *node) {
    node->param_count = 0, node->message[0] = 0;
    free(node->priv);
    node->priv = calloc(1, node->op->priv_size + 1u);
    for (int i = 0; i < NODE_PORTS; i++) {
        free(node->out[i].data);
        node->out[i] = (struct flow_tensor){.rank = -1, .dtype = node->in[0].dtype};
        node->view_of[i] = node->in_axis[i] = node->out_axis[i] = -1;
    }
    node->infer = (struct flow_infer){.size = sizeof node->infer,
                                      .phase = node->phase,
                                      .host = &node->host,
                                      .owner = node,
                                      .attrs = node->attrs,
                                      .priv = node->priv,
                                      .in_count = node->op->inputs.count,
                                      .out_count = node->op->outputs.count,
                                      .in = node->in,
                                      .out = node->out,
                                      .param = node->param,
                                      .state = node->state,
                                      .state_out = node->state_out,
                                      .in_axis = node->in_axis,
                                      .out_axis = node->out_axis,
                                      .view_of = node->view_of,
                                      .view_offset = node->view_offset,
                                      .backward_reads_in = UINT64_MAX,
                                      .backward_reads_out = UINT64_MAX,
                                      .epilogues = UINT32_MAX,
                                      .differentiated = !node->undifferentiated};
    int rc = node->op->infer(&node->infer);
    if (rc < 0) return rc;
    if (node->infer.workspace < 0 || node->infer.saved < 0 || node->infer.workspace_backward < 0) return FLOW_ERROR_MEMORY;
    node->workspace = node_block(node->workspace, node->infer.workspace);
    node->workspace_backward = node_block(node->workspace_backward, node->infer.workspace_backward);
    node->saved = node_block(node->saved, node->infer.saved);
    for (uint32_t i = 0; i < node->op->outputs.count; i++)
        if (node->out[i].rank >= 0) node->out[i] = node_tensor(node->out[i].dtype, node->out[i].rank, node->out[i].shape);
    return 0;
}

static inline struct flow_call node_call(struct node *node) {
    return (struct flow_call){.size = sizeof(struct flow_call),
                              .phase = node->phase,
                              .host = &node->host,
                              .owner = node,
                              .attrs = node->attrs,
                              .priv = node->priv,
                              .in = node->in,
                              .out = node->out,
                              .param = node->param,
                              .workspace = node->workspace,
                              .in_count = node->op->inputs.count,
                              .out_count = node->op->outputs.count,
                              .param_count = node->param_count,
                              .seed = node->seed,
                              .run = node->run,
                              .saved = node->saved};
}

static inline int node_forward(struct node *node) {
    struct flow_call call = node_call(node);
    return node->op->kernels.at[0].forward(&call);
}

/* grad_* are there (rank -1: not). What backward did not ask to read it cannot see. */
static inline int node_backward(struct node *node) {
    struct flow_tensor in[NODE_PORTS], out[NODE_PORTS];
    struct flow_call call = node_call(node);
    memcpy(in, node->in, sizeof in), memcpy(out, node->out, sizeof out);
    for (int i = 0; i < NODE_PORTS; i++) {
        if (!(node->infer.backward_reads_in >> i & 1)) in[i].data = NULL;
        if (!(node->infer.backward_reads_out >> i & 1)) out[i].data = NULL;
    }
    call.in = in, call.out = out, call.workspace = node->workspace_backward;
    call.grad_out = node->grad_out, call.grad_in = node->grad_in, call.grad_param = node->grad_param;
    call.accumulate_in = node->accumulate_in, call.accumulate_param = node->accumulate_param;
    return node->op->kernels.at[0].backward(&call);
}

static inline bool node_floating(const struct flow_tensor *t) { return t->rank >= 0 && (t->dtype == FLOW_F32 || t->dtype == FLOW_F64); }

/* Room for all gradients, those that arrive filled with numbers. */
static inline void node_gradients(struct node *node) {
    for (uint32_t i = 0; i < node->op->outputs.count; i++) {
        if (!node_floating(&node->out[i])) continue;
        node->grad_out[i] = node_tensor(node->out[i].dtype, node->out[i].rank, node->out[i].shape);
        node_fill(node, &node->grad_out[i], 1);
    }
    for (uint32_t i = 0; i < node->op->inputs.count; i++)
        if (node_floating(&node->in[i])) node->grad_in[i] = node_tensor(node->in[i].dtype, node->in[i].rank, node->in[i].shape);
    for (uint32_t i = 0; i < node->param_count; i++)
        node->grad_param[i] = node_tensor(node->param[i].dtype, node->param[i].rank, node->param[i].shape);
}

static inline double node_loss(struct node *node) {
    double loss = 0;
    if (node_forward(node) < 0) return NAN;
    for (uint32_t o = 0; o < node->op->outputs.count; o++)
        for (int64_t i = 0; i < node_count(&node->grad_out[o]); i++) loss += node_get(&node->out[o], i) * node_get(&node->grad_out[o], i);
    return loss;
}

/* The largest error of the gradient `grad` of tensor t, of some 40 of its elements, relative to 1 + |gradient|. */
static inline double node_difference(struct node *node, struct flow_tensor *t, const struct flow_tensor *grad) {
    double worst = 0, step = 1e-5;
    int64_t count = node_count(t), every = count > 40 ? count / 37 : 1;
    for (int64_t i = 0; i < count; i += every) {
        double x = node_get(t, i), numeric;
        node_put(t, i, x + step), numeric = node_loss(node);
        node_put(t, i, x - step), numeric = (numeric - node_loss(node)) / (2 * step);
        node_put(t, i, x);
        double error = fabs(numeric - node_get(grad, i)) / (1 + fabs(numeric));
        if (!(error <= worst)) worst = error;
        if (!(error < 1e-5)) fprintf(stderr, "  element %lld: %g, expected %g\n", (long long)i, node_get(grad, i), numeric);
    }
    return worst;
}

/* All gradients of an f64 node against central differences: the largest error. */
static inline double node_check(struct node *node) {
    double worst = 0;
    node_loss(node);
    if (node_backward(node) < 0) return NAN;
    for (uint32_t i = 0; i < node->op->inputs.count; i++)
        if (node->grad_in[i].rank >= 0) {
            double error = node_difference(node, &node->in[i], &node->grad_in[i]);
            if (!(error < 1e-5)) fprintf(stderr, "  of input %s: %g\n", node->op->inputs.at[i].name, error);
            if (!(error <= worst)) worst = error;
        }
    for (uint32_t i = 0; i < node->param_count; i++)
        if (node->grad_param[i].rank >= 0) {
            double error = node_difference(node, &node->param[i], &node->grad_param[i]);
            if (!(error < 1e-5)) fprintf(stderr, "  of %s: %g\n", node->names[i], error);
            if (!(error <= worst)) worst = error;
        }
    return worst;
}

/* One gradient at a time, added to what is there: as when all are asked for. The largest difference. */
static inline double node_check_masks(struct node *node) {
    double worst = 0;
    struct flow_tensor in[NODE_PORTS], param[NODE_PARAMS];
    node_loss(node);
    if (node_backward(node) < 0) return NAN;
    memcpy(in, node->grad_in, sizeof in), memcpy(param, node->grad_param, sizeof param);
    for (uint32_t k = 0; k < node->op->inputs.count + node->param_count; k++) {
        bool is_in = k < node->op->inputs.count;
        uint32_t i = is_in ? k : k - node->op->inputs.count;
        const struct flow_tensor *whole = is_in ? &in[i] : &param[i];
        if (whole->rank < 0) continue;
        for (int j = 0; j < NODE_PORTS; j++) node->grad_in[j].rank = -1;
        for (int j = 0; j < NODE_PARAMS; j++) node->grad_param[j].rank = -1;
        struct flow_tensor *alone = is_in ? &node->grad_in[i] : &node->grad_param[i];
        for (int add = 0; add < 2; add++) {
            *alone = node_tensor(whole->dtype, whole->rank, whole->shape);
            for (int64_t e = 0; e < node_count(alone); e++) node_put(alone, e, add ? 3 : NAN);
            node->accumulate_in = node->accumulate_param = add ? UINT64_MAX : 0;
            if (node_backward(node) < 0) return NAN;
            for (int64_t e = 0; e < node_count(alone); e++) {
                double error = fabs(node_get(alone, e) - (add ? 3 : 0) - node_get(whole, e)) / (1 + fabs(node_get(whole, e)));
                if (!(error <= worst)) worst = error;
            }
            free(alone->data);
        }
    }
    node->accumulate_in = node->accumulate_param = 0;
    memcpy(node->grad_in, in, sizeof in), memcpy(node->grad_param, param, sizeof param);
    return worst;
}

static inline void node_free(struct node *node) {
    for (int i = 0; i < NODE_PORTS; i++) {
        free(node->in[i].data), free(node->out[i].data);
        free(node->grad_in[i].data), free(node->grad_out[i].data);
    }
    for (int i = 0; i < NODE_PARAMS; i++) free(node->param[i].data), free(node->grad_param[i].data);
    free(node->packed), free(node->priv), free(node->workspace), free(node->workspace_backward), free(node->saved);
    if (node->device) node->device->api->free(node->device);
}

#endif
