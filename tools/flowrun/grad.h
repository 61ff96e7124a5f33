/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_GRAD_H
#define FLOWRUN_GRAD_H

#include "flowrun/source.h"

/* The graph as the options say; --weights may also be a recorded case, whose parameters are called param.NODE.PARAM. */
int grad_graph(const struct command *command, flow_runtime *runtime, flow_graph **graph);
/* Gives a session every input there is. */
int grad_inputs(flow_session *session, const struct sources *sources);

#endif
