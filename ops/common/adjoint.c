/* SPDX-License-Identifier: Apache-2.0 */
#include "common/adjoint.h"

#include <string.h>

enum { PIECE = 64 * 1024, LARGE = 512 * 1024 }; /* bytes: 30 us are worth about half a megabyte */

static void zero_piece(void *context, int64_t begin, int64_t end) { memset((char *)context + begin, 0, (size_t)(end - begin)); }

void adjoint_zero(const struct flow_call *call, const struct flow_tensor *to, bool add) {
    if (to->rank < 0 || add) return;
    int64_t bytes = shape_count(to) * shape_type_bytes(to->dtype);
    if (bytes == 0) return;
    if (bytes < LARGE || call->host->threads < 2) zero_piece(to->data, 0, bytes);
    else call->host->parallel_for(call, bytes, 4 * PIECE, zero_piece, to->data);
}

/* Both sides after joining axes. */
struct adding {
    const struct adjoint_table *table;
    const char *from;
    char *to;
    int64_t bytes;
    int32_t rank;
    int64_t extent[FLOW_RANK_MAX], source[FLOW_RANK_MAX], target[FLOW_RANK_MAX];
};

static void add_line(const struct adding *a, const char *from, char *to) {
    int32_t last = a->rank - 1;
    int64_t n = a->extent[last], source = a->source[last], target = a->target[last];
    if (source == 1 && target == 1) adjoint_add(a->table, a->bytes, from, to, n);
    else if (a->bytes == 8)
        for (int64_t i = 0; i < n; i++) ((double *)(void *)to)[i * target] += ((const double *)(const void *)from)[i * source];
    else
        for (int64_t i = 0; i < n; i++) ((float *)(void *)to)[i * target] += ((const float *)(const void *)from)[i * source];
}

static void add_rows(void *context, int64_t begin, int64_t end) {
    const struct adding *a = context;
    for (int64_t row = begin; row < end; row++) {
        int64_t source = 0, target = 0;
        for (int64_t rest = row, axis = a->rank - 2; axis >= 0; axis--) {
            int64_t index = rest % a->extent[axis];
            rest /= a->extent[axis];
            source += index * a->source[axis], target += index * a->target[axis];
        }
        add_line(a, a->from + source * a->bytes, a->to + target * a->bytes);
    }
}

/* Adjacent elements on both sides, cut anywhere. */
static void add_flat(void *context, int64_t begin, int64_t end) {
    const struct adding *a = context;
    adjoint_add(a->table, a->bytes, a->from + begin * a->bytes, a->to + begin * a->bytes, end - begin);
}

void adjoint_move(const struct flow_call *call, int32_t rank, const int64_t *shape, int32_t dtype, const void *from,
                  const int64_t *from_strides, void *to, const int64_t *to_strides, bool add) {
    struct adding a = {.table = ISA_PICK(adjoint_table, call->host->isa), .from = from, .to = to, .bytes = shape_type_bytes(dtype)};
    int64_t count = 1;
    if (!add) {
        shape_copy(call, rank, shape, a.bytes, from, from_strides, to, to_strides);
        return;
    }
    for (int32_t axis = 0; axis < rank; axis++) {
        count *= shape[axis];
        if (shape[axis] == 1) continue;
        int32_t last = a.rank - 1;
        bool joins = last >= 0 && a.source[last] == from_strides[axis] * shape[axis] && a.target[last] == to_strides[axis] * shape[axis];
        if (!joins) a.extent[a.rank++] = 1;
        last = a.rank - 1;
        a.extent[last] *= shape[axis], a.source[last] = from_strides[axis], a.target[last] = to_strides[axis];
    }
    if (count == 0) return;
    if (a.rank == 0) a.rank = 1, a.extent[0] = 1, a.source[0] = a.target[0] = 1;
    int64_t width = a.extent[a.rank - 1], rows = count / width;
    bool flat = a.rank == 1 && a.source[0] == 1 && a.target[0] == 1, many = count * a.bytes >= LARGE && call->host->threads > 1;
    if (flat && many) call->host->parallel_for(call, count, PIECE, add_flat, &a);
    else if (rows > 1 && many) call->host->parallel_for(call, rows, PIECE / (width * a.bytes) + 1, add_rows, &a);
    else add_rows(&a, 0, rows);
}

void adjoint_pass(const struct flow_call *call, const struct flow_tensor *from, const struct flow_tensor *to, bool add) {
    if (to->rank < 0 || (from->data == to->data && !add)) return;
    adjoint_move(call, to->rank, to->shape, to->dtype, from->data, from->strides, to->data, to->strides, add);
}
