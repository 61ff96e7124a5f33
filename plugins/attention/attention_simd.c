/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tile of keys at a time, transposed once for all queries (of the block, if there is only one), which pass over it in groups of ROWS:
 * scores, softmax and values of one group stay in the nearest cache. Each query keeps its largest score and the sum of exponentials so far,
 * and what was summed before shrinks when a larger score comes (Milakov, Gimelshein: "Online normalizer calculation for softmax", 2018; Dao
 * et al.: "FlashAttention", 2022). Tiles that no query of a group sees are not touched.
 */
#include "attention_tiles.h"

#include <math.h>
#include <string.h>

/* Few queries: keys that each looks at in turn; pairs of query and head taken together. */
enum { STRIP = 8, SINGLES_MOST = 32 };

/* What a block keeps of each of its queries: largest score and sum so far (of the block's type), keys it may see. */
struct attention_rows {
    void *largest, *sum;
    const int64_t *low, *high;
    double factor; /* weight = 2^(factor (score - largest)) */
    bool plain;    /* nothing but a scale, which the factor holds, between a product and its score */
};

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
#define SINGLE single_f32
#define SINGLE_SCORES single_scores_f32
#define SINGLE_VALUES single_values_f32
#define SINGLES singles_f32
#define HEAD_OF head_of_f32
#define TILE tile_f32
#define TURN_TILE turn_tile_f32
#define BLOCK block_f32
#define ROTATE rotate_f32
#define WEIGHT weight_f32
#define SEEN seen_f32
#define TANH tanh_f32
#define LOG log_f32
#define DROP drop_f32
#define DROP_ROW drop_row_f32
#include "attention_tiles_tmpl.h"
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
#undef SINGLE
#undef SINGLE_SCORES
#undef SINGLE_VALUES
#undef SINGLES
#undef HEAD_OF
#undef TILE
#undef TURN_TILE
#undef BLOCK
#undef ROTATE
#undef WEIGHT
#undef SEEN
#undef TANH
#undef LOG
#undef DROP
#undef DROP_ROW

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
#define SINGLE single_f64
#define SINGLE_SCORES single_scores_f64
#define SINGLE_VALUES single_values_f64
#define SINGLES singles_f64
#define HEAD_OF head_of_f64
#define TILE tile_f64
#define TURN_TILE turn_tile_f64
#define BLOCK block_f64
#define ROTATE rotate_f64
#define WEIGHT weight_f64
#define SEEN seen_f64
#define TANH tanh_f64
#define LOG log_f64
#define DROP drop_f64
#define DROP_ROW drop_row_f64
#include "attention_tiles_tmpl.h"
#include "attention_tmpl.h"

extern const struct attention_table ISA(attention_table);
const struct attention_table ISA(attention_table) = {block_f32, block_f64, turn_tile_f32, turn_tile_f64, rotate_f32, rotate_f64};
