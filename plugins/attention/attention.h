/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention of some queries of one head over stretches of
 * keys, with an online softmax: no [Tq, Tk] matrix. */
#ifndef PLUGINS_ATTENTION_H
#define PLUGINS_ATTENTION_H

#include "common/simd.h"

/* Keys and values first .. first+count of the sequence, side by side in memory.
 */
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

struct attention_block {
  const void *q;
  void *out;
  int64_t q_row, out_row;
  int64_t queries, position;  /* absolute position of the first query */
  int64_t width, value_width; /* of a head: d, dv */
  const struct attention_keys *keys;
  int32_t stretches;
  struct attention_reach reach;
  double scale,
      softcap; /* softcap 0: none; else softcap * tanh(score / softcap) */
  const uint8_t *mask; /* true: may attend; by query and absolute key; NULL */
  int64_t mask_row, mask_column;
  const void *bias;
  int64_t bias_row, bias_column;
};

/* Rotates pairs of every head of `rows` rows in place: (cos, sin) [rows,
 * width/2] by row and pair. */
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

/* Queries that one block has at most. */
enum { ATTENTION_QUERIES = 192 };

#endif
