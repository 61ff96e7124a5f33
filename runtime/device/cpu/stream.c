/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and events.
 *
 * A stream is a ring of entries and one of four states:
 *   IDLE     nothing to do
 *   READY    in the device's ready list: any idle worker may take it, or a thread that synchronizes with it
 *   SERVED   one thread works through its entries
 *   BLOCKED  its first entry waits for an event, which has the stream in its list
 * All of this is guarded by the device's lock, which is never held while a launch runs.
 *
 * An event counts its records (tickets). A wait names the ticket that was the last one when it was issued. A record fires its ticket only
 * after the one before has fired, so that `fired` only grows. Every dependency therefore points to an entry issued earlier: there are no
 * cycles, and a thread that synchronizes with a blocked stream finds, along the streams it depends on, one that runs or can be run.
 *
 * With one thread, a launch on an idle stream runs at once, on the caller; what had to be queued runs in synchronize.
 */
#include "device/cpu/cpu.h"

enum state { IDLE, READY, SERVED, BLOCKED };
enum kind { LAUNCH, RECORD, WAIT };

struct entry {
    enum kind kind;
    device_launch run;
    void *context;
    struct event *event;
    uint64_t ticket;   /* RECORD: to fire; WAIT: to have fired */
    struct stream *by; /* who fires the ticket it depends on */
};

struct stream {
    struct cpu *cpu;
    enum state state;
    int error;
    struct stream *next, *previous; /* in the ready list; in an event's list only `next` */
    struct entry *ring;
    size_t capacity, head, count;
};

struct event {
    struct cpu *cpu;
    uint64_t recorded, fired;
    struct stream *by;      /* of the last record */
    struct stream *waiting; /* blocked streams */
};

enum { RING_FIRST = 64 };

/* ---- The ready list ---- */

static void ready_add(struct stream *stream) {
    struct cpu *cpu = stream->cpu;
    stream->state = READY, stream->next = NULL, stream->previous = cpu->ready_last;
    if (cpu->ready_last) cpu->ready_last->next = stream;
    else cpu->ready = stream;
    cpu->ready_last = stream;
}

static void ready_take(struct stream *stream) {
    struct cpu *cpu = stream->cpu;
    if (stream->previous) stream->previous->next = stream->next;
    else cpu->ready = stream->next;
    if (stream->next) stream->next->previous = stream->previous;
    else cpu->ready_last = stream->previous;
    stream->state = SERVED, stream->next = stream->previous = NULL;
}

/* Wakes one worker; those who synchronize may sleep in the same place and not care. */
static void offer(struct cpu *cpu) { pool_signal(&cpu->pool, 1 + (int64_t)cpu->synchronizing); }

/* ---- Entries ---- */

static int push(struct stream *stream, const struct entry *entry) {
    if (stream->count == stream->capacity) {
        size_t capacity = stream->capacity ? stream->capacity * 2 : RING_FIRST;
        struct entry *ring = memory_array(stream->cpu->from, capacity, sizeof *ring);
        if (!ring) return FLOW_ERROR_MEMORY;
        for (size_t i = 0; i < stream->count; i++) ring[i] = stream->ring[(stream->head + i) % stream->capacity];
        memory_free(stream->cpu->from, stream->ring, stream->capacity * sizeof *ring);
        stream->ring = ring, stream->capacity = capacity, stream->head = 0;
    }
    stream->ring[(stream->head + stream->count++) % stream->capacity] = *entry;
    return FLOW_OK;
}

static void pop(struct stream *stream) {
    stream->head = (stream->head + 1) % stream->capacity;
    stream->count--;
}

static bool satisfied(const struct entry *entry) {
    return entry->event->fired >= (entry->kind == RECORD ? entry->ticket - 1 : entry->ticket);
}

static void fire(struct event *event, uint64_t ticket) {
    event->fired = ticket;
    int64_t freed = 0;
    for (struct stream *stream = event->waiting, *next; stream; stream = next, freed++) {
        next = stream->next;
        ready_add(stream);
    }
    event->waiting = NULL;
    if (freed) pool_signal(&event->cpu->pool, INT64_MAX);
}

/* [lock held; released while it runs] */
static void run(struct stream *stream, device_launch launch, void *context) {
    if (stream->error) return;
    pthread_mutex_unlock(&stream->cpu->lock);
    int code = launch(context);
    pthread_mutex_lock(&stream->cpu->lock);
    if (code && !stream->error) stream->error = code;
}

/* Works through the entries of a stream that this thread serves, until there are none, or an event is missing, or (if not NULL) `until`
 * is no longer blocked. [lock held] */
