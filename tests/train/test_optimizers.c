/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers against their equations, written down again in f64: several steps, every instruction set, both types, with and without a
 * gradient, a schedule and clipping; the same bytes for any number of threads. */
#include "train/hand_group.h"

extern const struct flow_optimizer sgd_optimizer, adam_optimizer, adamw_optimizer, rmsprop_optimizer, adagrad_optimizer, muon_optimizer,
    none_optimizer, average_optimizer, assign_optimizer, accumulate_optimizer;

enum { STEPS = 4 };
static const double rates[STEPS] = {1, 0.5, 2, 0.25}, scales[STEPS] = {1, 0.3, 1, 0.7};

/* ---- Elementwise rules ---- */

enum rule {
    SGD,
    SGD_MOMENTUM,
    SGD_NESTEROV,
    ADAM,
    ADAMW,
    RMSPROP,
    RMSPROP_MOMENTUM,
    ADAGRAD,
    NONE,
    AVERAGE,
    ASSIGN,
    ASSIGN_ALL,
    ACCUMULATE,
    RULES
};

static const struct {
    const struct flow_optimizer *rule;
    const char *attrs;
} table[RULES] = {
    [SGD] = {&sgd_optimizer, "lr=0.1 weight_decay=0.02"},
    [SGD_MOMENTUM] = {&sgd_optimizer, "lr=0.1 momentum=0.9"},
    [SGD_NESTEROV] = {&sgd_optimizer, "lr=0.1 momentum=0.8 nesterov=true weight_decay=0.02"},
    [ADAM] = {&adam_optimizer, "lr=0.02 beta1=0.8 beta2=0.95 weight_decay=0.1"},
    [ADAMW] = {&adamw_optimizer, "lr=0.03"},
    [RMSPROP] = {&rmsprop_optimizer, "alpha=0.9"},
    [RMSPROP_MOMENTUM] = {&rmsprop_optimizer, "lr=0.03 momentum=0.7"},
    [ADAGRAD] = {&adagrad_optimizer, "lr=0.05"},
    [NONE] = {&none_optimizer, ""},
    [AVERAGE] = {&average_optimizer, "of=other rate=0.25"},
    [ASSIGN] = {&assign_optimizer, "value=x rate=0.125"},
    [ASSIGN_ALL] = {&assign_optimizer, "value=x"},
    [ACCUMULATE] = {&accumulate_optimizer, "value=x"},
};

/* One element over all steps. t counts from 1, lr times the schedule's rate. */
static double expected(enum rule rule, double w, double g, double value) {
    double m = 0, v = 0;
    for (int t = 1; t <= STEPS; t++) {
        const double rate = rates[t - 1];
        double d = g * scales[t - 1];
        switch (rule) {
        case SGD: w = w - 0.1 * rate * (d + 0.02 * w); break;
        case SGD_MOMENTUM: m = t == 1 ? d : 0.9 * m + d, w = w - 0.1 * rate * m; break;
        case SGD_NESTEROV: d += 0.02 * w, m = t == 1 ? d : 0.8 * m + d, w = w - 0.1 * rate * (d + 0.8 * m); break;
        case ADAM:
            d += 0.1 * w, m = 0.8 * m + 0.2 * d, v = 0.95 * v + 0.05 * d * d;
            w -= 0.02 * rate * (m / (1 - pow(0.8, t))) / (sqrt(v / (1 - pow(0.95, t))) + 1e-8);
            break;
        case ADAMW:
            w *= 1 - 0.03 * rate * 0.01, m = 0.9 * m + 0.1 * d, v = 0.999 * v + 0.001 * d * d;
            w -= 0.03 * rate * (m / (1 - pow(0.9, t))) / (sqrt(v / (1 - pow(0.999, t))) + 1e-8);
            break;
        case RMSPROP: v = 0.9 * v + 0.1 * d * d, w -= 0.01 * rate * d / (sqrt(v) + 1e-8); break;
        case RMSPROP_MOMENTUM: v = 0.99 * v + 0.01 * d * d, m = 0.7 * m + d / (sqrt(v) + 1e-8), w -= 0.03 * rate * m; break;
        case ADAGRAD: v += d * d, w -= 0.05 * rate * d / (sqrt(v) + 1e-10); break;
        case AVERAGE: w = 0.75 * w + 0.25 * value; break;
        case ASSIGN: w = 0.875 * w + 0.125 * value; break;
        case ASSIGN_ALL: w = value; break;
        case ACCUMULATE: w += value; break;
        default: break;
        }
    }
    return w;
}

