/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of one operator against central differences, by direct calls: no plan, no executor. A trial (harness/array.h) names the node,
 * its inputs and parameters; the graph's own code parses attributes and infers shapes; then infer is asked once more for differentiation,
 * and forward and backward are called with exactly the memory they may use. Most tests need only
 *
 *   struct trial t = {.node = "{op: mul, in: [a, b]}", .inputs = 2, .input_names = {"a", "b"}, .input = {...}};
 *   backward_check(&t, (struct backward_options){0});
 */
#ifndef TESTS_HARNESS_BACKWARD_H
#define TESTS_HARNESS_BACKWARD_H

#include "harness/array.h"

#include <stdarg.h>

struct backward_options {
    int32_t phase;        /* FLOW_PHASE_* */
    double step;          /* of the differences; 0: 1e-5 */
    double tolerance;     /* f64 against differences, relative to the largest (and 1); 0: 1e-7 */
    double tolerance_f32; /* f32 against f64; 0: 2e-5. Negative: f32 is not tried */
    uint64_t skip_in;     /* inputs of which the gradient is not what differences say (steered, or drawn anew) */
    uint64_t seed, run;   /* of the call; 0: 7, 3 */
    const char *plugins;  /* folder of plugin files; NULL: none */
};

enum { BACKWARD_PORTS = 80 };

/* One planned node with all its memory. Tensors without memory have rank -1. */
struct backward {
    const struct trial *trial;
    struct backward_options options;
    int32_t precision; /* FLOW_F32 or FLOW_F64 */
    struct one one;
    struct instance *instance;
    const struct instance_node *node;
    const struct flow_operator *op;
    const struct flow_kernel *kernel;
    struct flow_host host;
    struct flow_infer infer;
    int32_t none[BACKWARD_PORTS], view_of[BACKWARD_PORTS], out_axis[BACKWARD_PORTS];
    int64_t view_offset[BACKWARD_PORTS];
    uint32_t in_count, out_count, param_count, declared;
    struct flow_tensor in[BACKWARD_PORTS], out[BACKWARD_PORTS], param[BACKWARD_PORTS];
    struct flow_tensor grad_out[BACKWARD_PORTS], grad_in[BACKWARD_PORTS], grad_param[BACKWARD_PORTS];
    void *priv, *workspace, *workspace_backward, *packed, *saved;
    bool columns; /* inputs that may be strided lie in memory with the first axis running fastest */
    char message[512];
};

/* ---- Elements and memory ---- */

static inline bool backward_real(const struct flow_tensor *t) { return t->rank >= 0 && (t->dtype == FLOW_F32 || t->dtype == FLOW_F64); }
static inline int64_t backward_count(const struct flow_tensor *t) {
    int64_t n = 1;
    for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}
static inline void *backward_at(const struct flow_tensor *t, int64_t i) {
    int64_t offset = 0;
    for (int32_t axis = t->rank - 1; axis >= 0; axis--) offset += i % t->shape[axis] * t->strides[axis], i /= t->shape[axis];
    return (char *)t->data + offset * (int64_t)flow_type_bytes(t->dtype);
}
/* Element i in row-major order, whatever the strides. */
static inline double backward_get(const struct flow_tensor *t, int64_t i) {
    const void *at = backward_at(t, i);
    switch (t->dtype) {
    case FLOW_F64: return *(const double *)at;
    case FLOW_F32: return (double)*(const float *)at;
    case FLOW_I64: return (double)*(const int64_t *)at;
    case FLOW_I32: return *(const int32_t *)at;
    default: return *(const uint8_t *)at;
    }
}
static inline void backward_put(const struct flow_tensor *t, int64_t i, double v) {
    void *at = backward_at(t, i);
    switch (t->dtype) {
    case FLOW_F64: *(double *)at = v; break;
    case FLOW_F32: *(float *)at = (float)v; break;
    case FLOW_I64: *(int64_t *)at = (int64_t)v; break;
    case FLOW_I32: *(int32_t *)at = (int32_t)v; break;
    default: *(uint8_t *)at = (uint8_t)v; break;
    }
}
static inline size_t backward_bytes(const struct flow_tensor *t) { return (size_t)backward_count(t) * (size_t)flow_type_bytes(t->dtype); }
/* Exactly so many bytes on a cache line, all bits set: NaN, and what lies beyond is not ours. */
static inline void *backward_memory(int64_t bytes) {
    void *at = NULL;
    cr_assert(posix_memalign(&at, 64, bytes > 0 ? (size_t)bytes : 1) == 0);
    memset(at, 0xFF, bytes > 0 ? (size_t)bytes : 1);
    return at;
}
static inline void backward_dense(struct flow_tensor *t) {
    int64_t step = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) t->strides[i] = step, step *= t->shape[i] > 0 ? t->shape[i] : 1;
}
static inline void backward_columns(struct flow_tensor *t) {
    int64_t step = 1;
    for (int32_t i = 0; i < t->rank; i++) t->strides[i] = step, step *= t->shape[i] > 0 ? t->shape[i] : 1;
}

