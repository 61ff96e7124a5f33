/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/collect.h"

#include "flowrun/command.h"

#include <stdlib.h>
#include <string.h>

void tensor_pack(const struct flow_tensor *tensor, void *bytes) {
    int64_t count = flow_tensor_count(tensor), size = flow_type_bytes(tensor->dtype);
    for (int64_t i = 0; i < count; i++) {
        int64_t offset = 0, rest = i;
        for (int32_t axis = tensor->rank - 1; axis >= 0; axis--) {
            offset += rest % tensor->shape[axis] * tensor->strides[axis];
            rest /= tensor->shape[axis];
        }
        memcpy((char *)bytes + i * size, (const char *)tensor->data + offset * size, (size_t)size);
    }
}

int collect_add(struct collect *collect, const struct flow_tensor *piece, int32_t axis) {
    size_t bytes = (size_t)(flow_tensor_count(piece) * flow_type_bytes(piece->dtype));
    if (axis < 0) collect->used = 0, collect->count = 0;
    collect->axis = axis;
    if (collect->used + bytes > collect->room) {
        size_t room = 2 * collect->room > collect->used + bytes ? 2 * collect->room : collect->used + bytes;
        unsigned char *grown = realloc(collect->bytes, room);
        if (!grown) return command_say(EXIT_FAILED, "out of memory");
        collect->bytes = grown, collect->room = room;
    }
    if ((collect->count & (collect->count - 1)) == 0) {
        int64_t *extents = realloc(collect->extents, (collect->count ? 2 * collect->count : 1) * sizeof *extents);
        if (!extents) return command_say(EXIT_FAILED, "out of memory");
        collect->extents = extents;
    }
    collect->extents[collect->count++] = axis >= 0 ? piece->shape[axis] : 0;
    if (bytes) tensor_pack(piece, collect->bytes + collect->used);
    collect->used += bytes;
    collect->last = *piece;
    return 0;
}

int collect_join(const struct collect *collect, struct flow_tensor *out) {
    struct flow_tensor whole = collect->last;
    int32_t axis = collect->axis;
    int64_t total = 0, outer = 1, inner = flow_type_bytes(whole.dtype);
    for (size_t i = 0; axis >= 0 && i < collect->count; i++) total += collect->extents[i];
    if (axis >= 0) whole.shape[axis] = total;
    for (int32_t i = 0; i < axis; i++) outer *= whole.shape[i];
    for (int32_t i = axis + 1; axis >= 0 && i < whole.rank; i++) inner *= whole.shape[i];
    unsigned char *bytes = malloc(collect->used ? collect->used : 1);
    if (!bytes) return command_say(EXIT_FAILED, "out of memory");
    if (axis < 0) {
        if (collect->used) memcpy(bytes, collect->bytes, collect->used);
    } else {
        const unsigned char *from = collect->bytes;
        int64_t done = 0;
        for (size_t i = 0; i < collect->count; i++) {
            int64_t run = collect->extents[i] * inner;
            for (int64_t row = 0; row < outer && run; row++, from += run) memcpy(bytes + (row * total + done) * inner, from, (size_t)run);
            done += collect->extents[i];
        }
    }
    *out = flow_tensor_of(bytes, whole.dtype, whole.rank, whole.shape);
    return 0;
}

void collect_free(struct collect *collect) {
    free(collect->bytes);
    free(collect->extents);
}
