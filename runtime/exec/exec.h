/* SPDX-License-Identifier: Apache-2.0 */
/* Runs plans. A model holds the parameters of one graph and what was packed from them, shared by all contexts. A context holds the arena,
 * states and outputs of one caller; two contexts may run at once. Nothing is allocated while a run is under way. */
#ifndef FLOW_EXEC_EXEC_H
#define FLOW_EXEC_EXEC_H

#include "device/device.h"
#include "plan/plan.h"

struct model;
struct context;

int must_use model_new(const struct allocator *from, struct device *device, struct model **out);
void model_free(struct model *model);
/* Gives a parameter its value: `bytes` are copied, or (borrowed) used where they lie for the model's life. Types f16, bf16, f32, f64 are
 * converted to the parameter's where they differ. Set before the first plan that needs it; a shape that differs is an error then. */
int must_use model_set(struct model *model, const char *name, const struct flow_tensor *value, bool borrowed);
/* Makes sure that every parameter of the instance has a value: given ones are checked (shape, type), others get their initial value.
 * `initialised` counts those. */
int must_use model_fill(struct model *model, const struct instance *instance, struct report *report, size_t *initialised);
const struct flow_tensor *model_get(const struct model *model, const char *name);

int must_use context_new(const struct allocator *from, struct model *model, struct context **out);
void context_free(struct context *context);
void context_reset(struct context *context); /* states, feeds and run number as at the start */
void context_cancel(struct context *context); /* from any thread or signal handler */

/* Ties the plan to the context: prepares what is not packed yet, sizes arena, states and outputs. Plans of one network only. Does nothing
 * when the plan is bound already. */
int must_use context_bind(struct context *context, const struct plan *plan, struct report *report);
/* One run of the bound plan. inputs: by network input, with the planned types and extents, any strides. On success *outputs (by network
 * output) points at tensors valid until the next run. */
int must_use context_run(struct context *context, const struct flow_tensor *inputs, struct report *report, const struct flow_tensor **outputs);

/* Times each node of the runs that follow; read with context_profile. */
int must_use context_profile_start(struct context *context);
struct context_times { const char *node, *op; double seconds; uint64_t calls; double flops, bytes; };
int must_use context_profile(struct context *context, const struct context_times **times, size_t *count);

#endif
