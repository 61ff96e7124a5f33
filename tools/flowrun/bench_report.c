/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/bench.h"

#include "flowrun/json.h"
#include "flowrun/markup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES_WRITTEN = 512, FILE_MOST = 64 << 20 };
static const double SURE = 0.01, USUAL_TOLERANCE = 0.05; /* p below which two differ; a share */

/* Which times are compared: with one thread the processor's, which leave out what other programs took. */
static bool by_processor(const struct candidate *candidate) { return candidate->threads == 1; }
static const double *compared(const struct candidate *candidate) { return by_processor(candidate) ? candidate->cpu : candidate->wall; }

static const char *format_time(double seconds, char text[32]) {
    if (seconds < 1e-6) snprintf(text, 32, "%.1f ns", 1e9 * seconds);
    else if (seconds < 1e-3) snprintf(text, 32, "%.2f us", 1e6 * seconds);
    else if (seconds < 1) snprintf(text, 32, "%.3f ms", 1e3 * seconds);
    else snprintf(text, 32, "%.3f s", seconds);
    return text;
}

/* ---- Verdicts ---- */

struct verdict {
    const char *word; /* "slower", "faster", "no difference" */
    struct comparison about;
    double machine; /* how much slower the machine is now; 1: not known, or not slower */
    bool fails;     /* slower by more than the tolerance */
};

static struct verdict judge(struct comparison about, double machine, double tolerance) {
    struct verdict verdict = {"no difference", about, machine > 1 ? machine : 1, false};
    bool differs = about.p < SURE && (about.low > 1 || about.high < 1);
    if (differs) verdict.word = about.ratio > 1 ? "slower" : "faster";
    verdict.fails = differs && about.low / verdict.machine > 1 + tolerance;
    return verdict;
}

static int read_tolerance(const char *text, double *out) {
    char *end;
    *out = USUAL_TOLERANCE;
    if (!text) return 0;
    double value = strtod(text, &end);
    if (end == text || !(value >= 0) || (strcmp(end, "%") != 0 && *end))
        return command_say(EXIT_USAGE, "--tolerance takes a share such as 5%%, found '%s'", text);
    *out = *end || value >= 1 ? value / 100 : value;
    return 0;
}

/* ---- Text ---- */

static void print_candidate(const struct candidate *candidate) {
    struct summary wall, cpu, pieces;
    char a[32], b[32], c[32], d[32], e[32];
    if (!statistics_summary(candidate->wall, candidate->count, &wall) || !statistics_summary(candidate->cpu, candidate->count, &cpu))
        return;
    printf("%s%s%s  %s", BOLD, candidate->label, PLAIN, candidate->command.graph);
    for (size_t i = 0; i < candidate->symbol_count; i++)
        printf("  %s=%lld%s", candidate->symbols[i].name, (long long)candidate->symbols[i].extent,
               candidate->symbols[i].given ? "" : " (not given)");
    printf("\n  median %s%s%s, least %s, p90 %s, p99 %s, mean deviation %s", BOLD, format_time(wall.median, a), PLAIN,
           format_time(wall.least, b), format_time(wall.p90, c), format_time(wall.p99, d), format_time(wall.deviation, e));
    printf("\n  %zu samples", candidate->count);
    if (candidate->batch > 1) printf(" of %lld rounds each", (long long)candidate->batch);
    printf(" after %lld to warm up; the first %s, reading the graph %s\n", (long long)candidate->warm_up,
           format_time(candidate->first_seconds, a), format_time(candidate->load_seconds, b));
    if (wall.median > 0) {
        printf("  %.4g runs/s", 1 / wall.median);
        if (strcmp(candidate->unit, "run") != 0)
            printf(", %.4g %s/s (%s each)", candidate->elements / wall.median, candidate->unit,
                   format_time(wall.median / (candidate->elements > 0 ? candidate->elements : 1), a));
        if (candidate->rate > 0) printf(", %.4g times real time", candidate->elements / candidate->rate / wall.median);
        putchar('\n');
    }
    if (statistics_summary(candidate->pieces, candidate->piece_count, &pieces))
        printf("  a piece: median %s, p90 %s, p99 %s, longest %s\n", format_time(pieces.median, a), format_time(pieces.p90, b),
               format_time(pieces.p99, c), format_time(pieces.most, d));
    printf("  %.2f MiB planned, %.2f MiB of parameters, %.1f MiB resident at most\n", (double)candidate->planned / 1048576,
           (double)candidate->params / 1048576, (double)candidate->resident / 1048576);
    double share = candidate->wall_sum > 0 ? candidate->cpu_sum / candidate->wall_sum : 0;
    printf("  %.2f cores at work", share);
    if (by_processor(candidate) && wall.median > 1.1 * cpu.median)
        printf("%s: the machine is busy, %.0f%% of the time went to other programs%s", RED, 100 * (1 - share), PLAIN);
    else if (candidate->wall_sum > 0 && (double)candidate->preempted / candidate->wall_sum > 20)
        printf("%s: the machine is busy, a core was taken away %.0f times a second%s", RED,
               (double)candidate->preempted / candidate->wall_sum, PLAIN);
    putchar('\n');
}

