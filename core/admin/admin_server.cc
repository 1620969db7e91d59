#include "admin/admin.h"

#include "admin/admin_json.h"
#include "base/log.h"
#include "base/units.h"
#include "config/nearest.h"
#include "event/http_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace portolan {

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kPrometheus = "text/plain; version=0.0.4; charset=utf-8";
constexpr Duration kStopDelay = std::chrono::milliseconds(20);
constexpr std::size_t kSessionLimit = 1000;
constexpr std::size_t kMostSessions = 100'000;
constexpr std::size_t kLongestReason = 200;
constexpr Duration kShortestBan = std::chrono::seconds(1);
constexpr Duration kLongestBan = std::chrono::hours(24 * 3650);

}  // namespace

class AdminServer::Impl {
 public:
  Impl(Loop& loop, AdminHost& host, int unix_fd, int http_fd) : host_(host), stop_(loop, [this] { host_.stop(); }) {
    local_ = std::make_unique<HttpServer>(
        loop, unix_fd, [this](const HttpRequest& request, const HttpReply& reply) { serve(request, reply, true); },
        HttpLimits{.body = kMostConsoleLine});
    if (http_fd < 0) return;
    public_ = std::make_unique<HttpServer>(
        loop, http_fd, [this](const HttpRequest& request, const HttpReply& reply) { serve(request, reply, false); });
  }

 private:
  void serve(const HttpRequest& request, const HttpReply& reply, bool local);
  void read(const HttpRequest& request, const HttpReply& reply);
  void act(const HttpRequest& request, const HttpReply& reply);
  void sessions(const HttpRequest& request, const HttpReply& reply);
  void ban(const HttpRequest& request, const HttpReply& reply);
  void unban(const HttpRequest& request, const HttpReply& reply);
  void command(const HttpRequest& request, const HttpReply& reply);

  AdminHost& host_;
  LoopTimer stop_;
  std::unique_ptr<HttpServer> local_;
  std::unique_ptr<HttpServer> public_;
};

void AdminServer::Impl::serve(const HttpRequest& request, const HttpReply& reply, bool local) {
  // Over TCP a web page of somebody else's could make a browser ask: what changes anything, or tells who our clients
  // are, exists on the unix socket only.
  static constexpr std::string_view kPublic[] = {"/healthz", "/readyz", "/metrics"};
  static constexpr std::string_view kLocal[] = {"/status", "/sessions", "/bans"};
  static constexpr std::string_view kActions[] = {"/reload", "/stop", "/flush", "/ban", "/unban", "/command"};
  const bool console = is_console_page(request.path);
  if (console && !local) {
    return reply.send(
        403, kJson,
        failure_json("the console is on the unix socket only: whoever reaches a TCP port could run scripts"));
  }
  const bool action = local && (console || std::ranges::find(kActions, request.path) != std::end(kActions));
  const bool known = action || std::ranges::find(kPublic, request.path) != std::end(kPublic) ||
                     (local && std::ranges::find(kLocal, request.path) != std::end(kLocal));
  if (!known) return reply.send(404, kJson, failure_json(fmt::format("there is no {} here", request.path)));
  const bool right_method = action ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (!right_method) {
    return reply.send(405, kJson,
                      failure_json(fmt::format("{} wants {}, not {}", request.path, action ? "POST" : "GET or HEAD",
                                               request.method)));
  }
  if (console) return serve_console(host_.console(), request, reply);
  action ? act(request, reply) : read(request, reply);
}

void AdminServer::Impl::read(const HttpRequest& request, const HttpReply& reply) {
  if (request.path == "/healthz") return reply.send(200, kText, "ok\n");
  if (request.path == "/readyz") {
    const NotReady reasons = host_.not_ready();
    return reply.send(reasons.empty() ? 200 : 503, kJson, readiness_json(reasons));
  }
  if (request.path == "/metrics") {
    return reply.send(200, kPrometheus, prometheus_text(host_.status(), host_.statistics()));
  }
  if (request.path == "/status") return reply.send(200, kJson, status_json(host_.status(), host_.not_ready()));
  if (request.path == "/bans") return reply.send(200, kJson, bans_json(host_.bans()));
  sessions(request, reply);
}

void AdminServer::Impl::sessions(const HttpRequest& request, const HttpReply& reply) {
  std::string service;
  std::size_t limit = kSessionLimit;
  for (const auto& [key, value] : request.query) {
    if (key == "service") {
      service = value;
    } else if (key == "limit") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), limit);
      if (error != std::errc{} || end != value.data() + value.size() || limit == 0 || limit > kMostSessions) {
        return reply.send(400, kJson, failure_json(fmt::format("limit is a number from 1 to {}", kMostSessions)));
      }
    } else {
      return reply.send(400, kJson, failure_json(fmt::format("/sessions takes service and limit, not {}", key)));
    }
  }
  if (!service.empty()) {
    const DaemonStatus status = host_.status();
    if (std::ranges::none_of(status.services, [&](const ServiceStatus& known) { return known.name == service; })) {
      return reply.send(404, kJson, failure_json(fmt::format("no service is called \"{}\"", service)));
    }
  }
  host_.sessions(service, limit, [reply, limit](const std::vector<SessionStatus>& sessions) {
    reply.send(200, kJson, sessions_json(sessions, limit));
  });
}

