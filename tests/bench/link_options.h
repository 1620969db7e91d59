// The command line of portolan_link.
#pragma once

#include <string>

#include "link_emulator.h"

namespace portolan::bench {

struct LinkOptions {
  LinkSetup setup;
  bool summary = false;  // for people, instead of JSON
  bool help = false;
};

Result<LinkOptions> parse_link_options(int argc, char** argv);
std::string link_usage();

}  // namespace portolan::bench
