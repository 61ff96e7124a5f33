/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event is four words: label, begin, end, value. A lane's words are atomic: whoever writes the trace out reads the number of events
 * before and after copying the ring, and lets go of those that may have been written over in between. (A word read from a later event
 * brings the number of events before it along.)
 *
 * A thread finds its lane in a thread-local pair (trace, lane); when it turns to another trace, by its thread number among the lanes of
 * that one. A lane is never given back: a trace has as many as there can be threads.
 */
#include "base/trace.h"

#include "base/text.h"

#include <flow/plugin.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WORDS = 4, LINE = 64, LABELS_MOST = 1 << 18 };

struct trace_label {
    struct trace_about about;
    const struct trace_label *pieces; /* of a span: what parts of it on other threads are called */
};

struct trace_lane {
    _Alignas(LINE) _Atomic uint64_t count; /* events written so far */
    _Atomic uintptr_t thread;              /* 0: free */
    _Atomic uint64_t *words;
    uint64_t capacity;
    const struct trace_label *now; /* the thread's own: of its innermost span */
    char name[32];                 /* under the trace's lock */
};

struct trace {
    const struct allocator *from;
    int64_t born;
    struct trace_lane *lanes;
    void *block; /* around lanes */
    int32_t lane_count;
    _Atomic int32_t claimed;
    _Atomic uint64_t homeless;
    pthread_mutex_t lock; /* of labels and names */
    struct arena arena;
    struct map labels;
    struct trace_label none;
};

/* The lane of this thread in the trace it used last. */
static _Thread_local struct {
    const struct trace *trace;
    int64_t born;
    struct trace_lane *lane;
} mine;

int64_t trace_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- Making ---- */

static size_t lanes_bytes(int32_t lanes) { return (size_t)lanes * sizeof(struct trace_lane) + LINE; }

void trace_free(struct trace *trace) {
    if (!trace) return;
    for (int32_t i = 0; trace->block && i < trace->lane_count; i++)
        memory_free(trace->from, (void *)trace->lanes[i].words, (size_t)trace->lanes[i].capacity * WORDS * sizeof(uint64_t));
    memory_free(trace->from, trace->block, lanes_bytes(trace->lane_count));
    arena_free(&trace->arena);
    pthread_mutex_destroy(&trace->lock);
    memory_free(trace->from, trace, sizeof *trace);
}

int trace_new(const struct allocator *from, int64_t events, int32_t lanes, struct trace **out) {
    *out = NULL;
    if (events < 1 || events > 1 << 28 || lanes < 1 || lanes > 1 << 16) return FLOW_ERROR_USAGE;
    struct trace *trace = memory_new(from, sizeof *trace);
    if (!trace) return FLOW_ERROR_MEMORY;
    if (pthread_mutex_init(&trace->lock, NULL) != 0) {
        memory_free(from, trace, sizeof *trace);
        return FLOW_ERROR_MEMORY;
    }
    trace->from = from, trace->born = trace_now(), trace->lane_count = lanes;
    arena_init(&trace->arena, from);
    map_init(&trace->labels, &trace->arena);
    trace->none.about = (struct trace_about){.name = "(no memory)", .category = "trace"};
    trace->block = memory_new(from, lanes_bytes(lanes));
    bool good = trace->block != NULL;
    if (good) trace->lanes = (struct trace_lane *)(void *)((char *)trace->block + (LINE - (uintptr_t)trace->block % LINE) % LINE);
    for (int32_t i = 0; good && i < lanes; i++) {
        trace->lanes[i].words = memory_array(from, (size_t)events, WORDS * sizeof(uint64_t));
        trace->lanes[i].capacity = trace->lanes[i].words ? (uint64_t)events : 0;
        good = trace->lanes[i].words != NULL;
    }
    if (!good) trace_free(trace);
    else *out = trace;
    return good ? 0 : FLOW_ERROR_MEMORY;
}

/* ---- Lanes ---- */

