#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/progress_line.h"
#include "cli/terminal.h"
#include "cli/transfer_commands.h"
#include "cli/transfer_connection.h"
#include "cli/transfer_history.h"
#include "transfer/progress.h"
#include "transfer/receive_run.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace portolan {

namespace {

using Json = nlohmann::ordered_json;
using namespace transfer;

void print_json(const Json& line) {
  fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
  std::fflush(stdout);
}

class View final : public ReceiveView {
 public:
  View(const TransferArguments& arguments, TransferHistory history)
      : json_(arguments.json), quiet_(arguments.quiet), history_(std::move(history)) {}

  void on_listening(const Place& place) noexcept override {
    if (json_) return print_json({{"event", "listening"}, {"address", place.to_string()}});
    if (!quiet_) line_.print(fmt::format("listening on {}", place.to_string()));
  }
  void on_turned_away(const Address& peer) noexcept override {
    if (json_) return print_json({{"event", "turned_away"}, {"peer", peer.to_string()}});
    line_.complain(fmt::format("portolan receive: {} is not among those that --allow names", peer.to_string()));
  }
  void on_begin(const std::string& peer, std::uint64_t files, std::uint64_t bytes) noexcept override {
    if (json_) return print_json({{"event", "begin"}, {"peer", peer}, {"files", files}, {"bytes", bytes}});
    if (!quiet_) line_.print(fmt::format("{} sends {} files, {}", peer, files, bytes_text(bytes)));
  }
  void on_result(const std::string& peer, const FileReport& file) noexcept override {
    history_.add(row_of(file, peer));
    if (json_) {
      return print_json({{"event", "file"},
                         {"peer", peer},
                         {"path", file.path},
                         {"outcome", to_string(file.outcome)},
                         {"size", file.size},
                         {"new_bytes", file.new_bytes},
                         {"sha256", file.sha256},
                         {"text", file.text}});
    }
    if (file.outcome == Outcome::refused || file.outcome == Outcome::failed) {
      return line_.complain(fmt::format("portolan receive: {}: {}: {}", printable(file.path), to_string(file.outcome),
                                        printable(file.text)));
    }
    if (quiet_) return;
    std::string line = fmt::format("{}  {}", printable(file.path), bytes_text(file.size));
    if (file.outcome != Outcome::received) line += fmt::format("  {}", to_string(file.outcome));
    line_.print(line);
  }
  void on_progress(std::uint64_t new_bytes, Activity activity, std::size_t sessions) noexcept override {
    const Duration now = monotonic_now();
    meter_.note(new_bytes, now);
    if (json_) {
      return print_json({{"event", "progress"},
                         {"new_bytes", new_bytes},
                         {"rate", static_cast<std::uint64_t>(meter_.rate())},
                         {"activity", to_string(activity)},
                         {"sessions", sessions}});
    }
    if (!quiet_)
      line_.draw(fmt::format("{}  {}  {}", to_string(activity), bytes_text(new_bytes), rate_text(meter_.rate())));
  }
  void on_end(const std::string& peer, std::uint64_t received, std::uint64_t not_received,
              std::uint64_t new_bytes) noexcept override {
    if (json_) {
      return print_json({{"event", "end"},
                         {"peer", peer},
                         {"received", received},
                         {"not_received", not_received},
                         {"new_bytes", new_bytes}});
    }
    if (!quiet_) line_.print(fmt::format("{} is done: {} files, {} new", peer, received, bytes_text(new_bytes)));
  }
  void on_lost(const std::string& peer, std::string_view why) noexcept override {
    if (json_) return print_json({{"event", "lost"}, {"peer", peer}, {"why", why}});
    line_.complain(fmt::format("portolan receive: {}: {}; what has come is kept", peer, printable(why)));
  }
  void warn(std::string_view text) {
    if (json_) return print_json({{"event", "warning"}, {"text", text}});
    line_.complain(fmt::format("portolan receive: {}", text));
  }
  void end() {
    if (const std::string error = history_.close(); !error.empty()) warn(fmt::format("--store: {}", error));
  }

 private:
  const bool json_;
  const bool quiet_;
  TransferHistory history_;
  ProgressLine line_;
  ProgressMeter meter_;
};

int refuse(std::string_view what, int code = kExitFailed) {
  fmt::print(stderr, "portolan receive: {}\n", printable(what));
  return code;
}

bool is_local(const Place& place) {
  return place.carrier == Carrier::unix_socket || place.address.scope() == AddressScope::loopback;
}

}  // namespace

int receive_command(const TransferArguments& arguments) {
  const auto connection = transfer_connection(arguments);
  if (!connection) return refuse(connection.error());
  const bool has_key = connection->key.has_value();
  ReceiveRunOptions options{
      .listen = {}, .link = {}, .folder = arguments.folder, .receive = {}, .allow = {}, .once = arguments.once};
  // Without a key anybody who reaches the port could write here: then it is reached from this machine alone, unless
  // the user says so.
  std::vector<std::string> listen = arguments.listen;
  if (listen.empty())
    listen = has_key ? std::vector<std::string>{"0.0.0.0", "[::]"} : std::vector<std::string>{"127.0.0.1"};
  for (const std::string& text : listen) {
    const auto place = Place::parse(text, true);
    if (!place) return refuse(place.error(), kExitUsage);
    options.listen.push_back(*place);
  }
  for (const std::string& network : arguments.allow) {
    if (auto added = options.allow.add(network); !added) return refuse(added.error(), kExitUsage);
  }
  options.receive.existing = existing_of(arguments.existing).value_or(Existing::refuse);
  const auto bound = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  options.receive.limits = {.max_file = bound(arguments.max_file),
                            .max_transfer = bound(arguments.max_transfer),
                            .max_files = bound(arguments.max_files),
                            .quota = bound(arguments.quota),
                            .keep_free = bound(arguments.keep_free)};
  options.link.rudp = *connection;
  auto history = TransferHistory::open(arguments.store, "receive");
  if (!history) return refuse(fmt::format("--store: {}", history.error()));
  View view(arguments, std::move(*history));
  for (const Place& place : options.listen) {
    if (place.carrier == Carrier::tcp && has_key) view.warn("the key protects rudp alone; tcp:// goes without");
  }
  const bool open = std::ranges::any_of(options.listen, [&](const Place& place) {
    return !is_local(place) && (!has_key || place.carrier == Carrier::tcp);
  });
  if (open)
    view.warn("the link is not protected: whoever reaches it can send, read and change what is sent (--key-file)");
  const auto outcome = ReceiveRun(options, view).run();
  view.end();
  if (!outcome.error.empty()) return refuse(outcome.error);
  return arguments.once && !outcome.complete ? kExitFailed : kExitOk;
}

}  // namespace portolan