/* ---- The host ---- */

static struct backward *backward_self; /* whose infer or kernel runs: one test at a time */

static inline int backward_say(int code, const char *format, va_list arguments) {
    if (!backward_self->message[0]) vsnprintf(backward_self->message, sizeof backward_self->message, format, arguments);
    return code;
}
static inline int backward_fail(void *owner, int code, const char *format, ...) {
    va_list arguments;
    (void)owner;
    va_start(arguments, format);
    backward_say(code, format, arguments);
    va_end(arguments);
    return code;
}
static inline int backward_fail_at(void *owner, const char *name, int code, const char *format, ...) {
    va_list arguments;
    (void)owner, (void)name;
    va_start(arguments, format);
    backward_say(code, format, arguments);
    va_end(arguments);
    return code;
}
/* The instance knows the parameters already: found again by name. */
static inline int backward_param(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape,
                                 const char *init, uint32_t flags, uint32_t *index) {
    struct backward *b = backward_self;
    (void)infer, (void)dtype, (void)rank, (void)shape, (void)init, (void)flags;
    for (uint32_t i = 0; i < b->param_count; i++) {
        int32_t v = b->node->param[i];
        const char *full = v >= 0 ? b->instance->values[v].name : "", *dot = strrchr(full, '.');
        if (strcmp(dot ? dot + 1 : full, name) == 0) return index ? (void)(*index = i), 0 : 0;
    }
    return backward_fail(NULL, FLOW_ERROR_INTERNAL, "no parameter %s", name);
}
static inline void backward_pieces(const struct flow_call *call, int64_t count, int64_t grain,
                                   void (*body)(void *context, int64_t begin, int64_t end), void *context) {
    (void)call;
    for (int64_t piece = (count + grain - 1) / grain - 1; piece >= 0; piece--)
        body(context, piece * grain, (piece + 1) * grain < count ? (piece + 1) * grain : count);
}

/* ---- A node ---- */

static inline bool backward_port_flag(const struct flow_operator *op, uint32_t i, uint32_t flag) {
    uint32_t row = i < op->inputs.count ? i : op->inputs.count - 1;
    return op->inputs.at[row].flags & flag;
}
/* Can input i have a gradient? */
static inline bool backward_wants(const struct backward *b, uint32_t i) {
    return backward_real(&b->in[i]) && !backward_port_flag(b->op, i, FLOW_NO_GRAD);
}
static inline bool backward_passes(const struct backward *b, uint32_t i) { return FLOW_ACCUMULATES(b->infer.backward_passes_in, i); }