static const int64_t shapes[][3] = {{1, 1, 1}, {0, 3, 1}, {3, 5, 1}, {63, 1, 1}, {64, 1, 1}, {2, 9, 7}, {257, 3, 1}, {700, 1, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void check_rule(enum rule rule, int32_t dtype, int isa, bool absent) {
    struct group group;
    group_init(&group, table[rule].rule, table[rule].attrs, 1, isa);
    for (int s = 0; s < SHAPES; s++) group_add(&group, dtype, 3, shapes[s], (uint64_t)(s + 1));
    group_ready(&group);
    double *w[SHAPES];
    for (int s = 0; s < SHAPES; s++) {
        w[s] = calloc((size_t)group_elements(&group.param[s]) + 1, sizeof(double));
        for (int64_t k = 0; k < group_elements(&group.param[s]); k++)
            w[s][k] =
                expected(rule, group_get(&group.param[s], k), absent ? 0 : group_get(&group.grad[s], k), group_get(&group.value[s], k));
        if (absent) group.grad[s].rank = -1;
    }
    for (int t = 0; t < STEPS; t++) cr_assert(group_step(&group, t, rates[t], scales[t]) == 0, "%s", group.message);
    const double tolerance = dtype == FLOW_F64 ? 1e-13 : 1e-6;
    for (int s = 0; s < SHAPES; s++) {
        for (int64_t k = 0; k < group_elements(&group.param[s]); k++) {
            const double found = group_get(&group.param[s], k);
            cr_assert(fabs(found - w[s][k]) <= tolerance * (1 + fabs(w[s][k])), "%s %s: parameter %d, element %d: %.17g, expected %.17g",
                      table[rule].rule->name, table[rule].attrs, s, (int)k, found, w[s][k]);
        }
        free(w[s]);
    }
    group_end(&group);
}

Test(optimizers, equations) {
    for (int rule = 0; rule < RULES; rule++)
        for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++)
            for (int absent = 0; absent < 2; absent++) {
                check_rule((enum rule)rule, FLOW_F32, isa, absent);
                check_rule((enum rule)rule, FLOW_F64, isa, absent);
            }
}

/* What momentum 0 needs no memory for is not asked for. */
Test(optimizers, states_used) {
    struct group group;
    group_init(&group, &sgd_optimizer, "lr=0.1", 1, -1);
    cr_expect(sgd_optimizer.uses(group.attrs) == 0);
    group_attrs(&group, "lr=0.1 momentum=0.5");
    cr_expect(sgd_optimizer.uses(group.attrs) == 1);
    group_end(&group);
    group_init(&group, &rmsprop_optimizer, "", 1, -1);
    cr_expect(rmsprop_optimizer.uses(group.attrs) == 1);
    group_attrs(&group, "momentum=0.5");
    cr_expect(rmsprop_optimizer.uses(group.attrs) == 3);
    group_end(&group);
}

/* ---- Muon ---- */

/* [rows, columns] in f64, in place: Newton and Schulz on the smaller side, by definition. */
static void orthogonalize(double *x, int64_t rows, int64_t columns, int steps) {
    const int64_t r = rows < columns ? rows : columns, c = rows < columns ? columns : rows, count = rows * columns;
    double *y = calloc((size_t)count, 8), *a = calloc((size_t)(r * r), 8), *b = calloc((size_t)(r * r), 8), *z = calloc((size_t)count, 8);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) y[rows <= columns ? i * c + j : j * c + i] = x[i * columns + j];
    for (int step = 0; step < steps; step++) {
        for (int64_t i = 0; i < r; i++)
            for (int64_t j = 0; j < r; j++) {
                a[i * r + j] = 0;
                for (int64_t k = 0; k < c; k++) a[i * r + j] += y[i * c + k] * y[j * c + k];
            }
        for (int64_t i = 0; i < r; i++)
            for (int64_t j = 0; j < r; j++) {
                double square = 0;
                for (int64_t k = 0; k < r; k++) square += a[i * r + k] * a[k * r + j];
                b[i * r + j] = -4.7750 * a[i * r + j] + 2.0315 * square;
            }
        for (int64_t i = 0; i < r; i++)
            for (int64_t j = 0; j < c; j++) {
                double sum = 3.4445 * y[i * c + j];
                for (int64_t k = 0; k < r; k++) sum += b[i * r + k] * y[k * c + j];
                z[i * c + j] = sum;
            }
        memcpy(y, z, (size_t)count * 8);
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) x[i * columns + j] = y[rows <= columns ? i * c + j : j * c + i];
    free(y), free(a), free(b), free(z);
}

