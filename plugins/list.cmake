# The built-in plugins, in the order in which `portolan help` lists them; nothing else depends on it. A plugin NAME is
# the folder plugins/NAME/, which defines `const Descriptor portolan::plugin_NAME`. Libraries that it alone needs are
# linked in plugins/NAME/libraries.cmake.
set(portolan_plugins_all echo binary relay chat rudp script drop_box)

set(PORTOLAN_PLUGINS "" CACHE STRING "the plugins to build in, separated by semicolons; empty: all")
set(portolan_plugins ${PORTOLAN_PLUGINS})
if(NOT portolan_plugins)
  set(portolan_plugins ${portolan_plugins_all})
endif()
foreach(plugin IN LISTS portolan_plugins)
  if(NOT plugin IN_LIST portolan_plugins_all)
    list(JOIN portolan_plugins_all ", " known)
    message(FATAL_ERROR "PORTOLAN_PLUGINS names \"${plugin}\", and there is no such plugin: there are ${known}")
  endif()
endforeach()

# The code and the libraries of a plugin that is not named are left out.
set(plugin_sources)
set(plugin_list "// The built-in plugins of this build (plugins/list.cmake, PORTOLAN_PLUGINS).\n")
foreach(plugin IN LISTS portolan_plugins_all)
  if(plugin IN_LIST portolan_plugins)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/${plugin}/*.cc)
    list(APPEND plugin_sources ${sources})
    string(APPEND plugin_list "PORTOLAN_PLUGIN(${plugin})\n")
    include(${CMAKE_CURRENT_LIST_DIR}/${plugin}/libraries.cmake OPTIONAL)
  endif()
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/generated/plugins/built_in.def CONTENT "${plugin_list}")
