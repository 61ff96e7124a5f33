/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events and loops of the CPU device, alone and from several threads at once. Values pass between launches through plain memory,
 * so that the thread sanitizer sees a missing order. */
#include "device/device.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct device *device_new(int threads) {
    struct device_cpu_options options = {.threads = threads, .isa = -1};
    struct device *device = NULL;
    cr_assert_eq(device_cpu_new(&memory_default, &options, &device), FLOW_OK);
    return device;
}

static struct stream *stream_new(struct device *device) {
    struct stream *stream = NULL;
    cr_assert_eq(device->api->stream_new(device, &stream), FLOW_OK);
    return stream;
}

static struct event *event_new(struct device *device) {
    struct event *event = NULL;
    cr_assert_eq(device->api->event_new(device, &event), FLOW_OK);
    return event;
}

/* ---- Order ---- */

struct append {
    int *list, *count, value, code;
};

static int append(void *context) {
    struct append *a = context;
    a->list[(*a->count)++] = a->value;
    return a->code;
}

Test(stream, first_in_first_out) {
    for (int threads = 1; threads <= 3; threads++) {
        struct device *device = device_new(threads);
        struct stream *stream = stream_new(device);
        enum { COUNT = 300 };
        int list[COUNT], count = 0;
        struct append a[COUNT];
        for (int i = 0; i < COUNT; i++) {
            a[i] = (struct append){list, &count, i, 0};
            cr_assert_eq(device->api->launch(stream, append, &a[i]), FLOW_OK);
        }
        cr_assert_eq(device->api->synchronize(stream), FLOW_OK);
        cr_assert_eq(count, COUNT);
        for (int i = 0; i < COUNT; i++) cr_assert_eq(list[i], i);
        device->api->stream_free(stream);
        device->api->free(device);
    }
}

/* Two streams write in turn into one list; only events keep them in order. */
Test(stream, events_order_streams) {
    for (int threads = 1; threads <= 3; threads++) {
        struct device *device = device_new(threads);
        const struct device_api *api = device->api;
        struct stream *streams[2] = {stream_new(device), stream_new(device)};
        struct event *events[2] = {event_new(device), event_new(device)};
        enum { COUNT = 400 };
        int list[COUNT], count = 0;
        struct append a[COUNT];
        for (int i = 0; i < COUNT; i++) {
            a[i] = (struct append){list, &count, i, 0};
            cr_assert_eq(api->wait(streams[i % 2], events[(i + 1) % 2]), FLOW_OK);
            cr_assert_eq(api->launch(streams[i % 2], append, &a[i]), FLOW_OK);
            cr_assert_eq(api->record(streams[i % 2], events[i % 2]), FLOW_OK);
        }
        cr_assert_eq(api->synchronize(streams[1]), FLOW_OK);
        cr_assert_eq(api->synchronize(streams[0]), FLOW_OK);
        cr_assert_eq(count, COUNT);
        for (int i = 0; i < COUNT; i++) cr_assert_eq(list[i], i);
        for (int i = 0; i < 2; i++) api->stream_free(streams[i]), api->event_free(events[i]);
        api->free(device);
    }
}

Test(stream, an_error_skips_the_rest_until_synchronize) {
    for (int threads = 1; threads <= 2; threads++) {
        struct device *device = device_new(threads);
        const struct device_api *api = device->api;
        struct stream *stream = stream_new(device), *other = stream_new(device);
        struct event *event = event_new(device);
        int list[8], count = 0;
        struct append good = {list, &count, 1, 0}, bad = {list, &count, 2, FLOW_ERROR_RANGE}, worse = {list, &count, 3, FLOW_ERROR_IO},
                      after = {list, &count, 4, 0};
        (void)api->launch(stream, append, &good);
        (void)api->launch(stream, append, &bad);
        (void)api->launch(stream, append, &worse);
        (void)api->record(stream, event);
        (void)api->wait(other, event);
        (void)api->launch(other, append, &after);
        cr_assert_eq(api->synchronize(other), FLOW_OK);
        cr_assert_eq(api->synchronize(stream), FLOW_ERROR_RANGE);
        cr_assert_eq(count, 3);
        cr_assert(list[0] == 1 && list[1] == 2 && list[2] == 4);
        (void)api->launch(stream, append, &good);
        cr_assert_eq(api->synchronize(stream), FLOW_OK);
        cr_assert_eq(count, 4);
        api->stream_free(stream), api->stream_free(other), api->event_free(event);
        api->free(device);
    }
}

