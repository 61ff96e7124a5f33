/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_BLOCK = 8192 };

/* Blocks are a list, newest first; `used` of the arena counts within the newest. */
struct arena_block {
    struct arena_block *next;
    size_t size; /* of the whole block, head included */
};

static void *default_resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context, (void)old_size;
    if (new_size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, new_size);
}

const struct allocator memory_default = {NULL, default_resize};

void *memory_new(const struct allocator *from, size_t size) {
    void *block = from->resize(from->context, NULL, 0, size ? size : 1);
    if (block) memset(block, 0, size ? size : 1);
    return block;
}

void *memory_array(const struct allocator *from, size_t count, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : memory_new(from, bytes);
}

void memory_free(const struct allocator *from, void *block, size_t size) {
    if (block) from->resize(from->context, block, size ? size : 1, 0);
}

int memory_grow(const struct allocator *from, void **at, size_t *capacity, size_t need, size_t element) {
    if (need <= *capacity) return 0;
    size_t wanted = *capacity ? *capacity : 8, bytes;
    while (wanted < need)
        if (__builtin_mul_overflow(wanted, (size_t)2, &wanted)) return -1;
    if (__builtin_mul_overflow(wanted, element, &bytes)) return -1;
    void *grown = from->resize(from->context, *at, *capacity * element, bytes);
    if (!grown) return -1;
    *at = grown, *capacity = wanted;
    return 0;
}

void arena_init(struct arena *arena, const struct allocator *from) { arena->from = from, arena->blocks = NULL, arena->used = 0; }

void arena_free(struct arena *arena) {
    for (struct arena_block *block = arena->blocks; block;) {
        struct arena_block *next = block->next;
        arena->from->resize(arena->from->context, block, block->size, 0);
        block = next;
    }
    arena->blocks = NULL, arena->used = 0;
}

static size_t align_up(size_t size) { return (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1); }

void *arena_new(struct arena *arena, size_t size) {
    const size_t head = align_up(sizeof(struct arena_block));
    if (size > SIZE_MAX / 2) return NULL;
    size = align_up(size ? size : 1);
    struct arena_block *block = arena->blocks;
    if (!block || block->size - arena->used < size) {
        size_t bytes = head + size < ARENA_BLOCK ? ARENA_BLOCK : head + size;
        block = arena->from->resize(arena->from->context, NULL, 0, bytes);
        if (!block) return NULL;
        block->next = arena->blocks, block->size = bytes;
        arena->blocks = block, arena->used = head;
    }
    void *result = (char *)block + arena->used;
    arena->used += size;
    return memset(result, 0, size);
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : arena_new(arena, bytes);
}

void *arena_copy(struct arena *arena, const void *from, size_t size) {
    void *copy = arena_new(arena, size);
    if (copy && size) memcpy(copy, from, size);
    return copy;
}

char *arena_text_n(struct arena *arena, const char *text, size_t length) {
    char *copy = arena_new(arena, length + 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *arena_text(struct arena *arena, const char *text) { return text ? arena_text_n(arena, text, strlen(text)) : NULL; }

char *arena_format(struct arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : arena_new(arena, (size_t)length + 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}
