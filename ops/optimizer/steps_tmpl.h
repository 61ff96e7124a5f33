/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers' loops for one element type: T, SQRT and the names of functions are given by steps_simd.c. Every array is read and
 * written once. All arithmetic is in T; constants are computed in f64 before. */

/* scale, rate, weight decay */
static void SGD(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], rate = (T)constant[1], decay = (T)constant[2];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) w[i] -= rate * (scale * g[i] + decay * w[i]);
}

/* scale, rate, weight decay, momentum, share of g and of m in the step (Nesterov 1, mu; else 0, 1) */
static void SGD_MOMENTUM(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0], *restrict m = at[2];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], rate = (T)constant[1], decay = (T)constant[2], mu = (T)constant[3], of_g = (T)constant[4],
            of_m = (T)constant[5];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i] + decay * w[i], next = mu * m[i] + d;
        m[i] = next;
        w[i] -= rate * (of_g * d + of_m * next);
    }
}

/* scale, weight decay added to g, beta1, 1 - beta1, beta2, 1 - beta2, factor of w, step of the mean, 1/sqrt of v's correction, eps */
static void ADAM(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0], *restrict m = at[2], *restrict v = at[3];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], decay = (T)constant[1], beta1 = (T)constant[2], rest1 = (T)constant[3], beta2 = (T)constant[4],
            rest2 = (T)constant[5], keep = (T)constant[6], step = (T)constant[7], correct = (T)constant[8], eps = (T)constant[9];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i] + decay * w[i], mean = beta1 * m[i] + rest1 * d, square = beta2 * v[i] + rest2 * (d * d);
        m[i] = mean, v[i] = square;
        w[i] = keep * w[i] - step * (mean / (SQRT(square) * correct + eps));
    }
}

/* scale, rate, alpha, 1 - alpha, eps */
static void RMSPROP(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0], *restrict v = at[2];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], rate = (T)constant[1], alpha = (T)constant[2], rest = (T)constant[3], eps = (T)constant[4];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i], square = alpha * v[i] + rest * (d * d);
        v[i] = square;
        w[i] -= rate * (d / (SQRT(square) + eps));
    }
}

/* as before, momentum */
static void RMSPROP_MOMENTUM(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0], *restrict v = at[2], *restrict m = at[3];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], rate = (T)constant[1], alpha = (T)constant[2], rest = (T)constant[3], eps = (T)constant[4],
            mu = (T)constant[5];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i], square = alpha * v[i] + rest * (d * d), next = mu * m[i] + d / (SQRT(square) + eps);
        v[i] = square, m[i] = next;
        w[i] -= rate * next;
    }
}

/* scale, rate, eps */
static void ADAGRAD(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0], *restrict v = at[2];
    const T *restrict g = at[1];
    const T scale = (T)constant[0], rate = (T)constant[1], eps = (T)constant[2];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i], sum = v[i] + d * d;
        v[i] = sum;
        w[i] -= rate * (d / (SQRT(sum) + eps));
    }
}

/* rate: w += rate (other - w) */
static void FOLLOW(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0];
    const T *restrict other = at[1];
    const T rate = (T)constant[0];
#pragma omp simd
    for (int64_t i = 0; i < count; i++) w[i] += rate * (other[i] - w[i]);
}

static void COPY(int64_t count, void *const *at, const double *constant) {
    (void)constant;
    memcpy(at[0], at[1], (size_t)count * sizeof(T));
}

static void ADD(int64_t count, void *const *at, const double *constant) {
    T *restrict w = at[0];
    const T *restrict value = at[1];
    (void)constant;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) w[i] += value[i];
}

/* ---- Muon ---- */

static double DIRECTION(int64_t count, const void *gradient, void *momentum, void *to, double scale_, double mu_, bool nesterov) {
    const T *restrict g = gradient;
    T *restrict m = momentum, *restrict x = to;
    const T scale = (T)scale_, mu = (T)mu_, of_g = nesterov ? 1 : 0, of_m = nesterov ? mu : 1;
    double sum = 0;
    if (!m) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; i++) {
            const T u = scale * g[i];
            x[i] = u;
            sum += (double)u * (double)u;
        }
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        const T d = scale * g[i], next = mu * m[i] + d, u = of_g * d + of_m * next;
        m[i] = next, x[i] = u;
        sum += (double)u * (double)u;
    }
    return sum;
}

static void MULTIPLY(int64_t count, void *of, double by) {
    T *restrict x = of;
    const T factor = (T)by;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) x[i] *= factor;
}

static void APPLY(int64_t count, void *param, const void *of, double keep_, double step_) {
    T *restrict w = param;
    const T *restrict x = of;
    const T keep = (T)keep_, step = (T)step_;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) w[i] = keep * w[i] - step * x[i];
}

/* In squares of SIDE rows and columns, so that what is written down the columns stays in the cache. */
static void MIRROR(int64_t r, int64_t begin, int64_t end, void *matrix) {
    T *a = matrix;
    for (int64_t i0 = begin; i0 < end; i0 += SIDE)
        for (int64_t j0 = 0; j0 < i0 + SIDE; j0 += SIDE)
            for (int64_t i = i0; i < i0 + SIDE && i < end; i++)
                for (int64_t j = j0; j < j0 + SIDE && j < i; j++) a[j * r + i] = a[i * r + j];
}

static void POLYNOMIAL(int64_t r, int64_t begin, int64_t end, const void *of, void *to, double identity_, double linear_, double square_) {
    const T *restrict a = of, identity = (T)identity_, linear = (T)linear_, square = (T)square_;
    T *b = to;
    for (int64_t i = begin; i < end; i++) {
        T *restrict row = b + i * r;
        const T *restrict from = a + i * r;
#pragma omp simd
        for (int64_t j = 0; j <= i; j++) row[j] = linear * from[j] + square * row[j];
        row[i] += identity;
    }
    MIRROR(r, begin, end, to);
}
