#include "plugins/rudp/service.h"

#include "plugins/rudp/seed_peer.h"

#include <fmt/format.h>

namespace portolan::rudp_service {
namespace {

// No state: one for all streams.
class Echo final : public StreamHandler {
 public:
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override {
    if (!stream.admit(data.size())) return 0;
    stream.write(data);
    return data.size();
  }
};

class Sink final : public StreamHandler {
 public:
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override {
    return stream.admit(data.size()) ? data.size() : 0;
  }
};

std::string_view text_of(std::span<const std::byte> data) noexcept {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

RudpService::RudpService(Context& context, Settings settings)
    : context_(context), settings_(std::move(settings)), on_message_(context.hook("on_message")) {}

StreamHandler* RudpService::open(Stream&) noexcept {
  static Echo echo;
  static Sink sink;
  switch (settings_.mode) {
    case Mode::echo: return &echo;
    case Mode::sink: return &sink;
    case Mode::files: return nullptr;
  }
  return nullptr;
}

void RudpService::on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept {
  if (peer.transport() == Transport::rudp) {
    // Whole, once, and acknowledged by rudp itself.
    if (settings_.mode == Mode::files) return count(Count::unanswered);
    if (const auto reply = answer(data, peer)) peer.reply(*reply);
    return;
  }
  auto* known = static_cast<SeedPeer*>(peer.handler());
  if (!known) {
    known = settings_.mode == Mode::files ? SeedPeer::of_files(*this, peer) : SeedPeer::of_messages(*this, peer);
    if (!known) return;
    peer.attach(*known);
  }
  known->receive(data);
}

std::optional<std::span<const std::byte>> RudpService::answer(std::span<const std::byte> message,
                                                              const DatagramPeer& peer) noexcept {
  const bool echoes = settings_.mode == Mode::echo;
  if (!on_message_) return echoes ? std::optional(message) : std::nullopt;
  const HookValue arguments[] = {HookValue::of(text_of(message)), HookValue::of(peer)};
  HookValue result;
  // One that fails leaves it to the mode.
  if (on_message_->call(arguments, std::span(&result, 1)) != Hook::Outcome::returned)
    return echoes ? std::optional(message) : std::nullopt;
  if (result.kind != HookValue::Kind::text) return std::nullopt;
  return std::as_bytes(std::span(result.text.data(), result.text.size()));
}

void RudpService::finished(const ReceivedFile& file, const std::string& peer) noexcept {
  count(Count::files);
  try {
    context_.event("file", fmt::format("{} of {} bytes came from {}", file.name(), file.size(), peer));
  } catch (const std::exception&) {
    context_.log(LogLevel::info, "a file came, and there was no memory to say more");
  }
}

void RudpService::failed(const std::string& peer, const std::string& why) noexcept {
  count(Count::files_failed);
  try {
    context_.log(LogLevel::warning,
                 fmt::format("the file of {} was not taken: {}", peer, why.empty() ? "out of memory" : why));
  } catch (const std::exception&) {
    context_.log(LogLevel::warning, "a file was not taken: out of memory");
  }
}

}  // namespace portolan::rudp_service
