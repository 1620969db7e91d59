// A generation: everything that workers share and that was built from one reading of the configuration.
//
// Assembled on the main thread, immutable from the commit on, alive as long as a worker or a session needs it.
#pragma once

#include "config/configuration.h"
#include "net/listener.h"
#include "net/tls.h"
#include "plugin/instance.h"

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace portolan {

struct Generation {
  struct Binding {
    std::shared_ptr<BoundListener> listener;
    std::size_t service;  // index in configuration.services
    Transport transport;
    std::string key;  // under which the next generation finds it
  };

  std::uint64_t number = 0;
  Configuration configuration;
  std::vector<std::shared_ptr<ServiceShared>> shared;   // by service
  std::vector<std::shared_ptr<const LimitSet>> limits;  // by service; null without `limits`
  std::vector<std::shared_ptr<const TlsContext>> tls;   // by service; null without TLS
  std::vector<std::string> errors;                      // by service: why it does not serve; "" when it does
  std::vector<Binding> bindings;

  // A service that could not be made lets go of its listeners: a client is refused rather than left waiting.
  void give_up(std::size_t service, std::string error);
};

// Sockets that systemd bound for us, until a listener adopts them.
struct AdoptableSocket {
  UniqueFd descriptor;
  Endpoint endpoint;
};

// Builds generations; keeps what outlives them: the statistics and limits of services, found by name.
class Assembler {
 public:
  explicit Assembler(std::shared_ptr<StatsRegistry> registry) : registry_(std::move(registry)) {}
  void offer(std::vector<AdoptableSocket> sockets) { adoptable_ = std::move(sockets); }

  // Binds what `current` (may be null) does not have bound already. All that is wrong is reported, a sentence each;
  // whatever was bound for it is closed again then.
  std::expected<std::shared_ptr<Generation>, std::vector<std::string>> assemble(Configuration configuration,
                                                                                const Generation* current);
  // The listeners that stay take the new options; call it at the commit.
  static void apply_socket_options(const Generation& generation);

 private:
  std::shared_ptr<ServiceShared> shared_for(const ServiceConfiguration& service, unsigned workers);
  std::expected<std::shared_ptr<BoundListener>, std::string> bind(const Endpoint& endpoint,
                                                                  const ServiceConfiguration& service,
                                                                  unsigned workers);
  std::shared_ptr<StatsRegistry> registry_;
  // By the statistics, which are the same for the same service and plugin: a reload that is refused replaces nothing.
  std::map<const ServiceStats*, std::shared_ptr<ServiceShared>> shared_;
  std::vector<AdoptableSocket> adoptable_;
  std::uint64_t last_number_ = 0;
};

}  // namespace portolan
