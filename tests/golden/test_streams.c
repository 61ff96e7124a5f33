/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every recorded graph, cut into pieces along every axis along which its inputs could come: what comes out in pieces, put together, must be
 * what the whole gives. An extent that the recording fixed becomes a symbol in all inputs that have it on this axis; where
 * flow_graph_check then says that the graph does not stream, that is counted and no more. Operators that are specified to stream
 * are listed, and must.
 */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <glob.h>

enum { ROOM = 1 << 14, OUTPUTS_MOST = 16 };

struct sweep {
    const char *path;
    const flow_file *file;
    char text[ROOM], symbol[32];
    int64_t extent;
    int32_t precision;
    flow_graph *graph;
    double rtol, atol;
    bool late; /* the first piece was refused, with a reason: the graph is for pieces of certain extents alone */
};

/* What an output amounts to: contiguous, in f64. */
struct whole {
    int32_t rank, axis;
    int64_t shape[FLOW_RANK_MAX], count;
    double *at;
};

/* ---- A file's text with a symbol in place of an extent ---- */

/* Replaces entry `axis` of the shape of input `name`; false where the text is not written the usual way. */
static bool set_extent(char *text, const char *name, int32_t axis, const char *symbol) {
    char key[128], rest[ROOM];
    snprintf(key, sizeof key, "\n  %s: {", name);
    char *at = strstr(text, "inputs:");
    at = at ? strstr(at, key) : NULL;
    at = at ? strstr(at, "shape: [") : NULL;
    if (!at) return false;
    at += strlen("shape: [");
    for (; axis > 0; axis--) {
        at += strcspn(at, ",]\n");
        if (*at++ != ',') return false;
    }
    while (*at == ' ') at++;
    snprintf(rest, sizeof rest, "%s", at + strcspn(at, ",]\n"));
    snprintf(at, (size_t)(text + ROOM - at), "%s%s", symbol, rest);
    return true;
}

static const struct flow_tensor *recorded(const struct sweep *s, const char *name) {
    char full[256];
    snprintf(full, sizeof full, "in.%s", name);
    return flow_file_get(s->file, full);
}

static int32_t streaming_axis(const struct sweep *s, const struct flow_graph_port *port) {
    for (int32_t axis = 0; axis < port->rank; axis++)
        if (strcmp(port->extents[axis], s->symbol) == 0) return axis;
    return -1;
}

static bool give_params(const struct sweep *s) {
    for (size_t i = 0; i < flow_file_count(s->file); i++) {
        const char *name = flow_file_name(s->file, i);
        if (strncmp(name, "param.", 6) == 0 && flow_graph_set(s->graph, name + 6, flow_file_tensor(s->file, i), NULL) < 0) return false;
    }
    return true;
}

/* ---- Running ---- */

static void whole_free(struct whole *all, size_t count) {
    for (size_t i = 0; i < count; i++) free(all[i].at);
    memset(all, 0, count * sizeof *all);
}

/* One more piece of an output; those without a streaming axis are what they were last. */
static bool gather(struct whole *w, const struct flow_tensor *piece, int32_t axis) {
    int64_t outer = 1, inner = 1, n = flow_tensor_count(piece);
    bool first = !w->at;
    if (first || axis < 0) {
        free(w->at);
        w->rank = piece->rank, w->axis = axis, w->count = n;
        memcpy(w->shape, piece->shape, sizeof w->shape);
        w->at = malloc((size_t)n * sizeof(double) + 1);
        for (int64_t i = 0; i < n; i++) w->at[i] = flow_tensor_real(piece, i);
        return true;
    }
    if (w->axis != axis || w->rank != piece->rank) return false;
    for (int32_t i = 0; i < w->rank; i++) {
        if (i != axis && w->shape[i] != piece->shape[i]) return false;
        if (i < axis) outer *= w->shape[i];
        if (i > axis) inner *= w->shape[i];
    }
    int64_t a = w->shape[axis] * inner, b = piece->shape[axis] * inner;
    double *joined = malloc((size_t)(w->count + n) * sizeof(double) + 1);
    for (int64_t o = 0; o < outer; o++) {
        if (a) memcpy(joined + o * (a + b), w->at + o * a, (size_t)a * sizeof(double));
        for (int64_t i = 0; i < b; i++) joined[o * (a + b) + a + i] = flow_tensor_real(piece, o * b + i);
    }
    free(w->at);
    w->at = joined, w->count += n, w->shape[axis] += piece->shape[axis];
    return true;
}

