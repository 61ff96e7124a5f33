# SPDX-License-Identifier: Apache-2.0
# The long form of test_hostile.c: fuzz_graphs SEED SECONDS FOLDER. Built when asked for, with sanitizers to be of use.
add_executable(fuzz_graphs EXCLUDE_FROM_ALL ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/graphs.c)
target_include_directories(fuzz_graphs PRIVATE ${CMAKE_SOURCE_DIR}/runtime/include ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(fuzz_graphs PRIVATE flow_static m)
target_compile_definitions(fuzz_graphs PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}" BUILD_DIR="${CMAKE_BINARY_DIR}")
if(PLUGIN_TARGETS)
  add_dependencies(fuzz_graphs ${PLUGIN_TARGETS})
endif()
