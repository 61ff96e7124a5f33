/* SPDX-License-Identifier: Apache-2.0 */
/* What every operator must survive, by running its example in other ways and comparing. */
#include "flowrun/collect.h"
#include "flowrun/gradients.h"
#include "flowrun/trial.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 512 };

/* The example's result; what it is compared with. */
static bool plain_result(struct trial *trial, struct trial_result *result) {
    trial_whole(trial, trial->runtime, TRIAL_PLAIN, 1, result);
    if (result->rc < 0) tell(trial->teller, TELL_FAILS, "the example no longer runs: %s", result->why);
    return result->rc == 0;
}

/* ---- Extents ---- */

/* An operator may refuse extents, saying why; it may not break its buffers. */
static bool run_extents(struct trial *trial, flow_graph *graph, int *ran, int *refused) {
    struct tensors inputs;
    struct trial_result result;
    if (!trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) return true;
    trial_run(trial, graph, &inputs, 2, &result);
    tensors_free(&inputs);
    bool broken = result.rc == FLOW_ERROR_PLUGIN || result.rc == FLOW_ERROR_INTERNAL;
    result.rc < 0 ? ++*refused : ++*ran;
    if (broken) {
        char types[WHY];
        tell(trial->teller, TELL_FAILS, "with %s: %s", trial_types(trial, NULL, types, sizeof types), result.why);
    }
    result_free(&result);
    return !broken;
}

void check_extents(struct trial *trial) {
    static const int64_t extents[] = {0, 1, 7, 33};
    flow_graph *graph = NULL;
    char why[WHY];
    int ran = 0, refused = 0;
    bool good = true;
    if (trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F32, &graph, why, sizeof why) < 0) {
        tell(trial->teller, TELL_FAILS, "%s", why);
        return;
    }
    for (size_t s = 0; s < trial->symbol_count && good; s++) {
        int64_t kept = trial->symbols[s].extent;
        for (size_t k = 0; k < sizeof extents / sizeof *extents && good && !trial->symbols[s].fixed; k++) {
            tell_trial(trial->teller, "extent %s = %lld", trial->symbols[s].name, (long long)extents[k]);
            trial->symbols[s].extent = extents[k];
            good = run_extents(trial, graph, &ran, &refused);
        }
        trial->symbols[s].extent = kept;
    }
    flow_graph_free(graph);
    if (ran + refused == 0) tell(trial->teller, TELL_NOTHING, "it has no inputs of open extents");
    else tell(trial->teller, TELL_HOLDS, "0, 1 and odd: %d ran, %d were refused", ran, refused);
}

/* ---- Buffers ---- */

/* Two runs of one session: memory holds other rubbish in each. */
static bool same_twice(struct trial *trial, const struct trial_result *plain) {
    struct trial_result again;
    char why[WHY];
    trial_whole(trial, trial->runtime, TRIAL_PLAIN, 2, &again);
    bool good = again.rc == 0 && (trial->random || results_agree(trial, plain, &again, 0, why, sizeof why));
    if (again.rc < 0) tell(trial->teller, TELL_FAILS, "in a second run: %s", again.why);
    else if (!good)
        tell(trial->teller, TELL_FAILS, "two runs on the same inputs differ: %s (does it read what nothing wrote, or leave it unwritten?)",
             why);
    result_free(&again);
    return good;
}

/* Backward under guard: what arrives is 1 everywhere. */
static int backward_checked(struct trial *trial, const struct trial_result *plain, flow_graph *graph, struct tensors *inputs, char *why) {
    struct flow_session_options options = {.size = sizeof options, .streams = 1, .gradients = true, .checked = FLOW_CHECK_MEMORY};
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    int rc = flow_session_new(graph, &options, &errors, &session);
    for (size_t o = 0; o < plain->count && rc == 0; o++) {
        const struct flow_tensor *out = &plain->out[o];
        int64_t count = flow_tensor_count(out);
        float *ones = out->dtype == FLOW_F32 ? malloc((size_t)(count > 0 ? count : 1) * sizeof *ones) : NULL;
        char name[24];
        if (!ones) continue;
        for (int64_t i = 0; i < count; i++) ones[i] = 1;
        struct flow_tensor given = flow_tensor_of(ones, FLOW_F32, out->rank, out->shape);
        snprintf(name, sizeof name, "o%zu", o);
        rc = flow_session_cotangent(session, name, &given, &errors);
        if (rc == 0) rc = trial_bind(trial, session, inputs, &errors);
        for (int run = 0; run < 2 && rc == 0; run++) rc = flow_session_run(session, &errors);
        flow_session_free(session), session = NULL;
        free(ones);
        if (rc == 0) rc = flow_session_new(graph, &options, &errors, &session);
    }
    flow_session_free(session);
    if (rc < 0) errors_text(errors, rc, why, WHY);
    else flow_errors_free(errors);
    return rc;
}