static bool gather_all(const struct sweep *s, flow_session *session, struct whole *all, bool streaming) {
    bool fits = true;
    for (size_t i = 0; i < flow_graph_outputs(s->graph) && i < OUTPUTS_MOST; i++) {
        const struct flow_tensor *piece = flow_session_output_at(session, i);
        fits = fits && piece && gather(&all[i], piece, streaming ? flow_session_output_axis(session, i) : -1);
    }
    return fits;
}

/* Binds [from, from + steps) of what streams, all of the rest; slices are views. */
static bool give(const struct sweep *s, flow_session *session, int64_t from, int64_t steps, flow_errors **errors) {
    for (size_t i = 0; i < flow_graph_inputs(s->graph); i++) {
        struct flow_graph_port port = flow_graph_input(s->graph, i);
        struct flow_tensor piece = *recorded(s, port.name);
        int32_t axis = streaming_axis(s, &port);
        if (axis >= 0) {
            piece.data = (char *)piece.data + from * piece.strides[axis] * flow_type_bytes(piece.dtype);
            piece.shape[axis] = steps;
        }
        if (flow_session_input(session, port.name, &piece, errors) < 0) return false;
    }
    return true;
}

static bool run_whole(const struct sweep *s, struct whole *all) {
    flow_session *session = NULL;
    bool held = flow_session_new(s->graph, NULL, NULL, &session) == 0 && give(s, session, 0, s->extent, NULL) &&
                flow_session_run(session, NULL) == 0 && gather_all(s, session, all, false);
    flow_session_free(session);
    return held;
}

/* Pieces of sizes[0], sizes[1] .. and around again; the last one comes with the end, or an empty one does (`late`). */
static bool run_pieces(struct sweep *s, const int64_t *sizes, size_t count, bool late, struct whole *all) {
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    struct flow_session_options options = {.size = sizeof options, .stream = s->symbol};
    bool held = flow_session_new(s->graph, &options, &errors, &session) == 0, ended = false;
    int64_t unit = s->extent > 2000 ? s->extent / 500 | 1 : 1;
    for (int64_t from = 0, k = 0; held && !ended; k++) {
        int64_t steps = sizes[k % (int64_t)count] * unit;
        if (steps > s->extent - from) steps = s->extent - from;
        ended = late ? from == s->extent : from + steps == s->extent;
        held = give(s, session, from, steps, &errors) &&
               (ended ? flow_session_finish(session, &errors) : flow_session_run(session, &errors)) == 0;
        if (!held && from == 0) s->late = flow_errors_count(errors) > 0 && flow_errors_get(errors, 0).code != FLOW_ERROR_INTERNAL;
        if (held && !gather_all(s, session, all, true)) {
            fprintf(stderr, "  pieces of different shapes\n");
            held = false;
        }
        from += steps;
    }
    if (!s->late) trial_show(errors);
    flow_errors_free(errors);
    flow_session_free(session);
    return held;
}

static bool same(const struct sweep *s, const char *name, const struct whole *expected, const struct whole *found) {
    bool fits = expected->rank == found->rank;
    for (int32_t i = 0; fits && i < expected->rank; i++) fits = expected->shape[i] == found->shape[i];
    if (!fits) {
        fprintf(stderr, "  output %s has %lld elements, the whole gives %lld\n", name, (long long)found->count, (long long)expected->count);
        return false;
    }
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < expected->count; i++) {
        double e = expected->at[i], f = found->at[i];
        if (isfinite(e) && fabs(e) > largest) largest = fabs(e);
        double error = isfinite(e) && isfinite(f) ? fabs(e - f) : e == f || (isnan(e) && isnan(f)) ? 0 : INFINITY;
        if (error > worst) worst = error;
    }
    if (worst > s->atol + s->rtol * largest)
        fprintf(stderr, "  output %s is off by %g, allowed %g\n", name, worst, s->atol + s->rtol * largest);
    return worst <= s->atol + s->rtol * largest;
}

