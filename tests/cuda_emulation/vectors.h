/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's vector types, with its alignments. */
#ifndef CUDA_EMULATION_VECTORS_H
#define CUDA_EMULATION_VECTORS_H

#define CUDA_EMULATION_VECTORS(scalar, name, align2, align4)                                 \
    struct name##1 {                                                                         \
        scalar x;                                                                            \
    };                                                                                       \
    struct alignas(align2) name##2 {                                                         \
        scalar x, y;                                                                         \
    };                                                                                       \
    struct name##3 {                                                                         \
        scalar x, y, z;                                                                      \
    };                                                                                       \
    struct alignas(align4) name##4 {                                                         \
        scalar x, y, z, w;                                                                   \
    };                                                                                       \
    static inline name##1 make_##name##1(scalar x) { return {x}; }                           \
    static inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }              \
    static inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
    static inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

CUDA_EMULATION_VECTORS(signed char, char, 2, 4)
CUDA_EMULATION_VECTORS(unsigned char, uchar, 2, 4)
CUDA_EMULATION_VECTORS(short, short, 4, 8)
CUDA_EMULATION_VECTORS(unsigned short, ushort, 4, 8)
CUDA_EMULATION_VECTORS(int, int, 8, 16)
CUDA_EMULATION_VECTORS(unsigned int, uint, 8, 16)
CUDA_EMULATION_VECTORS(long, long, 16, 16)
CUDA_EMULATION_VECTORS(unsigned long, ulong, 16, 16)
CUDA_EMULATION_VECTORS(long long, longlong, 16, 16)
CUDA_EMULATION_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDA_EMULATION_VECTORS(float, float, 8, 16)
CUDA_EMULATION_VECTORS(double, double, 16, 16)
#undef CUDA_EMULATION_VECTORS

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int a = 1, unsigned int b = 1, unsigned int c = 1) : x(a), y(b), z(c) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

#endif