/* Asks infer for differentiation, with inputs laid out as `columns` says. */
static inline int backward_infer(struct backward *b) {
    backward_self = b;
    b->message[0] = 0;
    memset(b->priv, 0, b->op->priv_size);
    b->infer = b->node->infer;
    struct flow_infer *infer = &b->infer;
    infer->host = &b->host, infer->owner = b, infer->priv = b->priv;
    infer->in = b->in, infer->out = b->out, infer->param = b->param;
    infer->in_axis = b->none, infer->out_axis = b->out_axis, infer->view_of = b->view_of, infer->view_offset = b->view_offset;
    infer->differentiated = true;
    infer->backward_reads_in = infer->backward_reads_out = UINT64_MAX;
    infer->backward_passes_in = 0, infer->saved = infer->workspace = infer->workspace_backward = infer->packed = 0;
    for (uint32_t i = 0; i < b->out_count; i++) {
        b->view_of[i] = -1, b->view_offset[i] = 0;
        if (b->out[i].rank >= 0) backward_dense(&b->out[i]);
    }
    return b->op->infer ? b->op->infer(infer) : 0;
}

/* The best kernel for the node; 0, or what infer said. */
static inline int backward_plan(struct backward *b) {
    int status = backward_infer(b);
    if (status < 0) return status;
    b->kernel = registry_kernel(b->node->entry, FLOW_DEVICE_CPU, b->node->dtype, b->host.isa, &b->infer);
    cr_assert(b->kernel != NULL, "%s: no kernel", b->trial->node);
    free(b->workspace), free(b->workspace_backward), free(b->packed), free(b->saved);
    b->workspace = backward_memory(b->infer.workspace), b->workspace_backward = backward_memory(b->infer.workspace_backward);
    b->packed = backward_memory(b->infer.packed), b->saved = backward_memory(b->infer.saved);
    return 0;
}

static inline void backward_values(const struct flow_tensor *t, const struct array *a) {
    cr_assert(array_count(a) == backward_count(t));
    for (int64_t i = 0; i < array_count(a); i++) backward_put(t, i, a->at[i]);
}