Test(stream, an_event_never_recorded_holds_nothing) {
    struct device *device = device_new(1);
    struct stream *stream = stream_new(device);
    struct event *event = event_new(device);
    cr_assert_eq(device->api->wait(stream, event), FLOW_OK);
    cr_assert_eq(device->api->synchronize(stream), FLOW_OK);
    device->api->stream_free(stream), device->api->event_free(event);
    device->api->free(device);
}

/* ---- A stream that is held up by another thread ---- */

struct gate {
    atomic_bool entered, open;
    int value;
};

static int pass(void *context) {
    struct gate *gate = context;
    atomic_store(&gate->entered, true);
    while (!atomic_load(&gate->open)) sched_yield();
    gate->value = 42;
    return 0;
}

static int check_gate(void *context) { return ((struct gate *)context)->value == 42 ? 0 : FLOW_ERROR_INTERNAL; }

struct held {
    struct device *device;
    struct stream *stream;
    struct event *event;
    struct gate gate;
};

static void *hold(void *context) {
    struct held *held = context;
    const struct device_api *api = held->device->api;
    (void)api->launch(held->stream, pass, &held->gate);
    (void)api->synchronize(held->stream);
    return NULL;
}

static void *open_late(void *context) {
    struct held *held = context;
    for (int i = 0; i < 1000; i++) sched_yield();
    atomic_store(&held->gate.open, true);
    return NULL;
}

/* With one thread nothing is served by workers: this thread's stream waits for one that another thread is running, and the record that it
 * waits for must be worked through by whoever is there. */
Test(stream, waits_for_another_threads_stream) {
    for (int round = 0; round < 50; round++)
        for (int threads = 1; threads <= 2; threads++) {
            struct held held = {.device = device_new(threads)};
            const struct device_api *api = held.device->api;
            held.stream = stream_new(held.device), held.event = event_new(held.device);
            struct stream *mine = stream_new(held.device);
            pthread_t first, second;
            pthread_create(&first, NULL, hold, &held);
            while (!atomic_load(&held.gate.entered)) sched_yield();
            (void)api->record(held.stream, held.event);
            (void)api->wait(mine, held.event);
            (void)api->launch(mine, check_gate, &held.gate);
            pthread_create(&second, NULL, open_late, &held);
            cr_assert_eq(api->synchronize(mine), FLOW_OK);
            pthread_join(first, NULL), pthread_join(second, NULL);
            api->stream_free(mine), api->stream_free(held.stream), api->event_free(held.event);
            api->free(held.device);
        }
}

/* ---- Loops ---- */

struct loop {
    const struct flow_call *call;
    unsigned char *hits;
    int64_t count, grain;
    atomic_int wrong;
    int nested;
};

static void loop_body(void *context, int64_t begin, int64_t end) {
    struct loop *loop = context;
    if (begin % loop->grain || (end - begin != loop->grain && end != loop->count)) atomic_fetch_add(&loop->wrong, 1);
    if (loop->nested) {
        struct loop inner = {.call = loop->call, .hits = loop->hits + begin, .count = end - begin, .grain = 2};
        loop->call->host->parallel_for(loop->call, inner.count, inner.grain, loop_body, &inner);
        atomic_fetch_add(&loop->wrong, atomic_load(&inner.wrong));
        return;
    }
    for (int64_t i = begin; i < end; i++) loop->hits[i]++;
}

static int loop_wrong(struct loop *loop) {
    memset(loop->hits, 0, (size_t)loop->count);
    loop->call->host->parallel_for(loop->call, loop->count, loop->grain, loop_body, loop);
    int wrong = atomic_load(&loop->wrong);
    for (int64_t i = 0; i < loop->count; i++) wrong += loop->hits[i] != 1;
    return wrong;
}

