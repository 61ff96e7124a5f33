/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of graphs: values are checked against them where they enter, and
 * the symbols of the scope take their extents. */
#include "graph/instance_build.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MOST = 256 };

/* ${width} may stand in quotes: a number all the same. */
bool build_scalar_int(const struct document *scalar, int64_t *value) {
    if (scalar->kind != DOCUMENT_SCALAR) return false;
    if (!scalar->quoted) return document_int(scalar, value);
    struct document plain = *scalar;
    plain.quoted = false;
    return document_int(&plain, value);
}

bool build_is_symbol(const char *text) {
    size_t length = 0;
    if (!isalpha((unsigned char)text[0]) && text[0] != '_') return false;
    while (isalnum((unsigned char)text[length]) || text[length] == '_') length++;
    return text[length] == 0 && length < NAME_MOST;
}

int build_symbol(void *context, const char *name, size_t length, struct number *value) {
    const struct map *symbols = context;
    char word[NAME_MOST];
    int64_t extent;
    if (length >= sizeof word) return 0;
    memcpy(word, name, length);
    word[length] = 0;
    if (!map_get(symbols, word, &extent)) return 0;
    *value = (struct number){.i = extent, .r = (double)extent};
    return 1;
}

/* "f32 [B, T, 8]" */
static const char *signature_text(char *buffer, size_t size, const struct network_input *input, int32_t dtype) {
    size_t used = (size_t)snprintf(buffer, size, "%s [", dtype_name(dtype));
    for (int32_t i = 0; i < input->rank && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%.40s", i ? ", " : "", input->extents[i]->text);
    if (used < size) snprintf(buffer + used, size - used, "]");
    return buffer;
}

static void misfit(struct build *build, const struct network_input *input, const struct flow_tensor *found, struct position at,
                   const char *path, int code, const char *why) {
    char wanted[512], is[EXTENTS_TEXT];
    int32_t dtype = input->dtype == FLOW_F32 ? build->f32 : input->dtype;
    signature_text(wanted, sizeof wanted, input, dtype);
    extents_text(is, found->dtype, found);
    if (path)
        report_add(build->report, code, at, "graph '%s' expects %s as %s, found %s%s%s", path, input->name, wanted, is, *why ? ": " : "",
                   why);
    else report_add(build->report, code, at, "input '%s' must be %s, found %s%s%s", input->name, wanted, is, *why ? ": " : "", why);
}

/* One extent. 1: it fits; 0: not, `why` says; 2: its expression has names that
 * are not known yet; negative: memory. */
static int check_extent(struct map *symbols, const struct document *extent, int32_t axis, int64_t found, bool last, char *why,
                        size_t size) {
    int64_t expected;
    struct number number;
    bool named = false;
    if (!build_scalar_int(extent, &expected)) {
        named = true;
        if (build_is_symbol(extent->text)) {
            if (!map_get(symbols, extent->text, &expected)) return map_set(symbols, extent->text, found) < 0 ? FLOW_ERROR_MEMORY : 1;
        } else {
            char reason[NAME_MOST] = "";
            if (expression_evaluate(extent->text, strlen(extent->text), build_symbol, symbols, &number, reason, sizeof reason) < 0) {
                snprintf(why, size, "the extent '%.60s' of axis %d: %s", extent->text, axis, reason);
                return last ? 0 : 2;
            }
            if (number.real) {
                snprintf(why, size, "the extent '%.60s' of axis %d is not an integer", extent->text, axis);
                return 0;
            }
            expected = number.i;
        }
    }
    if (found == expected) return 1;
    snprintf(why, size, "axis %d is %lld, expected %.60s%s%lld", axis, (long long)found, named ? extent->text : "", named ? " = " : "",
             (long long)expected);
    return 0;
}

int build_signature(struct build *build, const struct network_input *input, int32_t scope, const struct flow_tensor *found,
                    struct position at, const char *path, bool *fits) {
    char why[PATTERN_WHY] = "";
    int32_t dtype = input->dtype == FLOW_F32 ? build->f32 : input->dtype;
    *fits = false;
    if (scope < 0 || scope >= (build->network->scope_count > 0 ? build->network->scope_count : 1)) return 0;
    if (input->dtype < 0 || input->rank < 0 || input->rank > FLOW_RANK_MAX) return 0; /* said where it was read */
    if (found->dtype != dtype) {
        misfit(build, input, found, at, path, FLOW_ERROR_TYPE, "");
        return 0;
    }
    if (found->rank != input->rank) {
        misfit(build, input, found, at, path, FLOW_ERROR_SHAPE, "");
        return 0;
    }
    for (int32_t axis = 0; axis < input->rank; axis++) {
        if (found->shape[axis] < 0) {
            misfit(build, input, found, at, path, FLOW_ERROR_SHAPE, "");
            return 0;
        }
        int status = check_extent(&build->symbols[scope], input->extents[axis], axis, found->shape[axis], false, why, sizeof why);
        if (status < 0) return status;
        if (status == 0) {
            misfit(build, input, found, at, path, FLOW_ERROR_SHAPE, why);
            return 0;
        }
        if (status == 1) continue;
        struct build_pending *pending = arena_new(&build->scratch, sizeof *pending);
        if (!pending) return FLOW_ERROR_MEMORY;
        *pending = (struct build_pending){build->pending, input, at, scope, axis, *found, path};
        build->pending = pending;
    }
    *fits = true;
    return 0;
}

int build_pending_check(struct build *build) {
    for (const struct build_pending *p = build->pending; p; p = p->next) {
        char why[PATTERN_WHY] = "";
        int status =
            check_extent(&build->symbols[p->scope], p->input->extents[p->axis], p->axis, p->found.shape[p->axis], true, why, sizeof why);
        if (status < 0) return status;
        if (status == 0) misfit(build, p->input, &p->found, p->at, p->path, FLOW_ERROR_SHAPE, why);
    }
    return 0;
}

/* ---- Extents for the graph's inputs from their symbols ---- */

static int set_symbols(const struct network *network, const char *const *extents, size_t count, int64_t otherwise, struct map *symbols,
                       struct report *report) {
    struct position nowhere = {network->path, 0, 0};
    for (size_t i = 0; i < network->input_count; i++)
        for (int32_t axis = 0; axis < network->inputs[i].rank; axis++) {
            const struct document *extent = network->inputs[i].extents[axis];
            int64_t number;
            if (build_scalar_int(extent, &number) || !build_is_symbol(extent->text)) continue;
            if (map_set(symbols, extent->text, otherwise) < 0) return report_memory(report);
        }
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(extents[i], '=');
        char name[NAME_MOST];
        size_t length = equals ? (size_t)(equals - extents[i]) : 0;
        struct document value = {.kind = DOCUMENT_SCALAR, .text = equals ? equals + 1 : ""};
        int64_t number;
        if (length == 0 || length >= sizeof name || !document_int(&value, &number) || number < 0) {
            report_add(report, FLOW_ERROR_USAGE, nowhere, "an extent is given as SYMBOL=NUMBER, found '%.80s'", extents[i]);
            continue;
        }
        memcpy(name, extents[i], length);
        name[length] = 0;
        if (!map_get(symbols, name, NULL)) {
            const char *near = map_nearest(symbols, name);
            report_add(report, FLOW_ERROR_USAGE, nowhere,
                       near ? "no input has a symbol '%s' (did you mean '%s'?)" : "no input has a symbol '%s'", name, near);
            continue;
        }
        const char *key = arena_text(symbols->arena, name);
        if (!key || map_set(symbols, key, number) < 0) return report_memory(report);
    }
    return 0;
}

