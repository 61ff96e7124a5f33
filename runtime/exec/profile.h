/* SPDX-License-Identifier: Apache-2.0 */
/* Times of nodes, added up over plans and runs. A profile owns its text: it outlives the plans that it is of. */
#ifndef FLOW_EXEC_PROFILE_H
#define FLOW_EXEC_PROFILE_H

#include "base/text.h"

enum profile_pass {
    PROFILE_FORWARD,
    PROFILE_BACKWARD,
    PROFILE_AGAIN /* forward once more, for backward */
};
enum profile_kind {
    PROFILE_NODE,
    PROFILE_COPY,    /* copies and conversions that the planner put in */
    PROFILE_GRADIENT /* gradients set to a number, passed on, added up, joined */
};

struct profile_row {
    const char *node, *op, *choice; /* "body.0.mix", "attention", what the operator says of this plan; "" */
    int32_t pass, kind;             /* enum profile_pass, profile_kind */
    int32_t dtype;                  /* of the node */
    double seconds, least; /* in all calls, and were each as short as the shortest of its plan; own ones: a loop's without its body */
    uint64_t calls;
    double flops, bytes; /* in all calls */
};

struct profile {
    struct arena arena;
    struct map places;
    struct profile_row *rows; /* in order of their first appearance */
    size_t count, capacity;
    double run_seconds;  /* in context_run */
    double plan_seconds; /* spent on planning and packing, as far as it was told */
    uint64_t runs;
    bool incomplete; /* memory was short */
};

void profile_init(struct profile *profile, const struct allocator *from);
void profile_free(struct profile *profile);
int must_use profile_merge(struct profile *into, const struct profile *from);
/* The row of this name, made where there is none; NULL: no memory. Text is copied. */
struct profile_row *profile_at(struct profile *profile, const struct profile_row *like);

#endif
