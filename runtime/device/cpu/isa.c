/* SPDX-License-Identifier: Apache-2.0 */
/* Which vector instructions this processor and its operating system offer. The environment variable FLOW_ISA=base|avx2|avx512 lowers it. */
#include "device/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0: the register sets that the operating system saves. */
static uint64_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

static int32_t detect(void) {
    uint32_t a, b, c, d, features;
    enum { FMA = 1u << 12, OSXSAVE = 1u << 27, AVX = 1u << 28, F16C = 1u << 29 };
    if (!__get_cpuid(1, &a, &b, &features, &d)) return FLOW_ISA_BASE;
    const uint32_t first = FMA | OSXSAVE | AVX | F16C;
    if ((features & first) != first || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return FLOW_ISA_BASE;
    uint64_t saved = saved_registers();
    const uint32_t avx2 = 1u << 5;
    const uint64_t ymm = 0x6, zmm = 0xe6;
    if (!(b & avx2) || (saved & ymm) != ymm) return FLOW_ISA_BASE;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
    return (b & avx512) == avx512 && (saved & zmm) == zmm ? FLOW_ISA_AVX512 : FLOW_ISA_AVX2;
}

bool cpu_has_bf16(void) {
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1u);
}
#else
static int32_t detect(void) { return FLOW_ISA_BASE; }
bool cpu_has_bf16(void) { return false; }
#endif

int32_t cpu_isa(int most) {
    static const char *const names[] = {"base", "avx2", "avx512"};
    int32_t isa = detect();
    const char *wanted = getenv("FLOW_ISA");
    for (int32_t i = 0; wanted && i < 3; i++)
        if (strcmp(wanted, names[i]) == 0 && i < isa) isa = i;
    return most >= 0 && most < isa ? most : isa;
}
