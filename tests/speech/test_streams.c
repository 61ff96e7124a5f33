/* SPDX-License-Identifier: Apache-2.0 */
/* Every speech operator under drawn attributes and shapes: in pieces of any sizes it gives what the whole gives. */
#include <criterion/criterion.h>

#include <flow/flow.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static int64_t draw(int64_t low, int64_t high) { /* inclusive */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}
static const char *pick(const char *a, const char *b) { return draw(0, 1) ? a : b; }

/* An operator's drawn node: its attributes, and the shape of its inputs with the streaming axis named T. */
struct drawn {
    const char *op, *ports;
    char with[256];
    int32_t rank, axis;
    int64_t shape[4];
    int inputs;
};

static void with(struct drawn *d, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(d->with, sizeof d->with, format, arguments);
    va_end(arguments);
}

static void shape(struct drawn *d, int32_t axis, int32_t rank, ...) {
    va_list arguments;
    va_start(arguments, rank);
    d->rank = rank, d->axis = axis;
    for (int32_t i = 0; i < rank; i++) d->shape[i] = va_arg(arguments, int);
    va_end(arguments);
}

static struct drawn draw_node(int kind) {
    struct drawn d = {.inputs = 1, .ports = "x0"};
    int batch = (int)draw(0, 3), size = (int)draw(1, 24), hop = (int)draw(1, 30), steps = (int)draw(0, 90);
    switch (kind) {
    case 0:
        d.op = "fsmn";
        with(&d, "left: %d, right: %d, dilation: %d, skip: %s", (int)draw(0, 9), (int)draw(0, 9), (int)draw(1, 4), pick("true", "false"));
        shape(&d, 1, 3, batch, steps, (int)draw(1, 40));
        break;
    case 1:
        d.op = "stft";
        with(&d, "size: %d, hop: %d, center: false, window: %s, periodic: %s", size, hop, pick("hann", "hamming"), pick("true", "false"));
        shape(&d, 1, 2, batch, 3 * steps);
        break;
    case 2:
        d.op = "istft", d.inputs = 2, d.ports = "{re: x0, im: x1}";
        with(&d, "size: %d, hop: %d, center: %s, window: %s", size, hop, pick("true", "false"), pick("sqrt_hann", "rect"));
        shape(&d, 2, 3, batch, size / 2 + 1, steps / 4);
        break;
    case 3:
        d.op = "fbank";
        with(&d, "rate: 4000, mels: %d, window_ms: %d, hop_ms: %d, log: %s, power: %s", (int)draw(1, 12), size, hop, pick("true", "false"),
             pick("true", "false"));
        shape(&d, 1, 2, batch, 10 * steps);
        break;
    case 4:
        d.op = "frame_stack";
        with(&d, "count: %d, stride: %d", (int)draw(1, 8), (int)draw(1, 10));
        shape(&d, 1, 3, batch, steps, (int)draw(1, 3));
        break;
    case 5:
        d.op = "frame";
        with(&d, "size: %d, hop: %d, tail: %s, before: %d", size, hop, pick("zero", "drop"), (int)draw(0, 1) * (int)draw(0, 20));
        shape(&d, 1, 3, batch, steps, 2);
        break;
    case 6:
        d.op = "overlap_add";
        with(&d, "hop: %d, window: %s, normalize: %s", hop, pick("triangle", "hann"), pick("true", "false"));
        shape(&d, 1, 3, batch, steps / 4, size);
        break;
    default:
        d.op = "vad_segments";
        with(&d, "window: %d, on: %d, off: %d, lookback: %d, end_silence: %d, lookahead: %d, longest: %d", (int)draw(2, 6), (int)draw(1, 3),
             (int)draw(0, 3), (int)draw(0, 5), (int)draw(1, 8), (int)draw(0, 5), (int)draw(1, 40));
        shape(&d, 0, 1, 4 * steps);
        break;
    }
    return d;
}

