// Names of files that come from a peer: what is taken, and what they are called while they are not whole.
//
// Pure functions, any thread. A name is a path below a folder, its components separated by "/". Refused are: the empty path,
// an absolute one, components that are empty, "." or "..", one over 255 bytes (NAME_MAX), more than 4,000 bytes or 64
// components in all, control characters (a line break in a name deceives whoever lists the folder, and an escape sequence his
// terminal), and the names that files have while they are not whole. Bytes that are no UTF-8 are taken, as Linux takes
// them; they are escaped where they are shown.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace portolan::transfer {

inline constexpr std::size_t kMaxPath = 4000;
inline constexpr std::size_t kMaxComponent = 255;
inline constexpr std::size_t kMaxDepth = 64;
inline constexpr std::string_view kPartialEnding = ".portolan-part";

// The error is a sentence without the name: "it leads out of the folder (..)".
std::expected<void, std::string_view> check_path(std::string_view path) noexcept;

struct SplitPath {
  std::string_view folder;  // "" for a file at the top
  std::string_view name;
};
SplitPath split_path(std::string_view path) noexcept;

// What the file `name` is called beside its place until it is whole: hidden, told from others by a hash of the name, and
// short enough whatever the name is.
std::string partial_name(std::string_view name);
// "photo (2).jpg" for "photo.jpg" and 2; cut where it would be too long.
std::string numbered_name(std::string_view name, unsigned number);

}  // namespace portolan::transfer
