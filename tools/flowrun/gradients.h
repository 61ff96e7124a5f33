/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_GRADIENTS_H
#define FLOWRUN_GRADIENTS_H

#include "flowrun/command.h"

/* flowrun check --gradients: every operator of the graph, and the graph as a whole, against central differences in double precision. */
int gradients_check(const struct command *command, flow_runtime *runtime);

#endif
