/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's runtime, or in its place the emulation that tests run on. */
#ifndef FLOW_DEVICE_CUDA_API_H
#define FLOW_DEVICE_CUDA_API_H

#ifdef FLOW_CUDA_EMULATION
#include "cuda_emulation/api.h"
#else
#include <cuda_runtime_api.h>
#endif

#endif
