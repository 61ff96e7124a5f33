/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the graph that is written, and attributes of the model's. */
#include "onnx/internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- Attributes ---- */

const Onnx__Attribute *attr_find(const struct node *n, const char *name) {
    for (size_t i = 0; i < n->from->n_attribute; i++)
        if (n->from->attribute[i]->name && strcmp(n->from->attribute[i]->name, name) == 0) return n->from->attribute[i];
    return NULL;
}

int64_t attr_int(const struct node *n, const char *name, int64_t otherwise) {
    const Onnx__Attribute *a = attr_find(n, name);
    return a && a->has_i ? a->i : otherwise;
}

double attr_real(const struct node *n, const char *name, double otherwise) {
    const Onnx__Attribute *a = attr_find(n, name);
    return a && a->has_f ? (double)a->f : otherwise;
}

const char *attr_text(struct import *m, const struct node *n, const char *name, const char *otherwise) {
    const Onnx__Attribute *a = attr_find(n, name);
    if (!a || !a->has_s) return otherwise;
    char *text = store_take(&m->store, a->s.len + 1, 1);
    if (a->s.len) memcpy(text, a->s.data, a->s.len);
    return text;
}

bool attr_ints(const struct node *n, const char *name, const int64_t **at, size_t *count) {
    const Onnx__Attribute *a = attr_find(n, name);
    if (!a) return false;
    *at = a->ints, *count = a->n_ints;
    return true;
}

bool axis_of(struct import *m, const struct node *n, int64_t axis, int32_t rank, int64_t *out) {
    *out = axis < 0 ? axis + rank : axis;
    if (*out < 0 || *out >= rank) return refuse(m, n, "axis %lld of a tensor with %d axes", (long long)axis, rank);
    return true;
}

/* ---- Nodes ---- */

/* A name that nobody has: `wanted`, `wanted_2` .. */
static const char *free_name(struct import *m, const char *wanted) {
    const char *name = wanted;
    uintptr_t next = (uintptr_t)names_find(&m->labels, wanted);
    if (next) {
        do name = store_format(&m->store, "%s_%zu", wanted, (size_t)++next);
        while (names_find(&m->labels, name));
        names_set(&m->store, &m->labels, wanted, (void *)next);
    }
    names_set(&m->store, &m->labels, name, (void *)(uintptr_t)1);
    return name;
}

struct made *make_named(struct import *m, const struct node *n, const char *op, const char *name) {
    struct made *made = store_take(&m->store, 1, sizeof *made);
    made->op = op, made->scope = n->scope;
    made->name = free_name(m, walk_word(m, name));
    *STORE_PUSH(&m->store, m->made) = made;
    return made;
}

struct made *make_node(struct import *m, const struct node *n, const char *op) {
    return make_named(m, n, op, n->label);
}

void make_with(struct import *m, struct made *made, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *text = store_vformat(&m->store, format, arguments);
    va_end(arguments);
    text_add(&m->store, &made->with, "%s%s", made->with.count ? ", " : "", text);
}

/* The shortest decimal that reads back as the same number. */
const char *real_text(struct store *store, double value, int32_t dtype) {
    char text[40];
    if (isnan(value)) return ".nan";
    if (isinf(value)) return value < 0 ? "-.inf" : ".inf";
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (back == value || (dtype == FLOW_F32 && (float)back == (float)value)) break;
    }
    /* 1e-05 is a text in YAML's core schema for some readers: 1.0e-05 never is. */
    char *e = strchr(text, 'e');
    if (e && !strchr(text, '.')) return store_format(store, "%.*s.0%s", (int)(e - text), text, e);
    return store_text(store, text);
}

void make_reals(struct import *m, struct made *made, const char *key, double value) {
    make_with(m, made, "%s: %s", key, real_text(&m->store, value, FLOW_F32));
}

void make_ints(struct import *m, struct made *made, const char *key, size_t count, const int64_t *at) {
    struct text list = {0};
    text_add(&m->store, &list, "[");
    for (size_t i = 0; i < count; i++) text_add(&m->store, &list, "%s%lld", i ? ", " : "", (long long)at[i]);
    make_with(m, made, "%s: %s]", key, list.at);
}

void make_weight(struct import *m, struct made *made, const char *param, struct flow_tensor tensor) {
    struct made_weight *weight = STORE_PUSH(&m->store, made->weights);
    weight->param = param, weight->tensor = tensor;
}

struct value *make_out(struct import *m, struct made *made, const char *port, int32_t dtype, int32_t rank, const struct extent *shape) {
    struct value *v = value_new(m, dtype, rank, shape);
    v->from = made, v->port = port;
    if (!port) made->out = v;
    return v;
}

