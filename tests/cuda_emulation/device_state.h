/* SPDX-License-Identifier: Apache-2.0 */
/* The emulated device: one a process, as the real one's context is. */
#ifndef CUDA_EMULATION_DEVICE_STATE_H
#define CUDA_EMULATION_DEVICE_STATE_H

#include <map>
#include <mutex>
#include <string>

#include "api.h"
#include "hooks.h"

namespace cuda_emulation {

enum class place { device, pinned, registered };
struct block_of_memory {
    size_t bytes;
    place where;
};

struct memory_table {
    std::mutex lock;
    std::map<uintptr_t, block_of_memory> blocks; /* by first byte */
    size_t used = 0;                             /* bytes of device memory */
    int64_t limit = 0, fail = 0, allocations = 0;
};
memory_table &memory();

cudaError_t memory_new(void **out, size_t bytes, place where);
cudaError_t memory_free(void *at, place where);
bool memory_find(const void *at, block_of_memory *found, uintptr_t *first); /* the block that holds this address */
bool memory_device(const void *at, size_t bytes);                           /* all of it lies in one block of the device */

cudaError_t tell(cudaError_t error); /* keeps it for cudaGetLastError; returns it */

} // namespace cuda_emulation

#endif
