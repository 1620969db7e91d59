#include "admin/admin_json.h"
#include "admin/console.h"
#include "base/units.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <optional>

namespace portolan {

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kEvents = "application/vnd.portolan.console";
constexpr std::string_view kPages[] = {"/console", "/console/line", "/console/sql", "/console/cancel",
                                       "/console/complete"};
constexpr Duration kShortestTime = std::chrono::milliseconds(1);

class StreamOutput final : public ConsoleOutput {
 public:
  explicit StreamOutput(HttpStream stream) : stream_(std::move(stream)) {}
  void event(ConsoleEvent event, std::string_view text) override {
    stream_.write(fmt::format("{} {}\n{}\n", to_string(event), text.size(), text));
  }
  std::size_t unsent() const override { return stream_.unsent(); }
  void end() override { stream_.end(); }

 private:
  HttpStream stream_;
};

std::optional<std::uint64_t> number(std::string_view text, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

void refuse(const HttpReply& reply, const ConsoleRefusal& refusal) {
  reply.send(refusal.status, kJson, failure_json(refusal.why));
}

void open(ConsoleHost& host, const HttpRequest& request, const HttpReply& reply) {
  ConsoleWish wish;
  for (const auto& [key, value] : request.query) {
    if (key == "worker") {
      const auto worker = number(value, 255);
      if (!worker) return refuse(reply, {400, fmt::format("worker is a number from 0, not \"{}\"", value)});
      wish.worker = static_cast<unsigned>(*worker);
    } else if (key == "service") {
      wish.service = value;
    } else if (key == "style" && (value == "text" || value == "table" || value == "json")) {
      wish.style = value == "text" ? ConsoleStyle::text : value == "table" ? ConsoleStyle::table : ConsoleStyle::json;
    } else {
      return refuse(
          reply,
          {400, fmt::format("/console takes worker, service and style (text, table or json), not {}={}", key, value)});
    }
  }
  const auto session = host.open(std::move(wish));
  if (!session) return refuse(reply, session.error());
  host.begin(*session,
             std::make_unique<StreamOutput>(reply.begin(200, kEvents, [&host, id = *session] { host.close(id); })));
}

struct Asked {
  std::uint64_t session = 0;
  Duration time = kConsoleTime;
};
std::expected<Asked, ConsoleRefusal> read_query(const HttpRequest& request) {
  Asked asked;
  for (const auto& [key, value] : request.query) {
    if (key == "session") {
      const auto session = number(value, UINT64_MAX);
      if (!session) return std::unexpected(ConsoleRefusal{400, "session is a number"});
      asked.session = *session;
    } else if (key == "time") {
      const auto time = parse_duration(value);
      if (!time) return std::unexpected(ConsoleRefusal{400, time.error()});
      if (*time < kShortestTime || *time > kMostConsoleTime)
        return std::unexpected(ConsoleRefusal{400, "time is from 1ms to 1h"});
      asked.time = *time;
    } else {
      return std::unexpected(ConsoleRefusal{400, fmt::format("{} takes session and time, not {}", request.path, key)});
    }
  }
  return asked;
}

}  // namespace

bool is_console_page(std::string_view path) noexcept { return std::ranges::find(kPages, path) != std::end(kPages); }

void serve_console(ConsoleHost& host, const HttpRequest& request, const HttpReply& reply) {
  if (request.path == "/console") return open(host, request, reply);
  const auto asked = read_query(request);
  if (!asked) return refuse(reply, asked.error());
  if (request.body.size() > kMostConsoleLine)
    return refuse(reply, {413, fmt::format("a line has at most {} bytes", kMostConsoleLine)});
  ConsoleHost::Done done;
  if (request.path == "/console/complete") {
    done = host.complete(asked->session, request.body, [reply](const std::vector<std::string>& words) {
      reply.send(200, kJson, nlohmann::json{{"words", words}}.dump() + "\n");
    });
    return done ? void() : refuse(reply, done.error());
  }
  if (request.path == "/console/line")
    done = host.line(asked->session, request.body, asked->time);
  else if (request.path == "/console/sql")
    done = host.sql(asked->session, request.body, asked->time);
  else
    done = host.cancel(asked->session);
  done ? reply.send(200, kJson, "{\"ok\":true}\n") : refuse(reply, done.error());
}

}  // namespace portolan
