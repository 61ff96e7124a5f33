/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/extent.h"

#include <stdio.h>
#include <string.h>

const struct extent extent_unknown = {.unknown = true};

struct extent extent_of(int64_t number) {
    return (struct extent){.plus = number};
}

struct extent extent_symbol(const char *name) {
    struct extent made = {.terms = 1};
    made.at[0].times = 1, made.at[0].of = name;
    return made;
}

bool extent_number(const struct extent *a, int64_t *number) {
    if (a->unknown || a->terms) return false;
    *number = a->plus;
    return true;
}

bool extent_is(const struct extent *a, int64_t number) { return !a->unknown && a->terms == 0 && a->plus == number; }

bool extent_same(const struct extent *a, const struct extent *b) {
    if (a->unknown || b->unknown || a->terms != b->terms || a->plus != b->plus) return false;
    for (int32_t i = 0; i < a->terms; i++)
        if (a->at[i].times != b->at[i].times || strcmp(a->at[i].of, b->at[i].of) != 0) return false;
    return true;
}

struct extent extent_add(const struct extent *a, const struct extent *b, int64_t sign) {
    struct extent sum = {0};
    int32_t i = 0, k = 0;
    int64_t scaled;
    if (a->unknown || b->unknown || __builtin_mul_overflow(b->plus, sign, &scaled) || __builtin_add_overflow(a->plus, scaled, &sum.plus))
        return extent_unknown;
    while (i < a->terms || k < b->terms) {
        int order = i == a->terms ? 1 : k == b->terms ? -1 : strcmp(a->at[i].of, b->at[k].of);
        int64_t times = order <= 0 ? a->at[i].times : 0;
        const char *of = order <= 0 ? a->at[i].of : b->at[k].of;
        if (order >= 0 && (__builtin_mul_overflow(b->at[k].times, sign, &scaled) || __builtin_add_overflow(times, scaled, &times)))
            return extent_unknown;
        i += order <= 0, k += order >= 0;
        if (times == 0) continue;
        if (sum.terms == EXTENT_TERMS) return extent_unknown;
        sum.at[sum.terms].times = times, sum.at[sum.terms++].of = of;
    }
    return sum;
}

static struct extent scaled_by(const struct extent *a, int64_t times) {
    struct extent none = {0};
    if (times == 0) return a->unknown ? *a : none;
    return extent_add(&none, a, times);
}

const char *extent_text(struct store *store, const struct extent *a) {
    struct text text = {0};
    for (int32_t i = 0; i < a->terms; i++) {
        int64_t times = a->at[i].times;
        if (i) text_add(store, &text, times < 0 ? " - " : " + ");
        else if (times < 0) text_add(store, &text, "0 - ");
        uint64_t size = times < 0 ? 0 - (uint64_t)times : (uint64_t)times;
        if (size != 1) text_add(store, &text, "%llu*", (unsigned long long)size);
        text_add(store, &text, "%s", a->at[i].of);
    }
    if (a->terms == 0) text_add(store, &text, "%lld", (long long)a->plus);
    else if (a->plus > 0) text_add(store, &text, " + %lld", (long long)a->plus);
    else if (a->plus < 0) text_add(store, &text, " - %llu", (unsigned long long)(0 - (uint64_t)a->plus));
    return text.at;
}

/* An expression as one term. Too long a text would double with each step: not known, then. */
static struct extent opaque(const char *text) { return strlen(text) > EXTENT_LETTERS ? extent_unknown : extent_symbol(text); }

static bool simple(const struct extent *a) { return a->terms == 1 && a->plus == 0 && a->at[0].times == 1; }

struct extent extent_times(struct store *store, const struct extent *a, const struct extent *b) {
    if (a->unknown || b->unknown) return extent_unknown;
    if (a->terms == 0) return scaled_by(b, a->plus);
    if (b->terms == 0) return scaled_by(a, b->plus);
    if (a->terms == 1 && b->terms == 1 && a->plus == 0 && b->plus == 0) {
        bool first = strcmp(a->at[0].of, b->at[0].of) <= 0;
        struct extent made = opaque(store_format(store, "%s*%s", (first ? a : b)->at[0].of, (first ? b : a)->at[0].of));
        int64_t times;
        if (__builtin_mul_overflow(a->at[0].times, b->at[0].times, &times)) return extent_unknown;
        return scaled_by(&made, times);
    }
    return opaque(store_format(store, "(%s)*(%s)", extent_text(store, a), extent_text(store, b)));
}

static int64_t floor_over(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

/* a*b / a, b*a / a: what is left. NULL: not of that form. */
static const char *without(struct store *store, const char *product, const char *factor) {
    size_t all = strlen(product), part = strlen(factor);
    if (strchr(product, '(') || all <= part + 1) return NULL;
    if (strncmp(product, factor, part) == 0 && product[part] == '*') return store_text(store, product + part + 1);
    if (strcmp(product + all - part, factor) == 0 && product[all - part - 1] == '*')
        return store_format(store, "%.*s", (int)(all - part - 1), product);
    return NULL;
}

struct extent extent_over(struct store *store, const struct extent *a, const struct extent *b) {
    int64_t by;
    if (a->unknown || b->unknown || extent_is(b, 0)) return extent_unknown;
    if (extent_same(a, b)) return extent_of(1);
    if (extent_number(b, &by)) {
        bool even = by != -1 || a->plus != INT64_MIN;
        for (int32_t i = 0; i < a->terms && even; i++) even = by != -1 && a->at[i].times % by == 0;
        if (even) {
            struct extent made = *a;
            made.plus = floor_over(a->plus, by);
            for (int32_t i = 0; i < a->terms; i++) made.at[i].times /= by;
            return made;
        }
        if (by < 0) return extent_unknown;
    } else if (simple(b) && a->terms == 1 && a->plus == 0) {
        const char *left = without(store, a->at[0].of, b->at[0].of);
        if (left) {
            struct extent made = extent_symbol(left);
            return scaled_by(&made, a->at[0].times);
        }
        if (strcmp(a->at[0].of, b->at[0].of) == 0) return extent_of(a->at[0].times);
    }
    const char *x = extent_text(store, a), *y = extent_text(store, b);
    return opaque(store_format(store, "((%s - (%s) %% (%s))/(%s))", x, x, y, y));
}

struct extent extent_rest(struct store *store, const struct extent *a, const struct extent *b) {
    struct extent whole = extent_over(store, a, b), part = extent_times(store, &whole, b);
    return extent_add(a, &part, -1);
}
