/* SPDX-License-Identifier: Apache-2.0 */
/* Losses against their equations in double. */
#include "harness/array.h"

static const char *const reductions[] = {"mean", "sum", "none"};

/* each [count] reduced; for the mean over `weight`, or the count where that is negative. */
static struct array reduced(const struct array *each, int how, double weight) {
    struct array y = array_new(FLOW_F32, how == 2 ? each->rank : 0, each->shape);
    double sum = 0;
    for (int64_t i = 0; i < array_count(each); i++) {
        sum += each->at[i];
        if (how == 2) y.at[i] = each->at[i];
    }
    if (weight < 0) weight = (double)array_count(each);
    if (how < 2) y.at[0] = how == 1 ? sum : weight > 0 ? sum / weight : 0;
    return y;
}

static double element(int kind, double x, double t) {
    double d = x - t;
    switch (kind) {
    case 0: return fmax(x, 0) - x * t + log1p(exp(-fabs(x)));
    case 1: return d * d;
    case 2: return fabs(d);
    default: return fabs(d) <= 0.75 ? d * d / 2 : 0.75 * (fabs(d) - 0.375);
    }
}

Test(loss, element_by_element) {
    static const char *const names[] = {"binary_cross_entropy, in: {logits: x, target: t}", "mse, in: {x: x, target: t}",
                                        "l1, in: {x: x, target: t}", "huber, in: {x: x, target: t}"};
    static const int64_t shapes[][3] = {{4, 3, 5}, {1, 1, 1}, {3, 300, 60}, {2, 0, 3}};
    uint64_t state = 41;
    for (int kind = 0; kind < 4; kind++)
        for (int s = 0; s < 4; s++)
            for (int how = 0; how < 3; how++) {
                struct trial t = {.inputs = 2, .input_names = {"x", "t"}};
                snprintf(t.node, sizeof t.node, "{op: %s, with: {reduction: %s%s}}", names[kind], reductions[how],
                         kind == 3 ? ", delta: 0.75" : "");
                t.input[0] = array_random(&state, 3, shapes[s]);
                t.input[1] = array_random(&state, 3, shapes[s]);
                struct array each = array_new(FLOW_F32, 3, shapes[s]);
                for (int64_t i = 0; i < array_count(&each); i++) {
                    t.input[0].at[i] *= kind == 0 && i % 5 == 0 ? 100 : 2;
                    each.at[i] = element(kind, t.input[0].at[i], t.input[1].at[i]);
                }
                struct array y = reduced(&each, how, -1);
                trial_expect(&t, &y, 1e-5);
                if (how == 2 && s != 3) trial_expect_pieces(&t, (int32_t[]){1, 1}, &y, 1e-5);
                if (how < 2 && s == 0) trial_refused(&t, (int32_t[]){1, 1}, "over axis 1 needs the whole sequence");
                array_free(&y);
                array_free(&each);
                trial_free(&t);
            }
}

Test(loss, divergence_of_rows) {
    uint64_t state = 42;
    for (int how = 0; how < 3; how++) {
        struct trial t = {.inputs = 2, .input_names = {"p", "t"}};
        snprintf(t.node, sizeof t.node, "{op: kl_div, in: {log_p: p, target: t}, with: {reduction: %s}}", reductions[how]);
        t.input[0] = array_random(&state, 3, (int64_t[]){4, 3, 17});
        t.input[1] = array_random(&state, 3, (int64_t[]){4, 3, 17});
        struct array each = array_new(FLOW_F32, 2, (int64_t[]){4, 3});
        for (int64_t i = 0; i < array_count(&t.input[0]); i++) {
            double *target = &t.input[1].at[i];
            *target = *target < -0.5 ? 0 : fabs(*target);
            if (*target == 0 && i % 3 == 0) t.input[0].at[i] = -100;
            each.at[i / 17] += *target == 0 ? 0 : *target * (log(*target) - t.input[0].at[i]);
        }
        struct array y = reduced(&each, how, -1);
        trial_expect(&t, &y, 1e-5);
        array_free(&y);
        array_free(&each);
        trial_free(&t);
    }
}