static struct trace_lane *find_lane(struct trace *trace) {
    const uintptr_t self = (uintptr_t)pthread_self();
    struct trace_lane *lane = NULL;
    int32_t known = atomic_load(&trace->claimed);
    for (int32_t i = 0; i < known && i < trace->lane_count && !lane; i++)
        if (atomic_load(&trace->lanes[i].thread) == self) lane = &trace->lanes[i];
    if (!lane && known < trace->lane_count) {
        int32_t place = atomic_fetch_add(&trace->claimed, 1);
        if (place < trace->lane_count) lane = &trace->lanes[place];
        if (lane) atomic_store(&lane->thread, self);
    }
    mine.trace = trace, mine.born = trace->born, mine.lane = lane;
    return lane;
}

static inline struct trace_lane *lane_of(struct trace *trace) {
    return mine.trace == trace && mine.born == trace->born ? mine.lane : find_lane(trace);
}

void trace_thread(struct trace *trace, const char *name) {
    struct trace_lane *lane = trace ? lane_of(trace) : NULL;
    if (!lane || lane->name[0]) return;
    pthread_mutex_lock(&trace->lock);
    snprintf(lane->name, sizeof lane->name, "%s", name);
    pthread_mutex_unlock(&trace->lock);
}

/* ---- Labels ---- */

static const struct trace_label *new_label(struct trace *trace, const struct trace_about *about, const char *key) {
    struct trace_label *label = arena_new(&trace->arena, sizeof *label);
    char *kept = arena_text(&trace->arena, key);
    if (!label || !kept) return &trace->none;
    label->about = (struct trace_about){about->kind, arena_text(&trace->arena, about->name), arena_text(&trace->arena, about->category),
                                        arena_text(&trace->arena, about->arguments), arena_text(&trace->arena, about->value)};
    const struct trace_about *made = &label->about;
    struct trace_label *pieces = about->kind == TRACE_SPAN ? arena_new(&trace->arena, sizeof *pieces) : NULL;
    if (about->kind == TRACE_SPAN && !pieces) return &trace->none;
    if (pieces) pieces->about = (struct trace_about){TRACE_SPAN, made->name, "piece", NULL, "piece"}, pieces->pieces = pieces;
    label->pieces = pieces;
    if (!made->name || !made->category || (about->arguments && !made->arguments) || (about->value && !made->value)) return &trace->none;
    return map_set(&trace->labels, kept, (int64_t)(intptr_t)label) < 0 ? &trace->none : label;
}

const struct trace_label *trace_label(struct trace *trace, const struct trace_about *about) {
    struct text key;
    const struct trace_label *label = &trace->none;
    int64_t found;
    text_init(&key, trace->from);
    text_format(&key, "%d\n%s\n%s\n%s\n%s", (int)about->kind, about->name, about->category, about->arguments ? about->arguments : "",
                about->value ? about->value : "");
    pthread_mutex_lock(&trace->lock);
    if (!key.failed && map_get(&trace->labels, key.at, &found)) label = (const struct trace_label *)(intptr_t)found;
    else if (!key.failed && trace->labels.count < LABELS_MOST) label = new_label(trace, about, key.at);
    pthread_mutex_unlock(&trace->lock);
    text_free(&key);
    return label;
}

/* ---- Recording ---- */

static inline void write_event(struct trace_lane *lane, const struct trace_label *label, int64_t begin, int64_t end, int64_t value) {
    const uint64_t count = atomic_load_explicit(&lane->count, memory_order_relaxed);
    _Atomic uint64_t *words = &lane->words[count % lane->capacity * WORDS];
    atomic_store_explicit(&words[0], (uint64_t)(uintptr_t)label, memory_order_release);
    atomic_store_explicit(&words[1], (uint64_t)begin, memory_order_release);
    atomic_store_explicit(&words[2], (uint64_t)end, memory_order_release);
    atomic_store_explicit(&words[3], (uint64_t)value, memory_order_release);
    atomic_store_explicit(&lane->count, count + 1, memory_order_release);
}

