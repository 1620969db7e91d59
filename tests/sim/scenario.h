// A scenario of rudp: two sides, a link with its faults, what each side sends, and what happens meanwhile. All of it is drawn
// from a seed, and told in words when something went wrong.
//
// What must hold: every byte of a stream arrives as it was sent, in order, once; reliable messages arrive once; messages of
// the other kinds at most once, whole; there is progress as long as the link lives; memory stays within the windows; both
// sides are told of the end, and nothing is left.
#pragma once

#include <cstdint>
#include <string>

namespace portolan::sim {

struct Verdict {
  std::string problem;  // empty: all held
  std::string story;    // what was drawn, in words
};

Verdict play_scenario(std::uint64_t seed);

}  // namespace portolan::sim
