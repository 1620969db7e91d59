# `cpack -G DEB` in a build folder makes portolan_VERSION_ARCHITECTURE.deb for Debian 12, of what was built there:
# natively, or by cross/toolchain.cmake. What is only known when it packs is in pack.cmake; what a package has beside
# what `cmake --install` installs comes with stage.cmake.
set(CPACK_GENERATOR DEB)
set(CPACK_SOURCE_GENERATOR)
set(CPACK_PACKAGE_NAME portolan)
set(CPACK_PACKAGE_VENDOR Portolan)
set(CPACK_PACKAGE_CONTACT "Portolan developers <portolan@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "scriptable network appliance in a small daemon")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Portolan turns a router, a single-board computer or a desktop into a network
appliance: one binary serves protocols over TCP, UDP, TLS and unix sockets;
one Lua file says which, where, with what limits and with what behaviour; one
SQLite file answers questions about what happened, in plain SQL.
.
The package starts a hardened service that echoes lines on the loopback
address until /etc/portolan/portolan.lua says otherwise. The headers to build
plugins with are included.")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_THREADS 1)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS sqlite3)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA)
foreach(name conffiles postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/${name})
endforeach()

# The target's, by Debian's name.
set(portolan_triple ${CMAKE_LIBRARY_ARCHITECTURE})
if(portolan_triple STREQUAL "aarch64-linux-gnu")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
elseif(portolan_triple STREQUAL "arm-linux-gnueabihf")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE armhf)
elseif(portolan_triple STREQUAL "arm-linux-gnueabi")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE armel)
elseif(portolan_triple STREQUAL "x86_64-linux-gnu")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE amd64)
endif()  # else CPack asks dpkg

# For pack.cmake and stage.cmake.
set(CPACK_PORTOLAN_DEBIAN ${CMAKE_CURRENT_LIST_DIR})
set(CPACK_PORTOLAN_BINARY ${CMAKE_BINARY_DIR}/portolan)
set(CPACK_PORTOLAN_CROSS ${CMAKE_CROSSCOMPILING})
set(CPACK_PORTOLAN_OBJDUMP ${CMAKE_OBJDUMP})
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_LIST_DIR}/pack.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/stage.cmake)
include(CPack)