struct muon_case {
    int32_t rank;
    int64_t shape[4];
    const char *attrs;
    double lr, momentum, decay;
    bool nesterov, stacked, absent;
    int steps;
};

static void check_muon(const struct muon_case *c, int32_t dtype, int isa) {
    struct group group;
    group_init(&group, &muon_optimizer, c->attrs, 1, isa);
    group_add(&group, dtype, 2, (int64_t[]){3, 4}, 5); /* another one beside it */
    group_add(&group, dtype, c->rank, c->shape, 7);
    group_add(&group, dtype, 2, (int64_t[]){4, 0}, 9);
    group_ready(&group);
    struct flow_tensor *param = &group.param[1];
    const int64_t all = group_elements(param), count = c->stacked ? all / (c->shape[c->rank - 2] * c->shape[c->rank - 1]) : 1;
    const int64_t rows = c->shape[c->stacked ? c->rank - 2 : 0], columns = all / count / rows;
    double *w = calloc((size_t)all, 8), *m = calloc((size_t)all, 8), *x = calloc((size_t)all, 8);
    for (int64_t k = 0; k < all; k++) w[k] = group_get(param, k);
    for (int t = 0; t < STEPS; t++) {
        const double lr = c->lr * rates[t];
        for (int64_t k = 0; k < all; k++) {
            const double g = c->absent ? 0 : group_get(&group.grad[1], k) * scales[t];
            m[k] = c->momentum * m[k] + g;
            x[k] = c->nesterov ? g + c->momentum * m[k] : m[k];
        }
        for (int64_t h = 0; h < count; h++) {
            double norm = 0, *u = x + h * rows * columns;
            for (int64_t k = 0; k < rows * columns; k++) norm += u[k] * u[k];
            for (int64_t k = 0; k < rows * columns; k++) u[k] /= sqrt(norm) + 1e-7;
            orthogonalize(u, rows, columns, c->steps);
        }
        const double shape = sqrt(rows > columns ? (double)rows / (double)columns : 1);
        for (int64_t k = 0; k < all; k++) w[k] = w[k] * (1 - lr * c->decay) - lr * shape * x[k];
    }
    if (c->absent) group.grad[1].rank = -1;
    for (int t = 0; t < STEPS; t++) cr_assert(group_step(&group, t, rates[t], scales[t]) == 0, "%s", group.message);
    const double tolerance = dtype == FLOW_F64 ? 1e-11 : 2e-5;
    for (int64_t k = 0; k < all; k++)
        cr_assert(fabs(group_get(param, k) - w[k]) <= tolerance, "muon %s, type %d, isa %d: element %d: %.17g, expected %.17g", c->attrs,
                  (int)dtype, isa, (int)k, group_get(param, k), w[k]);
    free(w), free(m), free(x);
    group_end(&group);
}

