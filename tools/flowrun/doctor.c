/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun doctor: what this flowrun runs on and with, whether it computes right, and what to do where something is wrong. */
#include "flowrun/doctor.h"

#include "flowrun/print.h"
#include "flowrun/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void finding_add(struct findings *findings, const char *section, const char *name, enum finding_state state, const char *format, ...) {
    struct finding *grown = realloc(findings->at, (findings->count + 1) * sizeof *grown);
    if (!grown) {
        findings->failed = true;
        return;
    }
    findings->at = grown;
    struct finding *finding = &grown[findings->count++];
    *finding = (struct finding){.section = section, .state = state};
    snprintf(finding->name, sizeof finding->name, "%s", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->value, sizeof finding->value, format, arguments);
    va_end(arguments);
}

void finding_advise(struct findings *findings, const char *format, ...) {
    if (!findings->count) return;
    struct finding *finding = &findings->at[findings->count - 1];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->advice, sizeof finding->advice, format, arguments);
    va_end(arguments);
}

/* ---- Plugins ---- */

static const char plugins[] = "Plugins";

static void add_count(char *text, size_t size, uint32_t count, const char *what) {
    size_t used = strlen(text);
    if (count) snprintf(text + used, size - used, "%s%u %s%s", used ? ", " : "", count, what, count == 1 ? "" : "s");
}

static const char *name_in(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The plugin of this name in a folder that is searched before; of a plugin in two folders the first counts. */
static bool find_before(flow_runtime *runtime, size_t index, const struct flow_plugin_file *file, struct flow_plugin_file *before) {
    size_t folder = (size_t)(name_in(file->path) - file->path);
    for (size_t i = 0; i < index && flow_runtime_plugin_file(runtime, i, before); i++)
        if (before->plugin && strcmp(before->plugin, file->plugin) == 0 &&
            (folder != (size_t)(name_in(before->path) - before->path) || strncmp(before->path, file->path, folder) != 0))
            return true;
    return false;
}

static void add_file(struct findings *findings, flow_runtime *runtime, size_t index, const struct flow_plugin_file *file) {
    char text[256] = "";
    const char *name = name_in(file->path);
    struct flow_plugin_file before = {.size = sizeof before};
    if (!file->plugin) {
        finding_add(findings, plugins, name, FINDING_WRONG, "not used: %s", file->why);
        finding_advise(findings, "%s: %s. Mend it, or take it out of the folder", file->path, file->why);
        return;
    }
    add_count(text, sizeof text, file->operators, "operator"), add_count(text, sizeof text, file->optimizers, "optimiser");
    add_count(text, sizeof text, file->sources, "source"), add_count(text, sizeof text, file->kernels, "kernel for others' operators");
    if (find_before(runtime, index, file, &before))
        finding_add(findings, plugins, name, FINDING_NOTE, "not used: plugin '%s' is %s, which comes first", file->plugin, before.path);
    else finding_add(findings, plugins, name, FINDING_GOOD, "%s", text);
}

static void add_folder(struct findings *findings, const char *path, const char *why) {
    struct stat about;
    bool there = stat(path, &about) == 0;
    if (why) {
        finding_add(findings, plugins, "folder", FINDING_WRONG, "%s: %s", path, why);
        finding_advise(findings, "%s %s: mend it, or take it out of --plugin-path or FLOW_PLUGIN_PATH", path, why);
    } else {
        finding_add(findings, plugins, "folder", FINDING_GOOD, "%s%s", path, there ? "" : " (does not exist)");
    }
}

/* Two plugins that offer the same name: a graph has to say which by PLUGIN/NAME. */
static void add_twice(struct findings *findings, const struct flow_operator_info *list, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (strcmp(list[i].op->name, list[i - 1].op->name) != 0) continue;
        const char *one = list[i - 1].file ? list[i - 1].file : "the library", *other = list[i].file ? list[i].file : "the library";
        finding_add(findings, plugins, list[i].op->name, FINDING_WRONG, "is offered twice: by %s and %s", one, other);
        if (strcmp(list[i].plugin, list[i - 1].plugin) == 0)
            finding_advise(findings, "operator %s: take %s or %s out of its folder", list[i].op->name, one, other);
        else
            finding_advise(findings, "operator %s: write %s/%s or %s/%s in graphs", list[i].op->name, list[i - 1].plugin, list[i].op->name,
                           list[i].plugin, list[i].op->name);
    }
}

