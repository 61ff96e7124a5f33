/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *option_or_run(const char *given, const flow_graph *graph, const char *key) {
    return given ? given : flow_graph_run_option(graph, key);
}

/* "T", "T=160" or "T=1,7,160". */
static int parse_stream(struct drive *drive, const char *text) {
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    if (length == 0 || length >= sizeof drive->symbol) return command_say(EXIT_USAGE, "--stream takes SYMBOL=EXTENT, found '%s'", text);
    memcpy(drive->symbol, text, length);
    if (!equals) drive->pieces[drive->piece_count++] = 160;
    for (const char *at = equals; at && drive->piece_count < sizeof drive->pieces / sizeof *drive->pieces;) {
        char *end;
        long long extent = strtoll(at + 1, &end, 10);
        if (end == at + 1 || extent < 1 || (*end && *end != ','))
            return command_say(EXIT_USAGE, "--stream takes SYMBOL=EXTENT with extents of at least 1, found '%s'", text);
        drive->pieces[drive->piece_count++] = extent;
        at = *end ? end : NULL;
    }
    return 0;
}

static int bind_feedback(struct drive *drive, const char *input, const char *output) {
    flow_errors *errors = NULL;
    drive->feeds_itself = true;
    return flow_session_feedback(drive->session, input, output, &errors) < 0 ? command_fail(errors) : 0;
}

static int open_feedback(struct drive *drive) {
    const struct command *command = drive->command;
    for (size_t i = 0; i < command->feedback.count; i++) {
        char input[256];
        const char *pair = command->feedback.at[i], *equals = strchr(pair, '=');
        snprintf(input, sizeof input, "%.*s", (int)(equals - pair), pair);
        int rc = bind_feedback(drive, input, equals + 1);
        if (rc) return rc;
    }
    const char *name, *value;
    for (size_t i = 0; !command->feedback.count && flow_graph_run_entry(drive->graph, "feedback", i, &name, &value); i++) {
        int rc = bind_feedback(drive, name, value);
        if (rc) return rc;
    }
    return 0;
}

int drive_open(struct drive *drive, const struct command *command, flow_runtime *runtime, flow_graph *graph) {
    *drive = (struct drive){.command = command, .runtime = runtime, .graph = graph, .gradients = drive->gradients, .again = drive->again};
    const char *stream = option_or_run(command->stream, graph, "stream"), *steps = flow_graph_run_option(graph, "steps");
    int rc = stream ? parse_stream(drive, stream) : 0;
    if (rc) return rc;
    drive->steps = command->steps ? command->steps : steps ? strtoll(steps, NULL, 10) : 1;
    drive->until = flow_graph_run_option(graph, "until");
    struct flow_session_options options = {.size = sizeof options,
                                           .streams = command->streams,
                                           .stream = stream ? drive->symbol : NULL,
                                           .profile = command->profile,
                                           .spread = command->spread,
                                           .uncaptured = command->uncaptured,
                                           .checked = command->checked ? FLOW_CHECK_MEMORY | FLOW_CHECK_FINITE : 0,
                                           .gradients = drive->gradients};
    flow_errors *errors = NULL;
    if (flow_session_new(graph, &options, &errors, &drive->session) < 0) return command_fail(errors);
    interrupt_watch(drive->session);
    rc = open_feedback(drive);
    if (rc == 0)
        rc = sources_open(&drive->sources, command, runtime, graph, stream && !drive->feeds_itself && !command->page && !drive->again);
    return rc;
}

void drive_close(struct drive *drive) {
    interrupt_watch(NULL);
    sources_close(&drive->sources);
    flow_session_free(drive->session);
}

static int stopped_or_failed(int rc, flow_errors *errors) {
    if (rc != FLOW_ERROR_CANCELLED || !interrupted()) return command_fail(errors);
    flow_errors_free(errors);
    return command_say(EXIT_FAILED, "interrupted");
}

static int run_once(struct drive *drive, bool last) {
    flow_errors *errors = NULL;
    double start = seconds_now();
    int rc = last ? flow_session_finish(drive->session, &errors) : flow_session_run(drive->session, &errors);
    double took = seconds_now() - start;
    if (drive->runs++ == 0) drive->first_seconds = took;
    drive->seconds += took;
    return rc < 0 ? stopped_or_failed(rc, errors) : 0;
}

static int bind(struct drive *drive, const char *name, const struct flow_tensor *tensor) {
    flow_errors *errors = NULL;
    return flow_session_input(drive->session, name, tensor, &errors) < 0 ? command_fail(errors) : 0;
}

