/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's mathematical functions and intrinsics that the C library lacks. Fast ones (__expf) are the exact ones here. */
#ifndef CUDA_EMULATION_FUNCTIONS_H
#define CUDA_EMULATION_FUNCTIONS_H

/* The C library declares functions of these names. */
#define __expf(x) ::expf(x)
#define __exp10f(x) ::exp10f(x)
#define __logf(x) ::logf(x)
#define __log2f(x) ::log2f(x)
#define __log10f(x) ::log10f(x)
#define __powf(x, y) ::powf(x, y)
#define __sinf(x) ::sinf(x)
#define __cosf(x) ::cosf(x)
#define __tanf(x) ::tanf(x)
#define __tanhf(x) ::tanhf(x)
#define __sincosf(x, s, c) ::sincosf(x, s, c)

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline double rcbrt(double x) { return 1.0 / std::cbrt(x); }
static inline float normcdff(float x) { return 0.5f * erfcf(x * -0.70710678118654752f); }
static inline double normcdf(double x) { return 0.5 * std::erfc(x * -0.70710678118654752); }
static inline float sinpif(float x) {
    return static_cast<float>(std::sin(3.14159265358979323846 * std::fmod(static_cast<double>(x), 2.0)));
}
static inline float cospif(float x) {
    return static_cast<float>(std::cos(3.14159265358979323846 * std::fmod(static_cast<double>(x), 2.0)));
}
static inline double sinpi(double x) { return std::sin(3.14159265358979323846 * std::fmod(x, 2.0)); }
static inline double cospi(double x) { return std::cos(3.14159265358979323846 * std::fmod(x, 2.0)); }
static inline void sincospif(float x, float *s, float *c) { *s = sinpif(x), *c = cospif(x); }
static inline void sincospi(double x, double *s, double *c) { *s = sinpi(x), *c = cospi(x); }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }
static inline double __drcp_rn(double x) { return 1.0 / x; }
static inline double __dsqrt_rn(double x) { return std::sqrt(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }

#define CUDA_EMULATION_BITS(name, from, to)            \
    static inline to name(from value) {                \
        to made;                                       \
        static_assert(sizeof(from) == sizeof(to), ""); \
        std::memcpy(&made, &value, sizeof made);       \
        return made;                                   \
    }
CUDA_EMULATION_BITS(__float_as_int, float, int)
CUDA_EMULATION_BITS(__float_as_uint, float, unsigned)
CUDA_EMULATION_BITS(__int_as_float, int, float)
CUDA_EMULATION_BITS(__uint_as_float, unsigned, float)
CUDA_EMULATION_BITS(__double_as_longlong, double, long long)
CUDA_EMULATION_BITS(__longlong_as_double, long long, double)
#undef CUDA_EMULATION_BITS
static inline int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
static inline int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
static inline double __hiloint2double(int high, int low) {
    return __longlong_as_double(
        static_cast<long long>(static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 | static_cast<uint32_t>(low)));
}

/* Conversions hold what does not fit at the type's border, and a NaN becomes 0, as on the device. */
namespace cuda_emulation {
template <typename To> static inline To held(double x) {
    if (x != x) return 0;
    const double low = static_cast<double>(std::numeric_limits<To>::min()), high = static_cast<double>(std::numeric_limits<To>::max());
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
}
} // namespace cuda_emulation
#define CUDA_EMULATION_CONVERSIONS(from, name, To)                                                        \
    static inline To from##2##name##_rn(double x) { return cuda_emulation::held<To>(std::nearbyint(x)); } \
    static inline To from##2##name##_rz(double x) { return cuda_emulation::held<To>(std::trunc(x)); }     \
    static inline To from##2##name##_rd(double x) { return cuda_emulation::held<To>(std::floor(x)); }     \
    static inline To from##2##name##_ru(double x) { return cuda_emulation::held<To>(std::ceil(x)); }
CUDA_EMULATION_CONVERSIONS(__float, int, int)
CUDA_EMULATION_CONVERSIONS(__float, uint, unsigned)
CUDA_EMULATION_CONVERSIONS(__float, ll, long long)
CUDA_EMULATION_CONVERSIONS(__float, ull, unsigned long long)
CUDA_EMULATION_CONVERSIONS(__double, int, int)
CUDA_EMULATION_CONVERSIONS(__double, uint, unsigned)
CUDA_EMULATION_CONVERSIONS(__double, ll, long long)
CUDA_EMULATION_CONVERSIONS(__double, ull, unsigned long long)
#undef CUDA_EMULATION_CONVERSIONS
static inline float __int2float_rn(int x) { return static_cast<float>(x); }
static inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
static inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
static inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
static inline double __int2double_rn(int x) { return x; }
static inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
static inline float __double2float_rn(double x) { return static_cast<float>(x); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
static inline unsigned __brev(unsigned x) {
    unsigned made = 0;
    for (int i = 0; i < 32; i++) made |= (x >> i & 1) << (31 - i);
    return made;
}
static inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(static_cast<uint64_t>(x) * y >> 32); }
static inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<int64_t>(x) * y >> 32); }
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    __extension__ typedef unsigned __int128 wide;
    return static_cast<unsigned long long>(static_cast<wide>(x) * y >> 64);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}

/* Loads and stores with a hint to the caches. */
#define CUDA_EMULATION_LOAD(name) \
    template <typename T> static inline T name(const T *at) { return *at; }
CUDA_EMULATION_LOAD(__ldg)
CUDA_EMULATION_LOAD(__ldca)
CUDA_EMULATION_LOAD(__ldcg)
CUDA_EMULATION_LOAD(__ldcs)
CUDA_EMULATION_LOAD(__ldlu)
CUDA_EMULATION_LOAD(__ldcv)
#undef CUDA_EMULATION_LOAD
#define CUDA_EMULATION_STORE(name) \
    template <typename T> static inline void name(T *at, std::remove_const_t<T> value) { *at = value; }
CUDA_EMULATION_STORE(__stwb)
CUDA_EMULATION_STORE(__stcg)
CUDA_EMULATION_STORE(__stcs)
CUDA_EMULATION_STORE(__stwt)
#undef CUDA_EMULATION_STORE

/* min and max of floats ignore a NaN, as fmin and fmax do. */
#define CUDA_EMULATION_LEAST(T)                                       \
    static inline constexpr T min(T a, T b) { return b < a ? b : a; } \
    static inline constexpr T max(T a, T b) { return a < b ? b : a; }
CUDA_EMULATION_LEAST(int)
CUDA_EMULATION_LEAST(unsigned)
CUDA_EMULATION_LEAST(long)
CUDA_EMULATION_LEAST(unsigned long)
CUDA_EMULATION_LEAST(long long)
CUDA_EMULATION_LEAST(unsigned long long)
#undef CUDA_EMULATION_LEAST
static inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
static inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
static inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
static inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return std::fmin(a, b); }
static inline double max(double a, double b) { return std::fmax(a, b); }
static inline double min(float a, double b) { return std::fmin(static_cast<double>(a), b); }
static inline double min(double a, float b) { return std::fmin(a, static_cast<double>(b)); }
static inline double max(float a, double b) { return std::fmax(static_cast<double>(a), b); }
static inline double max(double a, float b) { return std::fmax(a, static_cast<double>(b)); }
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

static inline long long clock64() { return 0; }
static inline void __trap() { cuda_emulation::kernel_fault("__trap()"); }

#endif
