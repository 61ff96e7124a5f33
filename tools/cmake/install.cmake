# SPDX-License-Identifier: Apache-2.0
# `cmake --install`: what goes where. Folders are GNUInstallDirs' (lib/x86_64-linux-gnu under /usr on Debian, lib64 elsewhere); nothing
# installed names the prefix except as a last resort, so that the tree may be moved. Components: runtime (library, plugins), tools
# (flowrun, graphs, manuals), dev (headers, links, libflow.a, pkg-config, CMake); packages are made of them (package.cmake).
include(CMakePackageConfigHelpers)
set(FLOW_PLUGIN_FOLDER ${CMAKE_INSTALL_LIBDIR}/flow/plugins)
set(FLOW_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/flow)

install(TARGETS flow
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime
          NAMELINK_COMPONENT dev)
set(INSTALLED_PLUGINS ${PLUGIN_TARGETS})
list(REMOVE_ITEM INSTALLED_PLUGINS plugin_template) # to copy, not to use
install(TARGETS ${INSTALLED_PLUGINS} LIBRARY DESTINATION ${FLOW_PLUGIN_FOLDER} COMPONENT runtime)
if(FLOW_CUDA)
  install(TARGETS device_cuda LIBRARY DESTINATION ${FLOW_PLUGIN_FOLDER}/device COMPONENT runtime)
endif()
install(TARGETS flowrun RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
install(FILES ${FLOW_STATIC_INSTALLED} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(DIRECTORY runtime/include/flow DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev FILES_MATCHING PATTERN "*.h")

# ---- For those who build against it ----
# Paths in flow.pc are relative to its own place, so that it may be moved with the rest.
file(RELATIVE_PATH FLOW_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" FLOW_PC_TO_PREFIX ${FLOW_PC_TO_PREFIX})
configure_file(tools/cmake/flow.pc.in ${CMAKE_BINARY_DIR}/generated/flow.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/flow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

set(FLOW_SHARED_FILE ${CMAKE_INSTALL_LIBDIR}/libflow.so.${PROJECT_VERSION})
set(FLOW_STATIC_FILE ${CMAKE_INSTALL_LIBDIR}/libflow.a)
set(FLOW_FLOWRUN_FILE ${CMAKE_INSTALL_BINDIR}/flowrun)
configure_package_config_file(tools/cmake/flowConfig.cmake.in ${CMAKE_BINARY_DIR}/generated/flowConfig.cmake
  INSTALL_DESTINATION ${FLOW_CMAKE_FOLDER}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR FLOW_SHARED_FILE FLOW_STATIC_FILE FLOW_PLUGIN_FOLDER FLOW_FLOWRUN_FILE NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may change what an application relies on.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/flowConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/flowConfig.cmake ${CMAKE_BINARY_DIR}/generated/flowConfigVersion.cmake
  DESTINATION ${FLOW_CMAKE_FOLDER} COMPONENT dev)

# ---- Graphs with weights that are small enough to come along, guides, licence ----
foreach(graph silero-vad fsmn-vad stories260k char-lm)
  install(DIRECTORY graphs/${graph} DESTINATION ${CMAKE_INSTALL_DATADIR}/flow/graphs COMPONENT tools)
endforeach()
install(FILES docs/examples/smooth.yaml DESTINATION ${CMAKE_INSTALL_DATADIR}/flow/graphs COMPONENT tools)
install(FILES README.md LICENSE docs/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT tools)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev FILES_MATCHING PATTERN "*.md" PATTERN "*.c" PATTERN "*.yaml")

# ---- Manual pages and completion, from flowrun itself ----
if(TARGET manuals)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/manuals/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT tools)
  install(FILES ${CMAKE_BINARY_DIR}/manuals/completion/flowrun DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT tools)
  install(FILES ${CMAKE_BINARY_DIR}/manuals/completion/_flowrun DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT tools)
  install(FILES ${CMAKE_BINARY_DIR}/manuals/completion/flowrun.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT tools)
endif()

include(tools/cmake/package.cmake)
