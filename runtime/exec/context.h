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
    struct hosted *hosted; /* NULL: its kernel runs where the plan does */
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
    struct apart *apart;    /* what a device apart needs; NULL */
    struct binding *around; /* a loop's body: of the loop's plan; NULL */
    int32_t stream;         /* a loop's body: whose calls are on it */
};

/* Of the binding of a whole plan and those of the loops in it, together: what is found wrong on the device, in one slot a binding. */
enum { CAPTURES = 4 };
struct apart {
    struct flow_fault *fault, *fault_stage; /* on the device; its copy on the host */
    int32_t slots, fault_count;             /* given to bindings; there are */
    bool *forks, *joins;                    /* by stream: it waits for the first one before all else; the first waits for it at the end */
    struct binding **by_slot;
    bool capturable;   /* its launches can be captured and replayed */
    const char *whole; /* else: why not */
    struct {
        uint64_t key; /* of all addresses and extents */
        struct device_graph *graph;
    } captured[CAPTURES];
    uint64_t seen[CAPTURES]; /* keys of runs that were queued call by call */
    int next, seen_next;     /* the places that are given next */
    struct event *marks[2];  /* round the call in hand, where times are taken */
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

/* An output as the host sees it. */
struct mirror {
    void *data;
    int64_t bytes;
    struct flow_tensor tensor;
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
    bool uncaptured;        /* every run is queued call by call */
    bool checked, finite;   /* see context_check */
    bool guarded;           /* checked: buffers have guards for the current plan */
    struct profile profile; /* while profiling */
    struct context_times *times;
    size_t times_count;
    /* A device apart. */
    const struct device_api *apart; /* its functions; NULL: memory is the host's */
    struct flow_host cpu_host;      /* for kernels of the CPU */
    struct mirror *mirrors;         /* by output: on the host */
    size_t mirror_count;
    struct buffer number, number_stage; /* the run's, on the device and on the host */
    struct buffer counting;             /* 0, 1, 2 ..: iterations of loops, on the device */
    int64_t counted;
    struct event *fork, *join;  /* the first stream goes before the others, and after */
    uint64_t captures, replays; /* made so far */
};

/* context.c: a buffer at least so large; its contents are lost when it grows. */
int must_use context_room(struct context *context, struct buffer *buffer, int64_t bytes);
void context_room_free(struct context *context, struct buffer *buffer);

/* apart.c: on a device whose memory is not the host's. */
int must_use apart_bind(struct binding *binding);  /* before the steps are bound; `around` is known */
int must_use apart_bound(struct binding *binding); /* all of it is bound */
void apart_free(struct binding *binding);
void apart_call(struct binding *binding, struct record *record); /* what every call there is given */
int must_use apart_prepare(struct context *context, const struct plan *plan);
void apart_context_free(struct context *context);
/* One run: everything queued on streams, and done when it returns. */
int apart_run(struct binding *binding);
int must_use apart_timed(struct binding *binding, struct record *record, double *seconds); /* one call, by events */
/* Memory of the host for an output. */
int must_use apart_mirror(struct context *context, size_t output, int64_t bytes);
/* Within one memory, whichever it is; done when it returns. */
int must_use context_move(struct context *context, void *to, const void *from, int64_t bytes);
/* Of strided tensors of one type. */
int must_use context_spread(struct context *context, const struct flow_tensor *to, const struct flow_tensor *from);
/* Initial values into memory of the device. */
int must_use context_initialise(struct context *context, const struct flow_tensor *type, const char *init, uint64_t seed, char *why,
                                size_t size);
/* On the call's stream, or at once where memory is the host's. */
int must_use call_move(const struct flow_call *call, void *to, const void *from, int64_t bytes);
int must_use call_clear(const struct flow_call *call, void *to, int64_t bytes);
int must_use call_spread(const struct flow_call *call, const struct flow_tensor *to, const struct flow_tensor *from);
int must_use call_add(const struct flow_call *call, const struct flow_tensor *to, const void *from); /* `from`: row-major */
int must_use call_read(const struct flow_call *call, void *to, const void *from, int64_t bytes);     /* waits */
struct stream *call_stream(const struct flow_call *call);

/* hosted.c: nodes that the device has no kernel for run on the CPU, between two copies. */
int must_use hosted_bind(struct binding *binding, struct record *record);
void hosted_free(struct context *context, struct record *record);

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
/* `around`: of a loop's plan, whose body this is, on its stream; NULL. */
int must_use binding_new(struct context *context, const struct plan *plan, struct binding *around, int32_t stream, struct report *report,
                         struct binding **out);
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
void *outputs_data(const struct context *context, int32_t output); /* where the calls write it */
void outputs_end(struct binding *binding);

/* once.c: what is computed when a plan is bound. */
int must_use binding_once(struct binding *binding, struct report *report);

/* run.c */
/* All records of a run on this thread; on a device apart the number there is *run_at * scale + offset. */
int binding_run(struct binding *binding, uint64_t run, uint64_t scale, uint64_t offset);
int run_segment(void *segment); /* a struct segment, as a launch */
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
/* The number of an iteration in memory that calls read (`room`: where the host's is written); a slice, row-major; one iteration. */
int must_use loop_index(const struct flow_call *call, void *room, int64_t i, void **at);
int must_use loop_slice(const struct flow_call *call, const struct flow_tensor *of, int32_t axis, int64_t i, int64_t stage, void **at);
int loop_body_run(const struct flow_call *call, struct binding *body, int64_t iterations, int64_t i);
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

/* The same for memory of a device; `from`: where the host's memory comes from. */
int must_use device_initialise(struct device *device, const struct allocator *from, const struct flow_tensor *type, const char *init,
                               uint64_t seed, char *why, size_t size);

/* model.c */
int must_use model_packed(struct model *model, const struct plan_packed *about, int (*prepare)(const struct flow_call *call),
                          struct flow_call *call);
/* A 16-bit parameter as f32; NULL without memory. The parameter has been filled. */
void *model_wide(struct model *model, const char *name);

#endif
