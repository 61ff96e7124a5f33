/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator says of itself, and the order of all checks. */
#include "flowrun/trial.h"

#include <stdlib.h>
#include <string.h>

static bool empty(const char *text) { return !text || !*text; }

static int undocumented(const struct flow_ports *ports, const char *what, char *list, size_t size) {
    int count = 0;
    for (uint32_t i = 0; i < ports->count; i++) {
        size_t used = strlen(list);
        if (empty(ports->at[i].summary) && ++count)
            snprintf(list + used, size - used, "%s%s '%s'", used ? ", " : "", what, ports->at[i].name);
    }
    return count;
}

static void check_documentation(struct trial *trial) {
    const struct flow_operator *op = trial->op;
    char missing[512] = "";
    size_t used = 0;
    if (empty(op->summary)) used += (size_t)snprintf(missing, sizeof missing, "its summary");
    if (empty(op->equation)) snprintf(missing + used, sizeof missing - used, "%sits equation", used ? ", " : "");
    undocumented(&op->inputs, "input", missing, sizeof missing);
    undocumented(&op->outputs, "output", missing, sizeof missing);
    for (uint32_t i = 0; i < op->attrs.count; i++) {
        used = strlen(missing);
        if (empty(op->attrs.at[i].summary))
            snprintf(missing + used, sizeof missing - used, "%sattribute '%s'", used ? ", " : "", op->attrs.at[i].name);
    }
    for (uint32_t i = 0; i < op->params.count; i++) {
        used = strlen(missing);
        if (empty(op->params.at[i].summary))
            snprintf(missing + used, sizeof missing - used, "%sparameter '%s'", used ? ", " : "", op->params.at[i].name);
    }
    if (missing[0]) tell(trial->teller, TELL_FAILS, "without a word about %s", missing);
    else tell(trial->teller, TELL_HOLDS, "every port, attribute and parameter has its line");
}

/* trial_find has run before any other check. */
static void check_example(struct trial *trial) {
    struct trial_result result;
    char types[512];
    trial_whole(trial, trial->runtime, TRIAL_PLAIN, 1, &result);
    if (result.rc < 0) tell(trial->teller, TELL_FAILS, "%s", result.why);
    else tell(trial->teller, TELL_HOLDS, "%s", trial_types(trial, &result, types, sizeof types));
    result_free(&result);
}

/* All inputs that may differ in nothing but their type, in each of the types that they take. */
static void check_types(struct trial *trial) {
    int32_t kept[TRIAL_INPUTS];
    char names[128] = "";
    if (!trial->in_count) {
        tell(trial->teller, TELL_NOTHING, "it has no inputs");
        return;
    }
    bool good = true;
    for (size_t i = 0; i < trial->in_count; i++) kept[i] = trial->in[i].dtype;
    for (int32_t dtype = 0; dtype < FLOW_TYPE_COUNT && good; dtype++) {
        if (!(trial->in[0].port->types >> dtype & 1)) continue;
        for (size_t i = 0; i < trial->in_count; i++)
            if (i == 0 || (trial->in[i].port->types >> dtype & 1 && !(trial->in[i].port->flags & FLOW_OWN_TYPE)))
                trial->in[i].dtype = dtype;
        struct trial_result result;
        tell_trial(trial->teller, "inputs of %s", flow_type_name(dtype));
        trial_whole(trial, trial->runtime, TRIAL_PLAIN, 2, &result);
        good = result.rc != FLOW_ERROR_PLUGIN && result.rc != FLOW_ERROR_INTERNAL; /* values and types may be refused */
        size_t used = strlen(names);
        if (!good) tell(trial->teller, TELL_FAILS, "with inputs of %s: %s", flow_type_name(dtype), result.why);
        else if (result.rc == 0) snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", flow_type_name(dtype));
        result_free(&result);
        for (size_t i = 0; i < trial->in_count; i++) trial->in[i].dtype = kept[i];
    }
    if (good && names[0]) tell(trial->teller, TELL_HOLDS, "%s", names);
    else if (good) tell(trial->teller, TELL_FAILS, "it runs on none of the types that its first input takes");
}

const struct trial_check trial_checks[] = {
    {"example", check_example}, /* the first: the others build on it */
    {"documentation", check_documentation},
    {"types", check_types},
    {"memory", check_memory},
    {"extents", check_extents},
    {"views", check_views},
    {"in place", check_in_place},
    {"streaming", check_streaming},
    {"gradients", check_gradients},
    {"threads", check_threads},
    {"instructions", check_instructions},
    {"sessions", check_sessions},
    {"allocations", check_allocations},
    {NULL, NULL},
};
