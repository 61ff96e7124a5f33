/* SPDX-License-Identifier: Apache-2.0 */
/* Text: tokens from text and text from tokens, drawing the next one. */
#include "text.h"

static const struct flow_operator *const operators[] = {&token_decode_operator, &token_encode_operator, &word_pieces_operator,
                                                        &sample_operator, &last_operator};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "text",
    .version = "1.0",
    .licence = "Apache-2.0",
    .summary = "tokens from text and text from tokens, drawing the next one",
    .reference = "Kudo and Richardson, SentencePiece (2018)",
    .operators = FLOW_TABLE(operators),
    .kernels = FLOW_TABLE_EMPTY,
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
