/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention of some queries of one or more heads over stretches of keys, with an online softmax: no [Tq, Tk] matrix. */
#ifndef PLUGINS_ATTENTION_H
#define PLUGINS_ATTENTION_H

#include "common/simd.h"

/* Keys and values first .. first+count of the sequence, side by side in memory. */
struct attention_keys {
    const void *k, *v;
    int64_t k_row, v_row; /* elements from one position to the next */
    int64_t first, count;
};

/* What one query may see: keys [low, high) by absolute position. */
struct attention_reach {
    bool causal;
    int64_t window, chunk; /* 0: none */
    bool overlap;          /* the chunk before, too */
};

/* Weights dropped in training. Row r of scores (of [B, heads, Tq], counted through) draws from the blocks of four words from r * blocks on,
 * so that forward and backward draw the same wherever their tiles lie. */
struct attention_dropout {
    uint64_t key, run;
    uint64_t below;   /* words below it drop their weight; 0: no dropout */
    double scale;     /* of those that stay: 1 / (1 - p) */
    int64_t row;      /* of the first query of the first head */
    int64_t row_head; /* from one head to the next: Tq */
    int64_t blocks;   /* of a row: Tk / 4, rounded up */
};

/* Queries of `heads` heads side by side, from head `head` on. Pointers of queries, results, mask and bias are those of the first of them,
 * those of keys and values of head 0; `shared` heads follow each other on the same keys. */
struct attention_block {
    const void *q;
    void *out;
    int64_t q_row, out_row;
    int64_t head, heads, shared;
    int64_t queries, position;  /* absolute position of the first query */
    int64_t width, value_width; /* of a head: d, dv */
    const struct attention_keys *keys;
    int32_t stretches;
    const void *tiles;  /* the keys of the only stretch, transposed: [kv_heads, tiles, width, ATTENTION_KEYS]; NULL: the block does it */
    int64_t tiles_head; /* elements from one head to the next */
    struct attention_reach reach;
    double scale, softcap; /* softcap 0: none; else softcap * tanh(score / softcap) */
    const uint8_t *mask;   /* true: may attend; by query and absolute key; NULL */
    int64_t mask_row, mask_column, mask_head;
    const void *bias;
    int64_t bias_row, bias_column, bias_head;
    void *log_sum; /* for backward: log of the sum of exponentials by query, +infinity where there is nothing to attend; NULL */
    int64_t log_sum_head;
    struct attention_dropout dropout;
};

/* The gradient of all queries of `shared` heads that see the same head of keys. Gradients are added to, those of q, k and v after they were
 * cleared if that is asked for; those that are NULL are not made.
 * Pointers are those of the first query or key, and of the first of the heads; distances are in elements. */
struct attention_gradient {
    const void *q, *k, *v;
    const void *out, *d_out;
    void *d_q, *d_k, *d_v;
    bool clear_q, clear_k, clear_v;
    int64_t q_row, k_row, v_row, out_row, d_out_row, d_q_row, d_k_row, d_v_row;
    int64_t shared, queries, keys, position, width, value_width;
    struct attention_reach reach;
    double scale, softcap;
    const uint8_t *mask;
    int64_t mask_row, mask_column, mask_head;
    const void *bias;
    int64_t bias_row, bias_column, bias_head;
    void *d_bias;
    int64_t d_bias_row, d_bias_column, d_bias_head;
    const void *log_sum; /* [shared, queries] */
    void *delta;         /* [shared, queries], written: sum_c d_out out */
    struct attention_dropout dropout;
};

/* Rotates pairs of every head of `rows` rows in place: (cos, sin) [rows, width/2] by row and pair. */
struct attention_rotation {
    void *data;
    int64_t rows, row, heads, width;
    bool interleaved;
    const void *cos, *sin;
};

struct attention_table {
    void (*block_f32)(const struct attention_block *block);
    void (*block_f64)(const struct attention_block *block);
    /* At most ATTENTION_KEYS keys [count, width], k_row apart, to [width, ATTENTION_KEYS], the rest 0. */
    void (*tile_f32)(const void *k, int64_t k_row, int64_t count, int64_t width, void *tile);
    void (*tile_f64)(const void *k, int64_t k_row, int64_t count, int64_t width, void *tile);
    void (*rotate_f32)(const struct attention_rotation *rotation);
    void (*rotate_f64)(const struct attention_rotation *rotation);
};
ISA_DECLARE(struct attention_table, attention_table);

struct attention_backward_table {
    void (*gradient_f32)(const struct attention_gradient *gradient);
    void (*gradient_f64)(const struct attention_gradient *gradient);
    /* sums[c] += sum_r x[r][c] of x [rows, columns] */
    void (*sums_f32)(const void *x, int64_t rows, int64_t columns, void *sums);
    void (*sums_f64)(const void *x, int64_t rows, int64_t columns, void *sums);
};
ISA_DECLARE(struct attention_backward_table, attention_backward_table);

/* Queries times heads that one block has at most; fewer queries than ATTENTION_FEW are taken for several heads together, so that keys and
 * values are read in the order in which they lie. */
enum { ATTENTION_QUERIES = 256, ATTENTION_FEW = 6 };

/* Keys of a tile; the widest head whose keys are transposed (forward: wider ones, and a few queries, take dot products). */
enum { ATTENTION_KEYS = 64, ATTENTION_WIDEST = 256 };

#endif
