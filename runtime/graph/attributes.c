/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/attributes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A row's value is parsed from a document: the one the graph gives, or one made
 * of the row's default text. */
struct parsing {
    struct arena *arena;
    const struct attributes_options *options;
    struct report *report;
    const struct flow_attr *row;
};

enum { WANTED = 320, MOST_VALUES = 1 << 24 };

static const char *found_text(const struct document *value) {
    return value->kind == DOCUMENT_SCALAR ? value->text : value->kind == DOCUMENT_LIST ? "a list" : "a mapping";
}

static int wrong(const struct parsing *p, int code, const struct document *value, const char *wanted) {
    const struct attributes_options *o = p->options;
    const char *quote = value->kind == DOCUMENT_SCALAR ? "'" : "";
    return report_add(p->report, code, value->at, "%s%s%s%s '%s': attribute '%s' must be %s, found %s%.100s%s", o->node ? "node '" : "",
                      o->node ? o->node : "", o->node ? "': " : "", o->kind, o->name, p->row->name, wanted, quote, found_text(value),
                      quote);
}

/* "an integer of at least 1", " between 0 and 1". */
static const char *wanted_text(const struct parsing *p, const char *what, char *buffer) {
    const struct flow_attr *row = p->row;
    bool low = row->min > FLOW_NO_MIN, high = row->max < FLOW_NO_MAX;
    int used = low && high ? snprintf(buffer, WANTED, "%s between %.15g and %.15g", what, row->min, row->max)
               : low       ? snprintf(buffer, WANTED, "%s of at least %.15g", what, row->min)
               : high      ? snprintf(buffer, WANTED, "%s of at most %.15g", what, row->max)
                           : snprintf(buffer, WANTED, "%s", what);
    if (row->choices && row->type != FLOW_ATTR_CHOICE && used > 0 && used < WANTED)
        snprintf(buffer + used, (size_t)(WANTED - used), ", or one of %.200s", row->choices);
    return buffer;
}

static bool within(const struct flow_attr *row, double value) { return value >= row->min && value <= row->max; }

/* Variables were put into quoted text too: "${width}" is a number all the same.
 */
static bool read_int(const struct document *value, int64_t *integer) {
    struct document plain = *value;
    plain.quoted = false;
    return value->kind == DOCUMENT_SCALAR && document_int(&plain, integer);
}

static bool read_real(const struct document *value, double *real) {
    struct document plain = *value;
    plain.quoted = false;
    return value->kind == DOCUMENT_SCALAR && document_real(&plain, real);
}

/* The place of a word among "a|b|c", or -1. */
static int32_t find_choice(const char *choices, const char *word) {
    size_t length = strlen(word);
    for (int32_t i = 0; choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, word, n) == 0) return i;
        choices = choices[n] ? choices + n + 1 : NULL;
    }
    return -1;
}

/* ---- One type each ---- */

static int parse_int(const struct parsing *p, const struct document *value, int64_t *field) {
    char wanted[WANTED], why[WANTED] = "";
    struct number number;
    if (read_int(value, field))
        return within(p->row, (double)*field) ? 0 : wrong(p, FLOW_ERROR_RANGE, value, wanted_text(p, "an integer", wanted));
    if (!(p->row->flags & FLOW_SYMBOLS) || value->kind != DOCUMENT_SCALAR || value->text[0] == 0)
        return wrong(p, FLOW_ERROR_TYPE, value, wanted_text(p, "an integer", wanted));
    if (!p->options->symbols) return wrong(p, FLOW_ERROR_TYPE, value, wanted_text(p, "an integer", wanted));
    int status = expression_evaluate(value->text, strlen(value->text), p->options->symbols, p->options->context, &number, why, sizeof why);
    if (status < 0 || number.real) {
        if (status == 0) snprintf(why, sizeof why, "it is %.15g", number.r);
        return report_add(p->report, FLOW_ERROR_TYPE, value->at,
                          "node '%s': %s '%s': attribute '%s' must be an integer or an expression of shape symbols, found '%.100s': %s",
                          p->options->node, p->options->kind, p->options->name, p->row->name, value->text, why);
    }
    *field = number.i;
    return within(p->row, (double)*field) ? 0 : wrong(p, FLOW_ERROR_RANGE, value, wanted_text(p, "an integer", wanted));
}

