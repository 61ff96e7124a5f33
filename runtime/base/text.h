/* SPDX-License-Identifier: Apache-2.0 */
/* Text: a builder that remembers failure, the nearest of some names, a map from names, JSON quoting. */
#ifndef FLOW_BASE_TEXT_H
#define FLOW_BASE_TEXT_H

#include "base/memory.h"

/* Grows as it is written to. After a failed allocation `failed` stays set and writing does nothing: check once, at the end. */
struct text {
    const struct allocator *from;
    char *at; /* zero-terminated once anything was written */
    size_t length, capacity;
    bool failed;
};
void text_init(struct text *text, const struct allocator *from);
void text_free(struct text *text);
void text_add(struct text *text, const char *bytes, size_t length);
void text_put(struct text *text, const char *words);
void text_format(struct text *text, const char *format, ...) printf_like(2, 3);
void text_vformat(struct text *text, const char *format, va_list arguments);
void text_json(struct text *text, const char *value); /* as a JSON string with its quotes; NULL as null; bad UTF-8 replaced */
void text_html(struct text *text, const char *value); /* with & < > " escaped */

/* Distance of two words: insertions, deletions, changes, swaps of neighbours. Words over 64 bytes are far from all. */
int text_distance(const char *a, const char *b);

/* Collects the nearest name to `wanted`: offer all, then ask. Gives NULL when none is near enough to be a slip of the hand. */
struct nearest {
    const char *wanted;
    const char *best;
    int distance;
};
void nearest_init(struct nearest *nearest, const char *wanted);
void nearest_offer(struct nearest *nearest, const char *name);
const char *nearest_name(const struct nearest *nearest);

/* From names to numbers, in an arena; open addressing. Keys are not copied. */
struct map {
    struct arena *arena;
    struct map_entry *entries;
    size_t count, capacity;
};
void map_init(struct map *map, struct arena *arena);
int must_use map_set(struct map *map, const char *key, int64_t value); /* replaces */
bool map_get(const struct map *map, const char *key, int64_t *value);
const char *map_nearest(const struct map *map, const char *wanted); /* or NULL */

/* `*` stands for any text. Linear in practice: backtracks to the last star only. */
bool text_matches(const char *pattern, const char *text);

#endif
