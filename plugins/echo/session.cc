#include "plugins/echo/session.h"

#include <fmt/format.h>

#include <cstring>
#include <new>
#include <utility>

namespace portolan::echo {
namespace {

constexpr std::string_view kQuit = "quit";
constexpr std::string_view kError = "error: ";

// Up to this length, searching an unfinished line again from its beginning costs less than the system call that
// brought its next bytes, even when they come one by one: no session needs memory for it.
constexpr std::size_t kMaxSearchedAgain = 64 * 1024;

constexpr std::size_t kMaxErrorText = 64;
std::string_view too_long_text(char (&out)[kMaxErrorText], std::size_t max_line) noexcept {
  const auto result = fmt::format_to_n(out, kMaxErrorText, "error: line longer than {} bytes\n", max_line);
  return {out, result.size};
}

// A session of a service whose lines may be longer than kMaxSearchedAgain.
class LongLineSession final : public StreamHandler {
 public:
  explicit LongLineSession(LineEcho& service) : service_(service) {}

  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override {
    return service_.answer_lines(stream, data, searched_);
  }
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override {
    return service_.on_end(stream, rest);
  }
  void on_close(Stream& stream, NetError why) noexcept override {
    service_.on_close(stream, why);
    delete this;
  }

 private:
  LineEcho& service_;
  std::size_t searched_ = 0;
};

}  // namespace

// ---- Raw bytes -----------------------------------------------------------------------------------------------

std::size_t RawEcho::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  if (!stream.admit(data.size())) return 0;
  stream.write(data);
  return data.size();
}

bool RawEcho::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  if (!rest.empty()) on_data(stream, rest);
  return false;
}

void RawEcho::on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept { peer.reply(data); }

// ---- Lines of a stream ---------------------------------------------------------------------------------------

StreamHandler* LineEcho::open(Stream&) noexcept {
  if (settings_.max_line <= kMaxSearchedAgain) return this;
  return new (std::nothrow) LongLineSession(*this);
}

std::size_t LineEcho::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  std::size_t searched = 0;
  return answer_lines(stream, data, searched);
}

std::size_t LineEcho::answer_lines(Stream& stream, std::span<const std::byte> data, std::size_t& searched) noexcept {
  std::size_t used = 0;
  std::size_t known = std::exchange(searched, 0);
  while (used < data.size()) {
    const auto line = parse_line(data.subspan(used), settings_.max_line, known);
    known = 0;
    if (!line) {
      refuse_too_long(stream);
      return data.size();
    }
    if (!*line) {
      searched = data.size() - used;
      return used;
    }
    if (!stream.admit((*line)->size())) return used;
    if (settings_.quit && (*line)->text == kQuit) {
      context_.count(kQuits);
      stream.close();
      return data.size();
    }
    if (!answer(stream, **line, false)) return used;
    used += (*line)->size();
  }
  return used;
}

bool LineEcho::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  // Whole lines that were not admitted yet can still be here.
  std::size_t unfinished = 0;
  const auto last = rest.subspan(answer_lines(stream, rest, unfinished));
  if (unfinished == 0) return false;
  const auto line = parse_last_line(last, settings_.max_line);
  if (!line) {
    refuse_too_long(stream);  // "\r" at the end of a text of full length: now it is certain
    return false;
  }
  if (!stream.admit(line->size())) return false;
  if (settings_.quit && line->text == kQuit) {
    context_.count(kQuits);
    return false;  // the session ends anyway
  }
  answer(stream, *line, true);
  return false;
}

void LineEcho::refuse_too_long(Stream& stream) noexcept {
  char text[kMaxErrorText];
  stream.write(too_long_text(text, settings_.max_line));
  stream.refuse(Refusal::message_too_long);
}

bool LineEcho::answer(Stream& stream, const Line& line, bool last) noexcept {
  if (!settings_.on_line) {
    answer_by_transform(stream, line);
    return true;
  }
  const Verdict verdict = ask_hook(line, stream, [&](auto arguments, auto results) {
    // The last one does not come again: for it the hook cannot wait.
    return last ? settings_.on_line->call(arguments, results) : settings_.on_line->ask(stream, arguments, results);
  });
  switch (verdict.kind) {
    case Verdict::Kind::by_default: answer_by_transform(stream, line); return true;
    case Verdict::Kind::silence: return true;
    case Verdict::Kind::later: return false;
    case Verdict::Kind::error: stream.write(kError); break;
    case Verdict::Kind::answer: break;
  }
  stream.write(verdict.text);
  stream.write(line.ending);
  return true;
}

