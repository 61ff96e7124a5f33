/* SPDX-License-Identifier: Apache-2.0 */
/* Shape patterns of an operator's tables ("B T D", "... heads*U", ""), its
 * `when` conditions and initialisers, evaluated for one node: names are bound
 * by the extents of its inputs, or are integer attributes. */
#ifndef FLOW_GRAPH_PATTERN_H
#define FLOW_GRAPH_PATTERN_H

#include "base/memory.h"

#include <flow/plugin.h>

enum { PATTERN_NAMES = 64, PATTERN_WHY = 256 };

struct binding {
    const char *name;
    size_t length;
    int64_t extent;
};

struct bindings {
    const struct flow_operator *op;
    const void *attrs;
    struct binding at[PATTERN_NAMES];
    uint32_t count;
    int32_t leading; /* axes that "..." stands for; -1: not bound */
    int64_t leading_extents[FLOW_RANK_MAX];
    double printed; /* the number printed last, without its sign: initialisers are often (-a, a), of several parameters */
    char digits[32];
};

void pattern_begin(struct bindings *bindings, const struct flow_operator *op, const void *attrs);

/* Binds what is new in an input's pattern and checks what is known. 0: it fits;
 * 1: it fits so far, but holds an expression of names that are not bound yet
 * (match it again when they are); negative: it does not, why[0..PATTERN_WHY)
 * says how. */
int must_use pattern_match(struct bindings *bindings, const char *pattern, const struct flow_tensor *tensor, char *why);

/* Gives a tensor the pattern's extents. 1: done; 0: a name is not bound, the
 * tensor is as it was; negative: `why` says. */
int must_use pattern_fill(const struct bindings *bindings, const char *pattern, struct flow_tensor *tensor, char *why);

/* Does the row exist? 1 or 0; negative: `why` says. Words and integers that
 * were left out count as 0. */
int must_use pattern_when(const struct bindings *bindings, const char *when, char *why);

/* The initialiser with its arguments as plain numbers, in `arena` where it is
 * not `init` itself. "@name" is the text attribute's. Negative: `why` says (or
 * is empty when memory ran out). */
int must_use pattern_init(struct bindings *bindings, struct arena *arena, const char *init, const char **out, char *why);

#endif
