/* SPDX-License-Identifier: Apache-2.0 */
/* Barriers and warp functions. */
#ifndef CUDA_EMULATION_WARP_H
#define CUDA_EMULATION_WARP_H

static inline void __syncthreads(CUDA_EMULATION_SITE) { (void)cuda_emulation::block_barrier(cuda_emulation::vote::none, 0, where); }
static inline int __syncthreads_count(int predicate, CUDA_EMULATION_SITE) {
    return cuda_emulation::block_barrier(cuda_emulation::vote::count, predicate, where);
}
static inline int __syncthreads_and(int predicate, CUDA_EMULATION_SITE) {
    return cuda_emulation::block_barrier(cuda_emulation::vote::conjunction, predicate, where);
}
static inline int __syncthreads_or(int predicate, CUDA_EMULATION_SITE) {
    return cuda_emulation::block_barrier(cuda_emulation::vote::disjunction, predicate, where);
}
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, CUDA_EMULATION_SITE) {
    (void)cuda_emulation::warp_meet(cuda_emulation::meeting::sync, mask, {0, 0, 32}, where);
}
static inline unsigned __activemask() { return 1u << (cuda_emulation::now.index % 32); } /* no two lanes run together */
static inline unsigned __lane_id() { return cuda_emulation::now.index % 32; }

namespace cuda_emulation {
template <typename T> static inline T shuffle(meeting kind, unsigned mask, T value, int argument, int width, site where) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = warp_meet(kind, mask, {bits, argument, width}, where);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
} // namespace cuda_emulation

#define CUDA_EMULATION_SHUFFLES(T)                                                                                         \
    static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, CUDA_EMULATION_SITE) {                   \
        return cuda_emulation::shuffle(cuda_emulation::meeting::index, mask, value, lane, width, where);                   \
    }                                                                                                                      \
    static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_SITE) {          \
        return cuda_emulation::shuffle(cuda_emulation::meeting::up, mask, value, static_cast<int>(delta), width, where);   \
    }                                                                                                                      \
    static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_SITE) {        \
        return cuda_emulation::shuffle(cuda_emulation::meeting::down, mask, value, static_cast<int>(delta), width, where); \
    }                                                                                                                      \
    static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_EMULATION_SITE) {              \
        return cuda_emulation::shuffle(cuda_emulation::meeting::exclusive_or, mask, value, lanes, width, where);           \
    }
CUDA_EMULATION_SHUFFLES(int)
CUDA_EMULATION_SHUFFLES(unsigned)
CUDA_EMULATION_SHUFFLES(long)
CUDA_EMULATION_SHUFFLES(unsigned long)
CUDA_EMULATION_SHUFFLES(long long)
CUDA_EMULATION_SHUFFLES(unsigned long long)
CUDA_EMULATION_SHUFFLES(float)
CUDA_EMULATION_SHUFFLES(double)
#undef CUDA_EMULATION_SHUFFLES

static inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATION_SITE) {
    return static_cast<unsigned>(cuda_emulation::warp_meet(cuda_emulation::meeting::ballot, mask, {predicate != 0, 0, 32}, where));
}
static inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATION_SITE) {
    return static_cast<int>(cuda_emulation::warp_meet(cuda_emulation::meeting::any, mask, {predicate != 0, 0, 32}, where));
}
static inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATION_SITE) {
    return static_cast<int>(cuda_emulation::warp_meet(cuda_emulation::meeting::all, mask, {predicate != 0, 0, 32}, where));
}
template <typename T> static inline unsigned __match_any_sync(unsigned mask, T value, CUDA_EMULATION_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "match compares 4 or 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return static_cast<unsigned>(cuda_emulation::warp_meet(cuda_emulation::meeting::match_any, mask, {bits, 0, 32}, where));
}
template <typename T> static inline unsigned __match_all_sync(unsigned mask, T value, int *same, CUDA_EMULATION_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "match compares 4 or 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    const unsigned lanes = static_cast<unsigned>(cuda_emulation::warp_meet(cuda_emulation::meeting::match_all, mask, {bits, 0, 32}, where));
    *same = lanes != 0;
    return lanes;
}

#define CUDA_EMULATION_REDUCE(T, name, kind)                                                                         \
    static inline T name(unsigned mask, T value, CUDA_EMULATION_SITE) {                                              \
        const uint64_t bits = static_cast<uint64_t>(static_cast<long long>(value));                                  \
        return static_cast<T>(cuda_emulation::warp_meet(cuda_emulation::meeting::kind, mask, {bits, 0, 32}, where)); \
    }
CUDA_EMULATION_REDUCE(int, __reduce_add_sync, add)
CUDA_EMULATION_REDUCE(unsigned, __reduce_add_sync, add)
CUDA_EMULATION_REDUCE(int, __reduce_min_sync, least)
CUDA_EMULATION_REDUCE(unsigned, __reduce_min_sync, least)
CUDA_EMULATION_REDUCE(int, __reduce_max_sync, most)
CUDA_EMULATION_REDUCE(unsigned, __reduce_max_sync, most)
CUDA_EMULATION_REDUCE(unsigned, __reduce_and_sync, bit_and)
CUDA_EMULATION_REDUCE(unsigned, __reduce_or_sync, bit_or)
CUDA_EMULATION_REDUCE(unsigned, __reduce_xor_sync, bit_xor)
#undef CUDA_EMULATION_REDUCE

#endif
