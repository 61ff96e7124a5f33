/* SPDX-License-Identifier: Apache-2.0 */
/* FSMN in vectors, once for each instruction set. Registers: TILE sums, CHUNK taps and a row of 32 (AVX-512) or 16. */
#include "fsmn.h"

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, TILE = 12, CHUNK = 8, COLUMNS = 8, STAGE_ROWS = 20480 / VECTOR_BYTES, CACHE_BYTES = 1 << 19 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, TILE = 8, CHUNK = 4, COLUMNS = 8, STAGE_ROWS = 20480 / VECTOR_BYTES, CACHE_BYTES = 1 << 19 };
#else
enum { VECTOR_BYTES = 16, TILE = 8, CHUNK = 4, COLUMNS = 8, STAGE_ROWS = 20480 / VECTOR_BYTES, CACHE_BYTES = 1 << 19 };
#endif

typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double vector_f64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

#define REAL float
#define VEC vector_f32
#define WIDTH (VECTOR_BYTES / 4)
#define FSMN_TILE tile_f32
#define FSMN_AT at_f32
#define FSMN_COLUMNS columns_f32
#define FSMN_ROW row_f32
#define FSMN_NARROW narrow_f32
#define FSMN_TILES tiles_f32
#define FSMN_ROWS rows_f32
#define FSMN_TAKE take_f32
#define FSMN_PRODUCTS products_f32
#define FSMN_ADD add_f32
#include "fsmn_tmpl.h"
#undef REAL
#undef VEC
#undef WIDTH
#undef FSMN_TILE
#undef FSMN_AT
#undef FSMN_COLUMNS
#undef FSMN_ROW
#undef FSMN_NARROW
#undef FSMN_TILES
#undef FSMN_ROWS
#undef FSMN_TAKE
#undef FSMN_PRODUCTS
#undef FSMN_ADD

#define REAL double
#define VEC vector_f64
#define WIDTH (VECTOR_BYTES / 8)
#define FSMN_TILE tile_f64
#define FSMN_AT at_f64
#define FSMN_COLUMNS columns_f64
#define FSMN_ROW row_f64
#define FSMN_NARROW narrow_f64
#define FSMN_TILES tiles_f64
#define FSMN_ROWS rows_f64
#define FSMN_TAKE take_f64
#define FSMN_PRODUCTS products_f64
#define FSMN_ADD add_f64
#include "fsmn_tmpl.h"

const struct fsmn_functions ISA(fsmn_functions) = {VECTOR_BYTES / 4, VECTOR_BYTES / 8, TILE,    rows_f32, rows_f64,
                                                   products_f32,     products_f64,     add_f32, add_f64};
