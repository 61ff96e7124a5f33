# SPDX-License-Identifier: Apache-2.0
# What Debian wants in each package besides: its terms under share/doc/PACKAGE, manual pages compressed.
foreach(component RUNTIME DEV TOOLS)
  string(TOLOWER ${component} folder)
  set(share ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${folder}/usr/share)
  file(WRITE ${share}/doc/${CPACK_DEBIAN_${component}_PACKAGE_NAME}/copyright
"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: libflow

Files: *
Copyright: libflow developers
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
")
  if(component STREQUAL "TOOLS")
    file(READ ${CMAKE_CURRENT_LIST_DIR}/../../docs/NOTICE notice)
    string(REGEX REPLACE "\n\n" "\n.\n" notice "${notice}")
    string(REGEX REPLACE "\n([^\n])" "\n \\1" notice "${notice}")
    file(APPEND ${share}/doc/${CPACK_DEBIAN_TOOLS_PACKAGE_NAME}/copyright "\nComment:\n ${notice}")
  endif()
  file(GLOB pages ${share}/man/man1/*.1)
  foreach(page ${pages})
    execute_process(COMMAND gzip -9n ${page})
  endforeach()
endforeach()
