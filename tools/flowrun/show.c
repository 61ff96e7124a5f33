/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/show.h"

#include "flowrun/drive.h"
#include "flowrun/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Times by node, names owned. */
struct times {
    struct flow_draw_time *at;
    size_t count;
};

static int add_time(struct times *times, const char *node, double seconds) {
    struct flow_draw_time *grown = realloc(times->at, (times->count + 1) * sizeof *grown);
    if (!grown) return command_say(EXIT_FAILED, "out of memory");
    times->at = grown;
    char *name = strdup(node);
    if (!name) return command_say(EXIT_FAILED, "out of memory");
    times->at[times->count++] = (struct flow_draw_time){name, seconds};
    return 0;
}

static void times_free(struct times *times) {
    for (size_t i = 0; i < times->count; i++) free((char *)times->at[i].node);
    free(times->at);
}

/* ---- --times FILE ---- */

static char *read_whole(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t room = 0, got = 1;
    *length = 0;
    while (file && got > 0) {
        if (*length + 65536 > room) {
            char *grown = realloc(text, room = 2 * room + 65536);
            if (!grown) break;
            text = grown;
        }
        got = fread(text + *length, 1, room - *length, file);
        *length += got;
    }
    bool whole = file && got == 0 && !ferror(file);
    if (file) fclose(file);
    if (whole) return text;
    free(text);
    return NULL;
}

static int read_times(const char *path, struct times *times) {
    size_t length;
    char *text = read_whole(path, &length);
    if (!text) return command_say(EXIT_FAILED, "%s cannot be read: %s", path, errno ? strerror(errno) : "out of memory");
    struct json_document document = json_read(text, length);
    const struct json *profile = json_get(document.root, "profile"), *nodes = json_get(profile ? profile : document.root, "nodes");
    int rc = nodes && nodes->kind == JSON_LIST
                 ? 0
                 : command_say(EXIT_USAGE, "%s holds no times: it is to be what `flowrun run GRAPH --profile --json` prints", path);
    for (const struct json *row = rc == 0 ? nodes->first : NULL; row && rc == 0; row = row->next) {
        double seconds = json_number(row, "seconds");
        if (json_text(row, "node") && seconds >= 0) rc = add_time(times, json_text(row, "node"), seconds);
    }
    json_free(&document);
    free(text);
    return rc;
}

/* ---- --profile ---- */

static int nothing(void *context, struct drive *drive) {
    (void)context, (void)drive;
    return 0;
}

static int run_times(const struct command *command, flow_runtime *runtime, flow_graph *graph, struct times *times) {
    struct drive drive = {0};
    const struct flow_times *rows;
    size_t count;
    int rc = drive_open(&drive, command, runtime, graph);
    if (rc == 0) rc = drive_run(&drive, nothing, NULL);
    if (rc == 0 && flow_session_times(drive.session, &rows, &count) < 0) rc = command_say(EXIT_FAILED, "no times were taken");
    for (size_t i = 0; rc == 0 && i < count; i++) rc = add_time(times, rows[i].node, rows[i].seconds);
    drive_close(&drive);
    return rc;
}

/* ---- The command ---- */

static const char *format_of(const struct command *command) {
    static const char *const endings[][2] = {{".html", "html"}, {".svg", "svg"},     {".dot", "dot"},
                                             {".gv", "dot"},    {".mmd", "mermaid"}, {".json", "json"}};
    if (command->format) return command->format;
    size_t length = command->written ? strlen(command->written) : 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (length > strlen(endings[i][0]) && strcmp(command->written + length - strlen(endings[i][0]), endings[i][0]) == 0)
            return endings[i][1];
    return "svg";
}

static int show(const struct command *command, flow_runtime *runtime, flow_graph *graph, const struct times *times) {
    char symbol[64];
    snprintf(symbol, sizeof symbol, "%.*s", command->stream ? (int)strcspn(command->stream, "=") : 0,
             command->stream ? command->stream : "");
    struct flow_draw_options options = {.size = sizeof options,
                                        .format = format_of(command),
                                        .stream = command->stream ? symbol : NULL,
                                        .extents = command->extent.at,
                                        .extent_count = command->extent.count,
                                        .streams = command->streams,
                                        .times = times->at,
                                        .time_count = times->count,
                                        .depth = command->depth,
                                        .unfold = command->unfold};
    struct markup out = {0};
    int rc = 0;
    if (strcmp(options.format, "html") == 0) {
        rc = show_page(graph, &options, &out);
    } else {
        flow_errors *errors = NULL;
        char *text;
        if (flow_graph_draw_as(graph, &options, &errors, &text) < 0) return command_fail(errors);
        markup_bytes(&out, text, strlen(text));
        flow_text_free(text);
    }
    if (rc == 0 && command->written) return markup_write(&out, runtime, command->written);
    if (rc == 0 && out.failed) rc = command_say(EXIT_FAILED, "out of memory");
    if (rc == 0 && fwrite(out.at, 1, out.length, stdout) != out.length)
        rc = command_say(EXIT_FAILED, "standard output could not be written");
    free(out.at);
    return rc;
}

int command_show(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    struct times times = {0};
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = command_graph(command, runtime, &graph);
    if (rc == 0 && command->times) rc = read_times(command->times, &times);
    if (rc == 0 && command->profile) rc = run_times(command, runtime, graph, &times);
    if (rc == 0) rc = show(command, runtime, graph, &times);
    times_free(&times);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc;
}
