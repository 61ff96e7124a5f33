/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/difference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t draw_bits(struct draw *draw) {
    uint64_t z = draw->key + 0x9e3779b97f4a7c15u * ++draw->count;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double draw_uniform(struct draw *draw) { return (double)(draw_bits(draw) >> 11) * 0x1p-53; }

double draw_normal(struct draw *draw) {
    double u = 1 - draw_uniform(draw), v = draw_uniform(draw);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t draw_below(struct draw *draw, uint64_t limit) { return draw_bits(draw) % limit; }

static bool is_real(const struct flow_tensor *tensor) { return tensor->dtype == FLOW_F32 || tensor->dtype == FLOW_F64; }

static int bind(const struct difference *difference, flow_session *session, flow_errors **errors) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < difference->input_count; i++)
        rc = flow_session_input(session, difference->inputs[i].name, difference->inputs[i].tensor, errors);
    return rc;
}

static int draw_cotangents(struct difference *difference, flow_errors **errors) {
    int rc = 0;
    for (size_t o = 0; rc == 0 && o < difference->output_count; o++) {
        const struct flow_tensor *out = flow_session_output_at(difference->plain, o);
        struct flow_tensor *cotangent = &difference->cotangents[o];
        if (!is_real(out)) continue;
        int64_t count = flow_tensor_count(out);
        double *data = malloc((size_t)(count > 0 ? count : 1) * sizeof *data);
        if (!data) return FLOW_ERROR_MEMORY;
        for (int64_t i = 0; i < count; i++) data[i] = draw_normal(&difference->draw);
        *cotangent = flow_tensor_of(data, FLOW_F64, out->rank, out->shape);
        rc = flow_session_cotangent(difference->with, flow_graph_output(difference->graph, o).name, cotangent, errors);
    }
    return rc;
}

int difference_open(struct difference *difference, flow_graph *graph, const struct flow_named *inputs, size_t count, uint64_t key,
                    flow_errors **errors) {
    *difference = (struct difference){.graph = graph, .inputs = inputs, .input_count = count, .draw = {.key = key}};
    difference->output_count = flow_graph_outputs(graph);
    difference->cotangents = calloc(difference->output_count + 1, sizeof *difference->cotangents);
    if (!difference->cotangents) return FLOW_ERROR_MEMORY;
    for (size_t o = 0; o < difference->output_count; o++) difference->cotangents[o].rank = -1;
    struct flow_session_options plain = {.size = sizeof plain, .streams = 1}, with = {.size = sizeof with, .streams = 1, .gradients = true};
    int rc = flow_session_new(graph, &plain, errors, &difference->plain);
    if (rc == 0) rc = bind(difference, difference->plain, errors);
    if (rc == 0) rc = flow_session_run(difference->plain, errors);
    if (rc == 0) rc = flow_session_new(graph, &with, errors, &difference->with);
    if (rc == 0) rc = draw_cotangents(difference, errors);
    if (rc == 0) rc = bind(difference, difference->with, errors);
    return rc == 0 ? flow_session_run(difference->with, errors) : rc;
}

void difference_close(struct difference *difference) {
    flow_session_free(difference->plain);
    flow_session_free(difference->with);
    for (size_t o = 0; difference->cotangents && o < difference->output_count; o++)
        if (difference->cotangents[o].rank >= 0) free(difference->cotangents[o].data);
    free(difference->cotangents);
    *difference = (struct difference){0};
}

int difference_sum(struct difference *difference, double *sum, flow_errors **errors) {
    *sum = difference->magnitude = 0;
    flow_session_reset(difference->plain); /* the same states, the same draws */
    int rc = bind(difference, difference->plain, errors);
    if (rc == 0) rc = flow_session_run(difference->plain, errors);
    for (size_t o = 0; rc == 0 && o < difference->output_count; o++) {
        const struct flow_tensor *cotangent = &difference->cotangents[o], *out = flow_session_output_at(difference->plain, o);
        const double *weight = cotangent->data;
        int64_t count = cotangent->rank < 0 ? 0 : flow_tensor_count(cotangent);
        if (count && flow_tensor_count(out) != count) return FLOW_ERROR_SHAPE;
        for (int64_t i = 0; i < count; i++) {
            double term = weight[i] * flow_tensor_real(out, i);
            *sum += term, difference->magnitude += fabs(term);
        }
    }
    return rc;
}

const struct flow_tensor *difference_gradient(const struct difference *difference, const char *name) {
    const char *found;
    const struct flow_tensor *gradient;
    for (size_t i = 0; flow_session_gradient(difference->with, i, &found, &gradient); i++)
        if (strcmp(found, name) == 0) return gradient;
    return NULL;
}

/* Several lengths of step: a long one is wrong where the curve bends, a short one where rounding drowns it. What agrees at any of them
 * agrees. */
int slope_measure(double expected, double scale, double step, int (*sum)(void *context, double shift, double *sum, double *magnitude),
                  void *context, struct slope *slope) {
    static const double lengths[] = {1, 0.1, 10, 0.01};
    *slope = (struct slope){.expected = expected, .error = INFINITY, .beyond = INFINITY};
    double middle, above = 0, below = 0, magnitude = 0, longer = NAN;
    int rc = sum(context, 0, &middle, &magnitude);
    bool bent = true, jumps = true, edge = false;
    for (size_t i = 0; rc == 0 && i < sizeof lengths / sizeof *lengths && slope->beyond > 1e-7; i++) {
        double h = step * lengths[i];
        rc = sum(context, h, &above, &magnitude);
        if (rc == 0) rc = sum(context, -h, &below, &magnitude);
        if (rc) break;
        double found = (above - below) / (2 * h), rounding = 2e-15 * magnitude / h, off = fabs(found - expected);
        double right = (above - middle) / h, left = (middle - below) / h;
        double size = fmax(fmax(fabs(found), fabs(expected)), fmax(scale, 1e-300));
        double beyond = off <= rounding ? 0 : off > rounding ? (off - rounding) / size : INFINITY;
        if (beyond < slope->beyond || (beyond == slope->beyond && off / size < slope->error))
            slope->beyond = beyond, slope->error = off / size, slope->found = found;
        edge = isfinite(middle) && !(isfinite(above) && isfinite(below));
        /* A kink stays however short the step is; what jumps has a slope that grows as the step shrinks. */
        bent = bent && fabs(right - left) > 1e-2 * fmax(fabs(right), fabs(left)) + 2 * rounding;
        if (lengths[i] < 1) jumps = jumps && fabs(found) > 5 * fabs(longer);
        if (lengths[i] <= 1) longer = found;
    }
    slope->kink = slope->beyond > 1e-5 && (bent || jumps || edge);
    double end;
    int last = sum(context, 0, &end, &magnitude);
    return rc ? rc : last;
}
