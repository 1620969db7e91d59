#include "plugins/chat/session.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/units.h"
#include "plugins/chat/text.h"

#include <optional>
#include <utility>

namespace portolan::chat {
namespace {

constexpr std::string_view kPrompt = "Enter username: ";
// Whoever has not found a name by then is no person.
constexpr std::uint8_t kMostTries = 10;
// What is written at once of what waits for a slow reader.
constexpr std::size_t kAtOnce = 64 * 1024;

}  // namespace

void Session::greet() noexcept { stream_.write(kPrompt); }

// ---- The stream ----------------------------------------------------------------------------------------------

std::size_t Session::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  std::size_t used = 0;
  contain("a line of a chat", [&] {
    while (used < data.size() && !ended_) {
      const std::size_t max_line = service_.settings().max_line;
      const bool skipped = skipping_;
      const NextLine next = next_line(data.subspan(used), max_line, skipping_);
      if (next.kind == NextLine::Kind::incomplete) {
        used += next.used;
        if (next.used == 0) return;
        continue;
      }
      again_ = stream.answered();
      if (!stream.admit(next.used)) {
        skipping_ = skipped;
        return;
      }
      if (next.kind == NextLine::Kind::too_long) {
        used += next.used;
        service_.count(kRefusedTexts);
        tell("A line may have {} bytes: yours is dropped.", max_line);
        if (user_ == 0) stream.write(kPrompt);
        continue;
      }
      handle_line(next.text, &stream);
      // It comes again, when there is an answer.
      if (std::exchange(later_, false)) return;
      used += next.used;
    }
  });
  return ended_ ? data.size() : used;
}

bool Session::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  rest = rest.subspan(on_data(stream, rest));
  if (ended_) return false;
  const std::string_view last = last_line(rest, skipping_);
  if (!last.empty() && stream.admit(rest.size())) contain("a line of a chat", [&] { handle_line(last, nullptr); });
  return false;
}

void Session::on_close(Stream&, NetError) noexcept {
  ended_ = true;
  leave("left");
  delete this;
}

void Session::leave(std::string_view words) noexcept {
  if (user_ == 0) return;
  ChatState& state = service_.state();
  service_.hub().remove(*this);
  const auto heir = state.leave(user_);
  contain("a member who leaves", [&] {
    service_.announce(room_, fmt::format("{} {}", name_, words));
    if (heir) service_.notify(heir->id, heir->worker, fmt::format("You are the operator of {} now.", heir->room));
  });
  user_ = 0;
}

void Session::end() noexcept {
  if (std::exchange(ended_, true)) return;
  stream_.close();
}

void Session::refuse(Refusal reason) noexcept {
  if (std::exchange(ended_, true)) return;
  stream_.refuse(reason);
}

// ---- What is written to him ----------------------------------------------------------------------------------

void Session::tell(std::string_view text) noexcept {
  if (ended_) return;
  contain("an answer", [&] {
    fmt::memory_buffer line;
    encode({.kind = Words::Kind::notice, .content = text, .time = service_.hub().clock_text()}, format_, line);
    stream_.write(std::string_view(line.data(), line.size()));
  });
}

void Session::offer(const MessageRef& message) noexcept {
  if (ended_) return;
  if (clear()) {
    service_.count(kDelivered);
    return write(message->line(format_));
  }
  const OutboxLimits& limits = service_.serving().settings().queue;
  bool kept = false;
  if (!contain("a message that waits", [&] { kept = outbox_.push(message, format_, limits); }) || !kept) {
    service_.count(kMissed);
    refuse(Refusal::output_limit);
  }
}

void Session::tell_missed() noexcept {
  const std::uint32_t missed = outbox_.take_missed();
  if (missed == 0) return;
  service_.count(kMissed, missed);
  contain("an answer", [&] { tell("{} {} missed", missed, missed == 1 ? "message" : "messages"); });
}

void Session::on_sent(Stream&) noexcept {
  if (!outbox_.empty()) go_on();
}

void Session::go_on_later() noexcept {
  unfinished_ = false;
  go_on();
}

void Session::go_on() noexcept {
  if (ended_ || stream_.unsent() != 0) return;
  tell_missed();
  std::size_t written = 0;
  std::uint64_t messages = 0;
  for (; outbox_.size() != 0 && written < kAtOnce; ++messages) {
    const MessageRef message = outbox_.take(format_);
    const std::string_view line = message->line(format_);
    written += line.size();
    stream_.write(line);
  }
  service_.count(kDelivered, messages);
  // If the peer takes all of it at once, nothing tells that more may follow.
  if (outbox_.size() == 0 || std::exchange(unfinished_, true)) return;
  if (!contain("what waits", [&] { service_.hub().unfinished(*this); })) refuse(Refusal::output_limit);
}

void Session::receive(const Post& post) noexcept {
  switch (post.kind) {
    case Post::Kind::room: return;
    case Post::Kind::direct: return offer(post.message);
    case Post::Kind::mute:
      if (post.room == room_) muted_until_ = post.until;
      return;
    case Post::Kind::move:
      if (post.room != room_) return;
      if (post.message) offer(post.message);
      contain("a member who is sent away", [&] {
        if (auto moved = service_.state().move(user_, {}, service_.serving().settings().max_rooms))
          enter(std::move(*moved));
      });
      return;
    case Post::Kind::kick:
      if (post.message) offer(post.message);
      return end();
  }
}