static void write_graph(const struct drawn *d, char *text, size_t size) {
    size_t n = 0;
    n += (size_t)snprintf(text + n, size - n, "flow: 1\nseed: 3\ninputs:\n");
    for (int i = 0; i < d->inputs; i++) {
        n += (size_t)snprintf(text + n, size - n, "  x%d: {dtype: f32, shape: [", i);
        for (int32_t a = 0; a < d->rank; a++) {
            if (a == d->axis) n += (size_t)snprintf(text + n, size - n, "%sT", a ? ", " : "");
            else n += (size_t)snprintf(text + n, size - n, "%s%d", a ? ", " : "", (int)d->shape[a]);
        }
        n += (size_t)snprintf(text + n, size - n, "]}\n");
    }
    snprintf(text + n, size - n, "nodes:\n  y: {op: %s, in: %s, with: {%s}}\noutputs: {y: y%s\n", d->op, d->ports, d->with,
             strcmp(d->op, "stft") == 0 ? ".re, im: y.im}" : "}");
}

static void fail_on(int rc, flow_errors *errors, const char *text) {
    if (rc == 0) return;
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
    cr_assert_fail("%s", text);
}

/* Elements of a tensor with the streaming axis cut to [from, to), in order. */
static double *cut(const double *x, const struct drawn *d, int64_t from, int64_t to) {
    int64_t outer = 1, inner = 1, extent = d->shape[d->axis];
    for (int32_t i = 0; i < d->rank; i++) *(i < d->axis ? &outer : i > d->axis ? &inner : &(int64_t){1}) *= d->shape[i];
    double *y = calloc((size_t)(outer * (to - from) * inner) + 1, sizeof *y);
    for (int64_t o = 0; o < outer; o++)
        memcpy(y + o * (to - from) * inner, x + (o * extent + from) * inner, (size_t)((to - from) * inner) * sizeof *y);
    return y;
}

/* What came out, joined along the streaming axis. */
struct joined {
    int32_t rank, axis;
    int64_t shape[FLOW_RANK_MAX];
    double *at;
};

static void join(struct joined *all, const struct flow_tensor *piece, int32_t axis) {
    struct joined old = *all;
    if (!old.at) {
        *all = (struct joined){.rank = piece->rank, .axis = axis};
        memcpy(all->shape, piece->shape, sizeof all->shape);
        all->shape[axis] = 0, old = *all;
    }
    int64_t outer = 1, inner = 1, before = old.shape[axis], more = piece->shape[axis];
    for (int32_t i = 0; i < all->rank; i++) *(i < axis ? &outer : i > axis ? &inner : &(int64_t){1}) *= all->shape[i];
    all->shape[axis] = before + more;
    all->at = calloc((size_t)(outer * (before + more) * inner) + 1, sizeof *all->at);
    for (int64_t o = 0; o < outer; o++) {
        if (old.at) memcpy(all->at + o * (before + more) * inner, old.at + o * before * inner, (size_t)(before * inner) * sizeof *all->at);
        for (int64_t i = 0; i < more * inner; i++)
            all->at[(o * (before + more) + before) * inner + i] = flow_tensor_real(piece, o * more * inner + i);
    }
    free(old.at);
}

/* Runs whole (pieces NULL) or streamed; results by output. */
static void run(flow_graph *graph, const struct drawn *d, double *const x[2], const int64_t *pieces, size_t count, struct joined out[2]) {
    flow_errors *errors = NULL;
    flow_session *session;
    struct flow_session_options options = {.size = sizeof options, .stream = pieces ? "T" : NULL};
    fail_on(flow_session_new(graph, &options, &errors, &session), errors, d->with);
    int64_t at = 0;
    for (size_t p = 0; p < (pieces ? count : 1); p++) {
        int64_t to = pieces ? at + pieces[p] : d->shape[d->axis], extents[FLOW_RANK_MAX];
        double *piece[2] = {0};
        memcpy(extents, d->shape, sizeof d->shape);
        extents[d->axis] = to - at;
        for (int i = 0; i < d->inputs; i++) {
            char name[16];
            snprintf(name, sizeof name, "x%d", i);
            piece[i] = cut(x[i], d, at, to);
            struct flow_tensor tensor = flow_tensor_of(piece[i], FLOW_F64, d->rank, extents);
            fail_on(flow_session_input(session, name, &tensor, &errors), errors, d->with);
        }
        bool last = pieces && p + 1 == count;
        fail_on(last ? flow_session_finish(session, &errors) : flow_session_run(session, &errors), errors, d->with);
        for (size_t o = 0; o < flow_graph_outputs(graph); o++)
            join(&out[o], flow_session_output_at(session, o), pieces ? flow_session_output_axis(session, o) : 0);
        free(piece[0]), free(piece[1]);
        at = to;
    }
    flow_session_free(session);
}

