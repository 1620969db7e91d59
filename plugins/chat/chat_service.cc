#include "plugins/chat/chat_service.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/session.h"
#include "plugins/chat/text.h"

#include <fmt/format.h>

#include <new>
#include <utility>

namespace portolan::chat {
namespace {

// In the store.
constexpr std::string_view kSaidKind = "said";
constexpr std::string_view kActionKind = "action";

}  // namespace

ChatService::ChatService(Context& context, Settings settings, ChatState& state)
    : context_(context),
      settings_(std::move(settings)),
      state_(state),
      hub_(state.hub(context.worker())),
      on_join_(context.hook("on_join")),
      on_message_(context.hook("on_message")),
      on_command_(context.hook("on_command")),
      timer_(context.timer(*this)) {
  if (!timer_) throw std::bad_alloc();
  hub_.enlist(*this, *timer_.operator->());
}

ChatService::~ChatService() { hub_.dismiss(*this); }

StreamHandler* ChatService::open(Stream& stream) noexcept {
  auto* session = new (std::nothrow) Session(*this, stream);
  if (session) session->greet();
  return session;
}

bool ChatService::start(Problems& problems) {
  if (!settings_.bridge || hub_.worker() != 0) return true;
  bridge_ = Bridge::make(*this, *settings_.bridge, settings_.room, problems);
  return bridge_ != nullptr;
}

void ChatService::drain() noexcept {
  draining_ = true;
  hub_.choose();
  bridge_.reset();
}

// ---- Hooks ---------------------------------------------------------------------------------------------------

namespace {

Hook::Outcome ask(Hook& hook, Stream* waits, std::span<const HookValue> arguments, std::span<HookValue> results) {
  return waits ? hook.ask(*waits, arguments, results) : hook.call(arguments, results);
}

}  // namespace

ChatService::Verdict ChatService::judge(std::string_view name, Hook& hook, Stream* waits,
                                        std::span<const HookValue> arguments) {
  using Kind = HookValue::Kind;
  HookValue results[2];
  switch (ask(hook, waits, arguments, results)) {
    case Hook::Outcome::waits: return {.waits = true};
    // One that fails changes nothing: what it was asked for passes. Not so where it cannot wait, which is up to who sends:
    // there it would be a way around one that does.
    case Hook::Outcome::failed: return {.passes = waits != nullptr};
    case Hook::Outcome::returned: break;
  }
  const HookValue& answer = results[0];
  const HookValue& reason = results[1];
  Verdict verdict;
  const bool refused =
      (answer.kind == Kind::nil && reason.kind != Kind::nil) || (answer.kind == Kind::boolean && !answer.boolean);
  if (refused) {
    verdict.passes = false;
    if (reason.kind == Kind::text) verdict.text = reason.text;
    if (!clean(verdict.text)) verdict.text.clear();
    return verdict;
  }
  if (answer.kind != Kind::text) return verdict;
  verdict.text = answer.text;
  verdict.changed = clean(verdict.text);
  if (!verdict.changed) {
    context_.log(LogLevel::warning, fmt::format("{} returned a text that is not UTF-8: it is not used", name));
    verdict.text.clear();
  }
  return verdict;
}

ChatService::Verdict ChatService::ask_join(std::string_view user, std::string_view room, const Stream& stream,
                                           Stream* waits) {
  if (!on_join_) return {};
  const HookValue arguments[] = {HookValue::of(user), HookValue::of(room), HookValue::of(stream)};
  return judge("on_join", *on_join_, waits, arguments);
}

ChatService::Verdict ChatService::ask_message(std::string_view user, std::string_view text, std::string_view room,
                                              Stream* waits) {
  if (!on_message_) return {};
  const HookValue arguments[] = {HookValue::of(user), HookValue::of(text), HookValue::of(room)};
  return judge("on_message", *on_message_, waits, arguments);
}

ChatService::Reply ChatService::ask_command(std::string_view user, std::string_view command,
                                            std::string_view arguments_text, Stream* waits) {
  if (!on_command_) return {};
  const HookValue arguments[] = {HookValue::of(user), HookValue::of(command), HookValue::of(arguments_text)};
  HookValue results[2];
  const Hook::Outcome outcome = ask(*on_command_, waits, arguments, results);
  if (outcome != Hook::Outcome::returned) return {.waits = outcome == Hook::Outcome::waits};
  if (results[0].kind == HookValue::Kind::integer) return {.text = std::to_string(results[0].integer)};
  if (results[0].kind != HookValue::Kind::text || !valid_utf8(results[0].text)) return {};
  return {.text = std::string(results[0].text)};
}

// ---- What is said --------------------------------------------------------------------------------------------

void ChatService::said(const std::shared_ptr<Room>& room, std::uint64_t sender, const Words& words) {
  const MessageRef message = make_message(sender, words);
  room->history.add(message, settings_.history);
  if (settings_.keep_history) {
    context_.keep_message({.time_ms = unix_ms(),
                           .room = room->name,
                           .sender = words.from,
                           .kind = words.kind == Words::Kind::action ? kActionKind : kSaidKind,
                           .text = words.content});
  }
  state_.post(hub_.worker(), room, message);
}

void ChatService::recall(Room& room) noexcept {
  if (!settings_.keep_history || settings_.history.messages == 0) return;
  std::int64_t nobody = 0;
  if (!room.recalled_ms.compare_exchange_strong(nobody, unix_ms())) return;
  context_.recent_messages(room.name, static_cast<std::uint32_t>(settings_.history.messages), *this);
}

void ChatService::on_recent_messages(std::string_view name, std::span<const KeptMessage> messages,
                                     std::string_view error) noexcept {
  contain("the history of a room", [&] {
    if (!error.empty())
      return context_.log(LogLevel::warning, fmt::format("the history of {} is not to be had: {}", name, error));
    const auto room = state_.find_room(name);
    if (!room) return;
    std::vector<MessageRef> earlier;
    for (const KeptMessage& message : messages) {
      // What was said since is in the history already.
      if (message.time_ms >= room->recalled_ms.load()) continue;
      const CalendarTime time = local_time(message.time_ms / 1000);
      const std::string clock = fmt::format("{:02}:{:02}:{:02}", time.hour, time.minute, time.second);
      earlier.push_back(make_message(0, {.kind = message.kind == kActionKind ? Words::Kind::action : Words::Kind::said,
                                         .from = message.sender,
                                         .content = message.text,
                                         .time = clock}));
    }
    room->history.recall(std::move(earlier), settings_.history);
  });
}

// ---- The service's own words ---------------------------------------------------------------------------------

void ChatService::announce(const std::shared_ptr<Room>& room, std::string_view text, std::uint64_t but) {
  state_.post(hub_.worker(), room,
              make_message(but, {.kind = Words::Kind::notice, .content = text, .time = hub_.clock_text()}));
}

void ChatService::notify(std::uint64_t user, unsigned worker, std::string_view text) {
  state_.post(hub_.worker(), worker,
              {.kind = Post::Kind::direct,
               .message = make_message(0, {.kind = Words::Kind::notice, .content = text, .time = hub_.clock_text()}),
               .to = user});
}

}  // namespace portolan::chat
