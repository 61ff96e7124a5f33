/* SPDX-License-Identifier: Apache-2.0 */
/* Which stream each step runs on, and which events order the streams.
 *
 * Steps are taken in order, and each goes where it could start first by a model of costs; leaving the stream of the step it waits for
 * longest must gain more than an event costs. If the whole then gains less than the events it needs, all stay on stream 0, where order
 * alone is enough. The clocks (for each step, the last step of each stream that is certainly done when it starts) say later when memory
 * may be used again. */
#include "plan/build.h"

#include <string.h>

/* A second's operations and bytes; seconds that an event and a call cost. The CPU: a modest core, and a wake-up between two of them
 * (measured: 17-25 us). CUDA: a third of what an H100 is published to give in f32 (67 TFLOP/s, 3.35 TB/s), since small steps do not fill
 * it, and what launches are known to cost. */
struct speed {
    double flops, bandwidth, event, call;
};
static const struct speed SPEEDS[] = {[FLOW_DEVICE_CPU] = {10e9, 50e9, 20e-6, 20e-9}, [FLOW_DEVICE_CUDA] = {20e12, 1e12, 3e-6, 3e-6}};

static const struct speed *speed_of(const struct plan_build *build) { return &SPEEDS[build->options->device == FLOW_DEVICE_CUDA]; }

static double step_cost(const struct plan_build *build, struct plan_step *step) {
    const struct speed *speed = speed_of(build);
    if (step->kind == PLAN_LOOP) {
        double body = 0;
        for (size_t s = step->loop->body->once_count; s < step->loop->body->step_count; s++) body += step->loop->body->steps[s].cost;
        return speed->call + body * (double)step->loop->iterations;
    }
    if (step->kind == PLAN_LOOP_BACKWARD) return speed->call + 3 * (double)step->loop->iterations * speed->call;
    const struct flow_infer *infer =
        step->kind == PLAN_KERNEL || step->kind == PLAN_BACKWARD ? &build->instance->nodes[step->node].infer : NULL;
    double flops = infer ? infer->flops : 0, bytes = infer ? infer->bytes : 0;
    bool written;
    for (uint32_t i = 0; bytes <= 0 && i < plan_step_tensor_count(step); i++) {
        const struct plan_tensor *t = plan_step_tensor(step, i, &written);
        int64_t size;
        if (t->type.rank >= 0 && plan_bytes(&t->type, &size)) bytes -= (double)size; /* negative: still summing */
    }
    return speed->call + flops / speed->flops + (bytes < 0 ? -bytes : bytes) / speed->bandwidth;
}

struct model {
    double *done;    /* by step */
    double *free;    /* by stream */
    int32_t *writer; /* by block: the last step that wrote it */
    int32_t *reader; /* [block * streams + s]: the last step of stream s that read it */
    int32_t *after;  /* steps that the one in hand must follow */
    size_t after_count;
};

static void follow(struct model *model, int32_t step) {
    for (size_t i = 0; i < model->after_count; i++)
        if (model->after[i] == step) return;
    if (step >= 0) model->after[model->after_count++] = step;
}

/* Collects what the step must follow: who wrote what it reads, who wrote or read what it writes. */
static void collect(struct plan_build *build, struct model *model, int32_t s) {
    struct plan_step *step = &build->steps[s];
    model->after_count = 0;
    for (uint32_t i = 0; i < plan_step_tensor_count(step); i++) {
        bool written;
        const struct plan_tensor *t = plan_step_tensor(step, i, &written);
        if (t->place == PLACE_NONE) continue;
        follow(model, model->writer[t->index]);
        for (int32_t k = 0; written && k < build->streams; k++) follow(model, model->reader[t->index * build->streams + k]);
    }
}

static void note(struct plan_build *build, struct model *model, int32_t s) {
    struct plan_step *step = &build->steps[s];
    for (uint32_t i = 0; i < plan_step_tensor_count(step); i++) {
        bool written;
        const struct plan_tensor *t = plan_step_tensor(step, i, &written);
        if (t->place == PLACE_NONE) continue;
        if (written) model->writer[t->index] = s;
        else model->reader[t->index * build->streams + step->stream] = s;
    }
}

