// What it costs to keep in the database what is said in a chat, and how much can be kept.
#include <fmt/format.h>

#include <map>
#include <utility>

#include "benches.h"
#include "load_chat.h"
#include "load_said.h"
#include "measure.h"
#include "message_file.h"

namespace portolan::bench {
namespace {

constexpr int kFanOutRounds = 9;
constexpr double kFanOutSeconds = 1.5;
constexpr int kSaidRounds = 5;
constexpr double kSaidSeconds = 3;
constexpr double kLeastShare = 0.9;
constexpr double kLeastStored = 20'000;
constexpr std::uint64_t kKeepAll = 100'000'000;
constexpr std::uint64_t kKeepDefault = 100'000;  // of the option messages_per_service

constexpr std::string_view kOff = "no history, no store";
constexpr std::string_view kOffAgain = "no history again";
constexpr std::string_view kMemory = "history in memory";
constexpr std::string_view kKept = "kept in the store";
constexpr std::string_view kKeptNewest = "kept, the newest 100,000";

// The contenders with their files, and what has been found in these.
class Keepers {
 public:
  explicit Keepers(const Options& options) : servers_(options) {}

  void add(std::string_view label, std::string_view work) { add(label, "  store = false,\n", work); }
  // Its file is made afresh in every round.
  void add_kept(std::string_view label, std::uint64_t most, std::string_view flush_every) {
    const std::string path = fmt::format("{}/kept-{}.db", servers_.directory(), files_.size());
    files_[std::string(label)] = {.path = path, .most = most};
    add(label,
        fmt::format("  store = {{ path = \"{}\", flush_every = \"{}\", messages_per_service = {} }},\n", path,
                    flush_every, most),
        "keep_history = true");
  }
  const std::vector<Contender>& contenders() const { return contenders_; }
  std::string file_of(const Contender& contender) const {
    const auto found = files_.find(contender.label);
    return found == files_.end() ? std::string{} : found->second.path;
  }

  // With `measure` answering, beside the sample, how many messages were said. The file is looked into after the server's
  // end, when it has to have all of them.
  template <typename MeasureSaid>
  Result<Sample> sample(const Contender& contender, MeasureSaid&& measure) {
    const auto file = files_.find(contender.label);
    if (file != files_.end()) remove_database(file->second.path);
    std::uint32_t said = 0;
    auto sample = measure_once(
        contender, [&](Process& server, const sockaddr_in& address) { return measure(server, address, said); });
    if (!sample || file == files_.end()) return sample;
    const auto database = MessageFile::open(file->second.path);
    if (!database) return Failure(database.error());
    const auto found = database->check(said, std::min<std::uint64_t>(said, file->second.most));
    if (!found) return Failure(found.error());
    file->second.said += said;
    file->second.found += *found;
    return sample;
  }

  void add_notes(Table& table) const {
    for (const auto& [label, file] : files_) {
      table.notes.push_back(
          file.found == file.said
              ? fmt::format(
                    "{}: of {} messages said in all rounds, SQL found {} after the stops: each once, byte for byte",
                    label, file.said, file.found)
              : fmt::format(
                    "{}: of {} messages said in all rounds, SQL found the newest {} after the stops: each once, "
                    "byte for byte, without a gap",
                    label, file.said, file.found));
    }
  }

 private:
  struct File {
    std::string path;
    std::uint64_t most = 0;
    std::uint64_t said = 0;
    std::uint64_t found = 0;
  };
  void add(std::string_view label, std::string_view settings, std::string_view work) {
    const std::string entry = fmt::format(
        "    {{ plugin = \"chat\", name = \"chat\", listen = \"tcp://127.0.0.1:0\", user_rate = 0, {}, {} }},\n", work,
        kNoLimits);
    contenders_.push_back(servers_.portolan(std::string(label), settings, entry, "chat"));
  }

