// From the checked options of core to the values that the daemon works with. Internal to core/config.
#pragma once

#include "config/configuration.h"
#include "config/schema.h"

#include <string>

namespace portolan {

// The keys that are not options of a plugin, without `services`: filled into `configuration`, whose state_dir and file
// are set. Takes out of `root` what is special-cased ("auto", false).
void read_core(Value& root, Checker& checker, Configuration& configuration);

// Just `state_dir`, which the others are resolved against: absolute.
std::string read_state_dir(const Value& root, const std::string& state_dir_override);

// The keys that every service has. `path` is the service's: "services[2]".
void read_service_options(const Value& table, const std::string& path, const std::string& config_folder,
                          Checker& checker, ServiceConfiguration& service);

// The folder that relative paths of certificates and plugins belong to: that of the configuration's file.
std::string config_folder_of(const std::string& file);
std::string resolve_path(const std::string& folder, std::string_view path);

}  // namespace portolan
