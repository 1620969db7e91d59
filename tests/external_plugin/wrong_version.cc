// Built for a contract that this version does not know.
#include <portolan/plugin/descriptor.h>

namespace {

portolan::Service* make(portolan::Context&, const portolan::Options&, portolan::Problems&) noexcept { return nullptr; }

constexpr portolan::Descriptor kPlugin = {
    .contract_version = portolan::kContractVersion + 1,
    .name = "wrong_version",
    .summary = "is of another time",
    .make = make,
};

}  // namespace

PORTOLAN_EXPORT_PLUGIN(kPlugin)
