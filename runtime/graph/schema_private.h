/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the schema share. */
#ifndef FLOW_GRAPH_SCHEMA_PRIVATE_H
#define FLOW_GRAPH_SCHEMA_PRIVATE_H

#include "base/text.h"
#include "plugin/registry.h"

/* "with": {..}, of an operator, optimiser or source; `also`: further properties, as JSON. Gives how many must be given. */
size_t schema_with(struct text *out, const struct flow_attrs *rows, const char *also);
/* The definitions `data`, `train`, and what they need. */
int must_use schema_training(struct registry *registry, struct text *out);

#endif
