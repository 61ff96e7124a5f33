/* SPDX-License-Identifier: Apache-2.0 */
/* What happened when, on which thread. Each thread writes into a ring of its own that was made beforehand: no lock, no allocation, the
 * oldest events give way to new ones. Names are labels, made while plans are made, that live as long as the trace. */
#ifndef FLOW_BASE_TRACE_H
#define FLOW_BASE_TRACE_H

#include "base/memory.h"

struct trace;
struct trace_lane; /* a thread's ring */
struct trace_label;

enum trace_kind {
    TRACE_SPAN,   /* on its thread; spans of a thread nest */
    TRACE_APART,  /* may overlap others: what several threads, or none, are busy with */
    TRACE_COUNTER /* a value from now on */
};

/* `events`: the most kept of each thread; `lanes`: threads that there can be, those beyond are not recorded, only counted. */
int must_use trace_new(const struct allocator *from, int64_t events, int32_t lanes, struct trace **out);
void trace_free(struct trace *trace);

/* Names the calling thread, once; NULL is legal. */
void trace_thread(struct trace *trace, const char *name);

struct trace_about {
    enum trace_kind kind;
    const char *name, *category;
    const char *arguments; /* members of a JSON object, "\"op\": \"relu\""; NULL */
    const char *value;     /* what the number of each event is called; NULL: it has none */
};
/* All text is copied; equal ones are one label. Without memory: one that is called "(no memory)". [any thread; allocates and locks] */
const struct trace_label *trace_label(struct trace *trace, const struct trace_about *about);

int64_t trace_now(void); /* ns, monotonic */

/* A span is recorded when it ends. */
struct trace_span {
    struct trace_lane *lane;
    const struct trace_label *label, *outer;
    int64_t begin;
};
struct trace_span trace_begin(struct trace *trace, const struct trace_label *label);
void trace_end(const struct trace_span *span, int64_t value);
/* The label for parts, on any thread, of the innermost span that is open on this one; NULL. Their values are numbers of pieces. */
const struct trace_label *trace_pieces(struct trace *trace);
/* APART from `begin` to now; COUNTER (begin is not looked at). */
void trace_record(struct trace *trace, const struct trace_label *label, int64_t begin, int64_t value);

/* Events that gave way or had no lane. */
uint64_t trace_lost(const struct trace *trace);
/* The Chrome trace event format, as Perfetto and chrome://tracing open it, in pieces. What other threads record meanwhile may be missing.
 */
int must_use trace_write(struct trace *trace, void (*put)(void *context, const void *bytes, size_t size), void *context);

#endif
