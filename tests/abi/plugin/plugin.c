/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin of another age: compiled against the headers of a release, and against headers whose structs have grown. Every table has two
 * rows, so that who steps wrongly reads nonsense. */
#include <flow/plugin.h>

struct aged_attrs {
    double scale;
    int64_t times;
};

static double get(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static void put(struct flow_tensor *t, int64_t i, double value) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = value;
    else ((float *)t->data)[i] = (float)value;
}

struct piece {
    const struct flow_call *call;
    int64_t width;
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct piece *piece = context;
    const struct flow_call *call = piece->call;
    const struct aged_attrs *a = call->attrs;
    for (int64_t i = begin; i < end; i++) {
        const double x = get(&call->in[0], i), y = call->in[1].rank < 0 ? 0 : get(&call->in[1], i);
        const int64_t d = i % piece->width;
        put(&call->out[0], i, (double)a->times * a->scale * x * get(&call->param[0], d) + y + get(&call->param[1], d));
        put(&call->out[1], i, -x);
    }
}

static int forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    int64_t count = 1;
    for (int32_t i = 0; i < x->rank; i++) count *= x->shape[i];
    struct piece piece = {call, x->shape[x->rank - 1]};
    if (count > 0) call->host->parallel_for(call, count, 2, run, &piece);
    return FLOW_OK;
}

static int infer(struct flow_infer *node) {
    const struct aged_attrs *a = node->attrs;
    if (!FLOW_HOST_HAS(node->host, fail_at)) return FLOW_ERROR_PLUGIN;
    if (a->times == 13) return node->host->fail_at(node->owner, "times", FLOW_ERROR_RANGE, "13 is not liked");
    return FLOW_OK;
}

static const struct flow_port inputs[] = {{"x", "first", "... D", FLOW_TYPES_FLOAT, 0},
                                          {"y", "second", "... D", FLOW_TYPES_FLOAT, FLOW_OPTIONAL}};
static const struct flow_port outputs[] = {{"z", "result", "... D", FLOW_TYPES_FLOAT, 0}, {"minus", "-x", "... D", FLOW_TYPES_FLOAT, 0}};
static const struct flow_param params[] = {{"weight", "", "D", NULL, "constant(2)", FLOW_TYPES_FLOAT, 0},
                                           {"bias", "", "D", NULL, "constant(1)", FLOW_TYPES_FLOAT, 0}};
static const struct flow_attr attrs[] = {FLOW_ATTR(struct aged_attrs, scale, "factor", "0.5", 0, 10),
                                         FLOW_ATTR(struct aged_attrs, times, "more of it", "1", 1, 100)};
static const struct flow_kernel kernels[] = {{NULL, FLOW_DEVICE_CPU, FLOW_TYPE(F32), FLOW_ISA_BASE, 1, NULL, forward, NULL},
                                             {NULL, FLOW_DEVICE_CPU, FLOW_TYPE(F64), FLOW_ISA_BASE, 2, NULL, forward, NULL}};
static const struct flow_operator aged = {.size = sizeof aged,
                                          .name = "aged",
                                          .summary = "of another age",
                                          .inputs = FLOW_TABLE(inputs),
                                          .outputs = FLOW_TABLE(outputs),
                                          .params = FLOW_TABLE(params),
                                          .attrs = FLOW_TABLE(attrs),
                                          .kernels = FLOW_TABLE(kernels),
                                          .attrs_size = sizeof(struct aged_attrs),
                                          .infer = infer};

static const struct flow_state states[] = {{"s", "", "D", "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
                                           {"t", "", "... D", "constant(1)", FLOW_TYPES_FLOAT, FLOW_APPENDED, 1, 0}};
static const struct flow_operator carries = {.size = sizeof carries,
                                             .name = "aged_carries",
                                             .inputs = FLOW_TABLE(inputs),
                                             .outputs = FLOW_TABLE(outputs),
                                             .states = FLOW_TABLE(states)};

static int step(const struct flow_update *update) { return update ? FLOW_OK : FLOW_ERROR_INTERNAL; }
static const struct flow_state memory[] = {{"first", "", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
                                           {"second", "", NULL, "zeros", FLOW_TYPE(F32), 0, 0, 0}};
static const struct flow_optimizer one = {.size = sizeof one, .name = "aged_one", .states = FLOW_TABLE(memory), .step = step};
static const struct flow_optimizer two = {
    .size = sizeof two, .name = "aged_two", .attrs = FLOW_TABLE(attrs), .attrs_size = sizeof(struct aged_attrs), .step = step};

static int open(struct flow_source_open *source) { return source ? FLOW_ERROR_UNSUPPORTED : FLOW_ERROR_INTERNAL; }
static int fill(const struct flow_source_fill *source) { return source ? FLOW_ERROR_UNSUPPORTED : FLOW_ERROR_INTERNAL; }
static const struct flow_source source = {
    .size = sizeof source, .name = "aged_rows", .outputs = FLOW_TABLE(outputs), .open = open, .fill = fill};

static const struct flow_kernel more[] = {{"aged", FLOW_DEVICE_CPU, FLOW_TYPE(F32), FLOW_ISA_AVX2, -1, NULL, forward, NULL},
                                          {"aged_carries", FLOW_DEVICE_CPU, FLOW_TYPE(F64), FLOW_ISA_BASE, 3, NULL, forward, NULL}};
static const struct flow_operator *const operators[] = {&aged, &carries};
static const struct flow_optimizer *const optimizers[] = {&one, &two};
static const struct flow_source *const sources[] = {&source};
static const struct flow_plugin plugin = {.size = sizeof plugin,
                                          .abi = FLOW_ABI,
                                          .api = FLOW_API,
                                          .name = "aged",
                                          .version = "1",
                                          .licence = "Apache-2.0",
                                          .summary = "of another age",
                                          .operators = FLOW_TABLE(operators),
                                          .kernels = FLOW_TABLE(more),
                                          .optimizers = FLOW_TABLE(optimizers),
                                          .sources = FLOW_TABLE(sources)};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
