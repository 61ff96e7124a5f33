/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/record.h"

#include "flowrun/json.h"
#include "flowrun/report.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const double line_every = 0.1, page_every = 5; /* seconds */
enum { LINES_AT_FIRST = 1000 };                       /* steps that are written however fast they come */

/* ---- The folder ---- */

/* The first `checkpoint: {dir}`, of the whole or of a stage. */
static const char *checkpoint_dir(const struct json *train) {
    const char *dir = json_text(json_get(train, "checkpoint"), "dir");
    const struct json *stages = json_get(train, "stages");
    for (const struct json *stage = stages ? stages->first : NULL; stage && !dir; stage = stage->next) dir = checkpoint_dir(stage);
    return dir;
}

/* The graph's name, else its file's. */
static void name_of(const struct command *command, const flow_graph *graph, char *name, size_t size) {
    const char *given = flow_graph_name(graph), *slash = strrchr(command->graph, '/');
    if (!given || !*given) given = slash ? slash + 1 : command->graph;
    size_t length = strlen(given), end = length > 5 && strcmp(given + length - 5, ".yaml") == 0 ? length - 5 : length;
    snprintf(name, size, "%.*s", (int)(end < 200 ? end : 200), given);
}

/* runs/NAME */
static void usual_folder(const struct command *command, const flow_graph *graph, char *folder, size_t size) {
    char name[256];
    name_of(command, graph, name, sizeof name);
    for (char *c = name; *c; c++)
        if (*c == '/' || (unsigned char)*c < 0x20) *c = '_';
    if (name[0] == '.') name[0] = '_';
    snprintf(folder, size, "runs/%s", name);
}

static int make_folder(const char *path) {
    char part[4096];
    size_t length = strlen(path);
    if (!length || length >= sizeof part) return command_say(EXIT_FAILED, "'%.100s..': this is no folder's name", path);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i]) continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return command_say(EXIT_FAILED, "folder %s cannot be made: %s", part, strerror(errno));
    }
    struct stat about;
    if (stat(path, &about) < 0 || !S_ISDIR(about.st_mode)) return command_say(EXIT_FAILED, "%s is not a folder", path);
    if (access(path, W_OK | X_OK) < 0) return command_say(EXIT_FAILED, "folder %s cannot be written to: %s", path, strerror(errno));
    return 0;
}

void record_open(struct record *record, const struct command *command, flow_runtime *runtime, flow_graph *graph, char *training) {
    *record =
        (struct record){.command = command, .runtime = runtime, .graph = graph, .training = training, .lines = -1, .status = "running"};
    struct json_document train = json_read(training, strlen(training));
    const char *dir = command->dir ? command->dir : checkpoint_dir(train.root);
    if (dir) snprintf(record->folder, sizeof record->folder, "%s", dir);
    else usual_folder(command, graph, record->folder, sizeof record->folder);
    json_free(&train);
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local)) strftime(record->started, sizeof record->started, "%Y-%m-%d %H:%M:%S", &local);
    flow_errors *errors = NULL;
    if (flow_graph_draw(graph, "svg", &errors, &record->drawing) < 0) record->drawing = NULL, flow_errors_free(errors);
}

static void path_of(const struct record *record, const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s", record->folder, name);
}

static void give_up(struct record *record, const char *path) {
    if (!record->broken) command_say(EXIT_FAILED, "%s cannot be written: %s; training goes on, its curve ends here", path, strerror(errno));
    record->broken = true;
}

/* ---- metrics.jsonl ---- */

static void keep_line(void *context, const char *line) {
    struct markup *kept = context;
    markup_bytes(kept, line, strlen(line));
    markup_bytes(kept, "\n", 1);
}

