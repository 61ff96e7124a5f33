/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/pattern.h"
#include "graph/expression.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pattern_begin(struct bindings *bindings, const struct flow_operator *op, const void *attrs) {
    bindings->op = op, bindings->attrs = attrs, bindings->count = 0, bindings->leading = -1;
    bindings->printed = -1;
}

/* ---- Names ---- */

static const struct flow_attr *attribute_row(const struct flow_operator *op, const char *name, size_t length) {
    for (uint32_t i = 0; i < op->attrs.count; i++) {
        const struct flow_attr *row = &op->attrs.at[i];
        if (strncmp(row->name, name, length) == 0 && row->name[length] == 0) return row;
    }
    return NULL;
}

static void set_integer(struct number *value, int64_t integer) { *value = (struct number){.i = integer, .r = (double)integer}; }

/* What an attribute is worth in arithmetic: 1, or 0 when it was left out or is
 * no number. Words count by their place among the choices. */
static int attribute_value(const struct flow_attr *row, const void *attrs, struct number *value) {
    const void *field = (const char *)attrs + row->offset;
    switch (row->type) {
    case FLOW_ATTR_INT: set_integer(value, *(const int64_t *)field); return value->i != FLOW_INT_ABSENT;
    case FLOW_ATTR_BOOL: set_integer(value, *(const bool *)field); return 1;
    case FLOW_ATTR_CHOICE: set_integer(value, *(const int32_t *)field); return value->i >= 0;
    case FLOW_ATTR_REAL: *value = (struct number){.real = true, .r = *(const double *)field}; return !isnan(value->r);
    case FLOW_ATTR_INTS: {
        const struct flow_ints *ints = field;
        if (ints->count != 1) return 0;
        set_integer(value, ints->at[0]);
        return 1;
    }
    default: return 0;
    }
}

static const struct binding *find_binding(const struct bindings *bindings, const char *name, size_t length) {
    for (uint32_t i = 0; i < bindings->count; i++) {
        const struct binding *known = &bindings->at[i];
        if (known->length == length && memcmp(known->name, name, length) == 0) return known;
    }
    return NULL;
}

struct lookup {
    const struct bindings *bindings;
    bool unbound; /* a name had no value */
    bool empty;   /* an extent of 0 was read */
    bool absent_is_0;
};

static int lookup_name(void *context, const char *name, size_t length, struct number *value) {
    struct lookup *lookup = context;
    const struct flow_attr *row = attribute_row(lookup->bindings->op, name, length);
    if (row && attribute_value(row, lookup->bindings->attrs, value)) return 1;
    const struct binding *known = find_binding(lookup->bindings, name, length);
    if (known) {
        set_integer(value, known->extent);
        if (known->extent == 0) lookup->empty = true;
        return 1;
    }
    if (row && lookup->absent_is_0) {
        const void *field = (const char *)lookup->bindings->attrs + row->offset;
        bool given = row->type == FLOW_ATTR_TEXT     ? *(const char *const *)field != NULL
                     : row->type == FLOW_ATTR_INTS   ? ((const struct flow_ints *)field)->given
                     : row->type == FLOW_ATTR_VALUES ? ((const struct flow_values *)field)->rank >= 0
                     : row->type == FLOW_ATTR_DTYPE  ? ((const struct flow_dtype *)field)->type >= 0
                                                     : false;
        set_integer(value, given);
        return 1;
    }
    lookup->unbound = true;
    return 0;
}

/* ---- Words ---- */

struct word {
    const char *at;
    size_t length;
};

static bool is_name(struct word word) {
    if (!isalpha((unsigned char)word.at[0]) && word.at[0] != '_') return false;
    for (size_t i = 1; i < word.length; i++)
        if (!isalnum((unsigned char)word.at[i]) && word.at[i] != '_') return false;
    return true;
}

/* 1: evaluated; 0: a name is not bound; negative: why. */
static int word_value(const struct bindings *bindings, struct word word, int64_t *extent, char *why) {
    struct lookup lookup = {.bindings = bindings};
    struct number value;
    if (is_name(word)) {
        if (!lookup_name(&lookup, word.at, word.length, &value)) return 0;
    } else if (word.length == 1 && isdigit((unsigned char)word.at[0])) {
        set_integer(&value, word.at[0] - '0');
    } else if (expression_evaluate(word.at, word.length, lookup_name, &lookup, &value, why, PATTERN_WHY) < 0) {
        return lookup.unbound ? 0 : FLOW_ERROR_SHAPE;
    }
    if (value.real || value.i < 0) {
        snprintf(why, PATTERN_WHY, "%.*s is %.17g, which is not an extent", (int)word.length, word.at,
                 value.real ? value.r : (double)value.i);
        return FLOW_ERROR_SHAPE;
    }
    *extent = value.i;
    return 1;
}

