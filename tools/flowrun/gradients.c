/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/gradients.h"

#include "flowrun/difference.h"
#include "flowrun/grad.h"
#include "flowrun/print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 4, MOST_INPUTS = 128 };
static const double step = 1e-5, tolerance = 1e-5;

/* Their gradients are what they say, not what a difference shows. */
static const char *const by_design[] = {"stop_gradient", "scale_gradient", "inject_gradient", "gradient"};

struct checking {
    const struct command *command;
    flow_runtime *runtime;
    double tolerance;
    int agree, differ, unchecked;
    struct gradients_found *found; /* told there in place of printing; NULL */
    bool designed;                 /* the graph holds an operator whose gradient is no derivative */
    struct draw draw;
};

/* What is varied: elements of one tensor along a direction. */
struct varying {
    struct difference *difference;
    double *data, *origin, *direction; /* the tensor's own memory; what it was; NULL: one element */
    int64_t count, element;
    flow_errors *errors;
};

static int vary(void *context, double shift, double *sum, double *magnitude) {
    struct varying *varying = context;
    if (varying->direction)
        for (int64_t i = 0; i < varying->count; i++) varying->data[i] = varying->origin[i] + shift * varying->direction[i];
    else varying->data[varying->element] = varying->origin[varying->element] + shift;
    int rc = difference_sum(varying->difference, sum, &varying->errors);
    *magnitude = varying->difference->magnitude;
    return rc;
}

/* ---- One tensor of a graph ---- */

struct verdict {
    double worst, beyond; /* beyond: less what rounding explains */
    int kinks, slopes;
    char where[64];
};

static void judge(struct verdict *verdict, const struct slope *slope, int64_t element) {
    if (slope->kink) {
        verdict->kinks++;
        return;
    }
    verdict->slopes++;
    if (slope->error > verdict->worst || isnan(slope->error)) verdict->worst = slope->error;
    if (!(slope->beyond <= verdict->beyond)) {
        verdict->beyond = slope->beyond;
        if (element < 0) snprintf(verdict->where, sizeof verdict->where, "along a direction");
        else snprintf(verdict->where, sizeof verdict->where, "element %lld", (long long)element);
        size_t used = strlen(verdict->where);
        snprintf(verdict->where + used, sizeof verdict->where - used, ": %.6g, by differences %.6g", slope->expected, slope->found);
    }
}

static double largest(const struct flow_tensor *gradient) {
    double most = 0;
    for (int64_t i = 0; i < flow_tensor_count(gradient); i++) most = fmax(most, fabs(flow_tensor_real(gradient, i)));
    return most;
}

/* Some elements and one direction. `tensor` is f64 and the caller's, restored at the end. */
static int check_tensor(struct checking *checking, struct difference *difference, struct flow_tensor *tensor,
                        const struct flow_tensor *gradient, struct verdict *verdict, flow_errors **errors) {
    int64_t count = flow_tensor_count(tensor);
    struct varying varying = {.difference = difference, .data = tensor->data, .count = count};
    double *origin = malloc((size_t)count * sizeof *origin), *direction = malloc((size_t)count * sizeof *direction);
    double scale = largest(gradient), along = 0, length = 0;
    struct slope slope;
    int rc = origin && direction ? 0 : FLOW_ERROR_MEMORY;
    if (rc == 0) memcpy(origin, tensor->data, (size_t)count * sizeof *origin);
    varying.origin = origin;
    for (int i = 0; rc == 0 && i < ELEMENTS && i < count; i++) {
        varying.element = count <= ELEMENTS ? i : (int64_t)draw_below(&checking->draw, (uint64_t)count);
        double at = origin[varying.element];
        if (!isfinite(at)) continue;
        rc = slope_measure(flow_tensor_real(gradient, varying.element), scale, step * fmax(1, fabs(at)), vary, &varying, &slope);
        if (rc == 0) judge(verdict, &slope, varying.element);
    }
    for (int64_t i = 0; rc == 0 && i < count; i++) {
        direction[i] = fabs(origin[i]) < 1e6 ? (draw_uniform(&checking->draw) < 0.5 ? -1 : 1) * (0.5 + draw_uniform(&checking->draw)) : 0;
        along += direction[i] * flow_tensor_real(gradient, i), length += direction[i] * direction[i];
    }
    varying.direction = direction;
    if (rc == 0 && count > ELEMENTS) {
        rc = slope_measure(along, scale * sqrt(length), step / 10, vary, &varying, &slope);
        if (rc == 0) judge(verdict, &slope, -1);
    }
    if (origin) memcpy(tensor->data, origin, (size_t)count * sizeof *origin);
    free(origin), free(direction);
    if (rc && varying.errors) *errors = varying.errors;
    return rc;
}

