// A room and a user, as all workers know them.
//
// Owned by ChatState. What is marked as behind its lock is read and changed under that; the rest is for any thread, without
// one, while a message passes.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/history.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace portolan::chat {

// As many as a configuration may have.
inline constexpr unsigned kMaxWorkers = 256;

struct User;

class Room {
 public:
  Room(std::string spelled, std::string folded) : name(std::move(spelled)), key(std::move(folded)) {}

  const std::string name;
  const std::string key;  // folded
  History history;
  // Unix time at which somebody asked for what was said here earlier; 0: nobody has.
  std::atomic<std::int64_t> recalled_ms{0};

  // Calls `visit` with each worker that has members here, or is about to.
  template <typename Visit>
  void each_worker(Visit&& visit) const {
    for (unsigned word = 0; word < workers_.size(); ++word) {
      std::uint64_t bits = workers_[word].load(std::memory_order_acquire);
      for (; bits != 0; bits &= bits - 1) visit(word * 64 + static_cast<unsigned>(std::countr_zero(bits)));
    }
  }

  // ---- Behind the lock of ChatState ----
  void add(User& user);
  void remove(User& user) noexcept;
  // Messages come to this worker without a member there, and the room stays; as often as it is said.
  void watch(unsigned worker);
  void unwatch(unsigned worker) noexcept;
  bool empty() const noexcept { return members.empty() && watched_ == 0; }
  bool is_operator(std::uint64_t user) const noexcept;

  std::string topic;
  std::vector<User*> members;            // in the order in which they came
  std::vector<std::uint64_t> operators;  // by id
  struct Mute {
    std::uint64_t user;
    Duration until;
  };
  std::vector<Mute> mutes;

 private:
  void count(unsigned worker);
  void discount(unsigned worker) noexcept;

  std::array<std::atomic<std::uint64_t>, kMaxWorkers / 64> workers_{};  // bits
  std::vector<std::uint32_t> counts_;                                   // members and watchers by worker
  std::uint32_t watched_ = 0;
};

struct User {
  std::uint64_t id = 0;
  unsigned worker = 0;
  NetAddress address = {};
  std::int64_t since_ms = 0;  // Unix time
  // Behind the lock.
  std::string name;
  std::shared_ptr<Room> room;
  bool staff = false;  // has said the operator's password
};

}  // namespace portolan::chat