/* Cuts a pattern into words; *dots is the place of "..." among them, or -1.
 * Negative: more axes than a tensor has. */
static int split_words(const char *pattern, struct word words[FLOW_RANK_MAX + 1], int32_t *dots, char *why) {
    int count = 0;
    *dots = -1;
    for (const char *at = pattern; *at;) {
        if (*at == ' ') {
            at++;
            continue;
        }
        size_t length = strcspn(at, " ");
        if (count > FLOW_RANK_MAX) {
            snprintf(why, PATTERN_WHY, "the pattern '%s' has too many axes", pattern);
            return FLOW_ERROR_PLUGIN;
        }
        if (length == 3 && memcmp(at, "...", 3) == 0) *dots = count;
        words[count++] = (struct word){at, length};
        at += length;
    }
    return count;
}

/* ---- Inputs ---- */

static int match_leading(struct bindings *bindings, const char *pattern, const struct flow_tensor *tensor, int32_t from, int32_t axes,
                         char *why) {
    if (bindings->leading < 0) {
        bindings->leading = axes;
        for (int32_t i = 0; i < axes; i++) bindings->leading_extents[i] = tensor->shape[from + i];
        return 0;
    }
    if (axes != bindings->leading) {
        snprintf(why, PATTERN_WHY, "expected [%s] with %d axes for '...'", pattern, bindings->leading);
        return FLOW_ERROR_SHAPE;
    }
    for (int32_t i = 0; i < axes; i++)
        if (tensor->shape[from + i] != bindings->leading_extents[i]) {
            snprintf(why, PATTERN_WHY, "axis %d is %lld, expected %lld as in the other inputs", from + i,
                     (long long)tensor->shape[from + i], (long long)bindings->leading_extents[i]);
            return FLOW_ERROR_SHAPE;
        }
    return 0;
}

static int match_word(struct bindings *bindings, struct word word, int32_t axis, int64_t found, char *why) {
    int64_t expected = 0;
    int known = word_value(bindings, word, &expected, why);
    if (known < 0) return known;
    if (known == 0 && !is_name(word)) return 1;
    if (known == 0) {
        if (bindings->count == PATTERN_NAMES) {
            snprintf(why, PATTERN_WHY, "the patterns hold more than %d names", PATTERN_NAMES);
            return FLOW_ERROR_PLUGIN;
        }
        bindings->at[bindings->count++] = (struct binding){word.at, word.length, found};
        return 0;
    }
    if (found == expected) return 0;
    if (isdigit((unsigned char)word.at[0]))
        snprintf(why, PATTERN_WHY, "axis %d is %lld, expected %lld", axis, (long long)found, (long long)expected);
    else
        snprintf(why, PATTERN_WHY, "axis %d is %lld, expected %.*s = %lld", axis, (long long)found, (int)word.length, word.at,
                 (long long)expected);
    return FLOW_ERROR_SHAPE;
}

int pattern_match(struct bindings *bindings, const char *pattern, const struct flow_tensor *tensor, char *why) {
    struct word words[FLOW_RANK_MAX + 1];
    int32_t dots;
    int count = split_words(pattern, words, &dots, why);
    if (count < 0) return count;
    int32_t fixed = dots >= 0 ? count - 1 : count;
    if (dots >= 0 ? tensor->rank < fixed : tensor->rank != fixed) {
        if (fixed == 0) snprintf(why, PATTERN_WHY, "expected a scalar");
        else snprintf(why, PATTERN_WHY, "expected %d ax%s%s, [%s]", fixed, fixed == 1 ? "is" : "es", dots >= 0 ? " at least" : "", pattern);
        return FLOW_ERROR_SHAPE;
    }
    int pending = 0;
    for (int32_t i = 0, axis = 0; i < count; i++) {
        if (i == dots) {
            int32_t axes = tensor->rank - fixed;
            int status = match_leading(bindings, pattern, tensor, axis, axes, why);
            if (status < 0) return status;
            axis += axes;
            continue;
        }
        int status = match_word(bindings, words[i], axis, tensor->shape[axis], why);
        if (status < 0) return status;
        pending |= status;
        axis++;
    }
    return pending;
}

/* ---- Outputs, parameters, states ---- */

int pattern_fill(const struct bindings *bindings, const char *pattern, struct flow_tensor *tensor, char *why) {
    struct word words[FLOW_RANK_MAX + 1];
    int64_t shape[FLOW_RANK_MAX];
    int32_t dots, rank = 0;
    int count = split_words(pattern, words, &dots, why);
    if (count < 0) return count;
    if (dots >= 0 && bindings->leading < 0) return 0;
    int32_t total = dots >= 0 ? count - 1 + bindings->leading : count;
    if (total > FLOW_RANK_MAX) {
        snprintf(why, PATTERN_WHY, "[%s] has %d axes, at most %d are possible", pattern, total, FLOW_RANK_MAX);
        return FLOW_ERROR_SHAPE;
    }
    for (int32_t i = 0; i < count; i++) {
        if (i == dots) {
            for (int32_t k = 0; k < bindings->leading; k++) shape[rank++] = bindings->leading_extents[k];
            continue;
        }
        int status = word_value(bindings, words[i], &shape[rank++], why);
        if (status <= 0) return status;
    }
    tensor->rank = rank;
    memcpy(tensor->shape, shape, (size_t)rank * sizeof shape[0]);
    return 1;
}

