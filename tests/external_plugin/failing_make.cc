// A plugin that loads, and then cannot make its service.
#include <portolan/plugin/descriptor.h>

namespace {

portolan::Service* make(portolan::Context&, const portolan::Options&, portolan::Problems& problems) noexcept {
  problems.add("", "the device /dev/none is not there: connect it, or leave this service out");
  return nullptr;
}

constexpr portolan::Descriptor kPlugin = {
    .name = "failing_make",
    .summary = "cannot make its service",
    .make = make,
};

}  // namespace

PORTOLAN_EXPORT_PLUGIN(kPlugin)
