/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graph files that mean harm: recorded ones with bytes flipped, lines lost or doubled, numbers and words exchanged, attributes of the
 * operator's own table set to what nobody would ask for. Whatever is left of the graph is checked and run. An error is a good end; so is
 * a result. Anything else is not.
 */
#ifndef FLOW_TESTS_HOSTILE_H
#define FLOW_TESTS_HOSTILE_H

#include "harness/trial.h"

#include <ctype.h>
#include <glob.h>

enum { HOSTILE_ROOM = 1 << 16 };

struct hostile_seed {
    char *path, *text;
    size_t length;
};

struct hostile {
    struct hostile_seed *seeds;
    size_t seed_count;
    flow_runtime *runtime;
    struct limited limited;
    struct draw draw;
    char text[HOSTILE_ROOM + 256];
    size_t length;
    const char *path;
    flow_session *volatile session; /* for whoever wants to cancel */
    long opened, checked, ran, refused;
};

static const char *const hostile_numbers[] = {"0",
                                              "-1",
                                              "1",
                                              "2",
                                              "3",
                                              "4",
                                              "5",
                                              "7",
                                              "8",
                                              "16",
                                              "-2",
                                              "2147483648",
                                              "4294967296",
                                              "4611686018427387904",
                                              "9223372036854775807",
                                              "-9223372036854775808",
                                              "1e300",
                                              "-1e300",
                                              "0.5",
                                              "1e-300",
                                              ".nan",
                                              ".inf",
                                              "100000",
                                              "65536",
                                              "1000000000"};

static void hostile_seeds(struct hostile *h, const char *pattern) {
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0) return;
    h->seeds = realloc(h->seeds, (h->seed_count + found.gl_pathc) * sizeof *h->seeds);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "rb");
        if (!file) continue;
        struct hostile_seed *seed = &h->seeds[h->seed_count++];
        seed->path = strdup(found.gl_pathv[i]);
        seed->text = malloc(HOSTILE_ROOM / 2);
        seed->length = fread(seed->text, 1, HOSTILE_ROOM / 2 - 1, file);
        seed->text[seed->length] = 0;
        fclose(file);
    }
    globfree(&found);
}

/* Everything recorded, and a runtime of one thread and half a GiB. */
static int hostile_open(struct hostile *h) {
    h->limited = (struct limited)LIMITED_INIT((size_t)512 << 20);
    hostile_seeds(h, SOURCE_DIR "/tests/golden/cases/*/*.yaml");
    hostile_seeds(h, SOURCE_DIR "/graphs/*/*.yaml");
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins", .resize = limited_resize, .resize_context = &h->limited};
    return h->seed_count ? flow_runtime_new(&options, NULL, &h->runtime) : FLOW_ERROR_IO;
}

static void hostile_close(struct hostile *h) {
    flow_runtime_free(h->runtime);
    for (size_t i = 0; i < h->seed_count; i++) free(h->seeds[i].path), free(h->seeds[i].text);
    free(h->seeds);
}

/* Puts `with` in place of `gone` bytes at `at`. */
static void hostile_splice(struct hostile *h, size_t at, size_t gone, const char *with, size_t length) {
    if (at > h->length || gone > h->length - at || h->length - gone + length >= HOSTILE_ROOM) return;
    memmove(h->text + at + length, h->text + at + gone, h->length - at - gone);
    memcpy(h->text + at, with, length);
    h->length += length - gone;
    h->text[h->length] = 0;
}

/* A random run of characters that `of` accepts; false where there is none. */
static bool hostile_find(struct hostile *h, bool (*of)(int), size_t *at, size_t *length) {
    size_t start = draw_below(&h->draw, h->length + 1);
    for (size_t i = 0; i < h->length; i++) {
        size_t k = (start + i) % h->length;
        if (!of((unsigned char)h->text[k]) || (k && of((unsigned char)h->text[k - 1]))) continue;
        for (*at = k, *length = 0; k < h->length && of((unsigned char)h->text[k]); k++) ++*length;
        return true;
    }
    return false;
}

