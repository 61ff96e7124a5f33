/* SPDX-License-Identifier: Apache-2.0 */
#include "index/check.h"

#include "common/shape.h"

int index_check(const struct flow_call *call, const struct flow_tensor *index, const char *name, int64_t extent) {
    const int64_t *at = index->data;
    int64_t count = shape_count(index), wrong = 0;
    for (int64_t i = 0; i < count; i++) wrong |= (uint64_t)at[i] >= (uint64_t)extent;
    if (!wrong) return FLOW_OK;
    int64_t i = 0;
    while ((uint64_t)at[i] < (uint64_t)extent) i++;
    struct flow_tensor position = {.rank = index->rank};
    for (int64_t rest = i, axis = index->rank - 1; axis >= 0; axis--)
        position.shape[axis] = rest % index->shape[axis], rest /= index->shape[axis];
    char text[SHAPE_TEXT];
    return call->host->fail(call->owner, FLOW_ERROR_RANGE, "%s%s is %lld, outside [0, %lld)", name,
                            index->rank ? shape_text(&position, text) : "", (long long)at[i], (long long)extent);
}
