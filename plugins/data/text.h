/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the source `text`: its units and its vocabulary. */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H

#include "data.h"

enum { UNIT_BYTE, UNIT_CHAR, UNIT_WORD };
enum { UNIT_BYTES_MOST = 1 << 12, UNIT_MARK = 1024 };

/* The unit that begins at `at`: its text and length, and in *used how many bytes it takes with what stands before it. 1: there it is; 0: it
 * may go on behind `end` (never where `last`), *used bytes of white space stand before it; 2: nothing but white space up to the end;
 * negative: *wrong bytes from `at` it is no UTF-8. */
struct text_unit {
    const char *at;
    size_t length, used;
};
int text_unit_next(int32_t unit, const char *end_of_line, const char *at, const char *end, bool last, struct text_unit *found);

/* Different units. malloc's while they are counted, then numbered and copied. */
struct text_words {
    struct text_word {
        const char *at;
        uint32_t length;
        int32_t id; /* -1: not in the vocabulary */
        int64_t count;
    } * words;
    int32_t *places; /* open addressing: 1 + word, 0: none */
    int64_t count, room, place_count;
    struct text_block *blocks; /* of their characters */
};
void text_words_free(struct text_words *words);
/* The word, added when `add`; NULL: it is not there, or (add) memory ran out. */
struct text_word *text_words_get(struct text_words *words, const char *at, size_t length, bool add);
int text_words_load(const struct flow_source_open *open, const char *path, struct text_words *words);
/* Numbers the words: chars by code point, others by how often they came; the `most` commonest of them. */
int text_words_number(const struct flow_source_open *open, struct text_words *words, bool by_text, int64_t most, const char *unknown);

#endif
