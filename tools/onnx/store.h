/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and text of one import. All of it lies in one store that is freed at once; where memory runs out, or more is asked for than the
 * model's size justifies, the import is left by longjmp: nothing below checks an allocation. */
#ifndef TOOLS_ONNX_STORE_H
#define TOOLS_ONNX_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_block;

struct store {
    struct store_block *blocks;
    size_t used, limit; /* bytes */
    jmp_buf full;       /* where to go when there is no more */
};

void *store_take(struct store *store, size_t count, size_t size); /* zeroed */
void store_free(struct store *store);
char *store_text(struct store *store, const char *text);
char *store_format(struct store *store, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
char *store_vformat(struct store *store, const char *format, va_list arguments);

/* An array that grows: `at` may move. Returns the new last entry, zeroed. */
#define STORE_PUSH(store, list) \
    (store_grow((store), (void **)&(list).at, &(list).count, &(list).room, sizeof *(list).at), &(list).at[(list).count - 1])
void store_grow(struct store *store, void **at, size_t *count, size_t *room, size_t size);

struct words {
    const char **at;
    size_t count, room;
};

/* A text that grows. */
struct text {
    char *at;
    size_t count, room;
};
void text_add(struct store *store, struct text *text, const char *format, ...) __attribute__((format(__printf__, 3, 4)));

/* From names to pointers. */
struct names {
    struct names_entry {
        const char *name;
        void *value;
    } * at;
    size_t count, room;
};
void *names_find(const struct names *names, const char *name);
void names_set(struct store *store, struct names *names, const char *name, void *value);

#endif