void LineEcho::answer_by_transform(Stream& stream, const Line& line) noexcept {
  const std::string_view whole = line.whole();
  switch (settings_.transform) {
    case Transform::none: stream.write(whole); return;  // a view of the input: sent without a copy
    case Transform::upper:
      copy_upper(whole, stream.reserve(whole.size()));
      stream.commit(whole.size());
      return;
    case Transform::prefix: {
      // One piece: for lines of usual length the copy is cheaper than two more parts of a gathered write.
      const std::size_t size = settings_.prefix.size() + whole.size();
      char* out = reinterpret_cast<char*>(stream.reserve(size));
      settings_.prefix.copy(out, settings_.prefix.size());
      whole.copy(out + settings_.prefix.size(), whole.size());
      stream.commit(size);
      return;
    }
  }
}

// ---- Lines as datagrams --------------------------------------------------------------------------------------

void LineEcho::on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept {
  const auto line = parse_last_line(data, settings_.max_line);
  if (!line) {
    char text[kMaxErrorText];
    peer.reply(too_long_text(text, settings_.max_line));
    return peer.refuse(Refusal::message_too_long);
  }
  if (settings_.on_line) {
    const Verdict verdict = ask_hook(
        *line, peer, [&](auto arguments, auto results) { return settings_.on_line->call(arguments, results); });
    switch (verdict.kind) {
      case Verdict::Kind::later:
      case Verdict::Kind::by_default: break;
      case Verdict::Kind::silence: return;
      case Verdict::Kind::error: return reply(peer, kError, verdict.text, line->ending);
      case Verdict::Kind::answer: return reply(peer, {}, verdict.text, line->ending);
    }
  }
  switch (settings_.transform) {
    case Transform::none: return peer.reply(data);
    case Transform::prefix: return reply(peer, settings_.prefix, line->text, line->ending);
    case Transform::upper:
      if (data.size() > kMaxDatagram) return refuse_answer(peer);
      copy_upper(line->whole(), datagram_);
      return peer.reply(std::span<const std::byte>(datagram_, data.size()));
  }
}

void LineEcho::reply(DatagramPeer& peer, std::string_view prefix, std::string_view text,
                     std::string_view ending) noexcept {
  if (prefix.size() + text.size() + ending.size() > kMaxDatagram) return refuse_answer(peer);
  std::byte* end = datagram_;
  for (const std::string_view part : {prefix, text, ending}) {
    if (part.empty()) continue;  // its pointer may be null
    std::memcpy(end, part.data(), part.size());
    end += part.size();
  }
  peer.reply(std::span<const std::byte>(datagram_, end));
}

void LineEcho::refuse_answer(DatagramPeer& peer) noexcept {
  peer.reply("error: the answer is longer than a datagram\n");
  peer.refuse(Refusal::message_too_long);
}

// ---- The hook ------------------------------------------------------------------------------------------------

template <typename Session, typename Ask>
LineEcho::Verdict LineEcho::ask_hook(const Line& line, const Session& session, Ask&& ask) noexcept {
  const HookValue arguments[] = {HookValue::of(line.text), HookValue::of(session)};
  HookValue results[2];
  switch (ask(std::span<const HookValue>(arguments), std::span<HookValue>(results))) {
    case Hook::Outcome::failed: return {Verdict::Kind::by_default, {}};
    case Hook::Outcome::waits: return {Verdict::Kind::later, {}};
    case Hook::Outcome::returned: break;
  }
  const HookValue& answer = results[0];
  const HookValue& reason = results[1];
  switch (answer.kind) {
    case HookValue::Kind::text: return {Verdict::Kind::answer, answer.text};
    // Where Lua wants a string it takes a number: `return #line` should answer.
    case HookValue::Kind::integer:
      return {Verdict::Kind::answer, {number_, fmt::format_to_n(number_, sizeof(number_), "{}", answer.integer).size}};
    case HookValue::Kind::number:
      return {Verdict::Kind::answer,
              {number_, fmt::format_to_n(number_, sizeof(number_), "{:.14g}", answer.number).size}};
    case HookValue::Kind::nil:
      context_.count(kRejected);
      if (reason.kind == HookValue::Kind::text) return {Verdict::Kind::error, reason.text};
      return {Verdict::Kind::silence, {}};
    case HookValue::Kind::boolean:
    case HookValue::Kind::session:
    case HookValue::Kind::record: break;
  }
  context_.log(LogLevel::warning,
               "on_line returned neither a string nor nil: the line is answered without it; return the answer, or nil "
               "and a reason");
  return {Verdict::Kind::by_default, {}};
}

}  // namespace portolan::echo