/* A resumed run goes on where its checkpoint was made: lines beyond it, and a torn one, are cut off. A new run starts a new file. */
static int begin_lines(struct record *record, const struct flow_event *event) {
    char path[4096];
    struct markup kept = {0};
    struct history *history = &record->history;
    path_of(record, "metrics.jsonl", path, sizeof path);
    int rc = make_folder(record->folder);
    if (rc) return rc;
    record->begun = true;
    if (record->command->resume && event->total > 0) history_read(history, path, event->total, keep_line, &kept);
    record->before_seconds = history->seconds, record->before_waited = history->waited, history->damaged = 0;
    struct stat about;
    bool plain = lstat(path, &about) < 0 || S_ISREG(about.st_mode);
    if (plain && markup_write(&kept, record->runtime, path)) record->broken = true;
    free(kept.at);
    if (record->broken) return 0;
    record->lines = open(path, O_WRONLY | O_APPEND | O_CLOEXEC, 0666);
    if (record->lines < 0) give_up(record, path);
    return 0;
}

/* One write: a line is there or not, but for a crash in the middle of it, which readers expect. */
static void append_line(struct record *record, const struct flow_event *event, double mean_loss) {
    struct markup line = {0};
    history_line(&line, event, mean_loss);
    markup_bytes(&line, "\n", 1);
    for (size_t done = 0; record->lines >= 0 && !line.failed && done < line.length;) {
        ssize_t wrote = write(record->lines, line.at + done, line.length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            char path[4096];
            path_of(record, "metrics.jsonl", path, sizeof path);
            give_up(record, path);
            close(record->lines);
            record->lines = -1;
            break;
        }
        done += (size_t)wrote;
    }
    free(line.at);
}

static void add_line(struct record *record, const struct flow_event *event) {
    struct flow_event mean = *event;
    double now = seconds_now();
    bool step = event->kind == FLOW_EVENT_STEP;
    if (step && isfinite(event->loss)) record->loss_sum += event->loss, record->loss_count++;
    if (step && record->line_count >= LINES_AT_FIRST && now - record->line_at < line_every && event->step != event->steps) return;
    if (step && record->loss_count) mean.loss = record->loss_sum / (double)record->loss_count;
    append_line(record, event, step && record->loss_count > 1 ? mean.loss : NAN);
    history_take(&record->history, &mean);
    if (step) record->line_at = now, record->line_count++, record->loss_sum = 0, record->loss_count = 0;
}

/* ---- run.json and the page ---- */

/* The processor's name: a figure of speed says nothing without it. */
static void cpu_name(char *name, size_t size) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, size, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || (strncmp(line, "model name", 10) != 0 && strncmp(line, "Hardware", 8) != 0)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file) fclose(file);
}

static void put_pair(struct markup *out, const char *key, const char *value) {
    markup_put(out, ",\n  \"%s\": ", key);
    markup_json(out, value);
}

static void put_count(struct markup *out, const char *key, double value) {
    markup_put(out, ",\n  \"%s\": ", key);
    markup_real(out, value);
}

static void describe(const struct record *record, struct markup *out) {
    const struct command *command = record->command;
    const struct history *history = &record->history;
    const char *threads = flow_graph_run_option(record->graph, "threads");
    char cpu[256], name[256];
    cpu_name(cpu, sizeof cpu);
    name_of(command, record->graph, name, sizeof name);
    markup_put(out, "{\n  \"graph\": ");
    markup_json(out, name);
    put_pair(out, "file", command->graph), put_pair(out, "doc", flow_graph_doc(record->graph));
    put_pair(out, "status", record->status), put_pair(out, "message", record->message);
    put_pair(out, "command", command->line), put_pair(out, "started", record->started);
    put_pair(out, "version", flow_version()), put_pair(out, "processor", cpu);
    put_count(out, "cores", (double)sysconf(_SC_NPROCESSORS_ONLN));
    if (command->threads) put_count(out, "threads", command->threads);
    else put_pair(out, "threads", threads ? threads : "all");
    if (command->precision) put_pair(out, "precision", command->precision);
    if (command->seeded) put_count(out, "seed", (double)command->seed);
    if (command->weights) put_pair(out, "weights", command->weights);
    if (command->inputs) put_pair(out, "inputs", command->inputs);
    markup_put(out, ",\n  \"set\": {");
    for (size_t i = 0; i < command->set.count; i++) {
        char key[256];
        const char *equals = strchr(command->set.at[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - command->set.at[i]), command->set.at[i]);
        if (i) markup_put(out, ", ");
        markup_json(out, key);
        markup_put(out, ": ");
        markup_json(out, equals + 1);
    }
    markup_put(out, "}");
    put_count(out, "total", (double)history->total), put_count(out, "step", (double)history->step);
    put_count(out, "steps", (double)history->steps), put_count(out, "stage_number", (double)history->stage_number);
    put_count(out, "stage_count", (double)history->stage_total), put_count(out, "seconds", history->seconds);
    put_count(out, "waited", history->waited), put_count(out, "rows", history->rows);
    put_count(out, "here_seconds", history->seconds - record->before_seconds);
    put_count(out, "parameters", (double)record->parameters), put_count(out, "parameter_bytes", (double)record->memory.params);
    put_count(out, "arena_bytes", (double)record->memory.arena), put_count(out, "resident_bytes", (double)peak_memory());
    markup_put(out, ",\n  \"train\": ");
    markup_bytes(out, record->training, strlen(record->training));
    markup_put(out, "\n}\n");
}

