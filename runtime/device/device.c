/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device.h"

#include <string.h>

int device_put(struct device *device, void *to, const void *from, int64_t bytes) {
    if (bytes <= 0) return FLOW_OK;
    if (device->api->apart) return device->api->put(device, to, from, bytes);
    memcpy(to, from, (size_t)bytes);
    return FLOW_OK;
}

int device_get(struct device *device, void *to, const void *from, int64_t bytes) {
    if (bytes <= 0) return FLOW_OK;
    if (device->api->apart) return device->api->get(device, to, from, bytes);
    memcpy(to, from, (size_t)bytes);
    return FLOW_OK;
}
