#include "rudp_settings.h"

#include "config/core_schema.h"
#include "rudp/pre_shared_key.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>

namespace portolan {

namespace {

// What one side of a bridge may have waiting in all its streams at an appliance. A stream whose reader has stopped holds
// up to its window of it, and there have to be several of those before the others stop, too.
constexpr std::size_t kStreamWindow = 8 * 1024 * 1024;
constexpr std::size_t kReceiveWindow = 64 * 1024 * 1024;
constexpr std::size_t kSendBuffer = 8 * 1024 * 1024;

// A configuration is read again by each reload and names its keys several times, but they are slow to make on purpose.
std::expected<rudp::Key, std::string> key_of_text(const std::string& text) {
  static std::mutex mutex;
  static std::map<std::string, rudp::Key> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(text); found != known.end()) return found->second;
  const auto key = rudp::key_of(text);
  if (!key) return std::unexpected(key.error());
  if (known.size() >= 64) known.clear();
  return known[text] = *key;
}

std::expected<std::string, std::string> first_line(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(fmt::format("key_file: cannot read {}: {}", path, std::strerror(errno)));
  std::string line;
  std::getline(file, line);
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) return std::unexpected(fmt::format("key_file: the first line of {} is empty", path));
  return line;
}

}  // namespace

std::expected<rudp::ConnectionOptions, std::string> read_rudp(const RudpTarget& options, const std::string& folder) {
  rudp::ConnectionOptions result;
  if (!options.key.empty() && !options.key_file.empty())
    return std::unexpected("key: one of key and key_file is enough");
  std::string text(options.key);
  if (!options.key_file.empty()) {
    auto line = first_line(resolve_path(folder, options.key_file));
    if (!line) return std::unexpected(line.error());
    text = std::move(*line);
  }
  if (!text.empty()) {
    const auto key = key_of_text(text);
    if (!key) return std::unexpected(fmt::format("key: {}", key.error()));
    result.key = *key;
  }
  if (options.congestion == "cubic")
    result.congestion = rudp::Congestion::cubic;
  else if (options.congestion == "fixed")
    result.congestion = rudp::Congestion::fixed;
  else if (options.congestion != "model")
    return std::unexpected("congestion: expected model, cubic or fixed");
  if (result.congestion == rudp::Congestion::fixed && !(options.rate > 0))
    return std::unexpected("rate: congestion = \"fixed\" needs one, as in \"5MiB/s\"");
  if (result.congestion != rudp::Congestion::fixed && options.rate > 0)
    return std::unexpected("rate: is for congestion = \"fixed\"; max_rate bounds any other");
  result.rate = options.rate;
  result.max_rate = options.max_rate;
  if (options.redundancy == "none")
    result.redundancy = rudp::Redundancy::none;
  else if (options.redundancy == "twice")
    result.redundancy = rudp::Redundancy::twice;
  else if (options.redundancy != "fec")
    return std::unexpected("redundancy: expected fec, twice or none");
  if (options.idle_timeout < std::chrono::seconds(1) || options.idle_timeout > std::chrono::hours(1))
    return std::unexpected("idle_timeout: expected 1s to 1h");
  result.idle_timeout = options.idle_timeout;
  // Only sessions say what is idle: to the connection under them, silence is a peer that has gone.
  result.keep_alive = options.keep_alive;
  result.stream_window = kStreamWindow;
  result.receive_window = kReceiveWindow;
  result.send_buffer = kSendBuffer;
  return result;
}

}  // namespace portolan
