// Chat at run time: an instance on each worker, of each generation that still has sessions.
//
// Made by the descriptor's make, owned by core, on one worker's thread. What members have in common is in ChatState, which
// outlives it; sessions of an earlier generation ask the hub for the instance whose hooks and options count now.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/chat_state.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/hub.h"
#include "plugins/chat/settings.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace portolan::chat {

// The indices of the plugin's counters, in the order of the descriptor.
enum Count : std::size_t {
  kJoins,
  kRefusedNames,
  kSaid,
  kDelivered,
  kMissed,
  kRefusedTexts,
  kCommands,
  kKicks,
  kBridged,
  kBridgeDropped,
};

class ChatService final : public Service, private TimerHandler, private RecentMessagesHandler {
 public:
  // Throws std::bad_alloc.
  ChatService(Context& context, Settings settings, ChatState& state);
  ~ChatService() override;
  // What may fail for another reason than memory: the group of the bridge.
  bool start(Problems& problems);

  StreamHandler* open(Stream& stream) noexcept override;
  std::size_t input_limit() const noexcept override { return settings_.max_line + 2; }
  void drain() noexcept override;
  void on_command(const Command& command, CommandAnswer& answer) noexcept override;

  // ---- For sessions and the hub ----
  Context& context() noexcept { return context_; }
  const Settings& settings() const noexcept { return settings_; }
  ChatState& state() noexcept { return state_; }
  Hub& hub() noexcept { return hub_; }
  Duration now() const noexcept { return context_.now(); }
  bool draining() const noexcept { return draining_; }
  Bridge* bridge() noexcept { return bridge_.get(); }  // null on all workers but the first
  // Whose hooks and options count now.
  ChatService& serving() noexcept { return hub_.serving() ? *hub_.serving() : *this; }
  void count(std::size_t counter, std::uint64_t by = 1) noexcept { context_.count(counter, by); }

  // A text of the configuration's functions is as much a stranger's as that of a member: it comes back clean.
  struct Verdict {
    bool passes = true;
    std::string text;  // what to say instead, or why not; empty: as it was, or without a reason
    bool changed = false;
    bool waits = false;  // it has no answer yet, and no other member means anything: the line comes again
  };
  // In all: the stream that may wait for the hook; null: it has to answer now.
  Verdict ask_join(std::string_view user, std::string_view room, const Stream& stream, Stream* waits);
  Verdict ask_message(std::string_view user, std::string_view text, std::string_view room, Stream* waits);
  // To a command that only the configuration knows.
  struct Reply {
    std::optional<std::string> text = std::nullopt;  // nothing: it does not know it
    bool waits = false;                              // likewise
  };
  Reply ask_command(std::string_view user, std::string_view command, std::string_view arguments, Stream* waits);

  // To the members of a room, from a member or the bridge; into its history, and the store's.
  void said(const std::shared_ptr<Room>& room, std::uint64_t sender, const Words& words);
  // Has the history of a room that is new here begin with what the store has of it.
  void recall(Room& room) noexcept;
  // To the members of a room, from the service.
  void announce(const std::shared_ptr<Room>& room, std::string_view text, std::uint64_t but = 0);
  // To one user.
  void notify(std::uint64_t user, unsigned worker, std::string_view text);

 private:
  void on_timer() noexcept override { hub_.deliver(); }
  void on_recent_messages(std::string_view room, std::span<const KeptMessage> messages,
                          std::string_view error) noexcept override;
  Verdict judge(std::string_view name, Hook& hook, Stream* waits, std::span<const HookValue> arguments);
  void obey(const Command& command, CommandAnswer& answer);

  Context& context_;
  const Settings settings_;
  ChatState& state_;
  Hub& hub_;
  Hook* const on_join_;
  Hook* const on_message_;
  Hook* const on_command_;
  TimerHandle timer_;
  std::unique_ptr<Bridge> bridge_;
  bool draining_ = false;
};

}  // namespace portolan::chat
