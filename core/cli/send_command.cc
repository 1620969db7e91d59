#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/progress_line.h"
#include "cli/terminal.h"
#include "cli/transfer_commands.h"
#include "cli/transfer_connection.h"
#include "cli/transfer_history.h"
#include "transfer/progress.h"
#include "transfer/send_run.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace portolan {

namespace {

using Json = nlohmann::ordered_json;
using namespace transfer;

// Between lines of progress where nothing is redrawn.
constexpr Duration kPlainEvery = std::chrono::seconds(10);

double seconds(Duration duration) { return static_cast<double>(to_ms(duration)) / 1000; }

void print_json(const Json& line) {
  fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
  std::fflush(stdout);
}

class View final : public SendView {
 public:
  View(const TransferArguments& arguments, TransferHistory history)
      : json_(arguments.json), quiet_(arguments.quiet), peer_(arguments.files.back()), history_(std::move(history)) {}

  void on_result(const SourceEntry& entry, std::string_view text) noexcept override {
    if (entry.kind == EntryKind::directory && entry.outcome == Outcome::received) return;
    const bool failed = entry.outcome == Outcome::refused || entry.outcome == Outcome::failed;
    history_.add({.peer = peer_,
                  .direction = "sent",
                  .name = entry.path,
                  .bytes = entry.size,
                  .new_bytes = entry.outcome == Outcome::received
                                   ? entry.data - std::min(entry.data, entry.kept.value_or(0))
                                   : 0,
                  .outcome = to_string(entry.outcome),
                  .detail = text});
    if (json_) {
      print_json({{"event", "file"},
                  {"path", entry.path},
                  {"outcome", to_string(entry.outcome)},
                  {"size", entry.size},
                  {"text", text}});
    } else if (failed) {
      line_.complain(
          fmt::format("portolan send: {}: {}: {}", printable(entry.path), to_string(entry.outcome), printable(text)));
    } else if (!quiet_) {
      const bool renamed = entry.outcome == Outcome::received && !text.empty() && text != entry.path;
      std::string line = fmt::format("{}  {}", printable(entry.path), bytes_text(entry.size));
      if (entry.outcome == Outcome::identical) line += "  was there already";
      if (entry.outcome == Outcome::skipped) line += fmt::format("  skipped: {}", printable(text));
      if (renamed) line += fmt::format("  as {}", printable(text));
      line_.print(line);
    }
  }
  void on_note(const SourceEntry& entry, std::string_view text) noexcept override { note(entry.path, text); }
  void note(std::string_view about, std::string_view text) {
    if (json_) {
      print_json({{"event", "note"}, {"path", about}, {"text", text}});
    } else {
      line_.complain(fmt::format("portolan send: {}: {}", printable(about), printable(text)));
    }
  }

  void warn(std::string_view text) {
    if (json_) return print_json({{"event", "warning"}, {"text", text}});
    line_.complain(fmt::format("portolan send: {}", text));
  }

  void on_progress(const SendFigures& figures) noexcept override {
    const Duration now = monotonic_now();
    meter_.note(figures.new_bytes, now);
    const std::uint64_t left = figures.bytes - figures.bytes_done;
    const auto eta = left > 0 ? meter_.time_for(left) : std::optional<Duration>(Duration{});
    if (json_) {
      Json line{{"event", "progress"},
                {"bytes", figures.bytes_done},
                {"bytes_total", figures.bytes},
                {"files", figures.files_done},
                {"files_total", figures.files},
                {"new_bytes", figures.new_bytes},
                {"sent_bytes", figures.sent},
                {"rate", static_cast<std::uint64_t>(meter_.rate())},
                {"activity", figures.connected ? to_string(figures.activity) : "connecting"}};
      if (eta) line["eta_seconds"] = seconds(*eta);
      if (figures.link.rtt > Duration::zero()) {
        line["rtt_ms"] = seconds(figures.link.rtt) * 1000;
        line["loss"] = figures.link.loss;
      }
      return print_json(line);
    }
    if (quiet_ || (!line_.drawn() && now - plain_at_ < kPlainEvery)) return;
    plain_at_ = now;
    std::string text =
        fmt::format("{:3}%  {} of {}", figures.bytes == 0 ? 100 : figures.bytes_done * 100 / figures.bytes,
                    bytes_text(figures.bytes_done), bytes_text(figures.bytes));
    if (figures.files > 1) text += fmt::format("  {} of {} files", figures.files_done, figures.files);
    if (!figures.connected) {
      text += "  connecting";
    } else if (figures.activity != Activity::receiving) {
      text += fmt::format("  the other side is {}", to_string(figures.activity));
    } else {
      text += fmt::format("  {}", rate_text(meter_.rate()));
      if (eta && left > 0) text += fmt::format("  {} left", time_text(*eta));
    }
    line_.drawn() ? line_.draw(text) : line_.complain(text);
  }