static void add_index(struct findings *findings, const char *path) {
    struct stat about;
    if (!path) {
        finding_add(findings, plugins, "index", FINDING_NOTE, "none: without HOME or XDG_CACHE_HOME every start opens all plugins");
        return;
    }
    if (stat(path, &about) == 0) finding_add(findings, plugins, "index", FINDING_GOOD, "%s, %lld bytes", path, (long long)about.st_size);
    else finding_add(findings, plugins, "index", FINDING_NOTE, "%s is not there: it cannot be written", path);
}

static int examine_plugins(struct findings *findings, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    struct flow_operator_info *list;
    size_t count, builtin = 0;
    const char *path, *why;
    struct flow_plugin_file file = {.size = sizeof file};
    if (flow_runtime_operators(runtime, &errors, &list, &count, NULL) < 0) return command_fail(errors);
    for (size_t i = 0; i < count; i++) builtin += !list[i].file;
    finding_add(findings, plugins, "built in", builtin ? FINDING_GOOD : FINDING_WRONG, "%zu operators", builtin);
    for (size_t i = 0; flow_runtime_plugin_folder(runtime, i, &path, &why); i++) {
        add_folder(findings, path, why);
        for (size_t k = 0; flow_runtime_plugin_file(runtime, k, &file); k++) {
            const char *slash = strrchr(file.path, '/');
            bool inside = slash && strlen(path) == (size_t)(slash - file.path) && strncmp(file.path, path, strlen(path)) == 0;
            if (inside || strcmp(file.path, path) == 0) add_file(findings, runtime, k, &file);
        }
    }
    add_twice(findings, list, count);
    add_index(findings, flow_runtime_plugin_index(runtime));
    flow_runtime_operators_free(runtime, list, count);
    return 0;
}

/* ---- A graph that runs ---- */

enum { EXTENT = 384 };
static const char test[] = "Self-test";
static const char product[] = "flow: 1\n"
                              "inputs: {a: {dtype: f32, shape: [M, K]}, b: {dtype: f32, shape: [K, N]}}\n"
                              "nodes: {y: {op: matmul, in: [a, b]}}\n"
                              "outputs: {y: y}\n";

/* y[i, j] = sum over k of (i % 5) (j % 7), exactly. */
static bool is_right(const struct flow_tensor *y) {
    for (int64_t i = 0; y && i < EXTENT; i += 17)
        for (int64_t j = 0; j < EXTENT; j += 13)
            if (flow_tensor_real(y, i * EXTENT + j) != (double)((i % 5) * (j % 7) * EXTENT)) return false;
    return y && flow_tensor_count(y) == (int64_t)EXTENT * EXTENT;
}

/* The best of the runs within `seconds`. */
static int time_runs(flow_session *session, double seconds, double *best, flow_errors **errors) {
    double begin = seconds_now(), before = begin;
    *best = 1e9;
    while (before - begin < seconds) {
        if (flow_session_run(session, errors) < 0) return -1;
        double now = seconds_now();
        if (now - before < *best) *best = now - before;
        before = now;
    }
    return 0;
}

static void add_speed(struct findings *findings, flow_runtime *runtime, flow_session *session, flow_errors **errors) {
    double best;
    struct flow_limits limits = {.size = sizeof limits};
    if (time_runs(session, 0.05, &best, errors) < 0 || flow_runtime_limits(runtime, &limits, errors) < 0) return;
    double rate = 2.0 * EXTENT * EXTENT * EXTENT / best, share = limits.flops > 0 ? rate / limits.flops : 1;
    finding_add(findings, test, "speed", share < 0.2 ? FINDING_NOTE : FINDING_GOOD,
                "a product of %d x %d: %.2f ms, %.1f GFLOP/s, %.0f%% of what %d %s can do", EXTENT, EXTENT, 1e3 * best, 1e-9 * rate,
                100 * share, limits.threads, limits.threads == 1 ? "thread" : "threads");
}

