/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_SHOW_H
#define FLOWRUN_SHOW_H

#include "flowrun/command.h"
#include "flowrun/markup.h"

/* The page of a graph: its drawing at several depths of boxes, with what is known of each node. 0, or an exit status after saying why. */
int show_page(flow_graph *graph, const struct flow_draw_options *options, struct markup *out);

#endif