int pattern_when(const struct bindings *bindings, const char *when, char *why) {
    if (!when) return 1;
    struct lookup lookup = {.bindings = bindings, .absent_is_0 = true};
    struct number value;
    struct word word = {when, strlen(when)};
    if (word.length && is_name(word) && lookup_name(&lookup, when, word.length, &value)) return value.real ? value.r != 0 : value.i != 0;
    if (expression_evaluate(when, word.length, lookup_name, &lookup, &value, why, PATTERN_WHY) < 0) return FLOW_ERROR_PLUGIN;
    return value.real ? value.r != 0 : value.i != 0;
}

/* ---- Initialisers ---- */

/* A short decimal that reads back as the same number; `buffer` has room for 32 characters. */
static size_t print_real(struct bindings *bindings, char *buffer, double value) {
    double size = fabs(value);
    if (size != bindings->printed) {
        bindings->printed = size;
        snprintf(bindings->digits, sizeof bindings->digits, "%.15g", size);
        if (strtod(bindings->digits, NULL) != size) snprintf(bindings->digits, sizeof bindings->digits, "%.17g", size);
    }
    return (size_t)snprintf(buffer, 32, "%s%s", signbit(value) ? "-" : "", bindings->digits);
}

static bool plain_numbers(const char *arguments) {
    for (; *arguments; arguments++)
        if (!isdigit((unsigned char)*arguments) && !strchr("+-.,() eE", *arguments)) return false;
        else if ((*arguments == '-' || *arguments == '+') && arguments[-1] != '(' && arguments[-1] != ' ' && arguments[-1] != ',' &&
                 arguments[-1] != 'e' && arguments[-1] != 'E')
            return false;
    return true;
}

/* The end of an argument: the comma or closing parenthesis at its own level;
 * NULL when there is none. */
static const char *argument_end(const char *at) {
    for (int depth = 0; *at; at++) {
        if (*at == '(') depth++;
        else if (*at == ')' && depth-- == 0) return at;
        else if (*at == ',' && depth == 0) return at;
    }
    return NULL;
}

int pattern_init(struct bindings *bindings, struct arena *arena, const char *init, const char **out, char *why) {
    why[0] = 0;
    if (init && init[0] == '@') {
        const struct flow_attr *row = attribute_row(bindings->op, init + 1, strlen(init + 1));
        init = row && row->type == FLOW_ATTR_TEXT ? *(const char *const *)((const char *)bindings->attrs + row->offset) : NULL;
    }
    if (!init || !*init) init = "zeros";
    const char *open = strchr(init, '(');
    *out = init;
    if (!open || (plain_numbers(open) && !strchr(open + 1, '('))) return 0;

    enum { MOST = 160 };
    char text[MOST];
    size_t used = (size_t)(open - init) + 1;
    if (used > 40) {
        snprintf(why, PATTERN_WHY, "'%.40s...' is no initialiser", init);
        return FLOW_ERROR_GRAPH;
    }
    memcpy(text, init, used);
    for (const char *at = open + 1, *end;; at = end + 1) {
        struct lookup lookup = {.bindings = bindings};
        struct number value;
        while (*at == ' ') at++;
        end = argument_end(at);
        if (!end || used > MOST - 40) {
            snprintf(why, PATTERN_WHY, "'%.80s' %s", init, end ? "has too many arguments" : "lacks a closing parenthesis");
            return FLOW_ERROR_GRAPH;
        }
        if (expression_evaluate(at, (size_t)(end - at), lookup_name, &lookup, &value, why, PATTERN_WHY) < 0) {
            if (!lookup.empty) return FLOW_ERROR_GRAPH;
            *out = "zeros"; /* 1/sqrt(fan-in) of an empty axis: nothing flows in */
            why[0] = 0;
            return 0;
        }
        used += value.real ? print_real(bindings, text + used, value.r)
                           : (size_t)snprintf(text + used, MOST - used, "%lld", (long long)value.i);
        if (*end == ')') {
            if (end[1]) {
                snprintf(why, PATTERN_WHY, "'%.80s' goes on after its closing parenthesis", init);
                return FLOW_ERROR_GRAPH;
            }
            break;
        }
        memcpy(text + used, ", ", 2), used += 2;
    }
    text[used++] = ')';
    *out = arena_text_n(arena, text, used);
    return *out ? 0 : FLOW_ERROR_MEMORY;
}