void give(const struct node *n, size_t index, struct value *value) {
    if (index < n->out_count) n->out[index] = value;
}

/* ---- Known values as nodes ---- */

enum { LISTED_MOST = 4096, WRITTEN_MOST = 16 };

/* Nested lists of the elements from `*at` on. */
static void list_elements(struct import *m, struct text *text, const struct value *v, int32_t axis, int64_t *at) {
    if (axis == v->rank) {
        if (value_is_float(v->dtype)) text_add(&m->store, text, "%s", real_text(&m->store, value_real(v, *at), v->dtype));
        else text_add(&m->store, text, "%lld", (long long)value_int(v, *at));
        ++*at;
        return;
    }
    text_add(&m->store, text, "[");
    for (int64_t i = 0; i < v->shape[axis].plus; i++) {
        if (i) text_add(&m->store, text, ", ");
        list_elements(m, text, v, axis + 1, at);
    }
    text_add(&m->store, text, "]");
}

static bool all_equal(const struct value *v) {
    size_t size = (size_t)flow_type_bytes(v->dtype);
    return v->count < 2 || memcmp(v->data, (const char *)v->data + size, size * (size_t)(v->count - 1)) == 0;
}

static const char *shape_list(struct import *m, const struct value *v) {
    struct text list = {0};
    text_add(&m->store, &list, "[");
    for (int32_t i = 0; i < v->rank; i++) {
        const char *extent = extent_text(&m->store, &v->shape[i]);
        text_add(&m->store, &list, strpbrk(extent, " *") ? "%s\"%s\"" : "%s%s", i ? ", " : "", extent);
    }
    text_add(&m->store, &list, "]");
    return list.at;
}

/* Whole numbers in f32, exact up to 2^24. */
static struct flow_tensor widened(struct import *m, const struct node *n, const struct value *v, bool *exact) {
    (void)n;
    int64_t shape[RANK];
    for (int32_t i = 0; i < v->rank; i++) shape[i] = v->shape[i].plus;
    struct flow_tensor made = tensor_zeros(m, FLOW_F32, v->rank, shape);
    *exact = true;
    for (int64_t i = 0; i < v->count; i++) {
        double real = value_real(v, i);
        ((float *)made.data)[i] = (float)real;
        if (!value_is_float(v->dtype) && fabs(real) > 16777216) *exact = false;
    }
    return made;
}

/* A symbol as a number: the extent of an input's axis. NULL: it is none alone. */
static struct value *symbol_number(struct import *m, const struct node *n, const char *symbol) {
    for (size_t i = 0; i < m->inputs.count; i++) {
        struct value *input = m->inputs.at[i].value;
        for (int32_t k = 0; k < input->rank; k++) {
            struct extent one = extent_of(1), wanted = extent_symbol(symbol), rank = extent_of(input->rank);
            if (!extent_same(&input->shape[k], &wanted)) continue;
            struct made *made = make_named(m, n, "shape_of", symbol);
            make_in(m, made, NULL, input);
            return make_squeeze(m, n, make_slice(m, n, make_out(m, made, NULL, FLOW_I64, 1, &rank), 0, k, k + 1, 1, &one), 0);
        }
    }
    return NULL;
}

static struct value *extent_number_of(struct import *m, const struct node *n, const struct extent *extent) {
    int64_t number;
    struct value *sum = NULL;
    if (extent_number(extent, &number)) return value_scalar(m, FLOW_I64, (double)number);
    if (extent->unknown) return NULL;
    for (int32_t i = 0; i < extent->terms; i++) {
        struct value *term = symbol_number(m, n, extent->at[i].of);
        if (!term) return NULL;
        if (extent->at[i].times != 1) {
            term = make_same(m, n, "mul", term);
            make_with(m, term->from, "value: %lld", (long long)extent->at[i].times);
        }
        sum = sum ? make_binary(m, n, "add", sum, term, FLOW_I64) : term;
    }
    if (extent->plus) {
        sum = make_same(m, n, "add", sum);
        make_with(m, sum->from, "value: %lld", (long long)extent->plus);
    }
    return sum;
}

