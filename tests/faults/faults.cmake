# SPDX-License-Identifier: Apache-2.0
# What sweep.py loads before flowrun. Sanitizers have allocators of their own: not there.
if(NOT FLOW_SANITIZE)
  add_library(faults_shim MODULE faults/shim/shim.c)
  target_compile_options(faults_shim PRIVATE -O1 -fvisibility=default -Wno-missing-prototypes -Wno-pedantic)
  target_link_libraries(faults_shim PRIVATE ${CMAKE_DL_LIBS})
  set_target_properties(faults_shim PROPERTIES PREFIX "" OUTPUT_NAME faults_shim LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
