# Debian's cross compilers, on a sysroot that cross/sysroot.sh made:
#   cmake -DCMAKE_TOOLCHAIN_FILE=cross/toolchain.cmake -DPORTOLAN_TARGET=arm64 -DPORTOLAN_SYSROOT=/absolute/folder ...
# Targets have Debian's names: arm64, armhf, armel, amd64. Programs of the target run under qemu-user (ctest does so by
# itself). Native programs come from the host; headers, libraries and packages from the sysroot alone.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PORTOLAN_TARGET PORTOLAN_SYSROOT)  # or try_compile would lose them
set(CMAKE_SYSTEM_NAME Linux)

if(PORTOLAN_TARGET STREQUAL "arm64")
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
  set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
elseif(PORTOLAN_TARGET STREQUAL "armhf")
  set(CMAKE_SYSTEM_PROCESSOR armv7l)
  set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabihf)
elseif(PORTOLAN_TARGET STREQUAL "armel")
  set(CMAKE_SYSTEM_PROCESSOR armv5tel)
  set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabi)
elseif(PORTOLAN_TARGET STREQUAL "amd64")
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
  set(CMAKE_LIBRARY_ARCHITECTURE x86_64-linux-gnu)
else()
  message(FATAL_ERROR "PORTOLAN_TARGET is \"${PORTOLAN_TARGET}\": expected arm64, armhf, armel or amd64")
endif()
if(NOT IS_DIRECTORY "${PORTOLAN_SYSROOT}/usr/include")
  message(FATAL_ERROR "PORTOLAN_SYSROOT is \"${PORTOLAN_SYSROOT}\", which is no sysroot: make one with cross/sysroot.sh")
endif()

set(CMAKE_CXX_COMPILER ${CMAKE_LIBRARY_ARCHITECTURE}-g++)
set(CMAKE_AR ${CMAKE_LIBRARY_ARCHITECTURE}-gcc-ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${CMAKE_LIBRARY_ARCHITECTURE}-gcc-ranlib CACHE FILEPATH "")
set(CMAKE_SYSROOT ${PORTOLAN_SYSROOT})
set(CMAKE_FIND_ROOT_PATH ${PORTOLAN_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_DIR} "")
set(ENV{PKG_CONFIG_LIBDIR}
  "${PORTOLAN_SYSROOT}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/pkgconfig:${PORTOLAN_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${PORTOLAN_SYSROOT}")

if(NOT PORTOLAN_TARGET STREQUAL "amd64")
  if(PORTOLAN_TARGET STREQUAL "arm64")
    set(emulator qemu-aarch64-static)
  else()
    set(emulator qemu-arm-static)
  endif()
  # The whole path: a test that empties its PATH, or changes its root, still finds it.
  find_program(PORTOLAN_QEMU ${emulator} NO_CMAKE_FIND_ROOT_PATH)
  if(NOT PORTOLAN_QEMU)
    set(PORTOLAN_QEMU ${emulator})
  endif()
  set(CMAKE_CROSSCOMPILING_EMULATOR "${PORTOLAN_QEMU};-L;${PORTOLAN_SYSROOT}")
endif()
