/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elementwise maps of one to three inputs under NumPy's broadcasting and any strides, onto a row-major output. infer sorts the case
 * out once (map_plan); a call then hands stretches to a kernel that knows two things only: adjacent elements, and one value
 * for the whole stretch.
 *   FLAT    inputs are laid out like the output, or are one value: one stretch
 *   ROWS    so it is along the last (joined) axis: a stretch a row
 *   STAGED  anything else: what does not lie like the output is first gathered into a buffer, block by block; what repeats from block
 *           to block (a short row under many rows) is gathered once
 */
#ifndef OPS_COMMON_MAP_H
#define OPS_COMMON_MAP_H

#include <flow/plugin.h>

enum { MAP_INPUTS = 3 };
enum { MAP_FLAT, MAP_ROWS, MAP_STAGED };

struct map {
    int32_t mode;
    int32_t inputs;
    int32_t rank;      /* after joining axes */
    uint32_t single;   /* FLAT, ROWS: bit i: input i is one value in a stretch */
    int64_t count;     /* elements of the output */
    int64_t serial;    /* FLAT: so many elements or fewer are done at once, in one call of the kernel */
    int64_t grain;     /* elements a piece for parallel_for */
    int64_t out_bytes; /* of an element */
    int64_t bytes[MAP_INPUTS];
    int64_t extent[FLOW_RANK_MAX];
    int64_t stride[MAP_INPUTS][FLOW_RANK_MAX];
};

/* n outputs from n elements (or one value, where its bit is set in `single`; never all of them) of each input. out may be an input's
 * memory. Returns -1, or the index of an element that has no result. [run, concurrent] */
typedef int64_t (*map_kernel)(const void *context, const void *const *in, void *out, int64_t n, uint32_t single);

/* in[0 .. inputs) broadcast to out. `cost`: of an element, in ns. */
void map_plan(struct map *map, const struct flow_tensor *out, const struct flow_tensor *const *in, int32_t inputs, double cost);

/* As map_run, for what is not one stretch. */
int64_t map_run_any(const struct map *map, const struct flow_call *call, map_kernel kernel, const void *context, const void *const *in,
                    void *out);

/* Returns -1, or the least index of an output element that has no result. */
static inline int64_t map_run(const struct map *map, const struct flow_call *call, map_kernel kernel, const void *context,
                              const void *const *in, void *out) {
    if (map->count <= map->serial) return kernel(context, in, out, map->count, map->single);
    return map_run_any(map, call, kernel, context, in, out);
}

#endif