/* Extents that a node computes with. */
static bool make_extents(struct import *m, const struct node *n, struct value *v) {
    struct value *parts[RANK];
    if (v->rank > 1 || v->count > RANK || v->count < 1) return refuse(m, n, "more than %d extents are used as numbers", RANK);
    for (int64_t i = 0; i < v->count; i++) {
        parts[i] = extent_number_of(m, n, &v->ints[i]);
        if (!parts[i]) return refuse(m, n, "an extent that is no input's is used as a number");
        if (v->rank == 1 && !parts[i]->data) parts[i] = make_unsqueeze(m, n, parts[i], 0);
        else if (v->rank == 1) parts[i]->rank = 1, parts[i]->shape[0] = extent_of(1);
        if (parts[i]->data && !make_known(m, n, parts[i])) return false;
    }
    struct value *all = parts[0];
    if (v->count > 1) {
        struct made *made = make_node(m, n, "concat");
        for (int64_t i = 0; i < v->count; i++) make_in(m, made, NULL, parts[i]);
        make_with(m, made, "axis: 0");
        all = make_out(m, made, NULL, FLOW_I64, 1, v->shape);
    }
    if (v->dtype != FLOW_I64) all = make_cast(m, n, all, v->dtype);
    v->from = all->from, v->port = all->port;
    return true;
}

bool make_known(struct import *m, const struct node *n, struct value *v) {
    if (v->from || v->input) return true;
    if (!v->data) return make_extents(m, n, v);
    const char *name = v->tensor_name ? v->tensor_name : store_format(&m->store, "%s_value", n->label);
    bool same = all_equal(v) && v->count > 0, floating = value_is_float(v->dtype);
    if (same || v->count <= WRITTEN_MOST || (!floating && v->count <= LISTED_MOST)) {
        struct made *made = make_named(m, n, "constant", name);
        int64_t at = 0;
        struct text list = {0};
        if (same && v->count > 1) {
            struct value one = *v;
            one.rank = 0;
            list_elements(m, &list, &one, 0, &at);
        } else if (v->count) {
            list_elements(m, &list, v, 0, &at);
        } else {
            text_add(&m->store, &list, "0");
        }
        text_add(&m->store, &made->with, "value: %s", list.at);
        if ((same && v->count > 1) || v->count == 0) make_with(m, made, "shape: %s", shape_list(m, v));
        if (v->dtype != FLOW_F32) make_with(m, made, "dtype: %s", flow_type_name(v->dtype));
        v->from = made;
        return true;
    }
    struct made *made = make_named(m, n, "parameter", name);
    make_with(m, made, "shape: %s", shape_list(m, v));
    bool exact = true;
    make_weight(m, made, "weight", v->dtype == FLOW_F32 ? tensor_of(m, v) : widened(m, n, v, &exact));
    if (!exact || v->dtype == FLOW_F64)
        return refuse(m, n, "a table of %lld elements of type %s", (long long)v->count, flow_type_name(v->dtype));
    if (v->dtype != FLOW_F32) {
        struct made *cast = make_named(m, n, "cast", name);
        struct value *from = make_out(m, made, NULL, FLOW_F32, v->rank, v->shape);
        make_in(m, cast, NULL, from);
        make_with(m, cast, "to: %s", flow_type_name(v->dtype));
        made = cast;
    }
    v->from = made;
    return true;
}

void make_in(struct import *m, struct made *made, const char *port, struct value *value) {
    struct made_in *in = STORE_PUSH(&m->store, made->in);
    in->port = port, in->value = value;
}

/* ---- Common nodes ---- */

struct value *make_same(struct import *m, const struct node *n, const char *op, struct value *x) {
    struct made *made = make_node(m, n, op);
    make_in(m, made, NULL, x);
    return make_out(m, made, NULL, x->dtype, x->rank, x->shape);
}

static bool counts_up(const int64_t *perm, int32_t rank) {
    for (int32_t i = 0; i < rank; i++)
        if (perm[i] != i) return false;
    return true;
}

/* A node in front of or behind the one that the model's became, named after both. */
static struct made *make_helper(struct import *m, const struct node *n, const char *op) {
    return make_named(m, n, op, strcasecmp(n->op, op) == 0 ? n->label : store_format(&m->store, "%s_%s", n->label, op));
}

/* What a node that only moves axes reads: two of them in a row are one. */
static struct made *moving(const struct value *x, const char *op) {
    return x->from && !x->port && x->from->out == x && strcmp(x->from->op, op) == 0 ? x->from : NULL;
}

static bool list_read(const char *with, const char *key, int64_t *at, int32_t count) {
    const char *text = strstr(with, key);
    if (!text) return false;
    text += strlen(key);
    for (int32_t i = 0; i < count; i++) {
        char *end;
        at[i] = strtoll(text, &end, 10);
        if (end == text) return false;
        text = end + (*end == ',');
    }
    return true;
}

