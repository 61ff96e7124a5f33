/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of a run: metrics.jsonl grows with the training, run.json says what it is, run.html and curve.svg show it. */
#ifndef FLOWRUN_RECORD_H
#define FLOWRUN_RECORD_H

#include "flowrun/command.h"
#include "flowrun/history.h"

struct record {
    const struct command *command;
    flow_runtime *runtime;
    flow_graph *graph;
    char folder[3072];
    char *training, *drawing;             /* JSON; SVG */
    struct history history;               /* of all starts of this run together */
    double before_seconds, before_waited; /* of the starts before this one */
    int lines;                            /* metrics.jsonl, open for appending; -1 */
    bool begun, broken;
    double line_at, page_at; /* when each was last written */
    int64_t line_count;
    double loss_sum; /* over the steps since the last line */
    int64_t loss_count;
    char started[32];
    int64_t parameters;
    struct flow_memory memory;
    const char *status; /* "running", "done", "interrupted", "failed" */
    char message[1024];
};

/* Finds the folder (--dir, else the graph's `checkpoint: {dir}`, else runs/NAME) for the first event to make. */
void record_open(struct record *record, const struct command *command, flow_runtime *runtime, flow_graph *graph, char *training);
/* Every event, before anything else is done with it. 0, or an exit status after saying why the folder cannot be made, at the first; what
 * cannot be written later is told once, and training goes on. */
int record_event(struct record *record, const flow_trainer *trainer, const struct flow_event *event);
/* The end, whatever it is. */
void record_close(struct record *record);

/* What run.json says, of a run that may be going on. */
struct json_document record_about(const char *folder);

#endif
