# What `cmake --install` puts below its prefix: the program, the plugin contract's headers, the manual pages and
# completions that the program itself prints, configurations to begin with, and units for systemd.
include(GNUInstallDirs)
set(portolan_documents ${CMAKE_INSTALL_DATAROOTDIR}/doc/portolan)  # core/cli/user_folders.cc looks for examples there

install(TARGETS portolan)
install(FILES core/plugin/descriptor.h core/plugin/kept.h core/plugin/service.h core/plugin/words.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/portolan/plugin)
install(DIRECTORY config/ DESTINATION ${portolan_documents}/examples FILES_MATCHING PATTERN "*.lua")
install(FILES firmware/systemd/portolan.socket DESTINATION ${portolan_documents}/examples)
install(DIRECTORY DESTINATION lib/portolan/plugins)  # for `plugin_path`

# At the time of the installation, not of the build: a build tree's tests run the program thousands of times, and a
# sanitizer's may not start everywhere. When cross-compiling, under the emulator.
install(CODE "
  set(portolan_program [==[$<TARGET_FILE:portolan>]==])
  set(portolan_emulator [==[$<$<BOOL:${CMAKE_CROSSCOMPILING}>:$<TARGET_PROPERTY:portolan,CROSSCOMPILING_EMULATOR>>]==])
  set(portolan_units [==[${CMAKE_CURRENT_LIST_DIR}/systemd]==])
  set(portolan_bin [==[${CMAKE_INSTALL_BINDIR}]==])
  set(portolan_man [==[${CMAKE_INSTALL_MANDIR}]==])
  set(portolan_data [==[${CMAKE_INSTALL_DATAROOTDIR}]==])
  set(portolan_can_run [==[$<OR:$<NOT:$<BOOL:${CMAKE_CROSSCOMPILING}>>,$<BOOL:$<TARGET_PROPERTY:portolan,CROSSCOMPILING_EMULATOR>>,$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},${CMAKE_HOST_SYSTEM_PROCESSOR}>>]==])
")
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/install_printed.cmake)
