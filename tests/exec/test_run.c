/* SPDX-License-Identifier: Apache-2.0 */
/* Instances made by hand, run in every way: the results must be what working them out value by value gives. */
#include "exec/exec.h"
#include "harness/failing.h"
#include "harness/hand.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

struct bench {
    struct device *device;
    struct model *model;
    struct context *context;
    struct plan *plan;
    struct report report;
};

static int bench_open(struct bench *b, const struct allocator *from, const struct hand *h, int threads, int streams) {
    memset(b, 0, sizeof *b);
    report_init(&b->report, from);
    struct device_cpu_options cpu = {.threads = threads, .isa = -1};
    int code = device_cpu_new(from, &cpu, &b->device);
    if (code == 0) code = model_new(from, b->device, &b->model);
    if (code == 0) code = context_new(from, b->model, &b->context);
    if (code == 0) {
        struct plan_options options = {.streams = streams, .device = FLOW_DEVICE_CPU, .host = b->device->host};
        code = plan_new(from, &h->instance, &options, &b->report, &b->plan);
    }
    return code;
}

static void bench_close(struct bench *b) {
    if (b->context && b->plan) context_forget(b->context, b->plan);
    plan_free(b->plan);
    context_free(b->context);
    model_free(b->model);
    if (b->device) b->device->api->free(b->device);
    report_free(&b->report);
}

static void fill(struct hand_result *r, const struct hand *h, int32_t v, uint32_t salt) {
    for (int64_t i = 0, n = hand_elements(&h->values[v].type); i < n; i++) r->dense[v][i] = (uint32_t)i * 2654435761u + salt;
}

/* The inputs as tensors over the dense values; `strided`: the second one is given column by column. */
static void give(struct hand *h, struct hand_result *r, bool strided, struct flow_tensor *inputs, uint32_t *room) {
    for (size_t i = 0; i < h->network.input_count; i++) {
        struct flow_tensor *t = &inputs[i];
        *t = h->values[h->inputs[i]].type;
        t->data = r->dense[h->inputs[i]];
        if (!strided || i != 1) continue;
        struct flow_tensor turned = *t;
        turned.data = room, turned.strides[0] = 1, turned.strides[1] = t->shape[0];
        for (int64_t k = 0, n = hand_elements(t); k < n; k++) *hand_at(&turned, k) = *hand_at(t, k);
        *t = turned;
    }
}

static void expect_outputs(const struct hand *h, const struct hand_result *r, const struct flow_tensor *outputs, uint64_t seed, int run) {
    for (size_t o = 0; o < h->network.output_count; o++) {
        int64_t n = hand_elements(&h->values[h->outputs[o]].type);
        for (int64_t k = 0; k < n; k++)
            cr_assert_eq(*hand_at(&outputs[o], k), r->dense[h->outputs[o]][k], "seed %d run %d output %d [%d]", (int)seed, run, (int)o,
                         (int)k);
    }
}

static void set_param(struct bench *b, struct hand *h, struct hand_result *r) {
    for (size_t p = 0; p < h->instance.param_count; p++) {
        struct flow_tensor t = h->values[h->params[p]].type;
        fill(r, h, h->params[p], 77);
        t.data = r->dense[h->params[p]];
        cr_assert_eq(model_set(b->model, h->values[h->params[p]].name, &t, false), 0);
    }
}

static void keep_feeds(struct hand *h, struct hand_result *r) {
    for (size_t v = 0; v < h->instance.value_count; v++) {
        if (h->values[v].kind != VALUE_FEED) continue;
        size_t bytes = (size_t)hand_elements(&h->values[v].type) * 4;
        uint32_t *kept = malloc(bytes + 4);
        memcpy(kept, r->dense[h->values[v].feed], bytes);
        h->values[v].index = (int32_t)v; /* swapped in below, when all are read */
        free(r->dense[HAND_MOST - 1 - v]);
        r->dense[HAND_MOST - 1 - v] = kept;
    }
    for (size_t v = 0; v < h->instance.value_count; v++)
        if (h->values[v].kind == VALUE_FEED)
            memcpy(r->dense[v], r->dense[HAND_MOST - 1 - v], (size_t)hand_elements(&h->values[v].type) * 4);
}

static void free_kept(struct hand_result *r, const struct hand *h) {
    for (size_t v = 0; v < h->instance.value_count; v++)
        if (h->values[v].kind == VALUE_FEED) free(r->dense[HAND_MOST - 1 - v]);
}