/* A word, who, what, and how far off. */
static void print_verdict(struct checking *checking, const char *node, const char *op, const char *role, const struct flow_tensor *type,
                          const struct verdict *verdict) {
    char shape[160];
    const struct command *command = checking->command;
    bool holds = verdict->beyond <= checking->tolerance, silent = holds && command->quiet;
    holds ? checking->agree++ : checking->differ++;
    struct gradients_found *found = checking->found;
    if (found) {
        if (holds && verdict->worst > found->worst) found->worst = verdict->worst;
        if (!holds && checking->differ == 1)
            snprintf(found->said, sizeof found->said, "by %s off by %.2g: %s", role, verdict->worst, verdict->where);
        return;
    }
    if (command->json) {
        printf("{\"node\": ");
        print_string(stdout, node, strlen(node));
        printf(", \"op\": \"%s\", \"by\": \"%s\", \"holds\": %s, \"kinks\": %d, \"error\": ", op, role, holds ? "true" : "false",
               verdict->kinks);
        if (isfinite(verdict->worst)) printf("%.3g}\n", verdict->worst);
        else printf("null}\n");
        return;
    }
    if (silent) return;
    printf("%s%s%s %-28s %-18s %-14s %-16s off by %.2g", holds ? GREEN : RED, holds ? "ok  " : "FAIL", PLAIN, node, op, role,
           print_type(type, shape, sizeof shape) + strlen(flow_type_name(type->dtype)) + 1, verdict->worst);
    if (verdict->kinks) printf(", %d of %d at a kink or a jump", verdict->kinks, verdict->kinks + verdict->slopes);
    if (!holds) printf(" (%s)", verdict->where);
    putchar('\n');
}

/* What could not be compared, with the first message about it; frees the list. */
static void print_unchecked(struct checking *checking, const char *node, const char *op, const char *why, flow_errors *errors, bool wrong) {
    const char *text = flow_errors_count(errors) ? flow_errors_get(errors, 0).text : why ? why : "out of memory";
    wrong ? checking->differ++ : checking->unchecked++;
    if (checking->found) {
        if (!checking->found->said[0]) snprintf(checking->found->said, sizeof checking->found->said, "%s", text);
    } else if (checking->command->json) {
        printf("{\"node\": ");
        print_string(stdout, node, strlen(node));
        printf(", \"op\": \"%s\", \"holds\": %s, \"why\": ", op, wrong ? "false" : "null");
        print_string(stdout, text, strlen(text));
        fputs("}\n", stdout);
    } else if (!checking->command->quiet || wrong) {
        printf("%s%s%s %-28s %-18s %s\n", wrong ? RED : DIM, wrong ? "FAIL" : "--  ", PLAIN, node, op, text);
    }
    flow_errors_free(errors);
}

/* ---- Values ---- */

/* Fills a tensor: reals around 0, or away from it where `positive`; integers below `most`, which small counts and indices are. */
static void fill(struct draw *draw, struct flow_tensor *tensor, int attempt) {
    int64_t count = flow_tensor_count(tensor);
    for (int64_t i = 0; i < count; i++) {
        switch (tensor->dtype) {
        case FLOW_F64: ((double *)tensor->data)[i] = attempt & 1 ? 0.1 + 0.8 * draw_uniform(draw) : 0.7 * draw_normal(draw); break;
        case FLOW_F32: ((float *)tensor->data)[i] = (float)(0.7 * draw_normal(draw)); break;
        case FLOW_I64: ((int64_t *)tensor->data)[i] = attempt & 2 ? 0 : (int64_t)draw_below(draw, 2); break;
        case FLOW_I32: ((int32_t *)tensor->data)[i] = attempt & 2 ? 0 : (int32_t)draw_below(draw, 2); break;
        case FLOW_U8: ((uint8_t *)tensor->data)[i] = attempt & 2 ? 0 : (uint8_t)draw_below(draw, 2); break;
        case FLOW_BOOL: ((uint8_t *)tensor->data)[i] = (uint8_t)draw_below(draw, 2); break;
        default: break;
        }
    }
}

