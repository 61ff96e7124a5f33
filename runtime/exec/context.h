/* SPDX-License-Identifier: Apache-2.0 */
/* What a context is made of. A binding is a plan with addresses: an array of calls that are ready to be made, one after another, and lists
 * of the places in them that hold an address that may change. */
#ifndef FLOW_EXEC_CONTEXT_H
#define FLOW_EXEC_CONTEXT_H

#include "exec/exec.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BINDINGS_MOST = 64, MESSAGE_MOST = 1024 };

/* One call. `owner` in it points back here. */
struct record {
    int (*run)(const struct flow_call *call);
    int (*kernel)(const struct flow_call *call); /* checked contexts: what `run`, which looks round it, calls */
    struct checked *checked;
    struct context *context;
    struct binding *binding;
    const struct plan_step *step;
    struct flow_call call;
};

/* A pointer inside a record and how far it lies from the base of its group. */
struct patch {
    void **at;
    int64_t offset;
};

/* All pointers into one buffer, whose address may change. */
struct group {
    enum plan_place place;
    int32_t index;
    uint32_t first, count; /* of patches */
    char *base;            /* what they were last set for */
};

/* A tensor that lies in a state: its strides follow the state's capacity. */
struct state_use {
    struct flow_tensor *tensor;
    int32_t state;
    bool out;
};

struct dynamic {
    struct flow_tensor *tensor;
    int64_t most;
};

/* What the queue of a stream is given, in order. */
enum queue_kind { QUEUE_LAUNCH, QUEUE_RECORD, QUEUE_WAIT };
struct segment {
    enum queue_kind kind;
    int32_t stream, event;
    size_t first, last; /* records [first, last) of that stream: the others between are skipped */
    struct binding *binding;
    const struct trace_label *label;
};

struct loop_binding {
    const struct plan_step *step;
    struct binding *body;
    int32_t *in_group, *out_group; /* by body input, output: -1 where nothing reads it */
    int32_t arena_group;
    char **now; /* by body output: where the last iteration wrote it */
    const struct instance_backward *backward;
};

struct binding {
    const struct plan *plan;
    struct context *context;
    struct binding *next;
    struct arena arena;
    struct record *records;
    size_t count, once_count;
    struct patch *patches;
    struct group *groups;
    size_t patch_count, group_count;
    struct state_use *states;
    size_t state_count;
    struct dynamic *dynamics;
    size_t dynamic_count;
    struct flow_tensor *outputs;
    struct loop_binding **loops; /* by step; NULL elsewhere */
    struct segment *segments;
    size_t segment_count;
    void *once;
    double *seconds, *least; /* by step: in all calls; the shortest */
    double *grown;           /* by step: bytes read of states that grow */
    uint64_t *calls;
    double within;                     /* seconds spent in the records of a loop's body */
    const struct trace_label **labels; /* by step, for the trace; NULL: none is written */
    uint64_t used;
};

struct buffer {
    void *data;
    int64_t bytes;
};

/* A state between two pieces. `now`: extents, no strides. */
struct exec_state {
    struct buffer buffers[2]; /* the second for states that are neither in place nor appended */
    int current;
    int64_t capacity; /* APPENDED: extent of the axis that there is room for */
    struct flow_tensor now;
    bool filled;
};

struct exec_feed {
    struct buffer buffer;
    struct flow_tensor type;
    bool filled;
};

/* The caller's memory for an output. */
struct exec_given {
    void *data; /* NULL: none */
    int64_t bytes;
};

struct context {
    const struct allocator *from;
    const struct logger *log; /* NULL: none */
    struct model *model;
    struct device *device;
    struct flow_host host;
    atomic_int cancel, failed;
    struct record *culprit;
    char message[MESSAGE_MOST];
    struct buffer arena;
    struct buffer *outputs, *stages; /* by network output, input */
    size_t output_count, stage_count;
    struct exec_given *given; /* by network output; given_count 0: none is bound */
    size_t given_count;
    struct exec_state *states;
    size_t state_count;
    struct exec_feed *feeds;
    size_t feed_count;
    struct binding *bindings, *current;
    size_t binding_count;
    struct stream **streams;
    size_t stream_count;
    struct event **events;
    size_t event_count;
    uint64_t run, clock;
    bool profiling, broken;
    bool checked, finite;   /* see context_check */
    bool guarded;           /* checked: buffers have guards for the current plan */
    struct profile profile; /* while profiling */
    struct context_times *times;
    size_t times_count;
};

