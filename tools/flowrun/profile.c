/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/profile.h"

#include "flowrun/print.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_SHOWN = 20 };

int profile_measure(struct profiling *profiling, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    profiling->limits.size = sizeof profiling->limits;
    return flow_runtime_limits(runtime, &profiling->limits, &errors) < 0 ? command_fail(errors) : 0;
}

/* ---- Sums ---- */

static const struct flow_profile_row *row_at(const struct flow_profile *profile, size_t i) {
    return (const void *)((const char *)profile->rows + i * profile->row_size);
}

static double seconds_of(const struct flow_profile *profile, int kind) {
    double sum = 0;
    for (size_t i = 0; i < profile->count; i++)
        if (kind < 0 || row_at(profile, i)->kind == kind) sum += row_at(profile, i)->seconds;
    return sum;
}

/* What shares are of: with several streams nodes overlap, and their own sum is the whole. */
static double whole_of(const struct flow_profile *profile) {
    double sum = seconds_of(profile, -1);
    return profile->streams > 1 || sum > profile->run_seconds ? sum : profile->run_seconds;
}

static double between_of(const struct flow_profile *profile) {
    double between = profile->run_seconds - seconds_of(profile, -1);
    return profile->streams > 1 || between < 0 ? 0 : between;
}

/* The level of memory that holds what one call touches; the last is memory itself. */
static int level_of(const struct flow_limits *limits, double bytes) {
    int level = 0;
    while (level < FLOW_LIMIT_LEVELS - 1 && bytes > limits->reach[level]) level++;
    return level;
}

/* The least time that the machine would need, of the time it took; *by: what it would be spent on. */
static double share_of_limit(const struct flow_limits *limits, const struct flow_profile_row *row, const char **by) {
    static const char *const levels[FLOW_LIMIT_LEVELS] = {"cache 1", "cache 2", "cache 3", "memory"};
    *by = "";
    if (row->seconds <= 0 || !row->calls) return 0;
    int level = level_of(limits, row->bytes / (double)row->calls);
    double peak = row->dtype == FLOW_F64 ? limits->flops / 2 : limits->flops;
    double compute = peak > 0 ? row->flops / peak : 0, move = limits->rate[level] > 0 ? row->bytes / limits->rate[level] : 0;
    if (compute <= 0 && move <= 0) return 0;
    *by = compute >= move ? "fma" : levels[level];
    return (compute >= move ? compute : move) / row->seconds;
}

static int by_seconds(const void *a, const void *b) {
    const struct flow_profile_row *one = *(const struct flow_profile_row *const *)a, *two = *(const struct flow_profile_row *const *)b;
    if (one->seconds != two->seconds) return one->seconds > two->seconds ? -1 : 1;
    int names = strcmp(one->node, two->node);
    return names ? names : one->pass - two->pass;
}

/* Pointers to rows, longest first; NULL: no memory. To be freed. */
static const struct flow_profile_row **sorted(const struct flow_profile *profile) {
    const struct flow_profile_row **rows = calloc(profile->count + 1, sizeof *rows);
    for (size_t i = 0; rows && i < profile->count; i++) rows[i] = row_at(profile, i);
    if (rows) qsort(rows, profile->count, sizeof *rows, by_seconds);
    return rows;
}

/* Rows of one operator and pass as one; the result's rows are `sums`. NULL: no memory. */
static struct flow_profile_row *by_operator(const struct flow_profile *profile, size_t *count) {
    struct flow_profile_row *sums = calloc(profile->count + 1, sizeof *sums);
    *count = 0;
    for (size_t i = 0; sums && i < profile->count; i++) {
        const struct flow_profile_row *row = row_at(profile, i);
        size_t k = 0;
        while (k < *count && (strcmp(sums[k].op, row->op) != 0 || sums[k].pass != row->pass || sums[k].kind != row->kind)) k++;
        if (k == *count)
            sums[(*count)++] = (struct flow_profile_row){
                .op = row->op, .node = "", .choice = "", .pass = row->pass, .kind = row->kind, .dtype = row->dtype};
        sums[k].least += row->least;
        sums[k].seconds += row->seconds, sums[k].calls += row->calls;
        sums[k].flops += row->flops, sums[k].bytes += row->bytes;
    }
    return sums;
}