static const char not_finite[] = "what it computes is not finite on these inputs";

static bool all_finite(const struct difference *difference) {
    for (size_t o = 0; o < difference->output_count; o++) {
        const struct flow_tensor *out = flow_session_output_at(difference->plain, o);
        for (int64_t i = 0; out && i < flow_tensor_count(out); i++)
            if (!isfinite(flow_tensor_real(out, i))) return false;
    }
    return true;
}

/* ---- Each operator ---- */

/* `padding` of an embedding is a row that gets no gradient though it is read. */
static bool is_designed(const char *op, const char *text) {
    if (strcmp(op, "embedding") == 0 && text && strstr(text, "padding: ")) return true;
    for (size_t i = 0; i < sizeof by_design / sizeof *by_design; i++)
        if (strcmp(op, by_design[i]) == 0) return true;
    return false;
}

/* Room for the values of a node in a loop, which no run gave. */
static int make_room(struct flow_tensor *tensors, const struct flow_alone_node *node, void **owned) {
    for (size_t i = 0; i < node->input_count; i++) {
        const struct flow_tensor *value = &node->inputs[i].value;
        tensors[i] = *value;
        if (value->data) continue;
        int64_t count = flow_tensor_count(value);
        tensors[i].data = owned[i] = calloc((size_t)(count > 0 ? count : 1), (size_t)flow_type_bytes(value->dtype));
        if (!owned[i]) return FLOW_ERROR_MEMORY;
    }
    return 0;
}

/* Opens the node's graph on the values it had, or, where none are known, on random ones that it accepts. */
static int open_node(struct checking *checking, const struct flow_alone_node *node, struct flow_tensor *tensors, void **owned,
                     const struct flow_named *named, flow_graph *graph, struct difference *difference, flow_errors **errors) {
    bool random = false;
    for (size_t i = 0; i < node->input_count; i++) random = random || owned[i];
    for (int attempt = 0;; attempt++) {
        for (size_t i = 0; i < node->input_count; i++)
            if (owned[i]) fill(&checking->draw, &tensors[i], attempt);
        int rc = difference_open(difference, graph, named, node->input_count, checking->draw.key, errors);
        bool again = random && attempt < 3 && (rc == FLOW_ERROR_RANGE || (rc == 0 && !all_finite(difference)));
        if (!again) return rc;
        difference_close(difference);
        flow_errors_free(*errors);
        *errors = NULL;
    }
}

static void check_node(struct checking *checking, const struct flow_alone_node *node, struct flow_tensor *tensors, struct flow_named *named,
                       void **owned) {
    struct flow_graph_options options = {.size = sizeof options, .precision = FLOW_F64, .weights = ""};
    struct difference difference = {0};
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    size_t wanted = 0;
    for (size_t i = 0; i < node->input_count; i++) {
        named[i] = (struct flow_named){node->inputs[i].name, &tensors[i]};
        wanted += node->inputs[i].differentiable && tensors[i].dtype == FLOW_F64 && flow_tensor_count(&tensors[i]) > 0;
    }
    if (!wanted) return; /* nothing that could have a gradient */
    int rc = make_room(tensors, node, owned);
    if (rc == 0)
        rc = flow_graph_parse(checking->runtime, checking->command->graph, node->text, strlen(node->text), &options, &errors, &graph);
    if (rc) {
        print_unchecked(checking, node->node, node->op, NULL, errors, false);
    } else if (open_node(checking, node, tensors, owned, named, graph, &difference, &errors) < 0) {
        print_unchecked(checking, node->node, node->op, NULL, errors, true);
    } else if (!all_finite(&difference)) {
        print_unchecked(checking, node->node, node->op, not_finite, NULL, false);
    } else {
        for (size_t i = 0; i < node->input_count; i++) {
            char name[64];
            struct verdict verdict = {0};
            snprintf(name, sizeof name, "in.%s", node->inputs[i].name);
            const struct flow_tensor *gradient = difference_gradient(&difference, name);
            if (!node->inputs[i].differentiable || !gradient || flow_tensor_count(gradient) == 0 || tensors[i].dtype != FLOW_F64) continue;
            errors = NULL;
            if (check_tensor(checking, &difference, &tensors[i], gradient, &verdict, &errors) < 0)
                print_unchecked(checking, node->node, node->op, NULL, errors, true);
            else print_verdict(checking, node->node, node->op, node->inputs[i].role, gradient, &verdict);
        }
    }
    difference_close(&difference);
    flow_graph_free(graph);
}

