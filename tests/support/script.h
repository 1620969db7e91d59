// What tests of scripts share: a service of the plugin `script`.
#pragma once

#include <fmt/format.h>

#include <string>

namespace portolan::testing {

// One service, called script, whose session is served by this body.
inline std::string serving(const std::string& body, const std::string& options = "", const std::string& core = "") {
  return fmt::format(
      "return {{ {} services = {{ {{ plugin = 'script', name = 'script', listen = 'tcp://127.0.0.1:0', {}\n"
      "on_session = function(session)\n{}\nend }} }} }}\n",
      core, options, body);
}

}  // namespace portolan::testing
