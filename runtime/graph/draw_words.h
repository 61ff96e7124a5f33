/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a drawing: how wide they are, how they stand in XML. */
#ifndef FLOW_GRAPH_DRAW_WORDS_H
#define FLOW_GRAPH_DRAW_WORDS_H

#include "base/text.h"

/* Pixels that `words` take in a monospaced face of this size: the widest of the faces that the style names. Wide characters count twice. */
double words_width(const char *words, double size);
/* The longest beginning that fits into `columns`, with an ellipsis where something was cut. */
const char *words_cut(struct arena *arena, const char *words, size_t columns);
/* Escaped for text and for attributes in either quotes; what XML cannot hold (control characters, broken UTF-8) replaced by U+FFFD. */
void words_xml(struct text *out, const char *words);
/* 33792 -> "33.8k" */
const char *words_count(char text[16], int64_t count);
/* 1536 -> "1.5 KiB" */
const char *words_bytes(char text[24], int64_t bytes);

#endif