/* Gives the number of streams used. */
static int run_random(uint64_t seed, int nodes, int threads, int streams, int runs) {
    static struct hand h;
    static struct hand_result r;
    struct bench b;
    uint32_t room[64];
    hand_make_random(&h, seed, nodes);
    hand_result_init(&h, &r);
    cr_assert_eq(bench_open(&b, &memory_default, &h, threads, streams), 0);
    set_param(&b, &h, &r);
    for (int run = 0; run < runs; run++) {
        struct flow_tensor inputs[2];
        const struct flow_tensor *outputs;
        fill(&r, &h, h.inputs[0], (uint32_t)run), fill(&r, &h, h.inputs[1], (uint32_t)run + 1000);
        hand_evaluate(&h, &r);
        give(&h, &r, run % 2, inputs, room);
        cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
        cr_assert_eq(context_run(b.context, inputs, &b.report, &outputs), 0, "%s", b.report.first ? b.report.first->text : "?");
        expect_outputs(&h, &r, outputs, seed, run);
        keep_feeds(&h, &r);
    }
    free_kept(&r, &h);
    hand_result_free(&h, &r);
    int used = b.plan->stream_count;
    bench_close(&b);
    return used;
}

Test(exec, random_graphs_give_what_they_should) {
    for (uint64_t seed = 1; seed <= 400; seed++) run_random(seed, 3 + (int)(seed % 70), 1, 1, 4);
}

Test(exec, random_graphs_on_several_streams) {
    int several = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) several += run_random(seed, 20 + (int)(seed % 60), 2, 2 + (int)(seed % 3), 3) > 1;
    cr_assert_gt(several, 75, "only %d of 150 used more than one stream", several);
}

/* Two contexts of one model and one plan, each on a thread of its own. */
struct worker {
    struct bench *bench;
    struct hand *hand;
    struct hand_result *result;
    int wrong;
};

static void *work(void *argument) {
    struct worker *w = argument;
    struct context *context;
    struct report report;
    report_init(&report, &memory_default);
    struct flow_tensor inputs[2];
    uint32_t room[64];
    const struct flow_tensor *outputs;
    if (context_new(&memory_default, w->bench->model, &context) < 0) return w->wrong++, NULL;
    for (int run = 0; run < 50; run++) {
        context_reset(context);
        give(w->hand, w->result, false, inputs, room);
        if (context_bind(context, w->bench->plan, &report) < 0 || context_run(context, inputs, &report, &outputs) < 0) {
            w->wrong++;
            break;
        }
        for (size_t o = 0; o < w->hand->network.output_count; o++)
            for (int64_t k = 0, n = hand_elements(&outputs[o]); k < n; k++)
                w->wrong += *hand_at(&outputs[o], k) != w->result->dense[w->hand->outputs[o]][k];
    }
    context_free(context);
    report_free(&report);
    return NULL;
}

Test(exec, two_contexts_run_at_once) {
    static struct hand h;
    static struct hand_result r;
    for (uint64_t seed = 11; seed < 16; seed++) {
        struct bench b;
        hand_make_random(&h, seed, 60);
        hand_result_init(&h, &r);
        cr_assert_eq(bench_open(&b, &memory_default, &h, 2, 1), 0);
        set_param(&b, &h, &r);
        fill(&r, &h, h.inputs[0], 1), fill(&r, &h, h.inputs[1], 2);
        hand_evaluate(&h, &r);
        struct worker workers[2] = {{&b, &h, &r, 0}, {&b, &h, &r, 0}};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) cr_assert_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        for (int i = 0; i < 2; i++) cr_assert_eq(workers[i].wrong, 0);
        hand_result_free(&h, &r);
        bench_close(&b);
    }
}

Test(exec, every_failing_allocation_is_survived) {
    static struct hand h;
    static struct hand_result r;
    hand_make_random(&h, 5, 40);
    hand_result_init(&h, &r);
    for (int streams = 1; streams <= 2; streams++)
        for (long n = 1;; n++) {
            struct failing failing = FAILING_INIT;
            struct allocator from = failing_allocator(&failing);
            failing.fail_at = n;
            struct bench b;
            struct flow_tensor inputs[2];
            uint32_t room[64];
            const struct flow_tensor *outputs = NULL;
            int code = bench_open(&b, &from, &h, 1, streams);
            give(&h, &r, true, inputs, room);
            if (code == 0) code = context_bind(b.context, b.plan, &b.report);
            if (code == 0) code = context_run(b.context, inputs, &b.report, &outputs);
            cr_assert_eq(code == 0, outputs != NULL);
            cr_assert(code == 0 || code == FLOW_ERROR_MEMORY, "request %ld gave %d", n, code);
            bench_close(&b);
            cr_assert_eq(failing.blocks, 0, "request %ld", n);
            cr_assert_not(failing.wrong_size, "request %ld", n);
            if (code == 0 && failing.requests < n) break;
        }
    hand_result_free(&h, &r);
}

