/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of symbols that nothing says. */
static int64_t usual_extent(const char *name) { return strcmp(name, "B") == 0 || strcmp(name, "N") == 0 ? 1 : 100; }

static bool is_number(const char *text) { return text[0] >= '0' && text[0] <= '9'; }

static struct symbol *find_symbol(struct candidate *candidate, const char *name) {
    for (size_t i = 0; i < candidate->symbol_count; i++)
        if (strcmp(candidate->symbols[i].name, name) == 0) return &candidate->symbols[i];
    if (candidate->symbol_count == SYMBOLS_MOST || strlen(name) >= sizeof candidate->symbols[0].name) return NULL;
    struct symbol *symbol = &candidate->symbols[candidate->symbol_count++];
    *symbol = (struct symbol){.extent = usual_extent(name)};
    strcpy(symbol->name, name);
    return symbol;
}

static int read_extents(struct candidate *candidate) {
    const struct command *command = &candidate->command;
    for (size_t i = 0; i < command->extent.count; i++) {
        const char *pair = command->extent.at[i], *equals = strchr(pair, '=');
        char name[64], *end;
        snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
        long long extent = strtoll(equals + 1, &end, 10);
        bool known = false;
        for (size_t s = 0; s < candidate->symbol_count; s++) known |= strcmp(candidate->symbols[s].name, name) == 0;
        if (!known) {
            char names[256] = "";
            for (size_t s = 0; s < candidate->symbol_count; s++) {
                size_t used = strlen(names);
                snprintf(names + used, sizeof names - used, "%s%s", s ? ", " : "", candidate->symbols[s].name);
            }
            return command_say(EXIT_USAGE, "--extent %s: no input of the graph has an axis '%s'; there are: %s", pair, name, names);
        }
        if (*end || end == equals + 1 || extent < 1)
            return command_say(EXIT_USAGE, "--extent takes SYMBOL=N with N at least 1, found '%s'", pair);
        struct symbol *symbol = find_symbol(candidate, name);
        symbol->extent = extent, symbol->given = true;
    }
    return 0;
}

/* Symbols of all inputs; extents of those that are given. */
static int list_symbols(struct candidate *candidate) {
    for (size_t i = 0; i < candidate->drive.sources.count; i++) {
        const struct source *source = &candidate->drive.sources.at[i];
        for (int32_t axis = 0; axis < source->port.rank; axis++) {
            const char *extent = source->port.extents[axis];
            if (is_number(extent)) continue;
            struct symbol *symbol = find_symbol(candidate, extent);
            if (!symbol) return command_say(EXIT_USAGE, "the graph has too many symbols in the shapes of its inputs");
            if (source->name) symbol->extent = source->tensor.shape[axis], symbol->given = true;
        }
    }
    return read_extents(candidate);
}

/* splitmix64: any seed will do. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(uint64_t *state) { return ((double)(next_random(state) >> 11) + 0.5) * 0x1p-53; }

/* Reals: normal, of deviation 1. Integers: 0 or 1, which most tables have. Bytes: letters. */
static void fill(struct flow_tensor *tensor, uint64_t *state) {
    int64_t count = flow_tensor_count(tensor);
    for (int64_t i = 0; i < count; i++) {
        double normal = sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
        int bit = (int)(next_random(state) & 1);
        switch (tensor->dtype) {
        case FLOW_F32: ((float *)tensor->data)[i] = (float)normal; break;
        case FLOW_F64: ((double *)tensor->data)[i] = normal; break;
        case FLOW_I32: ((int32_t *)tensor->data)[i] = bit; break;
        case FLOW_I64: ((int64_t *)tensor->data)[i] = bit; break;
        case FLOW_U8: ((uint8_t *)tensor->data)[i] = (uint8_t)('a' + next_random(state) % 26); break;
        default: ((uint8_t *)tensor->data)[i] = (uint8_t)bit; break;
        }
    }
}

static int make_random(struct candidate *candidate, struct source *source, uint64_t *state) {
    int64_t shape[FLOW_RANK_MAX], count = 1;
    int32_t dtype = source->port.dtype == FLOW_F16 || source->port.dtype == FLOW_BF16 ? FLOW_F32 : source->port.dtype;
    for (int32_t axis = 0; axis < source->port.rank; axis++) {
        const char *extent = source->port.extents[axis];
        shape[axis] = is_number(extent) ? strtoll(extent, NULL, 10) : find_symbol(candidate, extent)->extent;
        if (shape[axis] > 0 && count > INT64_MAX / 16 / shape[axis])
            return command_say(EXIT_USAGE, "input '%s' is too large", source->port.name);
        count *= shape[axis];
    }
    source->owned = calloc((size_t)(count ? count : 1), 8);
    if (!source->owned) return command_say(EXIT_FAILED, "out of memory");
    source->name = source->port.name;
    source->tensor = flow_tensor_of(source->owned, dtype, source->port.rank, shape);
    fill(&source->tensor, state);
    return 0;
}

/* What there are so many of in a round: along the streamed axis, else the symbols of the first input. */
static void count_elements(struct candidate *candidate) {
    const struct drive *drive = &candidate->drive;
    candidate->elements = 1;
    if (drive->feeds_itself) {
        snprintf(candidate->unit, sizeof candidate->unit, "step");
        return;
    }
    for (size_t i = 0; i < drive->sources.count && !candidate->unit[0]; i++) {
        const struct source *source = &drive->sources.at[i];
        for (int32_t axis = 0; axis < source->port.rank; axis++) {
            const char *extent = source->port.extents[axis];
            bool counts = drive->symbol[0] ? strcmp(extent, drive->symbol) == 0 : !is_number(extent);
            size_t used = strlen(candidate->unit);
            if (!counts) continue;
            candidate->elements *= (double)source->tensor.shape[axis];
            snprintf(candidate->unit + used, sizeof candidate->unit - used, "%s%s", used ? "*" : "", extent);
        }
        if (candidate->unit[0] && source->rate > 0) candidate->rate = source->rate;
    }
    if (!candidate->unit[0]) snprintf(candidate->unit, sizeof candidate->unit, "run");
}

int bench_inputs(struct candidate *candidate) {
    uint64_t state = candidate->command.seed + 1;
    int rc = list_symbols(candidate);
    for (size_t i = 0; rc == 0 && i < candidate->drive.sources.count; i++) {
        struct source *source = &candidate->drive.sources.at[i];
        if (source->wave) rc = command_say(EXIT_USAGE, "input '%s': bench runs many times, standard input comes once", source->port.name);
        else if (!source->name) rc = make_random(candidate, source, &state);
    }
    if (rc == 0) count_elements(candidate);
    return rc;
}