static bool hostile_digit(int c) { return isdigit(c) != 0; }
static bool hostile_word(int c) { return isalpha(c) || c == '_'; }

static const char *hostile_number(struct hostile *h) {
    size_t all = sizeof hostile_numbers / sizeof *hostile_numbers;
    return hostile_numbers[draw_below(&h->draw, draw_below(&h->draw, 2) ? all : 11)];
}

static void hostile_line(struct hostile *h, bool twice) {
    size_t at = draw_below(&h->draw, h->length + 1), end;
    while (at && h->text[at - 1] != '\n') at--;
    for (end = at; end < h->length && h->text[end] != '\n';) end++;
    if (end < h->length) end++;
    char line[1024];
    if (end - at >= sizeof line) return;
    memcpy(line, h->text + at, end - at);
    if (twice) hostile_splice(h, at, 0, line, end - at);
    else hostile_splice(h, at, end - at, "", 0);
}

static void hostile_attribute_value(struct hostile *h, const struct flow_attr *attr, char *text, size_t size) {
    if ((attr->type == FLOW_ATTR_CHOICE || (attr->type == FLOW_ATTR_INTS && draw_below(&h->draw, 3) == 0)) && attr->choices) {
        size_t count = 1;
        for (const char *c = attr->choices; *c; c++) count += *c == '|';
        const char *word = attr->choices;
        for (size_t k = draw_below(&h->draw, count); k; k--) word = strchr(word, '|') + 1;
        snprintf(text, size, "%.*s", (int)strcspn(word, "|"), word);
    } else if (attr->type == FLOW_ATTR_BOOL) {
        snprintf(text, size, draw_below(&h->draw, 2) ? "true" : "false");
    } else if (attr->type == FLOW_ATTR_DTYPE) {
        snprintf(text, size, "%s", flow_type_name((int32_t)draw_below(&h->draw, FLOW_TYPE_COUNT)));
    } else if ((attr->type == FLOW_ATTR_INTS || attr->type == FLOW_ATTR_VALUES) && draw_below(&h->draw, 2)) {
        snprintf(text, size, "[%s, %s]", hostile_number(h), hostile_number(h));
    } else {
        snprintf(text, size, "%s", hostile_number(h));
    }
}

static const struct flow_attr *hostile_row(const struct flow_operator *op, size_t index) {
    return (const void *)((const char *)op->attrs.at + index * op->attrs.size);
}

/* Sets an attribute of the node whose "op: " this is, in place of what was written for it. */
static void hostile_set(struct hostile *h, const char *op, const struct flow_attr *attr, const char *value) {
    size_t line = strcspn(op, "\n");
    const char *with = strstr(op, "with: {");
    char key[80], all[300];
    if (!with || (size_t)(with - op) > line) {
        const char *end = op + line;
        while (end > op && *end != '}') end--;
        int length = snprintf(all, sizeof all, ", with: {%s: %s}", attr->name, value);
        if (end > op) hostile_splice(h, (size_t)(end - h->text), 0, all, (size_t)length);
        return;
    }
    snprintf(key, sizeof key, "%s: ", attr->name);
    const char *old = strstr(with + 7, key);
    if (old && (size_t)(old - op) < line && !hostile_word((unsigned char)old[-1])) {
        size_t start = (size_t)(old - h->text) + strlen(key), gone = strcspn(h->text + start, h->text[start] == '[' ? "]\n" : ",}\n");
        if (h->text[start] == '[' && h->text[start + gone] == ']') gone++;
        hostile_splice(h, start, gone, value, strlen(value));
    } else {
        int length = snprintf(all, sizeof all, "%s: %s%s", attr->name, value, with[7] == '}' ? "" : ", ");
        hostile_splice(h, (size_t)(with + 7 - h->text), 0, all, (size_t)length);
    }
}

