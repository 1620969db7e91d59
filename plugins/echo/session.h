// Echo at run time: one service for raw bytes, one for lines.
//
// Made by the descriptor's make, owned by core, on one worker's thread. Neither keeps anything for a session, so one
// handler serves all; lines that may be very long are the exception (see LineEcho).
#pragma once

#include "plugin/service.h"
#include "plugins/echo/line_codec.h"

#include <string_view>

namespace portolan::echo {

// The indices of the plugin's counters, in the order of the descriptor.
enum Count : std::size_t { kQuits, kRejected };

enum class Transform : std::uint8_t { none, upper, prefix };

struct LineSettings {
  Transform transform = Transform::none;
  std::string_view prefix;  // outlives the service
  std::size_t max_line = 8192;
  bool quit = true;
  Hook* on_line = nullptr;  // in place of the transform
};

// The most that UDP carries over IPv4. Over IPv6 it is 20 bytes more, which nobody should count on.
inline constexpr std::size_t kMaxDatagram = 65507;

// Sends back what comes, as it comes: no message has a limit, since none is kept.
class RawEcho final : public Service, public StreamHandler {
 public:
  StreamHandler* open(Stream&) noexcept override { return this; }
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override;
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
};

// Answers each line, in the line ending that it came with. Refuses a line over max_line: an error line, then the end
// of the session (Refusal::message_too_long).
class LineEcho final : public Service, public StreamHandler {
 public:
  LineEcho(Context& context, const LineSettings& settings) : context_(context), settings_(settings) {}

  StreamHandler* open(Stream& stream) noexcept override;
  std::size_t input_limit() const noexcept override { return settings_.max_line + kMaxEnding; }
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override;
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;

  // on_data for a session that remembers how much of an unfinished line has been searched; changes it.
  std::size_t answer_lines(Stream& stream, std::span<const std::byte> data, std::size_t& searched) noexcept;

 private:
  // What the hook made of a line.
  struct Verdict {
    enum class Kind : std::uint8_t { answer, error, silence, by_default, later } kind;
    std::string_view text;  // the answer or the error
  };
  // `ask`: calls the hook, with what it is given and where its results go.
  template <typename Session, typename Ask>
  Verdict ask_hook(const Line& line, const Session& session, Ask&& ask) noexcept;
  // False: the hook takes its time, and the line is to come again.
  bool answer(Stream& stream, const Line& line, bool last) noexcept;
  void answer_by_transform(Stream& stream, const Line& line) noexcept;
  void refuse_too_long(Stream& stream) noexcept;
  void reply(DatagramPeer& peer, std::string_view prefix, std::string_view text, std::string_view ending) noexcept;
  void refuse_answer(DatagramPeer& peer) noexcept;

  Context& context_;
  const LineSettings settings_;
  char number_[32];                   // what a hook returned as a number, as text
  std::byte datagram_[kMaxDatagram];  // where an answer is built; never touched, so never resident, without UDP
};

}  // namespace portolan::echo
