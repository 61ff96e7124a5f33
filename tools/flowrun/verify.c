/* SPDX-License-Identifier: Apache-2.0 */
/* Compares a graph with recorded tensors: `in.NAME`, `param.NODE.PARAM`, `out.NAME`, or tensors named as the outputs. */
#include "flowrun/collect.h"
#include "flowrun/drive.h"
#include "flowrun/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct recorded {
    const struct command *command;
    flow_file *file;
    double rtol, atol;
    struct collect *outputs;
    size_t count;
    int compared, failed;
    bool gradients;
};

static double tolerance(const flow_file *file, const char *key, double given, double otherwise) {
    const char *text = flow_file_metadata(file, key);
    return given >= 0 ? given : text ? strtod(text, NULL) : otherwise;
}

static int give_params(const struct recorded *recorded, flow_graph *graph) {
    for (size_t i = 0; i < flow_file_count(recorded->file); i++) {
        const char *name = flow_file_name(recorded->file, i);
        flow_errors *errors = NULL;
        if (strncmp(name, "param.", 6) == 0 && flow_graph_set(graph, name + 6, flow_file_tensor(recorded->file, i), &errors) < 0)
            return command_fail(errors);
    }
    return 0;
}

static int give_inputs(const struct recorded *recorded, struct drive *drive) {
    for (size_t i = 0; i < flow_file_count(recorded->file); i++) {
        const char *name = flow_file_name(recorded->file, i);
        if (strncmp(name, "in.", 3) != 0) continue;
        int rc = sources_give(&drive->sources, name + 3, flow_file_tensor(recorded->file, i));
        if (rc) return rc;
    }
    for (size_t i = 0; i < drive->sources.count; i++) {
        struct source *source = &drive->sources.at[i];
        const struct flow_tensor *tensor = source->name ? NULL : flow_file_get(recorded->file, source->port.name);
        if (tensor) sources_give(&drive->sources, source->port.name, tensor);
    }
    return 0;
}

static int keep_outputs(void *context, struct drive *drive) {
    struct recorded *recorded = context;
    for (size_t i = 0; i < recorded->count; i++) {
        int32_t axis = drive->symbol[0] ? flow_session_output_axis(drive->session, i) : -1;
        int rc = collect_add(&recorded->outputs[i], flow_session_output_at(drive->session, i), axis);
        if (rc) return rc;
    }
    return 0;
}

/* Leading axes of one aside, is `expected` the first rows of `found`? Models record the beginning of long outputs. */
static bool shapes_fit(const struct flow_tensor *found, const struct flow_tensor *expected, bool exact) {
    const int64_t *a = found->shape, *b = expected->shape;
    int32_t n = found->rank, m = expected->rank;
    if (exact && n != m) return false;
    for (; !exact && n > m && a[0] == 1; n--) a++;
    for (; !exact && m > n && b[0] == 1; m--) b++;
    if (n != m) return false;
    for (int32_t i = 0; i < n; i++)
        if (a[i] != b[i] && (exact || i > 0 || a[i] < b[i])) return false;
    return true;
}

static void compare(struct recorded *recorded, const char *name, const struct flow_tensor *found, const struct flow_tensor *expected,
                    bool exact) {
    char a[160], b[160];
    recorded->compared++;
    if (!shapes_fit(found, expected, exact)) {
        recorded->failed++;
        printf("%sFAIL%s %-24s found %s, expected %s\n", RED, PLAIN, name, print_type(found, a, sizeof a),
               print_type(expected, b, sizeof b));
        return;
    }
    double largest = 0, worst = 0;
    int64_t count = flow_tensor_count(expected), where = -1;
    for (int64_t i = 0; i < count; i++) {
        double e = flow_tensor_real(expected, i), f = flow_tensor_real(found, i);
        if (isfinite(e) && fabs(e) > largest) largest = fabs(e);
        double error = isfinite(e) && isfinite(f) ? fabs(e - f) : (isnan(e) && isnan(f)) || e == f ? 0 : INFINITY;
        if (error > worst || where < 0) worst = error, where = i;
    }
    double allowed = recorded->atol + recorded->rtol * largest;
    bool holds = worst <= allowed;
    if (!holds) recorded->failed++;
    if (!holds || !recorded->command->quiet)
        printf("%s%s%s %-24s %-20s off by %.3g, allowed %.3g%s", holds ? GREEN : RED, holds ? "ok  " : "FAIL", PLAIN, name,
               print_type(expected, b, sizeof b), worst, allowed, holds ? "\n" : "");
    if (!holds)
        printf(" (element %lld: found %.9g, expected %.9g)\n", (long long)where, flow_tensor_real(found, where),
               flow_tensor_real(expected, where));
}

/* Gradients that the file records, by the cotangents it gives. */
static int compare_gradients(struct recorded *recorded, const struct drive *drive) {
    const char *name;
    const struct flow_tensor *found;
    for (size_t i = 0; flow_session_gradient(drive->session, i, &name, &found); i++) {
        char full[512];
        snprintf(full, sizeof full, "grad.%s", name);
        const struct flow_tensor *expected = flow_file_get(recorded->file, full);
        if (expected) compare(recorded, full, found, expected, true);
    }
    return 0;
}

static int give_cotangents(const struct recorded *recorded, struct drive *drive) {
    for (size_t i = 0; i < flow_file_count(recorded->file); i++) {
        const char *name = flow_file_name(recorded->file, i);
        flow_errors *errors = NULL;
        if (strncmp(name, "cot.", 4) != 0) continue;
        if (flow_session_cotangent(drive->session, name + 4, flow_file_tensor(recorded->file, i), &errors) < 0) return command_fail(errors);
    }
    return 0;
}

