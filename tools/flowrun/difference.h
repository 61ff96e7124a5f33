/* SPDX-License-Identifier: Apache-2.0 */
/* Central differences: a graph in double precision, the sum of its outputs times random cotangents, and what it changes by. */
#ifndef FLOWRUN_DIFFERENCE_H
#define FLOWRUN_DIFFERENCE_H

#include "flowrun/command.h"

/* Numbers from a counter, the same for everybody. */
struct draw {
    uint64_t key, count;
};
double draw_uniform(struct draw *draw);                 /* [0, 1) */
double draw_normal(struct draw *draw);                  /* mean 0, variance 1 */
uint64_t draw_below(struct draw *draw, uint64_t limit); /* limit > 0 */

struct difference {
    flow_graph *graph;
    flow_session *plain, *with; /* without and with gradients */
    const struct flow_named *inputs;
    size_t input_count;
    struct flow_tensor *cotangents; /* by output; rank -1: it is no real one. Their data is owned. */
    size_t output_count;
    struct draw draw;
    double magnitude; /* of the terms of the last sum: what rounding is relative to */
};

/* Runs the graph, draws cotangents, runs it with gradients. The inputs' data may be changed by the caller from then on. */
int difference_open(struct difference *difference, flow_graph *graph, const struct flow_named *inputs, size_t count, uint64_t key,
                    flow_errors **errors);
void difference_close(struct difference *difference);
/* The sum for the inputs as they are now. */
int difference_sum(struct difference *difference, double *sum, flow_errors **errors);
/* The gradient by "in.NAME" or "param.NAME"; NULL. Changing inputs does not change it. */
const struct flow_tensor *difference_gradient(const struct difference *difference, const char *name);

/* A slope by differences against the expected one. */
struct slope {
    double expected, found;
    double error;  /* relative to what is larger, the slopes or `scale` */
    double beyond; /* the same, less what rounding may have done: 0 where that explains all */
    bool kink;     /* however short the step, the slopes to both sides differ: there is no derivative; or one side is outside the domain */
};
/* `move` shifts what is varied by a multiple of the direction; it is called with 0 at last. */
int slope_measure(double expected, double scale, double step, int (*sum)(void *context, double shift, double *sum, double *magnitude),
                  void *context, struct slope *slope);

#endif