static int examine_run(struct findings *findings, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    float *a = malloc(2 * sizeof *a * EXTENT * EXTENT), *b = a ? a + EXTENT * EXTENT : NULL;
    if (!a) return command_say(EXIT_FAILED, "out of memory");
    for (int i = 0; i < EXTENT * EXTENT; i++) a[i] = (float)(i / EXTENT % 5), b[i] = (float)(i % EXTENT % 7);
    struct flow_tensor left = flow_tensor_of(a, FLOW_F32, 2, (int64_t[]){EXTENT, EXTENT});
    struct flow_tensor right = flow_tensor_of(b, FLOW_F32, 2, (int64_t[]){EXTENT, EXTENT});
    bool ran = flow_graph_parse(runtime, "self-test", product, strlen(product), NULL, &errors, &graph) == 0 &&
               flow_session_new(graph, NULL, &errors, &session) == 0 && flow_session_input(session, "a", &left, &errors) == 0 &&
               flow_session_input(session, "b", &right, &errors) == 0 && flow_session_run(session, &errors) == 0;
    bool right_result = ran && is_right(flow_session_output(session, "y"));
    if (right_result) {
        finding_add(findings, test, "result", FINDING_GOOD, "a graph runs, and what it computes is right");
        add_speed(findings, runtime, session, &errors);
    } else {
        finding_add(findings, test, "result", FINDING_WRONG, "%s",
                    ran ? "a graph runs, and what it computes is wrong" : "a graph does not run");
        finding_advise(findings, "%s",
                       flow_errors_count(errors) ? flow_errors_get(errors, 0).text
                                                 : "try FLOW_ISA=base; if that helps, a vector kernel is wrong on this processor");
    }
    flow_errors_free(errors);
    flow_session_free(session);
    flow_graph_free(graph);
    free(a);
    return 0;
}

/* ---- What is printed ---- */

static void show_text(const struct findings *findings) {
    enum { INDENT = 20 };
    size_t width = terminal_width(stdout, 80), number = 0;
    const char *section = NULL;
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->at[i];
        if (!section || strcmp(finding->section, section) != 0) printf("%s%s%s%s\n", section ? "\n" : "", DIM, finding->section, PLAIN);
        section = finding->section;
        const char *mark = finding->state == FINDING_WRONG ? "!" : finding->state == FINDING_NOTE ? "-" : " ";
        printf("%s%s%s %s%s%s", finding->state == FINDING_WRONG ? RED : "", mark, finding->state == FINDING_WRONG ? PLAIN : "", BOLD,
               finding->name, PLAIN);
        size_t at = 2 + terminal_columns(finding->name);
        if (at >= INDENT) putchar('\n'), at = 0;
        terminal_wrap(stdout, finding->value, at, INDENT, width);
    }
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->at[i].state != FINDING_WRONG) continue;
        if (!number) printf("\n%sWhat to do%s\n", RED, PLAIN);
        int wrote = printf("  %zu. ", ++number);
        terminal_wrap(stdout, *findings->at[i].advice ? findings->at[i].advice : findings->at[i].value, (size_t)wrote, (size_t)wrote,
                      width);
    }
    if (!number) printf("\n%sall well%s\n", GREEN, PLAIN);
}

static void put_string(const char *key, const char *value) {
    printf("\"%s\": ", key);
    print_string(stdout, value, strlen(value));
}

static void show_json(const struct findings *findings, bool well) {
    static const char *const states[] = {"good", "note", "wrong"};
    printf("{\"well\": %s, \"findings\": [", well ? "true" : "false");
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->at[i];
        printf("%s\n  {", i ? "," : "");
        put_string("section", finding->section), fputs(", ", stdout), put_string("name", finding->name), fputs(", ", stdout);
        put_string("value", finding->value), fputs(", ", stdout), put_string("state", states[finding->state]);
        if (*finding->advice) fputs(", ", stdout), put_string("advice", finding->advice);
        fputs("}", stdout);
    }
    fputs("\n]}\n", stdout);
}

int command_doctor(struct command *command) {
    struct findings findings = {0};
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    struct flow_machine machine = {.size = sizeof machine};
    int rc = command_runtime(command, &runtime);
    if (rc == 0 && flow_runtime_machine(runtime, &machine, &errors) < 0) rc = command_fail(errors);
    if (rc == 0) {
        doctor_program(&findings);
        doctor_processor(&findings, &machine);
        doctor_memory(&findings);
        doctor_cuda(&findings);
        rc = examine_plugins(&findings, runtime);
    }
    if (rc == 0) rc = examine_run(&findings, runtime);
    if (rc == 0) doctor_terminal(&findings);
    if (rc == 0 && findings.failed) rc = command_say(EXIT_FAILED, "out of memory");
    bool well = true;
    for (size_t i = 0; i < findings.count; i++) well = well && findings.at[i].state != FINDING_WRONG;
    if (rc == 0 && command->json) show_json(&findings, well);
    else if (rc == 0) show_text(&findings);
    free(findings.at);
    flow_runtime_free(runtime);
    return rc ? rc : well ? EXIT_DONE : EXIT_FAILED;
}