static double start_on(const struct plan_build *build, const struct model *model, int32_t stream) {
    double start = model->free[stream];
    for (size_t i = 0; i < model->after_count; i++) {
        const struct plan_step *before = &build->steps[model->after[i]];
        double ready = model->done[model->after[i]] + (before->stream == stream ? 0 : speed_of(build)->event);
        if (ready > start) start = ready;
    }
    return start;
}

static void choose(struct plan_build *build, struct model *model, int32_t s, int32_t *used) {
    struct plan_step *step = &build->steps[s];
    int32_t best = 0;
    if (build->options->spread) { /* each step on another stream than the one before */
        step->stream = (s - (int32_t)build->plan->once_count) % build->streams;
        if (step->stream == *used) (*used)++;
        return;
    }
    double latest = -1;
    for (size_t i = 0; i < model->after_count; i++) {
        int32_t before = model->after[i];
        if (model->done[before] > latest) latest = model->done[before], best = build->steps[before].stream;
    }
    double start = start_on(build, model, best), stay = start;
    for (int32_t k = 0; k < build->streams && k <= *used; k++) {
        double other = start_on(build, model, k);
        if (stay - other > speed_of(build)->event && other < start) best = k, start = other;
    }
    if (best == *used) (*used)++;
    step->stream = best;
    model->free[best] = model->done[s] = start + step->cost;
}

static int assign(struct plan_build *build) {
    size_t blocks = build->block_count, streams = (size_t)build->streams, most = 0, cells;
    for (size_t s = 0; s < build->step_count; s++) {
        size_t tensors = plan_step_tensor_count(&build->steps[s]);
        if (tensors > most) most = tensors;
    }
    if (__builtin_mul_overflow(blocks, streams, &cells)) return report_memory(build->report);
    struct model model = {.done = arena_array(&build->scratch, build->step_count, sizeof(double)),
                          .free = arena_array(&build->scratch, streams, sizeof(double)),
                          .writer = arena_array(&build->scratch, blocks, sizeof(int32_t)),
                          .reader = arena_array(&build->scratch, cells, sizeof(int32_t)),
                          .after = arena_array(&build->scratch, most * (streams + 1), sizeof(int32_t))};
    if (!model.done || !model.free || !model.writer || !model.reader || !model.after) return report_memory(build->report);
    memset(model.writer, 0xFF, blocks * sizeof *model.writer);
    memset(model.reader, 0xFF, cells * sizeof *model.reader);
    double alone = 0, together = 0;
    int32_t used = 1;
    for (size_t s = build->plan->once_count; s < build->step_count; s++) {
        collect(build, &model, (int32_t)s);
        choose(build, &model, (int32_t)s, &used);
        note(build, &model, (int32_t)s);
        alone += build->steps[s].cost;
    }
    for (size_t k = 0; k < streams; k++)
        if (model.free[k] > together) together = model.free[k];
    if (used > 1 && (build->options->spread || alone - together > 2 * speed_of(build)->event)) build->plan->stream_count = used;
    else
        for (size_t s = 0; s < build->step_count; s++) build->steps[s].stream = 0;
    return 0;
}

