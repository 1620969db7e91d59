#include "transfer/path_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace portolan::transfer {
namespace {

std::expected<void, std::string_view> check_component(std::string_view name) noexcept {
  if (name.empty()) return std::unexpected("a part of it is empty");
  if (name == ".") return std::unexpected("a part of it is \".\"");
  if (name == "..") return std::unexpected("it leads out of the folder (\"..\")");
  if (name.size() > kMaxComponent) return std::unexpected("a part of it is longer than 255 bytes");
  for (const char character : name) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7f) return std::unexpected("it has a control character");
  }
  if (name.ends_with(kPartialEnding)) return std::unexpected("files that are not whole yet are called so");
  return {};
}

// At most `size` bytes of it, not cut within a character.
std::string_view cut(std::string_view text, std::size_t size) noexcept {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U) --size;
  return text.substr(0, size);
}

}  // namespace

std::expected<void, std::string_view> check_path(std::string_view path) noexcept {
  if (path.empty()) return std::unexpected("it is empty");
  if (path.front() == '/') return std::unexpected("it is absolute");
  if (path.size() > kMaxPath) return std::unexpected("it is longer than 4000 bytes");
  if (std::ranges::count(path, '/') >= static_cast<std::ptrdiff_t>(kMaxDepth)) {
    return std::unexpected("it is more than 64 folders deep");
  }
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    if (auto checked = check_component(path.substr(from, end - from)); !checked) return checked;
    from = end + 1;
  }
  return {};
}

SplitPath split_path(std::string_view path) noexcept {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string partial_name(std::string_view name) {
  std::uint64_t hash =
      14695981039346656037ULL;  // FNV-1a: names in one folder, and nobody gains by two that are the same
  for (const char character : name) hash = (hash ^ static_cast<unsigned char>(character)) * 1099511628211ULL;
  return fmt::format(".{}.{:016x}{}", cut(name, 200), hash, kPartialEnding);
}

std::string numbered_name(std::string_view name, unsigned number) {
  std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0 || name.size() - dot > 16) dot = name.size();
  return fmt::format("{} ({}){}", cut(name.substr(0, dot), 220), number, name.substr(dot));
}

}  // namespace portolan::transfer
