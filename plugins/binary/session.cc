#include "plugins/binary/session.h"

#include <fmt/format.h>

#include <algorithm>

namespace portolan::binary {
namespace {

std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Refusal refusal_of(FrameError error) noexcept {
  return error == FrameError::too_long ? Refusal::message_too_long : Refusal::bad_message;
}

}  // namespace

// ---- Streams -------------------------------------------------------------------------------------------------

std::size_t FrameService::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  bool stopped = false;
  return answer_frames(stream, data, false, stopped);
}

std::size_t FrameService::answer_frames(Stream& stream, std::span<const std::byte> data, bool ending,
                                        bool& stopped) noexcept {
  std::size_t used = 0;
  for (;;) {
    const auto frame = parse_frame(data.subspan(used), settings_.limits);
    if (!frame) {
      stream.refuse(refusal_of(frame.error()));
      return data.size();
    }
    if (!*frame) return used;
    if (!stream.admit((*frame)->whole.size())) {
      stopped = true;
      return used;
    }
    switch (answer(stream, **frame, ending)) {
      case Next::ended: return data.size();
      case Next::later: stopped = true; return used;
      case Next::go_on: used += (*frame)->whole.size(); break;
    }
  }
}

bool FrameService::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  // Whole frames that were not admitted yet can still be here; a part of one means that the peer broke off.
  bool stopped = false;
  const std::size_t used = answer_frames(stream, rest, true, stopped);
  if (!stopped && used < rest.size()) context_.count(kTruncatedFrames);
  return false;
}

FrameService::Next FrameService::answer(Stream& stream, const Frame& frame, bool ending) noexcept {
  const FrameForm form = settings_.limits.form;
  if (form == FrameForm::plain || frame.type == kTypeEcho) {
    stream.write(frame.whole);  // a view of the input: pipelined echoes leave in one piece, without a copy
    return Next::go_on;
  }
  if (frame.type == kTypeReverse) {
    copy_reversed(form, frame.type, frame.payload, stream.reserve(frame.whole.size()));
    stream.commit(frame.whole.size());
    return Next::go_on;
  }
  if (frame.type == kTypeQuit) {
    context_.count(kQuits);
    stream.close();
    return Next::ended;
  }
  const Verdict verdict = ask_hook(frame, stream, [&](auto arguments, auto results) {
    // At the end of the stream nothing comes again: there the hook cannot wait.
    return ending ? settings_.on_frame->call(arguments, results) : settings_.on_frame->ask(stream, arguments, results);
  });
  switch (verdict.kind) {
    case Verdict::Kind::answer:
      stream.write(
          make_header(form, verdict.answer.type, static_cast<std::uint32_t>(verdict.answer.payload.size())).view());
      stream.write(verdict.answer.payload);
      break;
    case Verdict::Kind::silence: break;
    case Verdict::Kind::later: return Next::later;
    case Verdict::Kind::unknown:
      context_.count(kUnknownTypes);
      if (settings_.refuse_unknown) {
        stream.refuse(Refusal::bad_message);
        return Next::ended;
      }
      break;
  }
  return Next::go_on;
}

// ---- Datagrams -----------------------------------------------------------------------------------------------

void FrameService::on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept {
  const FrameForm form = settings_.limits.form;
  const auto frame = parse_datagram(data, settings_.limits);
  if (!frame) return peer.refuse(refusal_of(frame.error()));
  if (form == FrameForm::plain || frame->type == kTypeEcho) return peer.reply(data);
  if (frame->type == kTypeQuit) return context_.count(kQuits);  // there is nothing to end
  if (frame->type == kTypeReverse) {
    if (data.size() > kMaxDatagram) return peer.refuse(Refusal::message_too_long);
    copy_reversed(form, frame->type, frame->payload, datagram_);
    return peer.reply(std::span<const std::byte>(datagram_, data.size()));
  }
  const Verdict verdict = ask_hook(
      *frame, peer, [&](auto arguments, auto results) { return settings_.on_frame->call(arguments, results); });
  switch (verdict.kind) {
    case Verdict::Kind::answer: {
      const auto payload = verdict.answer.payload;
      if (payload.size() > kMaxDatagram - header_size(form)) {
        return bad_answer(fmt::format("on_frame: an answer of {} bytes is longer than a datagram", payload.size()));
      }
      const FrameHeader header = make_header(form, verdict.answer.type, static_cast<std::uint32_t>(payload.size()));
      std::byte* end = std::ranges::copy(header.view(), datagram_).out;
      end = std::ranges::copy(payload, end).out;
      return peer.reply(std::span<const std::byte>(datagram_, end));
    }
    case Verdict::Kind::later:
    case Verdict::Kind::silence: return;
    case Verdict::Kind::unknown:
      context_.count(kUnknownTypes);
      if (settings_.refuse_unknown) peer.refuse(Refusal::bad_message);
      return;
  }
}

// ---- The hook ------------------------------------------------------------------------------------------------

template <typename Session, typename Ask>
FrameService::Verdict FrameService::ask_hook(const Frame& frame, const Session& session, Ask&& ask) noexcept {
  if (!settings_.on_frame) return {.kind = Verdict::Kind::unknown};
  const HookValue arguments[] = {HookValue::of(std::int64_t{frame.type}), HookValue::of(as_text(frame.payload)),
                                 HookValue::of(session)};
  HookValue results[2];
  switch (ask(std::span<const HookValue>(arguments), std::span<HookValue>(results))) {
    case Hook::Outcome::failed: return {.kind = Verdict::Kind::unknown};
    case Hook::Outcome::waits: return {.kind = Verdict::Kind::later};
    case Hook::Outcome::returned: break;
  }
  if (results[0].kind == HookValue::Kind::nil) {
    // The protocol has no frame for an error: the reason is for whoever runs the service.
    context_.count(kRejected);
    if (results[1].kind == HookValue::Kind::text) {
      context_.log(LogLevel::info,
                   fmt::format("on_frame rejected a frame of type {}: {:.200}", frame.type, results[1].text));
    }
    return {.kind = Verdict::Kind::silence};
  }
  const auto answer = read_results(results, frame.type);
  if (!answer) return {.kind = Verdict::Kind::unknown};
  return {.kind = Verdict::Kind::answer, .answer = *answer};
}

std::optional<FrameService::Answer> FrameService::read_results(std::span<const HookValue, 2> results,
                                                               std::uint8_t type) noexcept {
  const HookValue& payload = results[0];
  const HookValue& own_type = results[1];
  if (payload.kind != HookValue::Kind::text) {
    bad_answer("on_frame returned neither a string nor nil; return the payload, or nil and a reason");
    return std::nullopt;
  }
  if (payload.text.size() > settings_.limits.max_payload) {
    bad_answer(fmt::format("on_frame returned {} bytes, but max_frame is {}", payload.text.size(),
                           settings_.limits.max_payload));
    return std::nullopt;
  }
  if (own_type.kind == HookValue::Kind::integer && own_type.integer >= 0 && own_type.integer <= 255) {
    type = static_cast<std::uint8_t>(own_type.integer);
  } else if (own_type.kind != HookValue::Kind::nil) {
    bad_answer("on_frame returned a type that is not an integer from 0 to 255");
    return std::nullopt;
  }
  return Answer{.type = type, .payload = as_bytes(payload.text)};
}

void FrameService::bad_answer(std::string_view message) noexcept {
  context_.count(kBadAnswers);
  context_.log(LogLevel::warning, message);
}

}  // namespace portolan::binary
