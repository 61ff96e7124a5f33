/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun grad: one run and its gradients. A recorded case (`in.NAME`, `param.NODE.PARAM`, `cot.OUTPUT`) serves as all three files. */
#include "flowrun/grad.h"

#include "flowrun/print.h"
#include "flowrun/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int open_file(flow_runtime *runtime, const char *path, flow_file **file) {
    flow_errors *errors = NULL;
    return path && *path && flow_file_open(runtime, path, &errors, file) < 0 ? command_fail(errors) : 0;
}

static bool has_prefix(const flow_file *file, const char *prefix) {
    for (size_t i = 0; file && i < flow_file_count(file); i++)
        if (strncmp(flow_file_name(file, i), prefix, strlen(prefix)) == 0) return true;
    return false;
}

int grad_graph(const struct command *command, flow_runtime *runtime, flow_graph **graph) {
    flow_file *file = NULL;
    int rc = open_file(runtime, command->weights, &file);
    bool recorded = has_prefix(file, "param.") || has_prefix(file, "in.");
    struct command plain = *command;
    if (recorded) plain.weights = "";
    if (rc == 0) rc = command_graph(&plain, runtime, graph);
    for (size_t i = 0; rc == 0 && recorded && i < flow_file_count(file); i++) {
        const char *name = flow_file_name(file, i);
        flow_errors *errors = NULL;
        if (strncmp(name, "param.", 6) == 0 && flow_graph_set(*graph, name + 6, flow_file_tensor(file, i), &errors) < 0)
            rc = command_fail(errors);
    }
    flow_file_close(file);
    return rc;
}

/* One gradient run. */
struct gradients {
    const struct command *command;
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    struct sources sources;
    flow_file *cotangents;
    double wall; /* seconds of the run, planning included */
};

static int give_cotangents(const struct gradients *run) {
    const flow_file *file = run->cotangents;
    bool recorded = has_prefix(file, "cot.");
    for (size_t i = 0; file && i < flow_file_count(file); i++) {
        const char *name = flow_file_name(file, i);
        flow_errors *errors = NULL;
        if (recorded && strncmp(name, "cot.", 4) != 0) continue;
        if (flow_session_cotangent(run->session, recorded ? name + 4 : name, flow_file_tensor(file, i), &errors) < 0)
            return command_fail(errors);
    }
    return 0;
}

int grad_inputs(flow_session *session, const struct sources *sources) {
    for (size_t i = 0; i < sources->count; i++) {
        const struct source *source = &sources->at[i];
        flow_errors *errors = NULL;
        if (source->wave) return command_say(EXIT_USAGE, "input '%s': gradients need the whole of it, not a stream", source->port.name);
        if (source->name && flow_session_input(session, source->name, &source->tensor, &errors) < 0) return command_fail(errors);
    }
    return 0;
}

static int run_once(struct gradients *run) {
    struct flow_session_options options = {
        .size = sizeof options, .streams = run->command->streams, .gradients = true, .profile = run->command->profile};
    flow_errors *errors = NULL;
    if (flow_session_new(run->graph, &options, &errors, &run->session) < 0) return command_fail(errors);
    interrupt_watch(run->session);
    int rc = sources_open(&run->sources, run->command, run->runtime, run->graph, false);
    if (rc == 0) rc = open_file(run->runtime, run->command->cotangents, &run->cotangents);
    if (rc == 0) rc = give_cotangents(run);
    if (rc == 0) rc = grad_inputs(run->session, &run->sources);
    if (rc) return rc;
    double before = seconds_now();
    rc = flow_session_run(run->session, &errors);
    run->wall = seconds_now() - before;
    if (rc == FLOW_ERROR_CANCELLED && interrupted()) {
        flow_errors_free(errors);
        return command_say(EXIT_FAILED, "interrupted");
    }
    return rc < 0 ? command_fail(errors) : 0;
}

/* "in.x" is written as "grad.in.x". */
static int write_gradients(const struct gradients *run, size_t count) {
    struct flow_named *named = calloc(count + 1, sizeof *named);
    char **names = calloc(count + 1, sizeof *names);
    int rc = named && names ? 0 : command_say(EXIT_FAILED, "out of memory");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *name;
        flow_session_gradient(run->session, i, &name, &named[i].tensor);
        size_t length = strlen(name) + sizeof "grad.";
        names[i] = malloc(length);
        if (!names[i]) rc = command_say(EXIT_FAILED, "out of memory");
        else snprintf(names[i], length, "grad.%s", name);
        named[i].name = names[i];
    }
    flow_errors *errors = NULL;
    if (rc == 0 && flow_file_write(run->runtime, run->command->outputs, named, count, 0, &errors) < 0) rc = command_fail(errors);
    for (size_t i = 0; names && i < count; i++) free(names[i]);
    free(names);
    free(named);
    return rc;
}

