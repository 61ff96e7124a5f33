/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun import: an ONNX model as a graph and its weights. */
#include "flowrun/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef FLOWRUN_ONNX
#include "onnx/import.h"

static int read_model(const char *path, uint8_t **bytes, size_t *size) {
    struct stat about;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return command_say(EXIT_FAILED, "%s: %s", path, strerror(errno));
    int status = 0;
    if (fstat(file, &about) < 0 || !S_ISREG(about.st_mode)) status = command_say(EXIT_FAILED, "%s is no file", path);
    *size = status ? 0 : (size_t)about.st_size;
    *bytes = malloc(*size + 1);
    if (!*bytes && !status) status = command_say(EXIT_FAILED, "out of memory");
    for (size_t at = 0; at < *size && !status;) {
        ssize_t got = read(file, *bytes + at, *size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = command_say(EXIT_FAILED, "%s: %s", path, strerror(errno));
        else if (got == 0) *size = at; /* it became shorter */
        else at += (size_t)got;
    }
    close(file);
    return status;
}

/* Paths are made of at most this many characters. */
enum { PATH = 4096 };

struct target {
    char graph[PATH], weights[PATH], folder[PATH], title[256];
    const char *weights_file; /* within `weights` */
};

/* The name without folder and ending. */
static void stem(char *to, size_t room, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    snprintf(to, room, "%.*s", dot && dot > name ? (int)(dot - name) : (int)strlen(name), name);
}

static int find_target(const struct command *command, struct target *target) {
    const char *out = command->written, *slash = strrchr(command->graph, '/');
    stem(target->title, sizeof target->title, out ? out : command->graph);
    size_t length = out ? strlen(out) : 0;
    if (out && (length < 6 || strcmp(out + length - 5, ".yaml") != 0))
        return command_say(EXIT_USAGE, "--output takes NAME.yaml, found '%s'", out);
    int a = out ? snprintf(target->graph, PATH, "%s", out) : snprintf(target->graph, PATH, "%s.yaml", target->title);
    int b = snprintf(target->folder, PATH, "%.*s", slash ? (int)(slash - command->graph) + 1 : 2, slash ? command->graph : "./");
    if (a >= PATH || b >= PATH) return command_say(EXIT_USAGE, "the path is too long");
    int c = snprintf(target->weights, PATH, "%.*s.safetensors", a - 5, target->graph);
    if (c >= PATH) return command_say(EXIT_USAGE, "the path is too long");
    slash = strrchr(target->weights, '/');
    target->weights_file = slash ? slash + 1 : target->weights;
    return 0;
}

static int refused(const struct command *command, const struct onnx_result *made, int rc) {
    for (size_t i = 0; i < made->refusal_count; i++) fprintf(stderr, "%s: %s\n", command->graph, made->refusals[i]);
    if (!made->refusal_count) return command_say(EXIT_FAILED, "%s: %s", command->graph, flow_status_text(rc));
    return command_say(EXIT_FAILED, "%zu %s not covered: nothing was written", made->refusal_count,
                       made->refusal_count == 1 ? "thing is" : "things are");
}

/* What was made is read back before anything is written. */
static int check_made(const struct command *command, flow_runtime *runtime, const struct target *target, const struct onnx_result *made) {
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    struct flow_graph_options options = {.size = sizeof options, .weights = ""};
    int rc = flow_graph_parse(runtime, target->graph, made->yaml, made->yaml_size, &options, &errors, &graph);
    if (rc == 0) rc = flow_graph_check(graph, NULL, &errors);
    flow_graph_free(graph);
    if (rc == 0) return 0;
    command_fail_graph(command, errors);
    return command_say(EXIT_FAILED, "the model is read, but what it became is not a right graph: nothing was written");
}

static int write_made(flow_runtime *runtime, const struct target *target, const struct onnx_result *made) {
    flow_errors *errors = NULL;
    struct flow_named *tensors = calloc(made->weight_count + 1, sizeof *tensors);
    if (!tensors) return command_say(EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < made->weight_count; i++) tensors[i] = (struct flow_named){made->weights[i].name, &made->weights[i].tensor};
    int rc = made->weight_count ? flow_file_write(runtime, target->weights, tensors, made->weight_count, 0, &errors) : 0;
    if (rc == 0) rc = flow_file_write_bytes(runtime, target->graph, made->yaml, made->yaml_size, &errors);
    free(tensors);
    return rc < 0 ? command_fail(errors), EXIT_FAILED : 0;
}

static void tell(const struct target *target, const struct onnx_result *made) {
    int64_t numbers = 0;
    for (size_t i = 0; i < made->weight_count; i++) numbers += flow_tensor_count(&made->weights[i].tensor);
    printf("%s: %zu nodes, of %zu in the model\n", target->graph, made->node_count, made->source_count);
    if (made->weight_count) printf("%s: %zu tensors, %lld numbers\n", target->weights, made->weight_count, (long long)numbers);
    for (size_t i = 0; i < made->hint_count; i++) printf("hint: %s\n", made->hints[i]);
}

int command_import(struct command *command) {
    struct target target;
    struct onnx_result made = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    flow_runtime *runtime = NULL;
    int status = find_target(command, &target);
    if (status == 0) status = read_model(command->graph, &bytes, &size);
    struct onnx_options options = {.title = target.title,
                                   .weights_file = target.weights_file,
                                   .folder = target.folder,
                                   .set = command->set.at,
                                   .set_count = command->set.count,
                                   .state = command->state.at,
                                   .state_count = command->state.count};
    int rc = status == 0 ? onnx_import(bytes, size, &options, &made) : 0;
    if (rc < 0) status = refused(command, &made, rc);
    if (status == 0) status = command_runtime(command, &runtime);
    if (status == 0) status = check_made(command, runtime, &target, &made);
    if (status == 0) status = write_made(runtime, &target, &made);
    if (status == 0 && !command->quiet) tell(&target, &made);
    flow_runtime_free(runtime);
    onnx_result_free(&made);
    free(bytes);
    return status;
}

#else

int command_import(struct command *command) {
    return command_say(EXIT_FAILED, "%s: this flowrun was built without protobuf-c, which import needs (tools/setup installs it)",
                       command->graph);
}

#endif
