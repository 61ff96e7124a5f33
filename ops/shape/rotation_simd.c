/* SPDX-License-Identifier: Apache-2.0 */
/* Sines and cosines of positions, and rotations of pairs. Angles are formed and reduced in f64: their error does not grow with t. */
#include "shape/rotation.h"

#include "common/math_simd.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

static void angles_f32(double t, const double *w, int64_t n, float *sine, float *cosine) {
    if (!(fabs(t) * w[0] <= SIN_LIMIT_F64)) {
        for (int64_t i = 0; i < n; i++) sine[i] = (float)sin(t * w[i]), cosine[i] = (float)cos(t * w[i]);
        return;
    }
    LOOP {
        uint64_t k;
        float r = (float)quadrant_f64(t * w[i], &k), s = sin_part_f32(r), c = cos_part_f32(r);
        uint32_t q = (uint32_t)k;
        sine[i] = from_bits_f32(bits_f32(q & 1u ? c : s) ^ ((q & 2u) << 30));
        cosine[i] = from_bits_f32(bits_f32(q & 1u ? s : c) ^ (((q + 1u) & 2u) << 30));
    }
}

static void angles_f64(double t, const double *w, int64_t n, double *sine, double *cosine) {
    if (!(fabs(t) * w[0] <= SIN_LIMIT_F64)) {
        for (int64_t i = 0; i < n; i++) sine[i] = sin(t * w[i]), cosine[i] = cos(t * w[i]);
        return;
    }
    LOOP {
        sine[i] = sin_f64(t * w[i]);
        cosine[i] = cos_f64(t * w[i]);
    }
}

static void turn_f32(const float *x, float *y, int64_t n, int64_t step, int64_t apart, const float *sine, const float *cosine) {
    if (step == 1) LOOP {
            float a = x[i], b = x[i + apart];
            y[i] = a * cosine[i] - b * sine[i];
            y[i + apart] = b * cosine[i] + a * sine[i];
        }
    else LOOP {
            float a = x[2 * i], b = x[2 * i + 1];
            y[2 * i] = a * cosine[i] - b * sine[i];
            y[2 * i + 1] = b * cosine[i] + a * sine[i];
        }
}

static void turn_f64(const double *x, double *y, int64_t n, int64_t step, int64_t apart, const double *sine, const double *cosine) {
    LOOP {
        double a = x[i * step], b = x[i * step + apart];
        y[i * step] = a * cosine[i] - b * sine[i];
        y[i * step + apart] = b * cosine[i] + a * sine[i];
    }
}

static void back_f32(const float *x, float *y, int64_t n, int64_t step, int64_t apart, const float *sine, const float *cosine, bool add) {
    if (!add)
        for (int64_t i = 0; i < n; i++) y[i * step] = y[i * step + apart] = 0;
    if (step == 1) LOOP {
            float a = x[i], b = x[i + apart];
            y[i] += a * cosine[i] + b * sine[i];
            y[i + apart] += b * cosine[i] - a * sine[i];
        }
    else LOOP {
            float a = x[2 * i], b = x[2 * i + 1];
            y[2 * i] += a * cosine[i] + b * sine[i];
            y[2 * i + 1] += b * cosine[i] - a * sine[i];
        }
}

static void back_f64(const double *x, double *y, int64_t n, int64_t step, int64_t apart, const double *sine, const double *cosine,
                     bool add) {
    if (!add)
        for (int64_t i = 0; i < n; i++) y[i * step] = y[i * step + apart] = 0;
    LOOP {
        double a = x[i * step], b = x[i * step + apart];
        y[i * step] += a * cosine[i] + b * sine[i];
        y[i * step + apart] += b * cosine[i] - a * sine[i];
    }
}

extern const struct rotation_table ISA(rotation_table);
const struct rotation_table ISA(rotation_table) = {angles_f32, angles_f64, turn_f32, turn_f64, back_f32, back_f64};
