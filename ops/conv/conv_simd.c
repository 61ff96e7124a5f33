/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of taps, overlap-add, pools. The sums of taps are written in vectors, so that eight of them stay in registers over all taps. */
#include "conv/conv.h"
#include "common/lanes_simd.h"
#include "common/math_simd.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Sums that stay in registers: UNITS_MOST x UNITS_VECTORS vectors, of 32 registers or 16; DOTS_UNITS x DOTS_TAPS of products. */
#if defined(__AVX512F__)
#define UNITS_MOST 8
#define UNITS_VECTORS 3
#define DOTS_UNITS 4
#define DOTS_TAPS 6
#else
#define UNITS_MOST 4
#define UNITS_VECTORS 3
#define DOTS_UNITS 4
#define DOTS_TAPS 2
#endif

/* The sums of four vectors' lanes, each in the order of lanes_tree: the last steps for all four at once. */
ALWAYS_INLINE void lanes_four_f32(const lanes_f32 *v, float *total) {
    lanes_quarter_f32 q[4];
    for (int i = 0; i < 4; ++i) {
        lanes_quarter_f32 part[LANES_BYTES / 16];
        memcpy(part, v + i, sizeof part);
#if LANES_BYTES == 64
        part[0] += part[2], part[1] += part[3];
#endif
#if LANES_BYTES > 16
        part[0] += part[1];
#endif
        q[i] = part[0];
    }
    const lanes_quarter_f32 a = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5) + __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
    const lanes_quarter_f32 b = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5) + __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
    const lanes_quarter_f32 sum = __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    memcpy(total, &sum, sizeof sum);
}
ALWAYS_INLINE void lanes_four_f64(const lanes_f64 *v, double *total) {
    for (int i = 0; i < 4; ++i) total[i] = lanes_tree_f64(v + i);
}

#define REAL float
#define LANES ((int64_t)(LANES_BYTES / sizeof(REAL)))
#define max_of max_f32
#define taps_block taps_block_f32
#define taps taps_f32
#define lanes_four lanes_four_f32
#define most_pairs most_pairs_f32
#define collect collect_f32
#define hit hit_f32
#define hit_pairs hit_pairs_f32
#define units_block units_block_f32
#define units_row units_row_f32
#define taps_units taps_units_f32
#define dots_block dots_block_f32
#define dots_rows dots_rows_f32
#define dots dots_f32
#define lanes_tree lanes_tree_f32
#define blend blend_f32
#define blend_one blend_one_f32
#define add add_f32
#define most most_f32
#define sum sum_f32
#define lanes_dot lanes_dot_f32
#define vector lanes_f32
#include "conv/conv_tmpl.h"
#undef REAL
#undef LANES
#undef max_of
#undef taps_block
#undef taps
#undef lanes_four
#undef most_pairs
#undef collect
#undef hit
#undef hit_pairs
#undef units_block
#undef units_row
#undef taps_units
#undef dots_block
#undef dots_rows
#undef dots
#undef lanes_tree
#undef blend
#undef blend_one
#undef add
#undef most
#undef sum
#undef lanes_dot
#undef vector

#define REAL double
#define LANES ((int64_t)(LANES_BYTES / sizeof(REAL)))
#define max_of max_f64
#define taps_block taps_block_f64
#define taps taps_f64
#define lanes_four lanes_four_f64
#define most_pairs most_pairs_f64
#define collect collect_f64
#define hit hit_f64
#define hit_pairs hit_pairs_f64
#define units_block units_block_f64
#define units_row units_row_f64
#define taps_units taps_units_f64
#define dots_block dots_block_f64
#define dots_rows dots_rows_f64
#define dots dots_f64
#define lanes_tree lanes_tree_f64
#define blend blend_f64
#define blend_one blend_one_f64
#define add add_f64
#define most most_f64
#define sum sum_f64
#define lanes_dot lanes_dot_f64
#define vector lanes_f64
#include "conv/conv_tmpl.h"
#undef REAL
#undef LANES
#undef max_of
#undef taps_block
#undef taps
#undef lanes_four
#undef most_pairs
#undef collect
#undef hit
#undef hit_pairs
#undef units_block
#undef units_row
#undef taps_units
#undef dots_block
#undef dots_rows
#undef dots
#undef lanes_tree
#undef blend
#undef blend_one
#undef add
#undef most
#undef sum
#undef lanes_dot
#undef vector

extern const struct conv_table ISA(conv_table);
const struct conv_table ISA(conv_table) = {
    .taps_f32 = taps_units_f32,
    .dots_f32 = dots_f32,
    .taps_f64 = taps_units_f64,
    .dots_f64 = dots_f64,
    .add_f32 = add_f32,
    .add_f64 = add_f64,
    .most_f32 = most_f32,
    .most_pairs_f32 = most_pairs_f32,
    .most_f64 = most_f64,
    .most_pairs_f64 = most_pairs_f64,
    .sum_f32 = sum_f32,
    .sum_f64 = sum_f64,
    .total_f32 = lanes_total_f32,
    .blend_f32 = blend_f32,
    .collect_f32 = collect_f32,
    .hit_f32 = hit_f32,
    .hit_pairs_f32 = hit_pairs_f32,
    .total_f64 = lanes_total_f64,
    .blend_f64 = blend_f64,
    .collect_f64 = collect_f64,
    .hit_f64 = hit_f64,
    .hit_pairs_f64 = hit_pairs_f64,
};
