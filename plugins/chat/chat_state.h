// Who is here, and in which room: one truth for all workers, which a reload does not change.
//
// One for a service, owned by core (Context::shared_state). Any thread may call anything here. One lock is behind joins,
// leaves, renames and commands; a message takes none: it asks the room which workers have members, and is pushed to the
// hub of each. Refused are names that are taken or none (name_problem), and rooms over the limit.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/inbox.h"
#include "plugins/chat/room.h"

#include <array>
#include <atomic>
#include <expected>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace portolan::chat {

class Hub;

class ChatState final : public SharedState {
 public:
  // For Context::shared_state.
  static SharedState* make() noexcept;
  ChatState();
  ~ChatState() override;

  // The hub of this worker; made when it is first asked for, and alive as long as the state. Throws std::bad_alloc.
  Hub& hub(unsigned worker);

  struct Newcomer {
    std::string_view name;
    unsigned worker = 0;
    NetAddress address = {};
    std::int64_t now_ms = 0;
  };
  struct Entry {
    std::uint64_t id = 0;
    std::shared_ptr<Room> room;
    std::string topic;
    std::size_t members = 0;  // himself included
    bool is_operator = false;
    Duration muted_until{};
  };
  // Somebody who becomes an operator because the last one has gone.
  struct Heir {
    std::uint64_t id = 0;
    unsigned worker = 0;
    std::string room;
  };
  struct Move {
    Entry entry;
    std::shared_ptr<Room> from;
    std::optional<Heir> heir;
  };
  // `first_room`: where all begin, which is there even when it is empty, and has no operators of its own. The errors are
  // sentences. These throw std::bad_alloc.
  std::expected<Entry, std::string> join(const Newcomer& who, std::string_view first_room);
  std::expected<Move, std::string> move(std::uint64_t id, std::string_view room, std::size_t max_rooms);
  // Answers the name that he had.
  std::expected<std::string, std::string> rename(std::uint64_t id, std::string_view name);
  std::optional<Heir> leave(std::uint64_t id) noexcept;
  // What is said in the room comes to this worker, though nobody of it is a member.
  std::shared_ptr<Room> watch(std::string_view room, unsigned worker);
  void unwatch(const std::shared_ptr<Room>& room, unsigned worker) noexcept;
  // A number that no other chat has, in this run of the daemon.
  std::uint64_t identity() const noexcept { return identity_; }

  // A user as others see him at this moment.
  struct Person {
    std::uint64_t id = 0;
    unsigned worker = 0;
    std::string name;
    std::shared_ptr<Room> room;
    NetAddress address = {};
    std::int64_t since_ms = 0;
    bool staff = false;
    bool is_operator = false;  // of his room
  };
  std::optional<Person> find(std::string_view name) const;
  std::optional<Person> find(std::uint64_t id) const;
  std::vector<Person> people(const Room* room = nullptr) const;  // by name; null: all
  struct RoomFacts {
    std::string name;
    std::string topic;
    std::size_t members = 0;
  };
  std::vector<RoomFacts> rooms() const;  // by name
  bool is_first(const Room& room) const noexcept;
  std::shared_ptr<Room> find_room(std::string_view name) const;
  std::string topic(const Room& room) const;
  void set_topic(Room& room, std::string_view topic);
  void promote(std::uint64_t id) noexcept;  // to staff
  // A mute until `now` or earlier is lifted.
  void mute(Room& room, std::uint64_t id, Duration until, Duration now);

  // ---- Messages ----
  // `from`: the worker whose thread calls.
  void post(unsigned from, const std::shared_ptr<Room>& room, const MessageRef& message) noexcept;
  void post(unsigned from, unsigned to, Post post) noexcept;

 private:
  std::shared_ptr<Room> room_for(std::string_view name);
  Entry enter(User& user, std::shared_ptr<Room> room);
  std::optional<Heir> exit(User& user) noexcept;
  Person person(const User& user) const;

  const std::uint64_t identity_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::unique_ptr<User>> users_;
  std::map<std::string, User*, std::less<>> names_;  // folded
  std::map<std::string, std::shared_ptr<Room>, std::less<>> rooms_;
  std::shared_ptr<Room> first_room_;
  std::uint64_t last_id_ = 0;
  std::array<std::atomic<Hub*>, kMaxWorkers> hubs_{};
};

}  // namespace portolan::chat
