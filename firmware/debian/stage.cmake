# Run by cpack between installing and packing: makes of what `cmake --install` installs what a Debian package holds.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(documents ${root}/usr/share/doc/portolan)

file(MAKE_DIRECTORY ${root}/lib/systemd ${root}/etc/portolan)
file(RENAME ${root}/usr/lib/systemd/system ${root}/lib/systemd/system)
configure_file(${CPACK_PORTOLAN_DEBIAN}/portolan.lua ${root}/etc/portolan/portolan.lua COPYONLY)
configure_file(${CPACK_PORTOLAN_DEBIAN}/../../LICENSE ${documents}/copyright COPYONLY)
configure_file(${CPACK_PORTOLAN_DEBIAN}/lintian-overrides ${root}/usr/share/lintian/overrides/portolan COPYONLY)
configure_file(${CPACK_PORTOLAN_DEBIAN}/changelog ${documents}/changelog.Debian COPYONLY)

file(GLOB pages ${root}/usr/share/man/man*/*)
if(NOT pages)
  message(FATAL_ERROR "there are no manual pages in the package: the program could not be run to print them")
endif()
execute_process(COMMAND gzip --best --no-name --force ${pages} ${documents}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)

# Whatever the umask was, and whenever it was built.
execute_process(COMMAND find ${root} -mindepth 1 -type d -exec chmod 755 {} + COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND find ${root} -type f -exec chmod 644 {} + COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND chmod 755 ${root}/usr/bin/portolan COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND find ${root} -exec touch --no-dereference --date=@$ENV{SOURCE_DATE_EPOCH} {} +
  COMMAND_ERROR_IS_FATAL ANY)
