/* SPDX-License-Identifier: Apache-2.0 */
#include "base/element.h"
#include "embed/embed.h"

struct flow_tensor flow_tensor_of(void *data, int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor tensor = {.data = data, .dtype = dtype, .device = FLOW_DEVICE_CPU, .rank = rank};
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        tensor.shape[i] = shape[i], tensor.strides[i] = stride;
        stride *= shape[i];
    }
    return tensor;
}

int64_t flow_tensor_count(const struct flow_tensor *tensor) {
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return tensor->rank < 0 ? 0 : count;
}

const char *flow_type_name(int32_t dtype) { return dtype_name(dtype); }
int64_t flow_type_bytes(int32_t dtype) { return dtype_bytes(dtype); }

double flow_tensor_real(const struct flow_tensor *tensor, int64_t index) {
    int64_t offset = 0;
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        offset += index % tensor->shape[i] * tensor->strides[i];
        index /= tensor->shape[i];
    }
    return element_read(tensor->data, tensor->dtype, offset);
}
