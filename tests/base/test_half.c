/* SPDX-License-Identifier: Apache-2.0 */
/* f16 and bf16: every half value there and back, rounding to nearest even against a search among the neighbours. */
#include "base/half.h"

#include <criterion/criterion.h>
#include <math.h>

static double f16_value(uint32_t h) {
    int exponent = (int)(h >> 10 & 31);
    double mantissa = h & 1023, x = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return h & 0x8000 ? -x : x;
}

Test(half, f16_all_values_widen_and_return) {
    for (uint32_t h = 0; h < 65536; h++) {
        float x = half_f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            cr_assert((h & 0x3ff) ? isnan(x) : isinf(x) && (x < 0) == (h >> 15), "%x", h);
        } else cr_assert_eq((double)x, f16_value(h), "%x", h);
        uint16_t back = half_f32_to_f16(x);
        cr_assert_eq(back, isnan(x) ? (h | 0x200) : h, "%x", h);
        cr_assert_eq(half_f64_to_f16((double)x), back, "%x", h);
    }
}

/* Between each pair of neighbours: just below the middle, the middle, just above; in f64, where f32 would round first. */
Test(half, f16_rounds_to_nearest_even) {
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const double low = f16_value(h), high = h == 0x7bff ? 65536 : f16_value(h + 1), middle = (low + high) / 2;
        cr_assert_eq(half_f64_to_f16(middle), h + (h & 1), "%x", h);
        cr_assert_eq(half_f64_to_f16(nextafter(middle, 0)), h, "%x", h);
        cr_assert_eq(half_f64_to_f16(nextafter(middle, 1e9)), h + 1, "%x", h);
        cr_assert_eq(half_f32_to_f16((float)middle), h + (h & 1), "%x", h);
        cr_assert_eq(half_f32_to_f16(nextafterf((float)-middle, 0)), h | 0x8000, "%x", h);
        cr_assert_eq(half_f32_to_f16(nextafterf((float)-middle, -1e9F)), (h + 1) | 0x8000, "%x", h);
    }
    cr_assert_eq(half_f64_to_f16(1e300), 0x7c00);
    cr_assert_eq(half_f64_to_f16(-1e-300), 0x8000);
    cr_assert_eq(half_f32_to_f16(65519.996F), 0x7bff);
}

Test(half, bf16) {
    for (uint32_t h = 0; h < 65536; h++) {
        float x = half_bf16_to_f32((uint16_t)h);
        cr_assert_eq(half_bits(x), h << 16);
        cr_assert_eq(half_f32_to_bf16(x), isnan(x) ? (h | 0x40) : h, "%x", h);
        if ((h & 0x7f80) == 0x7f80 || (h & 0x7fff) == 0) continue;
        const float middle = half_float(h << 16 | 0x8000);
        cr_assert_eq(half_f32_to_bf16(middle), h + (h & 1), "%x", h);
        cr_assert_eq(half_f32_to_bf16(half_float(h << 16 | 0x7fff)), h, "%x", h);
        cr_assert_eq(half_f32_to_bf16(half_float(h << 16 | 0x8001)), h + 1, "%x", h);
        cr_assert_eq(half_f64_to_bf16((double)middle), h + (h & 1), "%x", h);
        cr_assert_eq(half_f64_to_bf16(nextafter((double)middle, 0)), h, "%x", h);
        cr_assert_eq(half_f64_to_bf16(nextafter((double)middle, middle < 0 ? -1e300 : 1e300)), h + 1, "%x", h);
    }
}

Test(half, arrays_agree_with_single_values) {
    enum { COUNT = 65536 };
    static uint16_t h[COUNT], back[COUNT];
    static float x[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) h[i] = (uint16_t)i;
    half_widen_f16(h, x, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) cr_assert(isnan(x[i]) || half_bits(x[i]) == half_bits(half_f16_to_f32(h[i])));
    half_narrow_f16(x, back, COUNT - 3);
    for (uint32_t i = 0; i < COUNT - 3; i++) cr_assert(isnan(x[i]) || back[i] == h[i]);
    half_widen_bf16(h, x, COUNT);
    half_narrow_bf16(x, back, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) cr_assert(isnan(x[i]) || back[i] == h[i]);
}

Test(half, one_element_of_any_type) {
    static const int32_t types[] = {FLOW_F16, FLOW_BF16, FLOW_F32, FLOW_F64};
    for (size_t i = 0; i < 4; i++) {
        double memory[4] = {0};
        half_write(memory, types[i], 3, -1.5);
        cr_assert_eq(half_read(memory, types[i], 3), -1.5);
        cr_assert_eq(half_read(memory, types[i], 2), 0);
    }
}
