/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tile of keys at a time, transposed once for all queries of the block, which pass over it in groups of ROWS: scores, softmax and values
 * of one group stay in the nearest cache. Each query keeps its largest score and the sum of exponentials so far, and what was summed
 * before shrinks when a larger score comes (Milakov, Gimelshein: "Online normalizer calculation for softmax", 2018; Dao et al.:
 * "FlashAttention", 2022). Tiles that no query of a group sees are not touched.
 */
#include "attention.h"
#include "common/math_simd.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, ROWS = 6, COLUMNS = 4 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, ROWS = 6, COLUMNS = 2 };
#else
enum { VECTOR_BYTES = 16, ROWS = 4, COLUMNS = 2 };
#endif

/* Keys of a tile; the widest head whose keys are transposed on the stack (wider ones, and a few queries, take dot products). */
enum { KEYS = 64, WIDEST = 256 };

/* What a block keeps of each of its queries: largest score and sum so far (of the block's type), keys it may see. */
struct attention_rows {
    void *largest, *sum;
    const int64_t *low, *high;
};

static void reach_of(const struct attention_reach *reach, int64_t position, int64_t *low, int64_t *high) {
    *low = 0, *high = reach->causal ? position + 1 : INT64_MAX / 2;
    if (reach->window > 0 && position - reach->window + 1 > *low) *low = position - reach->window + 1;
    if (reach->chunk > 0) {
        int64_t chunk = position >= 0 ? position / reach->chunk : -1, start = chunk * reach->chunk;
        int64_t from = reach->overlap ? start - reach->chunk : start;
        if (from > *low) *low = from;
        if (start + reach->chunk < *high) *high = start + reach->chunk;
    }
    if (*high < *low) *high = *low;
}

#define T float
#define VEC vec_f32
#define EIGHT eight_f32
#define LANES lanes_f32
#define SCORES scores_f32
#define VALUES values_f32
#define VALUES_ONE values_one_f32
#define TRANSPOSE transpose_f32
#define SCORES_ONE scores_one_f32
#define SHAPE_ROW shape_row_f32
#define SOFTMAX_ROWS softmax_rows_f32
#define GROUP query_group_f32
#define ONE one_query_f32
#define FETCH fetch_rows_f32
#define HEAD one_head_f32
#define TILE tile_f32
#define BLOCK block_f32
#define ROTATE rotate_f32
#define EXP exp_negative_f32
#define TANH tanh_f32
#include "attention_tmpl.h"
#undef T
#undef VEC
#undef EIGHT
#undef LANES
#undef SCORES
#undef VALUES
#undef VALUES_ONE
#undef TRANSPOSE
#undef SCORES_ONE
#undef SHAPE_ROW
#undef SOFTMAX_ROWS
#undef GROUP
#undef ONE
#undef FETCH
#undef HEAD
#undef TILE
#undef BLOCK
#undef ROTATE
#undef EXP
#undef TANH

#define T double
#define VEC vec_f64
#define EIGHT eight_f64
#define LANES lanes_f64
#define SCORES scores_f64
#define VALUES values_f64
#define VALUES_ONE values_one_f64
#define TRANSPOSE transpose_f64
#define SCORES_ONE scores_one_f64
#define SHAPE_ROW shape_row_f64
#define SOFTMAX_ROWS softmax_rows_f64
#define GROUP query_group_f64
#define ONE one_query_f64
#define FETCH fetch_rows_f64
#define HEAD one_head_f64
#define TILE tile_f64
#define BLOCK block_f64
#define ROTATE rotate_f64
#define EXP exp_negative_f64
#define TANH tanh_f64
#include "attention_tmpl.h"

extern const struct attention_table ISA(attention_table);
const struct attention_table ISA(attention_table) = {block_f32, block_f64, rotate_f32, rotate_f64};
