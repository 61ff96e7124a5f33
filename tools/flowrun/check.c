/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/gradients.h"

#include <stdio.h>
#include <string.h>

static int check(const struct command *command, flow_graph *graph) {
    char symbol[64] = "";
    const char *extents[64];
    size_t count = 0;
    while (count < command->extent.count && count < 63) extents[count] = command->extent.at[count], count++;
    if (command->stream) {
        const char *equals = strchr(command->stream, '=');
        snprintf(symbol, sizeof symbol, "%.*s", equals ? (int)(equals - command->stream) : (int)strlen(command->stream), command->stream);
        if (equals) extents[count++] = command->stream;
    }
    flow_errors *errors = NULL;
    if (flow_graph_check(graph, symbol[0] ? symbol : NULL, &errors) < 0) return command_fail_graph(command, errors);
    struct flow_describe_options options = {.size = sizeof options,
                                            .json = command->json,
                                            .verbose = command->verbose,
                                            .stream = symbol[0] ? symbol : NULL,
                                            .extents = extents,
                                            .extent_count = count,
                                            .streams = command->streams};
    char *text;
    if (flow_graph_describe(graph, &options, &errors, &text) < 0) return command_fail_graph(command, errors);
    if (!command->quiet) fputs(text, stdout);
    flow_text_free(text);
    return EXIT_DONE;
}

int command_check(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc == 0 && command->gradients) rc = gradients_check(command, runtime);
    else if (rc == 0 && (rc = command_graph(command, runtime, &graph)) == 0) rc = check(command, graph);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc;
}
