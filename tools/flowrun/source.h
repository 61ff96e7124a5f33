/* SPDX-License-Identifier: Apache-2.0 */
/* Where the inputs of a run come from: files, numbers on the command line, samples as they come. */
#ifndef FLOWRUN_SOURCE_H
#define FLOWRUN_SOURCE_H

#include "flowrun/command.h"

struct source {
    const char *name;
    struct flow_graph_port port; /* of the graph's input */
    struct flow_tensor tensor;   /* whole; rank -1: a wave */
    flow_file *file;
    void *owned;
    flow_wave *wave;
    double rate; /* of a wav file or stream; 0 */
};

struct sources {
    struct source *at; /* by graph input; name NULL: not given */
    size_t count;
    flow_file *all; /* --inputs */
};

/* Opens what --input, --inputs and the graph's own `run: {input: ...}` name. `live`: a wav file is read as it goes, not whole. */
int sources_open(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph, bool live);
/* The same without what the graph names itself. */
int sources_given(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph, bool live);
void sources_close(struct sources *sources);
/* Gives a tensor to the input of that name. */
int sources_give(struct sources *sources, const char *name, const struct flow_tensor *tensor);

#endif
