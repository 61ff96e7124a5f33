/* SPDX-License-Identifier: Apache-2.0 */
/* The units of a text, and the vocabulary that numbers them. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 16, WORDS_MOST = 1 << 24 };

struct text_block {
    struct text_block *next;
    size_t used;
    char bytes[BLOCK_BYTES];
};

/* ---- Units ----------------------------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at `at` (RFC 3629), 0 where it may go on behind `end`, -1 where it is none. */
static int utf8_length(const char *at, const char *end, bool last) {
    const uint8_t *c = (const uint8_t *)at;
    const int length = c[0] < 0x80 ? 1 : c[0] >= 0xC2 && c[0] < 0xE0 ? 2 : (c[0] & 0xF0) == 0xE0 ? 3 : c[0] >= 0xF0 && c[0] < 0xF5 ? 4 : -1;
    for (int i = 1; i < length; i++) {
        if (at + i == end) return last ? -1 : 0;
        if ((c[i] & 0xC0) != 0x80) return -1;
        if (i == 1 && ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F) || (c[0] == 0xF0 && c[1] < 0x90) ||
                       (c[0] == 0xF4 && c[1] > 0x8F)))
            return -1;
    }
    return length;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int text_unit_next(int32_t unit, const char *end_of_line, const char *at, const char *end, bool last, struct text_unit *found) {
    const char *start = at;
    *found = (struct text_unit){0};
    if (at == end) return last ? 2 : 0;
    if (unit != UNIT_WORD) {
        const int length = unit == UNIT_BYTE ? 1 : utf8_length(at, end, last);
        if (length <= 0) return length;
        *found = (struct text_unit){at, (size_t)length, (size_t)length};
        return 1;
    }
    for (; at < end && is_space(*at); at++)
        if (*at == '\n' && end_of_line) {
            *found = (struct text_unit){end_of_line, strlen(end_of_line), (size_t)(at + 1 - start)};
            return 1;
        }
    found->used = (size_t)(at - start);
    if (at == end) return last ? 2 : 0;
    const char *word = at;
    while (at < end && !is_space(*at)) at++;
    if (at == end && !last) return at - word > UNIT_BYTES_MOST ? -1 : 0;
    *found = (struct text_unit){word, (size_t)(at - word), (size_t)(at - start)};
    return at - word > UNIT_BYTES_MOST ? -1 : 1;
}

/* ---- Different units ------------------------------------------------------------------------------------------- */

void text_words_free(struct text_words *words) {
    for (struct text_block *block = words->blocks, *next; block; block = next) next = block->next, free(block);
    free(words->words), free(words->places);
    *words = (struct text_words){0};
}

static uint64_t hash_of(const char *at, size_t length) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)at[i]) * 0x100000001B3u;
    return hash ^ hash >> 29;
}

static bool make_places(struct text_words *words, int64_t count) {
    int32_t *places = calloc((size_t)count, sizeof *places);
    if (!places) return false;
    free(words->places);
    words->places = places, words->place_count = count;
    for (int64_t i = 0; i < words->count; i++) {
        int64_t place = (int64_t)(hash_of(words->words[i].at, words->words[i].length) & (uint64_t)(count - 1));
        while (places[place]) place = (place + 1) & (count - 1);
        places[place] = (int32_t)i + 1;
    }
    return true;
}

static const char *keep(struct text_words *words, const char *at, size_t length) {
    struct text_block *block = words->blocks;
    if (length > BLOCK_BYTES) return NULL;
    if (!block || BLOCK_BYTES - block->used < length) {
        block = malloc(sizeof *block);
        if (!block) return NULL;
        block->next = words->blocks, block->used = 0, words->blocks = block;
    }
    char *copy = block->bytes + block->used;
    memcpy(copy, at, length);
    block->used += length;
    return copy;
}