  void on_stall(Duration since) noexcept override {
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since).count();
    if (json_) return print_json({{"event", "stalled"}, {"seconds", whole}});
    line_.complain(fmt::format("portolan send: no progress for {} s; trying a new connection", whole));
  }
  void on_lost(std::string_view why, Duration retry_in) noexcept override {
    if (json_) return print_json({{"event", "lost"}, {"why", why}, {"retry_seconds", seconds(retry_in)}});
    if (said_lost_ == why) return;  // once, however often it is tried
    said_lost_ = why;
    line_.complain(fmt::format("portolan send: {}; trying again", printable(why)));
  }

  void end(const SendOutcome& outcome, Duration time) {
    if (const std::string error = history_.close(); !error.empty()) warn(fmt::format("--store: {}", error));
    const SendFigures& figures = outcome.figures;
    if (json_) {
      Json line{{"event", outcome.complete ? "done" : "failed"},
                {"files", figures.files_done},
                {"files_total", figures.files},
                {"failed", outcome.failed},
                {"bytes", figures.bytes_done},
                {"bytes_total", figures.bytes},
                {"new_bytes", figures.new_bytes},
                {"sent_bytes", figures.sent},
                {"seconds", seconds(time)}};
      if (!outcome.complete) line["why"] = outcome.why;
      return print_json(line);
    }
    if (!outcome.complete) return line_.complain(fmt::format("portolan send: failed: {}", printable(outcome.why)));
    if (quiet_) return;
    const double rate = time > Duration::zero() ? static_cast<double>(figures.new_bytes) / seconds(time) : 0;
    line_.print(fmt::format("{} files, {}, {} of it new, in {} ({})", figures.files, bytes_text(figures.bytes),
                            bytes_text(figures.new_bytes), time_text(time), rate_text(rate)));
  }

 private:
  const bool json_;
  const bool quiet_;
  const std::string& peer_;
  TransferHistory history_;
  ProgressLine line_;
  ProgressMeter meter_;
  Duration plain_at_ = monotonic_now();
  std::string said_lost_;
};

int refuse(std::string_view what, int code = kExitFailed) {
  fmt::print(stderr, "portolan send: {}\n", printable(what));
  return code;
}

}  // namespace

int send_command(const TransferArguments& arguments) {
  std::vector<std::string> names = arguments.files;
  if (names.size() < 2) return refuse("what is to be sent, and where to? FILE… HOST[:PORT]", kExitUsage);
  const auto place = Place::parse(names.back(), false);
  if (!place) return refuse(place.error(), kExitUsage);
  names.pop_back();
  if (arguments.congestion == rudp::Congestion::fixed && arguments.rate <= 0) {
    return refuse("--congestion fixed needs --rate: how fast?", kExitUsage);
  }
  const auto connection = transfer_connection(arguments);
  if (!connection) return refuse(connection.error());
  auto tree = walk(names, {.follow_links = arguments.follow_links});
  if (!tree) return refuse(tree.error().message, tree.error().absent ? kExitNotFound : kExitFailed);

  SendOptions options{.place = *place, .link = {}, .stall = arguments.stall, .give_up = arguments.give_up};
  options.first_answer = std::min(options.first_answer, options.give_up);
  options.link.rudp = *connection;
  auto history = TransferHistory::open(arguments.store, "send");
  if (!history) return refuse(fmt::format("--store: {}", history.error()));
  View view(arguments, std::move(*history));
  for (const std::string& sentence : tree->left_out) {
    const std::size_t colon = sentence.find(": left out");
    view.note(sentence.substr(0, colon), sentence.substr(std::min(colon + 2, sentence.size())));
  }
  const bool near = place->carrier == Carrier::unix_socket || place->address.scope() == AddressScope::loopback;
  if (connection->key && place->carrier != Carrier::rudp) {
    view.warn("the key protects rudp alone: this link goes without");
  } else if (!connection->key && !(near && place->name.empty())) {
    view.warn("the link is not protected: whoever is on the way can read and change what is sent (--key-file)");
  }
  const Duration began = monotonic_now();
  const SendOutcome outcome = SendRun(*tree, options, view).run();
  view.end(outcome, monotonic_now() - began);
  if (outcome.complete) return outcome.failed == 0 ? kExitOk : kExitFailed;
  return outcome.not_found ? kExitNotFound : outcome.no_answer ? kExitNoDaemon : kExitFailed;
}

}  // namespace portolan