/* A random attribute of a random node's operator. */
static void hostile_attribute(struct hostile *h) {
    size_t count = 0, chosen;
    char name[64], value[160];
    for (const char *at = h->text; (at = strstr(at, "op: ")); at += 4) count++;
    if (!count) return;
    chosen = draw_below(&h->draw, count);
    const char *op = strstr(h->text, "op: ");
    while (chosen--) op = strstr(op + 4, "op: ");
    snprintf(name, sizeof name, "%.*s", (int)strspn(op + 4, "abcdefghijklmnopqrstuvwxyz_0123456789"), op + 4);
    struct flow_operator_info info;
    if (flow_runtime_operator(h->runtime, name, NULL, &info) < 0 || !info.op->attrs.count) return;
    const struct flow_attr *attr = hostile_row(info.op, draw_below(&h->draw, info.op->attrs.count));
    hostile_attribute_value(h, attr, value, sizeof value);
    hostile_set(h, op, attr, value);
}

static void hostile_mutate(struct hostile *h) {
    size_t a, la, b, lb;
    switch (draw_below(&h->draw, 12)) {
    case 0: h->text[draw_below(&h->draw, h->length)] ^= (char)(1 << draw_below(&h->draw, 8)); break;
    case 1: hostile_line(h, false); break;
    case 2: hostile_line(h, true); break;
    case 3:
    case 4:
    case 5:
        if (hostile_find(h, hostile_digit, &a, &la)) {
            const char *number = hostile_number(h);
            hostile_splice(h, a, la, number, strlen(number));
        }
        break;
    case 6: { /* one word for another, of this file or another */
        const struct hostile_seed *other = &h->seeds[draw_below(&h->draw, h->seed_count)];
        size_t at = draw_below(&h->draw, other->length);
        while (at < other->length && !hostile_word((unsigned char)other->text[at])) at++;
        while (at && hostile_word((unsigned char)other->text[at - 1])) at--;
        for (lb = 0; at + lb < other->length && hostile_word((unsigned char)other->text[at + lb]);) lb++;
        if (hostile_find(h, hostile_word, &a, &la)) hostile_splice(h, a, la, other->text + at, lb);
        break;
    }
    case 7: {
        char word[128];
        if (!hostile_find(h, hostile_word, &a, &la) || !hostile_find(h, hostile_word, &b, &lb) || lb >= sizeof word) break;
        memcpy(word, h->text + b, lb);
        hostile_splice(h, a, la, word, lb);
        break;
    }
    default: hostile_attribute(h); break;
    }
}

/* The `trial`-th of: every recorded graph of one node, every attribute of its operator, every number; false after the last. */
static bool hostile_worst(struct hostile *h, long trial) {
    size_t numbers = sizeof hostile_numbers / sizeof *hostile_numbers;
    for (size_t i = 0; i < h->seed_count; i++) {
        const struct hostile_seed *seed = &h->seeds[i];
        const char *op = strstr(seed->text, "op: ");
        char name[64];
        struct flow_operator_info info;
        if (!op || strstr(op + 4, "op: ")) continue;
        snprintf(name, sizeof name, "%.*s", (int)strspn(op + 4, "abcdefghijklmnopqrstuvwxyz_0123456789"), op + 4);
        if (flow_runtime_operator(h->runtime, name, NULL, &info) < 0) continue;
        long here = (long)(info.op->attrs.count * numbers * 2);
        if (trial >= here) {
            trial -= here;
            continue;
        }
        memcpy(h->text, seed->text, seed->length + 1);
        h->length = seed->length, h->path = seed->path;
        char value[160];
        const char *number = hostile_numbers[(size_t)(trial / 2) % numbers];
        snprintf(value, sizeof value, trial % 2 ? "[%s, %s]" : "%s", number, number);
        hostile_set(h, strstr(h->text, "op: "), hostile_row(info.op, (size_t)(trial / 2) / numbers), value);
        return true;
    }
    return false;
}

