/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One kernel over many arrays at once: the parameters of a group, their gradients and states, are tens to hundreds of arrays of very
 * different lengths, and a launch for each would cost more than its work. A table of up to MOST members travels in the kernel's
 * arguments (4 KB at most, BESIDE bytes a member for the caller); every block takes `chunk` elements of one member, which it finds by
 * halving.
 *
 *   struct cuda_many<3> many;  many.count = 0;
 *   if (many.add(at, elements, which, chunk)) ... launch with many.blocks() blocks, many.count = 0
 * and in the kernel
 *   struct cuda_span span = many.span(blockIdx.x, chunk);   elements [span.from, span.to) of member span.member
 */
#ifndef OPS_COMMON_CUDA_MANY_H
#define OPS_COMMON_CUDA_MANY_H

#include "common/cuda.h"

struct cuda_span {
    uint32_t member;
    int64_t from, to;
};

template <int ARRAYS, int BESIDE = 0> struct cuda_many {
    static const int MOST = 3700 / (8 * ARRAYS + 16 + BESIDE);
    uint32_t count;
    uint32_t first[MOST + 1]; /* block at which each member begins; one more: all blocks */
    uint32_t which[MOST];     /* the caller's number of the member */
    int64_t elements[MOST];
    void *at[ARRAYS][MOST];

    /* Takes a member in; true when the table is then full. Members without elements are passed over. */
    bool add(void *const *arrays, int64_t length, uint32_t number, int64_t chunk) {
        if (length <= 0) return false;
        if (count == 0) first[0] = 0;
        for (int k = 0; k < ARRAYS; k++) at[k][count] = arrays[k];
        elements[count] = length, which[count] = number;
        first[count + 1] = first[count] + static_cast<uint32_t>((length + chunk - 1) / chunk);
        return ++count == static_cast<uint32_t>(MOST) || first[count] > 1u << 30;
    }
    unsigned blocks() const { return count ? first[count] : 0; }

    __device__ struct cuda_span span(unsigned block, int64_t chunk) const {
        uint32_t low = 0, high = count;
        while (high - low > 1) {
            const uint32_t middle = low + (high - low) / 2;
            if (first[middle] <= block) low = middle;
            else high = middle;
        }
        const int64_t from = static_cast<int64_t>(block - first[low]) * chunk, all = elements[low];
        return {low, from, from + chunk < all ? from + chunk : all};
    }
};

/* 16 bytes of T. */
template <typename T> struct alignas(16) cuda_sixteen {
    static const int COUNT = 16 / static_cast<int>(sizeof(T));
    T at[16 / sizeof(T)];
};

static __device__ inline bool cuda_aligned(const void *at) { return (reinterpret_cast<uintptr_t>(at) & 15u) == 0; }

static inline int64_t cuda_elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

#endif
