// A worker's part of a chat: its inbox, its members by room, and the delivery of what has come for them.
//
// Owned by ChatState, so that members of an earlier generation and of the one that serves are in it together. All that
// comes in one turn of the loop is delivered at its end, in one write to each member. push() is for any thread; everything
// else is for the worker's own.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/inbox.h"
#include "plugins/chat/message.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace portolan::chat {

class ChatService;
class ChatState;
class Session;

class Hub {
 public:
  Hub(ChatState& state, unsigned worker) : state_(state), worker_(worker) {}
  ~Hub() { Inbox::free(rest_); }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  ChatState& state() noexcept { return state_; }
  unsigned worker() const noexcept { return worker_; }

  // Any thread; `from` is its worker. Nothing is held back when this one sleeps: it is woken.
  void push(std::unique_ptr<Post> post, unsigned from) noexcept;

  // ---- Instances of the service on this worker: whoever serves delivers, by its timer ----
  void enlist(ChatService& service, Timer& timer);
  void dismiss(ChatService& service) noexcept;
  // One of them is drained: another serves from now on.
  void choose() noexcept;
  // Whose hooks and options count now: the oldest that is not drained. (A younger one is of a reload under way, which
  // may yet be refused.) The newest when all are; null without any.
  ChatService* serving() const noexcept { return serving_; }

  // ---- Members ----
  void add(Session& session);  // has his name and room
  void remove(Session& session) noexcept;
  void change_room(Session& session, const Room* from);
  Session* find(std::uint64_t user) const noexcept;
  // More waits for this one than was written at once.
  void unfinished(Session& session);

  // What has come goes out; from a callback outside of any stream's turn.
  void deliver() noexcept;
  std::string_view clock_text() noexcept;  // HH:MM:SS, in the machine's time zone

 private:
  struct LocalRoom {
    std::vector<Session*> members;
    std::vector<MessageRef> pending;
  };
  struct Member {
    ChatService* service;
    Timer* timer;
  };
  void wake() noexcept;
  void deliver_some();
  void take_some();
  void deliver_taken();
  void go_on() noexcept;
  void handle(const Post& post);
  void gather(const Post& post);
  void flush();
  void flush(LocalRoom& room);
  std::string_view block(const LocalRoom& room, Format format);
  void enter(Session& session);
  void exit(Session& session, const Room* room) noexcept;

  ChatState& state_;
  const unsigned worker_;
  Inbox inbox_;
  std::atomic<Timer*> waker_{nullptr};
  std::atomic<std::uint32_t> striking_{0};  // threads that use it just now

  std::vector<Member> services_;  // in the order in which they were made
  ChatService* serving_ = nullptr;
  Timer* timer_ = nullptr;
  std::unordered_map<std::uint64_t, Session*> sessions_;
  std::unordered_map<const Room*, LocalRoom> rooms_;
  std::vector<LocalRoom*> touched_;  // have something pending
  std::vector<std::uint64_t> unfinished_;
  Post* rest_ = nullptr;   // taken, and not delivered in this turn
  std::size_t posts_ = 0;  // taken in this turn, and their bytes
  std::size_t bytes_ = 0;
  std::uint64_t batch_ = 1;  // what is flushed together
  bool delivering_ = false;
  std::array<std::string, 2> blocks_;  // of the room that is flushed, by format
  std::array<bool, 2> block_made_{};
  std::string scratch_;
  std::int64_t clock_second_ = -1;
  char clock_text_[8] = {};
};

}  // namespace portolan::chat