// ---- What he writes ------------------------------------------------------------------------------------------

void Session::handle_line(std::string_view line, Stream* waits) {
  waits_ = waits;
  if (user_ == 0) return take_name(line);
  if (std::exchange(sniffs_, false) && line.starts_with('{')) switch_to_json();
  if (format_ == Format::text) return handle_text(std::string(line));
  if (line.empty()) return;
  ClientObject object = parse_object(line);
  if (object.problem.empty()) return handle_text(std::move(object.content));
  service_.count(kRefusedTexts);
  tell("Your line {}: expected {{\"content\":\"text\"}}.", object.problem);
}

void Session::switch_to_json() {
  format_ = Format::json;
  tell(service_.serving().settings().welcome);
}

void Session::refuse_name(std::string_view why) {
  service_.count(kRefusedNames);
  tell(why);
  if (++tries_ >= kMostTries) return refuse(Refusal::bad_message);
  stream_.write(kPrompt);
}

void Session::take_name(std::string_view name) {
  ChatService& serving = service_.serving();
  const Settings& settings = serving.settings();
  if (const auto problem = name_problem(name); !problem.empty())
    return refuse_name(fmt::format("This name {}.", problem));
  const auto verdict = serving.ask_join(name, settings.room, stream_, waits_);
  if (verdict.waits) return come_again();
  if (!verdict.passes) return refuse_name(verdict.text.empty() ? "This name is not welcome." : verdict.text);
  auto entry = service_.state().join(
      {.name = name, .worker = service_.hub().worker(), .address = stream_.peer_address(), .now_ms = unix_ms()},
      settings.room);
  if (!entry) return refuse_name(entry.error());
  name_ = name;
  user_ = entry->id;
  room_ = entry->room;
  tries_ = 0;
  format_ = settings.format == FormatChoice::json ? Format::json : Format::text;
  sniffs_ = settings.format == FormatChoice::automatic;
  service_.hub().add(*this);
  service_.serving().recall(*room_);
  service_.count(kJoins);
  if (!settings.welcome.empty()) tell(settings.welcome);
  tell_room(*entry);
  service_.announce(room_, fmt::format("{} joined", name_), user_);
}

void Session::tell_room(const ChatState::Entry& entry) {
  const std::size_t others = entry.members - 1;
  tell("You are in {} with {} {}.", entry.room->name, others, others == 1 ? "other" : "others");
  if (!entry.topic.empty()) tell("The topic is: {}", entry.topic);
  if (entry.is_operator) tell("You are its operator.");
}

bool Session::over_rate() {
  const RateLimit& limit = service_.serving().settings().user_rate;
  if (!limit.limited() || limit.take(rate_, service_.now(), 1) == Duration::zero()) {
    told_rate_ = false;
    return false;
  }
  service_.count(kRefusedTexts);
  // Once, or the answers would be as many.
  if (!std::exchange(told_rate_, true)) tell("Too fast: what is over the limit is dropped.");
  return true;
}

void Session::handle_text(std::string text) {
  if (text.empty() || (!again_ && over_rate())) return;
  if (!clean(text)) {
    service_.count(kRefusedTexts);
    return tell("This is not UTF-8: it is dropped.");
  }
  if (!text.starts_with('/')) return say(std::move(text), Words::Kind::said);
  if (text.starts_with("//")) return say(text.substr(1), Words::Kind::said);
  if (!again_) service_.count(kCommands);
  handle_command(std::string_view(text).substr(1));
}

bool Session::may_say(std::string& text) {
  ChatService& serving = service_.serving();
  if (muted_until_ > service_.now()) {
    service_.count(kRefusedTexts);
    tell("You are muted for {}.",
         format_duration(std::chrono::ceil<std::chrono::seconds>(muted_until_ - service_.now())));
    return false;
  }
  auto verdict = serving.ask_message(name_, text, room_->name, waits_);
  if (verdict.waits) {
    come_again();
    return false;
  }
  if (verdict.passes && verdict.changed && verdict.text.size() > serving.settings().max_line) {
    service_.context().log(LogLevel::warning, "on_message returned more than max_line: the message is refused");
    verdict = {.passes = false};
  }
  if (verdict.passes) {
    if (verdict.changed) text = std::move(verdict.text);
    return !text.empty();
  }
  service_.count(kRefusedTexts);
  tell("Not sent: {}", verdict.text.empty() ? "refused" : verdict.text);
  return false;
}

MessageRef Session::message_of(std::string_view text, Words::Kind kind) {
  return make_message(user_, {.kind = kind, .from = name_, .content = text, .time = service_.hub().clock_text()});
}

void Session::say(std::string text, Words::Kind kind) {
  if (!may_say(text)) return;
  service_.count(kSaid);
  service_.serving().said(room_, user_,
                          {.kind = kind, .from = name_, .content = text, .time = service_.hub().clock_text()});
}

}  // namespace portolan::chat
