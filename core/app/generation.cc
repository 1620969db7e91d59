#include "generation.h"

#include <fmt/format.h>

#include <algorithm>

namespace portolan {

namespace {

SocketOptions socket_options(const ServiceConfiguration& service) {
  return {.no_delay = service.no_delay,
          .keep_alive = service.keep_alive,
          .backlog = service.backlog,
          .unix_mode = service.unix_mode};
}

// Port 0 asks for any port: the same line of the same service means the same socket at the next reload.
std::string binding_key(const Endpoint& endpoint, const ServiceConfiguration& service, std::size_t ordinal) {
  const std::string key = BoundListener::key(endpoint);
  if (endpoint.transport == Transport::unix_stream || endpoint.address.port() != 0) return key;
  return fmt::format("{} of {} #{}", key, service.name, ordinal);
}

}  // namespace

void Generation::give_up(std::size_t service, std::string error) {
  errors[service] = std::move(error);
  std::erase_if(bindings, [service](const Binding& binding) { return binding.service == service; });
}

std::shared_ptr<ServiceShared> Assembler::shared_for(const ServiceConfiguration& service, unsigned workers) {
  auto stats = registry_->find_or_make(service.name, *service.plugin, workers);
  auto& shared = shared_[stats.get()];
  if (!shared) {
    shared = std::make_shared<ServiceShared>();
    shared->stats = std::move(stats);
  }
  return shared;
}

namespace {

// What the service has counted goes on as long as its limits stay what they are.
std::shared_ptr<const LimitSet> limits_for(const ServiceConfiguration& service, const ServiceShared* shared,
                                           const Generation* current) {
  const std::vector<LimitRule>& rules = service.limits.rules;
  if (rules.empty()) return nullptr;
  for (std::size_t i = 0; current && i < current->shared.size(); ++i)
    if (current->shared[i].get() == shared && current->limits[i] &&
        std::ranges::equal(current->limits[i]->rules(), rules))
      return current->limits[i];
  return std::make_shared<LimitSet>(rules);
}

}  // namespace

std::expected<std::shared_ptr<BoundListener>, std::string> Assembler::bind(const Endpoint& endpoint,
                                                                           const ServiceConfiguration& service,
                                                                           unsigned workers) {
  const std::string key = BoundListener::key(endpoint);
  for (auto candidate = adoptable_.begin(); candidate != adoptable_.end(); ++candidate) {
    if (BoundListener::key(candidate->endpoint) != key) continue;
    UniqueFd socket = std::move(candidate->descriptor);
    adoptable_.erase(candidate);
    return BoundListener::adopt(std::move(socket), endpoint, socket_options(service));
  }
  const unsigned sockets = service.plugin->placement == Placement::every_worker ? workers : 1;
  return BoundListener::bind(endpoint, socket_options(service), sockets);
}

std::expected<std::shared_ptr<Generation>, std::vector<std::string>> Assembler::assemble(Configuration configuration,
                                                                                         const Generation* current) {
  auto generation = std::make_shared<Generation>();
  std::vector<std::string> errors;
  std::map<std::string, const Generation::Binding*> bound;
  if (current)
    for (const auto& binding : current->bindings) bound.emplace(binding.key, &binding);

  for (std::size_t i = 0; i < configuration.services.size(); ++i) {
    const ServiceConfiguration& service = configuration.services[i];
    std::shared_ptr<const TlsContext> tls;
    if (service.tls) {
      auto made = TlsContext::make(*service.tls);
      if (made)
        tls = std::move(*made);
      else
        errors.push_back(fmt::format("service \"{}\": {}", service.name, made.error()));
    }
    generation->tls.push_back(std::move(tls));
    generation->shared.push_back(shared_for(service, configuration.workers));
    generation->limits.push_back(limits_for(service, generation->shared.back().get(), current));
    for (std::size_t ordinal = 0; ordinal < service.listen.size(); ++ordinal) {
      const Endpoint& endpoint = service.listen[ordinal];
      Generation::Binding binding{.listener = nullptr, .service = i, .transport = endpoint.transport, .key = {}};
      binding.key = binding_key(endpoint, service, ordinal);
      if (const auto found = bound.find(binding.key); found != bound.end()) {
        binding.listener = found->second->listener;
        // Both read datagrams of one socket, and what is open would be heard by the wrong one.
        if ((found->second->transport == Transport::rudp) != (binding.transport == Transport::rudp))
          errors.push_back(fmt::format(
              "service \"{}\": {} is served as {} by now: restart the daemon, or choose another port", service.name,
              endpoint.to_string(), found->second->transport == Transport::rudp ? "rudp://" : "udp://"));
        // The kernel spreads connections over all of its sockets: those that no worker accepts from would hang.
        if (service.plugin->placement == Placement::single_worker && binding.listener->sockets() > 1)
          errors.push_back(
              fmt::format("service \"{}\": {} has a socket for each worker and plugin \"{}\" runs on one: "
                          "restart the daemon, or choose another port",
                          service.name, endpoint.to_string(), service.plugin->name));
      } else if (auto made = bind(endpoint, service, configuration.workers)) {
        binding.listener = std::move(*made);
      } else {
        errors.push_back(fmt::format("service \"{}\": {}", service.name, made.error()));
        continue;
      }
      generation->bindings.push_back(std::move(binding));
    }
  }
  if (!errors.empty()) return std::unexpected(std::move(errors));
  generation->number = ++last_number_;
  generation->errors.resize(configuration.services.size());
  generation->configuration = std::move(configuration);
  return generation;
}

void Assembler::apply_socket_options(const Generation& generation) {
  for (const auto& binding : generation.bindings)
    binding.listener->apply(socket_options(generation.configuration.services[binding.service]));
}

}  // namespace portolan