static void print_verdict(const char *first, const char *second, const struct verdict *verdict, bool processor) {
    const struct comparison *about = &verdict->about;
    printf("%s against %s: %s%s%s, %.3f times as long (95%%: %.3f to %.3f, p %.2g%s)\n", second, first,
           verdict->fails                         ? RED
           : strcmp(verdict->word, "faster") == 0 ? GREEN
                                                  : BOLD,
           verdict->word, PLAIN, about->ratio, about->low, about->high, about->p, processor ? "; processor time" : "");
    if (verdict->machine > 1.05)
        printf("  the machine itself gives 1/%.2f of what it gave then: only what goes beyond that counts as slower\n", verdict->machine);
}

/* ---- JSON ---- */

static void put_text(struct markup *out, const char *key, const char *text) {
    markup_put(out, "\"%s\": ", key);
    markup_json(out, text);
    markup_put(out, ", ");
}

static void put_samples(struct markup *out, const char *key, const double *samples, size_t count) {
    size_t kept = count < SAMPLES_WRITTEN ? count : SAMPLES_WRITTEN;
    markup_put(out, ", \"%s\": [", key);
    for (size_t i = 0; i < kept; i++) markup_put(out, "%s%.9g", i ? ", " : "", samples[i * count / kept]);
    markup_put(out, "]");
}

static void put_summary(struct markup *out, const char *key, const double *samples, size_t count) {
    struct summary s;
    if (!statistics_summary(samples, count, &s)) return;
    markup_put(
        out,
        "\"%s\": {\"median\": %.9g, \"least\": %.9g, \"p90\": %.9g, \"p99\": %.9g, \"most\": %.9g, \"mean\": %.9g, \"deviation\": %.9g}, ",
        key, s.median, s.least, s.p90, s.p99, s.most, s.mean, s.deviation);
}

static void put_candidate(struct markup *out, const struct candidate *candidate) {
    struct summary wall;
    const struct command *command = &candidate->command;
    if (!statistics_summary(candidate->wall, candidate->count, &wall)) return;
    markup_put(out, "{");
    put_text(out, "label", candidate->label);
    put_text(out, "graph", command->graph);
    put_text(out, "what",
             command->train               ? "training step"
             : command->gradients         ? "run with gradients"
             : candidate->drive.symbol[0] ? "stream"
                                          : "run");
    markup_put(out, "\"extents\": {");
    for (size_t i = 0; i < candidate->symbol_count; i++) {
        markup_put(out, i ? ", " : "");
        markup_json(out, candidate->symbols[i].name);
        markup_put(out, ": %lld", (long long)candidate->symbols[i].extent);
    }
    markup_put(out, "}, \"threads\": %d, ", candidate->threads);
    put_summary(out, "seconds", candidate->wall, candidate->count);
    put_summary(out, "cpu_seconds", candidate->cpu, candidate->count);
    put_summary(out, "piece_seconds", candidate->pieces, candidate->piece_count);
    put_text(out, "unit", candidate->unit);
    markup_put(out, "\"elements\": %.17g, \"elements_per_second\": %.9g, ", candidate->elements,
               wall.median > 0 ? candidate->elements / wall.median : 0);
    if (candidate->rate > 0 && wall.median > 0)
        markup_put(out, "\"times_real_time\": %.9g, ", candidate->elements / candidate->rate / wall.median);
    markup_put(
        out, "\"count\": %zu, \"rounds_per_sample\": %lld, \"warm_up_rounds\": %lld, \"load_seconds\": %.9g, \"first_seconds\": %.9g, ",
        candidate->count, (long long)candidate->batch, (long long)candidate->warm_up, candidate->load_seconds, candidate->first_seconds);
    markup_put(out,
               "\"planned_bytes\": %lld, \"parameter_bytes\": %lld, \"peak_resident_bytes\": %lld, \"wall_sum\": %.9g, \"cpu_sum\": %.9g, "
               "\"preempted\": %lld, \"machine\": {\"flops\": %.6g, \"bytes\": %.6g}",
               (long long)candidate->planned, (long long)candidate->params, (long long)candidate->resident, candidate->wall_sum,
               candidate->cpu_sum, (long long)candidate->preempted, candidate->machine[0], candidate->machine[1]);
    put_samples(out, "samples", candidate->wall, candidate->count);
    put_samples(out, "cpu_samples", candidate->cpu, candidate->count);
    markup_put(out, "}");
}

