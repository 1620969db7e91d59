# Read by cpack, before it installs anything: the version and the date of the changelog, and what the package depends on.

execute_process(COMMAND dpkg-parsechangelog -l ${CPACK_PORTOLAN_DEBIAN}/changelog -S Version
  OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND dpkg-parsechangelog -l ${CPACK_PORTOLAN_DEBIAN}/changelog -S Timestamp
  OUTPUT_VARIABLE timestamp OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "^(.*)-([^-]+)$" version "${version}")
if(NOT CMAKE_MATCH_1 STREQUAL CPACK_PACKAGE_VERSION)
  message(FATAL_ERROR "firmware/debian/changelog is of version ${CMAKE_MATCH_1}, the program of ${CPACK_PACKAGE_VERSION}: "
    "add an entry")
endif()
set(CPACK_DEBIAN_PACKAGE_RELEASE ${CMAKE_MATCH_2})

# The same files make the same bytes, whenever they are packed.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
  set(ENV{SOURCE_DATE_EPOCH} ${timestamp})
endif()
# Folders of the package are made by CPack with the modes of this process.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

if(NOT CPACK_PORTOLAN_CROSS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  return()
endif()

# dpkg-shlibdeps asks the host's dpkg, which knows nothing of another architecture's libraries. So: what the binary says
# that it needs, by Debian 12's names. The version of glibc is read off the symbols that it uses; of the others, it is the
# one that dpkg-shlibdeps asks for in the native package.
set(debian_packages
  "libboost_context.so.1.74.0=libboost-context1.74.0 (>= 1.74.0+ds1)"
  "libcares.so.2=libc-ares2 (>= 1.16.0)"
  "libedit.so.2=libedit2 (>= 2.11-20080614-0)"
  "libcrypto.so.3=libssl3 (>= 3.0.0)"
  "libevent_core-2.1.so.7=libevent-core-2.1-7 (>= 2.1.8-stable)"
  "libevent_extra-2.1.so.7=libevent-extra-2.1-7 (>= 2.1.8-stable)"
  "libfmt.so.9=libfmt9 (>= 9.1.0+ds1)"
  "libgcc_s.so.1=libgcc-s1 (>= 3.5)"
  "libisal.so.2=libisal2 (>= 2.30.0)"
  "liblua5.4-c++.so.0=liblua5.4-0 (>= 5.4.4)"
  "libsqlite3.so.0=libsqlite3-0 (>= 3.20.0)"
  "libssl.so.3=libssl3 (>= 3.0.0)")

execute_process(COMMAND ${CPACK_PORTOLAN_OBJDUMP} -p ${CPACK_PORTOLAN_BINARY}
  OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)

# The newest of the versions with this prefix that the binary asks of its libraries: "2.36" for "GLIBC_".
function(newest_version prefix result)
  string(REGEX MATCHALL "[ \t]${prefix}[0-9.]+" found "${headers}")
  set(newest 0)
  foreach(entry IN LISTS found)
    string(REGEX REPLACE "^[ \t]${prefix}" "" entry "${entry}")
    if(entry VERSION_GREATER newest)
      set(newest ${entry})
    endif()
  endforeach()
  set(${result} ${newest} PARENT_SCOPE)
endfunction()

string(REGEX MATCHALL "NEEDED +[^\n]+" needed "${headers}")
set(depends)
foreach(entry IN LISTS needed)
  string(REGEX REPLACE "^NEEDED +" "" library "${entry}")
  set(package)
  if(library MATCHES "^(libc|libm|ld-linux.*)\\.so\\.[0-9]+$")
    newest_version(GLIBC_ version)
    set(package "libc6 (>= ${version})")
  elseif(library STREQUAL "libstdc++.so.6")
    # Debian 12 has that of g++ 12, whose newest symbols are GLIBCXX_3.4.30: nothing newer can be asked for.
    set(package "libstdc++6 (>= 12)")
  else()
    foreach(pair IN LISTS debian_packages)
      string(FIND "${pair}" "${library}=" at)
      if(at EQUAL 0)
        string(LENGTH "${library}=" at)
        string(SUBSTRING "${pair}" ${at} -1 package)
      endif()
    endforeach()
  endif()
  if(NOT package)
    message(FATAL_ERROR "the program needs ${library}, and firmware/debian/pack.cmake does not know its package: name it")
  endif()
  list(APPEND depends "${package}")
endforeach()
list(REMOVE_DUPLICATES depends)
list(SORT depends)
list(JOIN depends ", " CPACK_DEBIAN_PACKAGE_DEPENDS)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS OFF)
