/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/trial.h"

#include "flowrun/collect.h"
#include "flowrun/print.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void errors_text(flow_errors *errors, int rc, char *why, size_t size) {
    const char *text = flow_errors_count(errors) ? flow_errors_get(errors, 0).text : flow_status_text(rc);
    snprintf(why, size, "%s", text);
    flow_errors_free(errors);
}

/* ---- The graph ---- */

int trial_runtime(const struct trial *trial, int32_t threads, flow_runtime **out, char *why, size_t size) {
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = threads, .plugin_path = trial->plugin_path, .plugin_only = true};
    flow_errors *errors = NULL;
    int rc = flow_runtime_new(&options, &errors, out);
    if (rc < 0) errors_text(errors, rc, why, size);
    return rc;
}

/* Axes as the input is given: turned around, one axis alone wider. */
static bool widened(const struct trial_input *input, enum trial_form form) { return form == TRIAL_TURNED && input->rank == 1; }

static void put_input(FILE *to, const struct trial *trial, size_t i, enum trial_form form) {
    const struct trial_input *input = &trial->in[i];
    bool changed = form != TRIAL_PLAIN && input->rank > 0;
    fprintf(to, "  %s%s: {dtype: %s, shape: [", input->name, changed ? "_" : "", flow_type_name(input->dtype));
    for (int32_t a = 0; a < input->rank; a++) {
        int32_t axis = form == TRIAL_TURNED ? input->rank - 1 - a : a;
        const struct trial_symbol *symbol = &trial->symbols[input->axes[axis]];
        fputs(a ? ", " : "", to);
        if (symbol->fixed) fprintf(to, "%lld", (long long)symbol->extent);
        else fputs(symbol->name, to);
        if (widened(input, form)) fputs("_wide", to);
    }
    fputs("]}\n", to);
}

static void put_before(FILE *to, const struct trial *trial, size_t i, enum trial_form form) {
    const struct trial_input *input = &trial->in[i];
    if (form == TRIAL_PLAIN || input->rank == 0) return;
    if (form == TRIAL_PASSED) {
        if (input->dtype == FLOW_BOOL) fprintf(to, "  %s: {op: or, in: [%s_, %s_]", input->name, input->name, input->name);
        else fprintf(to, "  %s: {op: mul, in: %s_, with: {value: 1}", input->name, input->name);
        fputs("}\n", to);
    } else if (widened(input, form)) {
        fprintf(to, "  %s: {op: slice, in: %s_, with: {axis: 0, start: 1, stop: -1}}\n", input->name, input->name);
    } else {
        fprintf(to, "  %s: {op: transpose, in: %s_, with: {perm: [", input->name, input->name);
        for (int32_t a = input->rank - 1; a >= 0; a--) fprintf(to, "%d%s", a, a ? ", " : "");
        fputs("]}}\n", to);
    }
}

char *trial_text(const struct trial *trial, enum trial_form form) {
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) return NULL;
    fputs(trial->in_count ? "flow: 1\ninputs:\n" : "flow: 1\n", to);
    for (size_t i = 0; i < trial->in_count; i++) put_input(to, trial, i, form);
    fputs("nodes:\n", to);
    for (size_t i = 0; i < trial->in_count; i++) put_before(to, trial, i, form);
    fprintf(to, "  %s\noutputs: {", trial->op->example);
    for (size_t o = 0; o < trial->out_count; o++) fprintf(to, "%so%zu: %s", o ? ", " : "", o, trial->out[o]);
    fputs("}\n", to);
    bool bad = ferror(to);
    if (fclose(to) != 0 || bad) {
        free(text);
        return NULL;
    }
    return text;
}

int trial_graph(const struct trial *trial, flow_runtime *runtime, enum trial_form form, int32_t precision, flow_graph **out, char *why,
                size_t size) {
    struct flow_graph_options options = {.size = sizeof options, .precision = precision, .weights = ""};
    char *text = trial_text(trial, form);
    flow_errors *errors = NULL;
    int rc = text ? flow_graph_parse(runtime, "example", text, strlen(text), &options, &errors, out) : FLOW_ERROR_MEMORY;
    if (rc < 0) errors_text(errors, rc, why, size);
    free(text);
    return rc;
}

/* ---- Inputs ---- */

/* Values around 0, or above it; whole numbers that small counts and indices can be. Element `i` of input `which` is always the same. */
static double value_at(const struct trial *trial, size_t which, int32_t dtype, int64_t i) {
    struct draw draw = {.key = 77 + 131 * which, .count = 2 * (uint64_t)i};
    if (dtype == FLOW_F32 || dtype == FLOW_F64 || dtype == FLOW_F16 || dtype == FLOW_BF16)
        return trial->attempt & 1 ? 0.1 + 0.8 * draw_uniform(&draw) : 0.7 * draw_normal(&draw);
    return dtype != FLOW_BOOL && trial->attempt & 2 ? 0 : (double)draw_below(&draw, 2);
}