static int bind_whole(struct drive *drive) {
    for (size_t i = 0; i < drive->sources.count; i++) {
        struct source *source = &drive->sources.at[i];
        if (!source->name) continue;
        if (source->wave) return command_say(EXIT_USAGE, "input '%s' comes from standard input: say --stream SYMBOL=EXTENT", source->name);
        int rc = bind(drive, source->name, &source->tensor);
        if (rc) return rc;
    }
    return 0;
}

static int32_t axis_of(const struct drive *drive, const struct source *source) {
    for (int32_t axis = 0; axis < source->port.rank; axis++)
        if (strcmp(source->port.extents[axis], drive->symbol) == 0) return axis;
    return -1;
}

/* Binds the next piece of every input that streams; *got: its extent, the same for all. */
static int bind_piece(struct drive *drive, int64_t want, float *samples, int64_t *got) {
    *got = -1;
    for (size_t i = 0; i < drive->sources.count; i++) {
        struct source *source = &drive->sources.at[i];
        int32_t axis = source->name ? axis_of(drive, source) : -1;
        if (axis < 0) continue;
        struct flow_tensor piece = source->tensor;
        int64_t extent;
        if (source->wave) {
            flow_errors *errors = NULL;
            int channels = flow_wave_channels(source->wave);
            int rc = flow_wave_next(source->wave, want, want, samples, want, &extent, &errors);
            if (rc < 0) return stopped_or_failed(rc, errors);
            piece = source->port.rank == 1 ? flow_tensor_of(samples, FLOW_F32, 1, &extent)
                                           : flow_tensor_of(samples, FLOW_F32, 2, (int64_t[]){channels, extent});
            if (source->port.rank > 1) piece.strides[0] = want;
        } else {
            int64_t left = source->tensor.shape[axis] - drive->fed;
            extent = left < want ? left : want;
            piece.shape[axis] = extent;
            piece.data = (char *)piece.data + drive->fed * piece.strides[axis] * flow_type_bytes(piece.dtype);
        }
        if (*got >= 0 && *got != extent)
            return command_say(EXIT_FAILED, "inputs end at different places along %s: %lld more for one, %lld for '%s'", drive->symbol,
                               (long long)*got, (long long)extent, source->name);
        *got = extent;
        int rc = bind(drive, source->name, &piece);
        if (rc) return rc;
    }
    return *got < 0 ? command_say(EXIT_USAGE, "no input that is given has an axis '%s'", drive->symbol) : 0;
}

static int bind_fixed(struct drive *drive) {
    for (size_t i = 0; i < drive->sources.count; i++) {
        struct source *source = &drive->sources.at[i];
        if (!source->name || axis_of(drive, source) >= 0) continue;
        int rc = bind(drive, source->name, &source->tensor);
        if (rc) return rc;
    }
    return 0;
}

static int run_pieces(struct drive *drive, int (*each)(void *, struct drive *), void *context) {
    int64_t longest = 1;
    int channels = 1;
    for (size_t i = 0; i < drive->piece_count; i++)
        if (drive->pieces[i] > longest) longest = drive->pieces[i];
    for (size_t i = 0; i < drive->sources.count; i++)
        if (drive->sources.at[i].wave && flow_wave_channels(drive->sources.at[i].wave) > channels)
            channels = flow_wave_channels(drive->sources.at[i].wave);
    if (longest > INT64_MAX / 64 / channels) return command_say(EXIT_USAGE, "a piece of %lld is too long", (long long)longest);
    float *samples = malloc((size_t)longest * (size_t)channels * sizeof *samples);
    if (!samples) return command_say(EXIT_FAILED, "out of memory");
    int rc = bind_fixed(drive);
    for (size_t turn = 0; rc == 0; turn++) {
        int64_t got;
        rc = bind_piece(drive, drive->pieces[turn % drive->piece_count], samples, &got);
        bool last = rc == 0 && got == 0;
        if (rc == 0) rc = interrupted() ? command_say(EXIT_FAILED, "interrupted") : run_once(drive, last);
        if (rc == 0) drive->fed += got, rc = each(context, drive);
        if (last) break;
    }
    free(samples);
    return rc;
}

static bool ends(const struct drive *drive) {
    const struct flow_tensor *flag = drive->until ? flow_session_output(drive->session, drive->until) : NULL;
    for (int64_t i = 0; flag && i < flow_tensor_count(flag); i++)
        if (flow_tensor_real(flag, i) != 0) return true;
    return false;
}

int drive_run(struct drive *drive, int (*each)(void *context, struct drive *drive), void *context) {
    if (drive->symbol[0] && !drive->feeds_itself) return run_pieces(drive, each, context);
    int rc = bind_whole(drive);
    for (int64_t step = 0; rc == 0 && step < drive->steps; step++) {
        rc = run_once(drive, false);
        if (rc == 0) rc = each(context, drive);
        if (ends(drive)) break;
    }
    return rc;
}
