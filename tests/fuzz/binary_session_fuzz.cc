// Binary sessions: however the network cuts the input and whenever core says "not now", the answers are those of a
// model that sees everything at once. Input: a byte of settings, a seed for the cuts, then the bytes of the peer.
#include "fuzz_target.h"
#include "support/fake_stream.h"

#include <algorithm>
#include <optional>
#include <string>

namespace portolan {
extern const Descriptor plugin_binary;
}

using namespace portolan;
using fuzz::check;

namespace {

struct Settings {
  bool plain;
  bool ignore;
  bool hook;
  std::size_t max_frame;
};

struct Result {
  std::string output;
  std::size_t messages = 0;
  std::optional<Refusal> refusal;
  std::uint64_t unknown = 0;
  std::uint64_t truncated = 0;
  std::uint64_t quits = 0;
  std::uint64_t rejected = 0;
  std::uint64_t bad_answers = 0;
  friend bool operator==(const Result&, const Result&) = default;
};

Settings settings_of(std::uint8_t choice) {
  constexpr std::size_t kMaxFrames[] = {1, 4, 32, 65536};
  Settings settings{.plain = (choice & 1U) != 0,
                    .ignore = (choice & 2U) != 0,
                    .hook = (choice & 4U) != 0,
                    .max_frame = kMaxFrames[(choice >> 3U) % std::size(kMaxFrames)]};
  if (settings.plain) settings.ignore = settings.hook = false;
  return settings;
}

// The hook, by the type: 16..31 answer with the payload twice and the type 255 minus theirs; 32..39 nil; 40..47 a type
// that is none; the others fail.
Hook::Outcome on_frame(std::span<const HookValue> arguments, std::span<HookValue> results) {
  static std::string answer;
  const std::int64_t type = arguments[0].integer;
  if (type >= 32 && type < 40) {
    if (type % 2 == 1) results[1] = HookValue::of(std::string_view("why"));
    return Hook::Outcome::returned;
  }
  if (type < 16 || type >= 48) return Hook::Outcome::failed;
  answer.assign(arguments[1].text).append(arguments[1].text);
  results[0] = HookValue::of(answer);
  results[1] = HookValue::of(type < 32 ? 255 - type : type * 1000);
  return Hook::Outcome::returned;
}

std::string frame_of(unsigned type, std::string_view payload) {
  std::string frame;
  for (unsigned shift = 32; shift > 0; shift -= 8) frame += static_cast<char>(payload.size() >> (shift - 8));
  frame += static_cast<char>(type);
  return frame.append(payload);
}

// What the README says, in the plainest way.
Result model(const Settings& settings, std::string_view input) {
  Result result;
  const std::size_t header = settings.plain ? 4 : 5;
  while (!input.empty()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4 && i < input.size(); ++i) length = length * 256 + static_cast<std::uint8_t>(input[i]);
    if (input.size() >= 4 && length > settings.max_frame) {
      result.refusal = Refusal::message_too_long;
      return result;
    }
    if (input.size() < header || input.size() < header + length) {
      ++result.truncated;
      return result;
    }
    const std::string_view whole = input.substr(0, header + length);
    const std::string_view payload = whole.substr(header);
    const unsigned type = settings.plain ? 1 : static_cast<std::uint8_t>(whole[4]);
    input.remove_prefix(whole.size());
    ++result.messages;
    if (type == 1) {
      result.output += whole;
      continue;
    }
    if (type == 2) {
      result.output += frame_of(2, std::string(payload.rbegin(), payload.rend()));
      continue;
    }
    if (type == 3) {
      ++result.quits;
      return result;
    }
    if (settings.hook && type >= 32 && type < 40) {
      ++result.rejected;
      continue;
    }
    if (settings.hook && type >= 16 && type < 48) {
      if (type < 32 && payload.size() * 2 <= settings.max_frame) {
        result.output += frame_of(255 - type, std::string(payload) + std::string(payload));
        continue;
      }
      ++result.bad_answers;
    }
    ++result.unknown;
    if (!settings.ignore) {
      result.refusal = Refusal::bad_message;
      return result;
    }
  }
  return result;
}

void set_options(const Settings& settings, testing::FakeOptions& options, testing::FakeContext& context) {
  options.set("mode", settings.plain ? "plain" : "typed").set("max_frame", std::to_string(settings.max_frame));
  if (settings.ignore) options.set("unknown_type", "ignore");
  if (settings.hook) context.set_hook("on_frame", on_frame);
}

// `most` bytes at a time, or at random up to it; with `reluctant`, core admits one message at a time.
Result run(const Settings& settings, std::string_view input, std::size_t most, std::uint8_t seed, bool reluctant) {
  testing::FakeContext context(plugin_binary);
  testing::FakeOptions options(plugin_binary);
  set_options(settings, options, context);
  const auto service = testing::make_service(plugin_binary, context, options);
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
    if (session.kept.size() == before) break;  // a part of a frame
  }
  check(session.kept.size() < service->input_limit(), "nothing that can be answered is kept");
  session.admit_next = testing::FakeStream::kNoLimit;
  session.end();
  return {.output = session.output,
          .messages = session.admitted.size(),
          .refusal = session.refusal,
          .unknown = context.counted("unknown_types"),
          .truncated = context.counted("truncated_frames"),
          .quits = context.counted("quits"),
          .rejected = context.counted("rejected"),
          .bad_answers = context.counted("bad_answers")};
}

// One whole frame as a datagram is answered as on a stream; anything else is refused.
void check_datagram(const Settings& settings, std::string_view input) {
  testing::FakeContext context(plugin_binary);
  testing::FakeOptions options(plugin_binary);
  set_options(settings, options, context);
  const auto service = testing::make_service(plugin_binary, context, options);
  testing::FakePeer peer;
  peer.send(*service, input);
  check(peer.replies.size() <= 1, "a datagram has one answer at most");
  const Result expected = model(settings, input);
  if (expected.messages == 1 && expected.truncated == 0 && expected.output.size() <= 65507 && expected.quits == 0) {
    const std::string reply = peer.replies.empty() ? std::string() : peer.replies[0];
    const bool one = peer.refusal != Refusal::bad_message || expected.refusal == Refusal::bad_message;
    if (one) check(reply == expected.output, "a frame in a datagram is answered as on a stream");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const Settings settings = settings_of(input.byte());
  const auto seed = static_cast<std::uint8_t>(input.byte() | 1U);
  const std::string_view bytes = input.rest();
  const Result expected = model(settings, bytes);
  check(run(settings, bytes, bytes.size() + 1, 0, false) == expected, "frames in one piece");
  check(run(settings, bytes, 1, 0, false) == expected, "frames byte by byte");
  check(run(settings, bytes, 40, seed, false) == expected, "frames in pieces");
  check(run(settings, bytes, 40, seed, true) == expected, "frames in pieces, slowly");
  check_datagram(settings, bytes);
  return 0;
}