struct statistics {
    double norm, low, high;
};

static struct statistics measure(const struct flow_tensor *tensor) {
    struct statistics result = {0, INFINITY, -INFINITY};
    double sum = 0;
    int64_t count = flow_tensor_count(tensor);
    for (int64_t i = 0; i < count; i++) {
        double value = flow_tensor_real(tensor, i);
        sum += value * value;
        if (!(value >= result.low)) result.low = value;
        if (!(value <= result.high)) result.high = value;
    }
    if (!count) result.low = result.high = 0;
    result.norm = sqrt(sum);
    return result;
}

static void json_real(const char *key, double value) {
    if (isfinite(value)) printf(", \"%s\": %.9g", key, value);
    else printf(", \"%s\": null", key);
}

static void print_gradients(const struct gradients *run) {
    bool json = run->command->json;
    const char *name;
    const struct flow_tensor *tensor;
    if (json) fputs("{\"gradients\": [", stdout);
    else printf("%s%-36s %-20s %12s %12s %12s%s\n", DIM, "gradient", "type", "norm", "min", "max", PLAIN);
    for (size_t i = 0; flow_session_gradient(run->session, i, &name, &tensor); i++) {
        struct statistics about = measure(tensor);
        char full[512], type[160];
        snprintf(full, sizeof full, "grad.%s", name);
        if (!json) {
            printf("%s%-36s%s %-20s %12.6g %12.6g %12.6g\n", BOLD, full, PLAIN, print_type(tensor, type, sizeof type), about.norm,
                   about.low, about.high);
            continue;
        }
        fputs(i ? ", {\"name\": " : "{\"name\": ", stdout);
        print_string(stdout, full, strlen(full));
        printf(", \"dtype\": \"%s\", \"shape\": [", flow_type_name(tensor->dtype));
        for (int32_t axis = 0; axis < tensor->rank; axis++) printf("%s%lld", axis ? ", " : "", (long long)tensor->shape[axis]);
        putchar(']');
        json_real("norm", about.norm), json_real("min", about.low), json_real("max", about.high);
        putchar('}');
    }
    if (json)
        printf("], \"arena_bytes\": %lld, \"resident_bytes\": %lld", (long long)flow_session_memory(run->session).arena,
               (long long)peak_memory());
}

static int print_profile(const struct gradients *run) {
    flow_errors *errors = NULL;
    struct profiling profiling = {.profile.size = sizeof profiling.profile, .wall = run->wall, .all = run->command->verbose};
    if (flow_session_profile(run->session, &profiling.profile, &errors) < 0) return command_fail(errors);
    int rc = profile_measure(&profiling, run->runtime);
    if (rc == 0 && run->command->json) fputs(", \"profile\": ", stdout), profile_json(stdout, &profiling);
    else if (rc == 0) profile_print(stderr, &profiling);
    return rc;
}

/* Without cotangents an output of one number is what is differentiated. */
static bool has_scalar(const struct gradients *run) {
    for (size_t o = 0; o < flow_graph_outputs(run->graph); o++)
        if (flow_tensor_count(flow_session_output_at(run->session, o)) == 1) return true;
    return false;
}

static int finish(const struct gradients *run) {
    size_t count = 0;
    const char *name;
    const struct flow_tensor *tensor;
    while (flow_session_gradient(run->session, count, &name, &tensor)) count++;
    if (!count) return command_say(EXIT_USAGE, "%s has no floating input and no parameter to differentiate by", run->command->graph);
    if (!run->cotangents && !has_scalar(run))
        return command_say(EXIT_USAGE, "no output of %s is one number: say by --cotangents FILE what each output receives",
                           run->command->graph);
    int rc = run->command->outputs ? write_gradients(run, count) : 0;
    bool shown = rc == 0 && (run->command->json || (!run->command->outputs && !run->command->quiet));
    if (shown) print_gradients(run);
    if (rc == 0 && run->command->profile) rc = print_profile(run);
    if (shown && run->command->json) fputs("}\n", stdout);
    return rc;
}

int command_grad(struct command *command) {
    struct gradients run = {.command = command};
    if (command->file) return command_say(EXIT_USAGE, "'%s' is one word too many: inputs are given as --inputs FILE", command->file);
    if (command->stream) return command_say(EXIT_USAGE, "a stream is not differentiated: grad runs the whole sequence");
    int rc = command_runtime(command, &run.runtime);
    if (rc == 0) rc = grad_graph(command, run.runtime, &run.graph);
    if (rc == 0) rc = run_once(&run);
    if (rc == 0) rc = finish(&run);
    rc = command_trace(command, run.runtime, rc);
    interrupt_watch(NULL);
    flow_session_free(run.session);
    sources_close(&run.sources);
    flow_file_close(run.cotangents);
    flow_graph_free(run.graph);
    flow_runtime_free(run.runtime);
    return rc;
}
