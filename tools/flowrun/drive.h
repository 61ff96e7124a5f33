/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a session to its end: once, in pieces along a symbol, or step by step where the graph feeds itself. */
#ifndef FLOWRUN_DRIVE_H
#define FLOWRUN_DRIVE_H

#include "flowrun/source.h"

struct drive {
    const struct command *command;
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    struct sources sources;
    char symbol[64];    /* "": whole */
    int64_t pieces[16]; /* extents, taken in turn */
    size_t piece_count;
    int64_t steps;
    const char *until; /* a bool output that ends a graph that feeds itself */
    bool feeds_itself;
    bool gradients; /* set before drive_open: the session gives them */
    bool again;     /* set before drive_open: it will be run more than once, so inputs are read whole */

    int64_t runs;         /* made so far */
    int64_t fed;          /* elements fed along the symbol */
    double seconds;       /* spent in the runs themselves */
    double first_seconds; /* of the first run: planning and packing included */
};

/* Reads the options (and the graph's `run:`), opens session and inputs. */
int drive_open(struct drive *drive, const struct command *command, flow_runtime *runtime, flow_graph *graph);
/* Runs; `each` is called after every run with the outputs in place; its non-zero result ends the drive and is returned. */
int drive_run(struct drive *drive, int (*each)(void *context, struct drive *drive), void *context);
void drive_close(struct drive *drive);

#endif
