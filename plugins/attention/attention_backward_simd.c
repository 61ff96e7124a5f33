/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward of a head: for each tile of keys, transposed once, blocks of queries pass by. Weights are made again from the scores and the
 * logarithm of their sum, p = exp(s - log_sum); then
 *   d_v = p^T d_out,  d_s = p (d_out v^T - delta) scale,  d_q = d_s k,  d_k = d_s^T q,  delta = sum_c d_out out
 * (Dao et al.: "FlashAttention", 2022, algorithm 4). Five products of tiles; no [Tq, Tk] matrix. Scores of a block stay in the nearest
 * caches, what no query sees is left out of every product: in steps of a vector of keys for d_q, of KEYS_SIDE keys for d_k and d_v.
 */
#include "attention_tiles.h"

#include <math.h>
#include <string.h>

/* Queries of a block; what one pass makes of the gradient of keys and values: so many keys by so many vectors. */
#if defined(__AVX512F__)
enum { GROUPED = 96, KEYS_SIDE = 8, COLUMNS_SIDE = 2 };
#else
enum { GROUPED = 96, KEYS_SIDE = 4, COLUMNS_SIDE = 2 };
#endif
_Static_assert(GROUPED % ROWS == 0, "a block is made of whole groups");

/* A block of queries and the tile of keys it meets: the keys each may see, by absolute position. Both bounds grow with the row. */
struct gradient_rows {
    int64_t query, queries;
    int64_t first, count;
    const int64_t *low, *high;
    bool plain; /* nothing but the reach between a score and its weight */
};

/* Rows of the block that see one of `keys` keys from key j of the tile on. */
static void rows_that_see(const struct gradient_rows *rows, int64_t j, int64_t keys, int64_t *from, int64_t *to) {
    int64_t low = 0, high = rows->queries;
    while (low < high && rows->high[low] <= rows->first + j) low++;
    while (high > low && rows->low[high - 1] >= rows->first + j + keys) high--;
    *from = low, *to = high;
}

/* The first block that has a row which sees a key from `first` on. */
static int64_t first_block(const struct attention_gradient *g, int64_t first) {
    int64_t from = 0, to = (g->queries + GROUPED - 1) / GROUPED;
    while (from < to) {
        int64_t middle = from + (to - from) / 2, last = middle * GROUPED + GROUPED - 1, low, high;
        reach_of(&g->reach, g->position + (last < g->queries ? last : g->queries - 1), &low, &high);
        if (high > first) to = middle;
        else from = middle + 1;
    }
    return from * GROUPED;
}

#define T float
#define VEC vec_f32
#define EIGHT eight_f32
#define LANES lanes_f32
#define SCORES scores_f32
#define VALUES values_f32
#define VALUES_ONE values_one_f32
#define TRANSPOSE transpose_f32
#define DROP_ROW drop_row_f32
#define COLLECT collect_f32
#define COLLECT_REST collect_rest_f32
#define COLLECT_TILE collect_tile_f32
#define SPREAD spread_f32
#define SCORES_TILE scores_tile_f32
#define GROUP_ROWS group_rows_f32
#define SCORES_WIDE scores_wide_f32
#define PLAIN_ROW plain_row_f32
#define BIAS_ROW bias_row_f32
#define SHAPED_ROW shaped_row_f32
#define WEIGHTS weights_f32
#define GRADIENT_BLOCK gradient_block_f32
#define DELTA delta_f32
#define GRADIENT gradient_f32
#define SUMS sums_f32
#define WEIGHT weight_f32
#define CLEAR clear_f32
#define TANH tanh_f32
#include "attention_tiles_tmpl.h"
#include "attention_backward_tmpl.h"
#undef T
#undef VEC
#undef EIGHT
#undef LANES
#undef SCORES
#undef VALUES
#undef VALUES_ONE
#undef TRANSPOSE
#undef DROP_ROW
#undef COLLECT
#undef COLLECT_REST
#undef COLLECT_TILE
#undef SPREAD
#undef SCORES_TILE
#undef GROUP_ROWS
#undef SCORES_WIDE
#undef PLAIN_ROW
#undef BIAS_ROW
#undef SHAPED_ROW
#undef WEIGHTS
#undef GRADIENT_BLOCK
#undef DELTA
#undef GRADIENT
#undef SUMS
#undef WEIGHT
#undef CLEAR
#undef TANH

#define T double
#define VEC vec_f64
#define EIGHT eight_f64
#define LANES lanes_f64
#define SCORES scores_f64
#define VALUES values_f64
#define VALUES_ONE values_one_f64
#define TRANSPOSE transpose_f64
#define DROP_ROW drop_row_f64
#define COLLECT collect_f64
#define COLLECT_REST collect_rest_f64
#define COLLECT_TILE collect_tile_f64
#define SPREAD spread_f64
#define SCORES_TILE scores_tile_f64
#define GROUP_ROWS group_rows_f64
#define SCORES_WIDE scores_wide_f64
#define PLAIN_ROW plain_row_f64
#define BIAS_ROW bias_row_f64
#define SHAPED_ROW shaped_row_f64
#define WEIGHTS weights_f64
#define GRADIENT_BLOCK gradient_block_f64
#define DELTA delta_f64
#define GRADIENT gradient_f64
#define SUMS sums_f64
#define WEIGHT weight_f64
#define CLEAR clear_f64
#define TANH tanh_f64
#include "attention_tiles_tmpl.h"
#include "attention_backward_tmpl.h"

extern const struct attention_backward_table ISA(attention_backward_table);
const struct attention_backward_table ISA(attention_backward_table) = {gradient_f32, gradient_f64, sums_f32, sums_f64};
