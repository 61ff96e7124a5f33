/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/command.h"

#include <stdio.h>

int command_show(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = command_graph(command, runtime, &graph);
    flow_errors *errors = NULL;
    char *text;
    if (rc == 0 && flow_graph_draw(graph, command->format ? command->format : "svg", &errors, &text) < 0) rc = command_fail(errors);
    else if (rc == 0) fputs(text, stdout), flow_text_free(text);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc;
}