static bool pieces_hold(struct sweep *s) {
    static const int64_t one[] = {1}, three[] = {3}, seven[] = {7}, mixed[] = {1, 2, 5}, all[] = {INT32_MAX}, holes[] = {0, 4, 0, 0, 2};
    static const struct {
        const int64_t *sizes;
        size_t count;
    } ways[] = {{one, 1}, {three, 1}, {seven, 1}, {mixed, 3}, {all, 1}, {holes, 5}};
    struct whole expected[OUTPUTS_MOST] = {{0}}, found[OUTPUTS_MOST] = {{0}};
    bool holds = run_whole(s, expected);
    if (!holds) fprintf(stderr, "  the whole does not run\n");
    for (size_t way = 0; holds && way < 2 * sizeof ways / sizeof *ways; way++) {
        holds = run_pieces(s, ways[way / 2].sizes, ways[way / 2].count, way % 2, found);
        if (s->late) break;
        for (size_t i = 0; holds && i < flow_graph_outputs(s->graph) && i < OUTPUTS_MOST; i++)
            holds = same(s, flow_graph_output(s->graph, i).name, &expected[i], &found[i]);
        if (!holds)
            fprintf(stderr, "  ... in pieces of %lld%s\n", (long long)ways[way / 2].sizes[0], way % 2 ? ", an empty one at the end" : "");
        whole_free(found, OUTPUTS_MOST);
    }
    whole_free(expected, OUTPUTS_MOST);
    return holds;
}

/* ---- All of them ---- */

struct tally {
    char name[64];
    int streamed, refused, failed, late; /* late: of the refused, those that check let pass */
};
struct tallies {
    struct tally at[512];
    size_t count;
};

static struct tally *tally_of(struct tallies *all, const char *path) {
    const char *file = strrchr(path, '/'), *folder = file;
    while (folder[-1] != '/') folder--;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(file - folder), folder);
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->at[i].name, name) == 0) return &all->at[i];
    struct tally *made = &all->at[all->count++];
    cr_assert(all->count < 512);
    memcpy(made->name, name, sizeof name);
    return made;
}

/* The graph with `extent` on `axis` as a symbol: 1 if it streams and holds, 0 refused, -1 wrong. */
static int try_axis(flow_runtime *runtime, struct sweep *s, const flow_graph *plain, int32_t axis) {
    struct flow_graph_options options = {.size = sizeof options, .precision = s->precision};
    for (size_t i = 0; i < flow_graph_inputs(plain); i++) {
        struct flow_graph_port port = flow_graph_input(plain, i);
        if (axis < port.rank && recorded(s, port.name)->shape[axis] == s->extent && isdigit((unsigned char)port.extents[axis][0]) &&
            !set_extent(s->text, port.name, axis, s->symbol))
            return 0;
    }
    int result = 0;
    s->graph = NULL;
    if (flow_graph_parse(runtime, s->path, s->text, strlen(s->text), &options, NULL, &s->graph) == 0 && give_params(s) &&
        flow_graph_check(s->graph, NULL, NULL) == 0 && flow_graph_check(s->graph, s->symbol, NULL) == 0)
        result = pieces_hold(s) ? 1 : s->late ? 0 : -1;
    flow_graph_free(s->graph);
    return result;
}

static double metadata(const flow_file *file, const char *key, double otherwise) {
    const char *text = flow_file_metadata(file, key);
    return text ? strtod(text, NULL) : otherwise;
}

static bool read_text(const char *path, char text[ROOM]) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t length = fread(text, 1, ROOM - 256, file);
    fclose(file);
    text[length] = 0;
    return length > 0;
}

static void try_case(flow_runtime *runtime, const char *path, int32_t precision, struct tally *tally) {
    char name[1024], text[ROOM];
    snprintf(name, sizeof name, "%.*s.safetensors", (int)strlen(path) - 5, path);
    flow_file *file = NULL;
    flow_graph *plain = NULL;
    struct flow_graph_options options = {.size = sizeof options, .precision = precision};
    cr_assert(flow_file_open(runtime, name, NULL, &file) == 0 && read_text(path, text), "%s", name);
    cr_assert(flow_graph_open(runtime, path, &options, NULL, &plain) == 0, "%s", path);
    for (int32_t axis = 0; axis < 3; axis++) {
        int64_t done[16];
        size_t count = 0;
        for (size_t i = 0; i < flow_graph_inputs(plain); i++) {
            struct flow_graph_port port = flow_graph_input(plain, i);
            struct sweep s = {path, file, "", "STREAM", 0, precision, NULL, metadata(file, "rtol", 1e-4), metadata(file, "atol", 1e-5),
                              false};
            if (axis >= port.rank) continue;
            s.extent = recorded(&s, port.name)->shape[axis];
            bool again = false;
            for (size_t k = 0; k < count; k++) again |= done[k] == s.extent;
            if (again || count == 16) continue;
            done[count++] = s.extent;
            if (!isdigit((unsigned char)port.extents[axis][0])) snprintf(s.symbol, sizeof s.symbol, "%s", port.extents[axis]);
            if (precision == FLOW_F64) s.rtol = fmin(s.rtol, 1e-9), s.atol = fmin(s.atol, 1e-10);
            memcpy(s.text, text, ROOM);
            int result = try_axis(runtime, &s, plain, axis);
            tally->streamed += result > 0, tally->refused += result == 0, tally->failed += result < 0, tally->late += s.late;
            if (result < 0)
                fprintf(stderr, "%s along axis %d, %s, fails in pieces\n", path, (int)axis, precision == FLOW_F64 ? "f64" : "f32");
        }
    }
    flow_graph_free(plain);
    flow_file_close(file);
}

