/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

void text_init(struct text *text, const struct allocator *from) { *text = (struct text){.from = from}; }

void text_free(struct text *text) {
    memory_free(text->from, text->at, text->capacity);
    *text = (struct text){.from = text->from};
}

static bool text_room(struct text *text, size_t more) {
    size_t need;
    if (text->failed || __builtin_add_overflow(text->length, more, &need) || need == SIZE_MAX) text->failed = true;
    else if (memory_grow(text->from, (void **)&text->at, &text->capacity, need + 1, 1) < 0) text->failed = true;
    return !text->failed;
}

void text_add(struct text *text, const char *bytes, size_t length) {
    if (!text_room(text, length)) return;
    if (length) memcpy(text->at + text->length, bytes, length);
    text->length += length;
    text->at[text->length] = 0;
}

void text_put(struct text *text, const char *words) { text_add(text, words, strlen(words)); }

void text_vformat(struct text *text, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) text->failed = true;
    if (length < 0 || !text_room(text, (size_t)length)) return;
    vsnprintf(text->at + text->length, (size_t)length + 1, format, arguments);
    text->length += (size_t)length;
}

void text_format(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_vformat(text, format, arguments);
    va_end(arguments);
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), 0 when it is not one. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool outside = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || outside ? 0 : length;
}

void text_json(struct text *text, const char *value) {
    if (!value) {
        text_put(text, "null");
        return;
    }
    text_put(text, "\"");
    for (const unsigned char *s = (const unsigned char *)value; *s;) {
        size_t length = utf8_length(s);
        if (*s == '"' || *s == '\\') text_format(text, "\\%c", *s);
        else if (*s == '\n') text_put(text, "\\n");
        else if (*s < 0x20) text_format(text, "\\u%04x", *s);
        else if (length == 0) text_put(text, "\\ufffd");
        else text_add(text, (const char *)s, length);
        s += length ? length : 1;
    }
    text_put(text, "\"");
}

void text_html(struct text *text, const char *value) {
    for (; *value; value++) {
        const char *entity = *value == '&' ? "&amp;" : *value == '<' ? "&lt;" : *value == '>' ? "&gt;" : *value == '"' ? "&quot;" : NULL;
        if (entity) text_put(text, entity);
        else text_add(text, value, 1);
    }
}

int text_distance(const char *a, const char *b) {
    enum { MOST = 64 };
    size_t m = strlen(a), n = strlen(b);
    if (m > MOST || n > MOST) return 2 * MOST;
    int rows[3][MOST + 1];
    for (size_t j = 0; j <= n; j++) rows[0][j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        int *now = rows[i % 3], *before = rows[(i - 1) % 3], *two_before = rows[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int best = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < best) best = before[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && two_before[j - 2] + 1 < best) best = two_before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[m % 3][n];
}

void nearest_init(struct nearest *nearest, const char *wanted) { *nearest = (struct nearest){wanted, NULL, 0}; }

void nearest_offer(struct nearest *nearest, const char *name) {
    int distance = text_distance(nearest->wanted, name);
    if (nearest->best && distance >= nearest->distance) return;
    nearest->best = name, nearest->distance = distance;
}

const char *nearest_name(const struct nearest *nearest) {
    /* A slip: at most a third of the word, and always one letter. */
    int allowed = (int)strlen(nearest->wanted) / 3;
    return nearest->best && nearest->distance <= (allowed ? allowed : 1) ? nearest->best : NULL;
}

struct map_entry {
    const char *key;
    int64_t value;
};

void map_init(struct map *map, struct arena *arena) { *map = (struct map){.arena = arena}; }

/* Names come from files. Where the arena lies is not known to who wrote them, so names cannot be made to collide. */
static struct map_entry *map_slot(const struct map *map, struct map_entry *entries, size_t capacity, const char *key) {
    uint64_t hash = 0xCBF29CE484222325u ^ ((uint64_t)(uintptr_t)map->arena * 0x9E3779B97F4A7C15u);
    for (const char *c = key; *c; c++) hash = (hash ^ (uint8_t)*c) * 0x100000001B3u;
    size_t i = (size_t)(hash ^ (hash >> 32)) & (capacity - 1);
    while (entries[i].key && strcmp(entries[i].key, key) != 0) i = (i + 1) & (capacity - 1);
    return &entries[i];
}

int map_set(struct map *map, const char *key, int64_t value) {
    if (4 * (map->count + 1) > 3 * map->capacity) {
        size_t capacity = map->capacity ? 2 * map->capacity : 16;
        struct map_entry *entries = arena_array(map->arena, capacity, sizeof *entries);
        if (!entries) return -1;
        for (size_t i = 0; i < map->capacity; i++)
            if (map->entries[i].key) *map_slot(map, entries, capacity, map->entries[i].key) = map->entries[i];
        map->entries = entries, map->capacity = capacity;
    }
    struct map_entry *slot = map_slot(map, map->entries, map->capacity, key);
    if (!slot->key) map->count++;
    slot->key = key, slot->value = value;
    return 0;
}

bool map_get(const struct map *map, const char *key, int64_t *value) {
    if (!map->count) return false;
    const struct map_entry *slot = map_slot(map, map->entries, map->capacity, key);
    if (slot->key && value) *value = slot->value;
    return slot->key != NULL;
}

const char *map_nearest(const struct map *map, const char *wanted) {
    struct nearest nearest;
    nearest_init(&nearest, wanted);
    for (size_t i = 0; i < map->capacity; i++) {
        const char *key = map->entries[i].key;
        if (!key) continue;
        /* Of equally near ones the first in the alphabet: the order of entries means nothing. */
        if (nearest.best && text_distance(wanted, key) == nearest.distance && strcmp(key, nearest.best) < 0) nearest.best = key;
        else nearest_offer(&nearest, key);
    }
    return nearest_name(&nearest);
}

bool text_matches(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') star = pattern++, resume = text;
        else if (*pattern == *text) pattern++, text++;
        else if (star) pattern = star + 1, text = ++resume;
        else return false;
    }
    while (*pattern == '*') pattern++;
    return *pattern == 0;
}
