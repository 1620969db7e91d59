// The plugins that this process knows: the built-in ones (plugins/list.cmake, in that order), and those loaded from
// `plugin_path`. Main thread only. A loaded plugin stays loaded until the process ends: unloading code that a
// draining generation may still run saves nothing.
#pragma once

#include "descriptor.h"

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class Registry {
 public:
  Registry();  // with the built-in plugins

  const Descriptor* find(std::string_view name) const noexcept;
  const std::vector<const Descriptor*>& all() const noexcept { return plugins_; }

  // Loads a shared object, or every *.so of a directory, once. Each that is refused (not a plugin, another contract
  // version, a name that is taken, a descriptor that makes no sense) yields one sentence; the others are there.
  std::vector<std::string> load(const std::string& path);

  // What is wrong with a descriptor, or an empty text.
  static std::string check(const Descriptor& descriptor);

 private:
  std::vector<const Descriptor*> plugins_;
  std::vector<std::string> loaded_;
};

}  // namespace portolan