static void put_verdict(struct markup *out, const char *first, const char *second, const struct verdict *verdict) {
    markup_put(out, "{");
    put_text(out, "first", first);
    put_text(out, "second", second);
    put_text(out, "verdict", verdict->word);
    markup_put(out, "\"ratio\": %.6g, \"low\": %.6g, \"high\": %.6g, \"p\": %.6g, \"machine\": %.6g, \"fails\": %s}", verdict->about.ratio,
               verdict->about.low, verdict->about.high, verdict->about.p, verdict->machine, verdict->fails ? "true" : "false");
}

/* ---- The baseline ---- */

static int read_baseline(const char *path, struct json_document *document) {
    FILE *file = fopen(path, "re");
    if (!file) return command_say(EXIT_FAILED, "%s cannot be read", path);
    char *text = NULL;
    size_t length = 0, got = 0;
    do {
        char *grown = realloc(text, length + 65536);
        if (!grown) break;
        text = grown;
        got = fread(text + length, 1, 65536, file);
        length += got;
    } while (got && length < FILE_MOST);
    fclose(file);
    *document = text ? json_read(text, length) : (struct json_document){0};
    free(text);
    if (document->root && json_get(document->root, "candidates")) return 0;
    json_free(document);
    *document = (struct json_document){0};
    return command_say(EXIT_USAGE, "%s is no file that flowrun bench --save wrote", path);
}

static const struct json *find_old(const struct json *root, const char *label) {
    const struct json *list = json_get(root, "candidates");
    for (const struct json *one = list ? list->first : NULL; one; one = one->next) {
        const char *other = json_text(one, "label");
        if (other && strcmp(other, label) == 0) return one;
    }
    return NULL;
}

/* 0: none, or no memory. To be freed. */
static size_t read_samples(const struct json *old, const char *key, double **out) {
    const struct json *list = json_get(old, key);
    size_t count = 0;
    *out = NULL;
    for (const struct json *one = list ? list->first : NULL; one; one = one->next) count += one->kind == JSON_NUMBER;
    if (count && !(*out = malloc(count * sizeof **out))) return 0;
    size_t i = 0;
    for (const struct json *one = list ? list->first : NULL; one && *out; one = one->next)
        if (one->kind == JSON_NUMBER) (*out)[i++] = one->number;
    return count;
}

/* How much slower the machine is than it was: the slower of arithmetic and cache. */
static double machine_ratio(const struct candidate *candidate, const struct json *old) {
    const struct json *machine = json_get(old, "machine");
    double flops = json_number(machine, "flops") / candidate->machine[0], bytes = json_number(machine, "bytes") / candidate->machine[1];
    double most = flops > bytes ? flops : bytes;
    return isfinite(most) && most > 0 ? most : 1;
}

