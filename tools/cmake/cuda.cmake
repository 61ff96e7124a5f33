# SPDX-License-Identifier: Apache-2.0
# The CUDA device: one object, plugins/device/cuda.so, that the runtime opens when it is asked for: the device (runtime/device/cuda) and the
# kernels of all operators (ops/*/*.cu, plugins/*/*.cu; their tables in kernels_cuda.h beside them). By nvcc; or, for tests, as C++ on the
# emulation in tests/cuda_emulation.
option(FLOW_CUDA "Build the CUDA device (needs nvcc)" OFF)
option(FLOW_CUDA_EMULATION "Build `--device cuda` as an emulation on the CPU: for tests" OFF)
set(FLOW_CUDA_ARCHITECTURES 80-real 90-real 100 CACHE STRING "What machine code is made for; the last also as PTX, for what comes later")
set(FLOW_CUDA_FOLDERS "" CACHE STRING "Kernels of these folders alone (ops/reduce;plugins/fsmn); empty: all")
if(NOT FLOW_CUDA AND NOT FLOW_CUDA_EMULATION)
  return()
endif()

file(GLOB CUDA_HOST_SOURCES CONFIGURE_DEPENDS runtime/device/cuda/*.c)
list(APPEND CUDA_HOST_SOURCES runtime/base/memory.c) # the library exports none of its own: what is needed of it is in the object, too
file(GLOB CUDA_KERNEL_SOURCES CONFIGURE_DEPENDS runtime/device/cuda/*.cu ops/common/*.cu)
file(GLOB CUDA_FOLDERS CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ops/*/kernels_cuda.h plugins/*/kernels_cuda.h)
list(TRANSFORM CUDA_FOLDERS REPLACE "/kernels_cuda.h$" "")
if(FLOW_CUDA_FOLDERS)
  set(CUDA_FOLDERS ${FLOW_CUDA_FOLDERS})
endif()
set(CUDA_INCLUDES "")
set(CUDA_ROWS "")
set(CUDA_OPTIMIZER_ROWS "")
foreach(folder ${CUDA_FOLDERS})
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cu)
  list(APPEND CUDA_KERNEL_SOURCES ${sources})
  string(APPEND CUDA_INCLUDES "#include \"${CMAKE_SOURCE_DIR}/${folder}/kernels_cuda.h\"\n")
  get_filename_component(name ${folder} NAME)
  string(TOUPPER ${name} name)
  if(folder STREQUAL "ops/optimizer")
    string(APPEND CUDA_OPTIMIZER_ROWS "    CUDA_KERNELS_${name}\n")
  else()
    string(APPEND CUDA_ROWS "    CUDA_KERNELS_${name}\n")
  endif()
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/cuda_kernels.c @ONLY CONTENT
"/* Generated from the kernels_cuda.h of all folders. */
#include \"device/cuda/kernels.h\"
@CUDA_INCLUDES@
const struct flow_kernel cuda_kernels[] = {
@CUDA_ROWS@    {.op = NULL}};
const uint32_t cuda_kernel_count = sizeof cuda_kernels / sizeof cuda_kernels[0] - 1;
const struct flow_optimizer_kernel cuda_optimizer_kernels[] = {
@CUDA_OPTIMIZER_ROWS@    {.optimizer = NULL}};
const uint32_t cuda_optimizer_kernel_count = sizeof cuda_optimizer_kernels / sizeof cuda_optimizer_kernels[0] - 1;
")

add_library(device_cuda MODULE ${CUDA_HOST_SOURCES} ${CUDA_KERNEL_SOURCES} ${CMAKE_BINARY_DIR}/generated/cuda_kernels.c)
target_include_directories(device_cuda PRIVATE runtime/include runtime ops .)
target_link_libraries(device_cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS} m)
set_target_properties(device_cuda PROPERTIES PREFIX "" OUTPUT_NAME cuda LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins/device)
if(NOT FLOW_SANITIZE)
  target_link_options(device_cuda PRIVATE -Wl,--no-undefined)
endif()
if(FLOW_CUDA_EMULATION)
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 17)
  if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
    set_target_properties(device_cuda PROPERTIES CXX_COMPILER_LAUNCHER ${CCACHE})
  endif()
  set_source_files_properties(${CUDA_KERNEL_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas;-Wno-extra")
  file(GLOB sources CONFIGURE_DEPENDS tests/cuda_emulation/*.cc)
  target_sources(device_cuda PRIVATE ${sources})
  target_include_directories(device_cuda PRIVATE tests)
  target_compile_definitions(device_cuda PRIVATE FLOW_CUDA_EMULATION=1)
  set_target_properties(device_cuda PROPERTIES CXX_STANDARD 17 CXX_VISIBILITY_PRESET hidden LINKER_LANGUAGE CXX)
  message(STATUS "CUDA: emulated on the CPU, for tests")
else()
  enable_language(CUDA)
  if(CCACHE)
    set_target_properties(device_cuda PROPERTIES CUDA_COMPILER_LAUNCHER ${CCACHE})
  endif()
  set_target_properties(device_cuda PROPERTIES CUDA_STANDARD 17 CUDA_ARCHITECTURES "${FLOW_CUDA_ARCHITECTURES}" CUDA_VISIBILITY_PRESET hidden
                        CUDA_RUNTIME_LIBRARY Static LINKER_LANGUAGE CUDA)
  target_include_directories(device_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(device_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow,-Werror>")
endif()
