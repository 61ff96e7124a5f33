/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a run or training went, as tables and as JSON. */
#ifndef FLOWRUN_PROFILE_H
#define FLOWRUN_PROFILE_H

#include "flowrun/command.h"

#include <stdio.h>

struct profiling {
    struct flow_profile profile;
    struct flow_limits limits;
    double wall;   /* seconds from the first run's (the training's) start to its end */
    bool training; /* data, updates, validations and checkpoints are told, too */
    bool all;      /* every node, not only those that take longest */
};

/* Measures the machine's limits; after the run. */
int profile_measure(struct profiling *profiling, flow_runtime *runtime);
void profile_print(FILE *out, const struct profiling *profiling);
void profile_json(FILE *out, const struct profiling *profiling); /* one object, no newline */

#endif