/* Events where a step must follow one of another stream that its clock does not cover yet. */
static int order(struct plan_build *build, struct model *model, int32_t s, int32_t *newest) {
    struct plan_step *step = &build->steps[s];
    int32_t streams = build->streams, *clock = &build->clock[s * streams];
    int32_t before = newest[step->stream];
    if (before >= 0) {
        memcpy(clock, &build->clock[before * streams], (size_t)streams * sizeof *clock);
        clock[step->stream] = before;
    } else
        for (int32_t k = 0; k < streams; k++) clock[k] = -1;
    int32_t done_once = (int32_t)build->plan->once_count - 1;
    if (s > done_once && clock[0] < done_once) clock[0] = done_once;
    step->waits = arena_array(&build->plan->arena, model->after_count, sizeof *step->waits);
    if (!step->waits) return report_memory(build->report);
    for (int32_t latest_first = 0; latest_first < (int32_t)model->after_count; latest_first++) {
        /* The latest step first: its clock may cover the others. */
        int32_t at = latest_first;
        for (int32_t i = at + 1; i < (int32_t)model->after_count; i++)
            if (model->after[i] > model->after[at]) at = i;
        int32_t other = model->after[at];
        model->after[at] = model->after[latest_first], model->after[latest_first] = other;
        struct plan_step *earlier = &build->steps[other];
        if (earlier->stream == step->stream || clock[earlier->stream] >= other) continue;
        if (earlier->event < 0) earlier->event = build->plan->event_count++;
        step->waits[step->wait_count++] = earlier->event;
        for (int32_t k = 0; k < streams; k++)
            if (build->clock[other * streams + k] > clock[k]) clock[k] = build->clock[other * streams + k];
        clock[earlier->stream] = other;
    }
    newest[step->stream] = s;
    return 0;
}

static int synchronise(struct plan_build *build) {
    size_t blocks = build->block_count, streams = (size_t)build->streams, most = 0;
    for (size_t s = 0; s < build->step_count; s++) {
        size_t tensors = plan_step_tensor_count(&build->steps[s]);
        if (tensors > most) most = tensors;
    }
    struct model model = {.writer = arena_array(&build->scratch, blocks, sizeof(int32_t)),
                          .reader = arena_array(&build->scratch, blocks * streams, sizeof(int32_t)),
                          .after = arena_array(&build->scratch, most * (streams + 1), sizeof(int32_t))};
    int32_t *newest = arena_array(&build->scratch, streams, sizeof *newest);
    if (!model.writer || !model.reader || !model.after || !newest) return report_memory(build->report);
    memset(model.writer, 0xFF, blocks * sizeof *model.writer);
    memset(model.reader, 0xFF, blocks * streams * sizeof *model.reader);
    memset(newest, 0xFF, streams * sizeof *newest);
    for (size_t s = 0; s < build->step_count; s++) {
        collect(build, &model, (int32_t)s);
        int code = order(build, &model, (int32_t)s, newest);
        if (code < 0) return code;
        note(build, &model, (int32_t)s);
    }
    return 0;
}

static int note_uses(struct plan_build *build) {
    size_t cells = build->block_count * (size_t)build->streams;
    build->uses = arena_array(&build->scratch, cells, sizeof *build->uses);
    if (!build->uses) return report_memory(build->report);
    memset(build->uses, 0xFF, cells * sizeof *build->uses);
    for (size_t s = 0; s < build->step_count; s++) {
        struct plan_step *step = &build->steps[s];
        uint32_t tensors = plan_step_tensor_count(step);
        for (uint32_t i = 0; i <= tensors; i++) {
            bool written = false;
            const struct plan_tensor *t = i < tensors ? plan_step_tensor(step, i, &written) : NULL;
            if (t ? t->place == PLACE_NONE || (written && plan_keeps_feed(build, step)) : step->workspace < 0) continue;
            int32_t block = t ? t->index : (int32_t)step->workspace;
            build->uses[block * build->streams + step->stream] = (int32_t)s;
            if (build->blocks[block].first < 0) build->blocks[block].first = (int32_t)s;
        }
    }
    return 0;
}

int plan_stream(struct plan_build *build) {
    int code = 0;
    build->streams = build->options->streams > 1 ? build->options->streams : 1;
    if (build->streams > PLAN_STREAMS_MOST) build->streams = PLAN_STREAMS_MOST;
    build->plan->stream_count = 1;
    for (size_t s = 0; s < build->step_count; s++) build->steps[s].cost = step_cost(build, &build->steps[s]);
    if (build->streams > 1 && (code = assign(build)) < 0) return code;
    build->streams = build->plan->stream_count;
    if (build->streams > 1) {
        size_t cells = build->step_count * (size_t)build->streams;
        build->clock = arena_array(&build->scratch, cells, sizeof *build->clock);
        if (!build->clock) return report_memory(build->report);
        if ((code = synchronise(build)) < 0) return code;
    }
    return note_uses(build);
}