/* Of an operator: by the limits of its nodes. */
static double operator_limit(const struct profiling *profiling, const struct flow_profile_row *sum) {
    double least = 0;
    for (size_t i = 0; i < profiling->profile.count; i++) {
        const struct flow_profile_row *row = row_at(&profiling->profile, i);
        const char *by;
        if (strcmp(sum->op, row->op) == 0 && sum->pass == row->pass && sum->kind == row->kind)
            least += share_of_limit(&profiling->limits, row, &by) * row->seconds;
    }
    return sum->seconds > 0 ? least / sum->seconds : 0;
}

static const char *pass_name(const struct flow_profile_row *row) {
    static const char *const names[] = {"", "backward", "again"};
    return row->pass >= 0 && row->pass <= FLOW_PASS_AGAIN ? names[row->pass] : "";
}

/* ---- Text ---- */

static const char *format_bytes(double bytes, char text[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 4) bytes /= 1024, unit++;
    snprintf(text, 32, unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

static void print_row(FILE *out, const struct flow_profile_row *row, double whole, double limit, const char *by) {
    char bytes[32], share[32] = "";
    double calls = row->calls ? (double)row->calls : 1, seconds = row->seconds > 0 ? row->seconds : 1e-12;
    if (limit > 0) snprintf(share, sizeof share, "%.0f%% %s", 100 * limit, by);
    fprintf(out, " %9llu %11.2f %10.2f %6.1f%% %9.2f %8.2f %10s  %-11s", (unsigned long long)row->calls, 1e6 * row->seconds / calls,
            1e6 * row->least / calls, whole > 0 ? 100 * row->seconds / whole : 0, 1e-9 * row->flops / seconds, 1e-9 * row->bytes / seconds,
            format_bytes(row->bytes / calls, bytes), share);
}

static void print_heads(FILE *out, const char *first, const char *second) {
    fprintf(out, "%s%-34s %-16s %-8s %9s %11s %10s %7s %9s %8s %10s  %-11s%s\n", BOLD, first, second, "", "calls", "us a call", "least us",
            "share", "GFLOP/s", "GB/s", "a call", "of limit", PLAIN);
}

static void print_nodes(FILE *out, const struct profiling *profiling, const struct flow_profile_row **rows) {
    const struct flow_profile *profile = &profiling->profile;
    size_t shown = profiling->all || profile->count <= ROWS_SHOWN + 1 ? profile->count : ROWS_SHOWN;
    struct flow_profile_row rest = {0};
    print_heads(out, "node", "operator");
    for (size_t i = 0; i < profile->count; i++) {
        const struct flow_profile_row *row = rows[i];
        const char *by;
        if (i >= shown) {
            rest.seconds += row->seconds, rest.least += row->least, rest.calls += row->calls, rest.flops += row->flops,
                rest.bytes += row->bytes;
            continue;
        }
        double limit = share_of_limit(&profiling->limits, row, &by);
        fprintf(out, "%-34s %-16s %-8s", row->node, row->op, pass_name(row));
        print_row(out, row, whole_of(profile), limit, by);
        fprintf(out, " %s%s%s\n", DIM, row->choice, PLAIN);
    }
    if (shown == profile->count) return;
    char name[64];
    snprintf(name, sizeof name, "(%zu others; --verbose shows them)", profile->count - shown);
    fprintf(out, "%-34s %-16s %-8s", name, "", "");
    print_row(out, &rest, whole_of(profile), 0, "");
    fputc('\n', out);
}

static void print_operators(FILE *out, const struct profiling *profiling) {
    size_t count;
    struct flow_profile_row *sums = by_operator(&profiling->profile, &count);
    struct flow_profile whole = {.row_size = sizeof *sums, .rows = sums, .count = count};
    const struct flow_profile_row **rows = sums ? sorted(&whole) : NULL;
    if (rows) print_heads(out, "operator", "");
    for (size_t i = 0; rows && i < count; i++) {
        fprintf(out, "%-34s %-16s %-8s", rows[i]->op, "", pass_name(rows[i]));
        print_row(out, rows[i], whole_of(&profiling->profile), operator_limit(profiling, rows[i]), "");
        fputc('\n', out);
    }
    free(rows), free(sums);
}

struct part {
    const char *name, *key;
    double seconds;
};
enum { PARTS = 9 };

/* The wall clock's time in parts that add up to it. */
static void parts_of(const struct profiling *profiling, struct part parts[PARTS]) {
    const struct flow_profile *p = &profiling->profile;
    double nodes = seconds_of(p, FLOW_ROW_NODE), copies = seconds_of(p, FLOW_ROW_COPY), gradients = seconds_of(p, FLOW_ROW_GRADIENT);
    double sum = nodes + copies + gradients, scale = sum > p->run_seconds && sum > 0 ? p->run_seconds / sum : 1;
    double outside =
        profiling->wall - p->run_seconds - p->plan_seconds - p->data_seconds - p->update_seconds - p->validate_seconds - p->save_seconds;
    const struct part made[PARTS] = {
        {"nodes", "nodes", nodes * scale},
        {"copies and conversions put in by planning", "copies", copies * scale},
        {"gradients passed on and added up", "gradients", gradients * scale},
        {"between nodes", "between", p->run_seconds - sum * scale},
        {"planning and packing", "planning", p->plan_seconds},
        {"waiting for data", "data", p->data_seconds},
        {"updates of parameters", "update", p->update_seconds},
        {"validations, copies for checkpoints", "validation_and_checkpoints", p->validate_seconds + p->save_seconds},
        {profiling->training ? "the rest: what is printed and recorded" : "the rest: reading inputs, writing outputs", "rest",
         outside > 0 ? outside : 0},
    };
    memcpy(parts, made, sizeof made);
}

static void print_parts(FILE *out, const struct profiling *profiling) {
    const struct flow_profile *profile = &profiling->profile;
    struct part parts[PARTS];
    parts_of(profiling, parts);
    fprintf(out, "%swhere the time went%s: %llu %s in %.3f s\n", BOLD, PLAIN, (unsigned long long)profile->runs,
            profile->runs == 1 ? "run" : "runs", profiling->wall);
    for (int i = 0; i < PARTS; i++)
        if (parts[i].seconds > 0)
            fprintf(out, "  %-48s %10.3f ms %6.1f%%\n", parts[i].name, 1e3 * parts[i].seconds,
                    profiling->wall > 0 ? 100 * parts[i].seconds / profiling->wall : 0);
    if (profile->streams > 1 && profile->run_seconds > 0)
        fprintf(out, "  %.2f of %d streams at work on average\n", seconds_of(profile, -1) / profile->run_seconds, (int)profile->streams);
}

static void print_limits(FILE *out, const struct flow_limits *limits) {
    char reach[32];
    fprintf(out, "%sthe machine now%s, %d %s: %.1f GFLOP/s of f32 multiply-adds; reads", BOLD, PLAIN, (int)limits->threads,
            limits->threads == 1 ? "thread" : "threads", 1e-9 * limits->flops);
    for (int i = 0; i < FLOW_LIMIT_LEVELS; i++)
        fprintf(out, "%s %.1f GB/s within %s", i ? "," : "", 1e-9 * limits->rate[i], format_bytes(limits->reach[i], reach));
    fputc('\n', out);
}

void profile_print(FILE *out, const struct profiling *profiling) {
    const struct flow_profile_row **rows = sorted(&profiling->profile);
    print_parts(out, profiling);
    print_limits(out, &profiling->limits);
    if (rows) print_nodes(out, profiling, rows);
    print_operators(out, profiling);
    free(rows);
}

/* ---- JSON ---- */

static void json_text(FILE *out, const char *key, const char *text) {
    fprintf(out, "\"%s\": ", key);
    print_string(out, text, strlen(text));
    fputs(", ", out);
}

static void json_row(FILE *out, const struct profiling *profiling, const struct flow_profile_row *row, double limit, const char *by) {
    static const char *const passes[] = {"forward", "backward", "again"}, *const kinds[] = {"node", "copy", "gradient"};
    double seconds = row->seconds > 0 ? row->seconds : 1e-12, whole = whole_of(&profiling->profile);
    json_text(out, "op", row->op);
    json_text(out, "pass", row->pass >= 0 && row->pass <= FLOW_PASS_AGAIN ? passes[row->pass] : "");
    json_text(out, "kind", row->kind >= 0 && row->kind <= FLOW_ROW_GRADIENT ? kinds[row->kind] : "");
    fprintf(
        out,
        "\"calls\": %llu, \"seconds\": %.12f, \"least_seconds\": %.12f, \"share\": %.6f, \"flops\": %.17g, \"bytes\": %.17g, \"gflops\": "
        "%.6g, \"gbytes\": %.6g, ",
        (unsigned long long)row->calls, row->seconds, row->calls ? row->least / (double)row->calls : 0,
        whole > 0 ? row->seconds / whole : 0, row->flops, row->bytes, 1e-9 * row->flops / seconds, 1e-9 * row->bytes / seconds);
    fprintf(out, "\"of_limit\": %.6g", limit);
    if (by) fprintf(out, ", \"limit\": "), print_string(out, by, strlen(by));
}

static void json_limits(FILE *out, const struct flow_limits *limits) {
    fprintf(out, "\"limits\": {\"threads\": %d, \"flops\": %.6g, \"reads\": [", (int)limits->threads, limits->flops);
    for (int i = 0; i < FLOW_LIMIT_LEVELS; i++)
        fprintf(out, "%s{\"within_bytes\": %.0f, \"bytes_per_second\": %.6g}", i ? ", " : "", limits->reach[i], limits->rate[i]);
    fputs("]}", out);
}

void profile_json(FILE *out, const struct profiling *profiling) {
    const struct flow_profile *profile = &profiling->profile;
    const struct flow_profile_row **rows = sorted(profile);
    struct part parts[PARTS];
    size_t count;
    struct flow_profile_row *sums = by_operator(profile, &count);
    parts_of(profiling, parts);
    fprintf(out, "{\"wall_seconds\": %.9f, \"runs\": %llu, \"run_seconds\": %.9f, \"threads\": %d, \"streams\": %d, \"parts\": {",
            profiling->wall, (unsigned long long)profile->runs, profile->run_seconds, (int)profile->threads, (int)profile->streams);
    for (int i = 0; i < PARTS; i++) fprintf(out, "%s\"%s\": %.9f", i ? ", " : "", parts[i].key, parts[i].seconds);
    fprintf(out, "}, \"between_nodes_seconds\": %.9f, ", between_of(profile));
    json_limits(out, &profiling->limits);
    fputs(", \"nodes\": [", out);
    for (size_t i = 0; rows && i < profile->count; i++) {
        const char *by;
        double limit = share_of_limit(&profiling->limits, rows[i], &by);
        fputs(i ? ", {" : "{", out);
        json_text(out, "node", rows[i]->node);
        json_text(out, "choice", rows[i]->choice);
        json_row(out, profiling, rows[i], limit, by);
        fputc('}', out);
    }
    fputs("], \"operators\": [", out);
    for (size_t i = 0; sums && i < count; i++) {
        fputs(i ? ", {" : "{", out);
        json_row(out, profiling, &sums[i], operator_limit(profiling, &sums[i]), NULL);
        fputc('}', out);
    }
    fputs("]}", out);
    free(rows), free(sums);
}
