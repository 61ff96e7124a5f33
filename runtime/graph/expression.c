/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/expression.h"

#include <errno.h>
#include <flow/plugin.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 64, NUMBER_MOST = 64 };

/*  sum     = product { (+|-) product }
 *  product = sign { (*|/|%) sign }
 *  sign    = {+|-} power
 *  power   = atom [ ** sign ]                 binds closer than a sign before it: -2 ** 2 is -4
 *  atom    = number | name | sqrt ( sum ) | ( sum )  */
struct evaluation {
    const char *at, *end;
    expression_lookup lookup; /* NULL: names stand for nothing, only the form is checked */
    void *context;
    char *why;
    size_t size;
    int depth;
};

static int fail(struct evaluation *e, const char *format, ...) printf_like(2, 3);
static int fail(struct evaluation *e, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (e->size) vsnprintf(e->why, e->size, format, arguments);
    va_end(arguments);
    return FLOW_ERROR_GRAPH;
}

static struct number integer(int64_t i) { return (struct number){false, i, (double)i}; }
static struct number real(double r) { return (struct number){true, 0, r}; }

static int finite_real(struct evaluation *e, double r, const struct number *a, const struct number *b, struct number *out) {
    if (!isfinite(r) && isfinite(a->r) && isfinite(b->r)) return fail(e, "a value is too large");
    *out = real(r);
    return 0;
}

/* ---- Arithmetic ---- */

static int divide(struct evaluation *e, const struct number *a, const struct number *b, struct number *out) {
    if (b->r == 0) return fail(e, "division by zero");
    if (a->real || b->real) return finite_real(e, a->r / b->r, a, b, out);
    if (a->i == INT64_MIN && b->i == -1) return fail(e, "a value is too large");
    if (a->i % b->i)
        return fail(e, "%lld / %lld does not come out even (write %lld.0 for a real)", (long long)a->i, (long long)b->i, (long long)a->i);
    *out = integer(a->i / b->i);
    return 0;
}

static int modulo(struct evaluation *e, const struct number *a, const struct number *b, struct number *out) {
    if (b->r == 0) return fail(e, "division by zero");
    if (a->real || b->real) {
        double r = fmod(a->r, b->r);
        if (r != 0 && (r < 0) != (b->r < 0)) r += b->r;
        return finite_real(e, r, a, b, out);
    }
    int64_t r = b->i == -1 ? 0 : a->i % b->i;
    if (r != 0 && (r < 0) != (b->i < 0)) r += b->i;
    *out = integer(r);
    return 0;
}

static int power(struct evaluation *e, const struct number *a, const struct number *b, struct number *out) {
    if (a->real || b->real) {
        if (a->r == 0 && b->r < 0) return fail(e, "division by zero");
        double r = pow(a->r, b->r);
        if (isnan(r) && !isnan(a->r) && !isnan(b->r)) return fail(e, "a root of a negative number");
        return finite_real(e, r, a, b, out);
    }
    if (b->i < 0) return fail(e, "a negative power of an integer (write %lld.0 for a real)", (long long)a->i);
    int64_t result = 1, square = a->i;
    for (int64_t n = b->i; n; n >>= 1) {
        if ((n & 1) && !size_multiply(result, square, &result)) return fail(e, "a value is too large");
        if (n > 1 && !size_multiply(square, square, &square)) return fail(e, "a value is too large");
    }
    *out = integer(result);
    return 0;
}

static int apply(struct evaluation *e, char operation, struct number *a, const struct number *b) {
    bool whole = !a->real && !b->real, fits = true;
    int64_t i = 0;
    if (!e->lookup) return 0;
    switch (operation) {
    case '/': return divide(e, a, b, a);
    case '%': return modulo(e, a, b, a);
    case '^': return power(e, a, b, a);
    case '+': fits = !whole || size_add(a->i, b->i, &i); break;
    case '-': fits = !whole || !__builtin_sub_overflow(a->i, b->i, &i); break;
    default: fits = !whole || size_multiply(a->i, b->i, &i); break;
    }
    if (!fits) return fail(e, "a value is too large");
    if (whole) {
        *a = integer(i);
        return 0;
    }
    return finite_real(e, operation == '+' ? a->r + b->r : operation == '-' ? a->r - b->r : a->r * b->r, a, b, a);
}

/* ---- Grammar ---- */

static int sum(struct evaluation *e, struct number *out);

