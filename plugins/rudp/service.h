// The service of the plugin: what it does with streams, messages and files that come to its rudp:// listeners. One
// worker's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/rudp/received_file.h"

#include <cstdint>
#include <optional>
#include <string>

namespace portolan::rudp_service {

enum class Mode : std::uint8_t { echo, sink, files };

// The order of the plugin's counters.
enum class Count : std::uint8_t { files, files_failed, unanswered };

class RudpService final : public Service {
 public:
  struct Settings {
    Mode mode = Mode::echo;
    std::string folder;           // of Mode::files
    std::uint64_t max_file = 0;   // bytes
    std::uint64_t keep_free = 0;  // bytes of the file system
  };
  RudpService(Context& context, Settings settings);

  StreamHandler* open(Stream& stream) noexcept override;
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override;

  // ---- For its peers ----
  Context& context() noexcept { return context_; }
  const Settings& settings() const noexcept { return settings_; }
  // To a message; valid until the next call of a hook. Nothing: it is not answered.
  std::optional<std::span<const std::byte>> answer(std::span<const std::byte> message,
                                                   const DatagramPeer& peer) noexcept;
  void count(Count what) noexcept { context_.count(static_cast<std::size_t>(what)); }
  void finished(const ReceivedFile& file, const std::string& peer) noexcept;
  void failed(const std::string& peer, const std::string& why) noexcept;

 private:
  Context& context_;
  const Settings settings_;
  Hook* const on_message_;
};

}  // namespace portolan::rudp_service