void check_memory(struct trial *trial) {
    struct trial_result plain;
    struct tensors inputs;
    flow_graph *graph = NULL;
    char why[WHY] = "";
    if (!plain_result(trial, &plain)) return;
    bool good = same_twice(trial, &plain);
    if (good && trial->backward && trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) {
        tell_trial(trial->teller, "backward");
        int rc = trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F32, &graph, why, sizeof why);
        if (rc == 0) rc = backward_checked(trial, &plain, graph, &inputs, why);
        if ((good = rc == 0 || rc == FLOW_ERROR_UNSUPPORTED || rc == FLOW_ERROR_TYPE) == false)
            tell(trial->teller, TELL_FAILS, "backward: %s", why);
        flow_graph_free(graph);
        tensors_free(&inputs);
    }
    if (good)
        tell(trial->teller, TELL_HOLDS, "guards whole, inputs and parameters unchanged, outputs wholly written, two runs alike%s",
             trial->backward ? "; backward too" : "");
    result_free(&plain);
}

/* ---- Other ways to the same result ---- */

/* One run in another way against the plain one. */
static bool agrees(struct trial *trial, const struct trial_result *plain, flow_runtime *runtime, enum trial_form form, double tolerance,
                   const char *how) {
    struct trial_result other;
    char why[WHY];
    tell_trial(trial->teller, "%s", how);
    trial_whole(trial, runtime, form, 1, &other);
    bool same = other.rc == 0 && results_agree(trial, plain, &other, tolerance, why, sizeof why);
    if (other.rc < 0) tell(trial->teller, TELL_FAILS, "%s: %s", how, other.why);
    else if (!same) tell(trial->teller, TELL_FAILS, "%s: %s", how, why);
    result_free(&other);
    return same;
}

static bool has_axes(const struct trial *trial) {
    for (size_t i = 0; i < trial->in_count; i++)
        if (trial->in[i].rank > 0) return true;
    return false;
}

void check_views(struct trial *trial) {
    struct trial_result plain;
    bool strided = false;
    if (!has_axes(trial) || trial->random) {
        tell(trial->teller, TELL_NOTHING, trial->random ? "it draws" : "it has no inputs with axes");
        return;
    }
    for (size_t i = 0; i < trial->in_count; i++) strided = strided || trial->in[i].port->flags & FLOW_STRIDED;
    if (!plain_result(trial, &plain)) return;
    if (agrees(trial, &plain, trial->runtime, TRIAL_TURNED, trial_tolerance(trial), "inputs are transposed views"))
        tell(trial->teller, TELL_HOLDS, "transposed inputs give the same%s", strided ? "" : " (through copies: no port is FLOW_STRIDED)");
    result_free(&plain);
}

void check_in_place(struct trial *trial) {
    struct trial_result plain;
    bool may = false;
    for (uint32_t o = 0; o < trial->op->outputs.count; o++) may = may || trial->op->outputs.at[o].flags >> 16;
    if (!may || trial->random || !has_axes(trial)) {
        tell(trial->teller, TELL_NOTHING, !may ? "no output is FLOW_INPLACE" : "it draws, or has no inputs with axes");
        return;
    }
    if (!plain_result(trial, &plain)) return;
    if (agrees(trial, &plain, trial->runtime, TRIAL_PASSED, 0, "written over its input"))
        tell(trial->teller, TELL_HOLDS, "written over its input it gives the same bytes");
    result_free(&plain);
}

/* Longer axes, so that there is work to divide; extents that the operator does not take are left as they were. */
static void widen(struct trial *trial, struct trial_symbol *kept) {
    struct trial_result result;
    bool more = true;
    memcpy(kept, trial->symbols, sizeof trial->symbols);
    for (int round = 0; round < 4 && more; round++)
        for (size_t s = 0; s < trial->symbol_count && more; s++) {
            if (trial->symbols[s].fixed) continue;
            trial->symbols[s].extent *= 2;
            double before = seconds_now();
            trial_whole(trial, trial->runtime, TRIAL_PLAIN, 1, &result);
            if (result.rc < 0) trial->symbols[s].extent /= 2;
            int64_t count = 0;
            for (size_t o = 0; o < result.count; o++) count += flow_tensor_count(&result.out[o]);
            more = count < 200000 && seconds_now() - before < 0.1;
            result_free(&result);
        }
}

