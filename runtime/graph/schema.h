/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON Schema of graph files (draft 2020-12), with every operator that is known: an editor completes and explains as one types. */
#ifndef FLOW_GRAPH_SCHEMA_H
#define FLOW_GRAPH_SCHEMA_H

#include "base/text.h"
#include "plugin/registry.h"

int must_use schema_write(struct registry *registry, struct text *out);

#endif
