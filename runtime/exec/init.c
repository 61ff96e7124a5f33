/* SPDX-License-Identifier: Apache-2.0 */
/* Initial values: each element a function of (seed, index) alone, by Philox4x32-10 (flow/random.h), so that a parameter's value depends on
 * the graph's seed and its own name, not on anything else in the graph.
 *   xavier: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
 *   kaiming: He et al. 2015, "Delving deep into rectifiers".
 *   orthogonal: Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks". */
#include "base/half.h"
#include "exec/context.h"
#include "graph/expression.h"

#include <flow/random.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ARGUMENTS_MOST = 5 };

struct initialiser {
    char name[32];
    double arguments[ARGUMENTS_MOST];
    int count;
};

static int no_names(void *context, const char *name, size_t length, struct number *value) {
    (void)context, (void)name, (void)length, (void)value;
    return 0;
}

/* "uniform(-1, 1)": a word, and arguments that are expressions of numbers. */
static int parse(const char *text, struct initialiser *init, char *why, size_t size) {
    *init = (struct initialiser){0};
    while (*text == ' ') text++;
    size_t length = strcspn(text, "( ");
    if (length == 0 || length >= sizeof init->name) return snprintf(why, size, "'%s' is not an initialiser", text), FLOW_ERROR_RANGE;
    memcpy(init->name, text, length);
    const char *at = text + length;
    while (*at == ' ') at++;
    if (!*at) return 0;
    const char *end = strrchr(at, ')');
    if (*at != '(' || !end) return snprintf(why, size, "'%s' is not an initialiser", text), FLOW_ERROR_RANGE;
    at++;
    while (at < end) {
        int depth = 0;
        const char *stop = at;
        for (; stop < end && (depth > 0 || *stop != ','); stop++) depth += (*stop == '(') - (*stop == ')');
        if (init->count == ARGUMENTS_MOST)
            return snprintf(why, size, "initialiser '%s' has more arguments than there can be", text), FLOW_ERROR_RANGE;
        struct number value;
        char reason[128];
        if (expression_evaluate(at, (size_t)(stop - at), no_names, NULL, &value, reason, sizeof reason) < 0)
            return snprintf(why, size, "initialiser '%s': %s", text, reason), FLOW_ERROR_RANGE;
        init->arguments[init->count++] = value.r;
        at = stop + (stop < end);
    }
    return 0;
}

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

static void store(const struct flow_tensor *t, int64_t i, double value) {
    switch (t->dtype) {
    case FLOW_I32: ((int32_t *)t->data)[i] = (int32_t)value; break;
    case FLOW_I64: ((int64_t *)t->data)[i] = (int64_t)value; break;
    case FLOW_U8: ((uint8_t *)t->data)[i] = (uint8_t)value; break;
    case FLOW_BOOL: ((uint8_t *)t->data)[i] = value != 0; break;
    default: half_write(t->data, t->dtype, i, value);
    }
}

static double uniform(uint64_t seed, uint64_t attempt, int64_t i) {
    uint32_t words[4];
    flow_philox(seed, attempt, (uint64_t)i, words);
    return flow_uniform_f64(words[0], words[1]);
}

/* Box and Muller 1958. */
static double normal(uint64_t seed, uint64_t attempt, int64_t i) {
    uint32_t words[4];
    flow_philox(seed, attempt, (uint64_t)i, words);
    double radius = sqrt(-2 * log1p(-flow_uniform_f64(words[0], words[1])));
    return radius * cos(2 * 3.14159265358979323846 * flow_uniform_f64(words[2], words[3]));
}

/* Cut at two deviations: drawn again until it lies within. */
static double truncated(uint64_t seed, int64_t i) {
    double value = 0;
    for (uint64_t attempt = 0; attempt < 64; attempt++)
        if (fabs(value = normal(seed, attempt, i)) <= 2) return value;
    return value < 0 ? -2 : 2;
}

static void fill(const struct flow_tensor *t, double value) {
    int64_t count = elements(t);
    for (int64_t i = 0; i < count; i++) store(t, i, value);
}