/* isa -1: the best there is. */
static inline int backward_open(struct backward *b, const struct trial *t, const struct backward_options *options, int32_t precision,
                                int32_t isa, int32_t threads, bool columns) {
    memset(b, 0, sizeof *b);
    b->trial = t, b->options = *options, b->precision = precision, b->columns = columns;
    if (b->options.step == 0) b->options.step = 1e-5;
    if (b->options.tolerance == 0) b->options.tolerance = 1e-7;
    if (b->options.tolerance_f32 == 0) b->options.tolerance_f32 = 2e-5;
    if (b->options.seed == 0) b->options.seed = 7, b->options.run = 3;
    struct flow_runtime_options runtime = {.size = sizeof runtime, .threads = 1, .plugin_path = b->options.plugins};
    struct flow_graph_options graph = {.size = sizeof graph, .precision = precision};
    char text[2000];
    trial_text(t, NULL, text);
    int status = flow_runtime_new(&runtime, &b->one.errors, &b->one.runtime);
    if (status == 0) status = flow_graph_parse(b->one.runtime, "test.yaml", text, strlen(text), &graph, &b->one.errors, &b->one.graph);
    cr_assert(one_note(&b->one, status) == 0, "%s: %s", t->node, b->one.message);
    struct report report;
    struct flow_tensor inputs[TRIAL_MOST];
    struct instance_options how = graph_instance_options(b->one.graph);
    for (int i = 0; i < t->inputs; i++) {
        inputs[i] = (struct flow_tensor){.dtype = t->input[i].dtype, .rank = t->input[i].rank};
        if (inputs[i].dtype == FLOW_F32) inputs[i].dtype = precision;
        memcpy(inputs[i].shape, t->input[i].shape, sizeof inputs[i].shape);
        backward_dense(&inputs[i]);
    }
    how.phase = b->options.phase, how.inputs = inputs;
    errors_begin(&report, &b->one.runtime->from);
    status = instance_new(&b->one.runtime->from, b->one.graph->network, &how, &report, &b->instance);
    (void)one_note(&b->one, errors_end(&report, &b->one.errors, status));
    cr_assert(status == 0, "%s: %s", t->node, b->one.message);
    b->node = &b->instance->nodes[b->instance->node_count - 1];
    b->op = b->node->entry->op;
    const struct flow_infer *known = &b->node->infer;
    b->in_count = known->in_count, b->out_count = known->out_count, b->param_count = known->param_count;
    cr_assert(b->in_count <= BACKWARD_PORTS && b->out_count <= BACKWARD_PORTS && b->param_count <= BACKWARD_PORTS);
    b->host = b->one.graph->host;
    b->host.fail = backward_fail, b->host.fail_at = backward_fail_at, b->host.param = backward_param;
    b->host.parallel_for = backward_pieces, b->host.threads = threads;
    if (isa >= 0 && isa < b->host.isa) b->host.isa = isa;
    for (uint32_t i = 0; i < BACKWARD_PORTS; i++) {
        b->none[i] = -1;
        b->in[i].rank = b->out[i].rank = b->param[i].rank = b->grad_out[i].rank = b->grad_in[i].rank = b->grad_param[i].rank = -1;
    }
    b->priv = backward_memory(b->op->priv_size);
    uint64_t state = 99;
    for (uint32_t i = 0; i < b->in_count; i++) {
        b->in[i] = known->in[i], b->in[i].data = NULL;
        if (b->in[i].rank < 0) continue;
        if (columns && backward_port_flag(b->op, i, FLOW_STRIDED)) backward_columns(&b->in[i]);
        b->in[i].data = backward_memory((int64_t)backward_bytes(&b->in[i]));
        int32_t v = b->node->in[i];
        for (int k = 0; k < t->inputs; k++)
            if (strcmp(b->instance->values[v].name, t->input_names[k]) == 0) backward_values(&b->in[i], &t->input[k]);
    }
    for (uint32_t i = 0; i < b->param_count; i++) {
        b->param[i] = known->param[i], b->param[i].data = NULL;
        if (b->param[i].rank < 0) continue;
        b->param[i].data = backward_memory((int64_t)backward_bytes(&b->param[i]));
        for (int64_t k = 0; k < backward_count(&b->param[i]); k++)
            backward_put(&b->param[i], k, (double)(float)one_uniform(&state, -0.5, 0.5));
        const char *full = b->instance->values[b->node->param[i]].name, *dot = strrchr(full, '.');
        for (int k = 0; k < t->params; k++)
            if (strcmp(dot ? dot + 1 : full, t->param_names[k]) == 0) backward_values(&b->param[i], &t->param[k]);
    }
    for (uint32_t i = 0; i < b->out_count; i++) b->out[i] = known->out[i];
    status = backward_plan(b);
    cr_assert(status == 0, "%s: %s", t->node, b->message);
    for (uint32_t i = 0; i < b->out_count; i++) {
        b->out[i].data = NULL;
        if (b->out[i].rank < 0) continue;
        cr_assert(b->view_of[i] < 0, "%s: output %u is a view, which has no backward", t->node, i);
        b->out[i].data = backward_memory((int64_t)backward_bytes(&b->out[i]));
        if (!backward_real(&b->out[i]) || b->op->outputs.at[i < b->op->outputs.count ? i : b->op->outputs.count - 1].flags & FLOW_NO_GRAD)
            continue;
        b->grad_out[i] = b->out[i];
        b->grad_out[i].data = backward_memory((int64_t)backward_bytes(&b->out[i]));
        for (int64_t k = 0; k < backward_count(&b->out[i]); k++)
            backward_put(&b->grad_out[i], k, (double)(float)one_uniform(&state, -1, 1));
    }
    for (uint32_t i = 0; i < b->in_count; i++) {
        if (!backward_wants(b, i)) continue;
        b->grad_in[i] = b->in[i];
        backward_dense(&b->grad_in[i]);
        b->grad_in[i].data = backward_memory((int64_t)backward_bytes(&b->in[i]));
    }
    for (uint32_t i = 0; i < b->param_count; i++) {
        if (!backward_real(&b->param[i]) || b->instance->values[b->node->param[i]].flags & (FLOW_NO_GRAD | FLOW_RUNNING)) continue;
        b->grad_param[i] = b->param[i];
        b->grad_param[i].data = backward_memory((int64_t)backward_bytes(&b->param[i]));
    }
    return 0;
}

