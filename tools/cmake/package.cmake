# SPDX-License-Identifier: Apache-2.0
# Packages, by `cpack` in a build folder: Debian's libflow0, libflow-dev and flowrun (-G DEB), and one archive of all (-G TGZ) that runs from
# wherever it is unpacked. For Debian configure with -DCMAKE_INSTALL_PREFIX=/usr (the preset `package`): libraries then lie in
# lib/ARCHITECTURE.
set(CPACK_PACKAGE_NAME flow)
set(CPACK_PACKAGE_VENDOR "libflow developers")
set(CPACK_PACKAGE_CONTACT "libflow developers <libflow@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "dataflow graphs of sequence and memory networks")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
string(TOLOWER "${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}" system)
set(CPACK_PACKAGE_FILE_NAME flow-${PROJECT_VERSION}-${system})
set(CPACK_GENERATOR "TGZ;DEB")
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime dev tools)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_SOURCE_DIR}/tools/cmake/package-each.cmake)

# ---- Debian ----
set(soname ${PROJECT_VERSION_MAJOR})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE flow)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}) # flowrun's own library: in no package yet
set(whole "${PROJECT_VERSION}-1")
set(about "A graph is one YAML file; the runtime checks it, plans all memory ahead and runs or trains it, whole or as a stream.\nOperators may be added as plugins.")

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libflow${soname})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "runtime of dataflow graphs, the library\n${about}\n\nThis package holds the shared library and the plugins that come with it.")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libflow-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libflow${soname} (= ${whole}), libuv1-dev, libyaml-dev")
set(CPACK_DEBIAN_DEV_DESCRIPTION "runtime of dataflow graphs, for development\n${about}\n\nThis package holds the headers, the static library, guides and examples.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME flowrun)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libflow${soname} (= ${whole})")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "runtime of dataflow graphs, the command\n${about}\n\nThis package holds the command flowrun and example graphs with their weights.")

# ldconfig runs once the library is in place.
file(WRITE ${CMAKE_BINARY_DIR}/generated/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/generated/triggers)
include(CPack)
