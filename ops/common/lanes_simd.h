/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums and extremes of adjacent elements for *_simd.c files, in vectors of the instruction set that the file is compiled for. Four partial
 * sums hide the latency of an addition; the lanes are added as a tree. The order of additions depends on the count alone. (A reduction that
 * the compiler vectorises adds up the lanes of each partial sum one by one, which costs more than a short row itself.)
 */
#ifndef OPS_COMMON_LANES_SIMD_H
#define OPS_COMMON_LANES_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES_BYTES 64
#elif defined(__AVX2__)
#define LANES_BYTES 32
#else
#define LANES_BYTES 16
#endif

#define REAL float
#define KEY int32_t
#define KEY_ABSOLUTE INT32_MAX
#define KEY_LEAST INT32_MIN
#define lanes lanes_f32
#define keys lanes_keys_f32
#define keys_larger lanes_larger_f32
#define half lanes_half_f32
#define quarter lanes_quarter_f32
#define lanes_tree lanes_tree_f32
#define lanes_sum lanes_sum_f32
#define lanes_squares lanes_squares_f32
#define lanes_dot lanes_dot_f32
#define lanes_total lanes_total_f32
#define lanes_max lanes_max_f32
#define lanes_odd lanes_odd_f32
#include "common/lanes_tmpl.h"
#undef REAL
#undef KEY
#undef KEY_ABSOLUTE
#undef KEY_LEAST
#undef lanes
#undef keys
#undef keys_larger
#undef half
#undef quarter
#undef lanes_tree
#undef lanes_sum
#undef lanes_squares
#undef lanes_dot
#undef lanes_total
#undef lanes_max
#undef lanes_odd

#define REAL double
#define KEY int64_t
#define KEY_ABSOLUTE INT64_MAX
#define KEY_LEAST INT64_MIN
#define lanes lanes_f64
#define keys lanes_keys_f64
#define keys_larger lanes_larger_f64
#define half lanes_half_f64
#define quarter lanes_quarter_f64
#define lanes_tree lanes_tree_f64
#define lanes_sum lanes_sum_f64
#define lanes_squares lanes_squares_f64
#define lanes_dot lanes_dot_f64
#define lanes_total lanes_total_f64
#define lanes_max lanes_max_f64
#define lanes_odd lanes_odd_f64
#include "common/lanes_tmpl.h"
#undef REAL
#undef KEY
#undef KEY_ABSOLUTE
#undef KEY_LEAST
#undef lanes
#undef keys
#undef keys_larger
#undef half
#undef quarter
#undef lanes_tree
#undef lanes_sum
#undef lanes_squares
#undef lanes_dot
#undef lanes_total
#undef lanes_max
#undef lanes_odd

#endif