struct text_word *text_words_get(struct text_words *words, const char *at, size_t length, bool add) {
    int64_t place = 0;
    if (words->place_count) {
        place = (int64_t)(hash_of(at, length) & (uint64_t)(words->place_count - 1));
        for (; words->places[place]; place = (place + 1) & (words->place_count - 1)) {
            struct text_word *word = &words->words[words->places[place] - 1];
            if (word->length == length && memcmp(word->at, at, length) == 0) return word;
        }
    }
    if (!add || words->count >= WORDS_MOST) return NULL;
    if (words->count == words->room) {
        const int64_t room = words->room ? 2 * words->room : 256;
        struct text_word *grown = realloc(words->words, (size_t)room * sizeof *grown);
        if (!grown) return NULL;
        words->words = grown, words->room = room;
    }
    const char *copy = keep(words, at, length);
    if (!copy) return NULL;
    words->words[words->count++] = (struct text_word){copy, (uint32_t)length, -1, 0};
    if (2 * words->count > words->place_count) {
        if (!make_places(words, words->place_count ? 2 * words->place_count : 1024)) {
            words->count--;
            return NULL;
        }
    } else words->places[place] = (int32_t)words->count;
    return &words->words[words->count - 1];
}

/* ---- The vocabulary -------------------------------------------------------------------------------------------- */

/* A line of a vocabulary file: \n \r \t \s \\ stand for newline, return, tabulator, space, backslash. */
static size_t unescape(char *at, size_t length) {
    static const char names[] = "nrts\\", meant[] = "\n\r\t \\";
    char *to = at;
    for (size_t i = 0; i < length; i++) {
        const char *name = at[i] == '\\' && i + 1 < length ? strchr(names, at[i + 1]) : NULL;
        if (name) *to++ = meant[name - names], i++;
        else *to++ = at[i];
    }
    return (size_t)(to - at);
}

int text_words_load(const struct flow_source_open *open, const char *path, struct text_words *words) {
    char *bytes;
    int64_t size;
    int32_t id = 0;
    int status = data_read_whole(open, path, &bytes, &size);
    if (status < 0) return status;
    for (char *line = bytes, *end = bytes + size; status == FLOW_OK && line < end; id++) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *next = stop ? stop + 1 : end;
        size_t length = (size_t)((stop ? stop : end) - line);
        if (length && line[length - 1] == '\r') length--;
        length = unescape(line, length);
        struct text_word *word = length ? text_words_get(words, line, length, true) : NULL;
        if (!length)
            status = data_wrong(open, FLOW_ERROR_FORMAT, "%s:%d: an empty line: each line is one unit (\\n is a newline)", path, id + 1);
        else if (!word) status = data_wrong(open, FLOW_ERROR_MEMORY, "%s:%d: no room for the vocabulary", path, id + 1);
        else if (word->id >= 0)
            status = data_wrong(open, FLOW_ERROR_FORMAT, "%s:%d: '%.*s' stands there twice, first in line %d", path, id + 1, (int)length,
                                line, word->id + 1);
        else word->id = id;
        line = next;
    }
    free(bytes);
    if (status == FLOW_OK && id == 0) status = data_wrong(open, FLOW_ERROR_FORMAT, "%s is empty: no vocabulary", path);
    return status;
}

static int compare_texts(const void *a, const void *b) {
    const struct text_word *x = *(struct text_word *const *)a, *y = *(struct text_word *const *)b;
    const size_t length = x->length < y->length ? x->length : y->length;
    const int order = memcmp(x->at, y->at, length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int compare_counts(const void *a, const void *b) {
    const struct text_word *x = *(struct text_word *const *)a, *y = *(struct text_word *const *)b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : compare_texts(a, b);
}

int text_words_number(const struct flow_source_open *open, struct text_words *words, bool by_text, int64_t most, const char *unknown) {
    struct text_word *other = unknown ? text_words_get(words, unknown, strlen(unknown), true) : NULL;
    if (unknown && !other) return data_wrong(open, FLOW_ERROR_MEMORY, "out of memory");
    if (words->count > most && !unknown)
        return data_wrong(open, FLOW_ERROR_RANGE,
                          "%s has %lld different units, the vocabulary holds %lld: name the unit `unknown` that stands for the rarest",
                          open->path, (long long)words->count, (long long)most);
    struct text_word **order = malloc((size_t)words->count * sizeof *order + 1);
    if (!order) return data_wrong(open, FLOW_ERROR_MEMORY, "out of memory");
    if (other) other->count = INT64_MAX; /* it is always kept */
    for (int64_t i = 0; i < words->count; i++) order[i] = &words->words[i];
    const int64_t kept = words->count < most ? words->count : most;
    qsort(order, (size_t)words->count, sizeof *order, compare_counts);
    if (by_text) qsort(order, (size_t)kept, sizeof *order, compare_texts);
    for (int64_t i = 0; i < words->count; i++) order[i]->id = i < kept ? (int32_t)i : -1;
    free(order);
    return FLOW_OK;
}
