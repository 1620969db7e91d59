// The relays that are set side by side, each configured for a backend that is known only when it has been started.
#pragma once

#include <string>
#include <vector>

#include "servers.h"

namespace portolan::bench {

struct RelayShape {
  std::string scheme = "tcp";
  int workers = 1;  // or threads, or processes
  bool with_floor = true;
  bool with_haproxy = true;  // it relays no UDP
  std::string control;       // key of the relay that runs twice
};

class RelayServers {
 public:
  RelayServers(const Options& options, RelayShape shape);

  // Without commands: prepare() makes them.
  const std::vector<Contender>& contenders() const { return contenders_; }
  Result<Contender> prepare(const Contender& contender, const sockaddr_in& backend);
  // What they relay to: `echo`, `udp` or `sink` of bench_floor.
  Contender backend(const std::string& mode) const;

 private:
  Contender portolan(const std::string& label, const std::string& backend);
  Contender haproxy(const sockaddr_in& address, const std::string& backend) const;
  Contender nginx(const sockaddr_in& address, const std::string& backend) const;

  const Options& options_;
  RelayShape shape_;
  Servers servers_;
  std::vector<Contender> contenders_;
};

}  // namespace portolan::bench
