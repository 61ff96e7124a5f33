/* SPDX-License-Identifier: Apache-2.0 */
/* Atomics on global and shared memory; each returns what was there. */
#ifndef CUDA_EMULATION_ATOMICS_H
#define CUDA_EMULATION_ATOMICS_H

namespace cuda_emulation {
/* Changes *at to change(what is there), however wide and of whatever type. */
template <typename T, typename F> static inline T atomically(T *at, F change) {
    using bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
    bits *place = reinterpret_cast<bits *>(at);
    bits before = __atomic_load_n(place, __ATOMIC_RELAXED);
    for (;;) {
        T old, made;
        bits after;
        std::memcpy(&old, &before, sizeof old);
        made = change(old);
        std::memcpy(&after, &made, sizeof after);
        if (__atomic_compare_exchange_n(place, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old;
    }
}
template <typename T> struct same { using type = T; };
template <typename T> using same_t = typename same<T>::type;
} // namespace cuda_emulation

#define CUDA_EMULATION_ATOMIC(T, name, expression)                                                \
    static inline T name(T *at, T v) {                                                            \
        return cuda_emulation::atomically(at, [v](T old) { return static_cast<T>(expression); }); \
    }                                                                                             \
    static inline T name(cuda_emulation::shared_pointer<T> at, T v) { return name(at.atomic(), v); }
#define CUDA_EMULATION_ATOMIC_CAS(T)                                                                     \
    static inline T atomicCAS(T *at, T compare, T v) {                                                   \
        return cuda_emulation::atomically(at, [compare, v](T old) { return old == compare ? v : old; }); \
    }                                                                                                    \
    static inline T atomicCAS(cuda_emulation::shared_pointer<T> at, T compare, T v) { return atomicCAS(at.atomic(), compare, v); }

CUDA_EMULATION_ATOMIC(int, atomicAdd, static_cast<unsigned>(old) + static_cast<unsigned>(v))
CUDA_EMULATION_ATOMIC(unsigned, atomicAdd, old + v)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicAdd, old + v)
CUDA_EMULATION_ATOMIC(float, atomicAdd, old + v)
CUDA_EMULATION_ATOMIC(double, atomicAdd, old + v)
CUDA_EMULATION_ATOMIC(int, atomicSub, static_cast<unsigned>(old) - static_cast<unsigned>(v))
CUDA_EMULATION_ATOMIC(unsigned, atomicSub, old - v)
CUDA_EMULATION_ATOMIC(int, atomicExch, (static_cast<void>(old), v))
CUDA_EMULATION_ATOMIC(unsigned, atomicExch, (static_cast<void>(old), v))
CUDA_EMULATION_ATOMIC(unsigned long long, atomicExch, (static_cast<void>(old), v))
CUDA_EMULATION_ATOMIC(float, atomicExch, (static_cast<void>(old), v))
CUDA_EMULATION_ATOMIC(int, atomicMin, v < old ? v : old)
CUDA_EMULATION_ATOMIC(unsigned, atomicMin, v < old ? v : old)
CUDA_EMULATION_ATOMIC(long long, atomicMin, v < old ? v : old)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicMin, v < old ? v : old)
CUDA_EMULATION_ATOMIC(int, atomicMax, v > old ? v : old)
CUDA_EMULATION_ATOMIC(unsigned, atomicMax, v > old ? v : old)
CUDA_EMULATION_ATOMIC(long long, atomicMax, v > old ? v : old)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicMax, v > old ? v : old)
CUDA_EMULATION_ATOMIC(int, atomicAnd, old &v)
CUDA_EMULATION_ATOMIC(unsigned, atomicAnd, old &v)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicAnd, old &v)
CUDA_EMULATION_ATOMIC(int, atomicOr, old | v)
CUDA_EMULATION_ATOMIC(unsigned, atomicOr, old | v)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicOr, old | v)
CUDA_EMULATION_ATOMIC(int, atomicXor, old ^ v)
CUDA_EMULATION_ATOMIC(unsigned, atomicXor, old ^ v)
CUDA_EMULATION_ATOMIC(unsigned long long, atomicXor, old ^ v)
CUDA_EMULATION_ATOMIC(unsigned, atomicInc, old >= v ? 0 : old + 1)
CUDA_EMULATION_ATOMIC(unsigned, atomicDec, old == 0 || old > v ? v : old - 1)
CUDA_EMULATION_ATOMIC_CAS(int)
CUDA_EMULATION_ATOMIC_CAS(unsigned)
CUDA_EMULATION_ATOMIC_CAS(unsigned long long)
CUDA_EMULATION_ATOMIC_CAS(unsigned short)
#undef CUDA_EMULATION_ATOMIC
#undef CUDA_EMULATION_ATOMIC_CAS

static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __nanosleep(unsigned) {}

#endif