static void fill_uniform(const struct flow_tensor *t, double low, double high, uint64_t seed) {
    int64_t count = elements(t);
    for (int64_t i = 0; i < count; i++) store(t, i, low + (high - low) * uniform(seed, 0, i));
}

/* Elements first .. end get one value, the others are drawn: a gate's bias among those of other gates. */
static void fill_except(const struct flow_tensor *t, const double *argument, uint64_t seed) {
    int64_t count = elements(t);
    for (int64_t i = 0; i < count; i++) {
        bool inside = (double)i >= argument[2] && (double)i < argument[3];
        store(t, i, inside ? argument[4] : argument[0] + (argument[1] - argument[0]) * uniform(seed, 0, i));
    }
}

static void fill_normal(const struct flow_tensor *t, double mean, double deviation, uint64_t seed, bool cut) {
    int64_t count = elements(t);
    for (int64_t i = 0; i < count; i++) store(t, i, mean + deviation * (cut ? truncated(seed, i) : normal(seed, 0, i)));
}

/* [out, in, k...]; a vector counts as both. */
static void fans(const struct flow_tensor *t, double *in, double *out) {
    double field = 1;
    for (int32_t a = 2; a < t->rank; a++) field *= (double)t->shape[a];
    *out = t->rank > 0 ? (double)t->shape[0] * field : 1;
    *in = t->rank > 1 ? (double)t->shape[1] * field : *out;
    if (*in < 1) *in = 1;
    if (*out < 1) *out = 1;
}

/* Ones on the diagonal of the last two axes. */
static void fill_identity(const struct flow_tensor *t) {
    int64_t rows = t->shape[t->rank - 2], columns = t->shape[t->rank - 1], count = elements(t);
    for (int64_t i = 0; i < count; i++) store(t, i, i / columns % rows == i % columns);
}

/* Rows (or columns, whichever are fewer) of a normal matrix made orthonormal by Gram and Schmidt, twice (that is enough: Giraud et al.
 * 2005), in f64. Seen as [out, rest]. */
static int fill_orthogonal(const struct allocator *from, const struct flow_tensor *t, double gain, uint64_t seed) {
    int64_t count = elements(t);
    if (!count) return 0;
    int64_t rows = t->shape[0], columns = count / rows;
    int64_t vectors = rows < columns ? rows : columns, length = rows < columns ? columns : rows;
    double *q = memory_array(from, (size_t)count, sizeof *q);
    if (!q) return FLOW_ERROR_MEMORY;
    for (int64_t i = 0; i < count; i++) q[i] = normal(seed, 0, i);
    for (int64_t v = 0; v < vectors; v++) {
        double *row = q + v * length;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t u = 0; u < v; u++) {
                double dot = 0;
                for (int64_t i = 0; i < length; i++) dot += q[u * length + i] * row[i];
                for (int64_t i = 0; i < length; i++) row[i] -= dot * q[u * length + i];
            }
            double square = 0;
            for (int64_t i = 0; i < length; i++) square += row[i] * row[i];
            double scale = square > 0 ? 1 / sqrt(square) : 0;
            for (int64_t i = 0; i < length; i++) row[i] *= scale;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t r = i / columns, c = i % columns;
        store(t, i, gain * (rows <= columns ? q[r * length + c] : q[c * length + r]));
    }
    memory_free(from, q, (size_t)count * sizeof *q);
    return 0;
}

enum word {
    ZEROS,
    ONES,
    CONSTANT,
    UNIFORM,
    UNIFORM_EXCEPT,
    NORMAL,
    TRUNCATED_NORMAL,
    XAVIER_UNIFORM,
    XAVIER_NORMAL,
    KAIMING_UNIFORM,
    KAIMING_NORMAL,
    ORTHOGONAL,
    IDENTITY,
    WORDS
};

