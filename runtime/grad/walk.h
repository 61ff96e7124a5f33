/* SPDX-License-Identifier: Apache-2.0 */
/* One walk backward, while it is made. */
#ifndef FLOW_GRAD_WALK_H
#define FLOW_GRAD_WALK_H

#include "grad/grad.h"

/* What is known of the gradient of one owner. */
struct grad_state {
    int32_t grad;    /* VALUE_GRAD; -1: not begun */
    int32_t pending; /* another gradient that it equals so far, not copied yet; -1 */
    int32_t node;    /* 1 + the last node that was given its gradient to write: two ports of one node must not meet in it */
};

struct grad_walk {
    struct instance *instance;
    struct report *report;
    struct arena *scratch;
    struct instance_node *nodes; /* the new list */
    size_t node_count, node_room;
    size_t value_room;
    size_t originals;         /* values that were there before differentiation */
    bool *depends;            /* by original value (owners): on what is wanted */
    struct grad_state *state; /* by original value (owners) */
    int32_t *again;           /* by original value: what stands for it in backward; -1: itself */
    int32_t *again_node;      /* by forward node (new list): the node that computes it once more; -1 */
    bool *repeated;           /* by segment */
    int32_t *head, *next;     /* forward nodes (new list) of a segment */
    int32_t current;          /* node in hand, in the new list */
};

int32_t grad_value(struct grad_walk *walk, enum instance_kind kind, const char *name, const struct flow_tensor *type); /* -1: memory */
struct instance_node *grad_node(struct grad_walk *walk, enum instance_role role, const struct instance_node *like);    /* NULL: memory */
int32_t grad_owner(const struct grad_walk *walk, int32_t value);

/* grad_emit.c */
/* A view of a gradient in the shape of `type`, `offset` elements from its first. */
int32_t grad_view(struct grad_walk *walk, int32_t gradient, const struct flow_tensor *type, int64_t offset);
/* The whole gradient of an owner, of its shape; -1: none arrives, -2: memory. */
int32_t grad_read(struct grad_walk *walk, int32_t owner);
/* Where the node in hand writes its contribution to the gradient of `value`. *temporary: a tensor of its own, which grad_settle adds. */
int must_use grad_begin(struct grad_walk *walk, int32_t value, int32_t *target, bool *accumulate, bool *temporary);
int must_use grad_settle(struct grad_walk *walk, int32_t value, int32_t temporary);
/* A contribution that is `gradient` itself, of the shape of `value`. */
int must_use grad_pass_on(struct grad_walk *walk, int32_t value, int32_t gradient);
int must_use grad_fill(struct grad_walk *walk, int32_t target, double value);
/* The backward of an operator, of {op: parameters}. */
int must_use grad_operator(struct grad_walk *walk, int32_t node);
int must_use grad_parameters(struct grad_walk *walk, int32_t node);
/* The backward node of a loop, whose body (taken over) is one iteration with its gradient. */
int must_use grad_loop_node(struct grad_walk *walk, int32_t node, struct instance *body, struct instance_backward *backward);
/* By output of a node: the gradient that arrives; -1. NULL: memory. */
int32_t *grad_arriving(struct grad_walk *walk, int32_t node);
/* grad_loop.c */
int must_use grad_loop(struct grad_walk *walk, int32_t node);

/* May the value have a gradient, and does it depend on what is wanted? */
bool grad_wanted(const struct grad_walk *walk, int32_t value);
const struct flow_port *grad_port(const struct flow_ports *ports, uint32_t i); /* NULL: the table has none */

#endif