void AdminServer::Impl::act(const HttpRequest& request, const HttpReply& reply) {
  if (request.path == "/stop") {
    // First the answer, and some turns of the loop to send it: without sessions the end comes at once.
    reply.send(200, kJson, "{\"ok\":true}\n");
    return stop_.start(kStopDelay);
  }
  if (request.path == "/flush") {
    return host_.flush([reply](const std::string& error) {
      error.empty() ? reply.send(200, kJson, "{\"ok\":true}\n") : reply.send(409, kJson, failure_json(error));
    });
  }
  if (request.path == "/ban") return ban(request, reply);
  if (request.path == "/unban") return unban(request, reply);
  if (request.path == "/command") return command(request, reply);
  host_.reload([this, reply](const std::string& error) {
    if (!error.empty()) return reply.send(409, kJson, failure_json(error));
    reply.send(200, kJson, fmt::format("{{\"ok\":true,\"generation\":{}}}\n", host_.status().generation));
  });
}

void AdminServer::Impl::ban(const HttpRequest& request, const HttpReply& reply) {
  std::string address;
  std::string reason = "by hand";
  Duration time{};
  for (const auto& [key, value] : request.query) {
    if (key == "address") {
      address = value;
    } else if (key == "reason") {
      reason = value.substr(0, kLongestReason);
    } else if (key == "time") {
      const auto parsed = parse_duration(value);
      if (!parsed) return reply.send(400, kJson, failure_json(parsed.error()));
      if (*parsed < kShortestBan || *parsed > kLongestBan)
        return reply.send(400, kJson, failure_json("time is from 1s to 3650d"));
      time = *parsed;
    } else {
      return reply.send(400, kJson, failure_json(fmt::format("/ban takes address, time and reason, not {}", key)));
    }
  }
  const auto client = parse_banned(address);
  if (!client) return reply.send(400, kJson, failure_json(client.error()));
  host_.ban(*client, time, std::move(reason), [reply, text = ban_text(*client)](const std::string& error) {
    if (!error.empty()) return reply.send(409, kJson, failure_json(error));
    reply.send(200, kJson, fmt::format("{{\"ok\":true,\"address\":\"{}\"}}\n", text));
  });
}

void AdminServer::Impl::unban(const HttpRequest& request, const HttpReply& reply) {
  std::string address;
  for (const auto& [key, value] : request.query) {
    if (key != "address") return reply.send(400, kJson, failure_json(fmt::format("/unban takes address, not {}", key)));
    address = value;
  }
  std::optional<Address> client;
  if (address != "all") {
    const auto parsed = parse_banned(address);
    if (!parsed) return reply.send(400, kJson, failure_json(parsed.error()));
    client = *parsed;
  }
  host_.unban(client, [reply, client](std::size_t lifted, const std::string& error) {
    if (!error.empty()) return reply.send(409, kJson, failure_json(error));
    if (client && lifted == 0)
      return reply.send(404, kJson, failure_json(fmt::format("{} is not banned", ban_text(*client))));
    reply.send(200, kJson, fmt::format("{{\"ok\":true,\"lifted\":{}}}\n", lifted));
  });
}

void AdminServer::Impl::command(const HttpRequest& request, const HttpReply& reply) {
  OperatorCommand command;
  for (const auto& [key, value] : request.query) {
    if (key == "service") {
      command.service = value;
    } else if (key == "command") {
      command.name = value;
    } else {
      command.arguments.emplace(key, value);
    }
  }
  if (command.service.empty() || command.name.empty())
    return reply.send(400, kJson, failure_json("/command wants a service and a command"));
  const DaemonStatus status = host_.status();
  std::vector<std::string_view> names;
  for (const ServiceStatus& known : status.services) names.push_back(known.name);
  if (std::ranges::find(names, command.service) == names.end()) {
    return reply.send(404, kJson,
                      failure_json(fmt::format("no service is called \"{}\"{}", command.service,
                                               suggestion(command.service, names, "the services"))));
  }
  const std::string asked = fmt::format("service \"{}\": the answer to {}", command.service, command.name);
  host_.command(std::move(command), [reply, asked](const CommandReply& answer) {
    using enum CommandReply::Outcome;
    if (answer.outcome == done) {
      const std::string body = answer_json(answer.text);
      if (body.empty()) return reply.send(500, kJson, failure_json(asked + " is not JSON: a bug of its plugin"));
      return reply.send(200, kJson, body);
    }
    const int code = answer.outcome == unknown ? 404 : answer.outcome == wrong ? 400 : 409;
    reply.send(code, kJson, failure_json(answer.text));
  });
}

AdminServer::AdminServer(Loop& loop, AdminHost& host, int unix_fd, int http_fd)
    : impl_(std::make_unique<Impl>(loop, host, unix_fd, http_fd)) {}

AdminServer::~AdminServer() = default;

}  // namespace portolan