Test(loss, classes) {
    uint64_t state = 43;
    for (int round = 0; round < 36; round++) {
        int how = round % 3;
        int64_t classes = round % 4 == 3 ? 1500 : 7, rows[2] = {5, 3}, ignore = round % 2 ? -100 : 2, shape[] = {5, 3, classes};
        double smoothing = (double[]){0, 0.1, 1}[round / 3 % 3];
        bool weighted = classes == 7 && round % 5 < 2;
        struct trial t = {.inputs = 2, .input_names = {"x", "t"}};
        size_t at = (size_t)snprintf(t.node, sizeof t.node,
                                     "{op: cross_entropy, in: {logits: x, target: t}, with: {reduction: %s, ignore: %lld, smoothing: %g",
                                     reductions[how], (long long)ignore, smoothing);
        snprintf(t.node + at, sizeof t.node - at, "%s}}", weighted ? ", weight: [1, 2, 0.5, 3, 0, 1, 0.25]" : "");
        static const double weights[] = {1, 2, 0.5, 3, 0, 1, 0.25};
        t.input[0] = array_random(&state, 3, shape);
        t.input[1] = array_new(FLOW_I64, 2, rows);
        struct array each = array_new(FLOW_F32, 2, rows);
        double total = 0;
        for (int64_t row = 0; row < 15; row++) {
            const double *x = t.input[0].at + row * classes;
            double sum = 0, all = 0, target = (double)one_below(&state, classes);
            for (int64_t c = 0; c < classes; c++) t.input[0].at[row * classes + c] *= 20, sum += exp(x[c]);
            for (int64_t c = 0; c < classes; c++) all += (weighted ? weights[c] : 1) * (log(sum) - x[c]);
            t.input[1].at[row] = row % 4 == 1 ? (double)ignore : target;
            if (t.input[1].at[row] == (double)ignore) continue;
            double w = weighted ? weights[(int)target] : 1;
            total += w;
            each.at[row] = w * (1 - smoothing) * (log(sum) - x[(int)target]) + smoothing / (double)classes * all;
        }
        struct array y = reduced(&each, how, total);
        trial_expect(&t, &y, 1e-5);
        if (how == 2) trial_expect_pieces(&t, (int32_t[]){0, 0}, &y, 1e-5);
        array_free(&y);
        array_free(&each);
        trial_free(&t);
    }
}

Test(loss, all_rows_ignored_and_none) {
    char message[2048];
    for (int64_t rows = 0; rows < 3; rows++)
        for (int k = 0; k < 2; k++) {
            struct trial t = {.inputs = 2, .input_names = {"x", "t"}};
            struct array y;
            snprintf(t.node, sizeof t.node, "{op: %s, in: {logits: x, target: t}}", k ? "accuracy" : "cross_entropy");
            t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){rows, 4});
            t.input[1] = array_new(FLOW_I64, 1, &rows);
            for (int64_t i = 0; i < rows; i++) t.input[1].at[i] = -100;
            cr_assert(trial_run(&t, one_best, &y, message) == 0, "%s", message);
            cr_assert(y.rank == 0 && y.at[0] == 0, "%s of %lld rows: %g", t.node, (long long)rows, y.at[0]);
            array_free(&y);
            trial_free(&t);
        }
}

Test(loss, a_class_that_does_not_exist) {
    static const double targets[] = {4, -1, 1e18};
    static const char *const words[] = {"target 4 of row 1: there are 4 classes", "target -1 of row 1",
                                        "target 1000000000000000000 of row 1"};
    for (int i = 0; i < 3; i++) {
        struct trial t = {.inputs = 2, .input_names = {"x", "t"}, .node = "{op: cross_entropy, in: {logits: x, target: t}}"};
        t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){3, 4});
        t.input[1] = array_new(FLOW_I64, 1, (int64_t[]){3});
        t.input[1].at[1] = targets[i];
        trial_refused(&t, NULL, words[i]);
        trial_free(&t);
    }
}

