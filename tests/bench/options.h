// The command line of the driver.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net.h"

namespace portolan::bench {

inline constexpr std::array<std::string_view, 6> kServerKeys = {"floor",   "portolan", "go",
                                                                "haproxy", "nginx",    "mosquitto"};

enum class Format : std::uint8_t { kText, kMarkdown, kJson };

struct Options {
  std::string bench;
  std::string portolan;           // empty: every row of Portolan says "not built"
  std::string directory;          // where bench_floor and the Go servers are
  std::vector<std::string> only;  // of kServerKeys; empty means all
  std::optional<int> rounds;      // a bench has its own number
  std::optional<double> seconds;  // likewise
  std::optional<int> server_cpu;
  std::optional<int> load_cpu;
  Format format = Format::kText;
  bool help = false;

  bool wants(std::string_view key) const;
};

Result<Options> parse_options(int argc, char** argv);
std::string usage();

}  // namespace portolan::bench