/* Real inputs that let no gradient through make the whole graph's gradient less than its derivative. */
static void note_blocks(struct checking *checking, const struct flow_alone_node *node) {
    for (size_t i = 0; i < node->input_count; i++) {
        const struct flow_alone_input *input = &node->inputs[i];
        if (!input->differentiable && !input->parameter && input->value.dtype == FLOW_F64) checking->designed = true;
    }
}

static int check_operators(struct checking *checking, flow_graph *graph, const struct flow_tensor *inputs) {
    flow_errors *errors = NULL;
    flow_alone *alone = NULL;
    if (flow_alone_new(graph, inputs, &errors, &alone) < 0) {
        if (!checking->found) return command_fail_graph(checking->command, errors);
        print_unchecked(checking, "", "", NULL, errors, true);
        return EXIT_FAILED;
    }
    for (size_t n = 0; n < flow_alone_count(alone) && !interrupted(); n++) {
        const struct flow_alone_node *node = flow_alone_at(alone, n);
        struct flow_tensor *tensors = calloc(node->input_count + 1, sizeof *tensors);
        struct flow_named *named = calloc(node->input_count + 1, sizeof *named);
        void **owned = calloc(node->input_count + 1, sizeof *owned);
        note_blocks(checking, node);
        if (is_designed(node->op, node->text)) {
            checking->designed = true;
            print_unchecked(checking, node->node, node->op, "its gradient is no derivative, by design", NULL, false);
        } else if (!node->text || !tensors || !named || !owned) {
            print_unchecked(checking, node->node, node->op, node->why, NULL, false);
        } else {
            for (size_t i = 0; i < node->input_count; i++) tensors[i] = node->inputs[i].value;
            check_node(checking, node, tensors, named, owned);
        }
        for (size_t i = 0; owned && i < node->input_count; i++) free(owned[i]);
        free(tensors), free(named), free(owned);
    }
    flow_alone_free(alone);
    return 0;
}

/* ---- The whole graph ---- */

/* By inputs only vary the session's memory; a parameter is given anew to a graph that is read again. */
struct whole {
    struct checking *checking;
    struct difference *difference;
    const char *param;
    struct flow_tensor value; /* the parameter's; data is owned */
    const double *origin, *direction;
    flow_errors *errors;
};

static int sum_param(void *context, double shift, double *sum, double *magnitude) {
    struct whole *whole = context;
    struct difference *main_one = whole->difference;
    struct difference other = *main_one;
    struct command command = *whole->checking->command;
    flow_graph *graph = NULL;
    double *data = whole->value.data;
    command.precision = "f64";
    for (int64_t i = 0; i < flow_tensor_count(&whole->value); i++) data[i] = whole->origin[i] + shift * whole->direction[i];
    if (grad_graph(&command, whole->checking->runtime, &graph)) return FLOW_ERROR_USAGE;
    struct flow_session_options options = {.size = sizeof options, .streams = 1};
    other.graph = graph, other.plain = NULL;
    int rc = flow_graph_set(graph, whole->param, &whole->value, &whole->errors);
    if (rc == 0) rc = flow_session_new(graph, &options, &whole->errors, &other.plain);
    if (rc == 0) rc = difference_sum(&other, sum, &whole->errors);
    *magnitude = other.magnitude;
    flow_session_free(other.plain);
    flow_graph_free(graph);
    return rc;
}

static const struct flow_tensor *parameter_named(const flow_graph *graph, const char *name) {
    const struct flow_tensor *value;
    const char *found;
    for (size_t i = 0; (value = flow_graph_parameter(graph, i, &found)); i++)
        if (strcmp(found, name) == 0) return value;
    return NULL;
}

static int check_param(struct checking *checking, struct difference *difference, const char *name, const struct flow_tensor *gradient,
                       struct verdict *verdict, flow_errors **errors) {
    const struct flow_tensor *value = parameter_named(difference->graph, name);
    int64_t count = flow_tensor_count(gradient);
    if (!value || flow_tensor_count(value) != count || count == 0) return 0;
    double *room = malloc(3 * (size_t)count * sizeof *room), along = 0, length = 0;
    if (!room) return FLOW_ERROR_MEMORY;
    double *origin = room + count, *direction = room + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        origin[i] = flow_tensor_real(value, i);
        direction[i] = (draw_uniform(&checking->draw) < 0.5 ? -1 : 1) * (0.5 + draw_uniform(&checking->draw));
        along += direction[i] * flow_tensor_real(gradient, i), length += direction[i] * direction[i];
    }
    struct whole whole = {checking, difference, name, flow_tensor_of(room, FLOW_F64, value->rank, value->shape), origin, direction, NULL};
    struct slope slope;
    int rc = slope_measure(along, largest(gradient) * sqrt(length), step / 10, sum_param, &whole, &slope);
    if (rc == 0) judge(verdict, &slope, -1);
    else *errors = whole.errors;
    free(room);
    return rc;
}