static const struct rule {
    const char *name;
    int least, most; /* arguments */
    bool drawn, matrix;
} rules[WORDS] = {
    [ZEROS] = {"zeros", 0, 0, false, false},
    [ONES] = {"ones", 0, 0, false, false},
    [CONSTANT] = {"constant", 1, 1, false, false},
    [UNIFORM] = {"uniform", 2, 2, true, false},
    [UNIFORM_EXCEPT] = {"uniform_except", 5, 5, true, false},
    [NORMAL] = {"normal", 1, 2, true, false}, /* one: the deviation, the mean is 0 */
    [TRUNCATED_NORMAL] = {"truncated_normal", 1, 1, true, false},
    [XAVIER_UNIFORM] = {"xavier_uniform", 0, 0, true, false},
    [XAVIER_NORMAL] = {"xavier_normal", 0, 0, true, false},
    [KAIMING_UNIFORM] = {"kaiming_uniform", 0, 1, true, false},
    [KAIMING_NORMAL] = {"kaiming_normal", 0, 0, true, false},
    [ORTHOGONAL] = {"orthogonal", 0, 1, true, true},
    [IDENTITY] = {"identity", 0, 0, false, true},
};

static int fill_by(const struct allocator *from, const struct flow_tensor *t, enum word word, const struct initialiser *init,
                   uint64_t seed) {
    const double *argument = init->arguments;
    double in, out, bound;
    fans(t, &in, &out);
    switch (word) {
    case ONES: fill(t, 1); break;
    case CONSTANT: fill(t, argument[0]); break;
    case UNIFORM: fill_uniform(t, argument[0], argument[1], seed); break;
    case UNIFORM_EXCEPT: fill_except(t, argument, seed); break;
    case NORMAL: fill_normal(t, init->count == 2 ? argument[0] : 0, argument[init->count - 1], seed, false); break;
    case TRUNCATED_NORMAL: fill_normal(t, 0, argument[0], seed, true); break;
    case XAVIER_UNIFORM: fill_uniform(t, -sqrt(6 / (in + out)), sqrt(6 / (in + out)), seed); break;
    case XAVIER_NORMAL: fill_normal(t, 0, sqrt(2 / (in + out)), seed, false); break;
    case KAIMING_UNIFORM:
        bound = sqrt(6 / ((1 + argument[0] * argument[0]) * in));
        fill_uniform(t, -bound, bound, seed);
        break;
    case KAIMING_NORMAL: fill_normal(t, 0, sqrt(2 / in), seed, false); break;
    case ORTHOGONAL: return fill_orthogonal(from, t, init->count ? argument[0] : 1, seed);
    case IDENTITY: fill_identity(t); break;
    default: fill(t, 0);
    }
    return 0;
}

int tensor_initialise(const struct allocator *from, const struct flow_tensor *t, const char *text, uint64_t seed, char *why, size_t size) {
    struct initialiser init;
    int code = parse(text ? text : "zeros", &init, why, size);
    if (code < 0) return code;
    enum word word = ZEROS;
    while (word < WORDS && strcmp(rules[word].name, init.name) != 0) word++;
    if (word == WORDS) return snprintf(why, size, "there is no initialiser '%s'", init.name), FLOW_ERROR_RANGE;
    const struct rule *rule = &rules[word];
    if (init.count < rule->least || init.count > rule->most) {
        snprintf(why, size, "initialiser '%s' takes %d argument%s, %d given", init.name, rule->most, rule->most == 1 ? "" : "s",
                 init.count);
        return FLOW_ERROR_RANGE;
    }
    if (rule->drawn && !dtype_float(t->dtype)) {
        snprintf(why, size, "initialiser '%s' is for real values, this is %s", init.name, dtype_name(t->dtype));
        return FLOW_ERROR_TYPE;
    }
    if (rule->matrix && t->rank < 2) {
        snprintf(why, size, "initialiser '%s' is for matrices, this has %d axes", init.name, (int)t->rank);
        return FLOW_ERROR_SHAPE;
    }
    code = fill_by(from, t, word, &init, seed);
    if (code < 0) snprintf(why, size, "out of memory");
    return code;
}
