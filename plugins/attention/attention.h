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
    struct attention_reach reach;
    double scale, softcap; /* softcap 0: none; else softcap * tanh(score / softcap) */
    const uint8_t *mask;   /* true: may attend; by query and absolute key; NULL */
    int64_t mask_row, mask_column, mask_head;
    const void *bias;
    int64_t bias_row, bias_column, bias_head;
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
    void (*rotate_f32)(const struct attention_rotation *rotation);
    void (*rotate_f64)(const struct attention_rotation *rotation);
};
ISA_DECLARE(struct attention_table, attention_table);

/* Queries times heads that one block has at most; fewer queries than ATTENTION_FEW are taken for several heads together, so that keys and
 * values are read in the order in which they lie. */
enum { ATTENTION_QUERIES = 192, ATTENTION_FEW = 6 };

#endif