static int parse_real(const struct parsing *p, const struct document *value, double *field) {
    char wanted[WANTED];
    if (!read_real(value, field)) return wrong(p, FLOW_ERROR_TYPE, value, wanted_text(p, "a real number", wanted));
    return within(p->row, *field) || (isnan(*field) && p->row->min <= FLOW_NO_MIN) || isinf(*field)
               ? 0
               : wrong(p, FLOW_ERROR_RANGE, value, wanted_text(p, "a real number", wanted));
}

static int parse_bool(const struct parsing *p, const struct document *value, bool *field) {
    struct document plain = *value;
    plain.quoted = false;
    if (value->kind == DOCUMENT_SCALAR && document_bool(&plain, field)) return 0;
    return wrong(p, FLOW_ERROR_TYPE, value, "true or false");
}

static int parse_choice(const struct parsing *p, const struct document *value, int32_t *field) {
    char wanted[WANTED];
    bool flag;
    if (value->kind == DOCUMENT_SCALAR) {
        *field = find_choice(p->row->choices, value->text);
        if (*field < 0 && document_bool(value, &flag)) *field = find_choice(p->row->choices, flag ? "true" : "false");
        if (*field >= 0) return 0;
    }
    snprintf(wanted, sizeof wanted, "one of %.300s", p->row->choices ? p->row->choices : "");
    return wrong(p, FLOW_ERROR_TYPE, value, wanted);
}

static int parse_ints(const struct parsing *p, const struct document *value, struct flow_ints *field) {
    char wanted[WANTED];
    *field = (struct flow_ints){.word = -1};
    if (value->kind == DOCUMENT_MAPPING)
        return wrong(p, FLOW_ERROR_TYPE, value, wanted_text(p, "an integer or a list of integers", wanted));
    if (value->kind == DOCUMENT_SCALAR && (field->word = find_choice(p->row->choices, value->text)) >= 0) {
        field->given = true;
        return 0;
    }
    size_t count = value->kind == DOCUMENT_LIST ? value->count : 1;
    if (count > UINT32_MAX) return wrong(p, FLOW_ERROR_RANGE, value, "a shorter list");
    int64_t *at = arena_array(p->arena, count, sizeof *at);
    if (!at) return report_memory(p->report);
    for (size_t i = 0; i < count; i++) {
        int status = parse_int(p, value->kind == DOCUMENT_LIST ? value->values[i] : value, &at[i]);
        if (status < 0) return status;
    }
    *field = (struct flow_ints){at, (uint32_t)count, -1, value->kind == DOCUMENT_SCALAR, true};
    return 0;
}

/* Writes nested lists in row-major order; lengths at each level must be those
 * of the first list there. */
static int fill_values(const struct parsing *p, const struct document *value, struct flow_values *field, int32_t level, double *at,
                       int64_t *next) {
    char wanted[WANTED];
    int64_t integer;
    if (level == field->rank) {
        bool flag, word = value->kind == DOCUMENT_SCALAR && document_bool(value, &flag); /* of constants of type bool */
        int status = word ? 0 : parse_real(p, value, &at[*next]);
        if (status < 0) return status;
        if (word) at[*next] = flag;
        else if (!read_int(value, &integer)) field->integer = 0;
        ++*next;
        return 0;
    }
    if (value->kind != DOCUMENT_LIST || (int64_t)value->count != field->shape[level]) {
        snprintf(wanted, sizeof wanted, "lists of equal lengths (%lld here)", (long long)field->shape[level]);
        return wrong(p, FLOW_ERROR_SHAPE, value, wanted);
    }
    for (size_t i = 0; i < value->count; i++) {
        int status = fill_values(p, value->values[i], field, level + 1, at, next);
        if (status < 0) return status;
    }
    return 0;
}

