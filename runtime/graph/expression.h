/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic in graphs and patterns: integers and reals, + - * / % **, parentheses, sqrt(x), names. `/` of two integers must come out
 * even; % has the divisor's sign. Overflow, division by zero and depth are errors. */
#ifndef FLOW_GRAPH_EXPRESSION_H
#define FLOW_GRAPH_EXPRESSION_H

#include "base/memory.h"

struct number {
    bool real;
    int64_t i;
    double r; /* the value in either case */
};

/* Looks a name up: 1 found, 0 unknown, negative: error already said in `why`. */
typedef int (*expression_lookup)(void *context, const char *name, size_t length, struct number *value);

/* 0, or negative with a short reason in why[0..size), such as "unknown name 'wdith'". Linear in the text's length. */
int must_use expression_evaluate(const char *text, size_t length, expression_lookup lookup, void *context, struct number *value, char *why,
                                 size_t size);
/* The form alone: names may be any, nothing is computed. */
int must_use expression_check(const char *text, size_t length, char *why, size_t size);

#endif
