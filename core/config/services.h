// The list of services in a configuration. Internal to core/config.
#pragma once

#include "config/configuration.h"
#include "config/schema.h"

namespace portolan {

// Checks `services` of the tree against core's and the plugins' schemas, and each with the others, and appends them to
// `configuration`, whose other values are set.
void read_services(const Value& root, const Registry& registry, Checker& checker, Configuration& configuration);

}  // namespace portolan
