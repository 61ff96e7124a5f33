/* SPDX-License-Identifier: Apache-2.0 */
/* What the text operators share: a vocabulary as two parameters, pieces u8 [count, width] and lengths i32 [count]. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include <flow/plugin.h>

#include "common/shape.h"

struct vocabulary {
    const uint8_t *pieces;
    const int32_t *lengths;
    int64_t count, width;
};

static inline struct vocabulary vocabulary_of(const struct flow_tensor *pieces, const struct flow_tensor *lengths) {
    return (struct vocabulary){pieces->data, lengths->data, pieces->shape[0], pieces->shape[1]};
}
/* Fails where a length is not in [0, width]. [run] */
int vocabulary_check(const struct flow_call *call, const struct vocabulary *vocabulary);

/* An index from bytes to the piece that they are: open addressing, `slots` a power of two, each the piece's number + 1 or 0. Pieces
 * [hidden, hidden + 256) are left out: bytes that stand for themselves. Of equal pieces the first is found. */
int64_t vocabulary_slots(int64_t count);
void vocabulary_index(const struct vocabulary *vocabulary, int64_t hidden, int32_t *slot, int64_t slots);
int32_t vocabulary_find(const struct vocabulary *vocabulary, const int32_t *slot, int64_t slots, const uint8_t *bytes,
                        int64_t length); /* -1 */

extern const struct flow_operator token_decode_operator, token_encode_operator, word_pieces_operator, sample_operator, last_operator;

#endif
