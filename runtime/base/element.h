/* SPDX-License-Identifier: Apache-2.0 */
/* One element of any type as a real, by its FLOW_* number. For set-up code and conversions at the border, not for inner loops. */
#ifndef FLOW_BASE_ELEMENT_H
#define FLOW_BASE_ELEMENT_H

#include "base/half.h"

static inline double element_read(const void *data, int32_t dtype, int64_t index) {
    switch (dtype) {
    case FLOW_I32: return ((const int32_t *)data)[index];
    case FLOW_I64: return (double)((const int64_t *)data)[index];
    case FLOW_U8:
    case FLOW_BOOL: return ((const uint8_t *)data)[index];
    default: return half_read(data, dtype, index);
    }
}

/* Integers are truncated. */
static inline void element_write(void *data, int32_t dtype, int64_t index, double value) {
    switch (dtype) {
    case FLOW_I32: ((int32_t *)data)[index] = (int32_t)value; break;
    case FLOW_I64: ((int64_t *)data)[index] = (int64_t)value; break;
    case FLOW_U8:
    case FLOW_BOOL: ((uint8_t *)data)[index] = (uint8_t)value; break;
    default: half_write(data, dtype, index, value); break;
    }
}

#endif