static inline void backward_close(struct backward *b) {
    for (uint32_t i = 0; i < BACKWARD_PORTS; i++) {
        free(b->in[i].data), free(b->out[i].data), free(b->param[i].data);
        free(b->grad_out[i].data), free(b->grad_in[i].data), free(b->grad_param[i].data);
    }
    free(b->priv), free(b->workspace), free(b->workspace_backward), free(b->packed), free(b->saved);
    instance_free(b->instance);
    one_close(&b->one);
}

static inline struct flow_call backward_call(struct backward *b) {
    backward_self = b;
    b->message[0] = 0;
    return (struct flow_call){.size = sizeof(struct flow_call),
                              .phase = b->options.phase,
                              .host = &b->host,
                              .owner = b,
                              .attrs = b->node->attrs,
                              .priv = b->priv,
                              .in = b->in,
                              .out = b->out,
                              .param = b->param,
                              .in_count = b->in_count,
                              .out_count = b->out_count,
                              .param_count = b->param_count,
                              .packed = b->infer.packed > 0 ? b->packed : NULL,
                              .saved = b->infer.saved > 0 ? b->saved : NULL,
                              .seed = b->options.seed,
                              .run = b->options.run};
}

/* in, param -> out, saved. */
static inline void backward_forward(struct backward *b) {
    struct flow_call call = backward_call(b);
    call.workspace = b->workspace;
    int status = b->infer.packed > 0 && b->op->prepare ? b->op->prepare(&call) : 0;
    if (status == 0) status = b->kernel->forward(&call);
    cr_assert(status == 0, "%s: forward: %s", b->trial->node, b->message);
}

/* Gradients of the wanted ones (bits; those that pass through are not asked for); the other tensors' memory stays as it is. What backward
 * said it would not read is not there. in_place: that input's gradient lies where the first output's lies (-1: none). */
static inline void backward_run(struct backward *b, uint64_t want_in, uint64_t want_param, uint64_t accumulate_in,
                                uint64_t accumulate_param) {
    struct flow_call call = backward_call(b);
    struct flow_tensor in[BACKWARD_PORTS], out[BACKWARD_PORTS], grad_in[BACKWARD_PORTS], grad_param[BACKWARD_PORTS];
    bool any = false;
    memcpy(in, b->in, sizeof in), memcpy(out, b->out, sizeof out);
    memcpy(grad_in, b->grad_in, sizeof grad_in), memcpy(grad_param, b->grad_param, sizeof grad_param);
    for (uint32_t i = 0; i < BACKWARD_PORTS; i++) {
        if (!FLOW_ACCUMULATES(b->infer.backward_reads_in, i)) in[i].data = NULL;
        if (!FLOW_ACCUMULATES(b->infer.backward_reads_out, i)) out[i].data = NULL;
        if (!FLOW_ACCUMULATES(want_in, i) || backward_passes(b, i)) grad_in[i] = (struct flow_tensor){.rank = -1};
        if (!FLOW_ACCUMULATES(want_param, i)) grad_param[i] = (struct flow_tensor){.rank = -1};
        any = any || grad_in[i].rank >= 0 || grad_param[i].rank >= 0;
    }
    if (!any) return;
    call.in = in, call.out = out, call.grad_out = b->grad_out, call.grad_in = grad_in, call.grad_param = grad_param;
    call.accumulate_in = accumulate_in, call.accumulate_param = accumulate_param;
    call.workspace = b->workspace_backward;
    cr_assert(b->kernel->backward != NULL, "%s: no backward", b->trial->node);
    int status = b->kernel->backward(&call);
    cr_assert(status == 0, "%s: backward: %s", b->trial->node, b->message);
}

