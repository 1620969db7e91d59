// Finds the name that somebody who mistyped one probably meant. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace portolan {

// The nearest of `known` by edits (a letter added, left out, changed, or two swapped), or "" when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

// "; did you mean \"x\"?", or, when nothing is near, "; <what> are: a, b, c".
std::string suggestion(std::string_view word, std::span<const std::string_view> known, std::string_view what);

}  // namespace portolan