struct value *make_transpose(struct import *m, const struct node *n, struct value *x, const int64_t *perm) {
    int64_t both[RANK], before[RANK];
    struct extent shape[RANK];
    if (counts_up(perm, x->rank)) return x;
    const struct made *first = moving(x, "transpose");
    for (int32_t i = 0; i < x->rank; i++) both[i] = perm[i];
    if (first && list_read(first->with.at, "perm: [", before, x->rank)) {
        struct value *source = first->in.at[0].value;
        for (int32_t i = 0; i < x->rank; i++) both[i] = before[perm[i]];
        if (counts_up(both, x->rank)) return source;
        x = source;
    }
    for (int32_t i = 0; i < x->rank; i++) shape[i] = x->shape[both[i]];
    struct made *made = make_helper(m, n, "transpose");
    make_in(m, made, NULL, x);
    make_ints(m, made, "perm", (size_t)x->rank, both);
    return make_out(m, made, NULL, x->dtype, x->rank, shape);
}

struct value *make_unsqueeze(struct import *m, const struct node *n, struct value *x, int64_t axis) {
    struct extent shape[RANK];
    if (x->rank >= RANK) longjmp(m->store.full, 1); /* callers have checked */
    for (int32_t i = 0; i <= x->rank; i++) shape[i] = i < axis ? x->shape[i] : i == axis ? extent_of(1) : x->shape[i - 1];
    struct made *made = make_helper(m, n, "unsqueeze");
    make_in(m, made, NULL, x);
    make_with(m, made, "axis: %lld", (long long)axis);
    return make_out(m, made, NULL, x->dtype, x->rank + 1, shape);
}

struct value *make_squeeze(struct import *m, const struct node *n, struct value *x, int64_t axis) {
    struct extent shape[RANK];
    const struct made *first = moving(x, "unsqueeze");
    int64_t before;
    if (first && list_read(first->with.at, "axis: ", &before, 1) && before == axis) return first->in.at[0].value;
    for (int32_t i = 0; i < x->rank - 1; i++) shape[i] = x->shape[i < axis ? i : i + 1];
    struct made *made = make_helper(m, n, "squeeze");
    make_in(m, made, NULL, x);
    make_with(m, made, "axis: %lld", (long long)axis);
    return make_out(m, made, NULL, x->dtype, x->rank - 1, shape);
}

/* A number written in the node in place of an input. */
static bool as_number(const struct value *v, const struct value *other, double *number) {
    return v->rank <= other->rank && v->count == 1 && value_one(v, number) && isfinite(*number);
}

struct value *make_binary(struct import *m, const struct node *n, const char *op, struct value *a, struct value *b, int32_t dtype) {
    struct extent shape[RANK];
    int32_t rank = a->rank;
    double number;
    for (int32_t i = 0; i < rank; i++) shape[i] = a->shape[i];
    if (!shape_join(shape, &rank, b)) {
        refuse(m, n, "the shapes of its inputs do not go together");
        return NULL;
    }
    bool swaps = strcmp(op, "add") == 0 || strcmp(op, "mul") == 0 || strcmp(op, "eq") == 0 || strcmp(op, "ne") == 0 ||
                 strcmp(op, "maximum") == 0 || strcmp(op, "minimum") == 0;
    if (swaps && a->data && !b->data) {
        struct value *other = a;
        a = b, b = other;
    }
    struct made *made = make_node(m, n, op);
    make_in(m, made, NULL, a);
    bool logic = a->dtype == FLOW_BOOL || strcmp(op, "and") == 0 || strcmp(op, "or") == 0;
    if (!logic && !value_known(a) && as_number(b, a, &number))
        make_with(m, made, "value: %s", real_text(&m->store, number, value_is_float(b->dtype) ? b->dtype : FLOW_F64));
    else make_in(m, made, NULL, b);
    return make_out(m, made, NULL, dtype, rank, shape);
}

struct value *make_cast(struct import *m, const struct node *n, struct value *x, int32_t dtype) {
    if (x->dtype == dtype) return x;
    struct made *made = make_helper(m, n, "cast");
    make_in(m, made, NULL, x);
    make_with(m, made, "to: %s", flow_type_name(dtype));
    return make_out(m, made, NULL, dtype, x->rank, x->shape);
}

struct value *make_slice(struct import *m, const struct node *n, struct value *x, int64_t axis, int64_t start, int64_t stop, int64_t step,
                         const struct extent *extent) {
    struct extent shape[RANK];
    for (int32_t i = 0; i < x->rank; i++) shape[i] = i == axis ? *extent : x->shape[i];
    struct made *made = make_helper(m, n, "slice");
    make_in(m, made, NULL, x);
    make_with(m, made, "axis: %lld", (long long)axis);
    if (start != (step > 0 ? 0 : INT64_MAX)) make_with(m, made, "start: %lld", (long long)start);
    if (stop != (step > 0 ? INT64_MAX : INT64_MIN)) make_with(m, made, "stop: %lld", (long long)stop);
    if (step != 1) make_with(m, made, "step: %lld", (long long)step);
    return make_out(m, made, NULL, x->dtype, x->rank, shape);
}