/* ---- The check ---- */

static inline void backward_fill(const struct flow_tensor *t, double v) {
    for (int64_t i = 0; t->rank >= 0 && i < backward_count(t); i++) backward_put(t, i, v);
}
/* sum over outputs of cotangent times value */
static inline double backward_loss(struct backward *b) {
    double sum = 0;
    backward_forward(b);
    for (uint32_t o = 0; o < b->out_count; o++)
        for (int64_t i = 0; b->grad_out[o].rank >= 0 && i < backward_count(&b->out[o]); i++)
            sum += backward_get(&b->grad_out[o], i) * backward_get(&b->out[o], i);
    return sum;
}
/* By central differences; the caller frees. */
static inline double *backward_differences(struct backward *b, const struct flow_tensor *t) {
    int64_t n = backward_count(t);
    double *d = calloc((size_t)n + 1, sizeof *d), h = b->options.step;
    cr_assert(d != NULL);
    for (int64_t i = 0; i < n; i++) {
        double x = backward_get(t, i), up, down;
        backward_put(t, i, x + h), up = backward_loss(b);
        backward_put(t, i, x - h), down = backward_loss(b);
        backward_put(t, i, x);
        d[i] = (up - down) / (2 * h);
    }
    return d;
}
static inline double *backward_copy(const struct flow_tensor *t) {
    int64_t n = backward_count(t);
    double *d = calloc((size_t)n + 1, sizeof *d);
    cr_assert(d != NULL);
    for (int64_t i = 0; i < n; i++) d[i] = backward_get(t, i);
    return d;
}
/* |t - expected - offset| <= tolerance (1 + max |expected|) */
static inline void backward_near(const struct backward *b, const struct flow_tensor *t, const double *expected, double offset,
                                 double tolerance, const char *what, uint32_t which) {
    double most = 0;
    for (int64_t i = 0; i < backward_count(t); i++)
        if (fabs(expected[i]) > most) most = fabs(expected[i]);
    for (int64_t i = 0; i < backward_count(t); i++) {
        double a = backward_get(t, i), e = expected[i] + offset;
        cr_assert(fabs(a - e) <= tolerance * (1 + most + fabs(offset)), "%s (%s, set %d%s): %s %u, element %lld: %.12g, expected %.12g",
                  b->trial->node, b->precision == FLOW_F64 ? "f64" : "f32", b->host.isa, b->columns ? ", strided" : "", what, which,
                  (long long)i, a, e);
    }
}

struct backward_known {
    double *in[BACKWARD_PORTS], *param[BACKWARD_PORTS]; /* gradients; NULL: none */
};