Test(exec, a_run_can_be_cancelled) {
    static struct hand h;
    struct bench b;
    hand_init(&h);
    int32_t x = hand_input(&h, 2, 2);
    hand_output(&h, hand_node(&h, HAND_NEGATE, x, -1, hand_type(2, 2)));
    cr_assert_eq(bench_open(&b, &memory_default, &h, 1, 1), 0);
    uint32_t data[4] = {1, 2, 3, 4};
    struct flow_tensor input = hand_type(2, 2);
    input.data = data;
    const struct flow_tensor *outputs;
    cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
    context_cancel(b.context);
    cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), FLOW_ERROR_CANCELLED);
    cr_assert_str_eq(b.report.first->text, "the run was cancelled");
    cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), 0, "the next run goes on");
    cr_assert_eq(*(uint32_t *)outputs[0].data, (uint32_t)-1);
    bench_close(&b);
}

Test(exec, an_input_of_another_shape_is_refused) {
    static struct hand h;
    struct bench b;
    hand_init(&h);
    int32_t x = hand_input(&h, 2, 2);
    hand_output(&h, hand_node(&h, HAND_NEGATE, x, -1, hand_type(2, 2)));
    cr_assert_eq(bench_open(&b, &memory_default, &h, 1, 1), 0);
    uint32_t data[6] = {0};
    struct flow_tensor input = hand_type(2, 3);
    input.data = data;
    const struct flow_tensor *outputs;
    cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), FLOW_ERROR_USAGE, "nothing is bound");
    cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
    cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), FLOW_ERROR_SHAPE);
    cr_assert_str_eq(b.report.last->text, "input 'v0': given is i32 [2, 3]; planned is i32 [2, 2]");
    bench_close(&b);
}

static int failing_kernel(const struct flow_call *call) {
    return call->host->fail(call->owner, FLOW_ERROR_RANGE, "index %d is out of range", 7);
}

Test(exec, a_kernel_that_fails_is_named) {
    static struct hand h;
    struct bench b;
    hand_init(&h);
    int32_t x = hand_input(&h, 2, 2), a = hand_node(&h, HAND_NEGATE, x, -1, hand_type(2, 2));
    int32_t y = hand_node(&h, HAND_SCALE, a, -1, hand_type(2, 2));
    hand_output(&h, y);
    struct flow_kernel kernel = {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(I32), .forward = failing_kernel};
    struct registry_entry entry = {.op = &hand_operators[HAND_SCALE], .plugin = "test", .kernels = &kernel, .kernel_count = 1};
    h.nodes[1].entry = &entry;
    cr_assert_eq(bench_open(&b, &memory_default, &h, 1, 1), 0);
    uint32_t data[4] = {0};
    struct flow_tensor input = hand_type(2, 2);
    input.data = data;
    const struct flow_tensor *outputs;
    cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
    cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), FLOW_ERROR_RANGE);
    cr_assert_null(outputs);
    cr_assert_str_eq(b.report.first->text, "node 'n1': operator 'scale': index 7 is out of range");
    cr_assert_eq(b.report.first->at.line, 2);
    bench_close(&b);
}

Test(exec, a_failure_ends_all_streams) {
    static struct hand h;
    static struct hand_result r;
    struct flow_kernel kernel = {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(I32), .forward = failing_kernel};
    struct registry_entry entry = {.op = &hand_operators[HAND_SCALE], .plugin = "test", .kernels = &kernel, .kernel_count = 1};
    int failed = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct bench b;
        hand_make_random(&h, seed, 60);
        hand_result_init(&h, &r);
        for (size_t n = 0; n < h.instance.node_count; n++)
            if (h.ops[n] == HAND_SCALE && n > 20) h.nodes[n].entry = &entry;
        cr_assert_eq(bench_open(&b, &memory_default, &h, 2, 3), 0);
        struct flow_tensor inputs[2];
        const struct flow_tensor *outputs;
        give(&h, &r, false, inputs, NULL);
        int code = context_bind(b.context, b.plan, &b.report);
        if (code == 0) code = context_run(b.context, inputs, &b.report, &outputs);
        cr_assert(code == 0 || code == FLOW_ERROR_RANGE, "%d", code);
        failed += code < 0;
        hand_result_free(&h, &r);
        bench_close(&b);
    }
    cr_assert_gt(failed, 30);
}

