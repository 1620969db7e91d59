// Framed binary at run time: answers frames in order, each from the bytes that came where it can.
//
// Made by the descriptor's make, owned by core, on one worker's thread. It keeps nothing for a session, so one handler
// serves all. It refuses a length over max_frame (message_too_long), a type that nobody knows (bad_message, unless
// they are ignored), and a datagram that is not exactly one frame (bad_message).
#pragma once

#include "plugin/service.h"
#include "plugins/binary/frame_codec.h"

#include <optional>
#include <span>
#include <string_view>

namespace portolan::binary {

// The indices of the plugin's counters, in the order of the descriptor.
enum Count : std::size_t { kUnknownTypes, kTruncatedFrames, kQuits, kRejected, kBadAnswers };

// The types that need no script.
inline constexpr std::uint8_t kTypeEcho = 1;
inline constexpr std::uint8_t kTypeReverse = 2;
inline constexpr std::uint8_t kTypeQuit = 3;

// The most that UDP carries over IPv4. Over IPv6 it is 20 bytes more, which nobody should count on.
inline constexpr std::size_t kMaxDatagram = 65507;

struct FrameSettings {
  FrameLimits limits;
  bool refuse_unknown = true;
  Hook* on_frame = nullptr;  // for types other than 1, 2, 3
};

class FrameService final : public Service, public StreamHandler {
 public:
  FrameService(Context& context, const FrameSettings& settings) : context_(context), settings_(settings) {}

  StreamHandler* open(Stream&) noexcept override { return this; }
  std::size_t input_limit() const noexcept override {
    return header_size(settings_.limits.form) + settings_.limits.max_payload;
  }
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override;
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;

 private:
  enum class Next : std::uint8_t { go_on, ended, later };

  struct Answer {
    std::uint8_t type;
    std::span<const std::byte> payload;
  };
  // What becomes of a frame with a type of its own.
  struct Verdict {
    enum class Kind : std::uint8_t { answer, silence, unknown, later } kind;
    Answer answer = {};
  };
  // Answers whole frames. `stopped` tells an unfinished frame (false) from one that was not admitted (true).
  std::size_t answer_frames(Stream& stream, std::span<const std::byte> data, bool ending, bool& stopped) noexcept;
  Next answer(Stream& stream, const Frame& frame, bool ending) noexcept;
  template <typename Session, typename Ask>
  Verdict ask_hook(const Frame& frame, const Session& session, Ask&& ask) noexcept;
  std::optional<Answer> read_results(std::span<const HookValue, 2> results, std::uint8_t type) noexcept;
  void bad_answer(std::string_view message) noexcept;

  Context& context_;
  const FrameSettings settings_;
  std::byte datagram_[kMaxDatagram];  // where an answer is built; never touched, so never resident, without UDP
};

}  // namespace portolan::binary