static int parse_values(const struct parsing *p, const struct document *value, struct flow_values *field) {
    *field = (struct flow_values){.count = 1, .integer = 1};
    for (const struct document *at = value; at->kind == DOCUMENT_LIST; at = at->values[0]) {
        if (field->rank == FLOW_RANK_MAX) return wrong(p, FLOW_ERROR_RANGE, value, "lists nested at most 8 deep");
        field->shape[field->rank++] = (int64_t)at->count;
        if (!size_multiply(field->count, (int64_t)at->count, &field->count) || field->count > MOST_VALUES)
            return wrong(p, FLOW_ERROR_RANGE, value, "at most 16777216 numbers");
        if (at->count == 0) break;
    }
    double *at = arena_array(p->arena, (size_t)field->count, sizeof *at);
    int64_t next = 0;
    if (!at) return report_memory(p->report);
    field->at = at;
    return fill_values(p, value, field, 0, at, &next);
}

static int parse_dtype(const struct parsing *p, const struct document *value, struct flow_dtype *field) {
    field->type = value->kind == DOCUMENT_SCALAR ? dtype_parse(value->text) : -1;
    if (field->type < 0) return wrong(p, FLOW_ERROR_TYPE, value, "one of f32, f16, bf16, f64, i32, i64, u8, bool");
    if (field->type == FLOW_F32 && p->options->f64) field->type = FLOW_F64;
    return 0;
}

static int parse_value(const struct parsing *p, const struct document *value, void *field) {
    switch (p->row->type) {
    case FLOW_ATTR_INT: return parse_int(p, value, field);
    case FLOW_ATTR_REAL: return parse_real(p, value, field);
    case FLOW_ATTR_BOOL: return parse_bool(p, value, field);
    case FLOW_ATTR_TEXT:
        if (value->kind != DOCUMENT_SCALAR) return wrong(p, FLOW_ERROR_TYPE, value, "a word");
        *(const char **)field = value->text;
        return 0;
    case FLOW_ATTR_CHOICE: return parse_choice(p, value, field);
    case FLOW_ATTR_INTS: return parse_ints(p, value, field);
    case FLOW_ATTR_VALUES: return parse_values(p, value, field);
    case FLOW_ATTR_DTYPE: return parse_dtype(p, value, field);
    default: return wrong(p, FLOW_ERROR_PLUGIN, value, "of a type that this runtime knows");
    }
}

/* ---- Defaults ---- */

static int set_absent(const struct parsing *p, void *field) {
    switch (p->row->type) {
    case FLOW_ATTR_INT: *(int64_t *)field = FLOW_INT_ABSENT; break;
    case FLOW_ATTR_REAL: *(double *)field = NAN; break;
    case FLOW_ATTR_CHOICE: *(int32_t *)field = -1; break;
    case FLOW_ATTR_INTS: *(struct flow_ints *)field = (struct flow_ints){.word = -1}; break;
    case FLOW_ATTR_VALUES: *(struct flow_values *)field = (struct flow_values){.rank = -1}; break;
    case FLOW_ATTR_DTYPE: ((struct flow_dtype *)field)->type = -1; break;
    default: break; /* false, NULL: zeroed */
    }
    return 0;
}