Test(optimizers, muon) {
    static const struct muon_case cases[] = {
        {2, {6, 5}, "", 0.02, 0.95, 0, true, false, false, 5},
        {2, {5, 17}, "lr=0.05 nesterov=false steps=4 weight_decay=0.1", 0.05, 0.95, 0.1, false, false, false, 4},
        {2, {33, 20}, "momentum=0", 0.02, 0, 0, true, false, false, 5},
        {2, {1, 9}, "steps=0", 0.02, 0.95, 0, true, false, false, 0},
        {4, {12, 1, 3, 3}, "lr=0.05", 0.05, 0.95, 0, true, false, false, 5},
        {3, {19, 4, 6}, "stacked=true lr=0.1", 0.1, 0.95, 0, true, true, false, 5},
        {3, {5, 4, 6}, "lr=0.1", 0.1, 0.95, 0, true, false, false, 5},
        {2, {8, 8}, "weight_decay=0.5", 0.02, 0.95, 0.5, true, false, true, 5},
        {2, {300, 320}, "", 0.02, 0.95, 0, true, false, false, 5}, /* by strips; more memory than a small one */
        {2, {420, 270}, "", 0.02, 0.95, 0, true, false, false, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++) {
            if (i >= 8 && isa != FLOW_ISA_AVX512) continue;
            check_muon(&cases[i], FLOW_F32, isa);
            check_muon(&cases[i], FLOW_F64, isa);
        }
}

Test(optimizers, refuse) {
    struct group group;
    group_init(&group, &muon_optimizer, "", 1, -1);
    group_add(&group, FLOW_F32, 1, (int64_t[]){5}, 1);
    cr_expect(muon_optimizer.accepts(&group.host, &group, group.attrs, &group.param[0]) == FLOW_ERROR_SHAPE);
    cr_expect(strstr(group.message, "matrices"), "%s", group.message);
    group.param[0].dtype = FLOW_BF16;
    cr_expect(adam_optimizer.accepts(&group.host, &group, group.attrs, &group.param[0]) == FLOW_ERROR_TYPE);
    group.param[0].dtype = FLOW_F32;
    group_end(&group);
    group_init(&group, &assign_optimizer, "value=x", 1, -1);
    group_add(&group, FLOW_F32, 1, (int64_t[]){5}, 1);
    group.value[0].shape[0] = 4;
    cr_expect(group_step(&group, 0, 1, 1) == FLOW_ERROR_SHAPE);
    group.value[0].shape[0] = 5, group.value[0].dtype = FLOW_F64;
    cr_expect(group_step(&group, 0, 1, 1) == FLOW_ERROR_TYPE);
    group_end(&group);
}

/* ---- Threads ---- */

/* Many small parameters and some large ones, shapes by a seed. */
static void fill_large(struct group *group, bool matrices) {
    uint64_t seed = 3;
    for (int i = 0; i < 60; i++) {
        const int64_t side = 1 + (int64_t)(group_random(&seed) % 90), width = i % 20 == 0 ? 4000 : side;
        if (matrices) group_add(group, FLOW_F32, 2, (int64_t[]){side, width > 400 ? 400 + side : width}, (uint64_t)i);
        else group_add(group, i % 7 == 3 ? FLOW_F64 : FLOW_F32, 1, (int64_t[]){width * side}, (uint64_t)i);
    }
    group_ready(group);
}

static void check_threads(const struct flow_optimizer *rule, const char *attrs, bool matrices) {
    static struct group one, many;
    group_init(&one, rule, attrs, 1, -1), group_init(&many, rule, attrs, 5, -1);
    fill_large(&one, matrices), fill_large(&many, matrices);
    for (int t = 0; t < 2; t++) {
        cr_assert(group_step(&one, t, 1, 0.5) == 0 && group_step(&many, t, 1, 0.5) == 0);
    }
    for (uint32_t i = 0; i < one.count; i++) {
        const size_t bytes = (size_t)group_elements(&one.param[i]) * (one.param[i].dtype == FLOW_F64 ? 8 : 4);
        cr_assert(memcmp(one.param[i].data, many.param[i].data, bytes) == 0, "%s: threads change parameter %u", rule->name, i);
    }
    group_end(&one), group_end(&many);
}

Test(optimizers, threads) {
    for (int rule = 0; rule < RULES; rule++) check_threads(table[rule].rule, table[rule].attrs, false);
    check_threads(&muon_optimizer, "", true);
}

/* An infinite or missing number stays in its own place, and a gradient of zeros leaves muon's matrix where it was. */
Test(optimizers, special_values) {
    struct group group;
    group_init(&group, &adamw_optimizer, "", 1, -1);
    group_add(&group, FLOW_F32, 1, (int64_t[]){100}, 1);
    group_put(&group.grad[0], 17, (double)NAN), group_put(&group.grad[0], 40, 0);
    group_ready(&group);
    const double before = group_get(&group.param[0], 40);
    cr_assert(group_step(&group, 0, 1, 1) == 0);
    for (int64_t k = 0; k < 100; k++) cr_expect(isnan(group_get(&group.param[0], k)) == (k == 17));
    cr_expect(fabs(group_get(&group.param[0], 40) - before * (1 - 1e-5)) < 1e-7, "0/eps is 0: the weight only decays");
    group_end(&group);
    group_init(&group, &muon_optimizer, "", 1, -1);
    group_add(&group, FLOW_F32, 2, (int64_t[]){6, 7}, 1);
    group_ready(&group);
    memset(group.grad[0].data, 0, 42 * sizeof(float));
    float kept[42];
    memcpy(kept, group.param[0].data, sizeof kept);
    cr_assert(group_step(&group, 0, 1, 1) == 0);
    cr_expect(memcmp(kept, group.param[0].data, sizeof kept) == 0);
    group_end(&group);
}
