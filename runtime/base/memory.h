/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: where bytes come from, an arena for what lives and dies together, growing arrays, checked sizes. */
#ifndef FLOW_BASE_MEMORY_H
#define FLOW_BASE_MEMORY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_use __attribute__((warn_unused_result))
#define printf_like(text, first) __attribute__((format(__printf__, text, first)))

/* Where memory comes from. resize(context, NULL, 0, n) allocates, resize(context, p, n, 0) frees and returns NULL; blocks are
 * aligned for any scalar. Thread-safe. memory_default uses the C library. */
struct allocator {
    void *context;
    void *(*resize)(void *context, void *block, size_t old_size, size_t new_size);
};
extern const struct allocator memory_default;

void *memory_new(const struct allocator *from, size_t size);                 /* zeroed; NULL when there is none */
void *memory_array(const struct allocator *from, size_t count, size_t size); /* the same, count*size checked */
void memory_free(const struct allocator *from, void *block, size_t size);    /* NULL is legal */

/* Makes room for `need` elements in an array of `*capacity`, doubling; negative on failure, the array then as it was. */
int must_use memory_grow(const struct allocator *from, void **at, size_t *capacity, size_t need, size_t element);

/* An arena: allocations are zeroed, 16-byte aligned, freed together. After init no call is needed before arena_free. */
struct arena {
    const struct allocator *from;
    struct arena_block *blocks;
    size_t used;
};
void arena_init(struct arena *arena, const struct allocator *from);
void arena_free(struct arena *arena);
void *arena_new(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t size);
void *arena_copy(struct arena *arena, const void *from, size_t size);
char *arena_text(struct arena *arena, const char *text); /* a copy; NULL gives NULL */
char *arena_text_n(struct arena *arena, const char *text, size_t length);
char *arena_format(struct arena *arena, const char *format, ...) printf_like(2, 3);

/* Sizes: false on overflow. */
static inline bool size_add(int64_t a, int64_t b, int64_t *sum) { return !__builtin_add_overflow(a, b, sum); }
static inline bool size_multiply(int64_t a, int64_t b, int64_t *product) { return !__builtin_mul_overflow(a, b, product); }
static inline int64_t size_align(int64_t size, int64_t to) { return (size + to - 1) / to * to; }

#endif