static void check_equal(const struct drawn *d, const struct joined *whole, const struct joined *streamed) {
    cr_assert(whole->rank == streamed->rank);
    int64_t count = 1;
    double largest = 1;
    for (int32_t i = 0; i < whole->rank; i++) {
        cr_assert(whole->shape[i] == streamed->shape[i], "%s {%s}: axis %d has %d in pieces, %d whole", d->op, d->with, i,
                  (int)streamed->shape[i], (int)whole->shape[i]);
        count *= whole->shape[i];
    }
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(whole->at[i]));
    for (int64_t i = 0; i < count; i++)
        cr_assert(fabs(whole->at[i] - streamed->at[i]) <= 1e-12 * largest, "%s {%s}: element %d is %g in pieces, %g whole", d->op, d->with,
                  (int)i, streamed->at[i], whole->at[i]);
}

/* Cuts `steps` into pieces of 0 to `most`; one more, empty, at times. */
static size_t draw_pieces(int64_t steps, int64_t most, int64_t *pieces) {
    size_t count = 0;
    for (int64_t at = 0; at < steps; at += pieces[count++]) {
        pieces[count] = draw(0, most);
        if (pieces[count] > steps - at) pieces[count] = steps - at;
    }
    if (count == 0 || draw(0, 1)) pieces[count++] = 0;
    return count;
}

static void check_kind(int kind, int turns) {
    state = 11 + (uint64_t)kind;
    flow_errors *errors = NULL;
    flow_runtime *runtime;
    struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .plugin_path = BUILD_DIR "/plugins"};
    fail_on(flow_runtime_new(&options, &errors, &runtime), errors, "no runtime");
    for (int turn = 0; turn < turns; turn++) {
        struct drawn d = draw_node(kind);
        char text[1024];
        write_graph(&d, text, sizeof text);
        flow_graph *graph;
        struct flow_graph_options precise = {.size = sizeof precise, .precision = FLOW_F64};
        fail_on(flow_graph_parse(runtime, "drawn.yaml", text, strlen(text), &precise, &errors, &graph), errors, text);
        int64_t elements = 1, steps = d.shape[d.axis];
        for (int32_t i = 0; i < d.rank; i++) elements *= d.shape[i];
        double *x[2];
        for (int i = 0; i < 2; i++) {
            x[i] = calloc((size_t)elements + 1, sizeof *x[i]);
            for (int64_t e = 0; e < elements; e++) x[i][e] = (double)draw(-1000, 1000) / 1000;
        }
        struct joined whole[2] = {0};
        run(graph, &d, x, NULL, 0, whole);
        int64_t *pieces = calloc((size_t)(40 * (steps + 2)), sizeof *pieces);
        for (int64_t most = 1; most <= 3 + steps; most = 3 * most + 2) {
            struct joined streamed[2] = {0};
            size_t count = draw_pieces(steps, most, pieces);
            run(graph, &d, x, pieces, count, streamed);
            for (size_t o = 0; o < flow_graph_outputs(graph); o++) check_equal(&d, &whole[o], &streamed[o]), free(streamed[o].at);
        }
        free(pieces), free(x[0]), free(x[1]), free(whole[0].at), free(whole[1].at);
        flow_graph_free(graph);
    }
    flow_runtime_free(runtime);
}

Test(streams, fsmn) { check_kind(0, 40); }
Test(streams, stft) { check_kind(1, 40); }
Test(streams, istft) { check_kind(2, 40); }
Test(streams, fbank) { check_kind(3, 30); }
Test(streams, frame_stack) { check_kind(4, 40); }
Test(streams, frame) { check_kind(5, 40); }
Test(streams, overlap_add) { check_kind(6, 40); }
Test(streams, vad_segments) { check_kind(7, 60); }
