/* SPDX-License-Identifier: Apache-2.0 */
/* Extents of tensors while a model is read: whole numbers, or sums of multiples of symbols ("2*T + 1"), or not known. */
#ifndef TOOLS_ONNX_EXTENT_H
#define TOOLS_ONNX_EXTENT_H

#include "onnx/store.h"

enum { EXTENT_TERMS = 4, EXTENT_LETTERS = 160 };

struct extent {
    bool unknown;
    int32_t terms;
    int64_t plus;
    struct {
        int64_t times;
        const char *of; /* a symbol, a product "a*b" or an expression in parentheses; in order of strcmp, each once */
    } at[EXTENT_TERMS];
};

struct extent extent_of(int64_t number);
struct extent extent_symbol(const char *name);
extern const struct extent extent_unknown;
bool extent_is(const struct extent *a, int64_t number);
bool extent_number(const struct extent *a, int64_t *number);      /* false: it holds symbols, or is not known */
bool extent_same(const struct extent *a, const struct extent *b); /* not known is the same as nothing */
struct extent extent_add(const struct extent *a, const struct extent *b, int64_t sign);
struct extent extent_times(struct store *store, const struct extent *a, const struct extent *b);
struct extent extent_over(struct store *store, const struct extent *a, const struct extent *b); /* rounded down */
struct extent extent_rest(struct store *store, const struct extent *a, const struct extent *b); /* of b's sign */
/* As the graph language writes it. */
const char *extent_text(struct store *store, const struct extent *a);

#endif
