/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/extents.h"

#include <stdio.h>
#include <string.h>

void extents_none(struct flow_tensor *tensor) { *tensor = (struct flow_tensor){.rank = -1}; }

bool extents_equal(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

bool extents_same(const struct flow_tensor *a, const struct flow_tensor *b) { return a->dtype == b->dtype && extents_equal(a, b); }

/* Empty axes count as one, so that strides stay within bounds whatever stands
 * beside them. */
static bool bytes_fit(const struct flow_tensor *tensor) {
    int64_t bytes = dtype_bytes(tensor->dtype);
    if (tensor->rank < 0 || tensor->rank > FLOW_RANK_MAX || bytes <= 0) return false;
    for (int32_t i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0) return false;
        if (!size_multiply(bytes, tensor->shape[i] ? tensor->shape[i] : 1, &bytes)) return false;
    }
    return bytes <= INT64_MAX - 4096; /* room for alignment */
}

bool extents_contiguous(struct flow_tensor *tensor) {
    if (!bytes_fit(tensor)) return false;
    int64_t stride = 1;
    for (int32_t i = tensor->rank; i-- > 0;) {
        tensor->strides[i] = stride;
        stride *= tensor->shape[i] ? tensor->shape[i] : 1;
    }
    return true;
}

bool extents_count(const struct flow_tensor *tensor, int64_t *count) {
    *count = 0;
    if (!bytes_fit(tensor)) return false;
    *count = 1;
    for (int32_t i = 0; i < tensor->rank; i++) *count *= tensor->shape[i];
    return true;
}

const char *extents_text(char *buffer, int32_t dtype, const struct flow_tensor *tensor) {
    size_t used = 0;
    if (tensor->rank < 0) {
        snprintf(buffer, EXTENTS_TEXT, "nothing");
        return buffer;
    }
    if (dtype >= 0) used = (size_t)snprintf(buffer, EXTENTS_TEXT, "%s ", dtype_name(dtype));
    used += (size_t)snprintf(buffer + used, EXTENTS_TEXT - used, "[");
    for (int32_t i = 0; i < tensor->rank && i < FLOW_RANK_MAX; i++)
        used += (size_t)snprintf(buffer + used, EXTENTS_TEXT - used, i ? ", %lld" : "%lld", (long long)tensor->shape[i]);
    snprintf(buffer + used, EXTENTS_TEXT - used, "]");
    return buffer;
}

const char *extents_types(char *buffer, uint32_t types) {
    size_t used = 0;
    buffer[0] = 0;
    for (int32_t type = 0; type < FLOW_TYPE_COUNT; type++) {
        if (!(types >> type & 1u)) continue;
        bool last = (types & FLOW_TYPES_ANY) >> type == 1u;
        used += (size_t)snprintf(buffer + used, EXTENTS_TEXT - used, "%s%s", used == 0 ? "" : last ? " or " : ", ", dtype_name(type));
    }
    return buffer;
}
