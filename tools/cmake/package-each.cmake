# SPDX-License-Identifier: Apache-2.0
# Read by cpack once for each kind of package: what only that kind needs.
if(CPACK_GENERATOR STREQUAL "DEB")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/package-debian.cmake)
endif()
