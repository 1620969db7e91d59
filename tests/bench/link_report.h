// A link's report as JSON: what portolan_link prints and the benches read.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "link_emulator.h"

namespace portolan::bench {

nlohmann::json to_json(const LinkReport& report);

}  // namespace portolan::bench