/* Small extents for symbols; what the file says where it says a number. */
static void hostile_inputs(struct hostile *h, flow_graph *graph, struct flow_tensor *inputs) {
    int64_t symbols[128];
    bool wild = draw_below(&h->draw, 4) == 0;
    for (size_t i = 0; i < 128; i++) symbols[i] = (int64_t)draw_below(&h->draw, 8) + (draw_below(&h->draw, 8) != 0);
    for (size_t i = 0; i < flow_graph_inputs(graph) && i < 16; i++) {
        struct flow_graph_port port = flow_graph_input(graph, i);
        int64_t shape[FLOW_RANK_MAX] = {0};
        for (int32_t k = 0; k < port.rank; k++) {
            char *end;
            long long number = strtoll(port.extents[k], &end, 10);
            shape[k] = *end || end == port.extents[k] ? symbols[(unsigned char)port.extents[k][0] % 128] : number;
        }
        inputs[i] = trial_tensor(port.dtype, port.rank, shape);
        int64_t count = inputs[i].data ? flow_tensor_count(&inputs[i]) : 0;
        for (int64_t k = 0; k < count; k++)
            trial_put(&inputs[i], k, wild ? trial_wild_real(&h->draw) : 2 * draw_real(&h->draw) - 1,
                      wild ? trial_wild_integer(&h->draw) : (int64_t)draw_below(&h->draw, 4));
    }
}

static void hostile_run(struct hostile *h, flow_graph *graph) {
    struct flow_tensor inputs[16] = {{0}};
    hostile_inputs(h, graph, inputs);
    const char *symbol = NULL; /* the first along which something could come in pieces */
    for (size_t i = 0; i < flow_graph_inputs(graph) && !symbol; i++) {
        struct flow_graph_port port = flow_graph_input(graph, i);
        for (int32_t k = 0; k < port.rank && !symbol; k++)
            if (isupper((unsigned char)port.extents[k][0])) symbol = port.extents[k];
    }
    for (int streaming = 0; streaming < (symbol ? 2 : 1); streaming++) {
        struct flow_session_options options = {.size = sizeof options, .stream = streaming ? symbol : NULL};
        flow_session *session;
        if (streaming && flow_graph_check(graph, symbol, NULL) < 0) continue;
        if (flow_session_new(graph, &options, NULL, &session) < 0) continue;
        h->session = session;
        bool given = true;
        for (size_t i = 0; i < flow_graph_inputs(graph) && i < 16; i++)
            given = given && inputs[i].data && flow_session_input(session, flow_graph_input(graph, i).name, &inputs[i], NULL) == 0;
        if (given) {
            bool held = flow_session_run(session, NULL) == 0;
            if (held && flow_session_run(session, NULL) == 0 && streaming) held = flow_session_finish(session, NULL) == 0;
            h->ran += held;
        }
        h->session = NULL;
        flow_session_free(session);
    }
    for (size_t i = 0; i < 16; i++) free(inputs[i].data);
}

/* One file: made, read, checked, run. */
static void hostile_make(struct hostile *h) {
    const struct hostile_seed *seed = &h->seeds[draw_below(&h->draw, h->seed_count)];
    memcpy(h->text, seed->text, seed->length);
    h->length = seed->length, h->path = seed->path;
    h->text[h->length] = 0;
    for (size_t i = 1 + draw_below(&h->draw, 3); i && h->length; i--) hostile_mutate(h);
}

static void hostile_try(struct hostile *h) {
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    int rc = flow_graph_parse(h->runtime, h->path, h->text, h->length, NULL, &errors, &graph);
    if (rc == 0) {
        h->opened++;
        rc = flow_graph_check(graph, NULL, &errors);
        if (rc == 0) h->checked++, hostile_run(h, graph);
        else h->refused++;
    } else {
        h->refused++;
    }
    flow_errors_free(errors);
    flow_graph_free(graph);
}

#endif
