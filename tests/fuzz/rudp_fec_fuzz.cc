// Forward error correction. Hostile frames: whatever they say, memory stays bounded, and no more is recovered than a
// block can have lost. An honest sender over a bad link, with the same decoder: what is recovered was lost, and is
// right. Input: 0, then frames of 6 bytes each and what they hold; or anything else, then a byte for each packet and
// repair.
#include "fuzz_target.h"
#include "rudp/fec_block.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

using namespace portolan;
using namespace portolan::rudp;
using fuzz::check;

namespace {

constexpr std::size_t kMostBytes = 20'000;
constexpr std::size_t kMostFrames = 300;

void hostile(std::string_view data) {
  FecDecoder decoder({.max_frames = kMostFrames, .max_bytes = kMostBytes});
  std::size_t recovered = 0, given = 0;
  while (data.size() >= 6) {
    const auto field = [data](std::size_t at) { return static_cast<std::uint8_t>(data[at]); };
    const bool source = field(0) & 0x80;
    const std::uint64_t block = field(0) & 0x40 ? field(1) % 3 : std::uint64_t{field(1)} << (field(0) & 0x38);
    const std::size_t size = std::size_t{field(0) & 7U} << 6 | (field(5) & 63U);
    const std::vector<std::byte> content(size, std::byte{field(5)});
    ++given;
    const auto answer =
        source ? decoder.on_source({block, field(2)}, field(3), content)
               : decoder.on_repair(
                     {.block = block, .sources = field(2), .repairs = field(3), .index = field(4), .symbol = content});
    if (answer) {
      check(answer->size() <= reed_solomon::kMostRepairs, "as many as there can be repairs");
      recovered += answer->size();
      for (const auto& packet : *answer) {
        check(packet.frames.size() <= kMostFrames, "frames within the limit");
        static_cast<void>(std::ranges::count(packet.frames, std::byte{}));  // readable
      }
    }
    check(recovered <= given, "a repair recovers one packet at most");
    check(decoder.bytes() <= kMostBytes, "memory is bounded");
    data.remove_prefix(6);
  }
}

void honest(std::string_view data) {
  FecPolicy policy({.budget = 2});
  policy.on_loss(0.2);
  FecEncoder encoder(policy, {.sources = 9, .max_frames = kMostFrames});
  FecDecoder decoder({.max_frames = kMostFrames});
  std::map<std::uint64_t, std::vector<std::byte>> lost;
  std::set<std::uint64_t> known;
  const auto take = [&](const FecDecoder::Recovered& answer) {
    check(answer.has_value(), "nothing of an honest sender is refused");
    for (const auto& packet : *answer) {
      check(known.insert(packet.number).second, "what is recovered was lost, and comes once");
      check(std::ranges::equal(packet.frames, lost[packet.number]), "and is right");
    }
  };
  std::uint64_t number = 0;
  for (const char choice : data) {
    const auto byte = static_cast<std::uint8_t>(choice);
    if (const auto repair = encoder.front()) {
      if (byte & 1) take(decoder.on_repair(*repair));
      if (byte & 2) take(decoder.on_repair(*repair));
      encoder.pop();
      continue;
    }
    const std::vector<std::byte> frames(byte, std::byte{static_cast<std::uint8_t>(number * 7)});
    const auto place = encoder.next();
    check(place.has_value(), "it is protected");
    encoder.add(++number, frames, Duration::zero());
    if (byte & 1) {
      known.insert(number);
      take(decoder.on_source(*place, number, frames));
    } else {
      lost[number] = frames;
    }
    if (byte % 16 == 2) encoder.close_all();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  if (input.byte() == 0)
    hostile(input.rest());
  else
    honest(input.rest());
  return 0;
}