static void drain(struct stream *stream, const struct stream *until) {
    while (stream->count) {
        struct entry entry = stream->ring[stream->head];
        if (until && until->state != BLOCKED) {
            ready_add(stream);
            offer(stream->cpu);
            return;
        }
        if (entry.kind != LAUNCH && !satisfied(&entry)) {
            stream->state = BLOCKED, stream->next = entry.event->waiting, entry.event->waiting = stream;
            if (stream->cpu->synchronizing) pool_signal(&stream->cpu->pool, INT64_MAX); /* what to run for them has changed */
            return;
        }
        pop(stream);
        if (entry.kind == LAUNCH) run(stream, entry.run, entry.context);
        else if (entry.kind == RECORD) fire(entry.event, entry.ticket);
    }
    stream->state = IDLE;
    if (stream->cpu->synchronizing) pool_signal(&stream->cpu->pool, INT64_MAX);
}

bool cpu_stream_serve(void *context) {
    struct cpu *cpu = context;
    pthread_mutex_lock(&cpu->lock);
    struct stream *stream = cpu->ready;
    if (stream) {
        ready_take(stream);
        drain(stream, NULL);
    }
    pthread_mutex_unlock(&cpu->lock);
    return stream != NULL;
}

/* ---- The interface ---- */

/* Queues an entry and gives the stream to whoever is free. [lock held] */
static int queue(struct stream *stream, const struct entry *entry) {
    int code = push(stream, entry);
    if (code || stream->state != IDLE) return code;
    ready_add(stream);
    offer(stream->cpu);
    return FLOW_OK;
}

int cpu_stream_launch(struct stream *stream, device_launch launch, void *context) {
    struct cpu *cpu = stream->cpu;
    int code = FLOW_OK;
    pthread_mutex_lock(&cpu->lock);
    if (cpu->pool.threads == 1 && stream->state == IDLE) {
        stream->state = SERVED;
        run(stream, launch, context);
        drain(stream, NULL); /* what was queued meanwhile */
    } else {
        code = queue(stream, &(struct entry){.kind = LAUNCH, .run = launch, .context = context});
    }
    pthread_mutex_unlock(&cpu->lock);
    return code;
}

int cpu_stream_record(struct stream *stream, struct event *event) {
    int code = FLOW_OK;
    pthread_mutex_lock(&stream->cpu->lock);
    struct entry entry = {.kind = RECORD, .event = event, .ticket = event->recorded + 1, .by = event->by};
    bool now = stream->state == IDLE && satisfied(&entry);
    if (!now) code = queue(stream, &entry);
    if (!code) {
        event->recorded = entry.ticket, event->by = stream;
        if (now) fire(event, entry.ticket);
    }
    pthread_mutex_unlock(&stream->cpu->lock);
    return code;
}

int cpu_stream_wait(struct stream *stream, struct event *event) {
    int code = FLOW_OK;
    pthread_mutex_lock(&stream->cpu->lock);
    struct entry entry = {.kind = WAIT, .event = event, .ticket = event->recorded, .by = event->by};
    if (!satisfied(&entry)) code = queue(stream, &entry);
    pthread_mutex_unlock(&stream->cpu->lock);
    return code;
}

/* The stream itself, or the one that what it waits for depends on, that can be run now; NULL when another thread is at it. */
static struct stream *runnable(struct stream *stream) {
    while (stream->state == BLOCKED) stream = stream->ring[stream->head].by;
    return stream->state == READY ? stream : NULL;
}

int cpu_stream_synchronize(struct stream *stream) {
    struct cpu *cpu = stream->cpu;
    pthread_mutex_lock(&cpu->lock);
    cpu->synchronizing++;
    while (stream->state != IDLE) {
        struct stream *other = runnable(stream);
        if (other) {
            ready_take(other);
            drain(other, other == stream ? NULL : stream);
            continue;
        }
        uint32_t epoch = pool_epoch(&cpu->pool);
        pthread_mutex_unlock(&cpu->lock);
        if (!pool_help(&cpu->pool)) pool_idle(&cpu->pool, epoch);
        pthread_mutex_lock(&cpu->lock);
    }
    cpu->synchronizing--;
    int error = stream->error;
    stream->error = FLOW_OK;
    pthread_mutex_unlock(&cpu->lock);
    return error;
}

int cpu_stream_new(struct device *device, struct stream **out) {
    struct cpu *cpu = (struct cpu *)device;
    *out = memory_new(cpu->from, sizeof **out);
    if (!*out) return FLOW_ERROR_MEMORY;
    (*out)->cpu = cpu;
    return FLOW_OK;
}

void cpu_stream_free(struct stream *stream) {
    if (!stream) return;
    (void)cpu_stream_synchronize(stream);
    memory_free(stream->cpu->from, stream->ring, stream->capacity * sizeof *stream->ring);
    memory_free(stream->cpu->from, stream, sizeof *stream);
}

int cpu_event_new(struct device *device, struct event **out) {
    struct cpu *cpu = (struct cpu *)device;
    *out = memory_new(cpu->from, sizeof **out);
    if (!*out) return FLOW_ERROR_MEMORY;
    (*out)->cpu = cpu;
    return FLOW_OK;
}

/* No stream may wait for it or have it to record. */
void cpu_event_free(struct event *event) {
    if (event) memory_free(event->cpu->from, event, sizeof *event);
}
