// Whose turn it is, among the connections of an endpoint: those that may have something to do stand in line, the others wait for
// a time of theirs in a heap. So what a packet costs does not grow with the connections that have nothing to do with it.
//
// It belongs to the endpoint. An engine is in one of the two, or in neither when it waits for nothing.
#pragma once

#include "plugin/descriptor.h"

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

namespace portolan::rudp {

// `Owner` has a member `place` of this type for each queue that it can be in.
struct QueuePlace {
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  bool in_line = false;
  std::size_t in_heap = kNowhere;
  Duration time = Duration::max();
};

template <typename Owner>
class EngineQueue {
 public:
  // It may have something to do.
  void stand_in_line(Owner& owner) {
    if (std::exchange(owner.place.in_line, true)) return;
    line_.push_back(&owner);
  }
  Owner* front() const noexcept { return line_.empty() ? nullptr : line_.front(); }
  // The first has had its turn, and goes behind the others.
  void rotate() {
    line_.push_back(line_.front());
    line_.pop_front();
  }
  // The first has nothing to do before this time.
  void rest(Duration until) {
    Owner& owner = *line_.front();
    line_.pop_front();
    owner.place.in_line = false;
    set_time(owner, until);
  }
  std::size_t in_line() const noexcept { return line_.size(); }
  Owner* in_line(std::size_t index) const noexcept { return line_[index]; }

  Duration next_time() const noexcept { return heap_.empty() ? Duration::max() : heap_.front()->place.time; }
  // One whose time has come, taken out of the heap; null: none.
  Owner* take_due(Duration now) {
    if (next_time() > now) return nullptr;
    Owner* due = heap_.front();
    set_time(*due, Duration::max());
    return due;
  }

  // It goes.
  void remove(Owner& owner) noexcept {
    set_time(owner, Duration::max());
    if (owner.place.in_line) std::erase(line_, &owner);
    owner.place.in_line = false;
  }

 private:
  void set_time(Owner& owner, Duration time) {
    owner.place.time = time;
    std::size_t at = owner.place.in_heap;
    if (time == Duration::max()) {
      if (at == QueuePlace::kNowhere) return;
      owner.place.in_heap = QueuePlace::kNowhere;
      Owner* last = heap_.back();
      heap_.pop_back();
      if (last == &owner) return;
      put(at, last);
      at = last->place.in_heap;
    } else if (at == QueuePlace::kNowhere) {
      at = heap_.size();
      heap_.push_back(&owner);
      owner.place.in_heap = at;
    }
    down(up(at));
  }
  void put(std::size_t at, Owner* owner) noexcept {
    heap_[at] = owner;
    owner->place.in_heap = at;
  }
  std::size_t up(std::size_t at) noexcept {
    Owner* const owner = heap_[at];
    for (; at > 0 && owner->place.time < heap_[(at - 1) / 2]->place.time; at = (at - 1) / 2)
      put(at, heap_[(at - 1) / 2]);
    put(at, owner);
    return at;
  }
  void down(std::size_t at) noexcept {
    Owner* const owner = heap_[at];
    for (;;) {
      std::size_t child = 2 * at + 1;
      if (child + 1 < heap_.size() && heap_[child + 1]->place.time < heap_[child]->place.time) ++child;
      if (child >= heap_.size() || heap_[child]->place.time >= owner->place.time) break;
      put(at, heap_[child]);
      at = child;
    }
    put(at, owner);
  }

  std::deque<Owner*> line_;
  std::vector<Owner*> heap_;
};

}  // namespace portolan::rudp
