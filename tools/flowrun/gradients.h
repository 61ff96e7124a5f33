/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_GRADIENTS_H
#define FLOWRUN_GRADIENTS_H

#include "flowrun/command.h"

/* flowrun check --gradients: every operator of the graph, and the graph as a whole, against central differences in double precision. */
int gradients_check(const struct command *command, flow_runtime *runtime);

/* Every operator of a graph in double precision, on these inputs (by flow_graph_input): told, not printed. */
struct gradients_found {
    int agree, differ, unchecked;
    double worst;   /* of those that agree */
    char said[512]; /* about the first that differs, or that could not be compared */
};
int gradients_of(flow_runtime *runtime, flow_graph *graph, const struct flow_tensor *inputs, struct gradients_found *found);

#endif
