# What the program is linked with, by PORTOLAN_SHAPE:
#   dynamic         the system's shared libraries
#   static          nothing: runs on any Linux kernel of the architecture; its plugins are those built in
#   plugin-host     static but for libc, libm and the loader: also loads plugins from `plugin_path`
# Defines the target portolan_libraries, and the options portolan_link_options of what is linked with it.
set(PORTOLAN_SHAPE dynamic CACHE STRING "dynamic, static or plugin-host")
set_property(CACHE PORTOLAN_SHAPE PROPERTY STRINGS dynamic static plugin-host)
if(NOT PORTOLAN_SHAPE MATCHES "^(dynamic|static|plugin-host)$")
  message(FATAL_ERROR "PORTOLAN_SHAPE is \"${PORTOLAN_SHAPE}\": expected dynamic, static or plugin-host")
endif()

if(NOT PORTOLAN_SHAPE STREQUAL "dynamic")
  # Found files are cached, so a build folder keeps its shape.
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  set(Boost_USE_STATIC_LIBS ON)
endif()
find_package(PkgConfig REQUIRED)
pkg_check_modules(EVENT REQUIRED IMPORTED_TARGET libevent_core libevent_extra)
pkg_check_modules(LUA REQUIRED IMPORTED_TARGET lua5.4-c++)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(SSL REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares)
find_package(Boost REQUIRED COMPONENTS context)
find_package(fmt REQUIRED)
find_package(nanopb REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Threads REQUIRED)

add_library(portolan_libraries INTERFACE)
target_link_libraries(portolan_libraries INTERFACE PkgConfig::EVENT PkgConfig::LUA PkgConfig::SQLITE PkgConfig::SSL
  PkgConfig::CARES Boost::context CLI11::CLI11 nlohmann_json::nlohmann_json nanopb::protobuf-nanopb-static Threads::Threads
  ${CMAKE_DL_LIBS})
if(PORTOLAN_SHAPE STREQUAL "dynamic")
  target_link_libraries(portolan_libraries INTERFACE fmt::fmt)
else()
  # Debian has no archive of fmt. Its headers hold all of it; used header-only, they double the time of compiling, so
  # one file holds what the archive would, and all others are compiled as for the shared library.
  add_library(fmt_archive STATIC ${CMAKE_CURRENT_LIST_DIR}/fmt_archive.cc)
  target_compile_definitions(portolan_libraries INTERFACE FMT_SHARED)
  target_link_libraries(portolan_libraries INTERFACE fmt_archive)
endif()
# `portolan console` with editing, history and completion, by libedit (BSD). What is built for other machines does without:
# its console reads plain lines.
if(PORTOLAN_SHAPE STREQUAL "dynamic" AND NOT CMAKE_CROSSCOMPILING)
  set(portolan_edits_lines ON)
else()
  set(portolan_edits_lines OFF)
endif()
option(PORTOLAN_LINE_EDITING "line editing in portolan console (libedit)" ${portolan_edits_lines})
set(PORTOLAN_EDITS_LINES false)
if(PORTOLAN_LINE_EDITING)
  set(PORTOLAN_EDITS_LINES true)
  # Not as a target: histedit.h needs no folder of its own, and what compiles the other files stays as it is.
  pkg_check_modules(EDIT REQUIRED libedit)
  target_link_libraries(portolan_libraries INTERFACE ${EDIT_LINK_LIBRARIES})
  if(NOT PORTOLAN_SHAPE STREQUAL "dynamic")
    # What libedit's archive needs, and its .pc does not say for archives.
    foreach(library bsd md tinfo)
      find_library(PORTOLAN_${library} ${library} REQUIRED)
      target_link_libraries(portolan_libraries INTERFACE ${PORTOLAN_${library}})
    endforeach()
  endif()
endif()
# Erasure codes by libisal (core/rudp/galois.h): four times as fast as our own on x86-64. Debian has no archive of it, and
# on other processors than these two it is plain C, ten times slower than our own (measured).
if(PORTOLAN_SHAPE STREQUAL "dynamic" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|aarch64)$")
  pkg_check_modules(ISAL libisal)
  if(ISAL_FOUND)
    target_link_libraries(portolan_libraries INTERFACE ${ISAL_LINK_LIBRARIES})
  endif()
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "armv5tel")
  target_link_libraries(portolan_libraries INTERFACE atomic)  # 64-bit atomics are calls there
endif()

set(PORTOLAN_LOADS_PLUGINS true)
set(portolan_link_options)  # of executables
if(PORTOLAN_SHAPE STREQUAL "static")
  # At an address of its own choice at every start, as a dynamic one. What glibc warns about here (getaddrinfo, dlopen
  # and their like need the shared libraries of the machine it was linked on) is code of libraries that we give no cause
  # to call it: tests/meta/names_test.sh keeps ours free of it, tests/process/{names,tls}_test.cc look at the program.
  set(PORTOLAN_LOADS_PLUGINS false)
  set(portolan_link_options -static-pie -Wl,--no-warnings)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^arm")  # g++ 12 knows no -static-pie there, and makes a dynamic program of it
    set(portolan_link_options -static -no-pie -Wl,--no-warnings)
  endif()
elseif(PORTOLAN_SHAPE STREQUAL "plugin-host")
  # A plugin brings a libstdc++ of its own; without exclude-libs it would be given parts of ours.
  set(portolan_link_options -static-libstdc++ -static-libgcc -Wl,--exclude-libs,ALL)
endif()