Test(loss, accuracy_takes_the_first_of_equals) {
    uint64_t state = 44;
    struct trial t = {.inputs = 2, .input_names = {"x", "t"}, .node = "{op: accuracy, in: {logits: x, target: t}, with: {ignore: 3}}"};
    struct array y = array_new(FLOW_F32, 0, NULL);
    t.input[0] = array_random(&state, 2, (int64_t[]){1000, 37});
    t.input[1] = array_new(FLOW_I64, 1, (int64_t[]){1000});
    double counted = 0, right = 0;
    for (int64_t row = 0; row < 1000; row++) {
        double *x = t.input[0].at + row * 37;
        int best = 0;
        for (int c = 0; c < 37; c++) x[c] = floor(x[c] * 4);
        for (int c = 1; c < 37; c++)
            if (x[c] > x[best]) best = c;
        double target = t.input[1].at[row] = row % 3 ? best : (double)one_below(&state, 37);
        if (target != 3) counted++, right += target == best;
    }
    y.at[0] = right / counted;
    trial_expect(&t, &y, 1e-7);
    array_free(&y);
    trial_free(&t);
}

Test(loss, cosines_of_broadcast_vectors) {
    static const struct {
        int64_t a[3], b[3];
        int32_t axis;
    } cases[] = {{{4, 5, 6}, {4, 5, 6}, 2}, {{4, 5, 6}, {1, 5, 6}, 0}, {{4, 5, 6}, {4, 1, 6}, 1}, {{1, 5, 40}, {4, 1, 40}, 2}};
    uint64_t state = 45;
    for (int k = 0; k < 4; k++) {
        struct trial t = {.inputs = 2, .input_names = {"a", "b"}};
        snprintf(t.node, sizeof t.node, "{op: cosine_similarity, in: {a: a, b: b}, with: {axis: %d}}", cases[k].axis);
        t.input[0] = array_random(&state, 3, cases[k].a);
        t.input[1] = array_random(&state, 3, cases[k].b);
        int64_t whole[3], shape[2], n = 0;
        for (int i = 0; i < 3; i++) {
            whole[i] = cases[k].a[i] == 1 ? cases[k].b[i] : cases[k].a[i];
            if (i != cases[k].axis) shape[n++] = whole[i];
        }
        struct array y = array_new(FLOW_F32, 2, shape);
        for (int64_t j = 0; j < array_count(&y); j++) {
            double ab = 0, aa = 0, bb = 0;
            for (int64_t l = 0; l < whole[cases[k].axis]; l++) {
                int64_t at[3], rest = j, pa = 0, pb = 0;
                for (int i = 2; i >= 0; i--)
                    if (i == cases[k].axis) at[i] = l;
                    else at[i] = rest % whole[i], rest /= whole[i];
                for (int i = 0; i < 3; i++) {
                    pa = pa * cases[k].a[i] + (cases[k].a[i] == 1 ? 0 : at[i]);
                    pb = pb * cases[k].b[i] + (cases[k].b[i] == 1 ? 0 : at[i]);
                }
                double u = t.input[0].at[pa], v = t.input[1].at[pb];
                ab += u * v, aa += u * u, bb += v * v;
            }
            y.at[j] = ab / fmax(sqrt(aa * bb), 1e-8);
        }
        trial_expect(&t, &y, 1e-5);
        if (k == 3) trial_expect_pieces(&t, (int32_t[]){1, -1}, &y, 1e-5);
        if (k == 0) trial_refused(&t, (int32_t[]){1, -1}, "b has the streamed axis, but not in pieces");
        array_free(&y);
        trial_free(&t);
    }
}