  Servers servers_;
  std::vector<Contender> contenders_;
  std::map<std::string, File> files_;
};

Table fan_out(const Options& options) {
  Keepers keepers(options);
  keepers.add(kOff, "history = 0");
  keepers.add(kMemory, "history = 100");
  keepers.add_kept(kKept, kKeepAll, "1s");
  keepers.add(kOffAgain, "history = 0");
  const ChatShape shape;
  const Bounds bounds{options.seconds.value_or(kFanOutSeconds)};
  const auto all = run_starts(
      "chat-history", keepers.contenders(), options.rounds.value_or(kFanOutRounds), [&](const Contender& contender) {
        return keepers.sample(contender, [&](Process& server, const sockaddr_in& address, std::uint32_t& said) {
          ChatLoad load(shape);
          auto sample = sample_load(load, server, address, bounds);
          said = load.said();
          return sample;
        });
      });
  Table table{
      "chat-history",
      fmt::format("{} members of one room, {} of them each with one 64-byte message under way to all others; what "
                  "is said kept, against the same without",
                  shape.members, shape.senders),
      {{"deliveries_per_second", "deliveries/s", 0},
       {"deliveries_per_cpu_second", "deliveries/CPU s", 0},
       {"messages_per_second", "messages/s", 0},
       {"server_busy_percent", "busy %", 0},
       {"store_cpu_percent", "of it outside the worker %", 1},
       {"generator_busy_percent", "generator busy %", 0},
       {"ratio_per_cpu_second", "deliveries/CPU s / without", 2},
       {"ratio_low", "low", 2},
       {"ratio_high", "high", 2},
       {"ratio_rate", "deliveries/s / without", 2}},
      {},
      {}};
  const Series* off = find_labelled(all, kOff);
  const Noise noise = noise_of(find_labelled(all, kOffAgain), off, &Sample::per_cpu_second);
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->label == kKept;
    if (judged) row.target = fmt::format("deliveries/CPU s >= {:.2f}x without", kLeastShare);
    if (row.verdict == Verdict::kNone) {
      const double rate = series.median_of(&Sample::rate).value_or(0);
      row.values = {rate,
                    series.median_of(&Sample::per_cpu_second),
                    rate / (shape.members - 1),
                    series.median_of(&Sample::busy),
                    series.median_of(&Sample::elsewhere),
                    series.median_of(&Sample::generator_busy)};
      if (const auto ratio = off ? ratio_to(series, *off, &Sample::per_cpu_second) : std::nullopt) {
        row.values.insert(row.values.end(),
                          {ratio->median, ratio->low, ratio->high, median(ratio_to(series, *off, &Sample::rate))});
        if (judged) row.verdict = judge_at_least(ratio->median, kLeastShare, noise);
      }
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  keepers.add_notes(table);
  if (noise.share > 0) table.notes.push_back(noise_note(noise, "the deliveries/CPU s"));
  return table;
}

Table as_many_as_possible(const Options& options) {
  Keepers keepers(options);
  keepers.add(kOff, "history = 0");
  keepers.add_kept(kKept, kKeepAll, "100ms");
  keepers.add_kept(kKeptNewest, kKeepDefault, "100ms");
  const SaidShape shape;
  const Bounds bounds{options.seconds.value_or(kSaidSeconds)};
  const auto all = run_starts(
      "chat-history x64", keepers.contenders(), options.rounds.value_or(kSaidRounds), [&](const Contender& contender) {
        return keepers.sample(contender, [&](Process& server, const sockaddr_in& address, std::uint32_t& said) {
          SaidShape with_file = shape;
          with_file.file = keepers.file_of(contender);
          SaidLoad load(with_file);
          auto sample = sample_load(load, server, address, bounds);
          said = load.said();
          return sample;
        });
      });
  Table table{
      "chat-history x64",
      fmt::format("{} members of one room, one of whom says 64-byte messages, {} at once, as fast as the others "
                  "hear them and the file takes them",
                  shape.members, shape.at_once),
      {{"messages_per_second", "messages/s", 0},
       {"cpu_us_per_message", "server CPU us/message", 2},
       {"server_busy_percent", "busy %", 0},
       {"store_cpu_percent", "of it outside the worker %", 1},
       {"generator_busy_percent", "generator busy %", 0},
       {"cpu_ratio", "CPU / without", 2}},
      {},
      {}};
  const Series* off = find_labelled(all, kOff);
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = !keepers.file_of(*series.contender).empty();
    if (judged) row.target = fmt::format("stored >= {:.0f}/s", kLeastStored);
    if (row.verdict == Verdict::kNone) {
      const double rate = series.median_of(&Sample::rate).value_or(0);
      row.values = {rate,
                    series.median_of(&Sample::cost),
                    series.median_of(&Sample::busy),
                    series.median_of(&Sample::elsewhere),
                    series.median_of(&Sample::generator_busy),
                    median(off ? ratio_to(series, *off, &Sample::cost) : std::nullopt)};
      if (judged) row.verdict = rate >= kLeastStored ? Verdict::kOk : Verdict::kMiss;
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  keepers.add_notes(table);
  return table;
}

}  // namespace

std::vector<Table> bench_chat_history(const Options& options) {
  if (!options.wants("portolan")) return {};
  std::vector<Table> tables;
  tables.push_back(fan_out(options));
  tables.push_back(as_many_as_possible(options));
  return tables;
}

}  // namespace portolan::bench