/* Parameters after training on the recorded inputs, as `train` says. */
static int compare_trained(struct recorded *recorded, flow_trainer *trainer) {
    struct flow_event event = {.size = sizeof event};
    flow_errors *errors = NULL;
    while (event.kind != FLOW_EVENT_END)
        if (flow_trainer_next(trainer, &event, &errors) < 0) return command_fail(errors);
    const char *name;
    const struct flow_tensor *found;
    for (size_t i = 0; (found = flow_trainer_parameter(trainer, i, &name)); i++) {
        char full[512];
        snprintf(full, sizeof full, "after.%s", name);
        const struct flow_tensor *expected = flow_file_get(recorded->file, full);
        if (expected) compare(recorded, full, found, expected, true);
    }
    return 0;
}

static int train(struct recorded *recorded, flow_runtime *runtime) {
    flow_graph *graph = NULL;
    flow_trainer *trainer = NULL;
    flow_errors *errors = NULL;
    int rc = command_graph(recorded->command, runtime, &graph);
    if (rc == 0) rc = give_params(recorded, graph);
    struct flow_trainer_options options = {.size = sizeof options, .streams = recorded->command->streams};
    if (rc == 0 && flow_trainer_new(graph, &options, &errors, &trainer) < 0) rc = command_fail(errors);
    for (size_t i = 0; rc == 0 && i < flow_file_count(recorded->file); i++) {
        const char *name = flow_file_name(recorded->file, i);
        if (strncmp(name, "in.", 3) != 0) continue;
        if (flow_trainer_input(trainer, name + 3, flow_file_tensor(recorded->file, i), &errors) < 0) rc = command_fail(errors);
    }
    if (rc == 0) rc = compare_trained(recorded, trainer);
    flow_trainer_free(trainer);
    flow_graph_free(graph);
    return rc;
}

static bool records(const flow_file *file, const char *prefix) {
    for (size_t i = 0; i < flow_file_count(file); i++)
        if (strncmp(flow_file_name(file, i), prefix, strlen(prefix)) == 0) return true;
    return false;
}

static int compare_all(struct recorded *recorded, const struct drive *drive) {
    for (size_t i = 0; i < recorded->count; i++) {
        char name[512];
        snprintf(name, sizeof name, "out.%s", flow_graph_output(drive->graph, i).name);
        const struct flow_tensor *expected = flow_file_get(recorded->file, name);
        bool exact = expected != NULL;
        if (!expected) expected = flow_file_get(recorded->file, name + 4);
        if (!expected) continue;
        struct flow_tensor found;
        int rc = collect_join(&recorded->outputs[i], &found);
        if (rc) return rc;
        compare(recorded, name + 4, &found, expected, exact);
        free(found.data);
    }
    if (recorded->gradients) compare_gradients(recorded, drive);
    if (!recorded->compared) return command_say(EXIT_FAILED, "%s records none of the graph's outputs", recorded->command->file);
    return recorded->failed ? EXIT_FAILED : EXIT_DONE;
}

/* What the run before gave is compared, and made once more from the start. */
static int run_again(struct recorded *recorded, struct drive *drive) {
    int rc = compare_all(recorded, drive);
    for (size_t i = 0; i < recorded->count; i++) collect_free(&recorded->outputs[i]), recorded->outputs[i] = (struct collect){0};
    flow_session_reset(drive->session);
    drive->fed = 0;
    return rc == 0 ? drive_run(drive, keep_outputs, recorded) : rc;
}

static int verify(struct recorded *recorded, flow_runtime *runtime, flow_graph *graph) {
    struct drive drive = {0};
    recorded->rtol = tolerance(recorded->file, "rtol", recorded->command->rtol, 1e-4);
    recorded->atol = tolerance(recorded->file, "atol", recorded->command->atol, 1e-5);
    recorded->count = flow_graph_outputs(graph);
    recorded->outputs = calloc(recorded->count ? recorded->count : 1, sizeof *recorded->outputs);
    if (!recorded->outputs) return command_say(EXIT_FAILED, "out of memory");
    int rc = give_params(recorded, graph);
    recorded->gradients = !recorded->command->stream && records(recorded->file, "grad.");
    drive.gradients = recorded->gradients, drive.again = recorded->command->runs > 1;
    if (rc == 0) rc = drive_open(&drive, recorded->command, runtime, graph);
    if (rc == 0 && recorded->gradients) rc = give_cotangents(recorded, &drive);
    if (rc == 0) rc = give_inputs(recorded, &drive);
    if (rc == 0) rc = drive_run(&drive, keep_outputs, recorded);
    for (int64_t run = 1; rc == 0 && run < recorded->command->runs; run++) rc = run_again(recorded, &drive);
    if (rc == 0 && !recorded->command->stream && records(recorded->file, "after.")) rc = train(recorded, runtime);
    if (rc == 0) rc = compare_all(recorded, &drive);
    drive_close(&drive);
    for (size_t i = 0; i < recorded->count; i++) collect_free(&recorded->outputs[i]);
    free(recorded->outputs);
    return rc;
}

int command_verify(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    struct recorded recorded = {.command = command};
    if (!command->graph || !command->file) return command_say(EXIT_USAGE, "verify needs a graph and a file of recorded tensors");
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = command_graph(command, runtime, &graph);
    flow_errors *errors = NULL;
    if (rc == 0 && flow_file_open(runtime, command->file, &errors, &recorded.file) < 0) rc = command_fail(errors);
    if (rc == 0) rc = verify(&recorded, runtime, graph);
    flow_graph_free(graph);
    flow_file_close(recorded.file);
    flow_runtime_free(runtime);
    return rc;
}
