#include "rudp/acknowledger.h"

namespace portolan::rudp {

std::span<const Range> read_ranges(Reader& in, std::uint64_t largest,
                                   std::array<Range, Acknowledger::kMostRanges>& room) noexcept {
  const std::uint64_t more = in.varint();
  if (in.failed() || more >= room.size()) return {};
  std::uint64_t end = largest + 1;
  for (std::uint64_t i = 0;; ++i) {
    const std::uint64_t size = in.varint() + 1;
    if (in.failed() || size > end) return {};
    room[i] = {end - size, end};
    if (i == more) return std::span(room).first(static_cast<std::size_t>(more) + 1);
    const std::uint64_t gap = in.varint() + 1;
    if (in.failed() || gap >= room[i].begin) return {};
    end = room[i].begin - gap;
  }
}

}  // namespace portolan::rudp