Test(pool, every_index_once) {
    static const int64_t counts[] = {0, 1, 2, 7, 64, 1000, 4099}, grains[] = {1, 2, 3, 64, 5000};
    unsigned char *hits = malloc(5000);
    for (int threads = 1; threads <= 4; threads++) {
        struct device *device = device_new(threads);
        struct flow_call call = {.size = sizeof call, .host = device->host};
        cr_assert_eq(device->host->threads, threads);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            for (size_t j = 0; j < sizeof grains / sizeof *grains; j++)
                for (int nested = 0; nested < 2; nested++) {
                    struct loop loop = {.call = &call, .hits = hits, .count = counts[i], .grain = grains[j], .nested = nested};
                    cr_assert_eq(loop_wrong(&loop), 0);
                }
        device->api->free(device);
    }
    free(hits);
}

/* ---- Everything at once ---- */

enum { OUTSIDERS = 4, STREAMS = 3, EVENTS = 4, TASKS = 400 };

struct task {
    const struct flow_call *call;
    int *slot;
    const int *needs[2]; /* of the launch before it on its stream, and of one it waited for */
    int value;
    bool spreads;
};

static void touch(void *context, int64_t begin, int64_t end) {
    int *sum = context;
    for (int64_t i = begin; i < end; i++) sum[i] += (int)i;
}

static int run_task(void *context) {
    struct task *task = context;
    for (int i = 0; i < 2; i++)
        if (task->needs[i] && *task->needs[i] == 0) return FLOW_ERROR_INTERNAL;
    if (task->spreads) {
        int sum[40] = {0};
        task->call->host->parallel_for(task->call, 40, 3, touch, sum);
        for (int i = 0; i < 40; i++)
            if (sum[i] != i) return FLOW_ERROR_INTERNAL;
    }
    *task->slot = task->value;
    return 0;
}

struct outsider {
    struct device *device;
    struct event *const *shared; /* recorded and awaited by all: no value is checked, it must only come to an end */
    uint32_t seed;
    int failures;
};

static uint32_t draw(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u, *seed >> 8; }

static void *outsider_run(void *context) {
    struct outsider *me = context;
    const struct device_api *api = me->device->api;
    struct flow_call call = {.size = sizeof call, .host = me->device->host};
    struct stream *streams[STREAMS];
    struct event *events[EVENTS];
    const int *last[STREAMS] = {0}, *recorded[EVENTS] = {0};
    int *slots = calloc(TASKS, sizeof *slots);
    struct task *tasks = calloc(TASKS, sizeof *tasks);
    for (int i = 0; i < STREAMS; i++)
        if (api->stream_new(me->device, &streams[i])) me->failures++;
    for (int i = 0; i < EVENTS; i++)
        if (api->event_new(me->device, &events[i])) me->failures++;
    for (int i = 0; i < TASKS; i++) {
        uint32_t s = draw(&me->seed) % STREAMS, e = draw(&me->seed) % EVENTS;
        tasks[i] = (struct task){&call, &slots[i], {last[s], NULL}, i + 1, draw(&me->seed) % 8 == 0};
        if (draw(&me->seed) % 2) {
            me->failures += api->wait(streams[s], events[e]) != 0;
            tasks[i].needs[1] = recorded[e];
        }
        if (draw(&me->seed) % 8 == 0) me->failures += api->wait(streams[s], me->shared[draw(&me->seed) % EVENTS]) != 0;
        me->failures += api->launch(streams[s], run_task, &tasks[i]) != 0;
        last[s] = &slots[i];
        if (draw(&me->seed) % 2) {
            e = draw(&me->seed) % EVENTS;
            me->failures += api->record(streams[s], events[e]) != 0;
            recorded[e] = &slots[i];
        }
        if (draw(&me->seed) % 8 == 0) me->failures += api->record(streams[s], me->shared[draw(&me->seed) % EVENTS]) != 0;
        if (draw(&me->seed) % 32 == 0) me->failures += api->synchronize(streams[draw(&me->seed) % STREAMS]) != 0;
    }
    for (int i = 0; i < STREAMS; i++) me->failures += api->synchronize(streams[i]) != 0;
    for (int i = 0; i < TASKS; i++) me->failures += slots[i] != i + 1;
    for (int i = 0; i < STREAMS; i++) api->stream_free(streams[i]);
    for (int i = 0; i < EVENTS; i++) api->event_free(events[i]);
    free(slots), free(tasks);
    return NULL;
}

