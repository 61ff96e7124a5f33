/* SPDX-License-Identifier: Apache-2.0 */
/* Every recorded case inside one process: single and double precision, one and two threads, and twice in a row with one session. */
#include <criterion/criterion.h>

#include <flow/flow.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) {
        struct flow_error error = flow_errors_get(errors, i);
        fprintf(stderr, "%s:%d:%d: %s\n", error.file ? error.file : "", error.line, error.column, error.text);
    }
    flow_errors_free(errors);
}

static double metadata(const flow_file *file, const char *key, double otherwise) {
    const char *text = flow_file_metadata(file, key);
    return text ? strtod(text, NULL) : otherwise;
}

static bool output_holds(const flow_file *file, const char *name, const struct flow_tensor *found, const struct flow_tensor *expected) {
    bool same = found && found->rank == expected->rank;
    for (int32_t i = 0; same && i < expected->rank; i++) same = found->shape[i] == expected->shape[i];
    if (!same) {
        fprintf(stderr, "  output %s has another shape\n", name);
        return false;
    }
    double largest = 0, worst = 0, rtol = metadata(file, "rtol", 1e-4), atol = metadata(file, "atol", 1e-5);
    for (int64_t i = 0; i < flow_tensor_count(expected); i++) {
        double e = flow_tensor_real(expected, i), f = flow_tensor_real(found, i);
        if (isfinite(e) && fabs(e) > largest) largest = fabs(e);
        double error = isfinite(e) && isfinite(f) ? fabs(e - f) : e == f || (isnan(e) && isnan(f)) ? 0 : INFINITY;
        if (error > worst) worst = error;
    }
    if (worst > atol + rtol * largest) fprintf(stderr, "  output %s is off by %g, allowed %g\n", name, worst, atol + rtol * largest);
    return worst <= atol + rtol * largest;
}

static bool outputs_hold(const flow_graph *graph, const flow_session *session, const flow_file *file) {
    bool holds = true;
    int compared = 0;
    for (size_t i = 0; i < flow_graph_outputs(graph); i++) {
        char name[1100];
        snprintf(name, sizeof name, "out.%s", flow_graph_output(graph, i).name);
        const struct flow_tensor *expected = flow_file_get(file, name);
        if (!expected) continue;
        compared++;
        holds &= output_holds(file, name, flow_session_output_at(session, i), expected);
    }
    return holds && compared > 0;
}

static bool run_case(flow_runtime *runtime, const char *path, const flow_file *file, int32_t precision) {
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    struct flow_graph_options options = {.size = sizeof options, .precision = precision};
    bool holds = flow_graph_open(runtime, path, &options, &errors, &graph) == 0;
    for (size_t i = 0; holds && i < flow_file_count(file); i++) {
        const char *name = flow_file_name(file, i);
        if (strncmp(name, "param.", 6) == 0) holds = flow_graph_set(graph, name + 6, flow_file_tensor(file, i), &errors) == 0;
    }
    holds = holds && flow_session_new(graph, NULL, &errors, &session) == 0;
    for (size_t i = 0; holds && i < flow_graph_inputs(graph); i++) {
        char name[1100];
        snprintf(name, sizeof name, "in.%s", flow_graph_input(graph, i).name);
        const struct flow_tensor *value = flow_file_get(file, name);
        holds = value && flow_session_input(session, name + 3, value, &errors) == 0;
    }
    for (int turn = 0; holds && turn < 2; turn++) holds = flow_session_run(session, &errors) == 0 && outputs_hold(graph, session, file);
    if (errors) show(errors);
    flow_session_free(session);
    flow_graph_free(graph);
    return holds;
}

static void run_all(int threads) {
    glob_t cases;
    cr_assert(glob(SOURCE_DIR "/tests/golden/cases/*/*.yaml", 0, NULL, &cases) == 0, "there are no cases");
    int failed = 0;
    for (size_t i = 0; i < cases.gl_pathc; i++) {
        char recorded[4096];
        const char *path = cases.gl_pathv[i];
        snprintf(recorded, sizeof recorded, "%.*s.safetensors", (int)strlen(path) - 5, path);
        struct flow_runtime_options options = {.size = sizeof options, .threads = threads, .plugin_path = BUILD_DIR "/plugins"};
        flow_errors *errors = NULL;
        flow_runtime *runtime;
        flow_file *file;
        cr_assert(flow_runtime_new(&options, &errors, &runtime) == 0);
        cr_assert(flow_file_open(runtime, recorded, &errors, &file) == 0, "%s cannot be read", recorded);
        for (int precision = 0; precision < 2; precision++) {
            bool holds = run_case(runtime, path, file, precision ? FLOW_F64 : FLOW_F32);
            if (!holds) fprintf(stderr, "%s fails in %s\n", path, precision ? "f64" : "f32");
            failed += !holds;
        }
        flow_file_close(file);
        flow_runtime_free(runtime);
    }
    globfree(&cases);
    cr_assert(failed == 0, "%d cases fail", failed);
}

Test(golden, one_thread) { run_all(1); }
Test(golden, two_threads) { run_all(2); }

/* A file of expected messages: file TAB line:column or - TAB words apart by |. */
static bool refused_well(flow_runtime *runtime, const char *name, const char *place, char *words) {
    char path[2048], at[64];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/invalid/%s", name);
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    struct flow_graph_options options = {.size = sizeof options};
    int rc = flow_graph_open(runtime, path, &options, &errors, &graph);
    if (rc == 0) rc = flow_graph_check(graph, NULL, &errors);
    bool placed = false;
    char *all = calloc(1, 65536);
    for (int32_t i = 0; i < flow_errors_count(errors); i++) {
        struct flow_error error = flow_errors_get(errors, i);
        snprintf(at, sizeof at, "%d:%d", error.line, error.column);
        placed |= strcmp(place, "-") == 0 || strcmp(place, at) == 0;
        snprintf(all + strlen(all), 65536 - strlen(all), "%s:%s: %s\n", error.file ? error.file : "", at, error.text);
    }
    bool good = rc < 0 && placed;
    for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|")) good &= strstr(all, word) != NULL;
    if (!good) fprintf(stderr, "%s (expected at %s):\n%s\n", name, place, all);
    free(all);
    flow_errors_free(errors);
    flow_graph_free(graph);
    return good;
}

Test(golden, invalid) {
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = BUILD_DIR "/plugins"};
    flow_errors *errors = NULL;
    flow_runtime *runtime;
    cr_assert(flow_runtime_new(&options, &errors, &runtime) == 0);
    FILE *list = fopen(SOURCE_DIR "/tests/golden/invalid/expected.tsv", "r");
    cr_assert(list != NULL);
    char line[1024];
    int failed = 0, seen = 0;
    cr_assert(fgets(line, sizeof line, list) != NULL);
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        char *place = strchr(line, '\t'), *words = place ? strchr(place + 1, '\t') : NULL;
        if (!place || !words) continue;
        *place++ = 0, *words++ = 0;
        seen++;
        failed += !refused_well(runtime, line, place, words);
    }
    fclose(list);
    flow_runtime_free(runtime);
    cr_assert(seen > 20 && failed == 0, "%d of %d files are refused badly", failed, seen);
}
