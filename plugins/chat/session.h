// A member, from the question for his name to his end: reads his lines, does his commands, and is written to.
//
// One for each stream; deletes itself when that closes. On its worker's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/chat_service.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/message.h"
#include "plugins/chat/outbox.h"

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace portolan::chat {

class Session final : public StreamHandler {
 public:
  Session(ChatService& service, Stream& stream) : service_(service), stream_(stream) {}
  void greet() noexcept;

  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
  void on_sent(Stream& stream) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;

  // ---- For the hub ----
  std::uint64_t user() const noexcept { return user_; }
  const Room* room() const noexcept { return room_.get(); }
  Format format() const noexcept { return format_; }
  // Nothing waits: what is written now goes out at the end of this callback.
  bool clear() const noexcept { return outbox_.empty() && !ended_ && stream_.unsent() == 0; }
  void write(std::string_view lines) noexcept { stream_.write(lines); }
  // Behind whatever waits, if there is room for it.
  void offer(const MessageRef& message) noexcept;
  void receive(const Post& post) noexcept;
  // Writes what waits, as far as that is sensible at once: it was unfinished.
  void go_on_later() noexcept;

  std::size_t place = 0;       // in the hub's room
  std::uint64_t spoke_in = 0;  // the hub's batch
  std::uint64_t came_in = 0;   // likewise, into the room: its first `not_his` messages were said before
  std::size_t not_his = 0;

 private:
  struct CommandEntry;
  static std::span<const CommandEntry> command_table() noexcept;

  // `waits` is the stream when a hook may wait, and the line come again: come_again says that it has to. Null: it cannot.
  void handle_line(std::string_view line, Stream* waits);
  void come_again() noexcept { later_ = true; }
  void take_name(std::string_view name);
  void refuse_name(std::string_view why);
  void handle_text(std::string text);
  bool over_rate();
  // False: it may not be said, and the user has been told why. Changes the text to what may.
  bool may_say(std::string& text);
  void say(std::string text, Words::Kind kind);
  MessageRef message_of(std::string_view text, Words::Kind kind);
  void switch_to_json();

  void handle_command(std::string_view line);
  void command_help(std::string_view arguments);
  void command_list(std::string_view arguments);
  void command_who(std::string_view arguments);
  void command_rooms(std::string_view arguments);
  void command_join(std::string_view arguments);
  void command_part(std::string_view arguments);
  void command_topic(std::string_view arguments);
  void command_msg(std::string_view arguments);
  void command_nick(std::string_view arguments);
  void command_me(std::string_view arguments);
  void command_history(std::string_view arguments);
  void command_oper(std::string_view arguments);
  void command_kick(std::string_view arguments);
  void command_mute(std::string_view arguments);
  void command_ban(std::string_view arguments);
  void command_quit(std::string_view arguments);
  void go_to(std::string_view room);
  void enter(ChatState::Move move);
  void tell_room(const ChatState::Entry& entry);
  bool is_staff() const;
  bool is_operator() const;
  std::optional<ChatState::Person> victim(std::string_view name);

  // A line from the service, to him alone.
  void tell(std::string_view text) noexcept;
  template <typename... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args)
    requires(sizeof...(Args) > 0)
  {
    tell(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
  }
  void tell_missed() noexcept;
  void go_on() noexcept;
  void end() noexcept;
  void refuse(Refusal reason) noexcept;
  void leave(std::string_view words) noexcept;

  ChatService& service_;
  Stream& stream_;
  std::uint64_t user_ = 0;  // 0: has no name yet
  std::shared_ptr<Room> room_;
  std::string name_;
  Outbox outbox_;
  RateState rate_{0};
  Duration muted_until_{};
  Format format_ = Format::text;
  Stream* waits_ = nullptr;
  std::uint8_t tries_ = 0;  // at a name, then at the password
  bool sniffs_ = false;     // the next line decides between text and JSON
  bool skipping_ = false;   // inside a line that is too long
  bool told_rate_ = false;
  bool again_ = false;       // the line has come before
  bool later_ = false;       // and has to come again
  bool unfinished_ = false;  // in the hub's list
  bool ended_ = false;
};

}  // namespace portolan::chat