Test(stream, many_threads_streams_and_events, .timeout = 120) {
    for (int threads = 1; threads <= 4; threads++)
        for (uint32_t round = 0; round < 10; round++) {
            struct device *device = device_new(threads);
            struct event *shared[EVENTS];
            for (int i = 0; i < EVENTS; i++) shared[i] = event_new(device);
            struct outsider outsiders[OUTSIDERS];
            pthread_t at[OUTSIDERS];
            for (uint32_t i = 0; i < OUTSIDERS; i++) {
                outsiders[i] = (struct outsider){device, shared, round * 97 + i * 7 + (uint32_t)threads, 0};
                cr_assert_eq(pthread_create(&at[i], NULL, outsider_run, &outsiders[i]), 0);
            }
            for (int i = 0; i < OUTSIDERS; i++) pthread_join(at[i], NULL);
            for (int i = 0; i < OUTSIDERS; i++) cr_assert_eq(outsiders[i].failures, 0);
            for (int i = 0; i < EVENTS; i++) device->api->event_free(shared[i]);
            device->api->free(device);
        }
}

/* ---- Memory ---- */

struct failing {
    int left; /* allocations until one fails */
    int64_t bytes;
};

static void *failing_resize(void *context, void *block, size_t old_size, size_t new_size) {
    struct failing *failing = context;
    if (new_size && failing->left-- == 0) return NULL;
    failing->bytes += (int64_t)new_size - (block ? (int64_t)old_size : 0);
    return memory_default.resize(NULL, block, old_size, new_size);
}

static int use(struct device *device) {
    const struct device_api *api = device->api;
    struct stream *stream = NULL;
    struct event *event = NULL;
    void *block = NULL, *empty = NULL;
    int list[2], count = 0;
    struct append a = {list, &count, 1, 0};
    int code = api->stream_new(device, &stream);
    if (!code) code = api->event_new(device, &event);
    if (!code) code = api->launch(stream, append, &a);
    if (!code) code = api->record(stream, event);
    if (!code) code = api->memory_new(device, 1000, &block);
    if (!code) code = api->memory_new(device, 0, &empty);
    if (!code && ((uintptr_t)block % 64 || !empty)) code = FLOW_ERROR_INTERNAL;
    if (!code) {
        static float x[30 * 30];
        struct flow_call call = {.size = sizeof call, .host = device->host};
        struct flow_gemm g = {.m = 30, .n = 30, .k = 30, .a = x, .a_row = 30, .a_col = 1, .b = x, .b_row = 1, .b_col = 30, .c_row = 30};
        float c[30 * 30];
        g.c = c;
        code = device->host->gemm(&call, &g);
    }
    if (stream) (void)api->synchronize(stream);
    api->memory_free(device, block, 1000), api->memory_free(device, empty, 0);
    api->stream_free(stream), api->event_free(event);
    return code;
}

Test(device, every_allocation_may_fail) {
    for (int threads = 1; threads <= 2; threads++)
        for (int i = 0;; i++) {
            cr_assert_lt(i, 100);
            struct failing failing = {.left = i};
            struct allocator from = {&failing, failing_resize};
            struct device_cpu_options options = {.threads = threads, .isa = -1};
            struct device *device = NULL;
            int code = device_cpu_new(&from, &options, &device);
            if (!code) code = use(device);
            if (device) device->api->free(device);
            cr_assert_eq(failing.bytes, 0);
            if (!code) break;
            cr_assert_eq(code, FLOW_ERROR_MEMORY);
        }
}

Test(device, options) {
    struct device *device = NULL;
    struct device_cpu_options wrong = {.threads = -1, .isa = -1};
    cr_assert_eq(device_cpu_new(&memory_default, &wrong, &device), FLOW_ERROR_USAGE);
    struct device_cpu_options base = {.threads = 1, .isa = FLOW_ISA_BASE};
    cr_assert_eq(device_cpu_new(&memory_default, &base, &device), FLOW_OK);
    cr_assert_eq(device->host->isa, FLOW_ISA_BASE);
    void *block = NULL;
    cr_assert_eq(device->api->memory_new(device, INT64_MAX, &block), FLOW_ERROR_MEMORY);
    device->api->free(device);
    setenv("FLOW_ISA", "base", 1);
    struct device_cpu_options best = {.threads = 1, .isa = -1};
    cr_assert_eq(device_cpu_new(&memory_default, &best, &device), FLOW_OK);
    cr_assert_eq(device->host->isa, FLOW_ISA_BASE);
    device->api->free(device);
    unsetenv("FLOW_ISA");
}
