/* SPDX-License-Identifier: Apache-2.0 */
/* A node's `with:` written into its operator's plain attribute struct, by the
 * operator's rows. */
#ifndef FLOW_GRAPH_ATTRIBUTES_H
#define FLOW_GRAPH_ATTRIBUTES_H

#include "base/report.h"
#include "graph/document.h"
#include "graph/expression.h"

struct attributes_options {
    const char *node;            /* path, for messages */
    const struct document *with; /* NULL: all defaults */
    expression_lookup symbols;   /* shape symbols of the node's scope */
    void *context;
    bool f64; /* every f32 is f64 */
};

/* Fills `attrs` (op->attrs_size bytes, zeroed). All errors go to the report,
 * each at its value. Names that no row has and required attributes that are
 * missing are another stage's errors: the latter give 1. 0: done; negative: an
 * error was reported. */
int must_use attributes_parse(struct arena *arena, const struct flow_operator *op, const struct attributes_options *options,
                              struct report *report, void *attrs);

/* The same where they were parsed before for the same node: only what may name symbols is read anew, the rest is copied. */
int must_use attributes_again(struct arena *arena, const struct flow_operator *op, const struct attributes_options *options,
                              struct report *report, const void *before, void *attrs);

#endif
