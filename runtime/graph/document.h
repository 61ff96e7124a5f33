/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML file as a tree that remembers where everything stood. Aliases are resolved by pointing at the same node, so a file costs memory
 * in proportion to its size whatever it repeats. Limits: 16 MiB, 64 levels, 1 M nodes; an alias may not expand beyond them when walked. */
#ifndef FLOW_GRAPH_DOCUMENT_H
#define FLOW_GRAPH_DOCUMENT_H

#include "base/report.h"

enum document_kind { DOCUMENT_SCALAR, DOCUMENT_LIST, DOCUMENT_MAPPING };

struct document {
    enum document_kind kind;
    bool quoted;  /* a scalar in quotes: text, never a number or null */
    bool varies;  /* holds a `${` somewhere */
    int32_t size; /* values and keys in it, itself too, aliases counted each time: what a walk costs */
    struct position at;
    const char *text; /* scalar: its characters, zero-terminated; NUL inside is refused */
    size_t count;     /* entries */
    struct document **values;
    struct document **keys; /* mapping: scalars, unique */
};

/* Reads a file (or `text`, if not NULL, named `path`). All errors that the parser can give go to the report; NULL on any. */
struct document *document_read(struct arena *arena, const char *path, const char *text, size_t length, struct report *report);
struct document *document_get(const struct document *mapping, const char *key); /* NULL */

/* Scalars of the core schema: false when it is not one. */
bool document_int(const struct document *scalar, int64_t *value); /* decimal, 0x, 0o */
bool document_real(const struct document *scalar, double *value); /* integers too; .inf, .nan */
bool document_bool(const struct document *scalar, bool *value);
bool document_null(const struct document *scalar); /* null, ~, empty */

#endif