static char peek(struct evaluation *e) {
    while (e->at < e->end && (*e->at == ' ' || *e->at == '\t' || *e->at == '\n')) e->at++;
    return e->at < e->end ? *e->at : 0;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static int literal(struct evaluation *e, struct number *out) {
    const char *start = e->at;
    bool whole = true;
    while (e->at < e->end && digit(*e->at)) e->at++;
    if (e->at < e->end && *e->at == '.') {
        whole = false;
        for (e->at++; e->at < e->end && digit(*e->at);) e->at++;
    }
    const char *mark = e->at;
    if (e->at < e->end && (*e->at == 'e' || *e->at == 'E')) {
        e->at++;
        if (e->at < e->end && (*e->at == '+' || *e->at == '-')) e->at++;
        if (e->at < e->end && digit(*e->at)) whole = false;
        else e->at = mark;
        while (e->at < e->end && digit(*e->at)) e->at++;
    }
    size_t length = (size_t)(e->at - start);
    char copy[NUMBER_MOST];
    if (length >= sizeof copy) return fail(e, "a number of more than %d digits", NUMBER_MOST - 1);
    memcpy(copy, start, length);
    copy[length] = 0;
    if (strcmp(copy, ".") == 0) return fail(e, "'.' is not a number");
    errno = 0;
    if (whole) {
        long long i = strtoll(copy, NULL, 10);
        if (errno == ERANGE) return fail(e, "%s is too large", copy);
        *out = integer(i);
        return 0;
    }
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return fail(e, "out of memory");
    *out = real(strtod_l(copy, NULL, c));
    freelocale(c);
    return isfinite(out->r) ? 0 : fail(e, "%s is too large", copy);
}

static int parenthesis(struct evaluation *e, struct number *out) {
    if (++e->depth > DEPTH_MOST) return fail(e, "nested more than %d deep", DEPTH_MOST);
    e->at++;
    int status = sum(e, out);
    if (status < 0) return status;
    if (peek(e) != ')') return fail(e, "a parenthesis is not closed");
    e->at++, e->depth--;
    return 0;
}

static int name(struct evaluation *e, struct number *out) {
    const char *start = e->at;
    while (e->at < e->end && (letter(*e->at) || digit(*e->at))) e->at++;
    size_t length = (size_t)(e->at - start);
    if (length == 4 && memcmp(start, "sqrt", 4) == 0 && peek(e) == '(') {
        int status = parenthesis(e, out);
        if (status < 0 || !e->lookup) return status;
        if (out->r < 0) return fail(e, "a root of a negative number");
        *out = real(sqrt(out->r));
        return 0;
    }
    if (!e->lookup) {
        *out = integer(1);
        return 0;
    }
    int found = e->lookup(e->context, start, length, out);
    if (found == 0) return fail(e, "unknown name '%.*s'", length > 100 ? 100 : (int)length, start);
    if (found > 0 && !out->real) out->r = (double)out->i;
    return found < 0 ? found : 0;
}

static int sign(struct evaluation *e, struct number *out) {
    bool negative = false;
    char c;
    for (; (c = peek(e)) == '+' || c == '-'; e->at++) negative ^= c == '-';
    int status;
    if (digit(c) || c == '.') status = literal(e, out);
    else if (letter(c)) status = name(e, out);
    else if (c == '(') status = parenthesis(e, out);
    else if (c) return fail(e, "a number or name is expected at '%.*s'", e->end - e->at > 20 ? 20 : (int)(e->end - e->at), e->at);
    else return fail(e, "a number or name is missing at the end");
    if (status < 0) return status;
    if (peek(e) == '*' && e->end - e->at > 1 && e->at[1] == '*') {
        struct number exponent;
        e->at += 2;
        if (++e->depth > DEPTH_MOST) return fail(e, "nested more than %d deep", DEPTH_MOST);
        if ((status = sign(e, &exponent)) < 0 || (status = apply(e, '^', out, &exponent)) < 0) return status;
        e->depth--;
    }
    if (!negative) return 0;
    if (!out->real && out->i == INT64_MIN) return fail(e, "a value is too large");
    *out = out->real ? real(-out->r) : integer(-out->i);
    return 0;
}

static int product(struct evaluation *e, struct number *out) {
    int status = sign(e, out);
    for (char c; status == 0 && ((c = peek(e)) == '*' || c == '/' || c == '%');) {
        struct number next;
        e->at++;
        if ((status = sign(e, &next)) == 0) status = apply(e, c, out, &next);
    }
    return status;
}

static int sum(struct evaluation *e, struct number *out) {
    int status = product(e, out);
    for (char c; status == 0 && ((c = peek(e)) == '+' || c == '-');) {
        struct number next;
        e->at++;
        if ((status = product(e, &next)) == 0) status = apply(e, c, out, &next);
    }
    return status;
}

static int whole(struct evaluation *e, struct number *out) {
    if (e->size) e->why[0] = 0;
    int status = sum(e, out);
    if (status < 0) return status;
    if (peek(e)) return fail(e, "'%.*s' is left over", e->end - e->at > 20 ? 20 : (int)(e->end - e->at), e->at);
    return 0;
}

int expression_evaluate(const char *text, size_t length, expression_lookup lookup, void *context, struct number *value, char *why,
                        size_t size) {
    struct evaluation e = {text, text + length, lookup, context, why, size, 0};
    *value = integer(0);
    return whole(&e, value);
}

int expression_check(const char *text, size_t length, char *why, size_t size) {
    struct evaluation e = {text, text + length, NULL, NULL, why, size, 0};
    struct number value;
    return whole(&e, &value);
}