static void one_input(const struct network_input *input, struct map *symbols, int32_t precision, struct report *report,
                      struct flow_tensor *type) {
    extents_none(type);
    if (input->rank < 0 || input->rank > FLOW_RANK_MAX) return;
    type->rank = input->rank;
    type->dtype = input->dtype < 0 || input->dtype == FLOW_F32 ? (precision == FLOW_F64 ? FLOW_F64 : FLOW_F32) : input->dtype;
    for (int32_t axis = 0; axis < input->rank; axis++) {
        const struct document *extent = input->extents[axis];
        struct number number = {0};
        char why[NAME_MOST] = "";
        if (build_scalar_int(extent, &type->shape[axis])) continue;
        int status = expression_evaluate(extent->text, strlen(extent->text), build_symbol, symbols, &number, why, sizeof why);
        if (status < 0 || number.real || number.i < 0) {
            if (status == 0) snprintf(why, sizeof why, "it is %.15g", number.r);
            report_add(report, FLOW_ERROR_SHAPE, extent->at, "input '%s': the extent '%.60s' cannot be told: %s", input->name, extent->text,
                       why);
        } else {
            type->shape[axis] = number.i;
        }
    }
    if (!extents_contiguous(type))
        report_add(report, FLOW_ERROR_SHAPE, input->at, "input '%s' has more elements than can be addressed", input->name);
}

int instance_inputs(const struct network *network, const char *const *extents, size_t count, int64_t otherwise, int32_t precision,
                    struct report *report, struct flow_tensor *inputs) {
    struct arena scratch;
    struct map symbols;
    int32_t errors = report->count;
    arena_init(&scratch, report->arena.from);
    map_init(&symbols, &scratch);
    int status = set_symbols(network, extents, count, otherwise, &symbols, report);
    for (size_t i = 0; i < network->input_count && status == 0; i++)
        one_input(&network->inputs[i], &symbols, precision, report, &inputs[i]);
    arena_free(&scratch);
    return report->count > errors ? report_code(report) : status;
}