struct trace_span trace_begin(struct trace *trace, const struct trace_label *label) {
    struct trace_lane *lane = lane_of(trace);
    if (!lane) {
        atomic_fetch_add_explicit(&trace->homeless, 1, memory_order_relaxed);
        return (struct trace_span){0};
    }
    struct trace_span span = {lane, label, lane->now, trace_now()};
    lane->now = label;
    return span;
}

void trace_end(const struct trace_span *span, int64_t value) {
    if (!span->lane) return;
    span->lane->now = span->outer;
    write_event(span->lane, span->label, span->begin, trace_now(), value);
}

const struct trace_label *trace_pieces(struct trace *trace) {
    const struct trace_lane *lane = lane_of(trace);
    return lane && lane->now ? lane->now->pieces : NULL;
}

void trace_record(struct trace *trace, const struct trace_label *label, int64_t begin, int64_t value) {
    struct trace_lane *lane = lane_of(trace);
    const int64_t now = trace_now();
    if (lane) write_event(lane, label, label->about.kind == TRACE_COUNTER ? now : begin, now, value);
    else atomic_fetch_add_explicit(&trace->homeless, 1, memory_order_relaxed);
}

/* ---- Writing ---- */

uint64_t trace_lost(const struct trace *trace) {
    uint64_t lost = atomic_load(&trace->homeless);
    for (int32_t i = 0; i < trace->lane_count; i++) {
        const uint64_t count = atomic_load(&trace->lanes[i].count);
        if (count > trace->lanes[i].capacity) lost += count - trace->lanes[i].capacity;
    }
    return lost;
}

struct event {
    const struct trace_label *label;
    int64_t begin, end, value;
};

/* The order of beginnings; what encloses comes before what it encloses. */
static int by_begin(const void *a, const void *b) {
    const struct event *one = a, *two = b;
    if (one->begin != two->begin) return one->begin < two->begin ? -1 : 1;
    if (one->end != two->end) return one->end > two->end ? -1 : 1;
    return 0;
}

/* Copies what is whole in the ring; the number of events. */
static size_t copy_lane(const struct trace_lane *lane, struct event *events) {
    const uint64_t count = atomic_load_explicit(&lane->count, memory_order_acquire);
    const uint64_t first = count > lane->capacity ? count - lane->capacity : 0;
    for (uint64_t i = first; i < count; i++) {
        const _Atomic uint64_t *words = &lane->words[i % lane->capacity * WORDS];
        struct event *event = &events[i - first];
        event->label = (const struct trace_label *)(uintptr_t)atomic_load_explicit(&words[0], memory_order_acquire);
        event->begin = (int64_t)atomic_load_explicit(&words[1], memory_order_acquire);
        event->end = (int64_t)atomic_load_explicit(&words[2], memory_order_acquire);
        event->value = (int64_t)atomic_load_explicit(&words[3], memory_order_acquire);
    }
    const uint64_t after = atomic_load_explicit(&lane->count, memory_order_relaxed); /* event `after` may be half written */
    uint64_t gone = after + 1 > first + lane->capacity ? after + 1 - lane->capacity - first : 0;
    if (after == count) gone = 0; /* nobody wrote meanwhile: the oldest is whole, too */
    if (gone >= count - first) return 0;
    memmove(events, events + gone, (size_t)(count - first - gone) * sizeof *events);
    return (size_t)(count - first - gone);
}

struct writing {
    const struct trace *trace;
    void (*put)(void *context, const void *bytes, size_t size);
    void *context;
    struct text line;
    bool failed, any;
    uint64_t apart; /* number of the next event that is not on its thread */
};

static void line_begin(struct writing *out) {
    out->line.length = 0;
    text_put(&out->line, out->any ? ",\n" : "\n");
    out->any = true;
}

static void line_end(struct writing *out) {
    if (out->line.failed) out->failed = true;
    else out->put(out->context, out->line.at, out->line.length);
}