void check_threads(struct trial *trial) {
    static const int32_t threads[] = {1, 2, 3, 7};
    struct trial_symbol kept[TRIAL_SYMBOLS];
    struct trial_result one = {0};
    bool good = true;
    char how[64], why[WHY];
    tell_trial(trial->teller, "longer inputs");
    widen(trial, kept);
    for (size_t k = 0; k < sizeof threads / sizeof *threads && good; k++) {
        flow_runtime *runtime = NULL;
        snprintf(how, sizeof how, "%d thread%s", threads[k], threads[k] > 1 ? "s against one" : "");
        good = trial_runtime(trial, threads[k], &runtime, why, sizeof why) == 0;
        if (!good) tell(trial->teller, TELL_FAILS, "%s: %s", how, why);
        else if (k == 0) {
            trial_whole(trial, runtime, TRIAL_PLAIN, 1, &one);
            if ((good = one.rc == 0) == false) tell(trial->teller, TELL_FAILS, "longer inputs: %s", one.why);
        } else good = agrees(trial, &one, runtime, TRIAL_PLAIN, 0, how);
        flow_runtime_free(runtime);
    }
    char types[WHY];
    if (good) tell(trial->teller, TELL_HOLDS, "1, 2, 3 and 7 give the same bytes (%s)", trial_types(trial, NULL, types, sizeof types));
    result_free(&one);
    memcpy(trial->symbols, kept, sizeof kept);
}

void check_instructions(struct trial *trial) {
    static const char *const sets[] = {"base", "avx2", "avx512"};
    const char *before = getenv("FLOW_ISA");
    char kept[16] = "";
    struct trial_result plain;
    bool good = plain_result(trial, &plain);
    if (!good) return;
    if (before) snprintf(kept, sizeof kept, "%s", before);
    for (size_t k = 0; k < sizeof sets / sizeof *sets && good; k++) {
        flow_runtime *runtime = NULL;
        char why[WHY];
        setenv("FLOW_ISA", sets[k], 1);
        good = trial_runtime(trial, 1, &runtime, why, sizeof why) == 0;
        if (!good) tell(trial->teller, TELL_FAILS, "FLOW_ISA=%s: %s", sets[k], why);
        else good = agrees(trial, &plain, runtime, TRIAL_PLAIN, trial_tolerance(trial), sets[k]);
        flow_runtime_free(runtime);
    }
    if (before) setenv("FLOW_ISA", kept, 1);
    else unsetenv("FLOW_ISA");
    if (good) tell(trial->teller, TELL_HOLDS, "base, avx2 and avx512 agree, as far as this processor has them");
    result_free(&plain);
}

/* ---- Several callers ---- */

struct caller {
    const struct trial *trial;
    flow_graph *graph;
    const struct tensors *inputs;
    struct trial_result result;
    pthread_t thread;
    bool started;
};

static void *call(void *context) {
    struct caller *caller = context;
    trial_run(caller->trial, caller->graph, caller->inputs, 4, &caller->result);
    return NULL;
}

void check_sessions(struct trial *trial) {
    enum { CALLERS = 4 };
    struct caller callers[CALLERS] = {{0}};
    struct tensors inputs;
    flow_graph *graph = NULL;
    char why[WHY];
    bool good = trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F32, &graph, why, sizeof why) == 0;
    if (!good) tell(trial->teller, TELL_FAILS, "%s", why);
    if (!good || !trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) {
        flow_graph_free(graph);
        return;
    }
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.trial = trial, .graph = graph, .inputs = &inputs};
        callers[i].started = pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0;
    }
    for (int i = 0; i < CALLERS; i++)
        if (callers[i].started) pthread_join(callers[i].thread, NULL);
    for (int i = 0; i < CALLERS && good; i++) {
        if (!callers[i].started) continue;
        good = callers[i].result.rc == 0;
        if (!good) tell(trial->teller, TELL_FAILS, "four sessions at once: %s", callers[i].result.why);
        else if (!(good = results_agree(trial, &callers[0].result, &callers[i].result, 0, why, sizeof why)))
            tell(trial->teller, TELL_FAILS, "four sessions at once differ: %s", why);
    }
    if (good) tell(trial->teller, TELL_HOLDS, "four at once give the same bytes");
    for (int i = 0; i < CALLERS; i++) result_free(&callers[i].result);
    tensors_free(&inputs);
    flow_graph_free(graph);
}

/* ---- Memory that fails ---- */

struct failing {
    pthread_mutex_t lock;
    int64_t calls, at; /* at < 0: none fails */
    int64_t living;
};