/* All wanted at once; each alone; added to 3; the first input's gradient in place of the output's. */
static inline void backward_ways(struct backward *b, const struct backward_known *known, double tolerance) {
    const uint64_t all = UINT64_MAX;
    for (int added = 0; added < 2; added++) {
        for (uint32_t i = 0; i < BACKWARD_PORTS; i++)
            backward_fill(&b->grad_in[i], added ? 3 : NAN), backward_fill(&b->grad_param[i], added ? 3 : NAN);
        backward_run(b, all, all, added ? all : 0, added ? all : 0);
        for (uint32_t i = 0; i < b->in_count; i++)
            if (known->in[i] && !backward_passes(b, i))
                backward_near(b, &b->grad_in[i], known->in[i], added ? 3 : 0, tolerance, "input", i);
        for (uint32_t i = 0; i < b->param_count; i++)
            if (known->param[i]) backward_near(b, &b->grad_param[i], known->param[i], added ? 3 : 0, tolerance, "parameter", i);
    }
    for (uint32_t i = 0; i < b->in_count && i < 63; i++) {
        if (!known->in[i] || backward_passes(b, i)) continue;
        backward_fill(&b->grad_in[i], NAN);
        backward_run(b, (uint64_t)1 << i, 0, 0, 0);
        backward_near(b, &b->grad_in[i], known->in[i], 0, tolerance, "input alone", i);
    }
    for (uint32_t i = 0; i < b->param_count && i < 63; i++) {
        if (!known->param[i]) continue;
        backward_fill(&b->grad_param[i], 2);
        backward_run(b, 0, (uint64_t)1 << i, 0, (uint64_t)1 << i);
        backward_near(b, &b->grad_param[i], known->param[i], 2, tolerance, "parameter alone", i);
    }
    for (uint32_t i = 0; i < b->in_count && b->op->flags & FLOW_OP_POINTWISE; i++) {
        if (!known->in[i] || backward_passes(b, i) || b->grad_in[i].rank != b->grad_out[0].rank) continue;
        if (memcmp(b->grad_in[i].shape, b->grad_out[0].shape, sizeof(int64_t) * (size_t)b->grad_in[i].rank) != 0) continue;
        if (b->grad_in[i].dtype != b->grad_out[0].dtype) continue;
        double *kept = backward_copy(&b->grad_out[0]);
        void *own = b->grad_in[i].data;
        b->grad_in[i].data = b->grad_out[0].data;
        backward_run(b, all, all, 0, 0);
        for (uint32_t k = 0; k < b->in_count; k++)
            if (known->in[k] && !backward_passes(b, k))
                backward_near(b, &b->grad_in[k], known->in[k], 0, tolerance, k == i ? "in place: input" : "beside one in place: input", k);
        b->grad_in[i].data = own;
        for (int64_t k = 0; k < backward_count(&b->grad_out[0]); k++) backward_put(&b->grad_out[0], k, kept[k]);
        free(kept);
    }
}

/* Threads, and the order of their pieces, leave every byte as it is. */
static inline void backward_threads(struct backward *b) {
    void *bytes[2][BACKWARD_PORTS] = {{NULL}};
    for (int32_t many = 0; many < 2; many++) {
        b->host.threads = many ? 4 : 1;
        backward_forward(b);
        backward_run(b, UINT64_MAX, UINT64_MAX, 0, 0);
        for (uint32_t i = 0; i < BACKWARD_PORTS; i++)
            for (int kind = 0; kind < 2; kind++) {
                const struct flow_tensor *t = kind ? &b->grad_param[i] : &b->grad_in[i];
                if (t->rank < 0 || (kind == 0 && backward_passes(b, i))) continue;
                if (many) cr_assert(memcmp(bytes[kind][i], t->data, backward_bytes(t)) == 0, "%s: threads matter", b->trial->node);
                else bytes[kind][i] = backward_memory((int64_t)backward_bytes(t)), memcpy(bytes[kind][i], t->data, backward_bytes(t));
            }
    }
    b->host.threads = 1;
    for (uint32_t i = 0; i < BACKWARD_PORTS; i++) free(bytes[0][i]), free(bytes[1][i]);
}

/* Where no gradient arrives at an output, it is as if it were zero. */
static inline void backward_missing(struct backward *b, double tolerance) {
    uint32_t arriving = 0;
    for (uint32_t o = 0; o < b->out_count; o++) arriving += b->grad_out[o].rank >= 0;
    for (uint32_t o = 0; arriving > 1 && o < b->out_count; o++) {
        if (b->grad_out[o].rank < 0) continue;
        struct flow_tensor kept = b->grad_out[o];
        double *values = backward_copy(&kept), *zero[2][BACKWARD_PORTS] = {{NULL}};
        backward_fill(&kept, 0);
        backward_run(b, UINT64_MAX, UINT64_MAX, 0, 0);
        for (uint32_t i = 0; i < b->in_count; i++)
            if (b->grad_in[i].rank >= 0 && !backward_passes(b, i)) zero[0][i] = backward_copy(&b->grad_in[i]);
        for (uint32_t i = 0; i < b->param_count; i++)
            if (b->grad_param[i].rank >= 0) zero[1][i] = backward_copy(&b->grad_param[i]);
        b->grad_out[o] = (struct flow_tensor){.rank = -1};
        backward_run(b, UINT64_MAX, UINT64_MAX, 0, 0);
        for (uint32_t i = 0; i < b->in_count; i++)
            if (zero[0][i]) backward_near(b, &b->grad_in[i], zero[0][i], 0, tolerance, "without one gradient: input", i), free(zero[0][i]);
        for (uint32_t i = 0; i < b->param_count; i++)
            if (zero[1][i])
                backward_near(b, &b->grad_param[i], zero[1][i], 0, tolerance, "without one gradient: parameter", i), free(zero[1][i]);
        b->grad_out[o] = kept;
        for (int64_t i = 0; i < backward_count(&kept); i++) backward_put(&kept, i, values[i]);
        free(values);
    }
}