/* context.c: a buffer at least so large; its contents are lost when it grows. */
int must_use context_room(struct context *context, struct buffer *buffer, int64_t bytes);
void context_room_free(struct context *context, struct buffer *buffer);

/* checked.c: checked contexts only. */
enum { CHECKED_GUARD = 64 };
static inline int64_t context_guard(const struct context *context) { return context->checked ? CHECKED_GUARD : 0; }
/* Puts the looking round a record's call. */
int must_use checked_bind(struct binding *binding, struct record *record);
/* A buffer that comes to life; before a run: guards lie behind what this plan uses of the buffers. */
void checked_buffer(struct buffer *buffer);
void checked_run(struct binding *binding);
/* checked_tensors.c: what one call may read and write. */
struct checked;
struct checked *checked_new(struct arena *arena, const struct record *record);
void checked_tensors_before(struct record *record);
int must_use checked_tensors_after(struct record *record);

/* Makes one call. */
static inline int record_run(struct record *record) { return record->run(&record->call); }

/* bind.c */
int must_use binding_new(struct context *context, const struct plan *plan, struct report *report, struct binding **out);
void binding_free(struct binding *binding);
/* Points the pointers of one group at `base`. */
static inline void binding_point(struct binding *binding, struct group *group, char *base) {
    if (group->base == base) return;
    group->base = base;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct patch *patch = &binding->patches[group->first + i];
        *patch->at = base ? base + patch->offset : NULL;
    }
}

/* profile.c: bytes that a call reads of states that have grown; brings what was counted into the context's profile; names for the trace,
 * where there is one. */
double profile_grown(const struct record *record);
void profile_take(struct binding *binding);
int must_use binding_label(struct binding *binding);

/* outputs.c: where this run's outputs go, before it, and what they are, after it. */
int must_use outputs_begin(struct binding *binding, const struct flow_tensor *inputs, struct report *report);
void *outputs_data(const struct context *context, int32_t output);
void outputs_end(struct binding *binding);

/* once.c: what is computed when a plan is bound. */
int must_use binding_once(struct binding *binding, struct report *report);

/* run.c */
int binding_run(struct binding *binding, uint64_t run); /* all records of a run on this thread */
int context_fail(void *owner, int code, const char *format, ...) printf_like(3, 4);
int context_fail_at(void *owner, const char *name, int code, const char *format, ...) printf_like(4, 5);
bool context_cancelled(void *owner);
void context_log(void *owner, const char *format, ...) printf_like(2, 3);
/* Adds what a record failed with to the report. */
int context_report(struct context *context, int code, struct report *report);

/* loop.c */
int exec_loop(const struct flow_call *call);
/* The i-th slice along an axis, that axis left out. */
struct flow_tensor exec_slice(const struct flow_tensor *t, int32_t axis, int64_t i);
/* loop_backward.c */
int exec_loop_backward(const struct flow_call *call);
/* state.c: room for what the plan's states and feeds become; before and after a run. */
int must_use states_bind(struct binding *binding, struct report *report);
int must_use states_begin(struct binding *binding, struct report *report);
void states_end(struct binding *binding);

/* convert.c: copies and conversions as calls, so that they run like kernels. */
int exec_copy(const struct flow_call *call);
int exec_widen(const struct flow_call *call);
int exec_narrow(const struct flow_call *call);
int exec_gather(const struct flow_call *call);
/* gradient.c: attrs of a fill point at its number. */
int exec_fill(const struct flow_call *call);
int exec_pass(const struct flow_call *call);
int exec_add(const struct flow_call *call);
/* Floating types, both row-major. */
void tensor_convert(void *to, int32_t to_dtype, const void *from, int32_t from_dtype, int64_t count, int32_t isa);

/* init.c: the initial value of a parameter, state or feed. Negative with a reason in why. `type` is contiguous, with data. */
int must_use tensor_initialise(const struct allocator *from, const struct flow_tensor *type, const char *init, uint64_t seed, char *why,
                               size_t size);

/* model.c */
int must_use model_packed(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call),
                          struct flow_call *call);
struct device *model_device(const struct model *model);
/* A 16-bit parameter as f32; NULL without memory. The parameter has been filled. */
void *model_wide(struct model *model, const char *name);

#endif