static void *resize(void *context, void *block, size_t before, size_t after) {
    struct failing *failing = context;
    pthread_mutex_lock(&failing->lock);
    bool fails = after > before && failing->at >= 0 && failing->calls == failing->at;
    if (after > before) failing->calls++;
    if (!fails) failing->living += (int64_t)after - (int64_t)before;
    pthread_mutex_unlock(&failing->lock);
    if (fails) return NULL;
    if (after == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, after);
}

/* Fails each of the allocations that planning and a run make, one a time. */
static bool fail_each(struct trial *trial, struct failing *failing, flow_graph *graph, const struct tensors *inputs, int64_t *count) {
    struct trial_result result;
    failing->calls = 0, failing->at = INT64_MAX;
    trial_run(trial, graph, inputs, 1, &result);
    result_free(&result);
    *count = failing->calls;
    int64_t step = *count > 200 ? *count / 200 : 1;
    for (int64_t n = 0; n < *count; n += step) {
        tell_trial(trial->teller, "allocation %lld fails", (long long)n);
        failing->calls = 0, failing->at = n;
        trial_run(trial, graph, inputs, 1, &result);
        bool wrong = result.rc < 0 && result.rc != FLOW_ERROR_MEMORY;
        if (wrong)
            tell(trial->teller, TELL_FAILS, "allocation %lld of %lld fails: %s (%s expected)", (long long)n, (long long)*count, result.why,
                 flow_status_text(FLOW_ERROR_MEMORY));
        result_free(&result);
        if (wrong) return false;
    }
    failing->at = -1;
    tell_trial(trial->teller, "after allocations that failed");
    trial_run(trial, graph, inputs, 1, &result);
    bool good = result.rc == 0;
    if (!good) tell(trial->teller, TELL_FAILS, "after allocations that failed it no longer runs: %s", result.why);
    result_free(&result);
    return good;
}

void check_allocations(struct trial *trial) {
    struct failing failing = {.lock = PTHREAD_MUTEX_INITIALIZER, .at = -1};
    struct flow_runtime_options options = {.size = sizeof options,
                                           .threads = 1,
                                           .plugin_path = trial->plugin_path,
                                           .plugin_only = true,
                                           .resize = resize,
                                           .resize_context = &failing};
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    struct tensors inputs = {0};
    char why[WHY] = "out of memory";
    int64_t count = 0;
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = trial_graph(trial, runtime, TRIAL_PLAIN, FLOW_F32, &graph, why, sizeof why);
    if (rc == 0 && !trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) rc = FLOW_ERROR_MEMORY;
    bool good = rc == 0 && fail_each(trial, &failing, graph, &inputs, &count);
    if (rc < 0) tell(trial->teller, TELL_FAILS, "%s", why);
    tensors_free(&inputs);
    flow_errors_free(errors);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    if (good && failing.living) tell(trial->teller, TELL_FAILS, "%lld bytes were not given back", (long long)failing.living);
    else if (good) tell(trial->teller, TELL_HOLDS, "each of %lld fails once: an error each time, nothing lost", (long long)count);
}

/* ---- Gradients ---- */

void check_gradients(struct trial *trial) {
    flow_graph *graph = NULL;
    struct tensors inputs;
    char why[WHY];
    bool real = false;
    for (size_t i = 0; i < trial->in_count; i++) real = real || trial->in[i].dtype == FLOW_F32;
    if (!trial->backward) {
        tell(trial->teller, TELL_NOTHING, "no kernel has a backward: in training it is named as the one that has none");
        return;
    }
    if (!real && !trial->op->params.count) {
        tell(trial->teller, TELL_NOTHING, "no input is real");
        return;
    }
    if (trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F64, &graph, why, sizeof why) < 0) {
        tell(trial->teller, TELL_FAILS, "%s", why);
        return;
    }
    if (trial_inputs(trial, TRIAL_PLAIN, true, &inputs)) {
        struct gradients_found found = {0};
        int rc = gradients_of(trial->runtime, graph, inputs.at, &found);
        if (rc < 0) tell(trial->teller, TELL_FAILS, "%s", found.said[0] ? found.said : flow_status_text(rc));
        else if (found.differ) tell(trial->teller, TELL_FAILS, "%s", found.said);
        else if (!found.agree) tell(trial->teller, TELL_NOTHING, "%s", found.said[0] ? found.said : "there is no gradient");
        else tell(trial->teller, TELL_HOLDS, "%d agree with central differences, off by at most %.2g", found.agree, found.worst);
        tensors_free(&inputs);
    }
    flow_graph_free(graph);
}