Test(exec, profile_counts_calls_by_node) {
    static struct hand h;
    struct bench b;
    hand_init(&h);
    int32_t x = hand_input(&h, 2, 3), t = hand_transpose(&h, x);
    hand_output(&h, hand_node(&h, HAND_SCALE, t, -1, hand_type(3, 2)));
    h.nodes[1].infer.flops = 6;
    cr_assert_eq(bench_open(&b, &memory_default, &h, 1, 1), 0);
    uint32_t data[6] = {0};
    struct flow_tensor input = hand_type(2, 3);
    input.data = data;
    const struct flow_tensor *outputs;
    const struct context_times *times;
    size_t count;
    cr_assert_eq(context_profile_start(b.context), 0);
    cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
    for (int i = 0; i < 3; i++) cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), 0);
    cr_assert_eq(context_profile(b.context, &times, &count), 0);
    cr_assert_eq(count, 1, "the copy counts as its node's");
    cr_assert_str_eq(times[0].node, "n1");
    cr_assert_eq(times[0].calls, 3);
    cr_assert_float_eq(times[0].flops, 18, 0);
    bench_close(&b);
}

/* ---- Kernels that do wrong are found by a checked context ---- */

/* What a kernel of h's first node does wrong with one value of four elements, and what is said then. */
static void expect_caught(int (*forward)(const struct flow_call *call), const char *said) {
    static struct hand h;
    struct bench b;
    hand_init(&h);
    int32_t x = hand_input(&h, 2, 2), a = hand_node(&h, HAND_SCALE, x, -1, hand_type(2, 2));
    hand_output(&h, hand_node(&h, HAND_NEGATE, a, -1, hand_type(2, 2)));
    struct flow_kernel kernel = {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(I32), .forward = forward};
    struct registry_entry entry = {.op = &hand_operators[HAND_SCALE], .plugin = "test", .kernels = &kernel, .kernel_count = 1};
    h.nodes[0].entry = &entry;
    cr_assert_eq(bench_open(&b, &memory_default, &h, 1, 1), 0);
    plan_free(b.plan);
    struct plan_options options = {.streams = 1, .host = b.device->host, .checked = true};
    cr_assert_eq(plan_new(&memory_default, &h.instance, &options, &b.report, &b.plan), 0);
    context_check(b.context, true);
    uint32_t data[4] = {1, 2, 3, 4};
    struct flow_tensor input = hand_type(2, 2);
    input.data = data;
    const struct flow_tensor *outputs;
    for (int run = 0; run < 2; run++) { /* what is wrong once is not in the way of the next run */
        cr_assert_eq(context_bind(b.context, b.plan, &b.report), 0);
        cr_assert_eq(context_run(b.context, &input, &b.report, &outputs), said ? FLOW_ERROR_PLUGIN : 0);
        if (said) cr_assert_str_eq(b.report.last->text, said);
    }
    cr_assert_eq(data[0], 1, "kernels see a copy of the caller's memory");
    bench_close(&b);
}

static int behaves(const struct flow_call *call) {
    memcpy(call->out[0].data, call->in[0].data, 16);
    return 0;
}
static int writes_behind(const struct flow_call *call) {
    memset(call->out[0].data, 0, 17);
    return 0;
}
static int writes_in_front(const struct flow_call *call) {
    memset((char *)call->out[0].data - 8, 0, 24);
    return 0;
}
static int writes_its_input(const struct flow_call *call) {
    behaves(call);
    ((uint32_t *)call->in[0].data)[1]++;
    return 0;
}
static int writes_behind_its_input(const struct flow_call *call) {
    behaves(call);
    ((uint32_t *)call->in[0].data)[5] ^= UINT32_MAX;
    return 0;
}

Test(exec, a_kernel_that_writes_where_it_may_not_is_found) {
    expect_caught(behaves, NULL);
    expect_caught(writes_behind, "node 'n0': operator 'scale': it wrote behind the end of its output 'y' (16 bytes): up to byte 16");
    expect_caught(writes_in_front,
                  "node 'n0': operator 'scale': it wrote in front of the start of its output 'y' (16 bytes): from byte -8 on");
    expect_caught(writes_its_input, "node 'n0': operator 'scale': it changed its input 'x', which it may only read");
    expect_caught(writes_behind_its_input,
                  "node 'n0': operator 'scale': it wrote behind the end of its input 'x' (16 bytes): up to byte 23");
}