/* Halves by cutting off an f32: exact enough to be read back the same. */
static void put(void *data, int32_t dtype, int64_t i, double value) {
    float single = (float)value;
    uint32_t bits;
    switch (dtype) {
    case FLOW_F32: ((float *)data)[i] = single; break;
    case FLOW_F64: ((double *)data)[i] = value; break;
    case FLOW_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    case FLOW_I64: ((int64_t *)data)[i] = (int64_t)value; break;
    case FLOW_U8:
    case FLOW_BOOL: ((uint8_t *)data)[i] = (uint8_t)value; break;
    case FLOW_BF16:
        memcpy(&bits, &single, 4);
        ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        break;
    default: /* f16, of normal numbers of its range */
        memcpy(&bits, &single, 4);
        int32_t exponent = (int32_t)((bits >> 23) & 0xFF) - 127 + 15;
        uint32_t sign = bits >> 16 & 0x8000;
        ((uint16_t *)data)[i] = (uint16_t)(exponent <= 0 || exponent >= 31 ? sign : sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3FF));
    }
}

/* The place in the input as it is given of element `at` of the operator's own order; -1: it is beside it. */
static void fill(const struct trial *trial, size_t which, enum trial_form form, struct flow_tensor *tensor) {
    const struct trial_input *input = &trial->in[which];
    int64_t count = flow_tensor_count(tensor), index[FLOW_RANK_MAX] = {0};
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0; /* of the operator's input, row-major */
        if (widened(input, form)) at = i - 1;
        else if (form == TRIAL_TURNED)
            for (int32_t a = input->rank - 1; a >= 0; a--) at = at * tensor->shape[a] + index[a];
        else at = i;
        put(tensor->data, tensor->dtype, i,
            value_at(trial, which, tensor->dtype == FLOW_F64 ? input->dtype : tensor->dtype, at < 0 ? 0 : at));
        for (int32_t a = tensor->rank - 1; a >= 0 && ++index[a] == tensor->shape[a]; a--) index[a] = 0;
    }
}

bool trial_inputs(const struct trial *trial, enum trial_form form, bool doubled, struct tensors *out) {
    *out = (struct tensors){.count = trial->in_count};
    for (size_t i = 0; i < trial->in_count; i++) {
        const struct trial_input *input = &trial->in[i];
        int64_t shape[FLOW_RANK_MAX], count = 1;
        int32_t dtype = doubled && input->dtype == FLOW_F32 ? FLOW_F64 : input->dtype;
        for (int32_t a = 0; a < input->rank; a++) {
            int32_t axis = form == TRIAL_TURNED ? input->rank - 1 - a : a;
            shape[a] = trial->symbols[input->axes[axis]].extent + (widened(input, form) ? 2 : 0);
            if (__builtin_mul_overflow(count, shape[a], &count) || count > 1 << 22) return tensors_free(out), false;
        }
        void *data = calloc((size_t)(count > 0 ? count : 1), (size_t)flow_type_bytes(dtype));
        if (!data) return tensors_free(out), false;
        out->at[i] = flow_tensor_of(data, dtype, input->rank, shape);
        fill(trial, i, form, &out->at[i]);
    }
    return true;
}

void tensors_free(struct tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++) free(tensors->at[i].data);
    *tensors = (struct tensors){0};
}

/* ---- Runs ---- */

void result_free(struct trial_result *result) {
    for (size_t o = 0; o < result->count; o++) free(result->out[o].data);
    result->count = 0;
}

int trial_bind(const struct trial *trial, flow_session *session, const struct tensors *inputs, flow_errors **errors) {
    int rc = 0;
    for (size_t i = 0; i < trial->in_count && rc == 0; i++) {
        char name[TRIAL_NAME + 2];
        snprintf(name, sizeof name, "%s_", trial->in[i].name);
        flow_errors *none = NULL;
        rc = flow_session_input(session, name, &inputs->at[i], &none); /* named so where something stands before it */
        flow_errors_free(none);
        if (rc < 0) rc = flow_session_input(session, trial->in[i].name, &inputs->at[i], errors);
    }
    return rc;
}

void trial_take(const struct trial *trial, flow_session *session, struct trial_result *result) {
    for (size_t o = 0; o < trial->out_count && result->rc == 0; o++) {
        const struct flow_tensor *out = flow_session_output_at(session, o);
        int64_t count = flow_tensor_count(out);
        void *data = malloc((size_t)(count > 0 ? count : 1) * (size_t)flow_type_bytes(out->dtype));
        if (!data) {
            result->rc = FLOW_ERROR_MEMORY;
            return;
        }
        tensor_pack(out, data);
        result->out[result->count++] = flow_tensor_of(data, out->dtype, out->rank, out->shape);
    }
}

