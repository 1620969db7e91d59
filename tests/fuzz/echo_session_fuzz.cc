// Echo sessions: however the network cuts the input and whenever core says "not now", the answers are those of a model
// that sees everything at once. Input: two bytes of settings, a seed for the cuts, then the bytes of the peer.
#include "fuzz_target.h"
#include "support/fake_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace portolan {
extern const Descriptor plugin_echo;
}

using namespace portolan;
using fuzz::check;

namespace {

struct Settings {
  std::string mode, transform;
  std::size_t max_line;
  bool quit;
  bool hook;
};

struct Result {
  std::string output;
  std::size_t messages = 0;
  bool too_long = false;
  std::uint64_t quits = 0;
  std::uint64_t rejected = 0;
  friend bool operator==(const Result&, const Result&) = default;
};

Settings settings_of(std::uint8_t first, std::uint8_t second) {
  constexpr const char* kTransforms[] = {"none", "upper", "prefix"};
  constexpr std::size_t kMaxLines[] = {1, 2, 3, 5, 16, 64, 8192, 1024 * 1024};
  Settings settings{.mode = (first & 1U) != 0 ? "raw" : "lines",
                    .transform = kTransforms[(first >> 1U) % 3],
                    .max_line = kMaxLines[second % std::size(kMaxLines)],
                    .quit = (second & 0x40U) == 0,
                    .hook = (second & 0x80U) != 0};
  if (settings.hook) settings.transform = "none";
  return settings;
}

// The hook: by the first byte of the line.
enum class Decision { answer, silence, reason, failure };
Decision decide(std::string_view line) {
  if (line.starts_with('-')) return Decision::silence;
  if (line.starts_with('?')) return Decision::reason;
  if (line.starts_with('!')) return Decision::failure;
  return Decision::answer;
}

Hook::Outcome on_line(std::span<const HookValue> arguments, std::span<HookValue> results) {
  static std::string answer;
  switch (decide(arguments[0].text)) {
    case Decision::silence: return Hook::Outcome::returned;
    case Decision::failure: return Hook::Outcome::failed;
    case Decision::reason: results[1] = HookValue::of(std::string_view("why")); return Hook::Outcome::returned;
    case Decision::answer: break;
  }
  answer.assign("<").append(arguments[0].text).append(">");
  results[0] = HookValue::of(answer);
  return Hook::Outcome::returned;
}

// What the README says, in the plainest way.
void model_line(const Settings& settings, std::string_view text, std::string_view ending, Result& result) {
  std::string answer(text);
  if (settings.hook) {
    switch (decide(text)) {
      case Decision::silence: ++result.rejected; return;
      case Decision::reason:
        ++result.rejected;
        answer = "error: why";
        break;
      case Decision::failure: break;
      case Decision::answer: answer = "<" + answer + ">"; break;
    }
  } else if (settings.transform == "upper") {
    for (char& character : answer) {
      if (character >= 'a' && character <= 'z') character = static_cast<char>(character - 'a' + 'A');
    }
  } else if (settings.transform == "prefix") {
    answer = "Echo: " + answer;
  }
  result.output += answer;
  result.output += ending;
}

Result model(const Settings& settings, std::string_view input) {
  Result result;
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    std::string_view text = input.substr(0, end);
    std::string_view ending = end == std::string_view::npos ? "" : "\n";
    if (!ending.empty() && text.ends_with('\r')) {
      text.remove_suffix(1);
      ending = "\r\n";
    }
    if (text.size() > settings.max_line) {
      result.output += fmt::format("error: line longer than {} bytes\n", settings.max_line);
      result.too_long = true;
      break;
    }
    ++result.messages;
    if (settings.quit && text == "quit") {
      ++result.quits;
      break;
    }
    model_line(settings, text, ending, result);
    input.remove_prefix(text.size() + ending.size());
  }
  return result;
}

// `most` bytes at a time, or at random up to it; with `reluctant`, core admits one message at a time.
Result run(const Settings& settings, std::string_view input, std::size_t most, std::uint8_t seed, bool reluctant) {
  testing::FakeContext context(plugin_echo);
  testing::FakeOptions options(plugin_echo);
  options.set("mode", settings.mode);
  if (settings.mode == "lines") {
    options.set("transform", settings.transform).set("max_line", std::to_string(settings.max_line));
    options.set("quit", settings.quit ? "true" : "false");
  }
  if (settings.hook) context.set_hook("on_line", on_line);
  const auto service = testing::make_service(plugin_echo, context, options);
  testing::FakeStream session(*service);
  fuzz::Cuts cuts(seed);
  while (!input.empty()) {
    const std::size_t size = std::min(seed ? cuts.next(most) : most, input.size());
    if (reluctant) session.admit_next = cuts.next(2) - 1;
    session.receive(input.substr(0, size));
    input.remove_prefix(size);
  }
  while (reluctant && !session.closed && !session.kept.empty()) {
    const std::size_t before = session.kept.size();
    session.resume_admitting(1);
    if (session.kept.size() == before) break;  // an unfinished line
  }
  session.admit_next = testing::FakeStream::kNoLimit;
  session.end();
  return {.output = session.output,
          .messages = session.admitted.size(),
          .too_long = session.refusal == Refusal::message_too_long,
          .quits = context.counted("quits"),
          .rejected = context.counted("rejected")};
}

void check_datagram(const Settings& settings, std::string_view input) {
  testing::FakeContext context(plugin_echo);
  testing::FakeOptions options(plugin_echo);
  options.set("mode", settings.mode);
  if (settings.mode == "lines") {
    options.set("transform", settings.transform).set("max_line", std::to_string(settings.max_line));
  }
  if (settings.hook) context.set_hook("on_line", on_line);
  const auto service = testing::make_service(plugin_echo, context, options);
  testing::FakePeer peer;
  peer.send(*service, input);
  check(peer.replies.size() <= 1, "a datagram has one answer at most");
  if (settings.mode == "raw") check(peer.replies.at(0) == input, "a raw datagram comes back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t first = input.byte();
  const std::uint8_t second = input.byte();
  const Settings settings = settings_of(first, second);
  const auto seed = static_cast<std::uint8_t>(input.byte() | 1U);
  const std::string_view bytes = input.rest();
  if (settings.mode == "raw") {
    for (const std::size_t most : {bytes.size() + 1, std::size_t{1}}) {
      check(run(settings, bytes, most, 0, false).output == bytes, "raw bytes come back");
    }
    check(run(settings, bytes, 40, seed, true).output == bytes, "raw bytes come back, slowly");
  } else {
    const Result expected = model(settings, bytes);
    check(run(settings, bytes, bytes.size() + 1, 0, false) == expected, "lines in one piece");
    check(run(settings, bytes, 1, 0, false) == expected, "lines byte by byte");
    check(run(settings, bytes, 40, seed, false) == expected, "lines in pieces");
    check(run(settings, bytes, 40, seed, true) == expected, "lines in pieces, slowly");
  }
  check_datagram(settings, bytes);
  return 0;
}
