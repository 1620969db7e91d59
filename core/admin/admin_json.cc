#include "admin/admin_json.h"

#include "base/net_error.h"

#include <nlohmann/json.hpp>

namespace portolan {

namespace {

// In the order in which it was written: people read it, too.
using Json = nlohmann::ordered_json;

std::string text_of(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

Json store_value(const Store::Health& health) {
  return {{"ok", health.ok},
          {"error", health.error},
          {"failing_since_ms", health.failing_since_ms},
          {"last_flush_ms", health.last_flush_ms},
          {"flushes", health.flushes},
          {"failures", health.failures},
          {"records_lost", health.records_lost}};
}

}  // namespace

std::string status_json(const DaemonStatus& status, const NotReady& not_ready) {
  Json services = Json::array();
  for (const ServiceStatus& service : status.services) {
    services.push_back({{"name", service.name},
                        {"plugin", service.plugin},
                        {"listeners", service.listeners},
                        {"error", service.error},
                        {"open", service.open},
                        {"drained", service.drained},
                        {"commands", service.commands}});
  }
  return text_of({{"version", status.version},
                  {"pid", status.pid},
                  {"config_file", status.config_file},
                  {"store_path", status.store_path},
                  {"workers", status.workers},
                  {"generation", status.generation},
                  {"live_generations", status.live_generations},
                  {"started_ms", status.started_ms},
                  {"loaded_ms", status.loaded_ms},
                  {"ready", not_ready.empty()},
                  {"not_ready", not_ready},
                  {"draining", status.draining},
                  {"accept_pauses", status.accept_pauses},
                  {"bans", status.bans},
                  {"services", std::move(services)},
                  {"store", status.store_path.empty() ? Json() : store_value(status.store)}});
}

std::string sessions_json(const std::vector<SessionStatus>& sessions, std::size_t limit) {
  Json list = Json::array();
  for (const SessionStatus& session : sessions) {
    list.push_back({{"id", session.id},
                    {"service", session.service},
                    {"peer", session.peer},
                    {"transport", to_string(session.transport)},
                    {"started_ms", session.started_ms},
                    {"idle_ms", session.idle_ms},
                    {"bytes_in", session.bytes_in},
                    {"bytes_out", session.bytes_out},
                    {"messages", session.messages},
                    {"unsent", session.unsent}});
  }
  const bool cut = sessions.size() >= limit;
  return text_of({{"limit", limit}, {"limit_reached", cut}, {"sessions", std::move(list)}});
}

std::string bans_json(const std::vector<Ban>& bans) {
  Json list = Json::array();
  for (const Ban& ban : bans) {
    list.push_back({{"address", ban_text(ban.client)},
                    {"since_ms", ban.since_ms},
                    {"until_ms", ban.until_ms},
                    {"reason", ban.reason},
                    {"service", ban.service},
                    {"violations", ban.violations}});
  }
  return text_of({{"bans", std::move(list)}});
}

std::string readiness_json(const NotReady& not_ready) {
  return text_of({{"ready", not_ready.empty()}, {"not_ready", not_ready}});
}

std::string answer_json(const std::string& answer) { return Json::accept(answer) ? answer + "\n" : std::string(); }

std::string failure_json(const std::string& error) { return text_of({{"ok", false}, {"error", error}}); }

}  // namespace portolan