static void write_pages(struct record *record) {
    char path[4096];
    struct markup about = {0};
    record->page_at = seconds_now();
    if (record->broken) return;
    describe(record, &about);
    struct json_document document = about.failed ? (struct json_document){0} : json_read(about.at, about.length);
    path_of(record, "run.json", path, sizeof path);
    bool failed = markup_write(&about, record->runtime, path) != 0;
    path_of(record, "curve.svg", path, sizeof path);
    failed = failed || report_curve(record->runtime, path, &record->history) != 0;
    path_of(record, "run.html", path, sizeof path);
    failed = failed || report_run(record->runtime, path, document.root, &record->history, record->drawing) != 0;
    json_free(&document);
    record->broken = failed; /* each has said why */
}

struct json_document record_about(const char *folder) {
    char path[4096];
    struct markup text = {0};
    char piece[4096];
    snprintf(path, sizeof path, "%s/run.json", folder);
    FILE *file = fopen(path, "re");
    for (size_t got; file && text.length < (1 << 24) && (got = fread(piece, 1, sizeof piece, file)) > 0;) markup_bytes(&text, piece, got);
    if (file) fclose(file);
    struct json_document document = text.length && !text.failed ? json_read(text.at, text.length) : (struct json_document){0};
    free(text.at);
    return document;
}

static void count_parameters(struct record *record, const flow_trainer *trainer) {
    const struct flow_tensor *value;
    const char *name;
    record->parameters = 0;
    for (size_t i = 0; (value = flow_trainer_parameter(trainer, i, &name)); i++) record->parameters += flow_tensor_count(value);
    record->memory = flow_trainer_memory(trainer);
}

int record_event(struct record *record, const flow_trainer *trainer, const struct flow_event *event) {
    int rc = record->begun ? 0 : begin_lines(record, event);
    if (rc) return rc;
    struct flow_event whole = *event;
    whole.seconds += record->before_seconds, whole.waited += record->before_waited;
    if (event->kind == FLOW_EVENT_STEP || event->kind == FLOW_EVENT_VALIDATION) add_line(record, &whole);
    else history_take(&record->history, &whole);
    if (event->kind == FLOW_EVENT_STEP) record->history.rows += (double)event->rows;
    if (record->memory.arena == 0 && event->kind == FLOW_EVENT_STEP) count_parameters(record, trainer);
    if (event->kind == FLOW_EVENT_VALIDATION || event->kind == FLOW_EVENT_END) count_parameters(record, trainer);
    if (event->kind == FLOW_EVENT_VALIDATION ? seconds_now() - record->page_at > 0.5 : seconds_now() - record->page_at > page_every)
        write_pages(record);
    return 0;
}

void record_close(struct record *record) {
    if (record->begun) write_pages(record);
    if (record->lines >= 0) close(record->lines);
    history_free(&record->history);
    flow_text_free(record->drawing);
    flow_text_free(record->training);
}