/* "[1, 1]": a flat list. Its entries are scalars in the arena. */
static struct document *default_list(struct arena *arena, const char *text) {
    struct document *list = arena_new(arena, sizeof *list);
    size_t most = 1;
    for (const char *c = text; *c; c++) most += *c == ',';
    struct document *entries = arena_array(arena, most, sizeof *entries);
    if (!list || !entries || !(list->values = arena_array(arena, most, sizeof *list->values))) return NULL;
    list->kind = DOCUMENT_LIST;
    for (const char *at = text + 1;;) {
        at += strspn(at, " ,");
        size_t length = strcspn(at, " ,]");
        if (length == 0) return list;
        struct document *entry = &entries[list->count];
        if (!(entry->text = arena_text_n(arena, at, length))) return NULL;
        list->values[list->count++] = entry;
        at += length;
    }
}

static int parse_default(const struct parsing *p, void *field) {
    const struct flow_attr *row = p->row;
    if (row->fallback[0] == 0) return set_absent(p, field);
    struct document scalar = {.kind = DOCUMENT_SCALAR, .text = row->fallback};
    /* A default may lie outside the range ("0: all of them"), so the range is not
     * asked. */
    struct flow_attr unbounded = *row;
    unbounded.min = FLOW_NO_MIN, unbounded.max = FLOW_NO_MAX;
    struct parsing inner = *p;
    inner.row = &unbounded;
    if (row->fallback[0] != '[') return parse_value(&inner, &scalar, field);
    struct document *list = default_list(p->arena, row->fallback);
    return list ? parse_value(&inner, list, field) : report_memory(p->report);
}

/* `null`, and `none` where that is what leaving a number out means: the
 * default. */
static bool says_nothing(const struct flow_attr *row, const struct document *value) {
    if (value->kind != DOCUMENT_SCALAR || row->type == FLOW_ATTR_TEXT || !row->fallback) return false;
    if (document_null(value)) return true;
    bool number = row->type == FLOW_ATTR_INT || row->type == FLOW_ATTR_REAL;
    return number && row->fallback[0] == 0 && strcmp(value->text, "none") == 0;
}

int attributes_parse(struct arena *arena, const struct flow_attrs *rows, const struct attributes_options *options, struct report *report,
                     void *attrs) {
    struct parsing p = {arena, options, report, NULL};
    const struct document *with = options->with && options->with->kind == DOCUMENT_MAPPING ? options->with : NULL;
    int result = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        p.row = &rows->at[i];
        void *field = (char *)attrs + p.row->offset;
        const struct document *value = with ? document_get(with, p.row->name) : NULL;
        if (value && says_nothing(p.row, value)) value = NULL;
        int status = value ? parse_value(&p, value, field) : p.row->fallback ? parse_default(&p, field) : set_absent(&p, field);
        if (status < 0) result = status;
        else if (!value && !p.row->fallback && result == 0) result = 1;
    }
    return result;
}

/* Copies the arrays behind a list, so that both structs stand on their own. */
static int copy_list(const struct parsing *p, void *field) {
    struct flow_ints *ints = field;
    struct flow_values *values = field;
    if (p->row->type == FLOW_ATTR_INTS && ints->count)
        return (ints->at = arena_copy(p->arena, ints->at, ints->count * sizeof *ints->at)) ? 0 : report_memory(p->report);
    if (p->row->type == FLOW_ATTR_VALUES && values->rank >= 0)
        return (values->at = arena_copy(p->arena, values->at, (size_t)values->count * sizeof *values->at)) ? 0 : report_memory(p->report);
    return 0;
}

int attributes_again(struct arena *arena, const struct flow_attrs *rows, const struct attributes_options *options, struct report *report,
                     const void *before, size_t size, void *attrs) {
    struct parsing p = {arena, options, report, NULL};
    int result = 0;
    memcpy(attrs, before, size);
    for (uint32_t i = 0; i < rows->count && result == 0; i++) {
        p.row = &rows->at[i];
        void *field = (char *)attrs + p.row->offset;
        const struct document *value = p.row->flags & FLOW_SYMBOLS && options->with ? document_get(options->with, p.row->name) : NULL;
        result = value && !says_nothing(p.row, value) ? parse_value(&p, value, field) : copy_list(&p, field);
    }
    return result;
}