static bool compare_old(const struct candidate *candidate, const struct json *old, double tolerance, struct verdict *verdict) {
    double *samples;
    struct comparison about;
    size_t count = read_samples(old, by_processor(candidate) ? "cpu_samples" : "samples", &samples);
    bool good = count && statistics_compare(samples, count, compared(candidate), candidate->count, false, &about);
    free(samples);
    if (good) *verdict = judge(about, machine_ratio(candidate, old), tolerance);
    return good;
}

/* ---- All of it ---- */

struct result {
    char first[280];
    const char *second;
    struct verdict verdict;
    bool processor;
};

static size_t compare_all(struct candidate *const *candidates, size_t count, const struct command *command, const struct json *baseline,
                          double tolerance, struct result *results) {
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        const struct candidate *candidate = candidates[i];
        struct result *result = &results[made];
        *result = (struct result){.second = candidate->label, .processor = by_processor(candidate)};
        if (command->against && i % 2) {
            const struct candidate *other = candidates[i - 1];
            struct comparison about;
            bool processor = by_processor(candidate) && by_processor(other);
            if (!statistics_compare(processor ? other->cpu : other->wall, other->count, processor ? candidate->cpu : candidate->wall,
                                    candidate->count, true, &about))
                continue;
            result->verdict = judge(about, 1, tolerance), result->processor = processor;
            snprintf(result->first, sizeof result->first, "%s", other->label);
            made++;
            continue;
        }
        const struct json *old = baseline ? find_old(baseline, candidate->label) : NULL;
        if (!old || !compare_old(candidate, old, tolerance, &result->verdict)) continue;
        snprintf(result->first, sizeof result->first, "the baseline");
        made++;
    }
    return made;
}

static int write_json(const struct command *command, struct candidate *const *candidates, size_t count, const struct result *results,
                      size_t made) {
    struct markup out = {0};
    markup_put(&out, "{\"flowrun\": ");
    markup_json(&out, flow_version());
    markup_put(&out, ", \"candidates\": [");
    for (size_t i = 0; i < count; i++) markup_put(&out, i ? ",\n " : ""), put_candidate(&out, candidates[i]);
    markup_put(&out, "], \"comparisons\": [");
    for (size_t i = 0; i < made; i++) {
        markup_put(&out, i ? ", " : "");
        put_verdict(&out, results[i].first, results[i].second, &results[i].verdict);
    }
    markup_put(&out, "]}\n");
    int rc = out.failed ? command_say(EXIT_FAILED, "out of memory") : 0;
    const char *const files[] = {command->json_file, command->save};
    for (int i = 0; i < 2 && rc == 0; i++) {
        flow_errors *errors = NULL;
        if (!files[i]) continue;
        if (strcmp(files[i], "-") == 0) fwrite(out.at, 1, out.length, stdout);
        else if (flow_file_write_bytes(candidates[0]->runtime, files[i], out.at, out.length, &errors) < 0) rc = command_fail(errors);
    }
    free(out.at);
    return rc;
}

int bench_report(struct candidate *const *candidates, size_t count, const struct command *command, bool *slower) {
    struct json_document baseline = {0};
    double tolerance;
    int rc = read_tolerance(command->tolerance, &tolerance);
    if (rc == 0 && command->baseline) rc = read_baseline(command->baseline, &baseline);
    struct result *results = calloc(count + 1, sizeof *results);
    if (!results && rc == 0) rc = command_say(EXIT_FAILED, "out of memory");
    if (rc) {
        free(results);
        return rc;
    }
    bool quiet = command->quiet || (command->json_file && strcmp(command->json_file, "-") == 0);
    size_t made = compare_all(candidates, count, command, baseline.root, tolerance, results);
    if (command->baseline && !made)
        rc = command_say(EXIT_USAGE, "%s has none of these settings: nothing to compare with", command->baseline);
    for (size_t i = 0; !quiet && i < count; i++) print_candidate(candidates[i]);
    for (size_t i = 0; i < made; i++) {
        if (!quiet) print_verdict(results[i].first, results[i].second, &results[i].verdict, results[i].processor);
        if (command->baseline && strcmp(results[i].first, "the baseline") == 0) *slower |= results[i].verdict.fails;
        else if (command->against) *slower |= results[i].verdict.fails;
    }
    if (rc == 0) rc = write_json(command, candidates, count, results, made);
    free(results);
    json_free(&baseline);
    return rc;
}
