/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and text: encoding against its definition (join the best pair, again and again), decoding in pieces, drawing. */
#include <criterion/criterion.h>

#include <flow/flow.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A vocabulary: 0 unknown, 1 opens, 2 closes, 256 bytes, then characters and their unions. */
static const char *const words[] = {" ",   "a",  "b",  "c",   "d",   "é",   "ab",  "bc", " a",
                                    "abc", "cd", "aa", "ab ", "bab", " ab", "aaa", "éa", "dd"};
enum { FIRST = 259, WORDS = sizeof words / sizeof words[0], COUNT = FIRST + WORDS, WIDTH = 4 };

struct vocabulary {
    uint8_t pieces[COUNT][WIDTH];
    int32_t lengths[COUNT];
    float scores[COUNT];
};

static void vocabulary_make(struct vocabulary *v) {
    memset(v, 0, sizeof *v);
    for (int i = 0; i < 256; i++) v->pieces[3 + i][0] = (uint8_t)i, v->lengths[3 + i] = 1;
    for (int i = 0; i < WORDS; i++) {
        v->lengths[FIRST + i] = (int32_t)strlen(words[i]);
        memcpy(v->pieces[FIRST + i], words[i], strlen(words[i]));
        v->scores[FIRST + i] = (float)-(i * 7 % 5); /* with ties */
    }
}

static int find(const struct vocabulary *v, const uint8_t *bytes, int length) {
    for (int i = FIRST; i < COUNT; i++)
        if (v->lengths[i] == length && memcmp(v->pieces[i], bytes, (size_t)length) == 0) return i;
    return -1;
}

/* The definition, in quadratic time. Returns how many tokens. */
static int encode(const struct vocabulary *v, const uint8_t *text, int n, int64_t *token) {
    uint8_t bytes[600];
    int at[600], length[600], count = 0, opened = 1;
    memcpy(bytes + 1, text, (size_t)n), bytes[0] = ' ';
    int64_t *t = token + opened;
    token[0] = 1;
    for (int i = 0; n > 0 && i < n + 1; i += length[count], count++) {
        at[count] = i, length[count] = bytes[i] >= 0xC0 && i < n && (bytes[i + 1] & 0xC0) == 0x80 ? 2 : 1;
        t[count] = find(v, bytes + i, length[count]);
        if (t[count] < 0) length[count] = 1, t[count] = 3 + bytes[i];
    }
    for (;;) {
        int best = -1, union_ = -1;
        for (int i = 0; i + 1 < count; i++) {
            if (t[i] < FIRST || t[i + 1] < FIRST) continue;
            int piece = find(v, bytes + at[i], length[i] + length[i + 1]);
            if (piece >= 0 && (best < 0 || v->scores[piece] > v->scores[union_])) best = i, union_ = piece;
        }
        if (best < 0) return opened + count;
        t[best] = union_, length[best] += length[best + 1], count--;
        for (int i = best + 1; i < count; i++) t[i] = t[i + 1], at[i] = at[i + 1], length[i] = length[i + 1];
    }
}

static flow_runtime *runtime_open(void) {
    flow_errors *errors = NULL;
    flow_runtime *runtime;
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = BUILD_DIR "/plugins"};
    cr_assert(flow_runtime_new(&options, &errors, &runtime) == 0);
    return runtime;
}

static flow_graph *graph_open(flow_runtime *runtime, const char *text, const struct vocabulary *v) {
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    int rc = flow_graph_parse(runtime, "text.yaml", text, strlen(text), NULL, &errors, &graph);
    cr_assert(rc == 0, "%s", errors ? flow_errors_get(errors, 0).text : "");
    if (!v) return graph;
    struct flow_tensor pieces = flow_tensor_of((void *)(uintptr_t)v->pieces, FLOW_U8, 2, (int64_t[]){COUNT, WIDTH});
    struct flow_tensor lengths = flow_tensor_of((void *)(uintptr_t)v->lengths, FLOW_I32, 1, (int64_t[]){COUNT});
    struct flow_tensor scores = flow_tensor_of((void *)(uintptr_t)v->scores, FLOW_F32, 1, (int64_t[]){COUNT});
    cr_assert(flow_graph_set(graph, "y.pieces", &pieces, &errors) == 0);
    cr_assert(flow_graph_set(graph, "y.lengths", &lengths, &errors) == 0);
    if (strstr(text, "token_encode")) cr_assert(flow_graph_set(graph, "y.scores", &scores, &errors) == 0);
    return graph;
}