static int check_whole(struct checking *checking, flow_graph *graph, struct flow_named *named, struct flow_tensor *inputs, size_t count) {
    struct difference difference;
    flow_errors *errors = NULL;
    const char *name;
    const struct flow_tensor *gradient;
    int rc = difference_open(&difference, graph, named, count, checking->draw.key, &errors);
    if (rc < 0) print_unchecked(checking, "(the whole graph)", "", NULL, errors, true);
    bool finite = rc == 0 && all_finite(&difference);
    if (rc == 0 && !finite) print_unchecked(checking, "(the whole graph)", "", not_finite, NULL, false);
    for (size_t g = 0; finite && !interrupted() && flow_session_gradient(difference.with, g, &name, &gradient); g++) {
        struct verdict verdict = {0};
        char copy[512]; /* the session's own is overwritten by the next */
        snprintf(copy, sizeof copy, "%s", name);
        errors = NULL;
        int code = 0;
        if (strncmp(copy, "param.", 6) == 0) code = check_param(checking, &difference, copy + 6, gradient, &verdict, &errors);
        for (size_t i = 0; i < count && strncmp(copy, "in.", 3) == 0; i++)
            if (strcmp(named[i].name, copy + 3) == 0 && inputs[i].dtype == FLOW_F64 && flow_tensor_count(gradient) > 0)
                code = check_tensor(checking, &difference, &inputs[i], gradient, &verdict, &errors);
        if (code < 0) print_unchecked(checking, copy, "(whole)", NULL, errors, true);
        else if (flow_tensor_count(gradient) > 0) print_verdict(checking, copy, "(whole graph)", "", gradient, &verdict);
    }
    difference_close(&difference);
    return 0;
}

/* ---- Inputs of the graph ---- */

static int64_t extent_of(const struct command *command, const char *symbol, int64_t otherwise) {
    char *end;
    long long number = strtoll(symbol, &end, 10);
    if (!*end && end != symbol) return number;
    for (size_t i = 0; i < command->extent.count; i++) {
        const char *equals = strchr(command->extent.at[i], '=');
        size_t length = (size_t)(equals - command->extent.at[i]);
        if (strlen(symbol) == length && strncmp(symbol, command->extent.at[i], length) == 0) return strtoll(equals + 1, NULL, 10);
    }
    return strcmp(symbol, "B") == 0 ? 2 : otherwise;
}

/* Random inputs, and, where files give them, those, as f64. */
static int make_inputs(struct checking *checking, const flow_graph *graph, const struct sources *sources, int64_t length, int attempt,
                       struct flow_tensor *inputs) {
    for (size_t i = 0; i < flow_graph_inputs(graph); i++) {
        struct flow_graph_port port = flow_graph_input(graph, i);
        const struct flow_tensor *given = sources->at[i].name ? &sources->at[i].tensor : NULL;
        int64_t shape[FLOW_RANK_MAX], count = 1;
        for (int32_t a = 0; a < port.rank; a++) {
            shape[a] = given && given->rank == port.rank ? given->shape[a] : extent_of(checking->command, port.extents[a], length);
            if (shape[a] < 0 || __builtin_mul_overflow(count, shape[a], &count) || count > 1 << 26)
                return command_say(EXIT_USAGE, "input '%s' would be too large", port.name);
        }
        int32_t dtype = port.dtype == FLOW_F32 ? FLOW_F64 : port.dtype;
        free(inputs[i].data);
        void *data = calloc((size_t)(count > 0 ? count : 1), (size_t)flow_type_bytes(dtype));
        if (!data) return command_say(EXIT_FAILED, "out of memory");
        inputs[i] = flow_tensor_of(data, dtype, port.rank, shape);
        if (!given) fill(&checking->draw, &inputs[i], attempt);
        for (int64_t k = 0; given && k < count; k++) {
            double value = flow_tensor_real(given, k);
            if (dtype == FLOW_F64) ((double *)data)[k] = value;
            else if (dtype == FLOW_I64) ((int64_t *)data)[k] = (int64_t)value;
            else if (dtype == FLOW_I32) ((int32_t *)data)[k] = (int32_t)value;
            else if (dtype == FLOW_U8 || dtype == FLOW_BOOL) ((uint8_t *)data)[k] = (uint8_t)value;
        }
    }
    return 0;
}

