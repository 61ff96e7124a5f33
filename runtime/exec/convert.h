/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between f32 and the 16-bit types, and sums, for each instruction set. */
#ifndef FLOW_EXEC_CONVERT_H
#define FLOW_EXEC_CONVERT_H

#include <stdint.h>

struct convert_table {
    void (*widen_f16)(const uint16_t *from, float *to, int64_t count);
    void (*widen_bf16)(const uint16_t *from, float *to, int64_t count);
    void (*narrow_f16)(const float *from, uint16_t *to, int64_t count);
    void (*narrow_bf16)(const float *from, uint16_t *to, int64_t count);
    void (*add_f32)(float *to, const float *from, int64_t count); /* to += from */
    void (*add_f64)(double *to, const double *from, int64_t count);
};

#endif
