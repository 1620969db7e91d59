// What an operator may ask of a relay and order it: RelayService::on_command.
#include "base/callback.h"
#include "base/clock.h"
#include "plugins/relay/relay_service.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <string>
#include <utility>

namespace portolan::relay {

namespace {

using Json = nlohmann::ordered_json;

Json value_of(const BackendStatus& status, std::int64_t now_ms) {
  return {{"name", status.name},
          {"address", status.address},
          {"state", status.state},
          {"reason", status.reason},
          {"since_ms", status.since_ms ? now_ms - status.since_ms : 0},
          {"weight", status.weight},
          {"weight_now", status.weight_now / 100.0},
          {"backup", status.backup},
          {"sessions", status.sessions},
          {"max_sessions", status.max_sessions},
          {"total", status.chosen},
          {"connected", status.connected},
          {"failed", status.failed},
          {"closed_early", status.closed_early},
          {"retried", status.retried},
          {"connect_us", status.connect_us},
          {"checks", status.checks},
          {"checks_failed", status.checks_failed},
          {"ejected_for_ms", status.ejected_for_ms},
          {"ejections", status.ejections},
          {"breaker", to_string(status.breaker)},
          {"breaker_since_ms", status.breaker_since_ms ? now_ms - status.breaker_since_ms : 0},
          {"breaker_open_for_ms", status.breaker_open_for_ms},
          {"breaker_opened", status.breaker_opened}};
}

}  // namespace

void RelayService::on_command(const Command& command, CommandAnswer& answer) noexcept {
  // What is ordered is shared: the generation that serves does it for those that end.
  if (draining_) return;
  contain("a command", [&] { backend_command(command, answer) || fault_command(command, answer); });
  publish();
}

bool RelayService::backend_command(const Command& command, CommandAnswer& answer) {
  if (command.name == "backends") {
    const Status status = state_.status(*set_, now());
    const std::int64_t now_ms = unix_ms();
    Json list = Json::array();
    for (const BackendStatus& backend : status.backends) {
      list.push_back(value_of(backend, now_ms));
      list.back()["waiting"] = status.waiting;
    }
    answer.json(list.dump(-1, ' ', false, Json::error_handler_t::replace));
    return true;
  }
  const bool drain = command.name == "drain";
  const bool undrain = command.name == "undrain";
  if (!drain && !undrain && command.name != "weight") return false;
  const std::string_view name = command["backend"];
  const Member* member = set_->find(name);
  if (!member) {
    std::string known;
    for (const Member& one : set_->members()) known += fmt::format("{}{}", known.empty() ? "" : ", ", one.name());
    answer.refuse(fmt::format("there is no backend \"{}\"; there are {}", name, known));
    return true;
  }
  if (drain) {
    state_.drain(*member, now(), events_);
  } else if (undrain) {
    state_.undrain(*member, now(), events_);
  } else {
    const std::string_view text = command["weight"];
    std::uint32_t weight = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
    if (error != std::errc{} || end != text.data() + text.size() || weight > kMaxWeight) {
      answer.refuse(fmt::format("a weight is a number from 0 to {}, not \"{}\"", kMaxWeight, text));
      return true;
    }
    state_.set_weight(*member, weight);
  }
  answer.json(Json{{"ok", true}, {"backend", member->name()}}.dump());
  return true;
}

bool RelayService::fault_command(const Command& command, CommandAnswer& answer) {
  if (command.name == "faults") {
    answer.json(faults_ ? faults_->to_json() : "[]");
    return true;
  }
  // One set for all workers: the first makes it.
  if (context_.worker() != 0) return false;
  std::expected<FaultSet::Shared, std::string> changed;
  if (command.name == "fault_add") {
    std::string text(command["kind"]);
    for (const CommandArgument& argument : command.arguments)
      if (argument.name != "kind") text += fmt::format(" {}={}", argument.name, argument.value);
    auto fault = parse_fault(text);
    if (fault) {
      const Carrier carrier = settings_.datagrams ? Carrier::datagrams : Carrier::streams;
      if (std::string why = unfit(*fault, carrier); !why.empty()) fault = std::unexpected(std::move(why));
    }
    if (!fault) {
      answer.refuse(fault.error());
      return true;
    }
    changed = faults_ ? faults_->with(std::move(*fault)) : FaultSet::make({std::move(*fault)});
  } else if (command.name == "fault_remove") {
    const std::string_view id = command["id"];
    if (id == "all") {
      changed = faults_ ? FaultSet::make({}, faults_->version() + 1) : FaultSet::Shared();
    } else {
      changed =
          faults_ ? faults_->without(id) : std::unexpected(fmt::format("there is no fault \"{}\": there are none", id));
    }
  } else {
    return false;
  }
  if (!changed) {
    answer.refuse(changed.error());
    return true;
  }
  state_.set_faults(settings_.faults, std::move(*changed));
  take_faults();
  answer.json(faults_ ? faults_->to_json() : "[]");
  return true;
}

}  // namespace portolan::relay
