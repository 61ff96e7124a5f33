/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_block {
    struct store_block *next;
    size_t used, room;
};
enum { HEAD = (sizeof(struct store_block) + 15) / 16 * 16, USUAL = 1 << 16 };

void *store_take(struct store *store, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > store->limit || store->used > store->limit - bytes) longjmp(store->full, 1);
    bytes = (bytes + 15) / 16 * 16;
    struct store_block *block = store->blocks;
    if (!block || block->room - block->used < bytes) {
        size_t room = bytes > USUAL ? bytes : USUAL;
        struct store_block *made = calloc(1, HEAD + room);
        if (!made) longjmp(store->full, 1);
        made->room = room;
        if (block && bytes > USUAL) made->next = block->next, block->next = made; /* the open block stays in front */
        else made->next = block, store->blocks = made;
        block = made;
    }
    void *at = (char *)block + HEAD + block->used;
    block->used += bytes;
    store->used += bytes;
    return at;
}

void store_free(struct store *store) {
    while (store->blocks) {
        struct store_block *next = store->blocks->next;
        free(store->blocks);
        store->blocks = next;
    }
}

char *store_text(struct store *store, const char *text) {
    size_t length = strlen(text) + 1;
    return memcpy(store_take(store, length, 1), text, length);
}

char *store_vformat(struct store *store, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int count = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (count < 0) longjmp(store->full, 1);
    char *text = store_take(store, (size_t)count + 1, 1);
    vsnprintf(text, (size_t)count + 1, format, arguments);
    return text;
}

char *store_format(struct store *store, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = store_vformat(store, format, arguments);
    va_end(arguments);
    return text;
}

void store_grow(struct store *store, void **at, size_t *count, size_t *room, size_t size) {
    if (*count == *room) {
        size_t more = *room ? *room * 2 : 8;
        void *grown = store_take(store, more, size);
        if (*count) memcpy(grown, *at, *count * size);
        *at = grown, *room = more;
    }
    ++*count;
}

void text_add(struct store *store, struct text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) longjmp(store->full, 1);
    size_t needed = text->count + (size_t)length + 1;
    if (needed > text->room) {
        size_t room = text->room ? text->room : 64;
        while (room < needed) room *= 2;
        char *grown = store_take(store, room, 1);
        if (text->count) memcpy(grown, text->at, text->count);
        text->at = grown, text->room = room;
    }
    vsnprintf(text->at + text->count, (size_t)length + 1, format, arguments);
    text->count += (size_t)length;
    va_end(arguments);
}

static size_t place(const struct names *names, const char *name) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *at = name; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    hash ^= hash >> 32;
    size_t i = (size_t)hash & (names->room - 1);
    while (names->at[i].name && strcmp(names->at[i].name, name) != 0) i = (i + 1) & (names->room - 1);
    return i;
}

void *names_find(const struct names *names, const char *name) { return names->room ? names->at[place(names, name)].value : NULL; }

void names_set(struct store *store, struct names *names, const char *name, void *value) {
    if (2 * (names->count + 1) > names->room) {
        struct names grown = {.room = names->room ? names->room * 2 : 32};
        grown.at = store_take(store, grown.room, sizeof *grown.at);
        for (size_t i = 0; i < names->room; i++)
            if (names->at[i].name) grown.at[place(&grown, names->at[i].name)] = names->at[i], grown.count++;
        *names = grown;
    }
    size_t i = place(names, name);
    if (!names->at[i].name) names->at[i].name = name, names->count++;
    names->at[i].value = value;
}