/* Nanoseconds since the trace was made, as microseconds: exact. */
static void put_time(struct writing *out, const char *key, int64_t ns) {
    if (ns < 0) ns = 0;
    text_format(&out->line, ", \"%s\": %" PRId64 ".%03d", key, ns / 1000, (int)(ns % 1000));
}

static void put_head(struct writing *out, const struct event *event, const char *phase, int lane, int64_t at) {
    line_begin(out);
    text_put(&out->line, "{\"name\": ");
    text_json(&out->line, event->label->about.name);
    text_put(&out->line, ", \"cat\": ");
    text_json(&out->line, event->label->about.category);
    text_format(&out->line, ", \"ph\": \"%s\", \"pid\": 1, \"tid\": %d", phase, lane);
    put_time(out, "ts", at - out->trace->born);
}

static void put_arguments(struct writing *out, const struct event *event) {
    const struct trace_about *about = &event->label->about;
    text_put(&out->line, ", \"args\": {");
    if (about->arguments) text_put(&out->line, about->arguments);
    if (about->value) {
        text_put(&out->line, about->arguments ? ", " : "");
        text_json(&out->line, about->value);
        text_format(&out->line, ": %" PRId64, event->value);
    }
    text_put(&out->line, "}}");
}

static void put_event(struct writing *out, const struct event *event, int lane) {
    switch (event->label->about.kind) {
    case TRACE_SPAN:
        put_head(out, event, "X", lane, event->begin);
        put_time(out, "dur", event->end - event->begin);
        put_arguments(out, event);
        break;
    case TRACE_COUNTER:
        put_head(out, event, "C", lane, event->begin);
        put_arguments(out, event);
        break;
    case TRACE_APART:
        put_head(out, event, "b", lane, event->begin);
        text_format(&out->line, ", \"id\": %" PRIu64, out->apart);
        put_arguments(out, event);
        line_end(out);
        put_head(out, event, "e", lane, event->end);
        text_format(&out->line, ", \"id\": %" PRIu64 "}", out->apart++);
        break;
    }
    line_end(out);
}

static void put_name(struct writing *out, const struct trace_lane *lane, int number) {
    line_begin(out);
    text_format(&out->line, "{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"args\": {\"name\": ", number);
    if (lane->name[0]) text_json(&out->line, lane->name);
    else text_format(&out->line, "\"thread %d\"", number);
    text_put(&out->line, "}}");
    line_end(out);
}

static int write_lane(struct writing *out, const struct trace_lane *lane, int number) {
    const size_t room = (size_t)lane->capacity * sizeof(struct event);
    struct event *events = memory_new(out->trace->from, room);
    if (!events) return FLOW_ERROR_MEMORY;
    const size_t count = copy_lane(lane, events);
    qsort(events, count, sizeof *events, by_begin);
    put_name(out, lane, number);
    for (size_t i = 0; i < count && !out->failed; i++) put_event(out, &events[i], number);
    memory_free(out->trace->from, events, room);
    return out->failed ? FLOW_ERROR_MEMORY : 0;
}

int trace_write(struct trace *trace, void (*put)(void *context, const void *bytes, size_t size), void *context) {
    struct writing out = {.trace = trace, .put = put, .context = context, .apart = 1};
    int code = 0;
    text_init(&out.line, trace->from);
    pthread_mutex_lock(&trace->lock);
    text_format(&out.line, "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"lost_events\": %" PRIu64 "}, \"traceEvents\": [",
                trace_lost(trace));
    line_end(&out);
    line_begin(&out);
    text_put(&out.line, "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": 0, \"args\": {\"name\": \"libflow\"}}");
    line_end(&out);
    const int32_t claimed = atomic_load(&trace->claimed);
    for (int32_t i = 0; i < claimed && i < trace->lane_count && code == 0; i++) code = write_lane(&out, &trace->lanes[i], i + 1);
    pthread_mutex_unlock(&trace->lock);
    if (code == 0 && !out.failed) put(context, "\n]}\n", 4);
    text_free(&out.line);
    return out.failed ? FLOW_ERROR_MEMORY : code;
}
