/* SPDX-License-Identifier: Apache-2.0 */
/* A sequence in pieces gives what the whole gives. */
#include "flowrun/collect.h"
#include "flowrun/trial.h"

#include <stdlib.h>
#include <string.h>

enum { WHY = 512 };

/* The part [from, from + count) of every input along the symbol. */
static void cut(const struct trial *trial, const struct tensors *whole, int32_t symbol, int64_t from, int64_t count, struct tensors *out) {
    *out = *whole;
    for (size_t i = 0; i < trial->in_count; i++)
        for (int32_t a = 0; a < trial->in[i].rank; a++) {
            struct flow_tensor *t = &out->at[i];
            if (trial->in[i].axes[a] != symbol) continue;
            t->data = (char *)t->data + from * t->strides[a] * flow_type_bytes(t->dtype);
            t->shape[a] = count;
            break; /* the first such axis is the one that is cut */
        }
}

static int keep(const struct trial *trial, flow_session *session, struct collect *collects) {
    int rc = 0;
    for (size_t o = 0; o < trial->out_count && rc == 0; o++)
        if (collect_add(&collects[o], flow_session_output_at(session, o), flow_session_output_axis(session, o))) rc = FLOW_ERROR_MEMORY;
    return rc;
}

static int feed(const struct trial *trial, flow_session *session, const struct tensors *whole, int32_t symbol, const int64_t *pieces,
                size_t piece_count, struct collect *collects, flow_errors **errors) {
    int64_t extent = trial->symbols[symbol].extent, at = 0;
    int rc = 0;
    for (size_t p = 0; rc == 0; p++) {
        struct tensors part;
        int64_t piece = pieces[p % piece_count];
        bool last = at + piece >= extent;
        if (last) piece = extent - at;
        cut(trial, whole, symbol, at, piece, &part);
        rc = trial_bind(trial, session, &part, errors);
        if (rc == 0) rc = last ? flow_session_finish(session, errors) : flow_session_run(session, errors);
        if (rc == 0) rc = keep(trial, session, collects);
        at += piece;
        if (last) return rc;
    }
    return rc;
}

static void run_pieces(const struct trial *trial, flow_graph *graph, const struct tensors *whole, int32_t symbol, const int64_t *pieces,
                       size_t piece_count, struct trial_result *result) {
    struct flow_session_options options = {
        .size = sizeof options, .streams = 1, .stream = trial->symbols[symbol].name, .checked = FLOW_CHECK_MEMORY};
    struct collect collects[TRIAL_OUTPUTS];
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    memset(collects, 0, sizeof collects);
    *result = (struct trial_result){0};
    result->rc = flow_session_new(graph, &options, &errors, &session);
    if (result->rc == 0) result->rc = feed(trial, session, whole, symbol, pieces, piece_count, collects, &errors);
    if (result->rc < 0) errors_text(errors, result->rc, result->why, sizeof result->why);
    for (size_t o = 0; o < trial->out_count && result->rc == 0; o++) {
        if (collect_join(&collects[o], &result->out[o])) result->rc = FLOW_ERROR_MEMORY;
        else result->count++;
    }
    for (size_t o = 0; o < trial->out_count; o++) collect_free(&collects[o]);
    flow_session_free(session);
}

static bool compare(struct trial *trial, flow_graph *graph, const struct tensors *inputs, int32_t symbol, const struct trial_result *whole,
                    const int64_t *pieces, size_t count, const char *how) {
    struct trial_result result;
    char why[WHY];
    tell_trial(trial->teller, "along %s, %s", trial->symbols[symbol].name, how);
    run_pieces(trial, graph, inputs, symbol, pieces, count, &result);
    bool good = result.rc == 0 && results_agree(trial, whole, &result, trial_tolerance(trial), why, sizeof why);
    if (result.rc < 0) tell(trial->teller, TELL_FAILS, "along %s, %s: %s", trial->symbols[symbol].name, how, result.why);
    else if (!good) tell(trial->teller, TELL_FAILS, "along %s, %s, is not what the whole gives: %s", trial->symbols[symbol].name, how, why);
    result_free(&result);
    return good;
}

/* 1: streams; 0: does not, and why; -1: told. */
static int stream_along(struct trial *trial, int32_t symbol, char *why, size_t size) {
    static const int64_t ones[] = {1}, threes[] = {3}, mixed[] = {2, 0, 5, 1}, longer[] = {57};
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    struct trial_result whole = {0};
    struct tensors inputs;
    int64_t kept = trial->symbols[symbol].extent;
    int streams = 1, rc = trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F32, &graph, why, size);
    if (rc < 0) return 0;
    rc = flow_graph_check(graph, trial->symbols[symbol].name, &errors);
    if (rc < 0) errors_text(errors, rc, why, size), streams = 0;
    trial->symbols[symbol].extent = 2 * kept + 1; /* longer than what it looks at, where it takes that */
    if (streams) trial_whole(trial, trial->runtime, TRIAL_PLAIN, 1, &whole);
    if (streams && whole.rc < 0) {
        trial->symbols[symbol].extent = kept;
        trial_whole(trial, trial->runtime, TRIAL_PLAIN, 1, &whole);
    }
    if (streams && trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) {
        bool small = trial->symbols[symbol].extent <= 130;
        bool good = whole.rc == 0;
        if (good && small) good = compare(trial, graph, &inputs, symbol, &whole, ones, 1, "in pieces of 1");
        if (good && small) good = compare(trial, graph, &inputs, symbol, &whole, threes, 1, "in pieces of 3");
        if (good && small) good = compare(trial, graph, &inputs, symbol, &whole, mixed, 4, "in pieces of 2, 0, 5, 1");
        if (good && !small) good = compare(trial, graph, &inputs, symbol, &whole, longer, 1, "in pieces of 57");
        if (good) good = compare(trial, graph, &inputs, symbol, &whole, &trial->symbols[symbol].extent, 1, "in one piece");
        streams = good ? 1 : -1;
        tensors_free(&inputs);
    }
    trial->symbols[symbol].extent = kept;
    result_free(&whole);
    flow_graph_free(graph);
    return streams;
}

void check_streaming(struct trial *trial) {
    char yes[128] = "", why[WHY] = "", first[WHY] = "";
    size_t used = 0;
    if (trial->random || trial->op->flags & FLOW_OP_BY_PIECE) {
        tell(trial->teller, TELL_NOTHING, trial->random ? "it draws" : "it is FLOW_OP_BY_PIECE");
        return;
    }
    for (size_t s = 0; s < trial->symbol_count; s++) {
        if (trial->symbols[s].fixed) continue;
        int streams = stream_along(trial, (int32_t)s, why, sizeof why);
        if (streams < 0) return;
        if (streams == 0 && !first[0]) snprintf(first, sizeof first, "along %.60s: %.400s", trial->symbols[s].name, why);
        if (streams > 0 && used < sizeof yes)
            used += (size_t)snprintf(yes + used, sizeof yes - used, "%s%s", used ? ", " : "", trial->symbols[s].name);
    }
    if (used) tell(trial->teller, TELL_HOLDS, "along %s: pieces give what the whole gives", yes);
    else tell(trial->teller, TELL_NOTHING, "%s", first[0] ? first : "it has no inputs of open extents");
}