static const struct flow_tensor *run(flow_session *session, void *data, int32_t dtype, int32_t rank, const int64_t *shape) {
    flow_errors *errors = NULL;
    struct flow_tensor x = flow_tensor_of(data, dtype, rank, shape);
    cr_assert(flow_session_input(session, "x", &x, &errors) == 0);
    int rc = flow_session_run(session, &errors);
    cr_assert(rc == 0, "%s", errors ? flow_errors_get(errors, 0).text : "");
    return flow_session_output(session, "y");
}

static const char encode_text[] = "flow: 1\ninputs:\n  x: {dtype: u8, shape: [N]}\nnodes:\n"
                                  "  y: {op: token_encode, in: x, with: {count: 277, width: 4}}\noutputs: {y: y}\n";

Test(text, encoding_is_as_defined) {
    _Static_assert(COUNT == 277, "as the graph says");
    struct vocabulary v;
    vocabulary_make(&v);
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(runtime, encode_text, &v);
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    static const char alphabet[] = "aaabbbccdd  \xC3\xA9x\xFF";
    uint32_t seed = 5;
    for (int turn = 0; turn < 300; turn++) {
        uint8_t text[500];
        int64_t expected[602];
        int n = turn < 3 ? turn : turn * 7 % 200;
        for (int i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = (uint8_t)alphabet[(seed >> 16) % (sizeof alphabet - 1)];
        }
        int count = encode(&v, text, n, expected);
        const struct flow_tensor *y = run(session, text, FLOW_U8, 1, (int64_t[]){n});
        cr_assert(y->rank == 1 && y->shape[0] == count, "'%.*s': %d tokens, expected %d", n, text, (int)y->shape[0], count);
        for (int i = 0; i < count; i++) cr_assert(((const int64_t *)y->data)[i] == expected[i], "'%.*s': token %d", n, text, i);
    }
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

static const char decode_text[] = "flow: 1\ninputs:\n  x: {dtype: i64, shape: [B, T]}\nnodes:\n"
                                  "  y: {op: token_decode, in: x, with: {count: 277, width: 4}}\noutputs: {y: y}\n";

Test(text, decoding_in_pieces_is_decoding) {
    struct vocabulary v;
    vocabulary_make(&v);
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(runtime, decode_text, &v);
    int64_t tokens[] = {1,   267, 260, 265,      1,       259,
                        260, 259, 264, 3 + 0xC3, 3 + 0xA9}; /* open " a" "a" "ab" open " " "a" " " "é" and its bytes */
    char whole[64], joined[64];
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    const struct flow_tensor *y = run(session, tokens, FLOW_I64, 2, (int64_t[]){1, 11});
    snprintf(whole, sizeof whole, "%.*s", (int)y->shape[0], (const char *)y->data);
    cr_expect_str_eq(whole, "aaaba \xC3\xA9\xC3\xA9");
    flow_session_free(session);
    for (int piece = 1; piece < 12; piece++) {
        struct flow_session_options options = {.size = sizeof options, .stream = "T"};
        cr_assert(flow_session_new(graph, &options, &errors, &session) == 0);
        size_t n = 0;
        for (int at = 0; at < 11; at += piece) {
            y = run(session, tokens + at, FLOW_I64, 2, (int64_t[]){1, at + piece < 11 ? piece : 11 - at});
            memcpy(joined + n, y->data, (size_t)y->shape[0]);
            n += (size_t)y->shape[0];
        }
        joined[n] = 0;
        cr_expect_str_eq(joined, whole);
        flow_session_free(session);
    }
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(text, a_token_that_is_none_is_told) {
    struct vocabulary v;
    vocabulary_make(&v);
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(runtime, decode_text, &v);
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    int64_t tokens[] = {5, 277};
    struct flow_tensor x = flow_tensor_of(tokens, FLOW_I64, 2, (int64_t[]){1, 2});
    cr_assert(flow_session_input(session, "x", &x, &errors) == 0);
    cr_assert(flow_session_run(session, &errors) == FLOW_ERROR_RANGE);
    cr_expect(strstr(flow_errors_get(errors, 0).text, "277 at position 1"));
    flow_errors_free(errors);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

/* Shares of the classes in `rows` draws from logarithms of 0.5 0.2 0.15 0.1 0.05. */
static void shares(const char *with, double share[5]) {
    enum { ROWS = 40000 };
    static float logits[ROWS][5];
    static const double p[5] = {0.5, 0.2, 0.15, 0.1, 0.05};
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < 5; k++) logits[i][k] = (float)log(p[k]);
    char text[256];
    snprintf(text, sizeof text,
             "flow: 1\ninputs:\n  x: {dtype: f32, shape: [N, 5]}\nnodes:\n  y: {op: sample, in: x, with: {%s}}\noutputs: {y: y}\n", with);
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(runtime, text, NULL);
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    memset(share, 0, 5 * sizeof *share);
    const struct flow_tensor *y = run(session, logits, FLOW_F32, 2, (int64_t[]){ROWS, 5});
    for (int i = 0; i < ROWS; i++) share[((const int64_t *)y->data)[i]] += 1.0 / ROWS;
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(text, drawing_has_its_distribution) {
    static const struct {
        const char *with;
        double p[5];
    } cases[] = {
        {"temperature: 1", {0.5, 0.2, 0.15, 0.1, 0.05}},
        {"temperature: 0", {1, 0, 0, 0, 0}},
        {"temperature: 0.5", {0.7692, 0.1231, 0.0692, 0.0308, 0.0077}},
        {"top_k: 2", {0.7143, 0.2857, 0, 0, 0}},
        {"top_k: 1", {1, 0, 0, 0, 0}},
        {"top_p: 0.6", {0.7143, 0.2857, 0, 0, 0}},
        {"top_p: 0", {1, 0, 0, 0, 0}},
        {"top_p: 0.8", {0.5882, 0.2353, 0.1765, 0, 0}},
        {"top_k: 3, top_p: 0.7", {0.7143, 0.2857, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double share[5];
        shares(cases[i].with, share);
        for (int k = 0; k < 5; k++) cr_expect(fabs(share[k] - cases[i].p[k]) < 0.01, "%s: class %d %g", cases[i].with, k, share[k]);
    }
}

Test(text, runs_draw_anew) {
    static float logits[50][100];
    int64_t first[50];
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(
        runtime, "flow: 1\ninputs:\n  x: {dtype: f32, shape: [N, 100]}\nnodes:\n  y: {op: sample, in: x}\noutputs: {y: y}\n", NULL);
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    memcpy(first, run(session, logits, FLOW_F32, 2, (int64_t[]){50, 100})->data, sizeof first);
    cr_expect(memcmp(first, run(session, logits, FLOW_F32, 2, (int64_t[]){50, 100})->data, sizeof first) != 0);
    flow_session_reset(session);
    cr_expect(memcmp(first, run(session, logits, FLOW_F32, 2, (int64_t[]){50, 100})->data, sizeof first) == 0);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(text, last_is_the_newest_row) {
    float x[2][3][2] = {{{0, 1}, {2, 3}, {4, 5}}, {{6, 7}, {8, 9}, {10, 11}}};
    flow_errors *errors = NULL;
    flow_runtime *runtime = runtime_open();
    flow_graph *graph = graph_open(
        runtime, "flow: 1\ninputs:\n  x: {dtype: f32, shape: [2, T, 2]}\nnodes:\n  y: {op: last, in: x}\noutputs: {y: y}\n", NULL);
    flow_session *session;
    cr_assert(flow_session_new(graph, NULL, &errors, &session) == 0);
    const struct flow_tensor *y = run(session, x, FLOW_F32, 3, (int64_t[]){2, 3, 2});
    static const double expected[4] = {4, 5, 10, 11};
    cr_assert(y->rank == 3 && y->shape[0] == 2 && y->shape[1] == 1 && y->shape[2] == 2);
    for (int i = 0; i < 4; i++) cr_expect(flow_tensor_real(y, i) == expected[i]);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}
