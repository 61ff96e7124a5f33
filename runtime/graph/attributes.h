/* SPDX-License-Identifier: Apache-2.0 */
/* A `with:` written into the plain attribute struct of an operator, optimiser or source, by its rows. */
#ifndef FLOW_GRAPH_ATTRIBUTES_H
#define FLOW_GRAPH_ATTRIBUTES_H

#include "base/report.h"
#include "graph/document.h"
#include "graph/expression.h"

struct attributes_options {
    const char *node;            /* path, for messages; NULL: none */
    const char *kind, *name;     /* whose attributes they are: "operator", "linear" */
    const struct document *with; /* NULL: all defaults */
    expression_lookup symbols;   /* shape symbols of the node's scope */
    void *context;
    bool f64; /* every f32 is f64 */
};

/* Fills `attrs` (as many bytes as the rows' struct has, zeroed). All errors go to the report, each at its value. Names that no row has
 * and required attributes that are missing are another stage's errors: the latter give 1. 0: done; negative: an error was reported. */
int must_use attributes_parse(struct arena *arena, const struct flow_attrs *rows, const struct attributes_options *options,
                              struct report *report, void *attrs);

/* The same where they were parsed before for the same node: only what may name symbols is read anew, the rest of the `size` bytes is
 * copied. */
int must_use attributes_again(struct arena *arena, const struct flow_attrs *rows, const struct attributes_options *options,
                              struct report *report, const void *before, size_t size, void *attrs);

#endif
