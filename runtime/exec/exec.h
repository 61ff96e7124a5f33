/* SPDX-License-Identifier: Apache-2.0 */
/* Runs plans. A model holds the parameters of one graph and what was packed from them, shared by all contexts. A context holds the arena,
 * states and outputs of one caller; two contexts may run at once. Nothing is allocated while a run is under way, but for a staging buffer
 * the first time an input is given strided. */
#ifndef FLOW_EXEC_EXEC_H
#define FLOW_EXEC_EXEC_H

#include "base/log.h"
#include "device/device.h"
#include "exec/profile.h"
#include "plan/plan.h"

struct model;
struct context;

int must_use model_new(const struct allocator *from, struct device *device, struct model **out);
struct device *model_device(const struct model *model);
void model_free(struct model *model); /* when the last that shares from it is freed, too */
/* What borrowed values lie in: released with the model. */
void model_keep(struct model *model, void *kept, void (*release)(void *kept));
/* Parameters that nobody sets by hand are taken from `base` where it has one of the same name, shape and type, and with them what is packed
 * from them. The base lives as long as the model. Before the first value. */
void model_share(struct model *model, struct model *base);
/* Gives a parameter its value: `bytes` are copied, or (borrowed) used where they lie for the model's life. Types f16, bf16, f32, f64 are
 * converted to the parameter's where they differ. Set before the first plan that needs it (later: FLOW_ERROR_USAGE); a shape that differs
 * is an error then. A parameter that is not given takes the value given for its name with `_l0` appended, if there is one. */
int must_use model_set(struct model *model, const char *name, const struct flow_tensor *value, bool borrowed);
/* Makes sure that every parameter of the instance has a value: given ones are checked (shape, type), others get their initial value.
 * `initialised` counts those. Any thread. */
int must_use model_fill(struct model *model, const struct instance *instance, struct report *report, size_t *initialised);
/* What is worth telling of where the values came from. */
struct model_told {
    size_t values, shared, given, initialised, unused; /* unused: given, but no parameter so far */
    const char *first_initialised, *first_unused;
};
void model_told(const struct model *model, struct model_told *told);
const struct flow_tensor *model_get(const struct model *model, const char *name);
/* The value in memory of the host; on a device apart a copy, made anew each time. NULL: none, or it could not be brought. */
const struct flow_tensor *model_host(struct model *model, const char *name);
/* The bytes of one value become those of another (of like types). */
int must_use model_copy(struct model *model, const struct flow_tensor *to, const struct flow_tensor *from);
/* For training: every value is memory of the model's own, that may be written while no run is under way. */
int must_use model_train(struct model *model);
/* Values by number, those that have one or are given one, in the order in which they came; *name receives the name. NULL after the last. */
const struct flow_tensor *model_at(const struct model *model, size_t index, const char **name);
/* The parameter's initial value again. */
int must_use model_reset(struct model *model, const struct instance *instance, int32_t value, struct report *report);
/* Any tensor's data, by an initialiser without seed of its own ("zeros", "constant(v)"). Negative with a reason in `why`. */
int must_use model_initialise(struct device *device, const struct allocator *from, const struct flow_tensor *tensor, const char *init,
                              char *why, size_t size);
/* After parameters changed: what was packed or widened from them is made anew when next bound. No context may be bound to a plan. */
void model_changed(struct model *model);

int must_use context_new(const struct allocator *from, struct model *model, struct context **out);
void context_free(struct context *context);
/* Receives what operators log. Lives as long as the context. */
void context_log_to(struct context *context, const struct logger *log);
/* An output goes to the caller's memory, `bytes` of it (data NULL: to the context's own again): row-major, from its first byte. */
int must_use context_output(struct context *context, size_t output, void *data, int64_t bytes);
void context_reset(struct context *context); /* states, feeds and run number as at the start */
/* From any thread or signal handler: the run under way, else the next one, ends with FLOW_ERROR_CANCELLED. */
void context_cancel(struct context *context);
void context_uncancel(struct context *context);
/* An output of the last run in memory of the host; NULL where it could not be brought there. */
const struct flow_tensor *context_host(struct context *context, size_t output);
/* On a device apart: whether launches that come again are captured into a graph and replayed (as they are from the start), and how often
 * that was done; why the plan in hand is not, NULL where it is. */
void context_capture(struct context *context, bool on);
const char *context_captured(const struct context *context, uint64_t *captures, uint64_t *replays);
/* Before anything is bound; plans must be made with `checked`. Each call is looked round: guard bytes on both sides of all memory it may
 * write, outputs and workspace poisoned before, inputs and parameters unchanged after, outputs wholly written; `finite`: no NaN from finite
 * inputs. What a kernel does wrong ends the run, naming node, operator and buffer. */
void context_check(struct context *context, bool finite);
/* The number of the next run: what random operators draw by. */
void context_number(struct context *context, uint64_t run);
/* What is kept from run to run but for `reset: never` starts anew. */
void context_epoch(struct context *context);
/* What is kept from run to run, by number (of the plan bound last), NULL after the last or where nothing is kept yet; *name: of the value.
 */
size_t context_feeds(const struct context *context);
const struct flow_tensor *context_feed(const struct context *context, size_t index, const char **name);
const char *context_feed_name(const struct context *context, size_t index); /* also of one that is not kept yet; NULL */
int must_use context_set_feed(struct context *context, size_t index, const struct flow_tensor *value);
/* Runs once more, looking at what each node computes: reports the first whose result is not finite. 0 where all are. */
int must_use context_trace(struct context *context, const struct flow_tensor *inputs, struct report *report);

/* Ties the plan to the context: prepares what is not packed yet, sizes arena, states and outputs. Plans of one network only. Does little
 * when the plan was bound before: a context remembers its last plans, so that pieces of a few sizes may take turns. */
/* A tensor in memory of the context's device as the host sees it: itself, or a copy that stays until the next one of `slot`. */
int must_use context_look(struct context *context, size_t slot, const struct flow_tensor *there, struct flow_tensor *here);
int must_use context_bind(struct context *context, const struct plan *plan, struct report *report);
/* Before a plan is freed: what was bound to it goes. */
void context_forget(struct context *context, const struct plan *plan);
/* One run of the bound plan. inputs: by network input, with the planned types and extents, any strides. On success *outputs (by network
 * output) points at tensors valid until the next run. After a run that failed, a graph that keeps states or feeds must be reset. */
int must_use context_run(struct context *context, const struct flow_tensor *inputs, struct report *report,
                         const struct flow_tensor **outputs);

/* Times each node of the runs that follow; read with context_profiled, or by node with context_profile: seconds, calls, operations and
 * bytes in all, a node's copies and conversions as its own; a loop's time is what its body's nodes do not account for. */
int must_use context_profile_start(struct context *context); /* also: all of it from 0 again */
/* What was counted since; NULL: it was not started. Valid until the next call or run. */
const struct profile *context_profiled(struct context *context);
void context_planned(struct context *context, double seconds); /* spent on planning for the context: counted beside its runs */
struct context_times {
    const char *node, *op;
    double seconds;
    uint64_t calls;
    double flops, bytes;
};
int must_use context_profile(struct context *context, const struct context_times **times, size_t *count);

/* The elements of `from` in row-major order; types equal. */
void tensor_copy(void *to, const struct flow_tensor *from);
/* to += from, which is row-major; `to` may have any strides. f32 and f64. */
void tensor_add(const struct flow_call *call, const struct flow_tensor *to, const void *from);

#endif
