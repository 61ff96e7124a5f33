# SPDX-License-Identifier: Apache-2.0
# The emulation itself and the products on it: linked in, not opened, so that tests reach both.
file(GLOB CUDA_TEST_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cu)
file(GLOB CUDA_TEST_EMULATION CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda_emulation/*.cc)
set(CUDA_TEST_DEVICE ${CMAKE_SOURCE_DIR}/runtime/device/cuda/gemm.cu)
set_source_files_properties(${CUDA_TEST_KERNELS} ${CUDA_TEST_DEVICE} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas;-Wno-extra")
target_sources(test_cuda PRIVATE ${CUDA_TEST_KERNELS} ${CUDA_TEST_DEVICE} ${CUDA_TEST_EMULATION}
  ${CMAKE_SOURCE_DIR}/runtime/device/cuda/blas.c ${CMAKE_SOURCE_DIR}/runtime/device/cuda/blas_lt.c)
target_compile_definitions(test_cuda PRIVATE FLOW_CUDA_EMULATION=1)
set_target_properties(test_cuda PROPERTIES CXX_STANDARD 17 LINKER_LANGUAGE CXX)
