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

inline constexpr std::array<std::string_view, 9> kLinkPeerKeys = {"ours", "bulk", "bulk-key", "bbr", "cubic",
                                                                  "ngtcp2", "enet", "udt", "scp"};

// Of the benches whose names begin with rudp.
struct LinkBenchOptions {
  std::vector<double> rtt_ms = {20, 100};
  std::vector<double> loss_percent;  // empty: the bench's own
  std::vector<std::string> peers;    // of kLinkPeerKeys; empty means all
  double megabits_per_second = 50;
  double queue_ms = 50;
  double megabytes = 25;
  double limit_seconds = 60;  // for one run
  std::optional<int> seeds;   // a bench has its own number

  bool wants(std::string_view key) const;
};

struct Options {
  std::string bench;
  std::string portolan;           // empty: every row of Portolan says "not built"
  std::string directory;          // where bench_floor and the Go servers are
  std::vector<std::string> only;  // of kServerKeys; empty means all
  std::optional<int> rounds;      // a bench has its own number
  std::optional<double> seconds;  // likewise
  std::optional<int> server_cpu;
  std::optional<int> load_cpu;
  LinkBenchOptions link;
  Format format = Format::kText;
  bool help = false;

  bool wants(std::string_view key) const;
};

Result<Options> parse_options(int argc, char** argv);
std::string usage();

}  // namespace portolan::bench
