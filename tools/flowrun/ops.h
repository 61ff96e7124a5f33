/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, optimisers and sources of data as one kind of entry, for the list, the pages and the files made of them. */
#ifndef FLOWRUN_OPS_H
#define FLOWRUN_OPS_H

#include "flowrun/command.h"

enum entry_kind { ENTRY_OPERATOR, ENTRY_OPTIMIZER, ENTRY_SOURCE };

struct entry {
    enum entry_kind kind;
    const char *name, *plugin, *file;                     /* file NULL: built in */
    const char *summary, *equation, *reference, *example; /* "" where there is none */
    uint32_t flags;                                       /* of operators: FLOW_OP_* */
    struct flow_ports inputs, outputs;
    struct flow_params params;
    struct flow_states states;
    struct flow_attrs attrs;
    const struct flow_kernel *kernels;
    uint32_t kernel_count;
};

/* Everything there is, by plugin, then by name; lives as long as the runtime. *failures: plugins that could not be used, a line each, or
 * NULL; for flow_text_free. */
struct entries {
    struct entry *at;
    size_t count;
    char *failures;
};
int entries_read(flow_runtime *runtime, struct entries *entries);
void entries_free(struct entries *entries);

const char *entry_kind_name(enum entry_kind kind); /* "operator" */
/* "f32 or f64", "float", "any" */
const char *entry_types(uint32_t types, char *text, size_t size);
/* Element types for which kernels are there on a device, forward or backward; halves too where f32 stands in for them. */
uint32_t entry_support(const struct entry *entry, int32_t device, bool backward);
/* How it goes piece by piece: "any axis", "carries state", "as its axes allow" */
const char *entry_streaming(const struct entry *entry);
/* "integer from 1", "one of none, tanh" */
const char *entry_attr(const struct flow_attr *attr, char *text, size_t size);

void ops_page(const struct entry *entry);                                                   /* one, for a reader */
void ops_json(const struct entry *entries, size_t count);                                   /* an array */
void ops_json_one(const struct entry *entry);                                               /* an object */
int ops_markdown(flow_runtime *runtime, const struct entries *entries, const char *folder); /* reference pages, support matrix, ops.json */

#endif