static void sweep(int32_t precision, struct tallies *all) {
    glob_t cases;
    memset(all, 0, sizeof *all);
    cr_assert(glob(SOURCE_DIR "/tests/golden/cases/*/*.yaml", 0, NULL, &cases) == 0, "there are no cases");
    struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .plugin_path = BUILD_DIR "/plugins"};
    flow_runtime *runtime;
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    for (size_t i = 0; i < cases.gl_pathc; i++) {
        if (getenv("FLOW_TEST_CASE") && !strstr(cases.gl_pathv[i], getenv("FLOW_TEST_CASE"))) continue;
        try_case(runtime, cases.gl_pathv[i], precision, tally_of(all, cases.gl_pathv[i]));
    }
    flow_runtime_free(runtime);
    globfree(&cases);
}

static void tell(const struct tallies *all, int *failed) {
    int streamed = 0, refused = 0, late = 0;
    *failed = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct tally *t = &all->at[i];
        fprintf(stderr, "%-20s %3d streamed %3d refused %3d failed\n", t->name, t->streamed, t->refused, t->failed);
        streamed += t->streamed, refused += t->refused, late += t->late, *failed += t->failed;
    }
    fprintf(stderr, "%d streamed, %d refused (%d by the first piece alone), %d failed\n", streamed, refused, late, *failed);
    cr_assert(late <= 4, "check lets %d graphs pass that do not stream", late);
}

static const char *const must_stream[] = {
    "shift",       "sinusoid",     "rope",     "conv1d",    "conv_transpose1d",
    "attention",   "fsmn",         "stft",     "istft",     "fbank",
    "frame_stack", "vad_segments", "rnn",      "lstm",      "gru",
    "abs",         "add",          "and",      "clamp",     "cos",
    "div",         "elu",          "eq",       "exp",       "floor",
    "gelu",        "leaky_relu",   "log",      "mul",       "neg",
    "not",         "pow",          "relu",     "sigmoid",   "silu",
    "sin",         "sub",          "tanh",     "where",     "linear",
    "embedding",   "layer_norm",   "rms_norm", "softmax",   "cast",
    "cumsum",      "matmul",       "einsum",   "conv2d",    "depthwise",
    "avg_pool1d",  "max_pool1d",   "upsample", "frame",     "overlap_add",
    "batch_norm",  "prelu",        "glu",      "transpose", "one_hot",
    "recurrent",
};

Test(streams, every_case_in_pieces_f32, .timeout = 900) {
    static struct tallies all;
    int failed;
    sweep(FLOW_F32, &all);
    tell(&all, &failed);
    cr_assert(failed == 0, "%d graphs fail in pieces", failed);
    for (size_t i = 0; i < sizeof must_stream / sizeof *must_stream && !getenv("FLOW_TEST_CASE"); i++) {
        bool streams = false;
        for (size_t k = 0; k < all.count; k++) streams |= strcmp(all.at[k].name, must_stream[i]) == 0 && all.at[k].streamed > 0;
        cr_assert(streams, "%s does not stream", must_stream[i]);
    }
}

Test(streams, every_case_in_pieces_f64, .timeout = 900) {
    static struct tallies all;
    int failed;
    sweep(FLOW_F64, &all);
    tell(&all, &failed);
    cr_assert(failed == 0, "%d graphs fail in pieces", failed);
}