void trial_run(const struct trial *trial, flow_graph *graph, const struct tensors *inputs, int runs, struct trial_result *result) {
    struct flow_session_options options = {.size = sizeof options, .streams = 1, .checked = FLOW_CHECK_MEMORY};
    flow_errors *errors = NULL;
    flow_session *session = NULL;
    *result = (struct trial_result){0};
    result->rc = flow_session_new(graph, &options, &errors, &session);
    if (result->rc == 0) result->rc = trial_bind(trial, session, inputs, &errors);
    for (int i = 0; i < runs && result->rc == 0; i++) result->rc = flow_session_run(session, &errors);
    if (result->rc < 0) errors_text(errors, result->rc, result->why, sizeof result->why);
    else trial_take(trial, session, result);
    flow_session_free(session);
}

void trial_whole(const struct trial *trial, flow_runtime *runtime, enum trial_form form, int runs, struct trial_result *result) {
    flow_graph *graph = NULL;
    struct tensors inputs;
    *result = (struct trial_result){0};
    result->rc = trial_graph(trial, runtime, form, FLOW_F32, &graph, result->why, sizeof result->why);
    if (result->rc < 0) return;
    if (trial_inputs(trial, form, false, &inputs)) {
        trial_run(trial, graph, &inputs, runs, result);
        tensors_free(&inputs);
    } else result->rc = FLOW_ERROR_MEMORY;
    flow_graph_free(graph);
}

/* ---- Comparing ---- */

static bool is_real(int32_t dtype) { return dtype == FLOW_F32 || dtype == FLOW_F64 || dtype == FLOW_F16 || dtype == FLOW_BF16; }

double trial_tolerance(const struct trial *trial) {
    double tolerance = 1e-9;
    for (size_t i = 0; i < trial->in_count; i++) {
        int32_t dtype = trial->in[i].dtype;
        double own = dtype == FLOW_F64 ? 1e-9 : dtype == FLOW_F16 || dtype == FLOW_BF16 ? 2e-2 : 2e-4;
        if (own > tolerance) tolerance = own;
    }
    return trial->in_count ? tolerance : 2e-4;
}

static bool same_type(const struct flow_tensor *a, const struct flow_tensor *b) {
    bool same = a->rank == b->rank && a->dtype == b->dtype;
    for (int32_t i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

static int64_t first_difference(const struct flow_tensor *a, const struct flow_tensor *b, double tolerance) {
    int64_t count = flow_tensor_count(a), size = flow_type_bytes(a->dtype);
    double largest = 0;
    for (int64_t i = 0; i < count && tolerance > 0; i++)
        if (isfinite(flow_tensor_real(a, i))) largest = fmax(largest, fabs(flow_tensor_real(a, i)));
    for (int64_t i = 0; i < count; i++) {
        if (memcmp((const char *)a->data + i * size, (const char *)b->data + i * size, (size_t)size) == 0) continue;
        double x = flow_tensor_real(a, i), y = flow_tensor_real(b, i);
        bool close = tolerance > 0 && is_real(a->dtype) && ((isnan(x) && isnan(y)) || x == y || fabs(x - y) <= tolerance * largest + 1e-6);
        if (!close) return i;
    }
    return -1;
}

bool results_agree(const struct trial *trial, const struct trial_result *a, const struct trial_result *b, double tolerance, char *why,
                   size_t size) {
    for (size_t o = 0; o < a->count && o < b->count; o++) {
        char one[160], other[160];
        if (!same_type(&a->out[o], &b->out[o])) {
            snprintf(why, size, "%s is %s and %s", trial->out[o], print_type(&a->out[o], one, sizeof one),
                     print_type(&b->out[o], other, sizeof other));
            return false;
        }
        int64_t i = first_difference(&a->out[o], &b->out[o], tolerance);
        if (i < 0) continue;
        snprintf(why, size, "element %lld of %s is %.9g and %.9g", (long long)i, trial->out[o], flow_tensor_real(&a->out[o], i),
                 flow_tensor_real(&b->out[o], i));
        return false;
    }
    return true;
}

const char *trial_types(const struct trial *trial, const struct trial_result *result, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < trial->in_count && used < size; i++) {
        used +=
            (size_t)snprintf(text + used, size - used, "%s%s %s [", i ? ", " : "", trial->in[i].name, flow_type_name(trial->in[i].dtype));
        for (int32_t a = 0; a < trial->in[i].rank && used < size; a++)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%lld", a ? ", " : "", (long long)trial->symbols[trial->in[i].axes[a]].extent);
        if (used < size) used += (size_t)snprintf(text + used, size - used, "]");
    }
    for (size_t o = 0; result && o < result->count && used < size; o++) {
        char type[160];
        used += (size_t)snprintf(text + used, size - used, "%s%s %s",
                                 o                 ? ", "
                                 : trial->in_count ? " -> "
                                                   : "",
                                 trial->out[o], print_type(&result->out[o], type, sizeof type));
    }
    return text;
}
