#include "cli/transfer_key.h"

#include "rudp/pre_shared_key.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace portolan {
namespace {

// The first line: what an editor puts behind it is not meant.
std::expected<std::string, std::string> read_key_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (!file) return std::unexpected(fmt::format("cannot read the key {}: {}", path, std::strerror(errno)));
  char block[rudp::kMaxKeyText + 2];
  const std::size_t size = std::fread(block, 1, sizeof block, file);
  const bool failed = std::ferror(file) != 0;
  std::fclose(file);
  if (failed) return std::unexpected(fmt::format("cannot read the key {}", path));
  std::string text(block, size);
  return text.substr(0, text.find_first_of("\r\n"));
}

}  // namespace

std::expected<std::optional<rudp::Key>, std::string> transfer_key(const TransferArguments& arguments) {
  std::string text = arguments.key;
  std::string_view from = "--key";
  if (text.empty() && !arguments.key_file.empty()) {
    auto read = read_key_file(arguments.key_file);
    if (!read) return std::unexpected(read.error());
    text = std::move(*read);
    from = arguments.key_file;
    if (text.empty()) return std::unexpected(fmt::format("{}: its first line, the key, is empty", from));
  }
  if (text.empty()) {
    const char* variable = std::getenv("PORTOLAN_KEY");
    if (variable) text = variable;
    from = "$PORTOLAN_KEY";
  }
  if (text.empty()) return std::nullopt;
  auto key = rudp::key_of(text);
  if (!key) return std::unexpected(fmt::format("{}: {}", from, key.error()));
  return *key;
}

}  // namespace portolan