static bool runs(flow_graph *graph, const struct flow_named *named, size_t count, flow_errors **errors) {
    flow_session *session = NULL;
    bool done = flow_session_new(graph, NULL, errors, &session) == 0;
    for (size_t i = 0; done && i < count; i++) done = flow_session_input(session, named[i].name, named[i].tensor, errors) == 0;
    done = done && flow_session_run(session, errors) == 0;
    flow_session_free(session);
    return done;
}

/* Lengths until the graph takes one: front ends need many samples, images an odd handful. */
static int find_inputs(struct checking *checking, flow_graph *graph, const struct sources *sources, struct flow_named *named,
                       struct flow_tensor *inputs) {
    static const int64_t lengths[] = {3, 6, 16, 64, 960, 16000};
    size_t count = flow_graph_inputs(graph);
    flow_errors *errors = NULL;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int attempt = 0; attempt < 3; attempt += 2) {
            int rc = make_inputs(checking, graph, sources, lengths[i], attempt, inputs);
            if (rc) {
                flow_errors_free(errors);
                return rc;
            }
            for (size_t k = 0; k < count; k++) named[k] = (struct flow_named){flow_graph_input(graph, k).name, &inputs[k]};
            flow_errors_free(errors);
            errors = NULL;
            if (runs(graph, named, count, &errors)) return 0;
        }
    command_say(EXIT_USAGE, "no random inputs were found that the graph runs on; say --extent SYMBOL=N or --inputs FILE");
    return command_fail_graph(checking->command, errors);
}

int gradients_check(const struct command *command, flow_runtime *runtime) {
    struct command doubled = *command;
    struct checking checking = {.command = command, .runtime = runtime, .tolerance = command->rtol >= 0 ? command->rtol : tolerance};
    struct flow_tensor inputs[MOST_INPUTS] = {0};
    struct flow_named named[MOST_INPUTS];
    struct sources sources = {0};
    flow_graph *graph = NULL;
    checking.draw.key = command->seeded ? command->seed : 1;
    doubled.precision = "f64";
    int rc = grad_graph(&doubled, runtime, &graph);
    if (rc == 0 && flow_graph_inputs(graph) > MOST_INPUTS) rc = command_say(EXIT_USAGE, "a graph of more than %d inputs", MOST_INPUTS);
    if (rc == 0) rc = sources_open(&sources, command, runtime, graph, false);
    if (rc == 0) rc = find_inputs(&checking, graph, &sources, named, inputs);
    if (rc == 0) rc = check_operators(&checking, graph, inputs);
    if (rc == 0 && !checking.designed) rc = check_whole(&checking, graph, named, inputs, flow_graph_inputs(graph));
    if (rc == 0 && !command->quiet && !command->json)
        printf("%d gradients agree with central differences, %d differ, %d were not compared\n", checking.agree, checking.differ,
               checking.unchecked);
    if (rc == 0 && interrupted()) rc = command_say(EXIT_FAILED, "interrupted");
    for (size_t i = 0; graph && i < flow_graph_inputs(graph) && i < MOST_INPUTS; i++) free(inputs[i].data);
    sources_close(&sources);
    flow_graph_free(graph);
    return rc == 0 && checking.differ ? EXIT_FAILED : rc;
}

int gradients_of(flow_runtime *runtime, flow_graph *graph, const struct flow_tensor *inputs, struct gradients_found *found) {
    struct command command = {.name = "check", .graph = "example", .rtol = -1, .quiet = true};
    struct checking checking = {.command = &command, .runtime = runtime, .tolerance = tolerance, .found = found, .draw = {.key = 1}};
    *found = (struct gradients_found){0};
    int rc = check_operators(&checking, graph, inputs);
    found->agree = checking.agree, found->differ = checking.differ, found->unchecked = checking.unchecked;
    return rc ? FLOW_ERROR_GRAPH : 0;
}