/* Every way of asking, every instruction set, f64 against differences and f32 against f64, row-major inputs and strided ones. */
static inline void backward_check(const struct trial *t, struct backward_options options) {
    struct backward_known known = {{NULL}, {NULL}};
    for (int first = 1, precise = 1; precise >= 0; precise--)
        for (int32_t isa = 2; isa >= 0; isa--)
            for (int columns = 0; columns < 2; columns++, first = 0) {
                struct backward b;
                if (!precise && options.tolerance_f32 < 0) continue;
                backward_open(&b, t, &options, precise ? FLOW_F64 : FLOW_F32, isa, 1, columns);
                double tolerance = precise ? b.options.tolerance : b.options.tolerance_f32;
                if (first) {
                    for (uint32_t i = 0; i < b.in_count; i++)
                        if (backward_wants(&b, i) && !FLOW_ACCUMULATES(options.skip_in, i))
                            known.in[i] = backward_differences(&b, &b.in[i]);
                    for (uint32_t i = 0; i < b.param_count; i++)
                        if (b.grad_param[i].rank >= 0) known.param[i] = backward_differences(&b, &b.param[i]);
                }
                for (uint32_t i = 0; i < b.in_count; i++)
                    if (known.in[i] && backward_passes(&b, i))
                        backward_near(&b, &b.grad_out[0], known.in[i], 0, tolerance, "passed on to input", i);
                backward_forward(&b);
                backward_ways(&b, &known, tolerance);
                backward_threads(&b);
                backward_missing(&b, tolerance);
                backward_close(&b);
            }
    for (uint32_t i = 0; i < BACKWARD_PORTS; i++) free(known.in[i]), free(known.param[i]);
}

/* ---- Trials from text ---- */

/* Drawn from [low, high). The trial owns it. */
static inline void backward_input(struct trial *t, const char *name, uint64_t *state, double low, double high, int32_t rank,
                                  const int64_t *shape) {
    struct array a = array_new(FLOW_F32, rank, shape);
    for (int64_t i = 0; i < array_count(&a); i++) a.at[i] = (double)(float)one_uniform(state, low, high);
    cr_assert(t->inputs < TRIAL_MOST);
    t->input_names[t->inputs] = name, t->input[t->inputs++] = a;
}
/* Whole numbers below `count`. */
static inline void backward_index(struct trial *t, const char *name, uint64_t *state, int64_t count, int32_t rank, const int64_t *shape) {
    struct array a = array_new(FLOW_I64, rank, shape);
    for (int64_t i = 0; i < array_count(&a); i++) a.at[i] = (double)one_below(state, count);
    cr_assert(t->inputs < TRIAL_MOST);
    t->input_names[t->inputs] = name, t->input[t->inputs++] = a;
}
static inline void backward_param_drawn(struct trial *t, const char *name, uint64_t *state, double low, double high, int32_t rank,
                                        const int64_t *shape) {
    struct array a = array_new(FLOW_F32, rank, shape);
    for (int64_t i = 0; i < array_count(&a); i++) a.at[i] = (double)(float)one_uniform(state, low, high);
    cr_assert(t->params < TRIAL_MOST);
    t->param_names[t->params] = name, t->param[t->params++] = a;
}

#endif
