// What the machine's operator may ask of a chat and order it: `portolan command SERVICE …`.
#include "base/callback.h"
#include "plugins/chat/chat_service.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/text.h"

#include <fmt/format.h>

#include <string>
#include <utility>

namespace portolan::chat {
namespace {

void append(fmt::memory_buffer& out, std::string_view text) { out.append(text.data(), text.data() + text.size()); }

void append_member(fmt::memory_buffer& out, std::string_view key, std::string_view text) {
  fmt::format_to(fmt::appender(out), "\"{}\":", key);
  encode_string(text, out);
}

std::string_view to_view(const fmt::memory_buffer& out) { return {out.data(), out.size()}; }

}  // namespace

void ChatService::on_command(const Command& command, CommandAnswer& answer) noexcept {
  // What is done is done to all: one instance does it.
  if (hub_.worker() != 0 || hub_.serving() != this) return;
  contain("a command", [&] { obey(command, answer); });
}

void ChatService::obey(const Command& command, CommandAnswer& answer) {
  fmt::memory_buffer out;
  if (command.name == "members") {
    append(out, "[");
    for (const auto& person : state_.people()) {
      append(out, out.size() > 1 ? ",{" : "{");
      append_member(out, "name", person.name);
      append(out, ",");
      append_member(out, "room", person.room->name);
      fmt::format_to(fmt::appender(out), ",\"operator\":{},\"staff\":{},\"worker\":{},\"since_ms\":{}}}",
                     person.is_operator, person.staff, person.worker, person.since_ms);
    }
    append(out, "]");
    return answer.json(to_view(out));
  }
  if (command.name == "rooms") {
    append(out, "[");
    for (const auto& room : state_.rooms()) {
      append(out, out.size() > 1 ? ",{" : "{");
      append_member(out, "name", room.name);
      append(out, ",");
      append_member(out, "topic", room.topic);
      fmt::format_to(fmt::appender(out), ",\"members\":{}}}", room.members);
    }
    append(out, "]");
    return answer.json(to_view(out));
  }
  if (command.name == "say") {
    std::string text(command["text"]);
    if (!clean(text)) return answer.refuse("the text is not UTF-8");
    if (const std::string_view name = command["room"]; !name.empty()) {
      const auto room = state_.find_room(name);
      if (!room) return answer.refuse(fmt::format("there is no room \"{}\"", name));
      announce(room, text);
    } else {
      for (const auto& facts : state_.rooms())
        if (const auto room = state_.find_room(facts.name)) announce(room, text);
    }
    return answer.json("{\"ok\":true}");
  }
  if (command.name == "kick") {
    const auto person = state_.find(command["name"]);
    if (!person) return answer.refuse(fmt::format("there is nobody named \"{}\"", command["name"]));
    std::string reason(command["reason"]);
    if (!clean(reason)) return answer.refuse("the reason is not UTF-8");
    count(kKicks);
    const std::string why = reason.empty() ? "" : ": " + reason;
    announce(person->room, fmt::format("{} was kicked{}", person->name, why), person->id);
    state_.post(hub_.worker(), person->worker,
                {.kind = Post::Kind::kick,
                 .message = make_message(0, {.kind = Words::Kind::notice,
                                             .content = fmt::format("You were kicked{}", why),
                                             .time = hub_.clock_text()}),
                 .to = person->id});
    append(out, "{\"ok\":true,");
    append_member(out, "name", person->name);
    append(out, "}");
    return answer.json(to_view(out));
  }
}

}  // namespace portolan::chat
